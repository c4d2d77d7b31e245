// What `start` does to others is held until it has returned: sends, broadcasts, joins, leaves and
// closes. Where the load fails after all, nobody has seen any of it.
#pragma once

#include "script/vm.h"

static inline bool peri_is_holding(const struct peri_vm *vm) {
    return vm->phase == PERI_STARTING;
}

/// Keeps a call of a binding for later: of the function that runs, with the n values on top.
/// [-n, +0]; raises on what is not plain data
void peri_hold(lua_State *L, lua_CFunction binding, int n);

/// Makes the calls that were held, in their order. One that raises costs itself.
void peri_hold_release(struct peri_vm *vm);
