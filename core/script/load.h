// Loading: from a file to a VM that knows the script's handlers. What needs no other VM, no hub and
// no thread of its own.
#pragma once

#include "base/buffer.h"
#include "script/vm.h"

struct peri_script;

/// A VM for the next generation of a script.
/// @return owned; NULL without memory, which is logged
PERI_MUST_CHECK struct peri_vm *peri_load_new(const struct peri_script *script);

/// Compiles the script, runs it and reads the table that it returns: afterwards it declares its
/// state and its timers, and has begun neither. Any thread may, for a VM of its own.
/// @param config the script's section, as JSON
/// @param relives as peri_vm.relives; borrowed for the call
/// @return false: it has failed, which is logged, and vm->last_error says why
PERI_MUST_CHECK bool peri_load_run(struct peri_vm *vm, struct peri_str config,
                                   const struct peri_sources *relives);

/// Runs `start`, whose acts are held.
/// @param from the version before; NULL: there was none
/// @return false: it raised, which is logged
PERI_MUST_CHECK bool peri_load_start(struct peri_vm *vm, const lua_Integer *from);

/// Reads a file that the VM loads. @return as peri_folder_read
PERI_MUST_CHECK int peri_load_read(const struct peri_vm *vm, const char *path,
                                   struct peri_buffer *out);

/// What policy is to know of a VM that has loaded.
void peri_load_traits(const struct peri_vm *vm, struct peri_traits *traits);
