// The fields are walked once from left to right. A hop that nobody believes, or that can't be read,
// makes all before it say nothing, which is the same as a walk from the right that ends there.
#include "proto/forwarded.h"

#include "proto/text.h"

enum { NODE_MAX = 64 }; // an IPv6 address with brackets, a zone and a port

struct walk {
    const struct peri_ip_set *believed;
    struct peri_ip found; ///< by what has been read so far; none: it is hidden
};

// Nodes. RFC 7239 section 6

/// "8080", or an obfuscated one: "_p1".
static bool is_port(struct peri_str text) {
    bool obfuscated = text.len > 1 && text.ptr[0] == '_';
    if (text.len == 0 || (!obfuscated && text.len > 5)) {
        return false;
    }
    for (size_t i = obfuscated; i < text.len; i++) {
        char c = peri_text_lower(text.ptr[i]);
        bool fits = peri_text_is_digit(c) ||
                    (obfuscated && ((c >= 'a' && c <= 'z') || c == '.' || c == '_' || c == '-'));
        if (!fits) {
            return false;
        }
    }
    return true;
}

/// Cuts off what stands around the address: brackets, port, zone. @return false when malformed
static bool unwrap(struct peri_str node, struct peri_str *address) {
    struct peri_str rest = {0};
    const char *colon = memchr(node.ptr, ':', node.len);
    bool bracketed = node.ptr[0] == '[';
    *address = node;
    if (bracketed) {
        const char *end = memchr(node.ptr, ']', node.len);
        size_t n = end ? (size_t)(end - node.ptr) : 0; // within the node
        if (!end || !memchr(node.ptr, ':', n)) {
            return false;
        }
        *address = peri_str(node.ptr + 1, n - 1);
        rest = peri_str(end + 1, node.len - n - 1);
    } else if (colon && !memchr(colon + 1, ':', node.len - (size_t)(colon - node.ptr) - 1)) {
        *address = peri_str(node.ptr, (size_t)(colon - node.ptr)); // one colon: IPv4 and a port
        rest = peri_str(colon, node.len - address->len);
    }
    const char *zone = address->len > 0 ? memchr(address->ptr, '%', address->len) : NULL;
    if (zone) {
        *address = peri_str(address->ptr, (size_t)(zone - address->ptr)); // RFC 4007 section 11
        if (!memchr(address->ptr, ':', address->len)) {
            return false;
        }
    }
    return rest.len == 0 || (rest.ptr[0] == ':' && is_port(peri_str(rest.ptr + 1, rest.len - 1)));
}

static void hide(struct walk *walk) {
    walk->found = (struct peri_ip){0};
}

/// One more hop. IPv6 without brackets, which RFC 7239 forbids and many write, is taken too.
static void hop(struct walk *walk, struct peri_str node) {
    struct peri_str address;
    struct peri_ip ip;
    if (node.len == 0 || !unwrap(node, &address) || !peri_ip_read(&ip, address)) {
        hide(walk);
    } else if (walk->found.family == PERI_IP_NONE || !peri_ip_set_has(walk->believed, &ip)) {
        walk->found = ip;
    }
}

// X-Forwarded-For

static void walk_x_line(struct walk *walk, struct peri_str line) {
    struct peri_str node;
    while (peri_text_next_item(&line, &node)) {
        hop(walk, node);
    }
}

// Forwarded. RFC 7239 section 4

static bool take(struct peri_str *rest, char c) {
    if (rest->len == 0 || *rest->ptr != c) {
        return false;
    }
    *rest = peri_str(rest->ptr + 1, rest->len - 1);
    return true;
}

static void skip_blanks(struct peri_str *rest) {
    while (take(rest, ' ') || take(rest, '\t')) {
    }
}

/// Of a value without quotes: a token, and what addresses have that a token may not, since many
/// leave the quotes out.
static bool is_bare(char c) {
    return (c == ':' || c == '[' || c == ']') || peri_text_is_token(peri_str(&c, 1));
}

/// A value as it is meant. One that is longer than any node is cut, and no node.
struct value {
    char text[NODE_MAX + 1];
    size_t len;
};

static void add(struct value *value, char c) {
    if (value->len < sizeof value->text) {
        value->text[value->len++] = c;
    }
}

/// @return false when it has no end. RFC 9110 section 5.6.4
static bool take_quoted(struct peri_str *rest, struct value *value) {
    while (rest->len > 0) {
        if (take(rest, '"')) {
            return true;
        }
        (void)take(rest, '\\');
        if (rest->len > 0) {
            add(value, *rest->ptr);
            *rest = peri_str(rest->ptr + 1, rest->len - 1);
        }
    }
    return false;
}

static bool take_value(struct peri_str *rest, struct value *value) {
    value->len = 0;
    if (take(rest, '"')) {
        return take_quoted(rest, value);
    }
    while (rest->len > 0 && is_bare(*rest->ptr)) {
        add(value, *rest->ptr);
        *rest = peri_str(rest->ptr + 1, rest->len - 1);
    }
    return value->len > 0;
}

static struct peri_str take_name(struct peri_str *rest) {
    size_t n = 0;
    while (n < rest->len && peri_text_is_token(peri_str(rest->ptr + n, 1))) {
        n++;
    }
    struct peri_str name = peri_str(rest->ptr, n);
    *rest = peri_str(rest->ptr + n, rest->len - n);
    return name;
}

/// Takes what one proxy has added: for=192.0.2.60;proto=http;by=203.0.113.43
/// @param node set to whom it names, with len 0 where it names nobody
/// @return false when malformed
static bool take_element(struct peri_str *rest, struct value *node) {
    bool named = false;
    node->len = 0;
    do {
        struct value value;
        skip_blanks(rest);
        struct peri_str name = take_name(rest);
        if (name.len == 0) {
            continue; // ";;", or ";" at the end
        }
        if (!take(rest, '=') || !take_value(rest, &value)) {
            return false;
        }
        if (peri_text_equal(name, PERI_STR("for"))) {
            if (named) {
                return false;
            }
            named = true;
            *node = value;
        }
        skip_blanks(rest);
    } while (take(rest, ';'));
    return rest->len == 0 || *rest->ptr == ',';
}

/// A line that is malformed says nothing: where a client left a quote open, what a proxy has added
/// behind it looks like a part of it.
static void walk_line(struct walk *walk, struct peri_str line) {
    struct value node;
    do {
        skip_blanks(&line);
        if (line.len == 0 || *line.ptr == ',') {
            continue; // empty items count for nothing. RFC 9110 section 5.6.1
        }
        if (!take_element(&line, &node)) {
            hide(walk);
            return;
        }
        hop(walk, peri_str(node.text, node.len));
    } while (take(&line, ','));
}

static enum peri_forwarded walk_fields(const struct peri_request *request, struct peri_str name,
                                       void (*walk_one)(struct walk *walk, struct peri_str line),
                                       struct walk *walk) {
    bool absent = true;
    for (size_t i = 0; i < request->field_count; i++) {
        if (peri_str_equal(request->fields[i].name, name)) {
            absent = false;
            walk_one(walk, request->fields[i].value);
        }
    }
    return absent                               ? PERI_FORWARDED_ABSENT
           : walk->found.family == PERI_IP_NONE ? PERI_FORWARDED_HIDDEN
                                                : PERI_FORWARDED_NAMED;
}

enum peri_forwarded peri_forwarded_find(const struct peri_request *request,
                                        const struct peri_ip_set *believed,
                                        struct peri_ip *client) {
    struct walk walk = {.believed = believed}, x = walk;
    enum peri_forwarded said = walk_fields(request, PERI_STR("forwarded"), walk_line, &walk);
    enum peri_forwarded x_said = walk_fields(request, PERI_STR("x-forwarded-for"), walk_x_line, &x);
    if (said == PERI_FORWARDED_ABSENT) {
        said = x_said;
        walk = x;
    } else if (x_said != PERI_FORWARDED_ABSENT && !peri_ip_equal(&walk.found, &x.found)) {
        return PERI_FORWARDED_DISPUTED;
    }
    if (said == PERI_FORWARDED_NAMED) {
        *client = walk.found;
    }
    return said;
}
