#include "script/trusted.h"

#include <lauxlib.h>
#include <lualib.h>

#include "script/sandbox.h"

/// Key in the registry: Lua's own `require`.
static const char system_require;

static int os_exit(lua_State *L) {
    return luaL_error(L, "os.exit is not available: it would end the host");
}

/// Adds templates at the end of a path, and takes out those of the working directory: where a host was
/// started is no place for modules. stack: package
static void set_path(lua_State *L, const char *field, const char *added) {
    lua_getfield(L, -1, field);
    const char *at = lua_pushfstring(L, "%s;%s;", luaL_optstring(L, -1, ""), added);
    lua_pushliteral(L, "");
    for (const char *end; (end = strchr(at, ';')); at = end + 1) {
        if (end > at && strncmp(at, "./", 2) != 0) {
            lua_pushlstring(L, at, (size_t)(end + 1 - at));
            lua_concat(L, 2);
        }
    }
    lua_setfield(L, -4, field);
    lua_pop(L, 2);
}

/// Of all that looks at the stack, what changes nothing: a hook of the script's would be in the
/// watchdog's way, and the metatables of light userdata and of what has moved are the host's.
static void open_debug(lua_State *L) {
    static const char *const added[] = {"getinfo",    "getlocal",     "getmetatable",
                                        "getupvalue", "getuservalue", "upvalueid"};
    lua_getglobal(L, LUA_DBLIBNAME); // with our traceback
    luaL_requiref(L, LUA_DBLIBNAME, luaopen_debug, 0);
    for (size_t i = 0; i < sizeof added / sizeof added[0]; i++) {
        lua_getfield(L, -1, added[i]);
        lua_setfield(L, -3, added[i]);
    }
    lua_pop(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_insert(L, -2);
    lua_setfield(L, -2, LUA_DBLIBNAME);
    lua_pop(L, 1);
}

void peri_trusted_open(lua_State *L) {
    luaL_requiref(L, LUA_LOADLIBNAME, luaopen_package, 1);
    set_path(L, "path", "/usr/share/lua/5.4/?.lua;/usr/share/lua/5.4/?/init.lua");
    set_path(L, "cpath", PERIGEE_LIBRARY_DIR "/lua/5.4/?.so;/usr/lib/lua/5.4/?.so");
    luaL_requiref(L, LUA_IOLIBNAME, luaopen_io, 1);
    luaL_requiref(L, LUA_OSLIBNAME, luaopen_os, 1);
    lua_pushcfunction(L, os_exit);
    lua_setfield(L, -2, "exit");
    lua_pushnil(L); // it would change how numbers are read and written, for the whole host
    lua_setfield(L, -2, "setlocale");
    lua_pop(L, 3);
    open_debug(L);
    lua_getglobal(L, "require");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &system_require);
}

/// What Lua's own `require` says when it has looked everywhere.
static bool says_not_found(lua_State *L, const char *name) {
    bool is = false;
    if (lua_type(L, -1) == LUA_TSTRING) {
        const char *said = lua_pushfstring(L, "module '%s' not found:", name);
        is = strncmp(lua_tostring(L, -2), said, strlen(said)) == 0;
        lua_pop(L, 1);
    }
    return is;
}

bool peri_trusted_require(lua_State *L, const char *name) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &system_require);
    lua_pushstring(L, name);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
        return true;
    }
    if (!says_not_found(L, name)) {
        lua_error(L);
    }
    lua_pop(L, 1);
    return false;
}

/// Looks for a file by the templates of package.path or package.cpath, at the index `package`.
static bool is_file_of(lua_State *L, int package, const char *templates, const char *name) {
    lua_getfield(L, package, "searchpath");
    lua_pushstring(L, name);
    lua_getfield(L, package, templates);
    lua_call(L, 2, 1);
    bool found = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return found;
}

bool peri_trusted_finds(lua_State *L, const char *name) {
    int top = lua_gettop(L);
    lua_getglobal(L, LUA_LOADLIBNAME);
    // A library in C may hold what is below its own name.
    const char *root = lua_pushlstring(L, name, strcspn(name, "."));
    bool found = is_file_of(L, top + 1, "path", name) || is_file_of(L, top + 1, "cpath", name) ||
                 is_file_of(L, top + 1, "cpath", root);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    found = found || lua_getfield(L, -1, name) != LUA_TNIL; // string, table and so on
    lua_settop(L, top);
    return found;
}
