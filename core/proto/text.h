// The small grammar that HTTP fields share: tokens, lists, ASCII case. RFC 9110 section 5.6
#pragma once

#include <stdbool.h>

#include "base/status.h"

/// Equal but for the case of ASCII letters.
bool peri_text_equal(struct peri_str a, struct peri_str b);

/// Without the spaces and tabs around it.
struct peri_str peri_text_trim(struct peri_str text);

/// True for one or more token characters.
bool peri_text_is_token(struct peri_str text);

/// Takes the next non-empty item off a comma-separated list.
/// @param rest  advanced past the item
/// @return false at the end
bool peri_text_next_item(struct peri_str *rest, struct peri_str *item);

static inline char peri_text_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static inline bool peri_text_is_digit(char c) {
    return c >= '0' && c <= '9';
}

/// The value of a hexadecimal digit; -1 for anything else.
static inline int peri_text_hex(char c) {
    char lower = peri_text_lower(c);
    return peri_text_is_digit(c) ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}
