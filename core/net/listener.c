// Listening sockets at work: how many connections are taken off them at a time, and what happens
// when there are too many.
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "net/internal.h"

enum {
    ACCEPTS_A_TURN = 128,
    REFUSALS_AT_ONCE = 128, ///< over the limit: that many are told so, others are just closed
    RESUME_MS = 200,        ///< after descriptors have run out
    COMPLAINT_MS = 1000,
};

struct peri_ip peri_address_ip(const union peri_address *address) {
    uint8_t v4[4];
    switch (address->any.sa_family) {
    case AF_INET: memcpy(v4, &address->v4.sin_addr, sizeof v4); return peri_ip_v4(v4);
    case AF_INET6: return peri_ip_v6(address->v6.sin6_addr.s6_addr);
    case AF_UNIX: return (struct peri_ip){.family = PERI_IP_UNIX}; // its peers have no names
    default: return (struct peri_ip){0};
    }
}

static void complain(struct peri_server *server, const char *what) {
    uint64_t now = peri_server_now(server);
    if (server->complained_ms == 0 || now - server->complained_ms >= COMPLAINT_MS) {
        server->complained_ms = now;
        peri_log(PERI_LOG_WARN, "%s (%zu connections)", what, server->session_count);
    }
}

static void on_resume(uv_timer_t *timer) {
    peri_listener_start(timer->data);
}

/// Descriptors or memory ran out: the rest waits in the kernel's queue. Without the pause the loop
/// would be told of it again and again.
static void pause_accepting(struct peri_server *server, int why) {
    complain(server, why == EMFILE   ? "connections wait: no descriptor is free (ulimit -n)"
                     : why == ENFILE ? "connections wait: the system has no descriptor left"
                                     : "connections wait: the system has no memory for them");
    for (size_t i = 0; i < server->listener_count; i++) {
        (void)uv_poll_stop(&server->listeners[i].poll);
    }
    (void)uv_timer_start(&server->resume, on_resume, RESUME_MS, 0);
}

static void begin_session(struct peri_server *server, const struct peri_listener *listener, int fd,
                          const union peri_address *address) {
    struct peri_ip ip = peri_address_ip(address);
    bool refused = server->session_count >= server->connection_limit;
    if (refused) {
        complain(server, "connections are refused (limit: connections)");
        if (server->session_count >= server->connection_limit + REFUSALS_AT_ONCE) {
            close(fd);
            return;
        }
    }
    peri_session_begin(server, listener, fd, &ip, refused);
}

static void on_connections(uv_poll_t *poll, int status, int events) {
    struct peri_server *server = poll->data;
    (void)status;
    (void)events;
    const struct peri_listener *listener = PERI_CONTAINER(poll, struct peri_listener, poll);
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        union peri_address address = {0};
        socklen_t length = sizeof address;
        int fd = accept4(listener->fd, &address.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            begin_session(server, listener, fd, &address);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(server, errno);
            return;
        }
        // Anything else concerns that one connection: it is gone already. accept(2), "Error
        // handling"
    }
}

void peri_listener_start(struct peri_server *server) {
    for (size_t i = 0; i < server->listener_count; i++) {
        (void)uv_poll_start(&server->listeners[i].poll, UV_READABLE, on_connections);
    }
}

void peri_listener_close(struct peri_server *server) {
    for (size_t i = 0; i < server->listener_count; i++) {
        uv_close((uv_handle_t *)&server->listeners[i].poll, NULL);
        peri_listener_forget(&server->listeners[i]);
    }
    server->listener_count = 0;
    (void)uv_timer_stop(&server->resume);
}

int peri_listener_open(struct peri_server *server, struct peri_buffer *error) {
    int rc = peri_listener_bind(server, error);
    for (size_t i = 0; rc == PERI_OK && i < server->listener_count; i++) {
        struct peri_listener *listener = &server->listeners[i];
        (void)uv_poll_init(&server->loop, &listener->poll, listener->fd);
        listener->poll.data = server;
    }
    return rc;
}
