#include "script/modules.h"

#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdlib.h>

#include "script/host_private.h"
#include "script/load.h"
#include "script/sandbox.h"
#include "script/trusted.h"

/// Letters, digits, "_" and "-", in parts between dots: no name leads out of a folder.
static void check_name(lua_State *L, const char *name) {
    const char *part = name;
    for (const char *at = name;; at++) {
        if (*at == '.' || *at == '\0') {
            if (at == part) {
                luaL_error(L, "require: '%s' is no module name", name);
            }
            part = at + 1;
            if (*at == '\0') {
                return;
            }
        } else if (!strchr("_-", *at) && !(*at >= '0' && *at <= '9') &&
                   !((*at | 32) >= 'a' && (*at | 32) <= 'z')) {
            luaL_error(L, "require: '%s' is no module name: letters, digits, _ and - may be in it",
                       name);
        }
    }
}

/// True when the file is there and really lies in DIR, links followed. DIR itself may be a link
/// that leads elsewhere by now.
static bool is_inside(const struct peri_host *host, const char *path) {
    char real[PATH_MAX], real_dir[PATH_MAX];
    if (!realpath(host->dir, real_dir) || !realpath(path, real)) {
        return false;
    }
    size_t len = strlen(real_dir);
    return strncmp(real, real_dir, len) == 0 && real[len] == '/';
}

/// Whether a module can be loaded from there: for a generation that is brought back, from what it
/// was loaded from then.
static bool is_there(const struct peri_vm *vm, const char *path) {
    return vm->relives ? peri_sources_get(vm->relives, path) != NULL : is_inside(vm->host, path);
}

/// Leaves on top of the stack the path of a module: "scripts/lib/words.lua". [-0, +n]
/// @return that; NULL: there is none, and where it was looked for is on top
static const char *module_path(lua_State *L, struct peri_vm *vm, const char *name) {
    const struct peri_host *host = vm->host;
    check_name(L, name);
    const char *file = luaL_gsub(L, name, ".", "/");
    lua_pushfstring(L, "%s/lib/%s.lua", host->dir, file);
    if (is_there(vm, lua_tostring(L, -1))) {
        return lua_tostring(L, -1);
    }
    const char *slash = strrchr(vm->file, '/');
    lua_pushlstring(L, vm->file, slash ? (size_t)(slash - vm->file) : 0);
    lua_pushfstring(L, "%s/%s.lua", lua_tostring(L, -1), file);
    if (is_there(vm, lua_tostring(L, -1))) {
        return lua_tostring(L, -1);
    }
    lua_pushfstring(L, "neither %s nor %s", lua_tostring(L, -3), lua_tostring(L, -1));
    return NULL;
}

/// @param places on top of the stack: where it was looked for
static int raise_not_found(lua_State *L, struct peri_vm *vm, const char *name) {
    vm->missed_module = true;
    return luaL_error(L, "module '%s' not found: %s%s", name, lua_tostring(L, -1),
                      vm->host->trusted ? ", nor is it one of the system's" : "");
}

void peri_modules_check(lua_State *L, struct peri_vm *vm, const char *name) {
    int top = lua_gettop(L);
    if (!module_path(L, vm, name) && !(vm->host->trusted && peri_trusted_finds(L, name))) {
        raise_not_found(L, vm, name);
    }
    lua_settop(L, top);
}

static const char HOLDER[] = "perigee.source";

static int holder_gc(lua_State *L) {
    peri_buffer_deinit(lua_touserdata(L, 1));
    return 0;
}

/// Compiles the file. Until the VM keeps its text, a userdata holds it that a raise cannot leak.
/// [-0, +1]
static void push_module(lua_State *L, struct peri_vm *vm, const char *path) {
    struct peri_buffer *source = lua_newuserdatauv(L, sizeof *source, 0);
    *source = (struct peri_buffer){0};
    luaL_setmetatable(L, HOLDER);
    int status = peri_load_read(vm, path, source);
    if (status != PERI_OK) {
        luaL_error(L, "%s: %s", path, peri_folder_why(status));
    }
    const struct peri_source *kept = peri_sources_keep(&vm->sources, path, source);
    lua_pushfstring(L, "@%s", path);
    if (peri_sandbox_load(L, peri_buffer_str(kept ? &kept->text : source), lua_tostring(L, -1)) !=
        LUA_OK) {
        lua_error(L);
    }
    peri_buffer_deinit(source);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/// Marks a module whose text runs: to require it again is a circle.
static char running;

/// Keeps what is on top of the stack as the module of the name at 1, in the table at 2.
static void keep(lua_State *L) {
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, 2);
}

static int require(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    if (strlen(name) != len) {
        return luaL_error(L, "require: '%s' is no module name: it holds a NUL", name);
    }
    lua_settop(L, 1);
    if (strcmp(name, "ws") == 0) {
        peri_vm_push(L, PERI_SLOT_WS);
        return 1;
    }
    peri_vm_push(L, PERI_SLOT_MODULES); // at 2
    lua_pushvalue(L, 1);
    if (lua_rawget(L, 2) != LUA_TNIL) {
        if (lua_touserdata(L, -1) == &running) {
            return luaL_error(L, "module '%s' requires itself, in a circle", name);
        }
        return 1;
    }
    lua_settop(L, 2);
    const char *path = module_path(L, vm, name);
    if (!path && vm->host->trusted && peri_trusted_require(L, name)) {
        keep(L);
        return 1;
    }
    if (!path) {
        return raise_not_found(L, vm, name);
    }
    push_module(L, vm, path);
    lua_pushvalue(L, 1);
    lua_pushlightuserdata(L, &running);
    lua_rawset(L, 2);
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        lua_pushvalue(L, 1);
        lua_pushnil(L);
        lua_rawset(L, 2); // a handler may try again
        return lua_error(L);
    }
    if (lua_isnil(L, -1)) {
        lua_pushboolean(L, 1);
    }
    keep(L);
    return 1;
}

void peri_modules_open(lua_State *L) {
    luaL_newmetatable(L, HOLDER);
    lua_pushcfunction(L, holder_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_pushcfunction(L, require);
    lua_setglobal(L, "require");
}
