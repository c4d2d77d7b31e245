// Frame headers, masking and the payload of Close. RFC 6455 sections 5.2, 5.3, 5.5.1
#include "proto/frame.h"

#include <assert.h>

#include "base/wide.h"

enum {
    BIT_FIN = 0x80,
    BIT_MASK = 0x80,
    LENGTH_BITS = 0x7f,
    LENGTH_IN_2 = 126,
    LENGTH_IN_8 = 127,
    KEY_BYTES = 4,
    REASON_MAX = PERI_CONTROL_MAX - 2,
};

static size_t length_bytes(uint8_t second) {
    switch (second & LENGTH_BITS) {
    case LENGTH_IN_2: return 2;
    case LENGTH_IN_8: return 8;
    default: return 0;
    }
}

static uint64_t read_be(const uint8_t *bytes, size_t n) {
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static void write_be(uint8_t *bytes, size_t n, uint64_t value) {
    for (size_t i = n; i > 0; i--) {
        bytes[i - 1] = (uint8_t)(value & 0xff);
        value >>= 8;
    }
}

int peri_frame_decode(struct peri_frame *frame, const uint8_t *bytes, size_t n) {
    if (n < 2) {
        return PERI_AGAIN;
    }
    size_t extended = length_bytes(bytes[1]);
    if (n < 2 + extended) {
        return PERI_AGAIN;
    }
    uint64_t length = bytes[1] & LENGTH_BITS;
    if (extended > 0) {
        length = read_be(bytes + 2, extended);
        uint64_t least = extended == 2 ? LENGTH_IN_2 : UINT16_MAX + UINT64_C(1);
        if (length < least || length > INT64_MAX) {
            return PERI_E_PROTOCOL;
        }
    }
    bool masked = bytes[1] & BIT_MASK;
    size_t header_bytes = 2 + extended + (masked ? KEY_BYTES : 0);
    if (n < header_bytes) {
        return PERI_AGAIN;
    }
    *frame = (struct peri_frame){
        .fin = bytes[0] & BIT_FIN,
        .rsv = bytes[0] >> 4 & 7,
        .opcode = bytes[0] & 0xf,
        .masked = masked,
        .length = length,
        .header_bytes = (uint8_t)header_bytes, // at most PERI_FRAME_HEADER_MAX
    };
    if (masked) {
        memcpy(frame->key, bytes + 2 + extended, KEY_BYTES);
    }
    return PERI_OK;
}

size_t peri_frame_encode(uint8_t out[PERI_FRAME_HEADER_MAX], bool fin, uint8_t rsv,
                         enum peri_opcode opcode, uint64_t length, const uint8_t *key) {
    assert(rsv <= 7 && length <= INT64_MAX);
    size_t extended = peri_frame_header_bytes(length) - 2;
    uint8_t length_field = extended == 0   ? (uint8_t)length // under 126
                           : extended == 2 ? LENGTH_IN_2
                                           : LENGTH_IN_8;
    out[0] = (uint8_t)((fin ? BIT_FIN : 0) | rsv << 4 | (int)opcode);
    out[1] = (uint8_t)((key ? BIT_MASK : 0) | length_field);
    write_be(out + 2, extended, length);
    if (key) {
        memcpy(out + 2 + extended, key, KEY_BYTES);
    }
    return 2 + extended + (key ? KEY_BYTES : 0);
}

/// From LONG_LEAST bytes on a call for the widest steps pays.
enum { LONG_LEAST = 1024, LONG_STRIDE = 128 };

/// Masks a piece of fewer than sixteen bytes. @return its bytes, all of them in one word by `or`
static uint64_t mask_rest(uint8_t *at, size_t n, uint64_t mask) {
    uint64_t seen = 0;
    if (n >= sizeof seen) {
        memcpy(&seen, at, sizeof seen);
        seen ^= mask;
        memcpy(at, &seen, sizeof seen);
        at += sizeof seen;
        n -= sizeof seen;
    }
    uint8_t bytes[sizeof mask];
    memcpy(bytes, &mask, sizeof bytes);
    for (size_t i = 0; i < n; i++) {
        at[i] ^= bytes[i];
        seen |= at[i];
    }
    return seen;
}

/// Masks n bytes, a multiple of the stride. @return as mask_rest
PERI_WIDEST static uint64_t mask_long(uint8_t *bytes, size_t n, uint64_t twice) {
    const peri_wider mask = {twice, twice, twice, twice};
    peri_wider seen = {0};
    for (; n > 0; bytes += LONG_STRIDE, n -= LONG_STRIDE) {
        for (size_t i = 0; i < LONG_STRIDE; i += sizeof mask) {
            peri_wider wide;
            memcpy(&wide, bytes + i, sizeof wide);
            wide ^= mask;
            memcpy(bytes + i, &wide, sizeof wide);
            seen |= wide;
        }
    }
    return seen[0] | seen[1] | seen[2] | seen[3];
}

bool peri_mask(uint8_t *bytes, size_t n, const uint8_t key[4], uint64_t offset) {
    enum { WIDE = sizeof(peri_wide), STRIDE = 4 * WIDE };
    uint8_t round[12]; // the key three times: from any of its first four bytes it goes on for eight
    memcpy(round, key, 4);
    memcpy(round + 4, key, 4);
    memcpy(round + 8, key, 4);
    uint64_t twice;
    memcpy(&twice, round + (offset & 3), sizeof twice);
    const peri_wide mask = {twice, twice};
    peri_wide seen = {0};

    if (n >= LONG_LEAST) {
        size_t most = n - n % LONG_STRIDE;
        seen[0] = mask_long(bytes, most, twice);
        bytes += most;
        n -= most;
    }
    for (; n >= STRIDE; bytes += STRIDE, n -= STRIDE) {
        for (size_t i = 0; i < STRIDE; i += WIDE) {
            peri_wide wide = peri_wide_load(bytes + i) ^ mask;
            peri_wide_store(bytes + i, wide);
            seen |= wide;
        }
    }
    for (; n >= WIDE; bytes += WIDE, n -= WIDE) {
        peri_wide wide = peri_wide_load(bytes) ^ mask;
        peri_wide_store(bytes, wide);
        seen |= wide;
    }
    seen[0] |= mask_rest(bytes, n, twice);
    return peri_wide_is_ascii(seen);
}

bool peri_close_code_is_valid(int code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

size_t peri_close_payload(uint8_t out[PERI_CONTROL_MAX], int code, struct peri_str reason) {
    if (code == 0) {
        return 0;
    }
    assert(peri_close_code_is_valid(code));
    size_t n = reason.len;
    if (n > REASON_MAX) {
        n = REASON_MAX;
        while (n > 0 && ((uint8_t)reason.ptr[n] & 0xc0) == 0x80) {
            n--; // not in the middle of a character
        }
    }
    write_be(out, 2, (uint64_t)code);
    if (n > 0) {
        memcpy(out + 2, reason.ptr, n);
    }
    return 2 + n;
}
