// Files of settings, DIR/perigee.lua and the operator's: {limits = {NAME = value},
// scripts = {["games/quiz"] = {...}}, NAME = value}. Each runs in a VM of its own, with the sandbox
// and without `ws`.
#include <ctype.h>
#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <unistd.h>

#include "base/alloc.h"
#include "script/api.h"
#include "script/host_private.h"
#include "script/sandbox.h"

struct config {
    struct peri_host *host;
    enum peri_config_layer layer;
    peri_config_set *set;
    void *arg;
    struct peri_vm *vm;
    struct peri_buffer path, source;
    struct peri_buffer place;   ///< of the value at hand: "FILE:LINE"
    struct peri_buffer message; ///< what is wrong with it
    struct peri_buffer section; ///< of a script, that is at hand; empty: none
    struct peri_buffer *error;
};

// Where a value stands ------------------------------------------------------------------------

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

/// Whether a key ends here: what follows it is `=` (not `==`), maybe behind `"]`.
static bool gives_value(struct peri_str rest) {
    size_t i = 0;
    if (rest.len > 1 && (rest.ptr[0] == '"' || rest.ptr[0] == '\'') && rest.ptr[1] == ']') {
        i = 2;
    }
    while (i < rest.len && (rest.ptr[i] == ' ' || rest.ptr[i] == '\t')) {
        i++;
    }
    return i < rest.len && rest.ptr[i] == '=' && (i + 1 == rest.len || rest.ptr[i + 1] != '=');
}

/// The line on which a name is given its value. Lua does not keep it, so the text is searched.
/// @return 0 when there is no such place, or several
static unsigned line_of(struct peri_str source, struct peri_str name) {
    unsigned line = 1, found = 0;
    for (size_t i = 0; name.len > 0 && i + name.len <= source.len; i++) {
        const char *at = source.ptr + i;
        line += *at == '\n';
        if (memcmp(at, name.ptr, name.len) != 0 || (i > 0 && is_word(at[-1])) ||
            !gives_value(peri_str(at + name.len, source.len - i - name.len))) {
            continue;
        }
        if (found) {
            return 0;
        }
        found = line;
    }
    return found;
}

static void find_place(lua_State *L, struct config *config, struct peri_str name) {
    unsigned line = line_of(peri_buffer_str(&config->source), name);
    const char *path = (const char *)config->path.ptr;
    peri_buffer_clear(&config->place, SIZE_MAX);
    int status = line ? peri_buffer_printf(&config->place, "%s:%u%c", path, line, 0)
                      : peri_buffer_printf(&config->place, "%s%c", path, 0);
    if (status != PERI_OK) {
        peri_raise_memory(L);
    }
}

static const char *place_of(const struct config *config) {
    return (const char *)config->place.ptr;
}

// What the file returns -----------------------------------------------------------------------

/// Keeps each section as JSON. The host owns what is begun, so a raise leaks nothing.
static void take_scripts(lua_State *L, struct config *config, int table) {
    if (!lua_istable(L, table)) {
        luaL_error(L, "'scripts' must be a table, by the scripts' paths without .lua");
    }
    lua_pushnil(L);
    while (lua_next(L, table)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1)) {
            luaL_error(L, "'scripts' must be a table of tables, by the scripts' paths");
        }
        struct peri_str name;
        name.ptr = lua_tolstring(L, -2, &name.len);
        struct peri_section *section = peri_section_get(config->host, name);
        if (!section || peri_buffer_append_str(&config->section, name) != PERI_OK) {
            peri_raise_memory(L);
        }
        peri_json_check(L, config->vm, lua_gettop(L), 1 << 20, &section->json[config->layer]);
        peri_buffer_clear(&config->section, SIZE_MAX);
        lua_pop(L, 1);
    }
}

/// A number, string or boolean at `index` as text; a number without a fraction as an integer.
/// [-0, +1]
static struct peri_str push_text(lua_State *L, const struct config *config, int index,
                                 const char *name) {
    int fits = 0;
    lua_Integer whole = lua_tointegerx(L, index, &fits);
    if (lua_type(L, index) == LUA_TNUMBER && fits) {
        lua_pushinteger(L, whole);
    } else if (lua_isstring(L, index) || lua_isboolean(L, index)) {
        lua_pushvalue(L, index);
    } else {
        luaL_error(L, "%s: %s can't be a %s", place_of(config), name, luaL_typename(L, index));
    }
    struct peri_str text;
    text.ptr = luaL_tolstring(L, -1, &text.len);
    lua_remove(L, -2);
    if (memchr(text.ptr, 0, text.len)) {
        luaL_error(L, "%s: %s holds a NUL", place_of(config), name);
    }
    return text;
}

/// Pushes the texts of a list, or of the one value, at `index`. [-0, +count + 1]
static struct peri_str *push_items(lua_State *L, const struct config *config, int index,
                                   const char *name, size_t *count) {
    bool is_list = lua_istable(L, index);
    *count = 1;
    if (is_list) {
        size_t keys = 0;
        for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
            keys++;
        }
        *count = (size_t)lua_rawlen(L, index);
        if (keys != *count) {
            luaL_error(L, "%s: %s must be a value or a list", place_of(config), name);
        }
    }
    luaL_checkstack(L, *count < INT_MAX / 2 ? (int)*count + 8 : INT_MAX / 2, name);
    struct peri_str *items = lua_newuserdatauv(L, (*count + 1) * sizeof *items, 0);
    for (size_t i = 0; i < *count; i++) {
        if (is_list) {
            lua_rawgeti(L, index, (lua_Integer)i + 1);
            items[i] = push_text(L, config, lua_gettop(L), name);
            lua_remove(L, -2);
        } else {
            items[i] = push_text(L, config, index, name);
        }
    }
    return items;
}

/// Hands over the value on top, whose name is below it. [-0, +0]
static void take_value(lua_State *L, struct config *config, bool is_limit) {
    int at = lua_gettop(L);
    if (lua_type(L, at - 1) != LUA_TSTRING) {
        luaL_error(L, "%s are set by name, not by a %s", is_limit ? "limits" : "settings",
                   luaL_typename(L, at - 1));
    }
    struct peri_config_value value = {.is_limit = is_limit, .is_list = lua_istable(L, at)};
    value.name.ptr = lua_tolstring(L, at - 1, &value.name.len);
    if (memchr(value.name.ptr, 0, value.name.len)) {
        luaL_error(L, "a name holds a NUL");
    }
    find_place(L, config, value.name);
    value.where = peri_str_of(place_of(config));
    value.items = push_items(L, config, at, value.name.ptr, &value.count);
    peri_buffer_clear(&config->message, SIZE_MAX);
    int status = config->set(config->arg, &value, &config->message);
    if (status == PERI_E_MEMORY) {
        peri_raise_memory(L);
    }
    if (status != PERI_OK) {
        struct peri_str why = peri_buffer_str(&config->message);
        luaL_error(L, "%s", peri_push_str(L, why));
    }
    lua_settop(L, at);
}

static void take_limits(lua_State *L, struct config *config, int table) {
    if (!lua_istable(L, table)) {
        luaL_error(L, "'limits' must be a table of names and values");
    }
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        take_value(L, config, true);
    }
}

static int read_config(lua_State *L) {
    struct config *config = lua_touserdata(L, 1);
    peri_sandbox_open(L);
    lua_newtable(L);
    peri_json_open(L);
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
    for (lua_pushnil(L); lua_next(L, table); lua_settop(L, table + 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (strcmp(name, "limits") == 0) {
            take_limits(L, config, table + 2);
        } else if (strcmp(name, "scripts") == 0) {
            take_scripts(L, config, table + 2);
        } else {
            take_value(L, config, false);
        }
    }
    return 0;
}

static int protect(lua_State *L) {
    struct config *config = lua_touserdata(L, 1);
    lua_pushcfunction(L, read_config);
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        struct peri_str path = peri_buffer_str(&config->path);
        struct peri_str section = peri_buffer_str(&config->section);
        const char *text = luaL_tolstring(L, -1, NULL);
        if (section.len > 0) {
            PERI_IGNORE(peri_buffer_printf(config->error, "%.*s: scripts[\"%.*s\"]: %s",
                                           (int)path.len, path.ptr, (int)section.len, section.ptr,
                                           text));
            return 0;
        }
        // A message with a place ("perigee.lua:3:") has said where already.
        bool placed = strncmp(text, path.ptr, path.len) == 0;
        PERI_IGNORE(peri_buffer_printf(config->error, "%.*s%s%s", placed ? 0 : (int)path.len,
                                       path.ptr, placed ? "" : ": ", text));
    }
    return 0;
}

/// Which file it is. @return PERI_OK; PERI_E_SYSTEM: there is no folder; PERI_E_MEMORY
static int find_file(struct config *config, const char *path) {
    struct peri_host *host = config->host;
    if (config->layer == PERI_CONFIG_FOLDER && access(host->dir, R_OK | X_OK) != 0) {
        PERI_IGNORE(peri_buffer_printf(config->error, "%s: %s", host->dir, strerror(errno)));
        return PERI_E_SYSTEM;
    }
    int status = config->layer == PERI_CONFIG_FOLDER
                     ? peri_buffer_printf(&config->path, "%s/perigee.lua", host->dir)
                     : peri_buffer_append_str(&config->path, peri_str_of(path));
    if (status == PERI_OK) {
        status = peri_buffer_append(&config->path, "", 1);
    }
    if (status != PERI_OK) {
        return status;
    }
    config->path.len--; // the NUL stays behind the text
    peri_free(host->config_paths[config->layer]);
    host->config_paths[config->layer] = peri_text_copy(peri_buffer_str(&config->path));
    return host->config_paths[config->layer] ? PERI_OK : PERI_E_MEMORY;
}

static int run_file(struct config *config) {
    struct peri_host *host = config->host;
    size_t before = config->error->len;
    config->vm = peri_vm_new(host, host->hub, host->limits);
    if (!config->vm) {
        return PERI_E_MEMORY;
    }
    int status = PERI_OK;
    if (peri_vm_protected(config->vm, protect, config) != LUA_OK || config->error->len > before) {
        status = PERI_E_INVALID;
        if (config->error->len == before) {
            PERI_IGNORE(peri_buffer_printf(config->error, "%s: it raised an error without a text",
                                           host->config_paths[config->layer]));
        }
    }
    peri_vm_free(config->vm);
    return status;
}

int peri_host_configure(struct peri_host *host, enum peri_config_layer layer, const char *path,
                        peri_config_set *set, void *arg, struct peri_buffer *error) {
    struct config config = {.host = host, .layer = layer, .set = set, .arg = arg, .error = error};
    int status = find_file(&config, path);
    if (status == PERI_OK) {
        status = peri_folder_read(host->config_paths[layer], &config.source);
        if (status == PERI_OK) {
            status = run_file(&config);
        } else if (layer == PERI_CONFIG_FOLDER && status == PERI_E_SYSTEM && errno == ENOENT) {
            status = PERI_OK; // there need not be one
        } else {
            PERI_IGNORE(peri_buffer_printf(error, "%s: %s", host->config_paths[layer],
                                           peri_folder_why(status)));
        }
    }
    peri_buffer_deinit(&config.path);
    peri_buffer_deinit(&config.source);
    peri_buffer_deinit(&config.place);
    peri_buffer_deinit(&config.message);
    peri_buffer_deinit(&config.section);
    return status;
}
