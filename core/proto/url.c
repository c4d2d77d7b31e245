// Percent-decoding.
#include "proto/url.h"

#include "proto/text.h"
#include "proto/utf8.h"

/// The byte that the escape at the start of text stands for; -1 when it is broken.
static int escaped_byte(const char *text, size_t n) {
    if (n < 3 || text[0] != '%') {
        return -1;
    }
    int high = peri_text_hex(text[1]);
    int low = peri_text_hex(text[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

int peri_url_decode_segment(struct peri_buffer *out, struct peri_str segment) {
    if (segment.len == 0) {
        return PERI_OK;
    }
    int rc = peri_buffer_reserve(out, segment.len); // decoding never lengthens
    if (rc != PERI_OK) {
        return rc;
    }
    uint8_t *begin = out->ptr + out->len;
    uint8_t *at = begin;
    for (size_t i = 0; i < segment.len; i++) {
        int byte = (uint8_t)segment.ptr[i];
        if (byte == '%') {
            byte = escaped_byte(segment.ptr + i, segment.len - i);
            i += 2;
        }
        if (byte <= 0 || byte == '/') {
            return PERI_E_INVALID;
        }
        *at++ = (uint8_t)byte; // 1 to 255
    }
    size_t n = (size_t)(at - begin); // at never goes back
    if (!peri_utf8_is_valid(begin, n)) {
        return PERI_E_INVALID;
    }
    out->len += n;
    return PERI_OK;
}

int peri_form_decode(struct peri_buffer *out, struct peri_str text) {
    if (text.len == 0) {
        return PERI_OK;
    }
    int rc = peri_buffer_reserve(out, text.len); // decoding never lengthens
    if (rc != PERI_OK) {
        return rc;
    }
    for (size_t i = 0; i < text.len; i++) {
        int byte = escaped_byte(text.ptr + i, text.len - i);
        if (byte >= 0) {
            i += 2;
        } else {
            byte = text.ptr[i] == '+' ? ' ' : (uint8_t)text.ptr[i];
        }
        out->ptr[out->len++] = (uint8_t)byte; // 0 to 255
    }
    return PERI_OK;
}

bool peri_form_next(struct peri_str query, size_t *cursor, struct peri_str *name,
                    struct peri_str *value) {
    while (*cursor < query.len) {
        const char *begin = query.ptr + *cursor;
        size_t left = query.len - *cursor;
        const char *ampersand = memchr(begin, '&', left);
        size_t n = ampersand ? (size_t)(ampersand - begin) : left; // within the query
        *cursor += n + (ampersand != NULL);
        if (n == 0) {
            continue;
        }
        const char *equals = memchr(begin, '=', n);
        size_t name_len = equals ? (size_t)(equals - begin) : n; // within the pair
        size_t value_at = equals ? name_len + 1 : n;
        *name = peri_str(begin, name_len);
        *value = peri_str(begin + value_at, n - value_at);
        return true;
    }
    return false;
}
