// Log-linear buckets: a power of two each, cut into equal steps.
#include "base/histogram.h"

enum { STEP_BITS = 5 };
_Static_assert(1 << STEP_BITS == PERI_HISTOGRAM_STEPS, "steps are a power of two");

/// How far a value is shifted, so that the bits left tell its bucket within its power of two.
static unsigned shift_of(uint64_t value) {
    unsigned bits = value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value);
    return bits > STEP_BITS + 1 ? bits - (STEP_BITS + 1) : 0;
}

static size_t bucket_of(uint64_t value) {
    const uint64_t largest = ((uint64_t)1 << PERI_HISTOGRAM_BITS) - 1;
    value = value < largest ? value : largest;
    unsigned shift = shift_of(value);
    return (size_t)shift * PERI_HISTOGRAM_STEPS + (size_t)(value >> shift);
}

/// The middle of a bucket.
static uint64_t value_of(size_t bucket) {
    size_t steps = PERI_HISTOGRAM_STEPS;
    size_t shift = bucket < 2 * steps ? 0 : bucket / steps - 1;
    uint64_t first = (uint64_t)(bucket - shift * steps) << shift;
    return first + (((uint64_t)1 << shift) - 1) / 2;
}

void peri_histogram_add(struct peri_histogram *histogram, uint64_t value, uint64_t n) {
    histogram->buckets_[bucket_of(value)] += n;
    histogram->count += n;
}

void peri_histogram_merge(struct peri_histogram *histogram, const struct peri_histogram *other) {
    for (size_t i = 0; i < PERI_HISTOGRAM_BUCKETS; i++) {
        histogram->buckets_[i] += other->buckets_[i];
    }
    histogram->count += other->count;
}

uint64_t peri_histogram_at(const struct peri_histogram *histogram, unsigned thousandths) {
    uint64_t count = histogram->count;
    // By parts, so that no count is too large for the product.
    uint64_t wanted = count / 1000 * thousandths + (count % 1000 * thousandths + 999) / 1000;
    uint64_t seen = 0;
    wanted = wanted > 0 ? wanted : 1;
    for (size_t i = 0; i < PERI_HISTOGRAM_BUCKETS && count > 0; i++) {
        seen += histogram->buckets_[i];
        if (seen >= wanted) {
            return value_of(i);
        }
    }
    return 0;
}
