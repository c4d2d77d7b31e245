// The frame header, both ways, and masking. RFC 6455 section 5.2 and 5.3
#pragma once

#include <stdbool.h>

#include "base/status.h"

enum peri_opcode {
    PERI_OP_CONTINUATION = 0x0,
    PERI_OP_TEXT = 0x1,
    PERI_OP_BINARY = 0x2,
    PERI_OP_CLOSE = 0x8,
    PERI_OP_PING = 0x9,
    PERI_OP_PONG = 0xA,
};

enum { PERI_FRAME_HEADER_MAX = 14, PERI_CONTROL_MAX = 125 };

struct peri_frame {
    bool fin;
    uint8_t rsv;    ///< the three bits, RSV1 is 4
    uint8_t opcode; ///< enum peri_opcode, or a reserved value
    bool masked;
    uint8_t key[4];  ///< masking key
    uint64_t length; ///< of the payload
    uint8_t header_bytes;
};

/// Reads a frame header.
/// @return PERI_OK; PERI_AGAIN when n bytes are too few; PERI_E_PROTOCOL when the length is not
///         in its shortest form or has its top bit set. Says nothing of opcodes, RSV or masks.
PERI_MUST_CHECK int peri_frame_decode(struct peri_frame *frame, const uint8_t *bytes, size_t n);

/// Bytes of the header of an unmasked frame.
static inline size_t peri_frame_header_bytes(uint64_t length) {
    return length < 126 ? 2 : length <= UINT16_MAX ? 4 : 10;
}

/// Writes the header of an unfragmented or fragmented frame.
/// @param key  4 bytes, or NULL for an unmasked frame
/// @return bytes written, at most PERI_FRAME_HEADER_MAX
size_t peri_frame_encode(uint8_t out[PERI_FRAME_HEADER_MAX], bool fin, uint8_t rsv,
                         enum peri_opcode opcode, uint64_t length, const uint8_t *key);

/// Masks or unmasks in place; `offset` is how many payload bytes came before.
/// @return true when all bytes that came of it are ASCII
bool peri_mask(uint8_t *bytes, size_t n, const uint8_t key[4], uint64_t offset);

/// True for close codes that may stand in a Close frame: 1000-1003, 1007-1014, 3000-4999.
/// RFC 6455 section 7.4 and IANA's registry
bool peri_close_code_is_valid(int code);

/// Writes a Close frame's payload.
/// @param code   0 for an empty payload (code 1005 and 1006 are never written: give 0)
/// @param reason valid UTF-8; cut at a character's edge to fit 123 bytes
/// @return bytes written, at most PERI_CONTROL_MAX
size_t peri_close_payload(uint8_t out[PERI_CONTROL_MAX], int code, struct peri_str reason);
