#include "script/handover.h"

#include <lauxlib.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/api.h"
#include "script/data.h"
#include "script/guard.h"
#include "script/hold.h"
#include "script/host_private.h"
#include "script/load.h"
#include "script/probation.h"
#include "script/reload.h"

/// What a slice of conn.data may take, and when those whose handlers wait are looked at again.
static const uint64_t SLICE_NS = 500000, LOOK_NS = 20000000;

/// How many connections between two looks at the clock.
enum { SLICE_STEP = 16 };

/// Handed into the new VM, step by step.
struct begin {
    struct peri_script *script;
    struct peri_vm *vm;
    struct peri_handover *handover; ///< NULL: there is no generation before
    struct peri_vault *into;
    struct peri_handover_report *report;
    int todo;     ///< registry reference: a list of {name, table, function, version} to migrate
    size_t count; ///< of it
    bool failed;
};

static bool has_waiting(const struct peri_vm *vm) {
    return !peri_list_is_empty(&vm->waiting);
}

// What has moved -------------------------------------------------------------------------------

static int moved(lua_State *L) {
    const struct peri_vm *vm = peri_vm_of(L);
    return luaL_error(L, "moved to generation %d while this handler waited",
                      vm->heir ? (int)vm->heir->generation : (int)vm->generation + 1);
}

/// In the generation before: the metatable of what has moved.
static int make_guard(lua_State *L) {
    struct peri_handover *handover = lua_touserdata(L, 1);
    lua_pushcfunction(L, moved);
    peri_guard_make(L, "what moved to another generation while this handler waited");
    handover->guard_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

void peri_handover_guard(struct peri_handover *handover) {
    struct peri_vm *elder = handover->elder;
    if (!elder->heir || !has_waiting(elder) || handover->guard_ref == LUA_NOREF) {
        return; // before the swap nothing has moved for good, and without a handler nobody looks
    }
    lua_settop(elder->L, 0);
    lua_rawgeti(elder->L, LUA_REGISTRYINDEX, handover->guard_ref);
    peri_move_strip(handover->move, elder->L);
    lua_settop(elder->L, 0);
}

// State ----------------------------------------------------------------------------------------

static int bring_state(lua_State *L) {
    struct begin *begin = lua_touserdata(L, 1);
    const struct peri_handover *handover = begin->handover;
    peri_vm_enter_move(begin->vm);
    if (handover && handover->from_vault) {
        peri_state_bring(L, handover->from_vault->vm, handover->vault_move);
    }
    if (handover) {
        peri_state_bring(L, handover->elder, handover->move);
    }
    peri_state_fill(L);
    if (peri_vm_is_over(begin->vm)) {
        lua_gc(L, LUA_GCCOLLECT);
    }
    if (peri_vm_is_over(begin->vm)) {
        luaL_error(L, "the state that is kept does not fit into script_memory");
    }
    return 0;
}

// migrate --------------------------------------------------------------------------------------

static int list_migrations(lua_State *L) {
    struct begin *begin = lua_touserdata(L, 1);
    begin->count = peri_state_migrations(L, begin->vm->version);
    begin->todo = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static struct begin *begin_of(const struct peri_task *task) {
    return (struct begin *)(uintptr_t)task->exchange; // NOLINT(performance-no-int-to-ptr)
}

/// [-0, +1: {name, table, function, version}]
static void push_migration(lua_State *L, const struct peri_task *task) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, begin_of(task)->todo);
    lua_rawgeti(L, -1, (lua_Integer)task->at);
    lua_remove(L, -2);
}

static int migrate_prepare(lua_State *L, struct peri_task *task) {
    struct begin *begin = begin_of(task);
    if (begin->failed) {
        return -1;
    }
    push_migration(L, task);
    int migration = lua_gettop(L);
    lua_rawgeti(L, migration, 1);
    lua_rawgeti(L, migration, 3);
    lua_rawgeti(L, migration, 2);
    lua_rawgeti(L, migration, 4); // stack: migration, name, function, table, version
    if (begin->into && peri_vault_keep_state(begin->into, L, lua_gettop(L) - 1,
                                             lua_tostring(L, migration + 1)) != PERI_OK) {
        luaL_error(L, "not enough memory");
    }
    lua_remove(L, migration + 1);
    lua_remove(L, migration);
    return 2;
}

static void migrate_returned(lua_State *L, struct peri_task *task) {
    push_migration(L, task);
    int migration = lua_gettop(L);
    if (!lua_istable(L, 2)) {
        lua_rawgeti(L, migration, 1);
        luaL_error(L, "migrate.%s must return the new state, a table, not a %s",
                   lua_tostring(L, -1), luaL_typename(L, 2));
    }
    lua_rawgeti(L, migration, 2);
    peri_state_replace(L, lua_gettop(L), 2);
}

static void migrate_raised(struct peri_task *task) {
    begin_of(task)->failed = true;
}

static const struct peri_entry migrate_entry = {
    .name = "migrate",
    .results = 1,
    .prepare = migrate_prepare,
    .returned = migrate_returned,
    .raised = migrate_raised,
};

static bool migrate_states(struct begin *begin) {
    if (peri_vm_protected(begin->vm, list_migrations, begin) != LUA_OK) {
        return false;
    }
    if (begin->count > 0) {
        struct peri_task *task = peri_door_task(begin->vm, &migrate_entry);
        if (!task) {
            return false;
        }
        task->exchange = (uintptr_t)begin;
        task->can_wait = false;
        task->count = begin->count;
        (void)peri_door_enter(task);
    }
    return !begin->failed;
}

static bool has_migration(const struct peri_vm *vm, bool of_data) {
    bool found = false;
    peri_vm_push(vm->L, PERI_SLOT_MIGRATE);
    for (lua_pushnil(vm->L); lua_next(vm->L, -2); lua_pop(vm->L, 1)) {
        found |= !of_data || strcmp(lua_tostring(vm->L, -2), "conn") == 0; // keys are strings
    }
    lua_pop(vm->L, 1);
    return found;
}

// Timers ---------------------------------------------------------------------------------------

static int adopt_timers(lua_State *L) {
    struct begin *begin = lua_touserdata(L, 1);
    peri_vm_enter_move(begin->vm);
    peri_timers_adopt(L, begin->vm, begin->handover->elder, begin->handover->move, begin->report);
    return 0;
}

// Beginning ------------------------------------------------------------------------------------

static void handover_free(struct peri_handover *handover) {
    if (handover) {
        peri_move_free(handover->vault_move);
        peri_move_free(handover->move);
        peri_buffer_deinit(&handover->left);
        peri_free(handover);
    }
}

static struct peri_handover *handover_new(struct peri_script *script, struct peri_vm *vm,
                                          struct peri_vault *from, struct peri_vault *into) {
    struct peri_vm *elder = script->vm;
    struct peri_handover *handover = peri_calloc(1, sizeof *handover);
    if (!handover) {
        return NULL;
    }
    handover->script = script;
    handover->vm = vm;
    handover->elder = elder;
    handover->guard_ref = LUA_NOREF;
    handover->move = peri_move_new(elder, vm);
    if (from) {
        peri_vault_seal(from);
    }
    handover->from_vault = from;
    handover->vault_move = from ? peri_move_new(from->vm, vm) : NULL;
    handover->into_vault = into;
    handover->is_revert = script->reloader.takes_back;
    handover->migrates_data =
        !handover->is_revert && elder->version != vm->version && has_migration(vm, true);
    if (!handover->move || (from && !handover->vault_move) ||
        (has_waiting(elder) && peri_vm_protected(elder, make_guard, handover) != LUA_OK)) {
        handover_free(handover);
        return NULL;
    }
    return handover;
}

static bool run_steps(struct begin *begin, struct peri_buffer *error) {
    const struct peri_handover *handover = begin->handover;
    struct peri_vm *vm = begin->vm;
    if (peri_vm_protected(vm, bring_state, begin) != LUA_OK) {
        return false;
    }
    if (handover && !handover->is_revert && !migrate_states(begin)) {
        return false;
    }
    if (handover && peri_vm_protected(vm, adopt_timers, begin) != LUA_OK) {
        return false;
    }
    vm->phase = PERI_STARTING;
    if (!peri_load_start(vm, handover ? &handover->elder->version : NULL)) {
        return false;
    }
    int status = peri_host_route(begin->script->host, begin->script, vm, error);
    if (status != PERI_OK) {
        (void)snprintf(vm->last_error, sizeof vm->last_error, "%.*s", (int)error->len,
                       error->ptr ? (const char *)error->ptr : "");
        peri_log(PERI_LOG_ERROR, "%s", error->len > 0 ? vm->last_error : "out of memory");
        return false;
    }
    return true;
}

static void slice_due(struct peri_alarm *alarm);

/// Nothing here can fail.
static void swap(struct begin *begin) {
    struct peri_script *script = begin->script;
    struct peri_handover *handover = begin->handover;
    struct peri_vm *vm = begin->vm;
    struct peri_alarms *alarms = peri_host_alarms(script->host);
    script->vm = vm;
    script->generation = vm->generation;
    script->is_gone = false;
    peri_script_take_routes(script, vm);
    peri_load_traits(vm, &script->traits);
    vm->used_ += (size_t)script->charged; // never below 0
    if (handover) {
        struct peri_vm *elder = handover->elder;
        elder->used_ -= (size_t)script->charged;
        elder->heir = vm;
        peri_timers_hand_over(elder, vm);
        peri_handover_guard(handover);
        uint64_t now_ns = peri_alarms_now(alarms);
        handover->cut_ns = now_ns + script->host->limits->reload_wait_ms * 1000000;
        handover->slice.due = slice_due;
        peri_alarms_set(alarms, &handover->slice, now_ns);
        peri_probation_begin(vm, elder);
    }
    vm->phase = PERI_SERVING;
    vm->events = 0; // that it was loaded is none
    peri_timers_begin(vm);
    peri_hold_release(vm);
}

bool peri_handover_begin(struct peri_script *script, struct peri_vm *vm, struct peri_vault *from,
                         struct peri_vault *into, struct peri_handover_report *report) {
    struct begin begin = {.script = script, .vm = vm, .into = into, .report = report};
    struct peri_buffer error = {0};
    *report = (struct peri_handover_report){0};
    if (script->vm) {
        begin.handover = handover_new(script, vm, from, into);
        if (!begin.handover) {
            (void)snprintf(vm->last_error, sizeof vm->last_error, "out of memory");
            peri_log(PERI_LOG_ERROR, "%s: out of memory", script->path);
            return false;
        }
        vm->handover = begin.handover;
    }
    bool done = run_steps(&begin, &error);
    peri_buffer_deinit(&error);
    if (!done) {
        vm->handover = NULL;
        handover_free(begin.handover);
        return false;
    }
    report->tables = begin.handover ? peri_move_count(begin.handover->move) : 0;
    swap(&begin);
    return true;
}

// The move, and its end ------------------------------------------------------------------------

struct closing {
    struct peri_work work;
    struct peri_vm *vm;
};

static void close_run(struct peri_work *work) {
    peri_vm_free(PERI_CONTAINER(work, struct closing, work)->vm);
}

static void close_done(struct peri_work *work) {
    peri_free(PERI_CONTAINER(work, struct closing, work));
}

/// Frees a VM that nothing refers to: elsewhere, since a large one takes its time.
static void close_elsewhere(struct peri_host *host, struct peri_vm *vm) {
    struct closing *closing = host->stopping ? NULL : peri_calloc(1, sizeof *closing);
    peri_rooms_release(vm);
    peri_timers_end(vm);
    if (!closing) {
        peri_vm_free(vm);
        return;
    }
    *closing = (struct closing){.work = {.run = close_run, .done = close_done}, .vm = vm};
    const struct peri_ports *ports = peri_hub_ports(host->hub);
    ports->work(ports->self, &closing->work);
}

static void end(struct peri_handover *handover) {
    struct peri_script *script = handover->script;
    struct peri_vm *elder = handover->elder;
    peri_alarms_clear(peri_host_alarms(script->host), &handover->slice);
    handover->vm->handover = NULL;
    elder->heir = NULL;
    if (handover->into_vault) {
        peri_vault_seal(handover->into_vault);
    }
    handover_free(handover);
    close_elsewhere(script->host, elder);
}

/// Whether something that `upgrade` gave there waits for its connection to open.
static bool has_upgrades(const struct peri_vm *elder) {
    peri_vm_push(elder->L, PERI_SLOT_UPGRADES);
    lua_pushnil(elder->L);
    bool found = lua_next(elder->L, -2) != 0;
    lua_settop(elder->L, 0);
    return found;
}

/// Brings over conn.data until the time is up. @return true when it was walked to the end
static bool sweep(struct peri_handover *handover, uint64_t until_ns) {
    struct peri_host *host = handover->script->host;
    bool waits = has_waiting(handover->elder);
    struct peri_conn *conn;
    for (unsigned n = 1; (conn = peri_hub_next_conn(host->hub, &handover->cursor)); n++) {
        if (peri_conn_script(conn) == handover->script->number) {
            if (waits && peri_conn_is_busy(conn)) {
                handover->skipped = true; // its handler may be one of those that wait
            } else {
                peri_data_bring(handover->vm, peri_conn_key(conn));
            }
        }
        if (n % SLICE_STEP == 0 && peri_alarms_now(peri_host_alarms(host)) >= until_ns) {
            return false;
        }
    }
    return true;
}

static void slice_due(struct peri_alarm *alarm) {
    struct peri_handover *handover = PERI_CONTAINER(alarm, struct peri_handover, slice);
    struct peri_script *script = handover->script;
    struct peri_alarms *alarms = peri_host_alarms(script->host);
    uint64_t now_ns = peri_alarms_now(alarms);
    if (now_ns >= handover->cut_ns && has_waiting(handover->elder)) {
        peri_door_cut_waits(handover->elder);
    }
    if (!handover->swept && sweep(handover, now_ns + SLICE_NS)) {
        handover->swept = !handover->skipped;
        handover->skipped = false;
        handover->cursor = 0;
        now_ns += handover->swept ? 0 : LOOK_NS;
    }
    bool waits = has_waiting(handover->elder);
    if (handover->swept && !waits && !has_upgrades(handover->elder)) {
        end(handover);
        peri_reload_moved(script);
        return;
    }
    peri_alarms_set(alarms, &handover->slice, handover->swept ? now_ns + LOOK_NS : now_ns);
}

bool peri_handover_lasts(const struct peri_script *script) {
    return script->vm && script->vm->handover;
}

void peri_handover_finish(struct peri_script *script) {
    if (peri_handover_lasts(script)) {
        struct peri_handover *handover = script->vm->handover;
        peri_door_cut_waits(handover->elder);
        end(handover);
    }
}
