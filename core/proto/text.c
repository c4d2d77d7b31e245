// Tokens, lists and ASCII case.
#include "proto/text.h"

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

static bool is_token_char(char c) {
    char lower = peri_text_lower(c);
    return (lower >= 'a' && lower <= 'z') || peri_text_is_digit(c) ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

bool peri_text_equal(struct peri_str a, struct peri_str b) {
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (peri_text_lower(a.ptr[i]) != peri_text_lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

struct peri_str peri_text_trim(struct peri_str text) {
    while (text.len > 0 && is_blank(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && is_blank(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

bool peri_text_is_token(struct peri_str text) {
    for (size_t i = 0; i < text.len; i++) {
        if (!is_token_char(text.ptr[i])) {
            return false;
        }
    }
    return text.len > 0;
}

bool peri_text_next_item(struct peri_str *rest, struct peri_str *item) {
    while (rest->len > 0) {
        const char *comma = memchr(rest->ptr, ',', rest->len);
        size_t n = comma ? (size_t)(comma - rest->ptr) : rest->len; // within rest
        struct peri_str found = peri_text_trim(peri_str(rest->ptr, n));
        n += comma != NULL;
        rest->ptr += n;
        rest->len -= n;
        if (found.len > 0) {
            *item = found;
            return true;
        }
    }
    return false;
}
