// `require`: ws, then modules in DIR/lib, then beside the script; never outside of DIR, but for scripts
// that are trusted: then the system's.
#pragma once

#include "script/vm.h"

/// Makes the global `require`. [-0, +0]; may raise
void peri_modules_open(lua_State *L);

/// Raises where the module of that name would not be found, with where it was looked for. [-0, +0]
void peri_modules_check(lua_State *L, struct peri_vm *vm, const char *name);
