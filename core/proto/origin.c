// Comparing web origins.
#include "proto/origin.h"

#include "proto/text.h"

struct authority {
    struct peri_str host; ///< an IPv6 address with its brackets
    int port;             ///< -1: not given
};

struct origin {
    struct peri_str scheme;
    struct authority at;
};

static bool parse_port(struct peri_str text, int *port) {
    int value = 0;
    if (text.len == 0 || text.len > 5) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!peri_text_is_digit(text.ptr[i])) {
            return false;
        }
        value = value * 10 + (text.ptr[i] - '0');
    }
    *port = value;
    return value <= UINT16_MAX;
}

/// Bytes of the host at the start of text; 0 when there is none.
static size_t host_bytes(struct peri_str text) {
    if (text.len > 0 && text.ptr[0] == '[') {
        const char *end = memchr(text.ptr, ']', text.len);
        return end ? (size_t)(end - text.ptr) + 1 : 0; // within text
    }
    const char *colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;
    return colon ? (size_t)(colon - text.ptr) : text.len; // within text
}

static bool parse_authority(struct peri_str text, struct authority *out) {
    size_t n = host_bytes(text);
    if (n == 0) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (text.ptr[i] <= ' ' || strchr("/\\?#@", text.ptr[i])) {
            return false; // bytes from 0x80 up are negative
        }
    }
    *out = (struct authority){.host = peri_str(text.ptr, n), .port = -1};
    struct peri_str rest = peri_str(text.ptr + n, text.len - n);
    if (rest.len == 0) {
        return true;
    }
    return rest.ptr[0] == ':' && parse_port(peri_str(rest.ptr + 1, rest.len - 1), &out->port);
}

static int default_port(struct peri_str scheme) {
    if (peri_text_equal(scheme, PERI_STR("http")) || peri_text_equal(scheme, PERI_STR("ws"))) {
        return 80;
    }
    if (peri_text_equal(scheme, PERI_STR("https")) || peri_text_equal(scheme, PERI_STR("wss"))) {
        return 443;
    }
    return -1;
}

static bool parse_origin(struct peri_str text, struct origin *out) {
    const char *colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;
    size_t n = colon ? (size_t)(colon - text.ptr) : 0; // within text
    if (n == 0 || text.len - n < 3 || memcmp(colon, "://", 3) != 0) {
        return false;
    }
    out->scheme = peri_str(text.ptr, n);
    if (!parse_authority(peri_str(text.ptr + n + 3, text.len - n - 3), &out->at)) {
        return false;
    }
    if (out->at.port < 0) {
        out->at.port = default_port(out->scheme);
    }
    return true;
}

bool peri_origin_equal(struct peri_str a, struct peri_str b) {
    struct origin left, right;
    if (!parse_origin(a, &left) || !parse_origin(b, &right)) {
        return a.len > 0 && peri_str_equal(a, b);
    }
    return peri_text_equal(left.scheme, right.scheme) && left.at.port == right.at.port &&
           peri_text_equal(left.at.host, right.at.host);
}

bool peri_origin_is_host(struct peri_str origin, struct peri_str host) {
    struct origin page;
    struct authority here;
    if (!parse_origin(origin, &page) || !parse_authority(host, &here)) {
        return false;
    }
    int port = here.port < 0 ? default_port(page.scheme) : here.port;
    return page.at.port == port && peri_text_equal(page.at.host, here.host);
}
