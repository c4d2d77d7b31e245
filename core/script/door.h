// The one door into a VM: every run of a script's code is a task, a pooled coroutine entered by
// lua_resume, so that any handler may wait. Nobody else calls into Lua with a script's function.
#pragma once

#include <lua.h>

#include "base/list.h"
#include "hub/hub.h"
#include "script/alarm.h"
#include "script/vm.h"
#include "script/watchdog.h"

struct peri_task;
struct peri_req;
struct peri_timer;

/// What a kind of task does around the script's function. All three run inside the coroutine,
/// under the host's memory limit, and may raise.
struct peri_entry {
    const char *name; ///< of the handler, for the log
    int results;      ///< that the function may give, or LUA_MULTRET
    bool is_close;    ///< the script's code may use half of the host's reserve
    bool is_eval;     ///< an operator's own: its errors are none of the script's

    /// Pushes the function and its arguments, for the task's event number at - 1. The stack holds
    /// one value of the door's, at index 1.
    /// @return how many arguments, -1: nothing (more) to do
    int (*prepare)(lua_State *L, struct peri_task *task);

    /// Takes the results, at stack indices 2 and up; NULL when none are wanted. Called only when
    /// the function returned.
    void (*returned)(lua_State *L, struct peri_task *task);

    /// The function raised (already reported), or the entry itself did. Outside of Lua: raises
    /// nothing. NULL: the event is just lost.
    void (*raised)(struct peri_task *task);

    /// The task is over, after a wait or not; raises nothing. NULL: nothing to do.
    void (*ended)(struct peri_task *task);
};

enum peri_unwind {
    PERI_UNWIND_NONE,
    PERI_UNWIND_CUT,    ///< a wait was cut: raises past every pcall
    PERI_UNWIND_REJECT, ///< ws.reject: ends the handler the same way
};

struct peri_task {
    struct peri_list link; ///< in the VM's idle or waiting tasks, or in itself
    struct peri_vm *vm;
    lua_State *co;
    int ref_; ///< keeps co in the registry
    const struct peri_entry *entry;
    enum peri_unwind unwind;
    bool can_wait, failed;
    bool outlives; ///< its connection had ended before it began, or may have while it waited
    bool waited;   ///< it gave control back at least once: borrowed arguments are gone
    bool asleep_;  ///< it yielded by peri_door_wait
    bool broke_;   ///< the entry itself raised, outside of the script's function
    struct peri_alarm alarm; ///< its sleep

    // What it is about. Borrowed, valid until the first wait.
    peri_key key; ///< the connection whose event this is; 0 for none
    uint64_t exchange;
    const struct peri_event *events;
    size_t count;  ///< events in this task, 1 unless set
    size_t at;     ///< how many were begun
    size_t *taken; ///< gets `at` when control goes back for the first time; may be NULL
    struct peri_params *params;
    struct peri_str text; ///< remote address, or close reason
    lua_Integer number;   ///< close code, or missed messages
    struct peri_request *request;
    struct peri_req *req;     ///< the Lua value, until the task ends
    struct peri_timer *timer; ///< of a timer task
    /// What came, the bytes of a Lua string that lives while its handler runs. It is sent on as the event
    /// has it, while that is there; text was checked, and need not be again.
    struct peri_str heard;
    bool heard_text;
};

/// @return a task to fill in and give to peri_door_enter; NULL when out of memory (logged)
PERI_MUST_CHECK struct peri_task *peri_door_task(struct peri_vm *vm,
                                                 const struct peri_entry *entry);

/// Runs the task until it returns, raises or waits. The task belongs to the door: it is gone after
/// PERI_DONE.
enum peri_answer peri_door_enter(struct peri_task *task);

/// Called by a binding as `return peri_door_wait(...)`: gives control back until at_ns, then goes
/// on in `then`. Raises where the script can't wait here.
int peri_door_wait(lua_State *L, struct peri_vm *vm, uint64_t at_ns, lua_KFunction then);

/// For bindings that end the handler: marks the running task and raises past every pcall.
int peri_door_unwind(lua_State *L, struct peri_vm *vm, enum peri_unwind how);

/// True when an unwinding is under way, or the watchdog's stop: a protected call passes it on instead
/// of catching it.
static inline bool peri_door_is_unwinding(const struct peri_vm *vm) {
    return (vm->task && vm->task->unwind != PERI_UNWIND_NONE) || peri_watch_is_stopping();
}

/// Every waiting handler raises now.
void peri_door_cut_waits(struct peri_vm *vm);

/// Frees the pool, whose coroutines go with the state.
void peri_door_close(struct peri_vm *vm);
