#include "script/names.h"

#include <lauxlib.h>

#include "base/nearest.h"
#include "script/vm.h"

/// Replaces a type's metatable on top by the names that its __index knows: the table itself, or the
/// upvalue of the function. [-1, +1]
static void push_members(lua_State *L) {
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "__index");
        lua_remove(L, -2);
    }
    if (lua_iscfunction(L, -1)) {
        if (!lua_getupvalue(L, -1, 1)) {
            lua_pushnil(L);
        }
        lua_remove(L, -2);
    }
    if (!lua_istable(L, -1)) { // no such type is open
        lua_pop(L, 1);
        lua_newtable(L);
    }
}

void peri_names_push(lua_State *L, enum peri_names which) {
    switch (which) {
    case PERI_NAMES_GLOBALS: lua_pushglobaltable(L); break;
    case PERI_NAMES_WS: peri_vm_push(L, PERI_SLOT_WS); break;
    case PERI_NAMES_ROOM:
        luaL_getmetatable(L, "perigee.room");
        push_members(L);
        break;
    case PERI_NAMES_CONN:
        lua_pushlightuserdata(L, NULL);
        if (!lua_getmetatable(L, -1)) {
            lua_pushnil(L);
        }
        lua_remove(L, -2);
        push_members(L);
        break;
    case PERI_NAMES_REQ:
        luaL_getmetatable(L, "perigee.req");
        push_members(L);
        break;
    case PERI_NAMES_LIMITER:
        luaL_getmetatable(L, "perigee.limiter");
        push_members(L);
        break;
    }
}

/// How far a name is from a known one. One that only begins as the other does is near: warning, warn.
static size_t distance_of(struct peri_str name, struct peri_str known) {
    size_t shorter = name.len < known.len ? name.len : known.len;
    if (shorter >= 3 && memcmp(name.ptr, known.ptr, shorter) == 0) {
        return 1;
    }
    return peri_distance(name, known);
}

const char *peri_names_nearest(lua_State *L, int table, struct peri_str name, bool functions_only) {
    const char *found = NULL;
    size_t least = name.len > 3 ? 3 : name.len > 2 ? 2 : 1; // further off, it is no likeness
    lua_pushnil(L);
    while (lua_next(L, table)) {
        bool is_function = lua_isfunction(L, -1);
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING || (functions_only && !is_function)) {
            continue;
        }
        const char *known = lua_tostring(L, -1);
        size_t distance = distance_of(name, peri_str_of(known));
        if (distance < least || (distance == least && found && strcmp(known, found) < 0)) {
            least = distance;
            found = known;
        }
    }
    return found;
}
