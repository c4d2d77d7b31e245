// conn.data: a table a connection, that survives reload. While a handover lasts it moves to the new
// generation at its first touch, or in slices.
#pragma once

#include "script/vm.h"

/// Pushes the connection's data, made when there is none. [-0, +1]; may raise: for want of memory,
/// or because it has moved on to another generation
void peri_data_push(lua_State *L, struct peri_vm *vm, peri_key key);

/// The table on top becomes the connection's data. [-1, +0]; raises as peri_data_push
void peri_data_set(lua_State *L, struct peri_vm *vm, peri_key key);

/// The connection is gone for good. Never raises.
void peri_data_forget(struct peri_vm *vm, peri_key key);

/// Brings over the data of one connection, if there is any that has not come yet. Outside of any
/// handler; what goes wrong is logged, and the data is empty then.
void peri_data_bring(struct peri_vm *vm, peri_key key);

/// What `upgrade` gave becomes conn.data. [-0, +0]; may raise
void peri_data_take_upgrade(lua_State *L, struct peri_vm *vm, peri_key key, uint64_t exchange);

/// Whether `upgrade` gave any. Never raises.
bool peri_data_has_upgrade(const struct peri_vm *vm, uint64_t exchange);

/// An upgrade that was accepted did not become a connection. Never raises.
void peri_data_abandon(struct peri_vm *vm, uint64_t exchange);
