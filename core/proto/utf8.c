// UTF-8 by the table of well-formed byte sequences: RFC 3629 section 4. Only the second byte of a
// sequence has bounds narrower than 80..BF, and the first byte decides them.
#include "proto/utf8.h"

#include "base/wide.h"

static const uint8_t *skip_ascii(const uint8_t *at, const uint8_t *end) {
    enum { WIDE = sizeof(peri_wide), STRIDE = 4 * WIDE };
    for (; end - at >= STRIDE; at += STRIDE) {
        peri_wide seen = peri_wide_load(at);
        for (size_t i = WIDE; i < STRIDE; i += WIDE) {
            seen |= peri_wide_load(at + i);
        }
        if (!peri_wide_is_ascii(seen)) {
            break;
        }
    }
    while (end - at >= WIDE && peri_wide_is_ascii(peri_wide_load(at))) {
        at += WIDE;
    }
    while (at < end && *at < 0x80) {
        at++;
    }
    return at;
}

static bool continues(uint8_t byte) {
    return (byte & 0xc0) == 0x80;
}

/// @param at a lead byte of 80 or more and the three bytes after it
/// @return the length of the well-formed sequence there; 0: there is none
static size_t sequence_at(const uint8_t *at) {
    uint8_t lead = at[0], second = at[1];
    if (!continues(second)) {
        return 0;
    }
    if (lead < 0xe0) {
        return lead >= 0xc2 ? 2 : 0;
    }
    if (!continues(at[2])) {
        return 0;
    }
    if (lead < 0xf0) {
        bool overlong = lead == 0xe0 && second < 0xa0, surrogate = lead == 0xed && second > 0x9f;
        return overlong || surrogate ? 0 : 3;
    }
    bool overlong = lead == 0xf0 && second < 0x90, too_high = lead == 0xf4 && second > 0x8f;
    return lead > 0xf4 || overlong || too_high || !continues(at[3]) ? 0 : 4;
}

/// Whole sequences, as long as they are well-formed and not within three bytes of the end.
static const uint8_t *skip_whole(const uint8_t *at, const uint8_t *end) {
    while (end - at >= 4) {
        if (*at < 0x80) {
            at = skip_ascii(at, end);
            continue;
        }
        size_t n = sequence_at(at);
        if (n == 0) {
            break;
        }
        at += n;
    }
    return at;
}

/// Sets what may follow a lead byte of 80 or more.
static bool begin(struct peri_utf8 *state, uint8_t lead) {
    *state = (struct peri_utf8){.low = 0x80, .high = 0xbf};
    if (lead < 0xc2 || lead > 0xf4) {
        return false; // a continuation, an overlong form of ASCII, or over U+10FFFF
    }
    state->need = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    switch (lead) {
    case 0xe0:
        state->low = 0xa0; // below: overlong
        break;
    case 0xed:
        state->high = 0x9f; // above: surrogates
        break;
    case 0xf0:
        state->low = 0x90; // below: overlong
        break;
    case 0xf4:
        state->high = 0x8f; // above: over U+10FFFF
        break;
    default: break;
    }
    return true;
}

bool peri_utf8_feed(struct peri_utf8 *state, const void *bytes, size_t n) {
    if (n == 0) {
        return true;
    }
    const uint8_t *at = bytes;
    const uint8_t *end = at + n;
    if (state->need == 0) {
        at = skip_ascii(at, end);
        if (at == end) {
            return true;
        }
    }
    struct peri_utf8 now = *state;
    for (;;) {
        for (; now.need > 0 && at < end; at++) {
            if (*at < now.low || *at > now.high) {
                return false;
            }
            now = (struct peri_utf8){.need = (uint8_t)(now.need - 1), .low = 0x80, .high = 0xbf};
        }
        at = skip_whole(at, end);
        at = at < end && *at < 0x80 ? skip_ascii(at, end) : at;
        if (at == end) {
            *state = now;
            return true;
        }
        if (!begin(&now, *at++)) {
            return false;
        }
    }
}

bool peri_utf8_is_valid(const void *bytes, size_t n) {
    struct peri_utf8 state = {0};
    return peri_utf8_feed(&state, bytes, n) && peri_utf8_is_complete(&state);
}
