// Values as text for people: an operator who looks into a VM.
#pragma once

#include <lua.h>

#include "base/buffer.h"
#include "script/vm.h"

/// Appends the value at `index`, as Lua would write it where it can: tables to a depth, in lines where
/// they are long, their keys in order. Runs nothing of the script's: metamethods don't count. May
/// raise for want of stack.
/// @param max_bytes of the buffer in all
/// @return PERI_OK; PERI_E_LIMIT: what did not fit is left out; PERI_E_MEMORY
PERI_MUST_CHECK int peri_show(lua_State *L, const struct peri_vm *vm, int index, size_t max_bytes,
                              struct peri_buffer *out);
