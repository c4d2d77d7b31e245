#include "script/timer.h"

#include <lauxlib.h>
#include <stdio.h>

#include "script/api.h"
#include "script/handover.h"
#include "script/host_private.h"
#include "script/plain.h"
#include "script/report.h"

enum { RETRY_NS = 100000000 };

static const struct peri_entry timer_entry;

/// The beat's place by name and key is free again. stack of L: .., the timer at `index`
static void forget_beat(lua_State *L, int index) {
    peri_vm_push(L, PERI_SLOT_BEATS);
    lua_getiuservalue(L, index, PERI_TIMER_CALL);
    if (lua_rawget(L, -2) == LUA_TTABLE) {
        lua_getiuservalue(L, index, PERI_TIMER_KEY);
        lua_pushnil(L);
        lua_rawset(L, -3);
        lua_pushnil(L);
        if (!lua_next(L, -2)) { // the last key of this name
            lua_getiuservalue(L, index, PERI_TIMER_CALL);
            lua_pushnil(L);
            lua_rawset(L, -4);
        } else {
            lua_pop(L, 2);
        }
    }
    lua_pop(L, 2);
}

void peri_timer_forget(lua_State *L, struct peri_timer *timer, int index) {
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
    lua_getiuservalue(L, timer_at, PERI_TIMER_CALL);
    if (lua_type(L, -1) == LUA_TSTRING) {
        peri_vm_push(L, PERI_SLOT_NAMED);
        lua_insert(L, -2);
        lua_rawget(L, -2);
        lua_remove(L, -2);
    }
    lua_getiuservalue(L, timer_at, PERI_TIMER_DATA);
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
    peri_timer_forget(L, timer, -1);
    lua_pop(L, 2);
}

static const struct peri_entry timer_entry = {
    .name = "timer",
    .prepare = timer_prepare,
    .ended = timer_ended,
};

// What is known of it -------------------------------------------------------------------------

struct peri_timer *peri_timer_new(lua_State *L, struct peri_vm *vm, uint64_t delay_ns) {
    struct peri_timer *timer = lua_newuserdatauv(L, sizeof *timer, PERI_TIMER_KEY);
    *timer = (struct peri_timer){.vm = vm, .delay_ns = delay_ns};
    timer->alarm.due = timer_due;
    peri_list_init(&timer->link);
    return timer;
}

void peri_timer_list(lua_State *L, struct peri_timer *timer) {
    peri_vm_push(L, PERI_SLOT_TIMERS);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, timer->id);
    lua_pop(L, 1);
    peri_list_push(&timer->vm->timers, &timer->link);
    timer->vm->timer_count++;
}

void peri_timer_begin(struct peri_timer *timer) {
    timer->due_ns = 0;
    if (timer->vm->phase == PERI_SERVING) {
        arm(timer, peri_alarms_now(peri_host_alarms(timer->vm->host)) + timer->delay_ns);
    }
}

void peri_timer_note_beat(lua_State *L, lua_Integer id) {
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

// At the turns of a VM's life ------------------------------------------------------------------

void peri_timers_check(lua_State *L, struct peri_vm *vm) {
    peri_vm_push(L, PERI_SLOT_TIMERS);
    peri_vm_push(L, PERI_SLOT_NAMED);
    for (struct peri_list *at = vm->timers.next; at != &vm->timers; at = at->next) {
        const struct peri_timer *timer = PERI_CONTAINER(at, struct peri_timer, link);
        lua_rawgeti(L, -2, timer->id);
        lua_getiuservalue(L, -1, PERI_TIMER_CALL);
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
    struct peri_timer *timer = peri_timer_new(L, vm, old->delay_ns);
    timer->due_ns = old->alarm.at_ns;
    timer->id = old->id;
    char what[128];
    for (int value = PERI_TIMER_CALL; value <= PERI_TIMER_KEY; value++) {
        lua_getiuservalue(from, source, value);
        (void)snprintf(what, sizeof what, "data of timer %lld", (long long)old->id);
        peri_move_value(move, from, lua_gettop(from), L, what, PERI_MOVE_STRICT, NULL);
        lua_settop(from, source);
        lua_setiuservalue(L, top + 1, value);
    }
    if (old->repeats) {
        timer->repeats = true;
        lua_settop(L, 1);
        lua_getiuservalue(L, 1, PERI_TIMER_CALL);
        lua_pushnil(L);
        lua_getiuservalue(L, 1, PERI_TIMER_KEY);
        peri_timer_note_beat(L, timer->id);
        lua_settop(L, 1);
    }
    peri_timer_list(L, timer);
    return timer;
}

/// Looks at one timer of the generation before. stack of `from`: it
static void adopt(lua_State *L, struct peri_vm *vm, lua_State *from, struct peri_timer *old,
                  struct peri_move *move, struct peri_handover_report *report) {
    if (old->cancelled || (old->busy && !old->repeats)) {
        return; // it ends with its handler, where that is
    }
    lua_getiuservalue(from, 1, PERI_TIMER_CALL);
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
