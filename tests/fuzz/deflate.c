// permessage-deflate, both ways. What a peer sends is inflated whole and in pieces, which must not
// matter, and by zlib alone, a byte at a time, which must agree. What we compress comes back as it
// was, and needs no larger window than what was agreed on.
#include "proto/deflate.h"

#include <zlib.h>

#include "fuzz.h"

enum { MESSAGES_MAX = 8 };

struct options {
    bool own; ///< contexts of the connection's own, not the shared ones
    unsigned bits;
    size_t max_bytes;
    struct fuzz_cuts cuts;
    uint64_t budget;
    uint8_t failing; ///< which allocation fails first; 0: none
};

/// A message: a number, with its length below 2^15 and a flag, then its bytes. @return false at the end
static bool next_message(struct peri_str *in, size_t *count, struct peri_str *message, bool *flag) {
    if (in->len == 0 || (*count)++ == MESSAGES_MAX) {
        return false;
    }
    uint32_t number = fuzz_number(in);
    *message = fuzz_bytes(in, number & 0x7fff);
    *flag = number & 0x8000;
    return true;
}

static void note_result(struct fuzz_seen *seen, struct peri_str bytes, int rc) {
    fuzz_note(seen, bytes.ptr, bytes.len);
    fuzz_note_number(seen, bytes.len);
    fuzz_note_number(seen, (uint64_t)rc);
}

// zlib alone ---------------------------------------------------------------------------------

/// Inflates one message, a byte of it at a time: so zlib holds the window to its size.
/// @param far set when it reaches back further than its window or the messages before it
/// @param out appended to
static int inflate_strictly(z_stream *z, struct peri_str message, size_t max_bytes, bool *far,
                            struct fuzz_seen *out) {
    struct peri_str parts[] = {message, peri_str("\x00\x00\xff\xff", 4)};
    bool at_edge = true; // of a last block, or of the message
    size_t made = 0;
    for (size_t i = 0; i < 2 && !(i == 1 && at_edge); i++) {
        z->next_in = (Bytef *)(uintptr_t)parts[i].ptr; // zlib reads only
        z->avail_in = (uInt)parts[i].len;              // small, as above
        uint8_t byte = 0;
        do {
            z->next_out = &byte;
            z->avail_out = 1;
            uInt before = z->avail_in;
            int rc = inflate(z, Z_SYNC_FLUSH);
            at_edge = at_edge && z->avail_in == before;
            if (z->avail_out == 0) {
                if (i == 1) {
                    return PERI_E_INVALID; // the tail is no part of the message
                }
                if (made++ == max_bytes) {
                    return PERI_E_LIMIT;
                }
                fuzz_note(out, &byte, 1);
            }
            if (rc == Z_STREAM_END) {
                FUZZ_CHECK(inflateResetKeep(z) == Z_OK);
                at_edge = z->avail_in == 0;
            } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
                FUZZ_CHECK(rc == Z_DATA_ERROR);
                *far = strcmp(z->msg, "invalid distance too far back") == 0;
                return PERI_E_INVALID;
            }
        } while (z->avail_in > 0 || z->avail_out == 0);
    }
    bool complete = at_edge || (z->data_type & 0x80 && (z->data_type & 0x3f) == 0);
    return complete ? PERI_OK : PERI_E_INVALID;
}

/// @param seen without the verdict on the message that reached back too far
/// @return false when one did
static bool inflate_all_strictly(const struct options *o, struct peri_str in,
                                 struct fuzz_seen *seen) {
    z_stream z = {0};
    struct peri_str message;
    size_t count = 0;
    int rc = inflateInit2(&z, o->own ? -(int)o->bits : -PERI_WINDOW_MAX);
    bool flag, far = false;
    FUZZ_CHECK(rc == Z_OK);
    while (rc == PERI_OK && next_message(&in, &count, &message, &flag)) {
        if (!o->own) {
            FUZZ_CHECK(inflateReset(&z) == Z_OK);
        }
        size_t before = seen->len;
        rc = inflate_strictly(&z, message, o->max_bytes, &far, seen);
        if (!far) {
            fuzz_note_number(seen, seen->len - before);
            fuzz_note_number(seen, (uint64_t)rc);
        }
    }
    FUZZ_CHECK(inflateEnd(&z) == Z_OK);
    return !far;
}

// Inflating ----------------------------------------------------------------------------------

static int inflate_pieces(struct peri_inflater *inflater, struct peri_str message,
                          const struct fuzz_cuts *cuts, size_t max_bytes, struct peri_buffer *out) {
    struct peri_span piece;
    size_t turn = 0;
    bool first = true;
    int rc = PERI_OK;
    while (rc == PERI_OK && fuzz_piece(&message, cuts, &turn, &piece)) {
        struct peri_str bytes = {(const char *)piece.ptr, piece.len};
        rc = peri_inflater_take(inflater, bytes, first, message.len == 0, max_bytes, out);
        first = false;
        free(piece.ptr);
        FUZZ_CHECK(out->len <= max_bytes && out->cap <= max_bytes);
    }
    if (first) {
        rc = peri_inflater_take(inflater, (struct peri_str){0}, true, true, max_bytes, out);
    }
    FUZZ_CHECK(rc == PERI_OK || rc == PERI_E_LIMIT || rc == PERI_E_INVALID || rc == PERI_E_MEMORY);
    FUZZ_CHECK(rc != PERI_E_LIMIT || out->len == max_bytes);
    return rc;
}

enum keeping {
    KEPT,   ///< one of the connection's own
    SHARED, ///< the pool's
    FRESH,  ///< one of its own for each message
};

static struct peri_inflater *get_inflater(struct peri_deflate_pool *pool, enum keeping how,
                                          unsigned bits) {
    struct peri_inflater *inflater =
        how == SHARED ? peri_inflater_shared(pool) : peri_inflater_new(pool, bits);
    FUZZ_CHECK(!inflater || peri_inflater_is_own(inflater) == (how != SHARED));
    return inflater;
}

/// What comes of all messages up to the first that is wrong.
static void inflate_all(const struct options *o, enum keeping how, const struct fuzz_cuts *cuts,
                        struct peri_str in, struct fuzz_seen *seen) {
    struct peri_deflate_budget budget = {.max_bytes = o->budget};
    struct peri_deflate_pool pool = {.budget = &budget};
    unsigned bits = how == FRESH ? PERI_WINDOW_MAX : o->bits;
    struct peri_inflater *inflater = get_inflater(&pool, how, bits);
    struct peri_str message;
    size_t count = 0;
    bool flag;
    int rc = PERI_OK;
    while (rc == PERI_OK && inflater && next_message(&in, &count, &message, &flag)) {
        struct peri_buffer out = {0};
        rc = inflate_pieces(inflater, message, cuts, o->max_bytes, &out);
        note_result(seen, peri_buffer_str(&out), rc);
        peri_buffer_deinit(&out);
        FUZZ_CHECK(budget.used_ > 0 && budget.used_ <= budget.max_bytes);
        if (how == FRESH) {
            peri_inflater_free(inflater);
            inflater = get_inflater(&pool, how, bits);
        }
    }
    peri_inflater_free(inflater);
    peri_deflate_pool_deinit(&pool);
    FUZZ_CHECK(budget.used_ == 0);
}

static bool begins_with(const struct fuzz_seen *all, const struct fuzz_seen *with) {
    return with->len <= all->len && (with->len == 0 || memcmp(all->ptr, with->ptr, with->len) == 0);
}

static void inflate_in_all_ways(const struct options *o, struct peri_str in) {
    struct fuzz_seen strict = {0}, whole = {0}, pieces = {0};
    bool within = inflate_all_strictly(o, in, &strict);
    inflate_all(o, o->own ? KEPT : SHARED, &fuzz_whole, in, &whole);
    inflate_all(o, o->own ? KEPT : FRESH, &o->cuts, in, &pieces);
    FUZZ_CHECK(begins_with(&whole, &strict) && begins_with(&pieces, &strict));
    // A window of less than 15 bits is not held to its size where more of the message is at hand:
    // then it depends on the pieces whether what reaches back further is refused.
    if (within || !o->own || o->bits == PERI_WINDOW_MAX) {
        FUZZ_CHECK(!within || whole.len == strict.len);
        fuzz_same(&whole, &pieces);
    } else {
        free(whole.ptr);
        free(pieces.ptr);
    }
    free(strict.ptr);
}

// Compressing --------------------------------------------------------------------------------

/// A peer that has the same context, without our memory running out.
static void check_sent(z_stream *z, bool own, struct peri_str sent, struct peri_str message) {
    struct fuzz_seen back = {0};
    bool far = false;
    if (!own) {
        FUZZ_CHECK(inflateReset(z) == Z_OK);
    }
    FUZZ_CHECK(sent.len < message.len);
    FUZZ_CHECK(inflate_strictly(z, sent, message.len, &far, &back) == PERI_OK);
    FUZZ_CHECK(back.len == message.len && memcmp(back.ptr, message.ptr, back.len) == 0);
    free(back.ptr);
}

static void round_trip(const struct options *o, struct peri_str in) {
    struct peri_deflate_budget budget = {.max_bytes = o->budget};
    struct peri_deflate_pool pool = {.budget = &budget};
    unsigned bits = o->bits < PERI_WINDOW_MIN ? PERI_WINDOW_MIN : o->bits;
    struct fuzz_cuts cuts = o->own ? o->cuts : fuzz_whole;
    struct peri_buffer sent = {0};
    struct peri_str message;
    size_t count = 0;
    bool unsent;
    z_stream z = {0};
    FUZZ_CHECK(inflateInit2(&z, -(int)bits) == Z_OK);
    peri_alloc_fail_from(o->failing);
    struct peri_deflater *deflater =
        o->own ? peri_deflater_new(&pool, bits) : peri_deflater_shared(&pool, bits);
    struct peri_inflater *inflater = get_inflater(&pool, o->own ? KEPT : SHARED, bits);
    while (deflater && next_message(&in, &count, &message, &unsent)) {
        bool shorter = peri_deflater_message(deflater, message, &sent);
        FUZZ_CHECK(budget.used_ <= (o->own ? o->budget / 4 * 3 : o->budget));
        if (!shorter) {
            continue; // goes as it is, and the context is as if it had not been
        }
        if (unsent) {
            peri_deflater_reset(deflater);
            continue;
        }
        check_sent(&z, o->own, peri_buffer_str(&sent), message);
        struct peri_buffer back = {0};
        if (inflater) {
            int rc = inflate_pieces(inflater, peri_buffer_str(&sent), &cuts, message.len, &back);
            FUZZ_CHECK(rc == PERI_E_MEMORY ||
                       (rc == PERI_OK && peri_str_equal(peri_buffer_str(&back), message)));
            if (rc != PERI_OK) {
                peri_inflater_free(inflater);
                inflater = NULL;
            }
        }
        peri_buffer_deinit(&back);
    }
    peri_buffer_deinit(&sent);
    peri_deflater_free(deflater);
    peri_inflater_free(inflater);
    peri_deflate_pool_deinit(&pool);
    FUZZ_CHECK(budget.used_ == 0);
    FUZZ_CHECK(inflateEnd(&z) == Z_OK);
}

/// The input: a byte of options, the window, the message cap, the pieces, where options say so the
/// budget in KiB and which allocation fails; then messages.
void fuzz_one(struct peri_str in) {
    uint8_t options = fuzz_byte(&in);
    struct options o = {
        .own = options & 2,
        .bits = 8 + fuzz_byte(&in) % 8u,
        .max_bytes = fuzz_number(&in),
        .cuts = fuzz_cuts(&in),
        .budget = 1 << 20,
    };
    if (options & 1) {
        o.budget = options & 4 ? (uint64_t)fuzz_number(&in) << 10 : o.budget;
        o.failing = options & 8 ? fuzz_byte(&in) : 0;
        round_trip(&o, in);
        return;
    }
    inflate_in_all_ways(&o, in);
    if (options & 12) {
        struct fuzz_seen rest = {0};
        o.budget = options & 4 ? (uint64_t)fuzz_number(&in) << 10 : o.budget;
        peri_alloc_fail_from(options & 8 ? fuzz_byte(&in) : 0);
        inflate_all(&o, o.own ? KEPT : SHARED, o.own ? &o.cuts : &fuzz_whole, in, &rest);
        free(rest.ptr);
    }
}
