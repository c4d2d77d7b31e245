// hub/ports.h on libuv. All of it may be called in the midst of a handler: it writes and marks.
#include "base/prefetch.h"
#include "net/internal.h"

static uint64_t port_now_ns(void *self) {
    (void)self;
    return uv_hrtime();
}

static void on_wake(uv_timer_t *timer);

static void set_wake(struct peri_server *server) {
    uint64_t now = uv_hrtime();
    uint64_t ns = server->wake_at_ns > now ? server->wake_at_ns - now : 0;
    // The loop's clock may lag behind: then on_wake finds that it is early, and sets it again.
    (void)uv_timer_start(&server->wake, on_wake, ns / 1000000 + (ns % 1000000 > 0), 0);
}

void peri_server_wake(struct peri_server *server) {
    server->wake_at_ns = UINT64_MAX;
    server->wake_late = false;
    (void)uv_timer_stop(&server->wake);
    server->waking = true;
    server->policy->wake(server->policy->self);
    server->waking = false;
}

static void on_wake(uv_timer_t *timer) {
    struct peri_server *server = timer->data;
    if (server->wake_at_ns > uv_hrtime()) {
        set_wake(server);
    } else {
        peri_server_wake(server);
    }
}

static void port_wake_at(void *self, uint64_t at_ns) {
    struct peri_server *server = self;
    if (server->wake_at_ns == at_ns) {
        return;
    }
    server->wake_at_ns = at_ns;
    if (at_ns == UINT64_MAX) {
        (void)uv_timer_stop(&server->wake);
    } else if (server->waking && at_ns <= uv_hrtime()) {
        // libuv before 1.45 would run a timer that is due now before it looks at any socket.
        server->wake_late = true;
    } else {
        set_wake(server);
    }
}

/// The session whose exchange policy now answers; it owes nothing more.
static struct peri_session *answered(struct peri_server *server, uint64_t exchange) {
    struct peri_session *session = peri_exchange_find(server, exchange);
    if (session) {
        peri_exchange_end(session);
        peri_session_want_turn(session);
    }
    return session;
}

static int port_accept(void *self, uint64_t exchange, const struct peri_acceptance *acceptance) {
    struct peri_server *server = self;
    struct peri_session *session = answered(server, exchange);
    if (!session) {
        return PERI_E_CLOSED;
    }
    if (server->draining) {
        peri_http_refuse(session, 503, "the host is stopping", NULL);
        return PERI_E_CLOSED;
    }
    peri_http_accept(session, acceptance);
    if (session->closing || session->http->phase != HTTP_OPENING) {
        return PERI_E_CLOSED;
    }
    session->http->opened = exchange;
    return PERI_OK;
}

static int port_respond(void *self, uint64_t exchange, const struct peri_reply *reply) {
    struct peri_session *session = answered(self, exchange);
    if (!session) {
        return PERI_E_CLOSED;
    }
    peri_http_reply(session, reply);
    return PERI_OK;
}

static int port_decline(void *self, uint64_t exchange) {
    struct peri_session *session = answered(self, exchange);
    if (!session) {
        return PERI_E_CLOSED;
    }
    peri_http_fall_through(session);
    return PERI_OK;
}

static void port_flush(void *self, struct peri_conn *const *conns, size_t n) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        // The kernel's work for one is long enough to bring the next ones near.
        if (i + 2 < n) {
            peri_conn_prefetch(conns[i + 2]);
        }
        if (i + 1 < n) {
            peri_prefetch(peri_conn_transport(conns[i + 1]), offsetof(struct peri_session, ws));
        }
        struct peri_session *session = peri_conn_transport(conns[i]);
        if (session) {
            peri_ws_write(session, conns[i]);
        }
    }
}

static size_t port_write(void *self, void *transport, const struct iovec *iov, int n) {
    (void)self;
    struct peri_session *session = transport;
    size_t offered = 0;
    for (int i = 0; i < n; i++) {
        offered += iov[i].iov_len;
    }
    bool can = !session->dead && !session->closing;
    if (can && session->want_write) {
        return 0;
    }
    size_t taken = can ? peri_session_send(session, iov, n, false) : 0;
    if (!can || session->dead) {
        peri_hub_lost(session->server->hub, session->key);
        return offered;
    }
    if (taken < offered || peri_stream_is_full(&session->stream)) {
        session->want_write = true;
        session->taken = peri_server_since_now(session->server);
        peri_session_note_full(session);
        peri_session_want_turn(session);
    }
    return taken;
}

static void port_input_wanted(void *self, void *transport) {
    (void)self;
    peri_session_want_turn(transport);
}

static void port_ended(void *self, void *transport, bool handshake) {
    struct peri_server *server = self;
    struct peri_session *session = transport;
    session->ended = true;
    session->handshake = handshake;
    session->taken = peri_server_since_now(server); // close_s begins, if nothing is taken later
    peri_session_want_turn(session);
}

static void port_turn_soon(void *self) {
    struct peri_server *server = self;
    server->turn_asked = true;
}

// Work on other threads -----------------------------------------------------------------------

static void on_work(void *arg) {
    const struct peri_seat *seat = arg;
    seat->work->run(seat->work);
}

static void seat_works(struct peri_server *server);

static void on_worked(void *arg) {
    struct peri_seat *seat = arg;
    struct peri_work *work = seat->work;
    work->done(work);
    seat_works(seat->server);
}

/// Gives free desks to what waits.
static void seat_works(struct peri_server *server) {
    for (size_t i = 0; i < WORKS_AT_ONCE && server->works; i++) {
        struct peri_seat *seat = &server->seats[i];
        if (!peri_desk_is_taken(&seat->desk)) {
            seat->work = server->works;
            server->works = seat->work->next_;
            peri_desk_take(&seat->desk, on_work, on_worked, seat);
        }
    }
}

static void port_work(void *self, struct peri_work *work) {
    struct peri_server *server = self;
    work->next_ = NULL;
    if (server->works) {
        server->last_work->next_ = work;
    } else {
        server->works = work;
    }
    server->last_work = work;
    seat_works(server);
}

static bool is_working(const struct peri_server *server) {
    for (size_t i = 0; i < WORKS_AT_ONCE; i++) {
        if (peri_desk_is_taken(&server->seats[i].desk)) {
            return true;
        }
    }
    return false;
}

void peri_server_finish_work(struct peri_server *server) {
    while (is_working(server)) {
        (void)uv_run(&server->loop, UV_RUN_ONCE);
    }
}

static void port_news(void *self, const struct peri_news *news) {
    struct peri_server *server = self;
    if (server->options.news) {
        server->options.news(server->options.arg, news);
    }
    peri_control_stir(server);
}

struct peri_ports peri_server_ports(struct peri_server *server) {
    return (struct peri_ports){
        .self = server,
        .now_ns = port_now_ns,
        .wake_at = port_wake_at,
        .accept = port_accept,
        .respond = port_respond,
        .decline = port_decline,
        .flush = port_flush,
        .write = port_write,
        .input_wanted = port_input_wanted,
        .ended = port_ended,
        .turn_soon = port_turn_soon,
        .work = port_work,
        .news = port_news,
    };
}
