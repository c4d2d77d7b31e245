// The coroutines that a script makes. They are Lua's, but for a frame of ours below the script's
// function, for saying which of them runs, and for passing on what ends the handler around them.
#include <lauxlib.h>
#include <lualib.h>

#include "script/door.h"
#include "script/sandbox.h"

/// Stands before the error in what a body gives whose function raised, and on the stack of a
/// coroutine that has ended so. No script ever holds it.
static char failed;

static bool has_failed(lua_State *co, int index) {
    return lua_touserdata(co, index) == &failed;
}

enum { STACK_FRESH = 2 }; ///< of a coroutine that has not run: body, function

static bool is_fresh(lua_State *co) {
    lua_Debug frame;
    return lua_status(co) == LUA_OK && !lua_getstack(co, 0, &frame) &&
           lua_gettop(co) >= STACK_FRESH && !has_failed(co, 1);
}

/// Ended by an error, which nobody has taken by coroutine.close.
static bool is_broken(lua_State *co) {
    return lua_status(co) == LUA_OK && lua_gettop(co) == 2 && has_failed(co, 1);
}

// Below the script's function ---------------------------------------------------------------------

static int body_over(lua_State *L, int status, lua_KContext context) {
    (void)context;
    if (status == LUA_OK || status == LUA_YIELD) {
        return lua_gettop(L);
    }
    lua_pushlightuserdata(L, &failed);
    lua_insert(L, -2);
    return 2;
}

/// An error is caught in the coroutine. One that ends by an error still has the script's frames, and
/// closing those would run its `__close` where no hook is called.
static int body(lua_State *L) {
    return body_over(L, lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, 0, body_over), 0);
}

static int create(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushcfunction(co, body);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    return 1;
}

// Running it --------------------------------------------------------------------------------------

/// Moves `count` values from the top of L into co and runs it until it yields, ends or raises.
/// [-count, +results, or +1: the error]
/// @return how many values it gave; -1: it raised
static int resume(lua_State *L, lua_State *co, int count) {
    if (is_broken(co)) {
        lua_pop(L, count);
        lua_pushliteral(L, "cannot resume dead coroutine");
        return -1;
    }
    if (!lua_checkstack(co, count)) {
        lua_pop(L, count);
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    int with_function = is_fresh(co) ? 1 : 0;
    int results = 0;
    lua_xmove(L, co, count);
    peri_watch_runs(co);
    int status = lua_resume(co, L, count + with_function, &results);
    peri_watch_runs(L);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1); // Lua refused, or had no memory: none of the script's frames are left
        return -1;
    }
    if (status == LUA_OK && results == 2 && has_failed(co, -2)) {
        lua_pushvalue(co, -1);
        lua_xmove(co, L, 1); // the mark and the error stay: see close
        return -1;
    }
    if (!lua_checkstack(L, results + 1)) {
        lua_pop(co, results);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(co, L, results);
    return results;
}

/// While an unwinding, or the watchdog's stop, is under way: passes it on.
static void pass_on(lua_State *L) {
    if (peri_door_is_unwinding(peri_vm_of(L))) {
        peri_watch_poll(L);
        lua_error(L);
    }
}

static lua_State *check_coroutine(lua_State *L) {
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    luaL_argcheck(L, !peri_vm_is_task(co), 1, "a handler's own coroutine is the host's to resume");
    return co;
}

static int coroutine_resume(lua_State *L) {
    lua_State *co = check_coroutine(L);
    int results = resume(L, co, lua_gettop(L) - 1);
    if (results < 0) {
        pass_on(L);
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushboolean(L, 1);
    lua_insert(L, -(results + 1));
    return results + 1;
}

/// Calls the coroutine that is its upvalue.
static int call_wrapped(lua_State *L) {
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int results = resume(L, co, lua_gettop(L));
    if (results >= 0) {
        return results;
    }
    pass_on(L);
    if (is_broken(co)) {
        lua_settop(co, 0); // nobody can close it, so nobody asks for the error again
    }
    if (lua_type(L, -1) == LUA_TSTRING && lua_checkstack(L, 3)) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int coroutine_wrap(lua_State *L) {
    create(L);
    lua_pushcclosure(L, call_wrapped, 1);
    return 1;
}

static int coroutine_yield(lua_State *L) {
    const struct peri_vm *vm = peri_vm_of(L);
    if (vm->task && vm->task->co == L) {
        return luaL_error(L, "attempt to yield out of a handler: ws.sleep waits, yield does not");
    }
    return lua_yield(L, lua_gettop(L));
}

// Its state ---------------------------------------------------------------------------------------

static const char *status_of(lua_State *L, lua_State *co) {
    lua_Debug frame;
    if (L == co) {
        return "running";
    }
    switch (lua_status(co)) {
    case LUA_YIELD: return "suspended";
    case LUA_OK:
        if (lua_getstack(co, 0, &frame)) {
            return "normal";
        }
        return is_fresh(co) ? "suspended" : "dead";
    default: return "dead";
    }
}

static int coroutine_status(lua_State *L) {
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    lua_pushstring(L, status_of(L, co));
    return 1;
}

/// What has yielded is closed where hooks are called: it was not stopped, or it would be dead.
static int coroutine_close(lua_State *L) {
    lua_State *co = check_coroutine(L);
    const char *status = status_of(L, co);
    if (*status != 's' && *status != 'd') {
        return luaL_error(L, "cannot close a %s coroutine", status);
    }
    bool broken = is_broken(co);
    if (broken) {
        lua_xmove(co, L, 1);
    }
    peri_watch_runs(co);
    int closed = lua_closethread(co, L);
    peri_watch_runs(L);
    if (closed == LUA_OK && !broken) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (!broken) {
        lua_xmove(co, L, 1);
    }
    pass_on(L);
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static const luaL_Reg functions[] = {
    {"create", create},
    {"resume", coroutine_resume},
    {"wrap", coroutine_wrap},
    {"yield", coroutine_yield},
    {"status", coroutine_status},
    {"close", coroutine_close},
    {NULL, NULL},
};

void peri_coroutine_open(lua_State *L) {
    lua_getglobal(L, LUA_COLIBNAME);
    luaL_setfuncs(L, functions, 0); // the rest is Lua's: isyieldable, running
    lua_pop(L, 1);
}
