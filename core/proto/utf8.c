// UTF-8 by the table of well-formed byte sequences: RFC 3629 section 4. Only the second byte of a
// sequence has bounds narrower than 80..BF, and the first byte decides them.
#include "proto/utf8.h"

static const uint64_t HIGH_BITS = UINT64_C(0x8080808080808080);

static const uint8_t *skip_ascii(const uint8_t *at, const uint8_t *end) {
    while (end - at >= 32) {
        uint64_t words[4];
        memcpy(words, at, sizeof words);
        if ((words[0] | words[1] | words[2] | words[3]) & HIGH_BITS) {
            break;
        }
        at += sizeof words;
    }
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        if (word & HIGH_BITS) {
            break;
        }
        at += sizeof word;
    }
    while (at < end && *at < 0x80) {
        at++;
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
    struct peri_utf8 now = *state;
    for (;;) {
        for (; now.need > 0 && at < end; at++) {
            if (*at < now.low || *at > now.high) {
                return false;
            }
            now = (struct peri_utf8){.need = (uint8_t)(now.need - 1), .low = 0x80, .high = 0xbf};
        }
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
