// DIR/perigee.lua: {limits = {NAME = value}, scripts = {["games/quiz"] = {...}}}. It runs in a VM
// of its own, with the sandbox and without `ws`.
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/nearest.h"
#include "script/api.h"
#include "script/host_private.h"
#include "script/sandbox.h"

struct config {
    struct peri_host *host;
    struct peri_vm *vm;
    struct peri_limits *limits;
    struct peri_buffer path, source;
    struct peri_buffer *error;
};

void peri_config_limits(lua_State *L, int table, struct peri_limits *limits,
                        int (*set)(struct peri_limits *limits, struct peri_str name,
                                   struct peri_str value, struct peri_buffer *error)) {
    if (!lua_istable(L, table)) {
        luaL_error(L, "'limits' must be a table of names and values");
    }
    lua_pushnil(L);
    while (lua_next(L, table)) {
        struct peri_str name, value;
        if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1)) {
            luaL_error(L, "'limits' must be a table of names and values");
        }
        name.ptr = lua_tolstring(L, -2, &name.len);
        value.ptr = luaL_tolstring(L, -1, &value.len);
        struct peri_buffer error = {0};
        int status = set(limits, name, value, &error);
        char why[256]; // a raise must not leak the buffer
        snprintf(why, sizeof why, "%.*s", (int)error.len, error.ptr ? (char *)error.ptr : "");
        peri_buffer_deinit(&error);
        if (status != PERI_OK) {
            luaL_error(L, "limits: %s", why);
        }
        lua_pop(L, 2);
    }
}

/// Keeps each section as JSON: config is data, and each script's VM makes its own of it. The host
/// owns what is begun, so a raise leaks nothing.
static void take_scripts(lua_State *L, struct config *config, int table) {
    struct peri_host *host = config->host;
    if (!lua_istable(L, table)) {
        luaL_error(L, "'scripts' must be a table, by the scripts' paths without .lua");
    }
    lua_pushnil(L);
    while (lua_next(L, table)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1)) {
            luaL_error(L, "'scripts' must be a table of tables, by the scripts' paths");
        }
        struct peri_section *sections =
            peri_realloc(host->sections, (host->section_count + 1) * sizeof *sections);
        if (!sections) {
            peri_raise_memory(L);
        }
        host->sections = sections;
        struct peri_section *section = &sections[host->section_count++];
        *section = (struct peri_section){0};
        struct peri_str name;
        name.ptr = lua_tolstring(L, -2, &name.len);
        if (peri_buffer_append_str(&section->name, name) != PERI_OK) {
            peri_raise_memory(L);
        }
        peri_json_check(L, config->vm, lua_gettop(L), 1 << 20, &section->json);
        lua_pop(L, 1);
    }
}

static int read_config(lua_State *L) {
    static const char *const known[] = {"limits", "scripts", NULL};
    struct config *config = lua_touserdata(L, 1);
    peri_sandbox_open(L, config->vm);
    lua_newtable(L);
    peri_json_open(L, config->vm);
    lua_settop(L, 1);
    lua_pushfstring(L, "@%s", peri_push_str(L, peri_buffer_str(&config->path)));
    if (peri_sandbox_load(L, peri_buffer_str(&config->source), lua_tostring(L, -1)) != LUA_OK) {
        return lua_error(L);
    }
    peri_vm_enter_script(config->vm);
    lua_call(L, 0, 1);
    peri_vm_enter_host(config->vm);
    int table = lua_gettop(L);
    if (!lua_istable(L, table)) {
        return luaL_error(L, "it must return a table {limits = {...}, scripts = {...}}");
    }
    lua_pushnil(L);
    while (lua_next(L, table)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(name, known[0]) == 0) {
            peri_config_limits(L, lua_gettop(L), config->limits, peri_limits_set);
        } else if (strcmp(name, known[1]) == 0) {
            take_scripts(L, config, lua_gettop(L));
        } else {
            size_t to_limits = peri_distance(peri_str_of(name), peri_str_of(known[0]));
            size_t to_scripts = peri_distance(peri_str_of(name), peri_str_of(known[1]));
            return luaL_error(L, "unknown key '%s': did you mean '%s'?", name,
                              known[to_scripts < to_limits]);
        }
        lua_settop(L, table + 1);
    }
    return 0;
}

static int protect(lua_State *L) {
    struct config *config = lua_touserdata(L, 1);
    lua_pushcfunction(L, read_config);
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        struct peri_str path = peri_buffer_str(&config->path);
        const char *text = luaL_tolstring(L, -1, NULL);
        // A message with a place ("perigee.lua:3:") has said where already.
        bool placed = strncmp(text, path.ptr, path.len) == 0;
        PERI_IGNORE(peri_buffer_printf(config->error, "%.*s%s%s", placed ? 0 : (int)path.len,
                                       path.ptr, placed ? "" : ": ", text));
    }
    return 0;
}

int peri_host_configure(struct peri_host *host, struct peri_limits *limits,
                        struct peri_buffer *error) {
    struct config config = {.host = host, .limits = limits, .error = error};
    size_t before = error->len;
    int status = PERI_E_MEMORY;
    if (access(host->dir, R_OK | X_OK) != 0) {
        PERI_IGNORE(peri_buffer_printf(error, "%s: %s", host->dir, strerror(errno)));
        return PERI_E_SYSTEM;
    }
    if (peri_buffer_printf(&config.path, "%s/perigee.lua%c", host->dir, 0) != PERI_OK) {
        goto done;
    }
    config.path.len--; // the NUL stays behind the text
    const char *path = (const char *)config.path.ptr;
    status = peri_folder_read(path, &config.source);
    if (status != PERI_OK) {
        if (status == PERI_E_SYSTEM && errno == ENOENT) {
            status = PERI_OK;
        } else {
            PERI_IGNORE(peri_buffer_printf(error, "%s: %s", path, peri_folder_why(status)));
        }
        goto done;
    }
    config.vm = peri_vm_new(host, host->hub, host->limits);
    if (!config.vm) {
        status = PERI_E_MEMORY;
        goto done;
    }
    if (peri_vm_protected(config.vm, protect, &config) != LUA_OK || error->len > before) {
        status = PERI_E_INVALID;
        if (error->len == before) {
            PERI_IGNORE(peri_buffer_printf(error, "%s: it raised an error without a text", path));
        }
    }
    peri_vm_free(config.vm);
done:
    peri_buffer_deinit(&config.path);
    peri_buffer_deinit(&config.source);
    return status;
}
