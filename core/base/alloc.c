// The counted heap. The counters are a thread's own, so that they cost an increment and no
// shared cache line.
#include "base/alloc.h"

#include <stdbool.h>
#include <stdlib.h>

static _Thread_local uint64_t live;
static _Thread_local uint64_t until_failure; // 0: off; 1: every allocation fails now

/// No object may be larger, and no test shall ask the system for one.
static bool must_fail(size_t size) {
    if (size > PTRDIFF_MAX) {
        return true;
    }
    if (__builtin_expect(until_failure == 0, 1)) {
        return false;
    }
    if (until_failure == 1) {
        return true;
    }
    until_failure--;
    return false;
}

void *peri_alloc(size_t size) {
    if (must_fail(size)) {
        return NULL;
    }
    void *block = malloc(size ? size : 1);
    live += block != NULL;
    return block;
}

void *peri_calloc(size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total) || must_fail(total)) {
        return NULL;
    }
    void *block = calloc(total ? total : 1, 1);
    live += block != NULL;
    return block;
}

void *peri_alloc_aligned(size_t alignment, size_t size) {
    void *block;
    if (must_fail(size) || posix_memalign(&block, alignment, size ? size : 1) != 0) {
        return NULL;
    }
    live++;
    return block;
}

void *peri_realloc(void *block, size_t size) {
    if (must_fail(size)) {
        return NULL;
    }
    void *moved = realloc(block, size ? size : 1);
    live += block == NULL && moved != NULL;
    return moved;
}

void peri_free(void *block) {
    if (block) {
        live--;
        free(block);
    }
}

void peri_alloc_fail_from(uint64_t nth) {
    until_failure = nth;
}

uint64_t peri_alloc_live(void) {
    return live;
}
