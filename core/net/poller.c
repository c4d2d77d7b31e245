#include "net/poller.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "base/list.h"
#include "base/prefetch.h"

enum {
    AT_ONCE = 1024,     ///< what one look takes
    FEW = 8,            ///< after a look that found no more, there is likely nothing yet
    LOOKS_NS = 1000000, ///< then libuv has its turn, for all else that it watches
};

static uint32_t to_system(unsigned events) {
    return (events & PERI_READABLE ? (uint32_t)EPOLLIN : 0) |
           (events & PERI_WRITABLE ? (uint32_t)EPOLLOUT : (uint32_t)EPOLLET) |
           (events & PERI_HANGUP ? (uint32_t)EPOLLRDHUP : 0);
}

static unsigned of_system(uint32_t events) {
    return (events & (EPOLLIN | EPOLLHUP) ? (unsigned)PERI_READABLE : 0) |
           (events & (EPOLLOUT | EPOLLHUP) ? (unsigned)PERI_WRITABLE : 0) |
           (events & (EPOLLRDHUP | EPOLLHUP) ? (unsigned)PERI_HANGUP : 0) |
           (events & EPOLLERR ? (unsigned)PERI_FAILED : 0);
}

/// @return how many sockets there was something to tell of
static int look_once(const struct peri_poller *poller) {
    struct epoll_event found[AT_ONCE];
    int count = epoll_wait(poller->set, found, AT_ONCE, 0);
    for (int i = 0; i < count; i++) {
        if (i + 1 < count) {
            peri_prefetch(found[i + 1].data.ptr, (size_t)2 * PERI_CACHE_LINE);
        }
        poller->ready(found[i].data.ptr, of_system(found[i].events));
    }
    return count;
}

static void on_look(uv_poll_t *look, int status, int events) {
    struct peri_poller *poller = PERI_CONTAINER(look, struct peri_poller, look);
    (void)status;
    (void)events;
    uint64_t until_ns = uv_hrtime() + LOOKS_NS;
    while (look_once(poller) > FEW && uv_hrtime() < until_ns) {
        poller->between(poller);
    }
}

int peri_poller_open(struct peri_poller *poller, uv_loop_t *loop,
                     void (*ready)(void *whom, unsigned events),
                     void (*between)(struct peri_poller *poller)) {
    poller->ready = ready;
    poller->between = between;
    poller->set = epoll_create1(EPOLL_CLOEXEC);
    if (poller->set < 0) {
        return PERI_E_SYSTEM;
    }
    if (uv_poll_init(loop, &poller->look, poller->set) < 0) {
        close(poller->set);
        poller->set = -1;
        return PERI_E_SYSTEM;
    }
    return uv_poll_start(&poller->look, UV_READABLE, on_look) < 0 ? PERI_E_SYSTEM : PERI_OK;
}

int peri_poller_watch(struct peri_poller *poller, int fd, unsigned before, unsigned now,
                      void *whom) {
    struct epoll_event event = {.events = to_system(now), .data.ptr = whom};
    int what = now == 0 ? EPOLL_CTL_DEL : before == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    return epoll_ctl(poller->set, what, fd, &event) < 0 ? PERI_E_SYSTEM : PERI_OK;
}

void peri_poller_close(struct peri_poller *poller) {
    (void)uv_poll_stop(&poller->look);
    close(poller->set);
}
