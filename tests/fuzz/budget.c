// Scripts that would never return. The host has no watchdog yet, so a target that runs what its input
// says gives each VM a number of instructions: lua_newstate is wrapped by the linker.
#include <lauxlib.h>

enum { EVERY = 1000, MOST = 200 };

static int spent; ///< in thousands of instructions, by all VMs of the input

lua_State *__real_lua_newstate(lua_Alloc allocate, void *arg);
lua_State *__wrap_lua_newstate(lua_Alloc allocate, void *arg);

static void count(lua_State *L, lua_Debug *ar) {
    (void)ar;
    spent++;
    if (spent > MOST) {
        lua_sethook(L, count, LUA_MASKCOUNT, 1); // no pcall goes on
        luaL_error(L, "it takes too long");
    }
}

lua_State *__wrap_lua_newstate(lua_Alloc allocate, void *arg) {
    lua_State *L = __real_lua_newstate(allocate, arg);
    if (L) {
        spent = 0;
        lua_sethook(L, count, LUA_MASKCOUNT, EVERY); // coroutines inherit it
    }
    return L;
}
