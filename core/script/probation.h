// Probation: for a time after a swap, errors on several connections, at a far higher rate than the
// generation before had, bring the last good one back.
#pragma once

#include "script/vm.h"

enum { PERI_PROBATION_KEYS_MAX = 64 };

/// Owned by a VM.
struct peri_probation {
    uint64_t until_ns;
    double rate_before; ///< errors an event, of the last generation before that did well
    size_t key_count;
    peri_key keys[PERI_PROBATION_KEYS_MAX]; ///< connections that lost an event, each once
    bool failed;
};

/// Whether it is one to go back to: it has lost no event, or not while it was on probation.
bool peri_probation_does_well(const struct peri_vm *vm);

/// Begins. Without memory there is none, which is logged.
void peri_probation_begin(struct peri_vm *vm, const struct peri_vm *before);

/// Counts an event that was lost to an error. Has the script's reload look at it where that was one
/// too many. Never raises.
/// @param key of the connection whose event it was; 0: of none
void peri_probation_note(struct peri_vm *vm, peri_key key);

/// Whether it lasts, and has not failed.
bool peri_probation_lasts(const struct peri_vm *vm);
