// Messages: a number, then bytes that are always the same. Who gets one knows which must come next,
// so that each is compared to the last byte.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "load/load.h"

static const uint8_t MASK[4] = {0x9d, 0x21, 0x5e, 0xc3}; // any but zero will do

// As dashboards and chats have it: repetitive, but not all the same.
static const char FIELD[] = "\"user%u\":{\"name\":\"%c%c%c%c%c\",\"at\":%u,\"x\":%u.%u},";

struct load_messages {
    size_t size;
    bool binary;
    uint8_t *plain;  ///< a message; its number is written over for each
    uint8_t *masked; ///< that, masked, behind the head of its frame
    size_t head;
    z_stream packer;
    int window_bits; ///< of packer; 0: there is none yet
    uint8_t *packed; ///< what packer makes
    size_t packed_room;
    z_stream unpacker; ///< for those that refer to none before
    uint8_t *unpacked; ///< one byte more than a message, so that a longer one shows
    uint8_t *known;    ///< the last compressed one that was right
    size_t known_len, known_room;
    uint64_t known_number;
};

static void write_number(uint64_t number, uint8_t *out) {
    for (int i = LOAD_SEQUENCE - 1; i >= 0; i--) {
        out[i] = (uint8_t)"0123456789abcdef"[number & 15];
        number >>= 4;
    }
}

static uint32_t next(uint32_t *seed) {
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void fill(uint8_t *out, size_t n, bool binary) {
    uint32_t seed = 1;
    for (size_t at = 0; at < n;) {
        char field[96];
        size_t len = 1;
        field[0] = (char)next(&seed);
        if (!binary) {
            char name[5];
            for (size_t i = 0; i < sizeof name; i++) {
                name[i] = (char)('a' + next(&seed) % 26);
            }
            len = (size_t)snprintf(field, sizeof field, FIELD, next(&seed) % 1000, name[0], name[1],
                                   name[2], name[3], name[4], next(&seed) % 100000,
                                   next(&seed) % 1000, next(&seed) % 100);
        }
        len = len < n - at ? len : n - at;
        memcpy(out + at, field, len);
        at += len;
    }
}

/// Writes the head of a masked frame. @return its length
static size_t write_head(uint8_t first, size_t n, uint8_t *out) {
    size_t at = 2;
    out[0] = first;
    if (n < 126) {
        out[1] = (uint8_t)(0x80 | n);
    } else {
        size_t bytes = n < 65536 ? 2 : 8;
        out[1] = 0x80 | (bytes == 2 ? 126 : 127);
        for (size_t i = bytes; i-- > 0;) {
            out[at++] = (uint8_t)(n >> (8 * i));
        }
    }
    memcpy(out + at, MASK, sizeof MASK);
    return at + sizeof MASK;
}

static void mask(const uint8_t *in, size_t n, uint8_t *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = in[i] ^ MASK[i % 4];
    }
}

struct load_messages *load_messages_new(size_t size, bool binary) {
    assert(size >= LOAD_SEQUENCE);
    struct load_messages *messages = load_alloc(sizeof *messages);
    messages->size = size;
    messages->binary = binary;
    messages->plain = load_alloc(size);
    messages->masked = load_alloc(LOAD_MASK_HEAD + size);
    messages->unpacked = load_alloc(size + 1);
    fill(messages->plain, size, binary);
    messages->head = write_head(0x80 | (binary ? 2 : 1), size, messages->masked);
    mask(messages->plain, size, messages->masked + messages->head);
    if (inflateInit2(&messages->unpacker, -15) != Z_OK) {
        load_fail("zlib: no memory");
    }
    return messages;
}

void load_messages_free(struct load_messages *messages) {
    if (!messages) {
        return;
    }
    if (messages->window_bits) {
        (void)deflateEnd(&messages->packer);
    }
    (void)inflateEnd(&messages->unpacker);
    free(messages->plain);
    free(messages->masked);
    free(messages->packed);
    free(messages->unpacked);
    free(messages->known);
    free(messages);
}

void load_messages_window(struct load_messages *messages, int bits) {
    if (messages->window_bits && messages->window_bits <= bits) {
        return;
    }
    if (messages->window_bits) {
        (void)deflateEnd(&messages->packer);
    }
    messages->window_bits = bits;
    // zlib makes 9 of 8; nobody who asks for 8 is served here.
    if (bits < 9 || deflateInit2(&messages->packer, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -bits, 8,
                                 Z_DEFAULT_STRATEGY) != Z_OK) {
        load_fail("can't compress in a window of %d bits", bits);
    }
    free(messages->packed);
    messages->packed_room = deflateBound(&messages->packer, messages->size) + 16;
    messages->packed = load_alloc(messages->packed_room);
}

size_t load_messages_frame_bytes(const struct load_messages *messages) {
    size_t most = messages->packed_room > messages->size ? messages->packed_room : messages->size;
    return LOAD_MASK_HEAD + most;
}

/// Without what was sent before, and without the four bytes that every message ends with.
static size_t pack(struct load_messages *messages) {
    z_stream *z = &messages->packer;
    (void)deflateReset(z);
    z->next_in = messages->plain;
    z->avail_in = (uInt)messages->size;
    z->next_out = messages->packed;
    z->avail_out = (uInt)messages->packed_room;
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in > 0 || z->avail_out == 0) {
        load_fail("zlib: %s", z->msg ? z->msg : "a message is longer than it can be");
    }
    return messages->packed_room - z->avail_out - 4;
}

size_t load_messages_frame(struct load_messages *messages, uint64_t number, bool compressed,
                           uint8_t *out) {
    uint8_t digits[LOAD_SEQUENCE];
    write_number(number, digits);
    if (compressed) {
        memcpy(messages->plain, digits, sizeof digits);
        size_t n = pack(messages);
        size_t head = write_head(0xc0 | (messages->binary ? 2 : 1), n, out);
        mask(messages->packed, n, out + head);
        return head + n;
    }
    memcpy(out, messages->masked, messages->head + messages->size);
    mask(digits, sizeof digits, out + messages->head);
    return messages->head + messages->size;
}

bool load_messages_check(const struct load_messages *messages, uint64_t number, size_t at,
                         const uint8_t *bytes, size_t n) {
    if (at > messages->size || n > messages->size - at) {
        return false;
    }
    if (at < LOAD_SEQUENCE) {
        uint8_t digits[LOAD_SEQUENCE];
        size_t part = LOAD_SEQUENCE - at < n ? LOAD_SEQUENCE - at : n;
        write_number(number, digits);
        if (memcmp(digits + at, bytes, part) != 0) {
            return false;
        }
        at += part;
        bytes += part;
        n -= part;
    }
    return memcmp(messages->plain + at, bytes, n) == 0;
}

/// @return how many bytes came out, or none where they are no message
static size_t unpack(struct load_messages *messages, z_streamp z, const uint8_t *bytes, size_t n) {
    static const uint8_t TAIL[] = {0, 0, 0xff, 0xff};
    z->next_out = messages->unpacked;
    z->avail_out = (uInt)messages->size + 1;
    for (int part = 0; part < 2; part++) {
        z->next_in = (Bytef *)(part == 0 ? bytes : TAIL); // zlib does not write there
        z->avail_in = part == 0 ? (uInt)n : sizeof TAIL;
        int status = inflate(z, Z_SYNC_FLUSH);
        if ((status != Z_OK && status != Z_BUF_ERROR) || z->avail_in > 0) {
            return 0;
        }
    }
    return messages->size + 1 - z->avail_out;
}

bool load_messages_check_packed(struct load_messages *messages, uint64_t number, z_streamp *window,
                                const uint8_t *bytes, size_t n) {
    // A broadcast that was compressed once is looked at once.
    if (!window && messages->known && number == messages->known_number &&
        n == messages->known_len && memcmp(bytes, messages->known, n) == 0) {
        return true;
    }
    z_streamp z = window ? *window : &messages->unpacker;
    if (!window) {
        (void)inflateReset(z);
    }
    size_t len = unpack(messages, z, bytes, n);
    if (len != messages->size ||
        !load_messages_check(messages, number, 0, messages->unpacked, len)) {
        return false;
    }
    if (!window) {
        if (messages->known_room < n || !messages->known) {
            free(messages->known);
            messages->known_room = 2 * n;
            messages->known = load_alloc(messages->known_room);
        }
        memcpy(messages->known, bytes, n);
        messages->known_len = n;
        messages->known_number = number;
    }
    return true;
}
