// What scripts have besides where the operator trusts them: the system's modules, those in C too, `io`,
// and more of `os` and `debug`.
#pragma once

#include "script/vm.h"

/// Adds to the globals of peri_sandbox_open. May raise
void peri_trusted_open(lua_State *L);

/// Has Lua's own `require` load the module. [-0, +1]; raises what the module raises
/// @return false: the system has none of that name, and nothing is pushed
bool peri_trusted_require(lua_State *L, const char *name);

/// Whether it could be loaded, without doing so. [-0, +0]; may raise
bool peri_trusted_finds(lua_State *L, const char *name);
