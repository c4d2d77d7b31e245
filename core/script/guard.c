#include "script/guard.h"

#include <lauxlib.h>

/// A key of the metatable, which no script can have.
static char mark;

void peri_guard_make(lua_State *L, const char *why) {
    static const char *const events[] = {"__index", "__newindex", "__len", "__pairs",
                                         "__call",  "__concat",   NULL};
    lua_newtable(L);
    for (int i = 0; events[i]; i++) {
        lua_pushvalue(L, -2);
        lua_setfield(L, -2, events[i]);
    }
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushlightuserdata(L, (void *)(uintptr_t)why); // only read
    lua_rawsetp(L, -2, &mark);
    lua_remove(L, -2);
}

const char *peri_guard_why(lua_State *L, int index) {
    const char *why = NULL;
    if (lua_getmetatable(L, index)) {
        lua_rawgetp(L, -1, &mark);
        why = lua_touserdata(L, -1);
        lua_pop(L, 2);
    }
    return why;
}

void peri_guard_check(lua_State *L, int index) {
    if (lua_istable(L, index) && peri_guard_why(L, index)) {
        luaL_callmeta(L, index, "__len"); // raises
    }
}
