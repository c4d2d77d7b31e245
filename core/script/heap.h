// A VM's heap: Lua's allocator, under the script's memory cap.
#pragma once

#include "script/vm.h"

/// Before the first allocation.
/// @param has_slabs small objects come from slabs of the VM's own, all else from malloc (PERI_HAS_SLABS)
void peri_heap_init(struct peri_vm *vm, bool has_slabs);

/// A lua_Alloc; ud is the VM. Refuses what the cap refuses, before the heap is asked: Lua then collects
/// garbage and tries again, then raises "not enough memory" in the script that asked.
void *peri_heap_allocate(void *ud, void *ptr, size_t old_size, size_t new_size);

/// Before lua_close: from here on the collector isn't told anything.
void peri_heap_leave(struct peri_vm *vm);

/// After lua_close: gives the slabs back.
void peri_heap_deinit(struct peri_vm *vm);
