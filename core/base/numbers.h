// Numbers by address: open addressing in memory of the caller's, so that it may be of any heap. It grows
// in tens of nanoseconds an entry, where a general map takes several times that.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peri_number {
    const void *address;
    uint32_t number; ///< 0: free
};

/// Zero-initialised is empty, without memory.
struct peri_numbers {
    struct peri_number *entries_; ///< the caller's
    uint32_t cap_, count;         ///< cap_ is a power of two, or 0
};

/// True when one more needs larger memory first.
static inline bool peri_numbers_is_full(const struct peri_numbers *numbers) {
    return 3 * (uint64_t)numbers->count >= 2 * (uint64_t)numbers->cap_;
}

/// Entries of the larger memory.
static inline uint32_t peri_numbers_next_cap(const struct peri_numbers *numbers) {
    return numbers->cap_ ? 2 * numbers->cap_ : 8;
}

/// Moves into memory for peri_numbers_next_cap entries. What was there before is the caller's again.
void peri_numbers_move(struct peri_numbers *numbers, struct peri_number *entries);

/// @return 0: it has none
uint32_t peri_numbers_get(const struct peri_numbers *numbers, const void *address);

/// Gives it a number. It has none, and there is room.
void peri_numbers_put(struct peri_numbers *numbers, const void *address, uint32_t number);

/// @param address has a number
void peri_numbers_remove(struct peri_numbers *numbers, const void *address);
