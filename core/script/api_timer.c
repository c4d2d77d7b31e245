// Timers and waiting: after, every, cancel and sleep. A timer is a userdata, found by its id in
// the registry, and an alarm while it is armed.
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "script/api.h"
#include "script/handover.h"
#include "script/host_private.h"
#include "script/plain.h"
#include "script/report.h"

enum { RETRY_NS = 100000000 };

/// User values of a timer.
enum { VALUE_CALL = 1, VALUE_DATA, VALUE_KEY };

struct peri_timer {
    struct peri_list link; ///< in the VM's timers
    struct peri_vm *vm;
    struct peri_alarm alarm;
    lua_Integer id;
    uint64_t delay_ns; ///< until the first time, and between beats
    uint64_t due_ns;   ///< of one taken over: when it fires first; 0: its delay from when it begins
    struct peri_timer *before; ///< whose it takes over, until it has; NULL
    struct peri_timer *heir;   ///< took this one over while its handler waits; NULL
    bool repeats;
    bool busy;        ///< its handler waits
    bool cancelled;   ///< while busy
    uint64_t skipped; ///< beats that fell due meanwhile
};

static const struct peri_entry timer_entry;

/// The beat's place by name and key is free again. stack of L: .., the timer at `index`
static void forget_beat(lua_State *L, int index) {
    peri_vm_push(L, PERI_SLOT_BEATS);
    lua_getiuservalue(L, index, VALUE_CALL);
    if (lua_rawget(L, -2) == LUA_TTABLE) {
        lua_getiuservalue(L, index, VALUE_KEY);
        lua_pushnil(L);
        lua_rawset(L, -3);
        lua_pushnil(L);
        if (!lua_next(L, -2)) { // the last key of this name
            lua_getiuservalue(L, index, VALUE_CALL);
            lua_pushnil(L);
            lua_rawset(L, -4);
        } else {
            lua_pop(L, 2);
        }
    }
    lua_pop(L, 2);
}

/// Takes the timer off everything but the stack; what is left is garbage. [-0, +0]; never raises
/// @param index where it is on the stack
static void forget(lua_State *L, struct peri_timer *timer, int index) {
    index = lua_absindex(L, index);
    peri_alarms_clear(peri_host_alarms(timer->vm->host), &timer->alarm);
    if (peri_list_is_empty(&timer->link)) {
        return; // forgotten before
    }
    peri_list_remove(&timer->link);
    timer->vm->timer_count--;
    peri_vm_push(L, PERI_SLOT_TIMERS);
    lua_pushnil(L);
    lua_rawseti(L, -2, timer->id);
    lua_pop(L, 1);
    if (timer->repeats) {
        forget_beat(L, index);
    }
}

static void arm(struct peri_timer *timer, uint64_t at_ns) {
    peri_alarms_set(peri_host_alarms(timer->vm->host), &timer->alarm, at_ns);
}

/// The next beat after now, in step with the first. Beats that were missed are counted.
static void arm_next(struct peri_timer *timer) {
    uint64_t now_ns = peri_alarms_now(peri_host_alarms(timer->vm->host));
    uint64_t next_ns = timer->alarm.at_ns + timer->delay_ns;
    if (next_ns <= now_ns) {
        uint64_t missed = (now_ns - next_ns) / timer->delay_ns + 1;
        timer->skipped += missed;
        next_ns += missed * timer->delay_ns;
    }
    arm(timer, next_ns);
}

static void timer_due(struct peri_alarm *alarm) {
    struct peri_timer *timer = PERI_CONTAINER(alarm, struct peri_timer, alarm);
    if (timer->repeats) {
        arm_next(timer);
    }
    if (timer->busy) {
        timer->skipped++;
        return;
    }
    struct peri_task *task = peri_door_task(timer->vm, &timer_entry);
    if (!task) {
        if (!timer->repeats) { // out of memory: later, then
            arm(timer, timer->alarm.at_ns + RETRY_NS);
        }
        return;
    }
    task->timer = timer;
    timer->busy = true;
    (void)peri_door_enter(task);
}

// The task -----------------------------------------------------------------------------------

static int timer_prepare(lua_State *L, struct peri_task *task) {
    struct peri_timer *timer = task->timer;
    peri_vm_push(L, PERI_SLOT_TIMERS);
    lua_rawgeti(L, -1, timer->id);
    lua_remove(L, -2); // stack: report, timer (which stays while its handler runs)
    int timer_at = lua_gettop(L);
    lua_getiuservalue(L, timer_at, VALUE_CALL);
    if (lua_type(L, -1) == LUA_TSTRING) {
        peri_vm_push(L, PERI_SLOT_NAMED);
        lua_insert(L, -2);
        lua_rawget(L, -2);
        lua_remove(L, -2);
    }
    lua_getiuservalue(L, timer_at, VALUE_DATA);
    return 1;
}

static void timer_ended(struct peri_task *task) {
    struct peri_timer *timer = task->timer;
    if (timer->heir) { // the handler ran for it
        timer->busy = false;
        timer = timer->heir;
    }
    struct peri_vm *vm = timer->vm;
    timer->busy = false;
    if (timer->skipped) {
        peri_report_skipped(vm, (long long)timer->id, (unsigned long long)timer->skipped);
        timer->skipped = 0;
    }
    if (timer->repeats && !timer->cancelled) {
        return;
    }
    lua_State *L = vm->L; // at rest: setting what is there to nil allocates nothing
    peri_vm_push(L, PERI_SLOT_TIMERS);
    lua_rawgeti(L, -1, timer->id);
    forget(L, timer, -1);
    lua_pop(L, 2);
}

static const struct peri_entry timer_entry = {
    .name = "timer",
    .prepare = timer_prepare,
    .ended = timer_ended,
};

// after, every, cancel, sleep ----------------------------------------------------------------

static uint64_t check_delay(lua_State *L, int index, double min_s, const char *what) {
    double seconds = luaL_checknumber(L, index);
    if (!(seconds >= min_s) || !(seconds <= PERI_DELAY_MAX_S)) {
        luaL_error(L, "%s: from %f to %f seconds", what, min_s, PERI_DELAY_MAX_S);
    }
    return (uint64_t)llround(seconds * 1e9);
}

/// A timer of a script's `every` has the same id in each generation: what its name and key give.
static lua_Integer beat_id(lua_State *L) {
    struct {
        uint64_t name, key;
    } both = {0};
    struct peri_str text;
    text.ptr = lua_tolstring(L, 2, &text.len);
    both.name = peri_hash(text.ptr, text.len);
    switch (lua_type(L, 4)) {
    case LUA_TSTRING:
        text.ptr = lua_tolstring(L, 4, &text.len);
        both.key = peri_hash(text.ptr, text.len);
        break;
    case LUA_TNUMBER: {
        lua_Number number = lua_tonumber(L, 4); // integers that are equal as such are equal keys
        both.key = peri_hash(&number, sizeof number) ^ (uint64_t)lua_tointeger(L, 4);
        break;
    }
    default: both.key = peri_conn_at(L, 4); break; // 0 for the one without a key
    }
    uint64_t id = peri_hash(&both, sizeof both);
    // Above all that are counted, and exact as a JSON number.
    return (lua_Integer)((id & ((1ull << 52) - 1)) | 1ull << 52);
}

/// The name of one of the script's `timers`, or a function.
static void check_call(lua_State *L, struct peri_vm *vm, int index) {
    if (lua_isfunction(L, index)) {
        return;
    }
    luaL_argexpected(L, lua_type(L, index) == LUA_TSTRING, index, "name or function");
    if (vm->phase == PERI_LOADING) {
        return; // the table is not there yet: looked at before the timer begins
    }
    peri_vm_push(L, PERI_SLOT_NAMED);
    lua_pushvalue(L, index);
    if (lua_rawget(L, -2) != LUA_TFUNCTION) {
        luaL_error(L, "no timer '%s': name one of the script's timers", lua_tostring(L, index));
    }
    lua_pop(L, 2);
}

/// Makes a timer of the call at 2 and the data at 3. Nothing but the stack knows it yet. [-0, +1]
static struct peri_timer *push_timer(lua_State *L, struct peri_vm *vm, uint64_t delay_ns) {
    struct peri_timer *timer = lua_newuserdatauv(L, sizeof *timer, 3);
    *timer = (struct peri_timer){.vm = vm, .delay_ns = delay_ns};
    timer->alarm.due = timer_due;
    peri_list_init(&timer->link);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, VALUE_CALL);
    peri_plain_copy(L, 3, 0, "timer data");
    lua_setiuservalue(L, -2, VALUE_DATA);
    timer->id = atomic_fetch_add_explicit(&vm->host->last_timer, 1, memory_order_relaxed) + 1;
    return timer;
}

/// Puts the timer on top among the script's, as the last step that may raise. [-0, +0]
static void list(lua_State *L, struct peri_timer *timer) {
    peri_vm_push(L, PERI_SLOT_TIMERS);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, timer->id);
    lua_pop(L, 1);
    peri_list_push(&timer->vm->timers, &timer->link);
    timer->vm->timer_count++;
}

static bool is_full(const struct peri_vm *vm) {
    return vm->timer_count >= vm->limits.timers;
}

static int push_full(lua_State *L, const struct peri_vm *vm) {
    lua_pushfstring(L, "timers: a script has at most %I", (lua_Integer)vm->limits.timers);
    return peri_report_refusal(L, vm);
}

static void begin(struct peri_timer *timer) {
    timer->due_ns = 0;
    if (timer->vm->phase == PERI_SERVING) {
        arm(timer, peri_alarms_now(peri_host_alarms(timer->vm->host)) + timer->delay_ns);
    }
}

/// Handed into the VM that serves now.
struct forwarded {
    struct peri_move *move; ///< of the arguments
    lua_State *from;
    int count; ///< of arguments
    const char *name;
    lua_Integer id;
    char why[PERI_ERROR_MAX]; ///< instead of an id: "" for an id
    bool raises;              ///< why is an error, else what is returned beside nil
};

static int call_forwarded(lua_State *L) {
    struct forwarded *forwarded = lua_touserdata(L, 1);
    luaL_checkstack(L, forwarded->count + LUA_MINSTACK, NULL);
    peri_vm_push(L, PERI_SLOT_WS);
    lua_getfield(L, -1, forwarded->name);
    for (int i = 1; i <= forwarded->count; i++) {
        peri_move_value(forwarded->move, forwarded->from, i, L, "timer data", PERI_MOVE_STRICT,
                        NULL);
    }
    lua_call(L, forwarded->count, 2);
    if (lua_isinteger(L, -2)) {
        forwarded->id = lua_tointeger(L, -2);
    } else {
        (void)snprintf(forwarded->why, sizeof forwarded->why, "%s", luaL_tolstring(L, -1, NULL));
    }
    return 0;
}

/// A handler that waits in a generation of old has its timers in the one that serves now: so they
/// outlive it.
static int forward(lua_State *L, struct peri_vm *vm, const char *name) {
    struct forwarded forwarded = {.from = L, .count = lua_gettop(L), .name = name};
    if (lua_isfunction(L, 2)) {
        return luaL_error(L,
                          "generation %d serves by now: a function would end with this one, name "
                          "one of the script's timers",
                          (int)vm->heir->generation);
    }
    lua_State *heir = vm->heir->L; // at rest
    forwarded.move = peri_move_new(vm, vm->heir);
    if (!forwarded.move) {
        peri_raise_memory(L);
    }
    peri_vm_enter_host(vm->heir);
    lua_pushcfunction(heir, call_forwarded);
    lua_pushlightuserdata(heir, &forwarded);
    if (lua_pcall(heir, 1, 0, 0) != LUA_OK) {
        const char *why = lua_tostring(heir, -1);
        (void)snprintf(forwarded.why, sizeof forwarded.why, "%s", why ? why : "(no text)");
        forwarded.raises = true;
    }
    lua_settop(heir, 0);
    peri_move_free(forwarded.move);
    if (forwarded.raises) {
        return luaL_error(L, "%s", forwarded.why);
    }
    if (forwarded.why[0] != '\0') {
        lua_pushnil(L);
        lua_pushstring(L, forwarded.why);
        return 2;
    }
    lua_pushinteger(L, forwarded.id);
    return 1;
}

/// ws.after(seconds, name | fn[, data]) -> id, or nil, message
static int ws_after(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    if (vm->heir) {
        return forward(L, vm, "after");
    }
    uint64_t delay_ns = check_delay(L, 1, 0, "after");
    check_call(L, vm, 2);
    lua_settop(L, 3);
    if (is_full(vm)) {
        return push_full(L, vm);
    }
    struct peri_timer *timer = push_timer(L, vm, delay_ns);
    list(L, timer);
    begin(timer);
    lua_pushinteger(L, timer->id);
    return 1;
}

/// The beat of the same name (or function) at 2 and key at 4, pushed; nil when there is none.
/// [-0, +1]
static struct peri_timer *find_beat(lua_State *L) {
    int top = lua_gettop(L);
    peri_vm_push(L, PERI_SLOT_BEATS);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) == LUA_TTABLE) {
        lua_pushvalue(L, 4);
        lua_rawget(L, -2);
    }
    lua_Integer id = lua_tointeger(L, -1); // 0: there is none
    lua_settop(L, top);
    peri_vm_push(L, PERI_SLOT_TIMERS);
    lua_rawgeti(L, -1, id);
    lua_replace(L, top + 1);
    return lua_touserdata(L, top + 1);
}

static void note_beat(lua_State *L, lua_Integer id) {
    peri_vm_push(L, PERI_SLOT_BEATS);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, 2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -4);
    }
    lua_pushvalue(L, 4);
    lua_pushinteger(L, id);
    lua_rawset(L, -3);
    lua_pop(L, 2);
}

/// ws.every(seconds, name | fn[, data[, key]]) -> id, or nil, message
static int ws_every(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    if (vm->heir) {
        return forward(L, vm, "every");
    }
    uint64_t period_ns = check_delay(L, 1, PERI_EVERY_MIN_S, "every");
    check_call(L, vm, 2);
    lua_settop(L, 4);
    if (lua_isnil(L, 4)) {
        lua_pushboolean(L, 0); // the key of those without one
        lua_replace(L, 4);
    } else {
        luaL_argexpected(L, lua_isstring(L, 4) || peri_conn_at(L, 4), 4, "string, number or conn");
        luaL_argcheck(L, lua_compare(L, 4, 4, LUA_OPEQ), 4, "not a number");
    }
    struct peri_timer *timer = find_beat(L);
    if (timer) {
        peri_plain_copy(L, 3, 0, "timer data");
        lua_setiuservalue(L, -2, VALUE_DATA);
        if (timer->delay_ns != period_ns || timer->cancelled) { // its handler may still run
            timer->cancelled = false;
            timer->delay_ns = period_ns;
            peri_alarms_clear(peri_host_alarms(vm->host), &timer->alarm);
            begin(timer);
        }
        lua_pushinteger(L, timer->id);
        return 1;
    }
    if (is_full(vm)) {
        return push_full(L, vm);
    }
    timer = push_timer(L, vm, period_ns);
    if (lua_type(L, 2) == LUA_TSTRING) {
        timer->id = beat_id(L);
    }
    timer->repeats = true; // from here its end forgets its beat too
    lua_pushvalue(L, 4);
    lua_setiuservalue(L, -2, VALUE_KEY);
    note_beat(L, timer->id);
    list(L, timer);
    begin(timer);
    lua_pushinteger(L, timer->id);
    return 1;
}

/// Ends a timer. Never raises. @return false: there is none of this id (any more)
static bool cancel(const struct peri_vm *vm, lua_Integer id) {
    lua_State *L = vm->L; // at rest
    peri_vm_push(L, PERI_SLOT_TIMERS);
    lua_rawgeti(L, -1, id);
    struct peri_timer *timer = lua_touserdata(L, -1);
    bool found = timer && !timer->cancelled && !(timer->busy && !timer->repeats);
    if (found && timer->busy) { // its handler runs or waits: that goes on, and ends it
        timer->cancelled = true;
        peri_alarms_clear(peri_host_alarms(vm->host), &timer->alarm);
    } else if (found) {
        forget(L, timer, -1);
    }
    lua_pop(L, 2);
    return found;
}

/// ws.cancel(id) -> true, or nil when there is no such timer (any more)
static int ws_cancel(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_vm_check_acting(L, vm);
    lua_Integer id = luaL_checkinteger(L, 1);
    if (cancel(vm->heir ? vm->heir : vm, id)) {
        lua_pushboolean(L, 1);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int slept(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    struct peri_vm *vm = peri_vm_of(L);
    if (peri_door_is_unwinding(vm)) {
        return peri_door_unwind(L, vm, vm->task->unwind);
    }
    return 0;
}

/// ws.sleep(seconds): waits
static int ws_sleep(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_vm_check_acting(L, vm);
    double seconds = luaL_checknumber(L, 1);
    if (!(seconds >= 0) || !(seconds <= PERI_SLEEP_MAX_S)) {
        return luaL_error(L, "sleep: from 0 to %d seconds", PERI_SLEEP_MAX_S);
    }
    uint64_t now_ns = peri_alarms_now(peri_host_alarms(vm->host));
    return peri_door_wait(L, vm, now_ns + (uint64_t)llround(seconds * 1e9), slept);
}

// At the turns of a VM's life ------------------------------------------------------------------

void peri_timers_check(lua_State *L, struct peri_vm *vm) {
    peri_vm_push(L, PERI_SLOT_TIMERS);
    peri_vm_push(L, PERI_SLOT_NAMED);
    for (struct peri_list *at = vm->timers.next; at != &vm->timers; at = at->next) {
        const struct peri_timer *timer = PERI_CONTAINER(at, struct peri_timer, link);
        lua_rawgeti(L, -2, timer->id);
        lua_getiuservalue(L, -1, VALUE_CALL);
        if (lua_type(L, -1) == LUA_TSTRING) {
            lua_pushvalue(L, -1);
            if (lua_rawget(L, -4) != LUA_TFUNCTION) {
                luaL_error(L, "no timer '%s': name one of the script's timers",
                           lua_tostring(L, -2));
            }
            lua_pop(L, 1);
        }
        lua_pop(L, 2);
    }
    lua_pop(L, 2);
}

/// What has been declared while loading is the beat that was there: the same one, if its period is.
/// Else a new timer on top of the stack takes the place of the old. stack of `from`: the old one on
/// top. [-0, +0 or +1]
static struct peri_timer *take_over(lua_State *L, struct peri_vm *vm, lua_State *from,
                                    const struct peri_timer *old, struct peri_move *move) {
    int source = lua_gettop(from);
    peri_vm_push(L, PERI_SLOT_TIMERS);
    if (lua_rawgeti(L, -1, old->id) == LUA_TUSERDATA) {
        struct peri_timer *declared = lua_touserdata(L, -1);
        declared->due_ns = declared->delay_ns == old->delay_ns ? old->alarm.at_ns : 0;
        lua_pop(L, 2);
        return declared;
    }
    lua_pop(L, 2);
    int top = lua_gettop(L);
    struct peri_timer *timer = lua_newuserdatauv(L, sizeof *timer, 3);
    *timer = (struct peri_timer){
        .vm = vm,
        .delay_ns = old->delay_ns,
        .due_ns = old->alarm.at_ns,
        .id = old->id,
    };
    timer->alarm.due = timer_due;
    peri_list_init(&timer->link);
    char what[128];
    for (int value = VALUE_CALL; value <= VALUE_KEY; value++) {
        lua_getiuservalue(from, source, value);
        (void)snprintf(what, sizeof what, "data of timer %lld", (long long)old->id);
        peri_move_value(move, from, lua_gettop(from), L, what, PERI_MOVE_STRICT, NULL);
        lua_settop(from, source);
        lua_setiuservalue(L, top + 1, value);
    }
    if (old->repeats) {
        timer->repeats = true;
        lua_settop(L, 1);
        lua_getiuservalue(L, 1, VALUE_CALL);
        lua_pushnil(L);
        lua_getiuservalue(L, 1, VALUE_KEY);
        note_beat(L, timer->id);
        lua_settop(L, 1);
    }
    list(L, timer);
    return timer;
}

/// Looks at one timer of the generation before. stack of `from`: it
static void adopt(lua_State *L, struct peri_vm *vm, lua_State *from, struct peri_timer *old,
                  struct peri_move *move, struct peri_handover_report *report) {
    if (old->cancelled || (old->busy && !old->repeats)) {
        return; // it ends with its handler, where that is
    }
    lua_getiuservalue(from, 1, VALUE_CALL);
    if (lua_type(from, 2) != LUA_TSTRING) {
        report->functions++;
        return;
    }
    size_t len;
    const char *name = lua_tolstring(from, 2, &len);
    peri_vm_push(L, PERI_SLOT_NAMED);
    lua_pushlstring(L, name, len);
    bool known = lua_rawget(L, -2) == LUA_TFUNCTION;
    lua_settop(L, 0);
    lua_settop(from, 1);
    if (!known) {
        report->names++;
        return;
    }
    struct peri_timer *timer = take_over(L, vm, from, old, move);
    timer->before = old;
    report->timers++;
    lua_settop(L, 0);
}

void peri_timers_adopt(lua_State *L, struct peri_vm *vm, struct peri_vm *before,
                       struct peri_move *move, struct peri_handover_report *report) {
    lua_State *from = before->L;
    int top = lua_gettop(L);
    if (!lua_checkstack(from, LUA_MINSTACK)) {
        peri_raise_memory(L);
    }
    lua_settop(L, 0);
    for (struct peri_list *at = before->timers.next; at != &before->timers; at = at->next) {
        struct peri_timer *old = PERI_CONTAINER(at, struct peri_timer, link);
        lua_settop(from, 0);
        peri_vm_push(from, PERI_SLOT_TIMERS);
        lua_rawgeti(from, -1, old->id);
        lua_replace(from, 1);
        adopt(L, vm, from, old, move, report);
    }
    lua_settop(from, 0);
    lua_settop(L, top);
}

void peri_timers_hand_over(struct peri_vm *before, struct peri_vm *vm) {
    for (struct peri_list *at = vm->timers.next; at != &vm->timers; at = at->next) {
        struct peri_timer *timer = PERI_CONTAINER(at, struct peri_timer, link);
        struct peri_timer *old = timer->before;
        timer->before = NULL;
        if (old && old->busy) {
            old->heir = timer;
            timer->busy = true;
            timer->skipped = old->skipped;
        }
    }
    peri_timers_end(before);
}

void peri_timers_begin(struct peri_vm *vm) {
    uint64_t now_ns = peri_alarms_now(peri_host_alarms(vm->host));
    for (struct peri_list *at = vm->timers.next; at != &vm->timers; at = at->next) {
        struct peri_timer *timer = PERI_CONTAINER(at, struct peri_timer, link);
        if (!peri_alarm_is_set(&timer->alarm)) {
            arm(timer, timer->due_ns ? timer->due_ns : now_ns + timer->delay_ns);
        }
    }
}

void peri_timers_end(struct peri_vm *vm) {
    while (!peri_list_is_empty(&vm->timers)) {
        struct peri_timer *timer = PERI_CONTAINER(vm->timers.next, struct peri_timer, link);
        peri_alarms_clear(peri_host_alarms(vm->host), &timer->alarm);
        peri_list_remove(&timer->link);
    }
    vm->timer_count = 0;
}

static const luaL_Reg ws_functions[] = {
    {"after", ws_after}, {"every", ws_every}, {"cancel", ws_cancel},
    {"sleep", ws_sleep}, {NULL, NULL},
};

void peri_timer_open(lua_State *L, struct peri_vm *vm) {
    peri_vm_register(L, vm, ws_functions);
}
