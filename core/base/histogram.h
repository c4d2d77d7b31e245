// How values are spread, in fixed memory: buckets that grow with what they count, so that a value is
// told to 1.6 % wherever it lies.
#pragma once

#include "base/status.h"

enum {
    PERI_HISTOGRAM_STEPS = 32, ///< buckets between a power of two and the next
    PERI_HISTOGRAM_BITS = 40,  ///< values from 2^40 on count as the largest (in ns: 18 minutes)
    PERI_HISTOGRAM_BUCKETS = (PERI_HISTOGRAM_BITS - 4) * PERI_HISTOGRAM_STEPS,
};

/// Zero-initialised is empty.
struct peri_histogram {
    uint64_t count; ///< of all values
    uint64_t buckets_[PERI_HISTOGRAM_BUCKETS];
};

/// Counts a value n times.
void peri_histogram_add(struct peri_histogram *histogram, uint64_t value, uint64_t n);

/// Adds what another one has counted.
void peri_histogram_merge(struct peri_histogram *histogram, const struct peri_histogram *other);

/// The value that so many thousandths of all are not above: 500 is the median. Off by 1/64 at most;
/// exact below 64.
/// @param thousandths 0 to 1000
/// @return 0 when nothing was counted
uint64_t peri_histogram_at(const struct peri_histogram *histogram, unsigned thousandths);
