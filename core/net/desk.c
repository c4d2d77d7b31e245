#include "net/desk.h"

#include <assert.h>
#include <signal.h>

#include "base/list.h"
#include "base/log.h"

static void *work(void *arg) {
    struct peri_desk *desk = arg;
    desk->run_(desk->arg_);
    atomic_store(&desk->is_over_, true);
    (void)uv_async_send(&desk->over_);
    return NULL;
}

static void on_over(uv_async_t *async) {
    struct peri_desk *desk = PERI_CONTAINER(async, struct peri_desk, over_);
    if (!desk->is_taken_ || (desk->has_thread_ && !atomic_load(&desk->is_over_))) {
        return;
    }
    if (desk->has_thread_) {
        (void)pthread_join(desk->thread_, NULL);
    } else {
        desk->run_(desk->arg_);
    }
    desk->is_taken_ = false;
    uv_unref((uv_handle_t *)async);
    desk->done_(desk->arg_);
}

/// With the stack that the loop's thread has as a rule: scripts are compiled and run there. The
/// system's default may be far less: musl's is 128 KiB.
static bool begin(struct peri_desk *desk) {
    enum { STACK_BYTES = 8 * 1024 * 1024 };
    pthread_attr_t attr;
    size_t bytes;
    if (pthread_getattr_default_np(&attr) != 0) {
        return false;
    }
    if (pthread_attr_getstacksize(&attr, &bytes) == 0 && bytes < STACK_BYTES) {
        (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    }
    bool begun = pthread_create(&desk->thread_, &attr, work, desk) == 0;
    (void)pthread_attr_destroy(&attr);
    return begun;
}

/// All but those that a thread causes itself.
static sigset_t signals_of_others(void) {
    static const int own[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    sigset_t signals;
    (void)sigfillset(&signals);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        (void)sigdelset(&signals, own[i]);
    }
    return signals;
}

void peri_desk_open(struct peri_desk *desk, uv_loop_t *loop) {
    *desk = (struct peri_desk){0};
    (void)uv_async_init(loop, &desk->over_, on_over); // the loop has one already: cannot fail
    uv_unref((uv_handle_t *)&desk->over_);
}

void peri_desk_take(struct peri_desk *desk, void (*run)(void *arg), void (*done)(void *arg),
                    void *arg) {
    assert(!desk->is_taken_);
    desk->run_ = run;
    desk->done_ = done;
    desk->arg_ = arg;
    desk->is_taken_ = true;
    atomic_store(&desk->is_over_, false);
    uv_ref((uv_handle_t *)&desk->over_);
    sigset_t signals = signals_of_others(), before; // they are the loop's
    (void)pthread_sigmask(SIG_BLOCK, &signals, &before);
    desk->has_thread_ = begin(desk);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!desk->has_thread_) {
        peri_log(PERI_LOG_WARN, "no thread can be had: what it was for holds up all connections");
        (void)uv_async_send(&desk->over_);
    }
}

void peri_desk_close(struct peri_desk *desk, uv_close_cb closed, void *arg) {
    if (desk->is_taken_ && desk->has_thread_) {
        (void)pthread_join(desk->thread_, NULL);
    }
    desk->is_taken_ = false;
    desk->over_.data = arg;
    uv_close((uv_handle_t *)&desk->over_, closed);
}
