// The control socket: its clients, a request and an answer at a time, within bounds that a client
// who does not read, or never ends a line, can't leave.
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/internal.h"

enum {
    CLIENTS_MAX = 16,
    READ_AT_ONCE = 16 * 1024,
    TICK_MS = 250,
    STUCK_MS = 10000, ///< half a request, or an answer that is not taken
};

struct control_client {
    uv_poll_t poll;
    struct peri_server *server;
    struct peri_list link; ///< those first who have been quiet the longest
    int fd;
    void *own; ///< of peri_control.open
    struct peri_buffer in, out;
    size_t out_at;
    uint64_t since_ms; ///< when it last did something
    int polled;
    bool owed;      ///< an answer
    bool eof, last; ///< nothing more comes; nothing more is taken
    bool closing;
};

static void on_closed(uv_handle_t *handle) {
    peri_free(PERI_CONTAINER((uv_poll_t *)handle, struct control_client, poll));
}

static void hang_up(struct control_client *client) {
    struct peri_control_socket *control = &client->server->control;
    if (client->closing) {
        return;
    }
    client->closing = true;
    control->control.close(client->own);
    peri_list_remove(&client->link);
    control->count--;
    uv_close((uv_handle_t *)&client->poll, on_closed);
    close(client->fd);
    peri_buffer_deinit(&client->in);
    peri_buffer_deinit(&client->out);
}

/// It has done something: others are hung up on before.
static void note(struct control_client *client) {
    client->since_ms = peri_server_now(client->server);
    peri_list_remove(&client->link);
    peri_list_push(&client->server->control.clients, &client->link);
}

static bool has_line(const struct control_client *client) {
    return client->in.len > 0 && memchr(client->in.ptr, '\n', client->in.len);
}

static bool is_too_long(const struct control_client *client) {
    return client->in.len > client->server->control.control.line_max;
}

/// Whether a turn would bring it on.
static bool wants_turn(const struct control_client *client) {
    return client->out.len == 0 && !client->owed && !client->last &&
           (has_line(client) || is_too_long(client) || client->eof);
}

static void on_ready(uv_poll_t *poll, int status, int events);

/// Waits for what it needs next: the socket to take its answer, or a request.
static void watch(struct control_client *client) {
    bool reads = client->out.len == 0 && !client->owed && !client->eof && !client->last &&
                 !has_line(client) && !is_too_long(client);
    int wanted = (client->out.len > 0 ? UV_WRITABLE : 0) | (reads ? UV_READABLE : 0);
    if (wanted == client->polled) {
        return;
    }
    client->polled = wanted;
    if (wanted == 0) {
        (void)uv_poll_stop(&client->poll);
    } else if (uv_poll_start(&client->poll, wanted, on_ready) < 0) {
        hang_up(client);
    }
}

/// Writes what it has. @return false when the client is gone
static bool push(struct control_client *client) {
    while (client->out_at < client->out.len) {
        ssize_t n = send(client->fd, client->out.ptr + client->out_at,
                         client->out.len - client->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            client->out_at += (size_t)n;
            note(client);
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return true;
        } else if (n == 0 || errno != EINTR) {
            hang_up(client);
            return false;
        }
    }
    client->out_at = 0;
    peri_buffer_clear(&client->out, READ_AT_ONCE);
    if (client->last) {
        hang_up(client);
    }
    return !client->closing;
}

/// @return false when the client is gone
static bool pull(struct control_client *client) {
    ssize_t n = -1;
    if (peri_buffer_reserve(&client->in, READ_AT_ONCE) == PERI_OK) {
        n = recv(client->fd, client->in.ptr + client->in.len, READ_AT_ONCE, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
            return true;
        }
    }
    if (n < 0) {
        hang_up(client);
        return false;
    }
    if (n == 0) {
        client->eof = true; // what it has asked for is still answered
        return true;
    }
    if (client->in.len == 0 || memchr(client->in.ptr + client->in.len, '\n', (size_t)n)) {
        note(client); // but bytes that end no line don't hold the place of another
    }
    client->in.len += (size_t)n;
    return true;
}

static void on_ready(uv_poll_t *poll, int status, int events) {
    struct control_client *client = PERI_CONTAINER(poll, struct control_client, poll);
    if (status < 0) {
        hang_up(client);
        return;
    }
    if (((events & UV_WRITABLE) && !push(client)) || ((events & UV_READABLE) && !pull(client))) {
        return;
    }
    watch(client); // the turn that follows does the rest
}

/// Takes what policy has said.
static void answer(struct control_client *client, int status) {
    client->owed = status == PERI_AGAIN;
    if (status != PERI_OK && status != PERI_AGAIN) {
        hang_up(client);
    } else if (push(client)) {
        watch(client);
    }
}

/// Its next request, if it has one.
static void serve(struct control_client *client) {
    struct peri_control_socket *control = &client->server->control;
    struct peri_str text = peri_buffer_str(&client->in);
    const char *end = text.len > 0 ? memchr(text.ptr, '\n', text.len) : NULL;
    size_t n = end ? (size_t)(end - text.ptr) : text.len; // within the text
    if (n == 0 && !end) {
        hang_up(client); // all is answered that it has asked
        return;
    }
    client->last = n > control->control.line_max;
    // A carriage return is what some tools end lines with.
    size_t shown = n - (n > 0 && text.ptr[n - 1] == '\r');
    int status = control->control.line(client->own, peri_str(text.ptr, shown), &client->out);
    peri_buffer_consume(&client->in, end ? n + 1 : n);
    if (client->in.len == 0) {
        peri_buffer_clear(&client->in, READ_AT_ONCE);
    }
    answer(client, status);
}

bool peri_control_turn(struct peri_server *server) {
    struct peri_control_socket *control = &server->control;
    bool stirred = control->stirred, more = false;
    if (!control->is_open) {
        return false;
    }
    control->stirred = false;
    // Serving moves a client to the end of the list: as many as there were are looked at.
    struct peri_list *next = control->clients.next;
    for (size_t n = control->count; n > 0 && next != &control->clients; n--) {
        struct control_client *client = PERI_CONTAINER(next, struct control_client, link);
        next = next->next;
        if (client->owed && stirred) {
            answer(client, control->control.later(client->own, &client->out));
        } else if (wants_turn(client)) {
            serve(client);
        }
    }
    for (const struct peri_list *at = control->clients.next; at != &control->clients;
         at = at->next) {
        more = more || wants_turn(PERI_CONTAINER(at, struct control_client, link));
    }
    return more;
}

void peri_control_stir(struct peri_server *server) {
    server->control.stirred = true;
    server->turn_asked = true;
}

static void on_connection(uv_poll_t *poll, int status, int events);

/// Nobody is there to take what is owed: a FIN alone is not that.
static bool is_gone(const struct control_client *client) {
    struct pollfd polled = {.fd = client->fd};
    return poll(&polled, 1, 0) > 0 && (polled.revents & (POLLHUP | POLLERR)) != 0;
}

static void on_tick(uv_timer_t *timer) {
    struct peri_server *server = timer->data;
    struct peri_control_socket *control = &server->control;
    uint64_t now = peri_server_now(server);
    control->stirred = true;
    for (struct peri_list *at = control->clients.next, *next; at != &control->clients; at = next) {
        struct control_client *client = PERI_CONTAINER(at, struct control_client, link);
        next = at->next;
        bool waits = client->in.len > 0 || client->out.len > 0;
        if (client->owed ? is_gone(client) : waits && now - client->since_ms > STUCK_MS) {
            hang_up(client);
        }
    }
    (void)uv_poll_start(&control->poll, UV_READABLE, on_connection);
    if (control->count == 0) {
        (void)uv_timer_stop(timer);
    }
}

static void want_ticks(struct peri_control_socket *control) {
    if (!uv_is_active((uv_handle_t *)&control->tick)) {
        (void)uv_timer_start(&control->tick, on_tick, TICK_MS, TICK_MS);
    }
}

// Coming ------------------------------------------------------------------------------------

/// The file's mode keeps others out, unless somebody has changed it since.
static bool is_welcome(int fd) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) {
        return false;
    }
    if (peer.uid != 0 && peer.uid != geteuid()) {
        peri_log(PERI_LOG_WARN, "the control socket is not for user %u", (unsigned)peer.uid);
        return false;
    }
    return true;
}

/// Hangs up on whoever has been quiet the longest and waits for nothing. @return false: nobody is
static bool make_room(struct peri_control_socket *control) {
    for (struct peri_list *at = control->clients.next; at != &control->clients; at = at->next) {
        struct control_client *client = PERI_CONTAINER(at, struct control_client, link);
        if (!client->owed) {
            hang_up(client);
            return true;
        }
    }
    return false;
}

static void begin_client(struct peri_server *server, int fd) {
    struct peri_control_socket *control = &server->control;
    if (!is_welcome(fd) || (control->count >= CLIENTS_MAX && !make_room(control))) {
        close(fd);
        return;
    }
    struct control_client *client = peri_calloc(1, sizeof *client);
    void *own = client ? control->control.open(control->control.self) : NULL;
    if (!own || uv_poll_init(&server->loop, &client->poll, fd) < 0) {
        if (own) {
            control->control.close(own);
        }
        peri_free(client);
        close(fd);
        return;
    }
    client->server = server;
    client->fd = fd;
    client->own = own;
    peri_list_init(&client->link);
    control->count++;
    note(client);
    want_ticks(control);
    watch(client);
}

static void on_connection(uv_poll_t *poll, int status, int events) {
    struct peri_server *server = poll->data;
    (void)status;
    (void)events;
    int fd = accept4(server->control.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        begin_client(server, fd);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        (void)uv_poll_stop(poll); // no descriptor or memory is left: until the next tick
        want_ticks(&server->control);
    }
}

int peri_server_open_control(struct peri_server *server, const char *path,
                             const struct peri_control *control, struct peri_buffer *error) {
    struct peri_control_socket *socket = &server->control;
    int status = peri_buffer_append(&socket->path, path, strlen(path) + 1);
    if (status != PERI_OK) {
        return status;
    }
    int why =
        peri_socket_file_open(&socket->file, (const char *)socket->path.ptr, 0600, &socket->fd);
    if (why != 0) {
        peri_buffer_clear(&socket->path, 0);
        status = peri_buffer_printf(error, "cannot make the control socket %s: %s", path,
                                    peri_socket_file_why(why));
        return status == PERI_OK ? PERI_E_SYSTEM : status;
    }
    socket->control = *control;
    peri_list_init(&socket->clients);
    (void)uv_poll_init(&server->loop, &socket->poll, socket->fd);
    (void)uv_timer_init(&server->loop, &socket->tick);
    socket->poll.data = socket->tick.data = server;
    socket->is_open = true;
    return PERI_OK;
}

void peri_control_start(struct peri_server *server) {
    if (server->control.is_open) {
        (void)uv_poll_start(&server->control.poll, UV_READABLE, on_connection);
    }
}

void peri_control_close(struct peri_server *server) {
    struct peri_control_socket *control = &server->control;
    if (!control->is_open) {
        return;
    }
    while (!peri_list_is_empty(&control->clients)) {
        hang_up(PERI_CONTAINER(control->clients.next, struct control_client, link));
    }
    control->is_open = false;
    uv_close((uv_handle_t *)&control->poll, NULL);
    uv_close((uv_handle_t *)&control->tick, NULL);
    close(control->fd);
    peri_socket_file_remove(&control->file);
    peri_buffer_deinit(&control->path);
}
