// Loading a script: compile, run, read the table it returns, fill its state, run `start`.
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

/// What the steps share; it lives on the loader's C stack.
struct load {
    struct peri_host *host;
    struct peri_script *script;
    struct peri_vm *vm;
    struct peri_buffer source; ///< until the VM keeps it
    struct peri_str text;      ///< of it
    int table;                 ///< registry reference of what the file returned
    bool done;                 ///< the step that ran last has succeeded
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
    if (peri_sandbox_load(L, load->text, lua_tostring(L, -1)) != LUA_OK) {
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
    peri_fields_read(L, load->script, load->vm, table);
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
        const struct peri_source *kept =
            peri_sources_keep(&load->vm->sources, load->script->path, &load->source);
        load->text = peri_buffer_str(kept ? &kept->text : &load->source);
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
