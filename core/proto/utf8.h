// UTF-8 validation that may stop and go on at any byte.
#pragma once

#include <stdbool.h>

#include "base/status.h"

/// What is pending of an incomplete sequence. Zero-initialised: none.
struct peri_utf8 {
    uint8_t need;      ///< continuation bytes still to come
    uint8_t low, high; ///< bounds of the next one
};

/// Takes the next n bytes.
/// @return false at the first byte that no valid continuation could follow: overlong forms,
///         surrogates and code points over U+10FFFF are refused as early as that. RFC 3629
bool peri_utf8_feed(struct peri_utf8 *state, const void *bytes, size_t n);

/// True when no sequence is left incomplete.
static inline bool peri_utf8_is_complete(const struct peri_utf8 *state) {
    return state->need == 0;
}

/// True when the n bytes are valid UTF-8 as a whole.
bool peri_utf8_is_valid(const void *bytes, size_t n);
