// What operators ask of scripts: how they are, how long their handlers take, and what a Lua
// expression gives in a live VM.
#include <lauxlib.h>

#include "base/alloc.h"
#include "base/histogram.h"
#include "base/log.h"
#include "hub/room.h"
#include "script/api.h"
#include "script/handover.h"
#include "script/host_private.h"
#include "script/sandbox.h"
#include "script/show.h"

// Records -------------------------------------------------------------------------------------

static struct peri_record *record_of(const struct peri_vm *vm) {
    return &vm->host->scripts[vm->script - 1]->record;
}

void peri_record_error(const struct peri_vm *vm, struct peri_str text) {
    if (vm->phase != PERI_SERVING) {
        return; // a generation that is loaded, elsewhere perhaps
    }
    struct peri_record *record = record_of(vm);
    const char *newline = text.len > 0 ? memchr(text.ptr, '\n', text.len) : NULL;
    size_t len = newline ? (size_t)(newline - text.ptr) : text.len; // within the text
    len = len < sizeof record->last_error ? len : sizeof record->last_error;
    record->errors++;
    if (len > 0) {
        memcpy(record->last_error, text.ptr, len);
    }
    record->last_error_len = len;
    record->error_at_ns = peri_alarms_now(vm->host->alarms);
}

/// What is told of handlers' times is of the last one to two of these.
static const uint64_t WINDOW_NS = 5000000000;

struct peri_timing {
    uint64_t began_ns; ///< of `now`
    struct peri_histogram now, before;
};

/// Makes the windows those of this time.
static void roll(struct peri_timing *timing, uint64_t now_ns) {
    uint64_t age_ns = now_ns - timing->began_ns;
    if (age_ns < WINDOW_NS) {
        return;
    }
    if (age_ns < 2 * WINDOW_NS) {
        timing->before = timing->now;
    } else {
        timing->before = (struct peri_histogram){0};
    }
    timing->now = (struct peri_histogram){0};
    timing->began_ns = now_ns;
}

void peri_timing_end(const struct peri_vm *vm, uint64_t began_ns, size_t handlers) {
    if (began_ns == 0) {
        return;
    }
    struct peri_record *record = record_of(vm);
    uint64_t now_ns = peri_alarms_now(vm->host->alarms);
    if (!record->timing && !(record->timing = peri_calloc(1, sizeof *record->timing))) {
        return; // it is not measured then
    }
    roll(record->timing, now_ns);
    // What goes on after a wait is a run of its own. Of a batch each has its share.
    uint64_t n = handlers > 0 ? handlers : 1;
    peri_histogram_add(&record->timing->now, (now_ns - began_ns) / n, n);
}

static void host_measure(void *self, bool on) {
    struct peri_host *host = self;
    host->is_measuring = on;
    for (size_t i = 0; i < host->script_count && !on; i++) {
        peri_free(host->scripts[i]->record.timing);
        host->scripts[i]->record.timing = NULL;
    }
}

// Status --------------------------------------------------------------------------------------

static void tell_times(struct peri_timing *timing, uint64_t now_ns,
                       struct peri_script_status *out) {
    roll(timing, now_ns);
    struct peri_histogram both = timing->before;
    peri_histogram_merge(&both, &timing->now);
    out->p50_ns = peri_histogram_at(&both, 500);
    out->p99_ns = peri_histogram_at(&both, 990);
}

static void tell_vm(const struct peri_vm *vm, struct peri_script_status *out) {
    out->generation = vm->generation;
    out->version = vm->version;
    out->timers = vm->timer_count;
    out->memory = vm->used_;
    out->memory_max = vm->cap_;
    for (const struct peri_list *at = vm->waiting.next; at != &vm->waiting; at = at->next) {
        out->waiting++;
    }
}

static void tell_reload(const struct peri_script *script, uint64_t now_ns,
                        struct peri_script_status *out) {
    const struct peri_reloader *reloader = &script->reloader;
    out->is_loading = reloader->loading || reloader->wanted;
    out->is_moving = peri_handover_lasts(script);
    // Until it is over, or the generation before is back.
    out->is_on_probation = (script->vm && script->vm->probation) || reloader->takes_back;
    out->reload = reloader->outcome;
    out->reload_why = peri_str_of(reloader->why);
    out->reload_age_ns = reloader->outcome == PERI_RELOAD_NONE ? 0 : now_ns - reloader->at_ns;
}

static bool host_status(void *self, size_t *cursor, struct peri_script_status *out) {
    const struct peri_host *host = self;
    if (*cursor >= host->script_count) {
        return false;
    }
    const struct peri_script *script = host->scripts[(*cursor)++];
    const struct peri_record *record = &script->record;
    const struct peri_room *all = peri_room_all(host->hub, script->number);
    uint64_t now_ns = peri_alarms_now(host->alarms);
    *out = (struct peri_script_status){
        .name = peri_str_of(script->name),
        .file = peri_str_of(script->path),
        .connections = all ? peri_room_count(all) : 0,
        .rooms = peri_room_peopled(host->hub, script->number),
        .messages = record->messages,
        .errors = record->errors,
        .last_error = peri_str(record->last_error, record->last_error_len),
        .error_age_ns = record->errors > 0 ? now_ns - record->error_at_ns : 0,
    };
    if (script->vm) {
        tell_vm(script->vm, out);
    }
    tell_reload(script, now_ns, out);
    if (record->timing) {
        tell_times(record->timing, now_ns, out);
    }
    return true;
}

// Names that an operator's code finds -----------------------------------------------------------

/// Functions that use functions that use.. a local of the script's.
enum { REACH = 4 };

static int find_in_top(lua_State *L, const char *name, int reach);

/// Looks for a local by its name: among what the function at `function` has of the locals around it
/// and, so far as `reach` goes, among what the functions there have. [-0, +1 and the number of the
/// upvalue: the function; or +0 and 0]
static int find_local(lua_State *L, int function, const char *name, int reach) {
    const char *found;
    luaL_checkstack(L, 4, "to look for a local");
    for (int i = 1; (found = lua_getupvalue(L, function, i)); i++) {
        lua_pop(L, 1);
        if (strcmp(found, name) == 0) {
            lua_pushvalue(L, function);
            return i;
        }
    }
    for (int i = 1; reach > 0 && lua_getupvalue(L, function, i); i++) {
        int at = find_in_top(L, name, reach - 1);
        if (at > 0) {
            return at;
        }
    }
    return 0;
}

/// The same for what is on top, which gives way to what is found. [-1, +1 or +0]
static int find_in_top(lua_State *L, const char *name, int reach) {
    int at = lua_iscfunction(L, -1) || !lua_isfunction(L, -1)
                 ? 0
                 : find_local(L, lua_gettop(L), name, reach);
    lua_remove(L, at > 0 ? -2 : -1);
    return at;
}

static int find_in_timers(lua_State *L, const char *name, int reach) {
    int base = lua_gettop(L), at = 0;
    peri_vm_push(L, PERI_SLOT_NAMED);
    lua_pushnil(L);
    while (lua_next(L, base + 1)) {
        at = find_in_top(L, name, reach);
        if (at > 0) {
            lua_replace(L, base + 1);
            break;
        }
    }
    lua_settop(L, at > 0 ? base + 1 : base);
    return at;
}

/// The nearest local of that name that a handler or a timer can see. [as find_local]
static int find_near(lua_State *L, const struct peri_vm *vm, const char *name) {
    int at = 0;
    luaL_checkstack(L, 8, "to look for a local");
    for (int reach = 0; reach < REACH && at == 0; reach++) {
        for (int which = 0; which < PERI_HANDLERS && at == 0; which++) {
            if (vm->handler[which] != LUA_NOREF) {
                peri_vm_push_handler(L, vm, (enum peri_handler)which);
                at = find_in_top(L, name, reach);
            }
        }
        at = at > 0 ? at : find_in_timers(L, name, reach);
    }
    return at;
}

/// __index of the code's globals: a local of the script, else a global, else `ws`.
static int look_up(lua_State *L) {
    const struct peri_vm *vm = peri_vm_of(L);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    int at = name ? find_near(L, vm, name) : 0;
    if (at > 0) {
        (void)lua_getupvalue(L, -1, at);
        return 1;
    }
    lua_pushglobaltable(L);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) == LUA_TNIL && name && strcmp(name, "ws") == 0) {
        peri_vm_push(L, PERI_SLOT_WS);
    }
    return 1;
}

/// __newindex: what is a local of the script stays one.
static int assign(lua_State *L) {
    const struct peri_vm *vm = peri_vm_of(L);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    int at = name ? find_near(L, vm, name) : 0;
    if (at > 0) {
        lua_pushvalue(L, 3);
        (void)lua_setupvalue(L, -2, at);
        return 0;
    }
    lua_pushglobaltable(L);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, -3);
    return 0;
}

static const luaL_Reg environment[] = {
    {"__index", look_up},
    {"__newindex", assign},
    {NULL, NULL},
};

// Eval ----------------------------------------------------------------------------------------

/// Text that one evaluation gives.
enum { SHOWN_MAX = 64 * 1024 };

/// On the C stack of host_eval; a task carries its address.
struct eval {
    struct peri_str code;
    struct peri_buffer *out;
    int status;
};

static struct eval *eval_of(const struct peri_task *task) {
    return (struct eval *)(uintptr_t)task->exchange; // NOLINT(performance-no-int-to-ptr)
}

/// What is on top, if it is text.
static void tell_error(struct eval *eval, lua_State *L) {
    struct peri_str text = PERI_STR("it failed: the log says why");
    if (lua_gettop(L) > 0 && lua_type(L, -1) == LUA_TSTRING) {
        text.ptr = lua_tolstring(L, -1, &text.len);
    }
    peri_buffer_clear(eval->out, SIZE_MAX);
    eval->status =
        peri_buffer_append_str(eval->out, text) == PERI_OK ? PERI_E_INVALID : PERI_E_MEMORY;
}

static int eval_prepare(lua_State *L, struct peri_task *task) {
    static const char chunk[] = "=eval";
    struct eval *eval = eval_of(task);
    struct peri_str text;
    lua_pushliteral(L, "return ");
    peri_push_str(L, eval->code);
    lua_concat(L, 2);
    text.ptr = lua_tolstring(L, -1, &text.len);
    if (peri_sandbox_load(L, text, chunk) != LUA_OK) {
        lua_pop(L, 1);
        if (peri_sandbox_load(L, eval->code, chunk) != LUA_OK) {
            tell_error(eval, L); // as whoever wrote it wants to hear of it, and nobody else
            return -1;
        }
    }
    lua_remove(L, -2);
    lua_newtable(L);
    lua_newtable(L);
    luaL_setfuncs(L, environment, 0);
    lua_setmetatable(L, -2);
    (void)lua_setupvalue(L, -2, 1); // a chunk's first is its globals
    return 0;
}

static void eval_returned(lua_State *L, struct peri_task *task) {
    struct eval *eval = eval_of(task);
    int count = lua_gettop(L);
    eval->status = PERI_OK;
    for (int i = 2; i <= count && eval->status == PERI_OK; i++) {
        if (i > 2) {
            eval->status = peri_buffer_append(eval->out, "\n", 1);
        }
        if (eval->status == PERI_OK) {
            eval->status = peri_show(L, task->vm, i, SHOWN_MAX, eval->out);
        }
    }
    if (eval->status == PERI_E_LIMIT) {
        eval->status = peri_buffer_append_str(eval->out, PERI_STR("\n... (64 KiB are shown)"));
    }
}

static void eval_raised(struct peri_task *task) {
    tell_error(eval_of(task), task->co); // the door leaves the error there
}

static const struct peri_entry eval_entry = {
    .name = "eval",
    .results = LUA_MULTRET,
    .is_eval = true,
    .prepare = eval_prepare,
    .returned = eval_returned,
    .raised = eval_raised,
};

static void log_eval(const struct peri_vm *vm, struct peri_str code) {
    char generation[16];
    (void)snprintf(generation, sizeof generation, "%u", vm->generation);
    const struct peri_log_field fields[] = {
        {"script", peri_str_of(vm->name)},
        {"generation", peri_str_of(generation)},
        {"code", code},
        {0},
    };
    peri_log_say(PERI_LOG_WARN, PERI_STR("an operator evaluates"), fields);
}

static const struct peri_script *find_script(const struct peri_host *host, struct peri_str name) {
    for (size_t i = 0; i < host->script_count; i++) {
        if (peri_str_equal(peri_str_of(host->scripts[i]->name), name)) {
            return host->scripts[i];
        }
    }
    return NULL;
}

static int host_eval(void *self, struct peri_str name, struct peri_str code,
                     struct peri_buffer *out) {
    struct eval eval = {.code = code, .out = out, .status = PERI_E_INVALID};
    const struct peri_script *script = find_script(self, name);
    if (!script) {
        return PERI_TELL(out, "there is no script \"%.*s\"", PERI_SHOWN(name));
    }
    if (!script->vm) {
        return PERI_TELL(out, "%s is not loaded", script->path);
    }
    log_eval(script->vm, code);
    struct peri_task *task = peri_door_task(script->vm, &eval_entry);
    if (!task) {
        return PERI_E_MEMORY;
    }
    task->exchange = (uintptr_t)&eval;
    task->can_wait = false;
    (void)peri_door_enter(task);
    if (eval.status == PERI_E_INVALID && out->len == 0) {
        return PERI_TELL(out, "it gave neither a value nor an error"); // ws.reject, say
    }
    return eval.status;
}

void peri_host_set_inspection(struct peri_policy *policy) {
    policy->status = host_status;
    policy->eval = host_eval;
    policy->measure = host_measure;
}
