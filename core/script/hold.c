#include "script/hold.h"

#include <lauxlib.h>

#include "script/door.h"
#include "script/plain.h"

void peri_hold(lua_State *L, lua_CFunction binding, int n) {
    luaL_checkstack(L, n + 8, NULL);
    lua_createtable(L, n + 1, 0);
    lua_insert(L, -1 - n); // stack: the call, its arguments
    int call = lua_gettop(L) - n;
    lua_pushcfunction(L, binding);
    lua_rawseti(L, call, 1);
    for (int i = 1; i <= n; i++) {
        peri_plain_copy(L, call + i, 0, "what start gave");
        lua_rawseti(L, call, i + 1);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, call, "n"); // an argument may be nil
    lua_settop(L, call);
    peri_vm_push(L, PERI_SLOT_HELD);
    lua_insert(L, call);
    lua_rawseti(L, call, (lua_Integer)lua_rawlen(L, call) + 1);
    lua_pop(L, 1);
}

static int held_prepare(lua_State *L, struct peri_task *task) {
    peri_vm_push(L, PERI_SLOT_HELD);
    lua_rawgeti(L, -1, (lua_Integer)task->at);
    lua_remove(L, -2);
    int call = lua_gettop(L);
    lua_getfield(L, call, "n");
    int n = (int)lua_tointeger(L, -1); // as peri_hold was given it
    lua_pop(L, 1);
    luaL_checkstack(L, n + 2, NULL);
    for (int i = 1; i <= n + 1; i++) {
        lua_rawgeti(L, call, i);
    }
    lua_remove(L, call);
    return n;
}

static const struct peri_entry held_entry = {.name = "start", .prepare = held_prepare};

static int forget(lua_State *L) {
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, peri_vm_slot(PERI_SLOT_HELD));
    return 0;
}

void peri_hold_release(struct peri_vm *vm) {
    peri_vm_push(vm->L, PERI_SLOT_HELD);
    size_t count = (size_t)lua_rawlen(vm->L, -1);
    lua_pop(vm->L, 1);
    if (count == 0) {
        return;
    }
    struct peri_task *task = peri_door_task(vm, &held_entry);
    if (task) {
        task->can_wait = false;
        task->count = count;
        (void)peri_door_enter(task);
    }
    (void)peri_vm_protected(vm, forget, NULL); // what it can't free goes with the VM
}
