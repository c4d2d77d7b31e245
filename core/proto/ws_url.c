// Reading, comparing and resolving the URL of a WebSocket.
#include "proto/ws_url.h"

#include "proto/text.h"

static int refuse(const char **why, const char *text) {
    *why = text;
    return PERI_E_INVALID;
}

/// Where the first of the characters is; text.len when none is there.
static size_t find_any(struct peri_str text, const char *characters) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '\0' && strchr(characters, text.ptr[i])) {
            return i;
        }
    }
    return text.len;
}

static struct peri_str first(struct peri_str text, size_t n) {
    return peri_str(text.ptr, n);
}

static struct peri_str after(struct peri_str text, size_t n) {
    return peri_str(text.ptr + n, text.len - n);
}

/// Bytes of "scheme:" at the start; 0 when there is none. RFC 3986 section 3.1
static size_t scheme_bytes(struct peri_str text) {
    for (size_t i = 0; i < text.len; i++) {
        char c = peri_text_lower(text.ptr[i]);
        if (c == ':') {
            return i > 0 ? i + 1 : 0;
        }
        bool letter = c >= 'a' && c <= 'z';
        if (!letter && (i == 0 || (!peri_text_is_digit(c) && c != '+' && c != '-' && c != '.'))) {
            return 0;
        }
    }
    return 0;
}

/// Takes the scheme off.
static int take_scheme(struct peri_ws_url *url, struct peri_str *rest, const char **why) {
    static const struct {
        struct peri_str text;
        bool is_secure;
    } known[] = {{{"ws://", 5}, false},
                 {{"http://", 7}, false},
                 {{"wss://", 6}, true},
                 {{"https://", 8}, true}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t n = known[i].text.len;
        if (rest->len >= n && peri_text_equal(first(*rest, n), known[i].text)) {
            url->is_secure = known[i].is_secure;
            url->port = url->is_secure ? 443 : 80;
            *rest = after(*rest, n);
            return PERI_OK;
        }
    }
    return refuse(why, "it begins with ws:// or wss://");
}

static int take_port(struct peri_ws_url *url, struct peri_str digits, const char **why) {
    uint32_t port = 0;
    for (size_t i = 0; i < digits.len && port <= UINT16_MAX; i++) {
        if (!peri_text_is_digit(digits.ptr[i])) {
            return refuse(why, "its port is no number");
        }
        port = port * 10 + (uint32_t)(digits.ptr[i] - '0'); // a digit
    }
    if (digits.len > 0) { // "host:" has the default. RFC 3986 section 3.2.3
        if (port == 0 || port > UINT16_MAX) {
            return refuse(why, "its port is not from 1 to 65535");
        }
        url->port = (uint16_t)port;
    }
    return PERI_OK;
}

static bool is_ipv6_char(char c) {
    return peri_text_hex(c) >= 0 || c == ':' || c == '.';
}

/// "[address]" or "[address%zone]"
static int take_ipv6(struct peri_ws_url *url, struct peri_str *rest, const char **why) {
    const char *end = memchr(rest->ptr, ']', rest->len);
    if (!end) {
        return refuse(why, "its IPv6 address has no ]");
    }
    size_t n = (size_t)(end - rest->ptr); // within rest
    url->is_ipv6 = true;
    url->host = peri_str(rest->ptr + 1, n - 1);
    size_t address = find_any(url->host, "%");
    for (size_t i = 0; i < address; i++) {
        if (!is_ipv6_char(url->host.ptr[i])) {
            return refuse(why, "there is no IPv6 address in its brackets");
        }
    }
    *rest = after(*rest, n + 1);
    return find_any(url->host, ":") < address
               ? PERI_OK
               : refuse(why, "there is no IPv6 address in its brackets");
}

static int take_name(struct peri_ws_url *url, struct peri_str *rest, const char **why) {
    url->host = first(*rest, find_any(*rest, ":"));
    *rest = after(*rest, url->host.len);
    if (url->host.len == 0) {
        return refuse(why, "it names no host");
    }
    for (size_t i = 0; i < url->host.len; i++) {
        if (url->host.ptr[i] & '\x80') {
            return refuse(why, "its host has letters beyond ASCII: write it as xn--...");
        }
    }
    return find_any(url->host, "\"<>[]^`{|}\\%,;") == url->host.len
               ? PERI_OK
               : refuse(why, "its host is no name or address");
}

/// RFC 3986 section 3.2
static int take_authority(struct peri_ws_url *url, struct peri_str authority, const char **why) {
    for (size_t at; (at = find_any(authority, "@")) < authority.len;) {
        if (url->has_user_info) {
            return refuse(why, "there is more than one @ before its path: write %40");
        }
        url->has_user_info = true;
        url->user_info = first(authority, at);
        authority = after(authority, at + 1);
    }
    bool in_brackets = authority.len > 0 && authority.ptr[0] == '[';
    int rc = in_brackets ? take_ipv6(url, &authority, why) : take_name(url, &authority, why);
    if (rc != PERI_OK || authority.len == 0) {
        return rc;
    }
    return authority.ptr[0] == ':' ? take_port(url, after(authority, 1), why)
                                   : refuse(why, "there is more than a port behind its host");
}

int peri_ws_url_parse(struct peri_ws_url *url, struct peri_str text, const char **why) {
    struct peri_ws_url read = {0};
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] <= ' ' || text.ptr[i] == '\x7f') {
            return refuse(why, "it holds white space or a control character");
        }
    }
    if (find_any(text, "#") < text.len) {
        return refuse(why, "a WebSocket has no #fragment: write %23"); // RFC 6455 section 3
    }
    int rc = take_scheme(&read, &text, why);
    if (rc == PERI_OK) {
        size_t n = find_any(text, "/?");
        read.target = after(text, n);
        rc = take_authority(&read, first(text, n), why);
    }
    if (rc == PERI_OK) {
        *url = read;
    }
    return rc;
}

bool peri_ws_url_same_host(const struct peri_ws_url *a, const struct peri_ws_url *b) {
    return a->is_secure == b->is_secure && a->port == b->port && peri_text_equal(a->host, b->host);
}

int peri_ws_url_write_host(struct peri_buffer *out, const struct peri_ws_url *url) {
    size_t before = out->len;
    struct peri_str host = first(url->host, find_any(url->host, "%"));
    int rc = peri_buffer_printf(out, url->is_ipv6 ? "[%.*s]" : "%.*s", (int)host.len, host.ptr);
    if (rc == PERI_OK && url->port != (url->is_secure ? 443 : 80)) {
        rc = peri_buffer_printf(out, ":%u", url->port);
    }
    if (rc != PERI_OK) {
        out->len = before;
    }
    return rc;
}

int peri_ws_url_write_target(struct peri_buffer *out, const struct peri_ws_url *url) {
    size_t before = out->len;
    struct peri_str target = url->target;
    bool has_path = target.len > 0 && target.ptr[0] != '?';
    int rc = has_path ? PERI_OK : peri_buffer_append(out, "/", 1);
    for (size_t i = 0; i < target.len && rc == PERI_OK; i++) {
        unsigned char byte = (unsigned char)target.ptr[i];
        if (byte <= ' ' || byte >= 0x7f || strchr("\"<>\\^`{|}", byte)) {
            rc = peri_buffer_printf(out, "%%%02X", byte);
        } else {
            rc = peri_buffer_append(out, target.ptr + i, 1);
        }
    }
    if (rc != PERI_OK) {
        out->len = before;
    }
    return rc;
}

// Resolving

/// Where the last segment of the path from `from` to `to` begins, with its "/".
static size_t parent(const struct peri_buffer *out, size_t from, size_t to) {
    while (to > from) {
        to--;
        if (out->ptr[to] == '/') {
            break;
        }
    }
    return to;
}

/// Takes "." and ".." out of the path that begins at `from`, in place. RFC 3986 section 5.2.4
static void remove_dots(struct peri_buffer *out, size_t from) {
    struct peri_str path = peri_str((const char *)out->ptr + from, out->len - from);
    size_t end = find_any(path, "?");
    size_t kept = from;
    for (size_t at = 0; at < end;) {
        struct peri_str rest = peri_str(path.ptr + at + 1, end - at - 1); // behind the "/"
        struct peri_str segment = first(rest, find_any(rest, "/"));
        size_t n = 1 + segment.len;
        bool is_last = at + n == end;
        bool is_up = peri_str_equal(segment, PERI_STR(".."));
        if (is_up || peri_str_equal(segment, PERI_STR("."))) {
            kept = is_up ? parent(out, from, kept) : kept;
            if (is_last) {
                out->ptr[kept++] = '/';
            }
        } else {
            memmove(out->ptr + kept, path.ptr + at, n);
            kept += n;
        }
        at += n;
    }
    memmove(out->ptr + kept, path.ptr + end, path.len - end);
    out->len = kept + (path.len - end);
}

/// Appends scheme and authority of base.
static int write_root(struct peri_buffer *out, const struct peri_ws_url *base) {
    int rc = peri_buffer_printf(out, base->is_secure ? "wss://" : "ws://");
    if (rc == PERI_OK) {
        rc = peri_buffer_printf(out, base->is_ipv6 ? "[%.*s]:%u" : "%.*s:%u", (int)base->host.len,
                                base->host.ptr, base->port);
    }
    return rc;
}

/// Appends the path and query that a relative reference means. RFC 3986 section 5.2.2
static int write_merged(struct peri_buffer *out, const struct peri_ws_url *base,
                        struct peri_str reference) {
    size_t from = out->len;
    struct peri_str path = first(base->target, find_any(base->target, "?"));
    if (reference.len == 0) {
        return peri_buffer_append_str(out, base->target);
    }
    if (reference.ptr[0] == '/') {
        path.len = 0;
    } else if (reference.ptr[0] != '?') {
        while (path.len > 0 && path.ptr[path.len - 1] != '/') {
            path.len--;
        }
    }
    int rc = PERI_OK;
    if (path.len > 0) {
        rc = peri_buffer_append_str(out, path);
    } else if (reference.ptr[0] != '/') {
        rc = peri_buffer_append(out, "/", 1);
    }
    if (rc == PERI_OK) {
        rc = peri_buffer_append_str(out, reference);
    }
    if (rc == PERI_OK) {
        remove_dots(out, from);
    }
    return rc;
}

int peri_ws_url_resolve(struct peri_buffer *out, const struct peri_ws_url *base,
                        struct peri_str location) {
    size_t before = out->len;
    struct peri_str reference = first(location, find_any(location, "#"));
    int rc = PERI_OK;
    if (scheme_bytes(reference) > 0) {
        rc = peri_buffer_append_str(out, reference);
    } else if (reference.len >= 2 && memcmp(reference.ptr, "//", 2) == 0) {
        rc = peri_buffer_printf(out, base->is_secure ? "wss:" : "ws:");
        if (rc == PERI_OK) {
            rc = peri_buffer_append_str(out, reference);
        }
    } else {
        rc = write_root(out, base);
        if (rc == PERI_OK) {
            rc = write_merged(out, base, reference);
        }
    }
    if (rc != PERI_OK) {
        out->len = before;
    }
    return rc;
}
