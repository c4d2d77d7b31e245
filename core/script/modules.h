// `require`: ws, then modules in DIR/lib, then beside the script; never outside of DIR.
#pragma once

#include "script/vm.h"

/// Makes the global `require`. [-0, +0]; may raise
void peri_modules_open(lua_State *L, struct peri_vm *vm);

/// Leaves the path of a module on top of the stack: "scripts/lib/words.lua". [-0, +n]; raises when
/// there is none, with where it was looked for
const char *peri_modules_path(lua_State *L, struct peri_vm *vm, const char *name);
