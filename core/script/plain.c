// Plain data: nil, booleans, numbers, strings, conns, room values, json.null and tables of these
// without metatables (a JSON array's mark excepted). What may be kept, and how it is copied.
#include <lauxlib.h>

#include "script/api.h"

/// Tables within tables.
enum { DEPTH_MAX = 100 };

struct copy {
    int seen;            ///< stack index of the forward map: original -> copy
    const char *what;    ///< names the root in messages
    int path[DEPTH_MAX]; ///< stack indices of the keys that lead to where we are
    int depth;
};

/// "state.players[3].on_hit"
static const char *push_path(lua_State *L, const struct copy *copy) {
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, copy->what);
    for (int i = 0; i < copy->depth; i++) {
        int key = copy->path[i];
        if (lua_type(L, key) == LUA_TSTRING) {
            luaL_addchar(&text, '.');
            lua_pushvalue(L, key);
        } else {
            luaL_addchar(&text, '[');
            luaL_tolstring(L, key, NULL);
        }
        luaL_addvalue(&text);
        if (lua_type(L, key) != LUA_TSTRING) {
            luaL_addchar(&text, ']');
        }
    }
    luaL_pushresult(&text);
    return lua_tostring(L, -1);
}

static void refuse(lua_State *L, const struct copy *copy, const char *why) {
    const char *path = push_path(L, copy);
    luaL_error(L, "%s can't be kept: %s", path, why);
}

static void copy_value(lua_State *L, struct copy *copy, int index);

static void copy_table(lua_State *L, struct copy *copy, int index, int as) {
    bool is_array = false;
    if (lua_getmetatable(L, index)) {
        peri_vm_push(L, PERI_SLOT_ARRAY);
        is_array = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
        if (!is_array) {
            refuse(L, copy, "a table with a metatable");
        }
    }
    lua_newtable(L);
    int target = lua_gettop(L);
    lua_pushvalue(L, index);
    lua_pushvalue(L, as ? as : target);
    lua_rawset(L, copy->seen);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int value = lua_gettop(L);
        copy->path[copy->depth++] = value - 1;
        copy_value(L, copy, value - 1); // a key may be a conn or a room; a table as key is one too
        copy_value(L, copy, value);
        copy->depth--;
        lua_rawset(L, target);
        lua_settop(L, value - 1);
    }
    if (is_array) {
        peri_vm_push(L, PERI_SLOT_ARRAY);
        lua_setmetatable(L, target);
    }
}

/// [-0, +1]
static void copy_value(lua_State *L, struct copy *copy, int index) {
    luaL_checkstack(L, 12, "plain data nested too deeply");
    switch (lua_type(L, index)) {
    case LUA_TTABLE:
        lua_pushvalue(L, index);
        if (lua_rawget(L, copy->seen) == LUA_TNIL) {
            lua_pop(L, 1);
            if (copy->depth >= DEPTH_MAX) {
                refuse(L, copy, "more than 100 tables deep");
            }
            copy_table(L, copy, index, 0);
        }
        break;
    case LUA_TUSERDATA:
        if (!peri_room_is(L, index)) {
            refuse(L, copy, "not plain data");
        }
        lua_pushvalue(L, index);
        break;
    case LUA_TFUNCTION: refuse(L, copy, "a function"); break;
    case LUA_TTHREAD: refuse(L, copy, "a coroutine"); break;
    default: // nil, booleans, numbers, strings, conns
        lua_pushvalue(L, index);
        break;
    }
}

void peri_plain_copy(lua_State *L, int index, int as, const char *what) {
    index = lua_absindex(L, index);
    struct copy copy = {.what = what};
    luaL_checkstack(L, 12, NULL);
    lua_newtable(L);
    copy.seen = lua_gettop(L);
    if (as) {
        copy_table(L, &copy, index, as);
    } else {
        copy_value(L, &copy, index);
    }
    lua_replace(L, copy.seen);
    lua_settop(L, copy.seen);
}
