// A desk: a piece of work is done at it on a thread of its own, which ends with the work.
//
// libuv's pool would stay: as long as another thread has the host's descriptors too, the kernel counts
// users of each socket at each call, which is 1 % of a message (docs/performance.md).
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

struct peri_desk {
    uv_async_t over_; ///< keeps the loop going while the desk is taken
    pthread_t thread_;
    void (*run_)(void *arg);
    void (*done_)(void *arg);
    void *arg_;
    atomic_bool is_over_;
    bool is_taken_;
    bool has_thread_;
};

void peri_desk_open(struct peri_desk *desk, uv_loop_t *loop);

static inline bool peri_desk_is_taken(const struct peri_desk *desk) {
    return desk->is_taken_;
}

/// Begins a piece of work at a desk that is free. Where no thread can be had, the loop's does it, soon.
/// @param run  on the other thread
/// @param done on the loop's, between two turns; the desk is free by then
void peri_desk_take(struct peri_desk *desk, void (*run)(void *arg), void (*done)(void *arg),
                    void *arg);

/// Waits for what a thread does at it; nothing begins, and `done` is not called, any more.
/// @param closed as of uv_close, with a handle whose data is `arg`; may be NULL
void peri_desk_close(struct peri_desk *desk, uv_close_cb closed, void *arg);
