// The Lua that a script sees: the standard library less what reaches out of the VM.
#pragma once

#include "script/vm.h"

/// Opens the libraries and makes the globals. May raise; for peri_vm_protected.
void peri_sandbox_open(lua_State *L);

/// Loads text (never bytecode) as a function onto the stack. @return a Lua status
int peri_sandbox_load(lua_State *L, struct peri_str text, const char *chunk_name);

// What replaces functions of Lua's libraries, once those are open. May raise.
void peri_coroutine_open(lua_State *L);
void peri_strings_open(lua_State *L);
void peri_tables_open(lua_State *L);
