// zlib, with its memory counted, as RFC 7692 has messages: raw, flushed to a byte's edge, and
// without the four bytes that such a flush ends in.
#include "proto/deflate.h"

#include <assert.h>
#include <zlib.h>

#include "base/alloc.h"

enum {
    TAIL_BYTES = 4, ///< what a flush ends in. RFC 7692 section 7.2.1
    SMALLEST_OUT = 256,
    INFLATE_BYTES = 8 * 1024, ///< a decompressor without its window: zlib 1.2 and 1.3 take 7.2 KiB
};

static const uint8_t tail[TAIL_BYTES] = {0x00, 0x00, 0xff, 0xff};

struct peri_deflater {
    struct peri_deflate_budget *budget;
    z_stream *stream; ///< NULL until it is used
    uint8_t bits;
    bool own;
};

struct peri_inflater {
    struct peri_deflate_budget *budget;
    z_stream *stream; ///< NULL until it is used
    size_t reserved;
    uint8_t bits;
    bool own;
    bool at_edge; ///< nothing of a block is open: the message may end without the tail
};

// The budget.

/// @param own contexts of one connection leave a quarter to what is shared
static bool has_room(const struct peri_deflate_budget *budget, size_t n, bool own) {
    uint64_t max = own ? budget->max_bytes / 4 * 3 : budget->max_bytes;
    return budget->used_ <= max && n <= max - budget->used_;
}

/// What a compressor takes. zlib's formula, with memory_level, and its struct.
static size_t deflate_bytes(unsigned bits) {
    return ((size_t)1 << (bits + 3)) + (size_t)8 * 1024;
}

static size_t inflate_bytes(unsigned bits) {
    return INFLATE_BYTES + ((size_t)1 << bits);
}

/// Precedes each of zlib's blocks. As large as what malloc aligns to.
struct prefix {
    _Alignas(max_align_t) size_t size;
};

static voidpf allocate(voidpf opaque, uInt items, uInt size) {
    struct peri_deflater *deflater = opaque;
    size_t n = sizeof(struct prefix) + (size_t)items * size; // zlib's are below 2^20
    if (!has_room(deflater->budget, n, deflater->own)) {
        return NULL;
    }
    struct prefix *prefix = peri_alloc(n);
    if (!prefix) {
        return NULL;
    }
    prefix->size = n;
    deflater->budget->used_ += n;
    return prefix + 1;
}

static void release(voidpf opaque, voidpf block) {
    struct peri_deflater *deflater = opaque;
    struct prefix *prefix = (struct prefix *)block - 1;
    deflater->budget->used_ -= prefix->size;
    peri_free(prefix);
}

/// A decompressor's memory is reserved, so this only passes on.
static voidpf allocate_reserved(voidpf opaque, uInt items, uInt size) {
    (void)opaque;
    return peri_alloc((size_t)items * size);
}

static void release_reserved(voidpf opaque, voidpf block) {
    (void)opaque;
    peri_free(block);
}

// Compressing.

/// A level that takes half as much for the tables as for the window.
static int memory_level(unsigned bits) {
    return (int)bits - 7;
}

static struct peri_deflater *make_deflater(struct peri_deflate_budget *budget, unsigned bits,
                                           bool own) {
    struct peri_deflater *deflater = peri_calloc(1, sizeof *deflater);
    if (deflater) {
        deflater->budget = budget;
        deflater->bits = (uint8_t)bits; // 9 to 15
        deflater->own = own;
    }
    return deflater;
}

struct peri_deflater *peri_deflater_shared(struct peri_deflate_pool *pool, unsigned bits) {
    assert(bits >= PERI_WINDOW_MIN && bits <= PERI_WINDOW_MAX);
    struct peri_deflater **place = &pool->deflaters_[bits - PERI_WINDOW_MIN];
    if (!*place) {
        *place = make_deflater(pool->budget, bits, false);
    }
    return *place;
}

struct peri_deflater *peri_deflater_new(struct peri_deflate_pool *pool, unsigned bits) {
    assert(bits >= PERI_WINDOW_MIN && bits <= PERI_WINDOW_MAX);
    return has_room(pool->budget, deflate_bytes(bits), true)
               ? make_deflater(pool->budget, bits, true)
               : NULL;
}

static void free_deflater(struct peri_deflater *deflater) {
    if (deflater && deflater->stream) {
        (void)deflateEnd(deflater->stream); // it says when it was in use, which is no error here
        peri_free(deflater->stream);
    }
    peri_free(deflater);
}

void peri_deflater_free(struct peri_deflater *deflater) {
    if (deflater && deflater->own) {
        free_deflater(deflater);
    }
}

bool peri_deflater_is_own(const struct peri_deflater *deflater) {
    return deflater->own;
}

unsigned peri_deflater_bits(const struct peri_deflater *deflater) {
    return deflater->bits;
}

bool peri_deflater_is_ready(struct peri_deflater *deflater) {
    if (deflater->stream) {
        return true;
    }
    z_stream *stream = peri_calloc(1, sizeof *stream);
    if (!stream) {
        return false;
    }
    stream->zalloc = allocate;
    stream->zfree = release;
    stream->opaque = deflater;
    // The fastest level takes half the time of the default one, for a message that is a tenth longer.
    if (deflateInit2(stream, Z_BEST_SPEED, Z_DEFLATED, -(int)deflater->bits,
                     memory_level(deflater->bits), Z_DEFAULT_STRATEGY) != Z_OK) {
        peri_free(stream);
        return false;
    }
    deflater->stream = stream;
    return true;
}

void peri_deflater_reset(struct peri_deflater *deflater) {
    if (deflater->stream) {
        (void)deflateReset(deflater->stream); // fails for a broken stream only
    }
}

bool peri_deflater_message(struct peri_deflater *deflater, struct peri_str payload,
                           struct peri_buffer *out) {
    out->len = 0;
    if (payload.len == 0 || payload.len > UINT32_MAX - TAIL_BYTES ||
        !peri_deflater_is_ready(deflater) ||
        peri_buffer_reserve(out, payload.len + TAIL_BYTES) != PERI_OK) {
        return false;
    }
    z_stream *stream = deflater->stream;
    stream->next_in = (Bytef *)(uintptr_t)payload.ptr; // zlib reads only
    stream->avail_in = (uInt)payload.len;              // checked above, as is avail_out
    stream->next_out = out->ptr;
    stream->avail_out = (uInt)(payload.len + TAIL_BYTES - 1); // less than the payload, and the tail
    int rc = deflate(stream, Z_SYNC_FLUSH);
    size_t n = payload.len + TAIL_BYTES - 1 - stream->avail_out;
    bool shorter = rc == Z_OK && stream->avail_in == 0 && stream->avail_out > 0 && n > TAIL_BYTES;
    if (!shorter || !deflater->own) {
        (void)deflateReset(stream); // what is not sent must not be remembered
    }
    if (shorter) {
        assert(memcmp(out->ptr + n - TAIL_BYTES, tail, TAIL_BYTES) == 0);
        out->len = n - TAIL_BYTES;
    }
    return shorter;
}

// Decompressing.

static struct peri_inflater *make_inflater(struct peri_deflate_budget *budget, unsigned bits,
                                           bool own) {
    // zlib's own compressors took 8 bits for 9 for long; a larger window costs little.
    bits = bits < PERI_WINDOW_MIN ? PERI_WINDOW_MIN : bits;
    size_t n = inflate_bytes(bits);
    struct peri_inflater *inflater =
        has_room(budget, n, own) ? peri_calloc(1, sizeof *inflater) : NULL;
    if (inflater) {
        *inflater = (struct peri_inflater){.budget = budget, .reserved = n, .own = own};
        inflater->bits = (uint8_t)bits; // 9 to 15
        budget->used_ += n;
    }
    return inflater;
}

struct peri_inflater *peri_inflater_shared(struct peri_deflate_pool *pool) {
    if (!pool->inflater_) {
        pool->inflater_ = make_inflater(pool->budget, PERI_WINDOW_MAX, false);
    }
    return pool->inflater_;
}

struct peri_inflater *peri_inflater_new(struct peri_deflate_pool *pool, unsigned bits) {
    assert(bits >= 8 && bits <= PERI_WINDOW_MAX);
    return make_inflater(pool->budget, bits, true);
}

static void free_inflater(struct peri_inflater *inflater) {
    if (!inflater) {
        return;
    }
    if (inflater->stream) {
        (void)inflateEnd(inflater->stream); // fails for no stream only
        peri_free(inflater->stream);
    }
    inflater->budget->used_ -= inflater->reserved;
    peri_free(inflater);
}

void peri_inflater_free(struct peri_inflater *inflater) {
    if (inflater && inflater->own) {
        free_inflater(inflater);
    }
}

bool peri_inflater_is_own(const struct peri_inflater *inflater) {
    return inflater->own;
}

static bool is_inflater_ready(struct peri_inflater *inflater) {
    if (inflater->stream) {
        return true;
    }
    z_stream *stream = peri_calloc(1, sizeof *stream);
    if (!stream) {
        return false;
    }
    stream->zalloc = allocate_reserved;
    stream->zfree = release_reserved;
    if (inflateInit2(stream, -(int)inflater->bits) != Z_OK) {
        peri_free(stream);
        return false;
    }
    inflater->stream = stream;
    return true;
}

/// Makes room behind what is there, by doubling, up to max_bytes.
/// @return PERI_OK, also when there can be no more room; PERI_E_MEMORY
static int grow(struct peri_buffer *out, size_t max_bytes) {
    if (out->len < out->cap || out->len == max_bytes) {
        return PERI_OK;
    }
    size_t cap = out->cap < SMALLEST_OUT / 2 ? SMALLEST_OUT : 2 * out->cap;
    cap = cap < max_bytes ? cap : max_bytes;
    uint8_t *ptr = peri_realloc(out->ptr, cap);
    if (!ptr) {
        return PERI_E_MEMORY;
    }
    out->ptr = ptr;
    out->cap = cap;
    return PERI_OK;
}

/// Decompresses until there is neither input left nor output pending.
static int run(struct peri_inflater *inflater, struct peri_str piece, size_t max_bytes,
               struct peri_buffer *out) {
    z_stream *stream = inflater->stream;
    stream->next_in = (Bytef *)(uintptr_t)piece.ptr; // zlib reads only
    stream->avail_in = (uInt)piece.len;              // a read, or a message: at most 1 GiB and some
    for (;;) {
        if (grow(out, max_bytes) != PERI_OK) {
            return PERI_E_MEMORY;
        }
        uint8_t excess = 0; // at the cap: is there one byte more?
        size_t room = out->len < max_bytes ? out->cap - out->len : 1;
        stream->next_out = out->len < max_bytes ? out->ptr + out->len : &excess;
        stream->avail_out = (uInt)room;
        int rc = inflate(stream, Z_SYNC_FLUSH);
        size_t made = room - stream->avail_out;
        if (made > 0 && out->len == max_bytes) {
            return PERI_E_LIMIT;
        }
        out->len += made;
        switch (rc) {
        case Z_OK:
        case Z_BUF_ERROR: // no progress
            if (stream->avail_in == 0 && stream->avail_out > 0) {
                inflater->at_edge = false;
                return PERI_OK;
            }
            break;
        case Z_STREAM_END: // a last block; more may follow. RFC 7692 section 7.2.3.4
            inflater->at_edge = true;
            (void)inflateResetKeep(stream); // the window stays
            if (stream->avail_in == 0) {
                return PERI_OK;
            }
            break;
        case Z_MEM_ERROR: return PERI_E_MEMORY;
        default: return PERI_E_INVALID;
        }
    }
}

/// True when no block is open. The tail has then been an empty block of its own.
static bool is_between_blocks(const z_stream *stream) {
    enum { AT_BLOCK = 128, UNUSED_BITS = 63 }; // of data_type: see inflate in zlib.h
    return (stream->data_type & AT_BLOCK) && (stream->data_type & UNUSED_BITS) == 0;
}

int peri_inflater_take(struct peri_inflater *inflater, struct peri_str piece, bool first, bool last,
                       size_t max_bytes, struct peri_buffer *out) {
    if (!is_inflater_ready(inflater)) {
        return PERI_E_MEMORY;
    }
    if (first) {
        inflater->at_edge = true;
        if (!inflater->own) {
            (void)inflateReset(inflater->stream); // fails for no stream only
        }
    }
    int rc = piece.len > 0 ? run(inflater, piece, max_bytes, out) : PERI_OK;
    if (rc == PERI_OK && last && !inflater->at_edge) {
        // The tail ends an empty block. What takes it for bytes of its own was cut short.
        rc = run(inflater, peri_str((const char *)tail, sizeof tail), out->len, out);
        bool ended = inflater->at_edge || is_between_blocks(inflater->stream);
        if (rc == PERI_E_LIMIT || (rc == PERI_OK && !ended)) {
            rc = PERI_E_INVALID;
        }
    }
    return rc;
}

void peri_deflate_pool_deinit(struct peri_deflate_pool *pool) {
    for (size_t i = 0; i < sizeof pool->deflaters_ / sizeof pool->deflaters_[0]; i++) {
        free_deflater(pool->deflaters_[i]);
        pool->deflaters_[i] = NULL;
    }
    free_inflater(pool->inflater_);
    pool->inflater_ = NULL;
}
