// Ends scripts that don't end: one thread for the process watches the threads that enter Lua.
//
// A watched thread numbers its entries into Lua (and the events of one entry), and pays no more for
// it than that. The watchdog sleeps until the process has used so much CPU, then looks at the
// numbers. A thread that it finds twice in the same entry gets a signal, whose handler looks how long
// that has taken, with the limits of the VM at hand. At handler_warn_s the entry is late: the host
// says so once it is over. At handler_stop_s it is stopped: a hook on the coroutine that runs raises
// at each instruction, and whoever catches errors raises again, until the host has control.
#pragma once

#include <lua.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "base/buffer.h"
#include "base/list.h"

struct peri_limits;
struct peri_vm;
struct peri_watchdog;

enum peri_watch_verdict {
    PERI_WATCH_ON_TIME,
    PERI_WATCH_LATE, ///< over handler_warn_s
    PERI_WATCH_STOP, ///< over handler_stop_s: the entry is to end
};

/// What a thread shows of itself. Each has one; that of an unwatched thread nobody looks at.
struct peri_watch {
    // Of the thread and of the signal handler that interrupts it.
    _Atomic uint64_t entry_; ///< odd: in Lua. The next event has another number
    struct peri_vm *volatile vm_;
    lua_State *volatile running_;   ///< the coroutine that runs; stale where vm_ is NULL
    volatile sig_atomic_t verdict_; ///< an enum peri_watch_verdict
    volatile uint64_t began_ns_;    ///< by the thread's CPU clock, once it is not on time
    bool noted_;                    ///< it is known where the entry was stopped
    struct peri_buffer where_;      ///< "FILE:LINE: ", where it was stopped
    struct peri_buffer traceback_;  ///< the same, from there
    char handler_[32];              ///< who it is, for the watchdog: copied when it is to stop
    char script_[96];
    _Atomic uint64_t named_; ///< the entry that those are about
    unsigned joined_;        ///< how often, less how often it left

    // Of the watchdog, under its lock.
    struct peri_list link_;
    pthread_t thread_;
    clockid_t clock_;
    uint64_t seen_, seen_ns_; ///< the entry found at the last look, and the CPU clock at the first
    bool told_;               ///< it has said that the entry can't be stopped
    _Atomic uint64_t asked_;  ///< the entry that the signal is about
    _Atomic uint64_t asked_ns_;
};

extern _Thread_local struct peri_watch peri_watch;

/// Starts the thread. The limits say how often it looks; those that count are each VM's own.
/// @return owned; NULL: out of memory or of threads
PERI_MUST_CHECK struct peri_watchdog *peri_watchdog_new(const struct peri_limits *limits);

/// The limits are known better now.
void peri_watchdog_set(struct peri_watchdog *dog, const struct peri_limits *limits);

/// Ends the thread. Nobody is watched any more.
void peri_watchdog_free(struct peri_watchdog *dog); ///< NULL does nothing

/// The calling thread is watched from here until it has left as often as it joined: it may enter Lua.
/// Cannot fail.
/// @param dog NULL does nothing, here and there
void peri_watchdog_join(struct peri_watchdog *dog);
void peri_watchdog_leave(struct peri_watchdog *dog);

/// For the sandbox: true once the entry is to end. A protected call passes the error on instead of
/// catching it, and what loops in C asks in between.
static inline bool peri_watch_is_stopping(void) {
    return peri_watch.verdict_ == PERI_WATCH_STOP;
}

/// Raises what ends the entry, and notes where that was.
_Noreturn void peri_watch_end(lua_State *L);

/// Sets the hook that does so at the next instruction of the coroutine.
void peri_watch_arm(lua_State *L);

/// For loops in C that a script can make long.
static inline void peri_watch_poll(lua_State *L) {
    if (peri_watch_is_stopping()) {
        peri_watch_end(L);
    }
}

/// A coroutine of the script's runs from here, or runs again.
static inline void peri_watch_runs(lua_State *L) {
    peri_watch.running_ = L;
    atomic_signal_fence(memory_order_seq_cst); // a signal before here armed the other one
    if (peri_watch_is_stopping()) {
        peri_watch_arm(L);
    }
}

/// What was entered before, as a rule nothing.
struct peri_watch_outer {
    struct peri_vm *vm;
    lua_State *running; ///< unset where vm is NULL
};

static inline void peri_watch_bump(uint64_t by) {
    // Nobody else writes it: no locked instruction is needed.
    uint64_t entry = atomic_load_explicit(&peri_watch.entry_, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&peri_watch.entry_, entry + by, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
}

#ifdef PERI_UNWATCHED // what it costs: tests/acceptance/watchdog_costs_nothing

static inline struct peri_watch_outer peri_watch_enter(struct peri_vm *vm, lua_State *L) {
    (void)vm;
    (void)L;
    return (struct peri_watch_outer){0};
}

static inline enum peri_watch_verdict peri_watch_next(void) {
    return PERI_WATCH_ON_TIME;
}

static inline enum peri_watch_verdict peri_watch_exit(struct peri_watch_outer outer) {
    (void)outer;
    return PERI_WATCH_ON_TIME;
}

#else

/// Into Lua: L runs a script's code. An entry within an entry (of another VM) is a part of it.
static inline struct peri_watch_outer peri_watch_enter(struct peri_vm *vm, lua_State *L) {
    struct peri_watch_outer outer;
    outer.vm = peri_watch.vm_;
    if (outer.vm) {
        outer.running = peri_watch.running_;
    }
    peri_watch.vm_ = vm;
    peri_watch.running_ = L;
    if (!outer.vm) {
        peri_watch_bump(1);
    }
    return outer;
}

/// The event is over, and the next one of the same entry may take its own time.
/// @return the verdict on it, ON_TIME for good where there is nothing to say. On any other the caller
///         says so, then calls peri_watch_forgive
static inline enum peri_watch_verdict peri_watch_next(void) {
    peri_watch_bump(2);
    return (enum peri_watch_verdict)peri_watch.verdict_;
}

/// Out of Lua. @return as peri_watch_next
static inline enum peri_watch_verdict peri_watch_exit(struct peri_watch_outer outer) {
    if (outer.vm) {
        peri_watch.vm_ = outer.vm;
        peri_watch_runs(outer.running);
        return PERI_WATCH_ON_TIME; // the verdict is on all of it
    }
    peri_watch_bump(1);
    peri_watch.vm_ = NULL;
    return (enum peri_watch_verdict)peri_watch.verdict_;
}

#endif

/// The host has control again: nothing is armed any more.
void peri_watch_forgive(void);

/// The CPU that the event took which is late or was stopped, in seconds. Until forgiven.
double peri_watch_took(void);
