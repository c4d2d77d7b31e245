// Linear probing; whoever is removed leaves no mark, since those behind close up.
#include "base/numbers.h"

#include <assert.h>

/// Where the address belongs. Blocks of a heap are 16 bytes apart at least.
static uint32_t home_of(const struct peri_numbers *numbers, const void *address) {
    uint64_t mixed = ((uintptr_t)address >> 4) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(mixed >> 32) & (numbers->cap_ - 1);
}

static uint32_t after(const struct peri_numbers *numbers, uint32_t at) {
    return (at + 1) & (numbers->cap_ - 1);
}

/// Its entry, or the free one where it would be. At most two thirds are taken, so there is one.
static uint32_t find(const struct peri_numbers *numbers, const void *address) {
    uint32_t at = home_of(numbers, address);
    while (numbers->entries_[at].number != 0 && numbers->entries_[at].address != address) {
        at = after(numbers, at);
    }
    return at;
}

void peri_numbers_move(struct peri_numbers *numbers, struct peri_number *entries) {
    const struct peri_numbers before = *numbers;
    *numbers = (struct peri_numbers){entries, peri_numbers_next_cap(&before), before.count};
    for (uint32_t i = 0; i < numbers->cap_; i++) {
        entries[i] = (struct peri_number){0};
    }
    for (uint32_t i = 0; i < before.cap_; i++) {
        if (before.entries_[i].number != 0) {
            entries[find(numbers, before.entries_[i].address)] = before.entries_[i];
        }
    }
}

uint32_t peri_numbers_get(const struct peri_numbers *numbers, const void *address) {
    return numbers->count ? numbers->entries_[find(numbers, address)].number : 0;
}

void peri_numbers_put(struct peri_numbers *numbers, const void *address, uint32_t number) {
    assert(number != 0 && !peri_numbers_is_full(numbers));
    numbers->entries_[find(numbers, address)] = (struct peri_number){address, number};
    numbers->count++;
}

void peri_numbers_remove(struct peri_numbers *numbers, const void *address) {
    uint32_t hole = find(numbers, address);
    assert(numbers->entries_[hole].number != 0);
    uint32_t mask = numbers->cap_ - 1;
    for (uint32_t at = after(numbers, hole); numbers->entries_[at].number != 0;
         at = after(numbers, at)) {
        uint32_t home = home_of(numbers, numbers->entries_[at].address);
        if (((at - home) & mask) >= ((at - hole) & mask)) { // the hole is on its way from home
            numbers->entries_[hole] = numbers->entries_[at];
            hole = at;
        }
    }
    numbers->entries_[hole] = (struct peri_number){0};
    numbers->count--;
}
