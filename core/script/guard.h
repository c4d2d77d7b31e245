// Tables that may not be touched now: state before `start`, and what has moved to another generation
// while a handler waited. A metatable raises, and whatever looks past metatables asks here.
#pragma once

#include "script/vm.h"

/// Makes such a metatable. The function on top of the stack raises. [-1, +1]; may raise
/// @param why static: what is wrong with a table that has it
void peri_guard_make(lua_State *L, const char *why);

/// @return why the value at `index` may not be touched; NULL: it may. Never raises
const char *peri_guard_why(lua_State *L, int index);

/// Raises if the value at `index` may not be touched.
void peri_guard_check(lua_State *L, int index);
