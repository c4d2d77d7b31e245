// Memory that is wanted soon.
#pragma once

#include <stddef.h>

enum { PERI_CACHE_LINE = 64 };

/// Has bytes at `at` brought near, to be written to. @param at NULL does nothing
static inline void peri_prefetch(const void *at, size_t bytes) {
    const char *begin = at;
    for (size_t i = 0; begin && i < bytes; i += PERI_CACHE_LINE) {
        __builtin_prefetch(begin + i, 1);
    }
}
