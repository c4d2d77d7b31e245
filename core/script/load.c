// Loading a script: compile, run, read the table it returns, fill its state, run `start`.
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/nearest.h"
#include "proto/response.h"
#include "script/api.h"
#include "script/host_private.h"
#include "script/report.h"
#include "script/sandbox.h"

/// What the steps share; it lives on the loader's C stack.
struct load {
    struct peri_host *host;
    struct peri_script *script;
    struct peri_vm *vm;
    struct peri_buffer source;
    int table; ///< registry reference of what the file returned
    bool done; ///< the step that ran last has succeeded
};

static int open_vm(lua_State *L) {
    struct load *load = lua_touserdata(L, 1);
    peri_sandbox_open(L, load->vm);
    peri_api_open(L, load->vm);
    return 0;
}

/// ws.config: the script's own section of perigee.lua, empty when it has none.
static int set_config(lua_State *L) {
    struct load *load = lua_touserdata(L, 1);
    peri_vm_push(L, PERI_SLOT_WS);
    struct peri_str text = load->script->config;
    if (text.len == 0 || peri_json_decode(L, text) != 1) {
        lua_newtable(L);
    }
    lua_setfield(L, -2, "config");
    return 0;
}

// The file itself, as a task ------------------------------------------------------------------

static struct load *load_of(const struct peri_task *task) {
    return (struct load *)(uintptr_t)task->exchange; // NOLINT(performance-no-int-to-ptr)
}

static int file_prepare(lua_State *L, struct peri_task *task) {
    const struct load *load = load_of(task);
    lua_pushfstring(L, "@%s", load->script->path);
    if (peri_sandbox_load(L, peri_buffer_str(&load->source), lua_tostring(L, -1)) != LUA_OK) {
        return lua_error(L);
    }
    lua_remove(L, -2);
    return 0;
}

static void file_returned(lua_State *L, struct peri_task *task) {
    struct load *load = load_of(task);
    if (!lua_istable(L, 2)) {
        luaL_error(L, "%s: a script returns a table of handlers, not a %s", load->script->path,
                   lua_gettop(L) < 2 ? "nothing" : luaL_typename(L, 2));
    }
    load->table = luaL_ref(L, LUA_REGISTRYINDEX);
    load->done = true;
}

static const struct peri_entry file_entry = {
    .name = "load",
    .results = 1,
    .prepare = file_prepare,
    .returned = file_returned,
};

static int start_prepare(lua_State *L, struct peri_task *task) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->vm->handler[PERI_ON_START]);
    lua_pushnil(L); // from: there was no version before
    return 1;
}

static void start_returned(lua_State *L, struct peri_task *task) {
    (void)L;
    load_of(task)->done = true;
}

static const struct peri_entry start_entry = {
    .name = "start",
    .prepare = start_prepare,
    .returned = start_returned,
};

static bool run_step(struct load *load, const struct peri_entry *entry) {
    load->done = false;
    struct peri_task *task = peri_door_task(load->vm, entry);
    if (!task) {
        return false;
    }
    task->exchange = (uintptr_t)load;
    task->can_wait = false;
    (void)peri_door_enter(task);
    return load->done;
}

// The table -------------------------------------------------------------------------------------

static const char *const other_fields[] = {
    "route",    "version", "protocols", "slow",    "shard",
    "on_error", "limits",  "timers",    "migrate", NULL,
};

static bool is_known(const char *name) {
    for (int i = 0; i < PERI_HANDLERS; i++) {
        if (strcmp(name, peri_handler_names[i]) == 0) {
            return true;
        }
    }
    for (int i = 0; other_fields[i]; i++) {
        if (strcmp(name, other_fields[i]) == 0) {
            return true;
        }
    }
    return false;
}

/// "onmessage", "on_message", "mesage", "Message": all resemble message.
static bool resembles(const char *name, const char *known) {
    struct peri_str a = peri_str_of(name);
    if (a.len > 2 && (a.ptr[0] | 32) == 'o' && (a.ptr[1] | 32) == 'n') {
        size_t skip = a.ptr[2] == '_' ? 3 : 2;
        if (peri_distance(peri_str(a.ptr + skip, a.len - skip), peri_str_of(known)) == 0) {
            return true;
        }
    }
    return peri_distance(a, peri_str_of(known)) <= (strlen(known) > 5 ? 2 : 1);
}

static void warn_of(const struct peri_vm *vm, const char *name, const char *known) {
    struct peri_buffer text = {0};
    if (peri_buffer_printf(&text, "%s: the field '%.60s' is not known: did you mean '%s'?",
                           vm->file, name, known) == PERI_OK) {
        peri_report_vm(vm, PERI_LOG_WARN, peri_buffer_str(&text));
    }
    peri_buffer_deinit(&text);
}

/// A field that only resembles a known one is a warning; any other is the script's own.
static void warn_of_misspelt(lua_State *L, const struct peri_vm *vm, int table) {
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING || is_known(lua_tostring(L, -1))) {
            continue;
        }
        const char *name = lua_tostring(L, -1);
        const char *meant = NULL;
        for (int i = 0; i < PERI_HANDLERS && !meant; i++) {
            meant = resembles(name, peri_handler_names[i]) ? peri_handler_names[i] : NULL;
        }
        for (int i = 0; other_fields[i] && !meant; i++) {
            meant = resembles(name, other_fields[i]) ? other_fields[i] : NULL;
        }
        if (meant) {
            warn_of(vm, name, meant);
        }
    }
}

static void read_handlers(lua_State *L, struct peri_vm *vm, int table) {
    for (int i = 0; i < PERI_HANDLERS; i++) {
        lua_getfield(L, table, peri_handler_names[i]);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            continue;
        }
        if (!lua_isfunction(L, -1)) {
            luaL_error(L, "field '%s' must be a function, not a %s", peri_handler_names[i],
                       luaL_typename(L, -1));
        }
        vm->handler[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_getfield(L, table, "timers");
    if (!lua_isnil(L, -1)) {
        if (!lua_istable(L, -1)) {
            luaL_error(L, "field 'timers' must be a table of functions");
        }
        int timers = lua_gettop(L);
        peri_vm_push(L, PERI_SLOT_NAMED);
        lua_pushnil(L);
        while (lua_next(L, timers)) {
            if (lua_type(L, -2) != LUA_TSTRING || !lua_isfunction(L, -1)) {
                luaL_error(L, "field 'timers' must be a table of functions, by name");
            }
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -4);
        }
    }
    lua_settop(L, table);
}

/// The text of a field that is one string or a list of strings, as a list on the stack. [-0, +1]
static lua_Integer push_strings(lua_State *L, int table, const char *name) {
    lua_getfield(L, table, name);
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_createtable(L, 1, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
        return 1;
    }
    if (lua_isnil(L, -1)) {
        return 0;
    }
    lua_Integer n = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0;
    for (lua_Integer i = 1; i <= n; i++) {
        if (lua_rawgeti(L, -1, i) != LUA_TSTRING) {
            n = 0;
        }
        lua_pop(L, 1);
    }
    if (n == 0) {
        luaL_error(L, "field '%s' must be a string or a list of strings", name);
    }
    return n;
}

/// Replaces the route that the path gave. What is wrong is found before anything is replaced.
static void read_routes(lua_State *L, struct peri_script *script, int table) {
    lua_Integer n = push_strings(L, table, "route");
    for (lua_Integer i = 1; i <= n; i++) {
        size_t len;
        lua_rawgeti(L, -1, i);
        const char *text = lua_tolstring(L, -1, &len);
        if (strlen(text) != len || text[0] != '/') {
            luaL_error(L, "route '%s' must begin with a /", text);
        }
        lua_pop(L, 1);
    }
    if (n == 0) {
        return;
    }
    char **routes = peri_calloc((size_t)n, sizeof *routes);
    if (!routes) {
        peri_raise_memory(L);
    }
    size_t count = 0;
    for (; count < (size_t)n; count++) {
        lua_rawgeti(L, -1, (lua_Integer)count + 1);
        routes[count] = peri_text_copy(peri_str_of(lua_tostring(L, -1)));
        lua_pop(L, 1);
        if (!routes[count]) {
            peri_script_free_routes(routes, count);
            peri_raise_memory(L);
        }
    }
    peri_script_free_routes(script->routes, script->route_count);
    script->routes = routes;
    script->route_count = count;
}

static bool is_token(struct peri_str text) {
    return peri_field_is_valid(text, PERI_STR(""));
}

static void read_protocols(lua_State *L, struct peri_script *script, int table) {
    lua_Integer n = push_strings(L, table, "protocols");
    size_t bytes = 0;
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        struct peri_str text;
        text.ptr = lua_tolstring(L, -1, &text.len);
        if (!is_token(text)) {
            luaL_error(L, "protocol '%s' is no token (RFC 6455 section 4.1)", text.ptr);
        }
        bytes += text.len;
        lua_pop(L, 1);
    }
    if (n == 0) {
        return;
    }
    struct peri_str *list = peri_alloc((size_t)n * sizeof *list + bytes);
    if (!list) {
        peri_raise_memory(L);
    }
    char *at = (char *)(list + n);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        memcpy(at, text, len);
        list[i - 1] = peri_str(at, len);
        at += len;
        lua_pop(L, 1);
    }
    peri_free(script->protocols);
    script->protocols = list;
    script->protocol_count = (size_t)n;
}

/// Takes the limit whose name and value are on top.
static void read_limit(lua_State *L, struct peri_vm *vm) {
    struct peri_str name, value;
    if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1)) {
        luaL_error(L, "'limits' must be a table of names and values");
    }
    name.ptr = lua_tolstring(L, -2, &name.len);
    value.ptr = luaL_tolstring(L, -1, &value.len);
    struct peri_buffer error = {0};
    int status = peri_limits_tighten(&vm->limits, name, value, &error);
    char why[256]; // a raise must not leak the buffer
    snprintf(why, sizeof why, "%.*s", (int)error.len, error.ptr ? (char *)error.ptr : "");
    peri_buffer_deinit(&error);
    if (status != PERI_OK) {
        luaL_error(L, "limits: %s", why);
    }
    lua_pop(L, 1);
}

/// The script's own limits, tighter than the host's.
static void read_limits(lua_State *L, struct peri_vm *vm, int table) {
    lua_getfield(L, table, "limits");
    if (!lua_isnil(L, -1)) {
        int limits = lua_gettop(L);
        if (!lua_istable(L, limits)) {
            luaL_error(L, "'limits' must be a table of names and values");
        }
        for (lua_pushnil(L); lua_next(L, limits); lua_pop(L, 1)) {
            read_limit(L, vm);
        }
        peri_vm_set_cap(vm);
    }
    lua_pop(L, 1);
}

static const char *check_word(lua_State *L, int table, const char *name,
                              const char *const words[]) {
    lua_getfield(L, table, name);
    if (lua_isnil(L, -1)) {
        return NULL;
    }
    const char *value = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    for (int i = 0; words[i]; i++) {
        if (strcmp(value, words[i]) == 0) {
            return words[i];
        }
    }
    luaL_error(L, "field '%s' can't be '%s'", name, luaL_tolstring(L, -1, NULL));
    return NULL;
}

static void read_settings(lua_State *L, struct peri_vm *vm, int table) {
    static const char *const slow[] = {"close", "drop", "latest", NULL};
    static const char *const on_error[] = {"close", NULL};
    const char *word = check_word(L, table, "slow", slow);
    if (word) {
        vm->slow = word[0] == 'd'   ? PERI_SLOW_DROP
                   : word[0] == 'l' ? PERI_SLOW_LATEST
                                    : PERI_SLOW_CLOSE;
    }
    vm->close_on_error = check_word(L, table, "on_error", on_error) != NULL;
    lua_getfield(L, table, "version");
    if (!lua_isnil(L, -1)) {
        if (!lua_isinteger(L, -1)) {
            luaL_error(L, "field 'version' must be an integer");
        }
        vm->version = lua_tointeger(L, -1);
    }
    peri_vm_push(L, PERI_SLOT_WS);
    lua_getfield(L, -1, "script");
    lua_pushinteger(L, vm->version);
    lua_setfield(L, -2, "version");
    lua_settop(L, table);
}

static int read_table(lua_State *L) {
    struct load *load = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, load->table);
    int table = lua_gettop(L);
    read_routes(L, load->script, table);
    read_settings(L, load->vm, table);
    read_limits(L, load->vm, table);
    read_handlers(L, load->vm, table);
    read_protocols(L, load->script, table);
    lua_settop(L, table);
    warn_of_misspelt(L, load->vm, table);
    luaL_unref(L, LUA_REGISTRYINDEX, load->table);
    peri_timers_check(L, load->vm);
    peri_state_fill(L);
    return 0;
}

// All of it -------------------------------------------------------------------------------------

static bool read_source(struct load *load) {
    errno = 0;
    int status = peri_folder_read(load->script->path, &load->source);
    if (status == PERI_OK) {
        return true;
    }
    peri_log(PERI_LOG_ERROR, "%s: %s", load->script->path, peri_folder_why(status));
    return false;
}

static bool load_steps(struct load *load) {
    struct peri_vm *vm = load->vm;
    if (!read_source(load) || peri_vm_protected(vm, open_vm, load) != LUA_OK ||
        peri_vm_protected(vm, set_config, load) != LUA_OK) {
        return false;
    }
    vm->phase = PERI_LOADING;
    if (!run_step(load, &file_entry) || peri_vm_protected(vm, read_table, load) != LUA_OK) {
        return false;
    }
    vm->phase = PERI_STARTING;
    peri_timers_begin(vm);
    if (vm->handler[PERI_ON_START] != LUA_NOREF && !run_step(load, &start_entry)) {
        return false;
    }
    vm->phase = PERI_SERVING;
    return true;
}

static void set_traits(struct peri_script *script) {
    const struct peri_vm *vm = script->vm;
    struct peri_traits *traits = &script->traits;
    traits->has_upgrade = vm->handler[PERI_ON_UPGRADE] != LUA_NOREF;
    traits->has_open = vm->handler[PERI_ON_OPEN] != LUA_NOREF;
    traits->has_message = vm->handler[PERI_ON_MESSAGE] != LUA_NOREF;
    traits->has_drain = vm->handler[PERI_ON_DRAIN] != LUA_NOREF;
    traits->has_close = vm->handler[PERI_ON_CLOSE] != LUA_NOREF;
    traits->has_request = vm->handler[PERI_ON_REQUEST] != LUA_NOREF;
    traits->protocols = script->protocols;
    traits->protocol_count = script->protocol_count;
    traits->limits = &vm->limits;
}

void peri_script_load(struct peri_host *host, struct peri_script *script) {
    struct load load = {.host = host, .script = script, .table = LUA_NOREF};
    script->traits.limits = host->limits;
    load.vm = peri_vm_new(host, host->hub, host->limits);
    if (!load.vm) {
        peri_log(PERI_LOG_ERROR, "%s: out of memory", script->path);
        return;
    }
    load.vm->script = script->number;
    load.vm->name = script->name;
    load.vm->file = script->path;
    if (load_steps(&load)) {
        script->vm = load.vm;
        set_traits(script);
        peri_report_vm(load.vm, PERI_LOG_INFO, PERI_STR("loaded"));
    } else {
        peri_report_vm(load.vm, PERI_LOG_ERROR, PERI_STR("not loaded: its route answers 503"));
        peri_vm_free(load.vm);
    }
    peri_buffer_deinit(&load.source);
}
