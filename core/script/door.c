// Tasks: taking one from the pool, running it, waiting, waking, and reporting what it raised.
#include "script/door.h"

#include <lauxlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/api.h"
#include "script/host_private.h"
#include "script/probation.h"
#include "script/report.h"

/// Coroutines kept for the next event once theirs is over.
enum { POOL_MAX = 64 };

/// Marks what a deliberate unwinding raises: no text of it is ever shown.
static char unwinding;

enum { STACK_REPORT = 1 }; ///< index of the message handler, below everything else

static int make_coroutine(lua_State *L) {
    struct peri_task *task = lua_touserdata(L, 1);
    task->co = lua_newthread(L);
    peri_vm_mark_task(task->co);
    task->ref_ = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int drop_coroutine(lua_State *L) {
    const struct peri_task *task = lua_touserdata(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, task->ref_);
    return 0;
}

struct peri_task *peri_door_task(struct peri_vm *vm, const struct peri_entry *entry) {
    struct peri_task *task;
    if (!peri_list_is_empty(&vm->idle)) {
        task = PERI_CONTAINER(vm->idle.prev, struct peri_task, link);
        peri_list_remove(&task->link);
        vm->idle_count--;
        lua_State *co = task->co;
        int ref = task->ref_;
        *task = (struct peri_task){.co = co, .ref_ = ref};
    } else {
        task = peri_calloc(1, sizeof *task);
        if (!task) {
            peri_log(PERI_LOG_ERROR, "%s: out of memory: an event is lost", vm->file);
            return NULL;
        }
        if (peri_vm_protected(vm, make_coroutine, task) != LUA_OK) {
            peri_free(task);
            return NULL;
        }
    }
    peri_list_init(&task->link);
    task->vm = vm;
    task->entry = entry;
    task->can_wait = true;
    task->count = 1;
    return task;
}

/// After a task that hit the cap: what it left behind in its coroutine's dead stack slots would
/// count as alive in the next one's emergency collection. A full one with nothing running clears it.
static void collect_if_starved(struct peri_vm *vm) {
    if (vm->hit_cap) {
        lua_gc(vm->L, LUA_GCCOLLECT);
        vm->hit_cap = false;
    }
}

/// A script that is full fails its events at the price of whole collections, and peers decide how many.
/// So each time the task that failed rests, and the events of its connection with it, until others had
/// this many times as long. The rests of several tasks follow one another.
enum { REST_TIMES = 30 };

/// @return until when to rest; 0: garbage filled the script, which is gone
__attribute__((cold, noinline)) static uint64_t rest_until(struct peri_vm *vm) {
    const struct peri_alarms *alarms = peri_host_alarms(vm->host);
    uint64_t began_ns = peri_alarms_now(alarms);
    collect_if_starved(vm);
    if (vm->used_ < vm->cap_ - vm->cap_ / 8) {
        return 0;
    }
    uint64_t now_ns = peri_alarms_now(alarms);
    uint64_t from_ns = vm->rest_until_ns > now_ns ? vm->rest_until_ns : now_ns;
    uint64_t rest_ns = (now_ns - began_ns) * REST_TIMES;
    vm->rest_until_ns = from_ns + rest_ns;
    if (vm->rest_until_ns > now_ns + PERI_SLEEP_MAX_S * UINT64_C(1000000000)) {
        vm->rest_until_ns = now_ns + PERI_SLEEP_MAX_S * UINT64_C(1000000000);
    }
    peri_report_vm(vm, PERI_LOG_WARN,
                   PERI_STR("script_memory is full of what is kept: connections whose events fail "
                            "for it wait for their next"));
    return vm->rest_until_ns;
}

/// Puts a finished task's coroutine back, or lets go of it.
static void release(struct peri_task *task) {
    struct peri_vm *vm = task->vm;
    peri_req_end(task);
    peri_request_unref(task->request);
    if (vm->idle_count < POOL_MAX && vm->phase != PERI_CLOSING) {
        vm->idle_count++;
        peri_list_push(&vm->idle, &task->link);
    } else {
        peri_vm_protected(vm, drop_coroutine, task);
        peri_free(task);
    }
    collect_if_starved(vm);
}

/// The message handler: runs where the error was raised, so that the traceback is whole.
static int report(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_vm_enter_host(vm);
    if (peri_door_is_unwinding(vm)) {
        return 1;
    }
    return peri_report_traceback(L);
}

/// What the watchdog has found of an event: says so, and nothing is armed any more.
__attribute__((cold, noinline)) static void tell(const struct peri_task *task, bool stopped) {
    if (stopped) {
        peri_report_stopped(task);
    } else { // it may have been over before it was stopped
        peri_report_late(task);
    }
    peri_watch_forgive();
}

static inline void say_verdict(const struct peri_task *task, enum peri_watch_verdict verdict,
                               bool stopped) {
    if (verdict != PERI_WATCH_ON_TIME) {
        tell(task, stopped);
    }
}

/// An event is lost to an error.
static void note_lost(struct peri_task *task) {
    task->failed = true;
    if (!task->entry->is_eval) {
        peri_probation_note(task->vm, task->key);
    }
    if (task->entry->raised) {
        task->entry->raised(task);
    }
}

/// The function raised.
__attribute__((cold, noinline)) static void after_error(lua_State *L, struct peri_task *task,
                                                        bool stopped) {
    if (task->unwind == PERI_UNWIND_REJECT) {
        return; // ws.reject has answered already
    }
    if (task->unwind == PERI_UNWIND_CUT) {
        peri_report(task, task->vm->heir
                              ? PERI_STR("the wait was cut: another generation serves by now "
                                         "(reload_wait_s)")
                              : PERI_STR("the wait was cut: the host is stopping"));
    } else if (!stopped) { // else the verdict says it
        peri_report_error(L, task);
    }
    note_lost(task);
}

static inline void after_call(lua_State *L, struct peri_task *task, int status) {
    bool stopped = false;
    peri_vm_enter_host(task->vm);
    task->vm->events++;
    if (status == LUA_OK || status == LUA_YIELD) {
        if (task->entry->returned) {
            task->entry->returned(L, task);
        }
    } else {
        stopped = peri_watch_is_stopping();
        after_error(L, task, stopped);
    }
    task->unwind = PERI_UNWIND_NONE;
    task->heard = (struct peri_str){0};
    lua_settop(L, STACK_REPORT);
    say_verdict(task, peri_watch_next(), stopped);
}

static void enter_handler(struct peri_task *task) {
    if (task->entry->is_close) {
        peri_vm_enter_close(task->vm);
    } else {
        peri_vm_enter_script(task->vm);
    }
}

static int resumed(lua_State *L, int status, lua_KContext context);
static int step(lua_State *L, struct peri_task *task);

static int rested(lua_State *L, int status, lua_KContext context) {
    struct peri_task *task = (struct peri_task *)context; // NOLINT(performance-no-int-to-ptr)
    (void)status;
    task->unwind = PERI_UNWIND_NONE; // cut or not: nothing of the script's runs
    return step(L, task);
}

static void alarm_due(struct peri_alarm *alarm);

/// After an event that found no memory. @return whether the task has to rest, to go on in `rested`
static bool has_to_rest(struct peri_task *task) {
    if (!task->vm->hit_cap || task->at == 0 || !task->can_wait || task->entry->is_close) {
        return false;
    }
    uint64_t until_ns = rest_until(task->vm);
    if (until_ns > 0) {
        task->alarm.due = alarm_due;
        peri_alarms_set(peri_host_alarms(task->vm->host), &task->alarm, until_ns);
    }
    return until_ns > 0;
}

static int step(lua_State *L, struct peri_task *task) {
    for (;;) {
        if (has_to_rest(task)) {
            return lua_yieldk(L, 0, (lua_KContext)task, rested);
        }
        if (task->at >= task->count) {
            return 0;
        }
        task->at++;
        int arguments = task->entry->prepare(L, task);
        if (arguments < 0) {
            return 0;
        }
        enter_handler(task);
        int status = lua_pcallk(L, arguments, task->entry->results, STACK_REPORT,
                                (lua_KContext)task, resumed);
        after_call(L, task, status);
    }
}

static int resumed(lua_State *L, int status, lua_KContext context) {
    struct peri_task *task = (struct peri_task *)context; // NOLINT(performance-no-int-to-ptr)
    after_call(L, task, status);
    return step(L, task);
}

static int body(lua_State *L) {
    struct peri_task *task = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_pushcfunction(L, report);
    return step(L, task);
}

static int base_over(lua_State *L, int status, lua_KContext context) {
    struct peri_task *task = (struct peri_task *)context; // NOLINT(performance-no-int-to-ptr)
    (void)L;
    task->broke_ = status != LUA_OK && status != LUA_YIELD;
    return task->broke_ ? 1 : 0; // with what it raised
}

/// The frame below everything. What raises in `prepare` and `returned`, where a metamethod of the
/// script's may run, is caught in the coroutine: one that ends by an error still has the script's
/// frames, and closing them would run its `__close` where no hook is called.
static int base(lua_State *L) {
    struct peri_task *task = lua_touserdata(L, 1);
    lua_pushcfunction(L, body);
    lua_insert(L, 1);
    int status = lua_pcallk(L, 1, 0, 0, (lua_KContext)task, base_over);
    return base_over(L, status, (lua_KContext)task);
}

/// Enters Lua. @return as lua_resume; what an entry raised that broke is on top
static int enter(struct peri_task *task, int arguments) {
    struct peri_vm *vm = task->vm;
    int results;
    task->broke_ = false;
    vm->task = task;
    struct peri_watch_outer outer = peri_watch_enter(vm, task->co);
    int status = lua_resume(task->co, NULL, arguments, &results);
    enum peri_watch_verdict verdict = peri_watch_exit(outer);
    vm->task = NULL;
    peri_vm_enter_host(vm);
    if (status == LUA_YIELD) {
        lua_pop(task->co, results);
    } else if (status != LUA_OK) {
        task->broke_ = true; // the base itself, where none of the script's frames are
    }
    if (task->broke_) {
        task->heard = (struct peri_str){0};
    }
    bool stopped = task->broke_ && verdict == PERI_WATCH_STOP;
    if (task->broke_ && !stopped) {
        peri_report_error(task->co, task);
    }
    say_verdict(task, verdict, stopped);
    if (task->broke_) {
        lua_closethread(task->co, NULL);
        lua_settop(task->co, 0);
    }
    return status;
}

/// Resumes a task's coroutine until it waits or is over.
static enum peri_answer run(struct peri_task *task, int arguments) {
    struct peri_vm *vm = task->vm;
    for (;;) {
        size_t begun = task->at;
        uint64_t began_ns = peri_timing_begin(vm);
        int status = enter(task, arguments);
        peri_timing_end(vm, began_ns, task->at - begun);
        if (status == LUA_YIELD) {
            if (!task->waited) {
                // What was borrowed goes away with the call that brought it.
                task->waited = task->outlives = true;
                if (task->request) {
                    peri_request_ref(task->request);
                }
                task->count = task->at;
            }
            peri_list_remove(&task->link);
            peri_list_push(&vm->waiting, &task->link);
            return PERI_BUSY;
        }
        if (!task->broke_) {
            break;
        }
        // The entry itself raised (out of memory, as a rule): this event is lost, the next may do.
        if (task->at == begun && !task->waited) {
            task->at++; // not even begun, and lost all the same: else it would be tried for ever
        }
        note_lost(task);
        if (task->waited || task->at >= task->count) {
            break;
        }
        lua_pushcfunction(task->co, base);
        lua_pushlightuserdata(task->co, task);
        arguments = 1;
    }
    peri_list_remove(&task->link);
    if (!task->waited) {
        task->request = NULL; // still borrowed
    }
    return PERI_DONE;
}

enum peri_answer peri_door_enter(struct peri_task *task) {
    lua_pushcfunction(task->co, base);
    lua_pushlightuserdata(task->co, task);
    enum peri_answer answer = run(task, 1);
    if (task->taken) {
        *task->taken = task->at;
    }
    if (answer == PERI_DONE) {
        if (task->entry->ended) {
            task->entry->ended(task);
        }
        release(task);
    }
    return answer;
}

/// A wait is over (or cut): the handler goes on; when it is done its connection's next events may
/// run.
static void wake(struct peri_task *task) {
    task->asleep_ = false;
    enter_handler(task);
    if (run(task, 0) == PERI_BUSY) {
        return;
    }
    if (task->entry->ended) {
        task->entry->ended(task);
    }
    peri_key key = task->key;
    struct peri_hub *hub = task->vm->hub;
    release(task);
    if (key) {
        peri_hub_resume(hub, key);
    }
}

static void alarm_due(struct peri_alarm *alarm) {
    wake(PERI_CONTAINER(alarm, struct peri_task, alarm));
}

int peri_door_wait(lua_State *L, struct peri_vm *vm, uint64_t at_ns, lua_KFunction then) {
    struct peri_task *task = vm->task;
    if (!task || !task->can_wait) {
        return luaL_error(L, "can't wait here: %s may not wait",
                          task ? task->entry->name : "this code");
    }
    if (L != task->co) {
        return luaL_error(L, "can't wait in a coroutine of the script's own: wait in the handler");
    }
    if (!lua_isyieldable(L)) {
        return luaL_error(L, "can't wait inside a function that C code calls (a sort order, a "
                             "gsub replacement, a metamethod)");
    }
    task->asleep_ = true;
    task->alarm.due = alarm_due;
    peri_alarms_set(peri_host_alarms(vm->host), &task->alarm, at_ns);
    return lua_yieldk(L, 0, 0, then);
}

int peri_door_unwind(lua_State *L, struct peri_vm *vm, enum peri_unwind how) {
    if (vm->task) {
        vm->task->unwind = how;
    }
    lua_pushlightuserdata(L, &unwinding);
    return lua_error(L);
}

void peri_door_cut_waits(struct peri_vm *vm) {
    // A handler that is cut cannot wait again: each task leaves the list for good.
    while (!peri_list_is_empty(&vm->waiting)) {
        struct peri_task *task = PERI_CONTAINER(vm->waiting.next, struct peri_task, link);
        peri_alarms_clear(peri_host_alarms(vm->host), &task->alarm);
        task->can_wait = false;
        task->unwind = PERI_UNWIND_CUT;
        wake(task);
    }
}

void peri_door_close(struct peri_vm *vm) {
    while (!peri_list_is_empty(&vm->idle)) {
        struct peri_task *task = PERI_CONTAINER(vm->idle.next, struct peri_task, link);
        peri_list_remove(&task->link);
        peri_free(task);
    }
    vm->idle_count = 0;
}
