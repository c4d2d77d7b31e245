// Sixteen bytes at a time, of any alignment. The compiler makes SSE2 or NEON of it.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t peri_wide __attribute__((vector_size(16)));

/// Twice as many: in a function that is PERI_WIDEST, by AVX2 where the machine has it.
typedef uint64_t peri_wider __attribute__((vector_size(32)));

/// The compiler makes one such function for each kind of machine, and the loader picks one. Sanitizers are not
/// ready yet when it does.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(PERIGEE_WATCHED_HEAP)
#define PERI_WIDEST __attribute__((target_clones("avx2", "default")))
#else
#define PERI_WIDEST
#endif

static inline peri_wide peri_wide_load(const uint8_t *at) {
    peri_wide wide;
    memcpy(&wide, at, sizeof wide);
    return wide;
}

static inline void peri_wide_store(uint8_t *at, peri_wide wide) {
    memcpy(at, &wide, sizeof wide);
}

/// True when each of the sixteen bytes is ASCII.
static inline bool peri_wide_is_ascii(peri_wide wide) {
    return ((wide[0] | wide[1]) & UINT64_C(0x8080808080808080)) == 0;
}
