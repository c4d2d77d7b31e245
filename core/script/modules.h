// `require`: ws, then modules in DIR/lib, then beside the script; never outside of DIR.
#pragma once

#include "script/vm.h"

/// Makes the global `require`. [-0, +0]; may raise
void peri_modules_open(lua_State *L, struct peri_vm *vm);
