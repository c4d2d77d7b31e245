#include "proto/proxy_header.h"

#include <assert.h>

#include "proto/text.h"

static const struct peri_str v1_begin = {"PROXY ", 6};
static const struct peri_str v2_begin = {"\r\n\r\n\0\r\nQUIT\n", 12};

enum { V2_HEAD = 16 };

static bool begins(const struct peri_proxy_header *header, struct peri_str with) {
    size_t n = header->read_ < with.len ? header->read_ : with.len;
    return memcmp(header->bytes_, with.ptr, n) == 0;
}

// Version 1: "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n". Section 2.1

/// The text up to the next space, which there must be unless it is the last.
static bool take_word(struct peri_str *rest, bool last, struct peri_str *word) {
    const char *space = rest->len > 0 ? memchr(rest->ptr, ' ', rest->len) : NULL;
    if (!space != last) {
        return false;
    }
    *word = peri_str(rest->ptr, space ? (size_t)(space - rest->ptr) : rest->len);
    size_t n = word->len + (space != NULL);
    *rest = peri_str(rest->ptr + n, rest->len - n);
    return word->len > 0;
}

/// @param v6 how it must be written: one within an IPv6 address is of that family here
static bool read_address(struct peri_ip *ip, struct peri_str text, bool v6) {
    return (memchr(text.ptr, ':', text.len) != NULL) == v6 && peri_ip_read(ip, text);
}

static bool is_port(struct peri_str text) {
    unsigned long port = 0;
    if (text.len > 5) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!peri_text_is_digit(text.ptr[i])) {
            return false;
        }
        port = port * 10 + (unsigned long)(text.ptr[i] - '0'); // 0 to 9
    }
    return text.len > 0 && port <= UINT16_MAX;
}

static int read_v1(const struct peri_proxy_header *header, struct peri_ip *source) {
    struct peri_str rest = peri_str((const char *)header->bytes_, header->read_ - 2);
    struct peri_str family, from, to, from_port, to_port;
    struct peri_ip ip, proxy;
    rest = peri_str(rest.ptr + v1_begin.len, rest.len - v1_begin.len);
    if (peri_str_equal(rest, PERI_STR("UNKNOWN")) ||
        (rest.len >= 8 && memcmp(rest.ptr, "UNKNOWN ", 8) == 0)) {
        *source = (struct peri_ip){0};
        return PERI_OK;
    }
    if (!take_word(&rest, false, &family) || !take_word(&rest, false, &from) ||
        !take_word(&rest, false, &to) || !take_word(&rest, false, &from_port) ||
        !take_word(&rest, true, &to_port)) {
        return PERI_E_INVALID;
    }
    bool v6 = peri_str_equal(family, PERI_STR("TCP6"));
    if ((!v6 && !peri_str_equal(family, PERI_STR("TCP4"))) || !read_address(&ip, from, v6) ||
        !read_address(&proxy, to, v6) || !is_port(from_port) || !is_port(to_port)) {
        return PERI_E_INVALID;
    }
    *source = ip;
    return PERI_OK;
}

/// A byte of the line has been read.
static int go_on_v1(const struct peri_proxy_header *header, struct peri_ip *source) {
    assert(header->read_ > 0 && header->read_ <= PERI_PROXY_V1_MAX);
    const uint8_t *last = &header->bytes_[header->read_ - 1];
    bool after_cr = header->read_ > v1_begin.len && last[-1] == '\r';
    if ((*last == '\n') != after_cr) {
        return PERI_E_INVALID; // the two stand together, at the end only
    }
    if (*last == '\n') {
        return read_v1(header, source);
    }
    return header->read_ == PERI_PROXY_V1_MAX ? PERI_E_INVALID : PERI_AGAIN;
}

// Version 2, in binary. Section 2.2

/// The head is there: is it one, and how long is all of it?
static int read_v2_head(struct peri_proxy_header *header) {
    static const uint16_t address_bytes[] = {0, 12, 36, 216}; // by family
    const uint8_t *at = header->bytes_ + v2_begin.len;
    unsigned version = at[0] >> 4, command = at[0] & 0xf, family = at[1] >> 4, kind = at[1] & 0xf;
    unsigned length = (unsigned)at[2] << 8 | at[3];
    header->whole_ = V2_HEAD + length;
    if (version != 2 || command > 1) {
        return PERI_E_INVALID;
    }
    if (command == 0) {
        return PERI_OK; // LOCAL: what follows means nothing
    }
    bool known = family <= 3 && kind <= 2 && (family == 0) == (kind == 0);
    return known && length >= address_bytes[family] ? PERI_OK : PERI_E_INVALID;
}

static void read_v2(const struct peri_proxy_header *header, struct peri_ip *source) {
    const uint8_t *at = header->bytes_ + v2_begin.len;
    const uint8_t *from = header->bytes_ + V2_HEAD;
    bool stream = (at[0] & 0xf) == 1 && (at[1] & 0xf) == 1;
    *source = (struct peri_ip){0};
    switch (stream ? at[1] >> 4 : 0) {
    case 1: *source = peri_ip_v4(from); break;
    case 2: *source = peri_ip_v6(from); break;
    case 3: source->family = PERI_IP_UNIX; break;
    default: break; // not said
    }
}

static int go_on_v2(struct peri_proxy_header *header, struct peri_ip *source) {
    if (header->read_ < V2_HEAD) {
        return PERI_AGAIN;
    }
    if (header->read_ == V2_HEAD && read_v2_head(header) != PERI_OK) {
        return PERI_E_INVALID;
    }
    if (header->read_ < header->whole_) {
        return PERI_AGAIN;
    }
    read_v2(header, source);
    return PERI_OK;
}

int peri_proxy_header_feed(struct peri_proxy_header *header, struct peri_span *in,
                           struct peri_ip *source) {
    int status = PERI_AGAIN;
    while (status == PERI_AGAIN && in->len > 0) {
        if (header->read_ < sizeof header->bytes_) {
            header->bytes_[header->read_] = *in->ptr;
        }
        header->read_++;
        in->ptr++;
        in->len--;
        status = begins(header, v1_begin)   ? go_on_v1(header, source)
                 : begins(header, v2_begin) ? go_on_v2(header, source)
                                            : PERI_E_INVALID;
    }
    return status;
}
