// The fields of a script's table.
#pragma once

#include "script/vm.h"

/// The handler of that name; -1: there is none.
int peri_fields_handler(struct peri_str name);

/// The known field that an unknown one resembles; NULL: it is known, or the script's own.
const char *peri_fields_meant(const char *name);

/// Reads all fields of the table at `table` into the VM. [-0, +0]; raises on a field
/// that holds what it can't, before that one has changed anything
void peri_fields_read(lua_State *L, struct peri_vm *vm, int table);
