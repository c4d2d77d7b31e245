// Feeding a parser the same bytes in different pieces. What it made of them is written down as
// text, which must not depend on the pieces.
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "support/cmocka.h"

/// What is fed, and how it is cut: at `first`, then every `step` bytes (0: no more cuts).
struct feeding {
    const uint8_t *bytes;
    size_t n;
    size_t first, step;
};

/// Takes the next piece: in a block of its own, so that a sanitizer sees a byte read past it.
/// @return owned by the caller, for free(3); NULL at the end
static inline uint8_t *feeding_next(const struct feeding *feeding, size_t *at, size_t *n) {
    if (*at == feeding->n) {
        return NULL;
    }
    size_t left = feeding->n - *at;
    size_t piece = *at < feeding->first ? feeding->first - *at
                   : feeding->step      ? feeding->step
                                        : left;
    *n = piece < left ? piece : left;
    uint8_t *block = malloc(*n);
    assert_non_null(block);
    memcpy(block, feeding->bytes + *at, *n);
    *at += *n;
    return block;
}

/// Feeds and appends to `seen` what came out.
typedef void feeding_run(const struct feeding *feeding, void *arg, struct peri_buffer *seen);

static inline void feeding_check(const struct feeding *feeding, feeding_run *run, void *arg,
                                 const char *expected) {
    struct peri_buffer seen = {0};
    uint64_t live = peri_alloc_live();
    run(feeding, arg, &seen);
    assert_int_equal(peri_buffer_append(&seen, "", 1), PERI_OK);
    if (strcmp((const char *)seen.ptr, expected) != 0) {
        fail_msg("cut at %zu, then every %zu:\n--- expected\n%s\n--- seen\n%s\n", feeding->first,
                 feeding->step, expected, (const char *)seen.ptr);
    }
    peri_buffer_deinit(&seen);
    assert_int_equal(peri_alloc_live(), live);
}

/// The three feedings: whole, in two pieces cut at every place, byte by byte. Of long input only
/// some places are tried: all near the ends, some between.
static inline void feeding_check_all(const void *bytes, size_t n, feeding_run *run, void *arg,
                                     const char *expected) {
    struct feeding feeding = {.bytes = bytes, .n = n};
    feeding_check(&feeding, run, arg, expected);
    for (size_t cut = 1; cut < n; cut++) {
        if (n > 1024 && cut > 64 && cut + 64 < n && cut % (n / 61) != 0) {
            continue;
        }
        feeding.first = cut;
        feeding_check(&feeding, run, arg, expected);
    }
    feeding.first = 0;
    for (size_t step = 1; step <= 3; step++) {
        feeding.step = step;
        feeding_check(&feeding, run, arg, expected);
    }
}
