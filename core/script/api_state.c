// ws.state: tables declared while the file loads, filled just before `start`, from the generation
// before or from their defaults.
#include <lauxlib.h>
#include <stdio.h>

#include "script/api.h"
#include "script/guard.h"
#include "script/plain.h"

/// What the registry has for each state, and for what is parked: of that, the first two.
enum {
    STATE_TABLE = 1,
    STATE_FROM, ///< the version of the script that it was last declared by; nil: it is new
    STATE_DEFAULTS,
};

static const char not_filled[] =
    "state is not filled before start: keep the table, not what is in it";

static int too_early(lua_State *L) {
    return luaL_error(L, "%s", not_filled);
}

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

    lua_createtable(L, 3, 0); // at 4
    lua_newtable(L);          // at 5
    lua_pushcfunction(L, too_early);
    peri_guard_make(L, not_filled);
    lua_setmetatable(L, 5);
    lua_pushvalue(L, 5);
    lua_rawseti(L, 4, STATE_TABLE);
    if (!lua_isnil(L, 2)) {
        lua_pushfstring(L, "state %s", lua_tostring(L, 1));
        peri_plain_copy(L, 2, 5, lua_tostring(L, -1)); // in itself, it is the table at 5
        lua_rawseti(L, 4, STATE_DEFAULTS);
        lua_pop(L, 1);
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 4);
    lua_rawset(L, 3);
    lua_pushvalue(L, 5);
    return 1;
}

/// Parks what is on top of `from`, unless something is by that name. stack of `L`: .., name
static void park(lua_State *L, lua_State *from, struct peri_move *move, const char *what,
                 lua_Integer version) {
    lua_pushvalue(L, -1);
    if (lua_rawget(L, 2) != LUA_TNIL) {
        return;
    }
    lua_pop(L, 1);
    lua_createtable(L, 2, 0);
    peri_move_value(move, from, lua_gettop(from), L, what, PERI_MOVE_STRICT, NULL);
    lua_rawseti(L, -2, STATE_TABLE);
    lua_pushinteger(L, version);
    lua_rawseti(L, -2, STATE_FROM);
    lua_rawset(L, 2);
}

/// Brings one state over: into the table that was handed out, or, where none of that name is
/// declared, into what is parked. stack of `from`: .., name, table; of `L`: states at 1, parked at 2
static void bring_one(lua_State *L, lua_State *from, struct peri_move *move, lua_Integer version) {
    char what[128];
    size_t len;
    const char *name = lua_tolstring(from, -2, &len);
    (void)snprintf(what, sizeof what, "state.%s", name);
    lua_pushlstring(L, name, len);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, 1) == LUA_TNIL) {
        lua_pop(L, 1);
        park(L, from, move, what, version);
        return;
    }
    int entry = lua_gettop(L);
    if (lua_rawgeti(L, entry, STATE_FROM) == LUA_TNIL) {
        peri_move_value(move, from, lua_gettop(from), L, what, PERI_MOVE_STRICT, NULL);
        lua_pushinteger(L, version);
        lua_rawseti(L, entry, STATE_FROM);
    }
}

/// Has what refers to a state refer to the table that was handed out, whichever comes first. Stacks
/// as in bring_one.
static void bind_one(lua_State *L, lua_State *from, struct peri_move *move) {
    size_t len;
    const char *name = lua_tolstring(from, -2, &len);
    lua_pushlstring(L, name, len);
    if (lua_rawget(L, 1) != LUA_TNIL && lua_rawgeti(L, -1, STATE_FROM) == LUA_TNIL) {
        lua_rawgeti(L, -2, STATE_TABLE);
        peri_move_bind(move, from, lua_gettop(from), L, lua_gettop(L));
    }
}

/// Binds or brings all states of a kind.
static void take_all(lua_State *L, struct peri_vm *before, struct peri_move *move,
                     enum peri_slot kind, bool bind) {
    lua_State *from = before->L;
    peri_vm_push(from, kind); // at 1
    for (lua_pushnil(from); lua_next(from, 1); lua_pop(from, 1)) {
        lua_rawgeti(from, 3, STATE_FROM);
        lua_Integer version = kind == PERI_SLOT_PARKED ? lua_tointeger(from, -1) : before->version;
        lua_rawgeti(from, 3, STATE_TABLE);
        lua_replace(from, 3);
        lua_settop(from, 3); // the states, name, table
        if (bind) {
            bind_one(L, from, move);
        } else {
            bring_one(L, from, move, version);
        }
        lua_settop(L, 2);
    }
    lua_settop(from, 0);
}

void peri_state_bring(lua_State *L, struct peri_vm *before, struct peri_move *move) {
    lua_settop(before->L, 0);
    if (!lua_checkstack(before->L, LUA_MINSTACK)) {
        peri_raise_memory(L);
    }
    int top = lua_gettop(L);
    lua_settop(L, 0);
    peri_vm_push(L, PERI_SLOT_STATES);
    peri_vm_push(L, PERI_SLOT_PARKED);
    for (int bind = 1; bind >= 0; bind--) {
        take_all(L, before, move, PERI_SLOT_STATES, bind);
        take_all(L, before, move, PERI_SLOT_PARKED, bind);
    }
    lua_settop(L, top);
}

void peri_state_fill(lua_State *L) {
    peri_vm_push(L, PERI_SLOT_STATES);
    int states = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, states)) {
        lua_rawgeti(L, -1, STATE_TABLE);
        int table = lua_gettop(L);
        lua_pushnil(L);
        lua_setmetatable(L, table);
        if (lua_rawgeti(L, table - 1, STATE_DEFAULTS) == LUA_TTABLE) {
            lua_pushnil(L);
            while (lua_next(L, table + 1)) {
                lua_pushvalue(L, -2);
                if (lua_rawget(L, table) == LUA_TNIL) { // what was kept is not overwritten
                    lua_pop(L, 1);
                    lua_pushvalue(L, -2);
                    lua_insert(L, -2);
                    lua_rawset(L, table);
                } else {
                    lua_pop(L, 2);
                }
            }
        }
        lua_settop(L, table - 2);
    }
    lua_settop(L, states - 1);
}

size_t peri_state_migrations(lua_State *L, lua_Integer version) {
    lua_Integer n = 0;
    lua_newtable(L);
    int list = lua_gettop(L);
    peri_vm_push(L, PERI_SLOT_MIGRATE);
    peri_vm_push(L, PERI_SLOT_STATES);
    lua_pushnil(L);
    while (lua_next(L, list + 2)) {
        int name = lua_gettop(L) - 1;
        lua_pushvalue(L, name);
        bool migrates = lua_rawget(L, list + 1) == LUA_TFUNCTION;        // at name + 2
        bool brought = lua_rawgeti(L, name + 1, STATE_FROM) != LUA_TNIL; // at name + 3
        if (migrates && brought && lua_tointeger(L, name + 3) != version) {
            lua_createtable(L, 4, 0);
            lua_pushvalue(L, name);
            lua_rawseti(L, -2, 1);
            lua_rawgeti(L, name + 1, STATE_TABLE);
            lua_rawseti(L, -2, 2);
            lua_pushvalue(L, name + 2);
            lua_rawseti(L, -2, 3);
            lua_pushvalue(L, name + 3);
            lua_rawseti(L, -2, 4);
            lua_rawseti(L, list, ++n);
        }
        lua_settop(L, name);
    }
    lua_settop(L, list);
    return (size_t)n;
}

void peri_state_replace(lua_State *L, int table, int with) {
    if (lua_rawequal(L, table, with)) {
        return;
    }
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_pushnil(L);
        lua_rawset(L, table); // clearing a field while walking is allowed
    }
    for (lua_pushnil(L); lua_next(L, with); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, table);
    }
}

static const luaL_Reg ws_functions[] = {
    {"state", ws_state},
    {NULL, NULL},
};

void peri_state_open(lua_State *L) {
    luaL_setfuncs(L, ws_functions, 0);
}
