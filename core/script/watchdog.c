#include "script/watchdog.h"

#include <errno.h>
#include <lauxlib.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "hub/limits.h"
#include "script/door.h"

/// Looks so many times in the shorter of the two limits.
enum { LOOKS = 4 };

/// An entry that is not over after so many times handler_stop_s is in C code that never asks.
enum { HOPELESS = 4 };

_Thread_local struct peri_watch peri_watch;

struct peri_watchdog {
    pthread_t thread;
    pthread_mutex_t lock;
    struct peri_list watched;
    sem_t stands_apart; ///< its thread does
    _Atomic uint64_t period_ns, stop_ns;
    atomic_bool ends, ended;
};

/// Real-time signals have no meaning of their own. The first few are often taken, by debuggers and
/// checkers.
static int signal_number(void) {
    return SIGRTMIN + 5;
}

static uint64_t read_clock(clockid_t clock) {
    struct timespec now = {0};
    (void)clock_gettime(clock, &now); // of a thread that lives
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// On the thread that is watched ------------------------------------------------------------------

static void copy_name(char *to, size_t size, const char *from) {
    size_t i = 0;
    for (; from && from[i] && i + 1 < size; i++) {
        to[i] = from[i];
    }
    to[i] = '\0';
}

/// In a signal handler, and the entry is still the one that was asked about.
static void judge(struct peri_watch *watch, uint64_t entry) {
    const struct peri_vm *vm = watch->vm_;
    uint64_t began_ns = atomic_load_explicit(&watch->asked_ns_, memory_order_relaxed);
    uint64_t cpu_ns = read_clock(CLOCK_THREAD_CPUTIME_ID) - began_ns;
    if (cpu_ns >= vm->limits.handler_stop_ms * 1000000) {
        if (watch->verdict_ != PERI_WATCH_STOP) {
            copy_name(watch->script_, sizeof watch->script_, vm->name ? vm->name : vm->file);
            copy_name(watch->handler_, sizeof watch->handler_,
                      vm->task ? vm->task->entry->name : "load");
            atomic_store_explicit(&watch->named_, entry, memory_order_release);
        }
        watch->began_ns_ = began_ns;
        watch->verdict_ = PERI_WATCH_STOP;
        atomic_signal_fence(memory_order_seq_cst); // then the coroutine: see peri_watch_runs
        peri_watch_arm(watch->running_);
    } else if (cpu_ns >= vm->limits.handler_warn_ms * 1000000) {
        watch->began_ns_ = began_ns;
        watch->verdict_ = PERI_WATCH_LATE;
    }
}

static void on_signal(int number) {
    (void)number;
    int saved = errno;
    struct peri_watch *watch = &peri_watch;
    uint64_t entry = atomic_load_explicit(&watch->entry_, memory_order_relaxed);
    if ((entry & 1) && entry == atomic_load_explicit(&watch->asked_, memory_order_acquire)) {
        judge(watch, entry);
    }
    errno = saved;
}

/// Where the first hook caught it. The text is the host's; without memory it is left out.
static int note(lua_State *L) {
    struct peri_watch *watch = lua_touserdata(L, 1);
    lua_State *of = lua_touserdata(L, 2);
    lua_Debug at;
    for (int level = 0; lua_getstack(of, level, &at); level++) {
        if (lua_getinfo(of, "Sl", &at) && at.currentline > 0) {
            PERI_IGNORE(
                peri_buffer_printf(&watch->where_, "%s:%d: ", at.short_src, at.currentline));
            break;
        }
    }
    luaL_traceback(L, of, NULL, 1); // above this function
    struct peri_str text;
    text.ptr = lua_tolstring(L, -1, &text.len);
    PERI_IGNORE(peri_buffer_append_str(&watch->traceback_, text));
    return 0;
}

_Noreturn void peri_watch_end(lua_State *L) {
    struct peri_watch *watch = &peri_watch;
    struct peri_vm *vm = watch->vm_;
    peri_vm_enter_host(vm); // no code of the script's runs any more
    if (lua_checkstack(L, 8) && !watch->noted_) {
        watch->noted_ = true;
        lua_pushcfunction(L, note);
        lua_pushlightuserdata(L, watch);
        lua_pushlightuserdata(L, L);
        if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
            lua_pop(L, 1);
        }
    }
    lua_pushfstring(L, "%sstopped: handler_stop_s is %f",
                    peri_push_str(L, peri_buffer_str(&watch->where_)),
                    (lua_Number)vm->limits.handler_stop_ms / 1000);
    lua_error(L);
    abort(); // lua_error does not return, whatever its type says
}

/// A coroutine that waited while another one was stopped may still have it.
static void hook(lua_State *L, lua_Debug *at) {
    (void)at;
    if (peri_watch_is_stopping()) {
        peri_watch_end(L);
    }
    lua_sethook(L, NULL, 0, 0);
}

void peri_watch_arm(lua_State *L) {
    lua_sethook(L, hook, LUA_MASKCOUNT, 1);
}

void peri_watch_forgive(void) {
    struct peri_watch *watch = &peri_watch;
    watch->verdict_ = PERI_WATCH_ON_TIME; // hooks undo themselves
    watch->noted_ = false;
    peri_buffer_deinit(&watch->where_);
    peri_buffer_deinit(&watch->traceback_);
}

double peri_watch_took(void) {
    return (double)(read_clock(CLOCK_THREAD_CPUTIME_ID) - peri_watch.began_ns_) / 1e9;
}

// The watchdog -----------------------------------------------------------------------------------

/// The entry has been over its limit for long, and goes on.
static void tell(struct peri_watch *watch, uint64_t cpu_ns) {
    watch->told_ = true;
    if (atomic_load_explicit(&watch->named_, memory_order_acquire) == watch->seen_) {
        peri_log(
            PERI_LOG_ERROR,
            "%s: %s can't be stopped, after %.1f s of CPU: it is in C code that does not return",
            watch->script_, watch->handler_, (double)cpu_ns / 1e9);
    }
}

static void look(struct peri_watchdog *dog, struct peri_watch *watch) {
    uint64_t entry = atomic_load_explicit(&watch->entry_, memory_order_relaxed);
    if (!(entry & 1)) {
        watch->seen_ = 0;
        return;
    }
    uint64_t cpu_ns = read_clock(watch->clock_);
    if (entry != watch->seen_) {
        watch->seen_ = entry;
        watch->seen_ns_ = cpu_ns;
        watch->told_ = false;
        return;
    }
    atomic_store_explicit(&watch->asked_ns_, watch->seen_ns_, memory_order_relaxed);
    atomic_store_explicit(&watch->asked_, entry, memory_order_release);
    (void)pthread_kill(watch->thread_, signal_number()); // it lives, or it would have left
    cpu_ns -= watch->seen_ns_;
    if (!watch->told_ && cpu_ns > HOPELESS * atomic_load(&dog->stop_ns)) {
        tell(watch, cpu_ns);
    }
}

/// Until the process has used so much CPU: where nothing runs, nobody wakes up.
static void nap(const struct peri_watchdog *dog) {
    uint64_t ns = atomic_load(&dog->period_ns);
    struct timespec period = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    int rc = clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &period, NULL);
    if (rc != 0 && rc != EINTR) { // not every system can
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &period, NULL);
    }
}

static void *watch_over(void *arg) {
    struct peri_watchdog *dog = arg;
    peri_log_stand_apart(); // it needs nothing else, and sockets are cheaper for one thread
    (void)sem_post(&dog->stands_apart);
    while (!atomic_load(&dog->ends)) {
        nap(dog);
        (void)pthread_mutex_lock(&dog->lock);
        for (struct peri_list *at = dog->watched.next; at != &dog->watched; at = at->next) {
            look(dog, PERI_CONTAINER(at, struct peri_watch, link_));
        }
        (void)pthread_mutex_unlock(&dog->lock);
    }
    atomic_store(&dog->ended, true);
    return NULL;
}

void peri_watchdog_set(struct peri_watchdog *dog, const struct peri_limits *limits) {
    uint64_t ms = limits->handler_warn_ms < limits->handler_stop_ms ? limits->handler_warn_ms
                                                                    : limits->handler_stop_ms;
    atomic_store(&dog->period_ns, ms * 1000000 / LOOKS);
    atomic_store(&dog->stop_ns, limits->handler_stop_ms * 1000000);
}

/// Signals are for the other threads, but for ours, which wakes it up to end. It stands apart when this
/// returns: what others close while it copies their descriptors is not really closed until it is done.
static int start(struct peri_watchdog *dog) {
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)sigdelset(&all, signal_number());
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) {
        return PERI_E_SYSTEM;
    }
    int rc = pthread_create(&dog->thread, NULL, watch_over, dog);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    while (rc == 0 && sem_wait(&dog->stands_apart) != 0) {
    }
    return rc == 0 ? PERI_OK : PERI_E_SYSTEM;
}

static void free_all(struct peri_watchdog *dog) {
    (void)pthread_mutex_destroy(&dog->lock);
    (void)sem_destroy(&dog->stands_apart);
    peri_free(dog);
}

struct peri_watchdog *peri_watchdog_new(const struct peri_limits *limits) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct peri_watchdog *dog = peri_calloc(1, sizeof *dog);
    if (!dog) {
        return NULL;
    }
    (void)sigemptyset(&action.sa_mask);
    (void)pthread_mutex_init(&dog->lock, NULL);
    (void)sem_init(&dog->stands_apart, 0, 0);
    peri_list_init(&dog->watched);
    peri_watchdog_set(dog, limits);
    if (sigaction(signal_number(), &action, NULL) != 0 || start(dog) != PERI_OK) {
        free_all(dog);
        return NULL;
    }
    return dog;
}

void peri_watchdog_free(struct peri_watchdog *dog) {
    if (!dog) {
        return;
    }
    const struct timespec moment = {0, 1000000};
    atomic_store(&dog->ends, true);
    while (!atomic_load(&dog->ended)) { // it may be just about to sleep
        (void)pthread_kill(dog->thread, signal_number());
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
    }
    (void)pthread_join(dog->thread, NULL);
    free_all(dog);
}

void peri_watchdog_join(struct peri_watchdog *dog) {
    struct peri_watch *watch = &peri_watch;
    if (!dog || watch->joined_++ > 0) {
        return;
    }
    sigset_t ours;
    (void)sigemptyset(&ours);
    (void)sigaddset(&ours, signal_number());
    (void)pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
    watch->thread_ = pthread_self();
    (void)pthread_getcpuclockid(watch->thread_, &watch->clock_); // it lives: cannot fail
    watch->seen_ = 0;
    (void)pthread_mutex_lock(&dog->lock);
    peri_list_init(&watch->link_);
    peri_list_push(&dog->watched, &watch->link_);
    (void)pthread_mutex_unlock(&dog->lock);
}

void peri_watchdog_leave(struct peri_watchdog *dog) {
    if (dog && --peri_watch.joined_ == 0) {
        (void)pthread_mutex_lock(&dog->lock);
        peri_list_remove(&peri_watch.link_);
        (void)pthread_mutex_unlock(&dog->lock);
    }
}
