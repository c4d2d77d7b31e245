// ws.state: tables declared while the file loads, filled just before `start`.
#include <lauxlib.h>

#include "script/api.h"
#include "script/plain.h"

static int too_early(lua_State *L) {
    return luaL_error(L, "state is not filled before start: keep the table, not what is in it");
}

static const char *const guarded[] = {"__index", "__newindex", "__len", "__pairs", "__call", NULL};

/// ws.state(name[, defaults]) -> the table; each name is declared once
static int ws_state(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    if (vm->phase != PERI_LOADING) {
        return luaL_error(L, "ws.state belongs to loading: call it at the top of the file");
    }
    luaL_argexpected(L, lua_type(L, 1) == LUA_TSTRING, 1, "string");
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
    }
    lua_settop(L, 2);
    peri_vm_push(L, PERI_SLOT_STATES); // at 3
    lua_pushvalue(L, 1);
    if (lua_rawget(L, 3) != LUA_TNIL) {
        return luaL_error(L, "state '%s' is declared already", lua_tostring(L, 1));
    }
    lua_pop(L, 1);

    lua_createtable(L, 2, 0); // at 4: {table, defaults}
    lua_newtable(L);          // at 5
    lua_newtable(L);
    for (int i = 0; guarded[i]; i++) {
        lua_pushcfunction(L, too_early);
        lua_setfield(L, -2, guarded[i]);
    }
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, 5);
    lua_pushvalue(L, 5);
    lua_rawseti(L, 4, 1);
    if (!lua_isnil(L, 2)) {
        lua_pushfstring(L, "state %s", lua_tostring(L, 1));
        peri_plain_copy(L, 2, 5, lua_tostring(L, -1)); // in itself, it is the table at 5
        lua_rawseti(L, 4, 2);
        lua_pop(L, 1);
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 4);
    lua_rawset(L, 3);
    lua_pushvalue(L, 5);
    return 1;
}

void peri_state_fill(lua_State *L) {
    peri_vm_push(L, PERI_SLOT_STATES);
    int states = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, states)) {
        lua_rawgeti(L, -1, 1);
        int table = lua_gettop(L);
        lua_pushnil(L);
        lua_setmetatable(L, table);
        if (lua_rawgeti(L, table - 1, 2) == LUA_TTABLE) {
            lua_pushnil(L);
            while (lua_next(L, table + 1)) {
                lua_pushvalue(L, -2);
                lua_insert(L, -2);
                lua_rawset(L, table);
            }
        }
        lua_settop(L, table - 2);
    }
    lua_settop(L, states - 1);
}

static const luaL_Reg ws_functions[] = {
    {"state", ws_state},
    {NULL, NULL},
};

void peri_state_open(lua_State *L, struct peri_vm *vm) {
    peri_vm_register(L, vm, ws_functions);
}
