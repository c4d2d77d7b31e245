// Removes what reaches files, processes and bytecode, and replaces the few functions that must
// know of the host: protected calls pass an unwinding on, __gc is refused, a raw look into a table
// that has moved raises.
#include "script/sandbox.h"

#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>

#include "script/door.h"
#include "script/guard.h"
#include "script/report.h"

/// Source text that `load` takes.
enum { LOAD_MAX = 1 << 20 };

/// What the compiler reads at once: in between, it may be stopped. A line of a few 100 KiB can take it
/// minutes, since lists of jumps are walked to their end for each `and`.
enum { LOAD_PIECE = 256 };

static const char *read_piece(lua_State *L, void *arg, size_t *len) {
    struct peri_str *left = arg;
    peri_watch_poll(L);
    const char *piece = left->ptr;
    *len = left->len < LOAD_PIECE ? left->len : LOAD_PIECE;
    *left = peri_str(piece + *len, left->len - *len);
    return piece;
}

int peri_sandbox_load(lua_State *L, struct peri_str text, const char *chunk_name) {
    struct peri_str left = peri_str(text.ptr ? text.ptr : "", text.len);
    return lua_load(L, read_piece, &left, chunk_name, "t");
}

// Protected calls ---------------------------------------------------------------------------

/// Results of a protected call, or the unwinding passed on. `first`: where "true" stands.
static int finish_protected(lua_State *L, int status, lua_KContext first) {
    struct peri_vm *vm = peri_vm_of(L);
    if (status != LUA_OK && status != LUA_YIELD) {
        if (peri_door_is_unwinding(vm)) {
            peri_watch_poll(L); // an error of the script's own: the stop goes before it
            return lua_error(L);
        }
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    return lua_gettop(L) - (int)first;
}

static int sandbox_pcall(lua_State *L) {
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_protected);
    return finish_protected(L, status, 0);
}

/// The script's message handler, kept from running while unwinding.
static int guarded_handler(lua_State *L) {
    if (peri_door_is_unwinding(peri_vm_of(L))) {
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int sandbox_xpcall(lua_State *L) {
    int count = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, guarded_handler, 1);
    lua_replace(L, 2); // stack: f, handler, arguments
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1); // stack: f, handler, arguments, true, f
    lua_rotate(L, 3, 2); // stack: f, handler, true, f, arguments
    int status = lua_pcallk(L, count - 2, LUA_MULTRET, 2, 2, finish_protected);
    return finish_protected(L, status, 2);
}

// Base --------------------------------------------------------------------------------------

/// The mark of a JSON array is protected, but may give way to a metatable of the script's.
static bool is_json_array(lua_State *L) {
    peri_vm_push(L, PERI_SLOT_ARRAY);
    bool is = lua_getmetatable(L, 1) && lua_rawequal(L, -1, -2);
    lua_settop(L, 2);
    return is;
}

static int sandbox_setmetatable(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL) {
            return luaL_error(L, "__gc is not available: finalizers run outside of any handler");
        }
        lua_pop(L, 1);
    }
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL && !is_json_array(L)) {
        return luaL_error(L, "cannot change a protected metatable");
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

/// What looks into a table past its metatable must see by itself that the table has moved.
static void check_raw(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    peri_guard_check(L, 1);
}

static int sandbox_next(lua_State *L) {
    check_raw(L);
    lua_settop(L, 2);
    if (lua_next(L, 1)) {
        return 2;
    }
    lua_pushnil(L);
    return 1;
}

static int finish_pairs(lua_State *L, int status, lua_KContext context) {
    (void)L;
    (void)status;
    (void)context;
    return 3;
}

static int sandbox_pairs(lua_State *L) {
    luaL_checkany(L, 1);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_callk(L, 1, 3, 0, finish_pairs);
    } else {
        lua_pushcfunction(L, sandbox_next);
        lua_pushvalue(L, 1);
        lua_pushnil(L);
    }
    return 3;
}

static int sandbox_rawget(lua_State *L) {
    check_raw(L);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    lua_rawget(L, 1);
    return 1;
}

static int sandbox_rawset(lua_State *L) {
    check_raw(L);
    luaL_checkany(L, 2);
    luaL_checkany(L, 3);
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 1;
}

static int sandbox_rawlen(lua_State *L) {
    if (!lua_isstring(L, 1)) {
        luaL_argexpected(L, lua_istable(L, 1), 1, "table or string");
        check_raw(L);
    }
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
    return 1;
}

static int sandbox_collectgarbage(lua_State *L) {
    const char *what = luaL_optstring(L, 1, "collect");
    if (strcmp(what, "count") != 0) {
        return luaL_error(L, "collectgarbage: only \"count\" is available");
    }
    int kib = lua_gc(L, LUA_GCCOUNT);
    int rest = lua_gc(L, LUA_GCCOUNTB);
    lua_pushnumber(L, (lua_Number)kib + (lua_Number)rest / 1024);
    return 1;
}

/// Calls the function at 1 until it gives nil or "", and leaves what it gave as one string.
static void gather_pieces(lua_State *L) {
    luaL_Buffer pieces;
    size_t total = 0;
    luaL_buffinit(L, &pieces);
    for (;;) {
        lua_pushvalue(L, 1);
        lua_call(L, 0, 1);
        size_t len;
        const char *piece = lua_tolstring(L, -1, &len);
        if (!piece || len == 0) {
            if (!lua_isnil(L, -1) && !piece) {
                luaL_error(L, "load: the function must return a string");
            }
            lua_pop(L, 1);
            break;
        }
        total += len;
        if (total > LOAD_MAX) {
            luaL_error(L, "load: more than 1 MiB of text");
        }
        luaL_addvalue(&pieces);
    }
    luaL_pushresult(&pieces);
}

static int sandbox_load(lua_State *L) {
    bool has_env = !lua_isnone(L, 4);
    const char *mode = luaL_optstring(L, 3, "t");
    if (!strchr(mode, 't')) {
        return luaL_error(L, "load: only text can be loaded");
    }
    lua_settop(L, 4);
    if (lua_type(L, 1) == LUA_TFUNCTION) {
        gather_pieces(L);
    } else {
        luaL_checktype(L, 1, LUA_TSTRING);
        lua_pushvalue(L, 1);
    }
    struct peri_str text;
    text.ptr = lua_tolstring(L, -1, &text.len);
    if (text.len > LOAD_MAX) {
        return luaL_error(L, "load: more than 1 MiB of text");
    }
    const char *name = luaL_optstring(L, 2, lua_type(L, 1) == LUA_TSTRING ? text.ptr : "=(load)");
    if (peri_sandbox_load(L, text, name) != LUA_OK) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (has_env) {
        lua_pushvalue(L, 4);
        if (!lua_setupvalue(L, -2, 1)) {
            lua_pop(L, 1);
        }
    }
    return 1;
}

static int sandbox_print(lua_State *L) {
    int count = lua_gettop(L);
    luaL_Buffer line;
    luaL_buffinit(L, &line);
    for (int i = 1; i <= count; i++) {
        if (i > 1) {
            luaL_addchar(&line, '\t');
        }
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&line);
    }
    luaL_pushresult(&line);
    struct peri_str text;
    text.ptr = lua_tolstring(L, -1, &text.len);
    peri_report_print(peri_vm_of(L), text);
    return 0;
}

static int sandbox_traceback(lua_State *L) {
    lua_State *of = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
    int message = lua_isthread(L, 1) ? 2 : 1;
    if (!lua_isnoneornil(L, message) && !lua_isstring(L, message)) {
        lua_pushvalue(L, message); // not text: as it is, like Lua's own
        return 1;
    }
    lua_Integer level = luaL_optinteger(L, message + 1, of == L ? 1 : 0);
    luaL_traceback(L, of, lua_tostring(L, message), level > 0 && level < INT_MAX ? (int)level : 0);
    return 1;
}

// Assembly ----------------------------------------------------------------------------------

static void remove_fields(lua_State *L, const char *const *names) {
    for (; *names; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
}

static void keep_only(lua_State *L, const char *const *names) {
    lua_newtable(L);
    for (; *names; names++) {
        lua_getfield(L, -2, *names);
        lua_setfield(L, -2, *names);
    }
    lua_remove(L, -2);
}

static const luaL_Reg base_functions[] = {
    {"pcall", sandbox_pcall},
    {"xpcall", sandbox_xpcall},
    {"setmetatable", sandbox_setmetatable},
    {"collectgarbage", sandbox_collectgarbage},
    {"load", sandbox_load},
    {"print", sandbox_print},
    {"next", sandbox_next},
    {"pairs", sandbox_pairs},
    {"rawget", sandbox_rawget},
    {"rawset", sandbox_rawset},
    {"rawlen", sandbox_rawlen},
    {NULL, NULL},
};

static void open_library(lua_State *L, const char *name, lua_CFunction open) {
    luaL_requiref(L, name, open, 1);
    lua_pop(L, 1);
}

void peri_sandbox_open(lua_State *L) {
    static const char *const base_removed[] = {"dofile", "loadfile", "warn", NULL};
    static const char *const string_removed[] = {"dump", NULL};
    static const char *const os_kept[] = {"time", "clock", "date", "difftime", NULL};

    open_library(L, LUA_GNAME, luaopen_base);
    open_library(L, LUA_COLIBNAME, luaopen_coroutine);
    open_library(L, LUA_TABLIBNAME, luaopen_table);
    open_library(L, LUA_STRLIBNAME, luaopen_string);
    open_library(L, LUA_MATHLIBNAME, luaopen_math);
    open_library(L, LUA_UTF8LIBNAME, luaopen_utf8);

    lua_pushglobaltable(L);
    remove_fields(L, base_removed);
    luaL_setfuncs(L, base_functions, 0);

    lua_getfield(L, -1, LUA_STRLIBNAME);
    remove_fields(L, string_removed);
    lua_pop(L, 1);

    peri_coroutine_open(L);
    peri_strings_open(L);
    peri_tables_open(L);

    luaL_requiref(L, LUA_OSLIBNAME, luaopen_os, 0);
    keep_only(L, os_kept);
    lua_setfield(L, -2, LUA_OSLIBNAME);

    lua_newtable(L);
    lua_pushcfunction(L, sandbox_traceback);
    lua_setfield(L, -2, "traceback");
    lua_setfield(L, -2, LUA_DBLIBNAME);
    lua_pop(L, 1);
}
