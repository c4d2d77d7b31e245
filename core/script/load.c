#include "script/load.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/api.h"
#include "script/fields.h"
#include "script/host_private.h"
#include "script/report.h"
#include "script/sandbox.h"
#include "script/trusted.h"

/// What the steps share; it lives on the loader's C stack.
struct load {
    struct peri_vm *vm;
    struct peri_str config;
    struct peri_buffer source; ///< until the VM keeps it
    struct peri_str text;      ///< of it
    const lua_Integer *from;   ///< for `start`
    int table;                 ///< registry reference of what the file returned
    bool done;                 ///< the step that ran last has succeeded
};

static int open_vm(lua_State *L) {
    struct load *load = lua_touserdata(L, 1);
    peri_sandbox_open(L);
    if (load->vm->host->trusted) {
        peri_trusted_open(L);
    }
    peri_api_open(L);
    return 0;
}

/// ws.config: the script's own section of perigee.lua, empty when it has none.
static int set_config(lua_State *L) {
    struct load *load = lua_touserdata(L, 1);
    peri_vm_push(L, PERI_SLOT_WS);
    struct peri_str text = load->config;
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
    lua_pushfstring(L, "@%s", load->vm->file);
    if (peri_sandbox_load(L, load->text, lua_tostring(L, -1)) != LUA_OK) {
        return lua_error(L);
    }
    lua_remove(L, -2);
    return 0;
}

static void file_returned(lua_State *L, struct peri_task *task) {
    struct load *load = load_of(task);
    if (!lua_istable(L, 2)) {
        luaL_error(L, "%s: a script returns a table of handlers, not a %s", load->vm->file,
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
    const lua_Integer *from = load_of(task)->from;
    peri_vm_push_handler(L, task->vm, PERI_ON_START);
    if (from) {
        lua_pushinteger(L, *from);
    } else {
        lua_pushnil(L);
    }
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

/// Names the line in which the field stands first, which is most often where it gets its value.
static void warn_of(const struct peri_vm *vm, const char *name, const char *known) {
    char line[16] = "";
    uint32_t at = peri_sources_line_of(&vm->sources, vm->file, peri_str_of(name));
    struct peri_buffer text = {0};
    if (at > 0) {
        (void)snprintf(line, sizeof line, "%u:", (unsigned)at);
    }
    if (peri_buffer_printf(&text, "%s:%s the field '%.60s' is not known: did you mean '%s'?",
                           vm->file, line, name, known) == PERI_OK) {
        peri_report_vm(vm, PERI_LOG_WARN, peri_buffer_str(&text));
    }
    peri_buffer_deinit(&text);
}

/// A field that only resembles a known one is a warning; any other is the script's own.
static void warn_of_misspelt(lua_State *L, const struct peri_vm *vm, int table) {
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        const char *meant = name ? peri_fields_meant(name) : NULL;
        if (meant) {
            warn_of(vm, name, meant);
        }
    }
}

static int read_table(lua_State *L) {
    struct load *load = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, load->table);
    int table = lua_gettop(L);
    peri_fields_read(L, load->vm, table);
    warn_of_misspelt(L, load->vm, table);
    luaL_unref(L, LUA_REGISTRYINDEX, load->table);
    peri_timers_check(L, load->vm);
    return 0;
}

// All of it -------------------------------------------------------------------------------------

int peri_load_read(const struct peri_vm *vm, const char *path, struct peri_buffer *out) {
    if (!vm->relives) {
        return peri_folder_read(path, out);
    }
    const struct peri_source *source = peri_sources_get(vm->relives, path);
    errno = ENOENT;
    return source ? peri_buffer_append_str(out, peri_buffer_str(&source->text)) : PERI_E_SYSTEM;
}

static bool read_source(struct load *load) {
    struct peri_vm *vm = load->vm;
    errno = 0;
    int status = peri_load_read(vm, vm->file, &load->source);
    if (status == PERI_OK) {
        const struct peri_source *kept = peri_sources_keep(&vm->sources, vm->file, &load->source);
        load->text = peri_buffer_str(kept ? &kept->text : &load->source);
        return true;
    }
    (void)snprintf(vm->last_error, sizeof vm->last_error, "%s: %s", vm->file,
                   peri_folder_why(status));
    peri_log(PERI_LOG_ERROR, "%s", vm->last_error);
    return false;
}

struct peri_vm *peri_load_new(const struct peri_script *script) {
    const struct peri_host *host = script->host;
    struct peri_vm *vm = peri_vm_new(script->host, host->hub, host->limits);
    if (!vm) {
        peri_log(PERI_LOG_ERROR, "%s: out of memory", script->path);
        return NULL;
    }
    vm->script = script->number;
    vm->name = script->name;
    vm->file = script->path;
    vm->generation = script->generation + 1;
    vm->phase = PERI_LOADING;
    return vm;
}

bool peri_load_run(struct peri_vm *vm, struct peri_str config, const struct peri_sources *relives) {
    struct load load = {.vm = vm, .config = config, .table = LUA_NOREF};
    vm->relives = relives;
    bool loaded = read_source(&load) && peri_vm_protected(vm, open_vm, &load) == LUA_OK &&
                  peri_vm_protected(vm, set_config, &load) == LUA_OK &&
                  run_step(&load, &file_entry) &&
                  peri_vm_protected(vm, read_table, &load) == LUA_OK;
    vm->relives = NULL;
    peri_buffer_deinit(&load.source);
    return loaded;
}

bool peri_load_start(struct peri_vm *vm, const lua_Integer *from) {
    struct load load = {.vm = vm, .from = from, .table = LUA_NOREF};
    return vm->handler[PERI_ON_START] == LUA_NOREF || run_step(&load, &start_entry);
}

void peri_load_traits(const struct peri_vm *vm, struct peri_traits *traits) {
    *traits = (struct peri_traits){
        .has_upgrade = vm->handler[PERI_ON_UPGRADE] != LUA_NOREF,
        .has_open = vm->handler[PERI_ON_OPEN] != LUA_NOREF,
        .has_message = vm->handler[PERI_ON_MESSAGE] != LUA_NOREF,
        .has_drain = vm->handler[PERI_ON_DRAIN] != LUA_NOREF,
        .has_close = vm->handler[PERI_ON_CLOSE] != LUA_NOREF,
        .has_request = vm->handler[PERI_ON_REQUEST] != LUA_NOREF,
        .protocols = vm->protocols,
        .protocol_count = vm->protocol_count,
        .limits = &vm->limits,
    };
}
