// What the targets share: an input that is read piece by piece, a claim that must hold, and bytes
// that are fed in pieces. A target defines fuzz_one; the entry, for libFuzzer or for a replay of what
// is stored, is entry.c.
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/status.h"

/// Runs one input. What it takes from perigee's heap it gives back.
void fuzz_one(struct peri_str input);

_Noreturn void fuzz_fail(const char *file, int line, const char *claim);

#define FUZZ_CHECK(claim) ((claim) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #claim))

/// The next byte of an input; 0 behind its end, so that every input means something.
static inline uint8_t fuzz_byte(struct peri_str *in) {
    if (in->len == 0) {
        return 0;
    }
    uint8_t byte = (uint8_t)in->ptr[0];
    *in = peri_str(in->ptr + 1, in->len - 1);
    return byte;
}

static inline uint32_t fuzz_number(struct peri_str *in) {
    uint32_t low = fuzz_byte(in);
    return low | (uint32_t)fuzz_byte(in) << 8;
}

/// The next n bytes, or what there is.
static inline struct peri_str fuzz_bytes(struct peri_str *in, size_t n) {
    struct peri_str taken = peri_str(in->ptr, n < in->len ? n : in->len);
    *in = peri_str(in->ptr + taken.len, in->len - taken.len);
    return taken;
}

/// The next line, without its end; behind the last one empty lines.
static inline struct peri_str fuzz_line(struct peri_str *in) {
    const char *end = in->len > 0 ? memchr(in->ptr, '\n', in->len) : NULL;
    struct peri_str line = fuzz_bytes(in, end ? (size_t)(end - in->ptr) : in->len);
    (void)fuzz_byte(in);
    return line;
}

/// A copy in a block of its own, so that a sanitizer sees a byte read past it.
/// @return owned by the caller, for free(3)
static inline char *fuzz_copy(struct peri_str text) {
    char *block = malloc(text.len);
    FUZZ_CHECK(block || text.len == 0);
    if (text.len > 0) {
        memcpy(block, text.ptr, text.len);
    }
    return block;
}

/// The same with a NUL behind it.
static inline char *fuzz_text(struct peri_str text) {
    char *block = malloc(text.len + 1);
    FUZZ_CHECK(block);
    memcpy(block, text.ptr ? text.ptr : "", text.len);
    block[text.len] = '\0';
    return block;
}

/// How bytes are cut into pieces: the sizes in turn, and again; 0 stands for all that is left.
enum { FUZZ_CUTS = 4 };
struct fuzz_cuts {
    uint8_t sizes[FUZZ_CUTS];
};

static const struct fuzz_cuts fuzz_whole = {{0}};

static inline struct fuzz_cuts fuzz_cuts(struct peri_str *in) {
    struct fuzz_cuts cuts;
    for (size_t i = 0; i < FUZZ_CUTS; i++) {
        cuts.sizes[i] = fuzz_byte(in);
    }
    return cuts;
}

/// The next piece, as of fuzz_copy; start with *turn = 0. @return false at the end
static inline bool fuzz_piece(struct peri_str *left, const struct fuzz_cuts *cuts, size_t *turn,
                              struct peri_span *piece) {
    if (left->len == 0) {
        return false;
    }
    size_t n = cuts->sizes[(*turn)++ % FUZZ_CUTS];
    struct peri_str taken = fuzz_bytes(left, n == 0 ? left->len : n);
    *piece = (struct peri_span){(uint8_t *)fuzz_copy(taken), taken.len};
    return true;
}

/// What came out of a run, to be compared with what comes out of another one. Memory of its own: it
/// does not fail when perigee's does.
struct fuzz_seen {
    uint8_t *ptr;
    size_t len, cap;
};

static inline void fuzz_note(struct fuzz_seen *seen, const void *bytes, size_t n) {
    if (n > seen->cap - seen->len) {
        seen->cap = 2 * (seen->len + n);
        seen->ptr = realloc(seen->ptr, seen->cap);
        FUZZ_CHECK(seen->ptr);
    }
    if (n > 0) {
        memcpy(seen->ptr + seen->len, bytes, n);
        seen->len += n;
    }
}

static inline void fuzz_note_number(struct fuzz_seen *seen, uint64_t number) {
    fuzz_note(seen, &number, sizeof number);
}

static inline void fuzz_note_str(struct fuzz_seen *seen, struct peri_str text) {
    fuzz_note_number(seen, text.len);
    fuzz_note(seen, text.ptr, text.len);
}

/// Both saw the same. Frees both.
static inline void fuzz_same(struct fuzz_seen *a, struct fuzz_seen *b) {
    FUZZ_CHECK(a->len == b->len && (a->len == 0 || memcmp(a->ptr, b->ptr, a->len) == 0));
    free(a->ptr);
    free(b->ptr);
}
