// A session: one accepted socket from its first byte to its last, whatever is spoken on it. What
// the socket is watched for, when it is read, and how it ends.
#include <assert.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/prefetch.h"
#include "net/internal.h"

// An idle connection is a session and a peri_conn: what is added here is added once a connection.
_Static_assert(sizeof(struct peri_session) - sizeof(struct peri_connection) <= 112,
               "net has 112 bytes for a connection");
_Static_assert(offsetof(struct peri_session, ws) <= PERI_CACHE_LINE,
               "what a write touches fits into a cache line");

/// False while what was read must wait: for a handler, for an answer to be written.
static bool is_reading(const struct peri_session *session) {
    switch ((enum session_stage)session->stage) {
    case SESSION_TLS: return true;
    case SESSION_HTTP: return session->http->phase == HTTP_READING;
    case SESSION_WS: return !session->paused;
    case SESSION_LINGER: return true;
    }
    return false;
}

/// Watches the socket for what the session's state asks for.
static void watch(struct peri_session *session) {
    unsigned events = 0;
    if (session->hangup || session->eof) {
        // Nothing more can be noticed, and an error would be told again and again.
    } else if (is_reading(session)) {
        events = PERI_READABLE | PERI_HANGUP; // with a backlog too: it is taken up in the next turn
    } else if (!session->left) {
        events = PERI_HANGUP; // a FIN, noticed while reading is paused; once, as it stays true
    }
    bool may_write = session->want_write && session->stage != SESSION_TLS;
    if ((may_write || peri_stream_is_full(&session->stream)) && !session->dead) {
        events |= PERI_WRITABLE;
    }
    if (events == session->watched) {
        return;
    }
    int rc = peri_poller_watch(&session->server->poller, session->stream.fd, session->watched,
                               events, session);
    session->watched = (uint8_t)events;
    if (rc != PERI_OK) {
        peri_session_close(session);
    }
}

static uint64_t due_ms(const struct peri_session *session) {
    switch ((enum session_stage)session->stage) {
    case SESSION_TLS: return session->http->since_ms + session->server->limits->head_ms;
    case SESSION_HTTP: return peri_http_due(session);
    case SESSION_WS: return peri_ws_due(session);
    case SESSION_LINGER:
        return peri_since_due(session->lingering, session->server->limits->close_ms,
                              peri_server_now(session->server));
    }
    return UINT64_MAX;
}

/// Moves the timer only when something is due earlier: one that fires too early looks again.
static void set_timer(struct peri_session *session) {
    struct peri_server *server = session->server;
    uint64_t due = due_ms(session);
    if (due != UINT64_MAX && peri_wheel_is_after(&server->wheel, &session->timer, due)) {
        peri_wheel_set(&server->wheel, &session->timer, due);
        peri_server_want_ticks(server);
    }
}

/// Where its backlog is at present.
static struct peri_backlog **backlog_of(struct peri_session *session) {
    return session->has_http ? &session->http->backlog : &session->backlog;
}

/// There may be something to read of which no event tells, and nothing is in its way.
static bool may_read(struct peri_session *session) {
    bool unread = session->unread || session->hangup || peri_stream_has_ended(&session->stream);
    return unread && !session->eof && !session->closing && is_reading(session) &&
           !*backlog_of(session);
}

/// After anything happened to the session.
static void settle(struct peri_session *session) {
    if (!session->closing) {
        watch(session);
    }
    if (!session->closing) { // nor by that
        set_timer(session);
    }
    if (may_read(session)) {
        peri_session_want_turn(session);
    }
}

void peri_session_on_timer(struct peri_session *session) {
    if (due_ms(session) <= peri_server_now(session->server)) {
        switch ((enum session_stage)session->stage) {
        case SESSION_TLS: peri_session_tls_late(session); break;
        case SESSION_HTTP: peri_http_late(session); break;
        case SESSION_WS: peri_ws_late(session); break;
        case SESSION_LINGER: peri_session_close(session); break;
        }
    }
    settle(session);
}

bool peri_budget_is_spent(struct peri_budget *budget) {
    uint64_t now = uv_hrtime();
    if (budget->until_ns == 0) {
        budget->until_ns = now + TURN_BUDGET_NS;
    }
    return now >= budget->until_ns;
}

/// Handles bytes until they are used up or must wait: for what the session waits for, or for the
/// next turn, since others want theirs.
static void feed(struct peri_session *session, struct peri_span *in) {
    struct peri_budget budget = {0};
    bool more = true;
    while (more && in->len > 0 && !session->closing && is_reading(session)) {
        switch ((enum session_stage)session->stage) {
        case SESSION_TLS: in->len = 0; break; // it brings nothing: with bytes it is done
        case SESSION_HTTP:
            peri_http_input(session, in);
            more = in->len == 0 || !peri_budget_is_spent(&budget);
            break;
        case SESSION_WS: more = peri_ws_input(session, in, &budget); break;
        case SESSION_LINGER: in->len = 0; break;
        }
    }
    if (!more) {
        peri_session_want_turn(session);
    }
}

static void feed_backlog(struct peri_session *session) {
    struct peri_backlog *backlog = *backlog_of(session);
    struct peri_span in = {backlog->bytes + backlog->at, backlog->len - backlog->at};
    feed(session, &in);
    backlog->at = backlog->len - in.len;
    if (in.len == 0) {
        peri_free(backlog);
        *backlog_of(session) = NULL; // which may have moved meanwhile
    }
}

static void keep(struct peri_session *session, const struct peri_span *in) {
    struct peri_backlog *backlog = peri_alloc(sizeof *backlog + in->len);
    if (!backlog) {
        peri_log(PERI_LOG_ERROR, "out of memory: a connection is closed");
        peri_session_close(session);
        return;
    }
    backlog->at = 0;
    backlog->len = in->len;
    memcpy(backlog->bytes, in->ptr, in->len);
    *backlog_of(session) = backlog;
}

/// There is nothing more to read: the peer's FIN, or an error.
static void on_eof(struct peri_session *session) {
    session->eof = true;
    switch ((enum session_stage)session->stage) {
    case SESSION_TLS:
    case SESSION_HTTP:
    case SESSION_LINGER: peri_session_close(session); break;
    case SESSION_WS: peri_ws_eof(session); break;
    }
}

/// Before anything else: whom the proxy says it is from. What follows is the client's.
static void read_proxy_header(struct peri_session *session, struct peri_span *in) {
    if (session->stage == SESSION_HTTP && session->http->proxy) {
        peri_client_read_proxy(session, in);
    }
}

/// What the peer sends by TLS is not understood any longer.
static void fail_tls(struct peri_session *session) {
    peri_session_tls_tell(session);
    if (session->stage == SESSION_WS) {
        session->dead = true;
        on_eof(session);
    } else {
        peri_session_linger(session); // for the alert that says so
    }
}

/// One recv.
static void read_once(struct peri_session *session) {
    struct peri_server *server = session->server;
    size_t n = 0;
    bool more = true; // but where it is known better
    peri_hub_prefetch(server->hub, session->key);
    int rc = session->stage == SESSION_TLS
                 ? peri_session_tls_read(session, &n, &more)
                 : peri_stream_read(&session->stream, server->buffer, &n, &more);
    if (rc == PERI_AGAIN && !session->hangup) {
        session->unread = false;
        return;
    }
    session->unread = more || session->fin;
    if (rc == PERI_E_PROTOCOL) {
        fail_tls(session);
        return;
    }
    if (rc == PERI_E_INVALID) {
        return; // it has its answer
    }
    if (rc != PERI_OK) {
        on_eof(session);
        return;
    }
    if (n == 0) {
        return;
    }
    session->quiet = peri_server_since_now(server);
    struct peri_span in = {server->buffer, n};
    read_proxy_header(session, &in);
    feed(session, &in);
    if (in.len > 0 && !session->closing) {
        keep(session, &in);
    }
}

/// The peer has left while reading is paused.
static void on_left(struct peri_session *session) {
    bool first = !session->left;
    session->left = true;
    switch ((enum session_stage)session->stage) {
    case SESSION_TLS: break; // it is always reading
    case SESSION_HTTP:
        // Half-closing after a request is legal, so that one is still answered.
        if (session->hangup || session->http->upgrade || session->http->phase == HTTP_STREAMING) {
            if (session->http->phase != HTTP_OPENING) {
                peri_session_close(session);
            }
        }
        break;
    case SESSION_WS:
        if (first && session->key != 0) {
            peri_hub_gone_quiet(session->server->hub, session->key);
        }
        break;
    case SESSION_LINGER: break;
    }
}

/// The peer shall know that all is said. Without a way to, it is over.
static void end_stream(struct peri_session *session) {
    if (peri_stream_end(&session->stream) < 0) {
        peri_session_close(session);
    }
}

static void on_writable(struct peri_session *session) {
    if (!peri_session_flush(session)) {
        return;
    }
    if (session->stage == SESSION_LINGER) {
        end_stream(session);
        return;
    }
    if (session->stage == SESSION_WS) {
        struct peri_conn *conn = peri_hub_attached(session->server->hub, session->key);
        if (conn) {
            peri_ws_write(session, conn);
        } else {
            session->want_write = false;
        }
        return;
    }
    session->want_write = false;
    peri_session_want_turn(session);
}

/// It has failed or the peer has reset it: what had arrived before still counts.
static void fail_socket(struct peri_session *session) {
    session->dead = session->hangup = true;
    peri_session_want_turn(session);
}

void peri_session_on_ready(void *whom, unsigned events) {
    struct peri_session *session = whom;
    events &= session->watched | PERI_FAILED; // of one look: less may be asked for by now
    if (session->closing || events == 0) {
        return;
    }
    if (events & PERI_FAILED) {
        fail_socket(session);
    }
    if (events & PERI_WRITABLE) {
        on_writable(session);
    }
    if (session->hangup) {
        // Its turn reads what there is.
    } else if (events & PERI_READABLE) {
        bool told = session->unread; // and read in its turn
        session->unread = true;
        session->fin = session->fin || events & PERI_HANGUP;
        if (!told && may_read(session)) {
            read_once(session);
            session->has_read = session->unread;
        }
    } else if (events & PERI_HANGUP) {
        on_left(session);
    }
    settle(session);
}

void peri_session_turn(struct peri_session *session) {
    if (session->stage == SESSION_HTTP) {
        peri_http_turn(session);
    } else if (session->stage == SESSION_WS) {
        peri_ws_resume(session);
    }
    if (*backlog_of(session)) {
        feed_backlog(session);
    } else if (session->server->has_polled) {
        // Once for each look, also where it is for the end: what came before that is answered first.
        if (may_read(session) && !session->has_read) {
            read_once(session);
        }
        session->has_read = false;
    }
    if (session->hangup && !session->closing && !session->eof && !is_reading(session)) {
        on_left(session);
    }
    if (session->stage == SESSION_WS && !session->closing) {
        peri_ws_finish(session);
    }
    settle(session);
}

void peri_session_want_turn(struct peri_session *session) {
    struct peri_server *server = session->server;
    if (session->closing || session->queued) {
        return;
    }
    session->queued = true;
    session->next_turn = NULL;
    if (server->turns) {
        server->last_turn->next_turn = session;
    } else {
        server->turns = session;
    }
    server->last_turn = session;
}

/// Is there a limit to how long it may take nothing? A connection whose socket is not full takes all.
static bool may_stall(const struct peri_session *session) {
    return session->want_write || session->ended || session->stage != SESSION_WS;
}

/// @return n if they were taken, 0 if the socket has failed
static size_t note_sent(struct peri_session *session, int rc, size_t n) {
    if (rc != PERI_OK) {
        fail_socket(session);
        return 0;
    }
    if (n > 0 && may_stall(session)) {
        session->taken = peri_server_since_now(session->server);
    }
    return n;
}

size_t peri_session_send(struct peri_session *session, const struct iovec *iov, int n, bool ends) {
    size_t taken = 0;
    if (session->dead || session->stage == SESSION_TLS) {
        return 0;
    }
    int rc = peri_stream_send(&session->stream, iov, n, ends, &taken);
    return note_sent(session, rc, taken);
}

bool peri_session_flush(struct peri_session *session) {
    if (!peri_stream_is_full(&session->stream) || session->dead) {
        return true;
    }
    size_t sent = 0;
    int rc = peri_tls_flush(session->stream.tls, &sent);
    (void)note_sent(session, rc, sent);
    return session->dead || !peri_stream_is_full(&session->stream);
}

ssize_t peri_session_send_file(struct peri_session *session, int file, uint64_t at, size_t n) {
    size_t taken = 0;
    if (session->dead) {
        return 0;
    }
    int rc = peri_stream_send_file(&session->stream, file, at, n, &taken);
    return rc == PERI_E_SYSTEM ? -1 : (ssize_t)note_sent(session, rc, taken);
}

/// 0 where the system can't tell.
static int unacked_bytes(const struct peri_session *session) {
    int bytes = 0;
    return ioctl(session->stream.fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

void peri_session_note_full(struct peri_session *session) {
    session->stream.unacked = unacked_bytes(session);
}

bool peri_session_has_taken(struct peri_session *session) {
    int unacked = unacked_bytes(session);
    if (unacked >= session->stream.unacked) {
        return false;
    }
    session->stream.unacked = unacked;
    session->taken = peri_server_since_now(session->server);
    return true;
}

void peri_session_linger(struct peri_session *session) {
    peri_http_drop(session);
    session->stage = SESSION_LINGER;
    peri_session_want_turn(session); // for the backlog, which may be what is handled just now
    session->want_write = false;
    session->lingering = peri_server_since_now(session->server);
    if (session->eof || session->left || session->dead) {
        peri_session_close(session);
    } else {
        end_stream(session);
    }
}

void peri_session_begin(struct peri_server *server, const struct peri_listener *listener, int fd,
                        const struct peri_ip *ip, bool refused) {
    struct peri_session *session = peri_slabs_alloc(&server->small, sizeof *session);
    if (session) {
        *session = (struct peri_session){0};
    }
    struct peri_http *http = session ? peri_http_new(server, ip) : NULL;
    struct peri_tls *tls = http && listener->tls ? peri_tls_new(server->tls, fd) : NULL;
    if (!http || (listener->tls && !tls)) {
        peri_log(PERI_LOG_ERROR, "out of memory: a connection is refused");
        if (http) {
            session->server = server;
            session->http = http;
            session->has_http = true;
            peri_http_drop(session);
        }
        peri_tls_free(tls);
        peri_slabs_free(&server->small, session, sizeof *session);
        close(fd);
        return;
    }
    session->server = server;
    session->http = http;
    session->has_http = true;
    session->stream = (struct peri_stream){.tls = tls, .fd = fd};
    session->stage = tls ? SESSION_TLS : SESSION_HTTP;
    session->quiet = session->taken = peri_server_since_now(server);
    http->since_ms = peri_server_now(server);
    peri_list_push(&server->sessions, &session->link);
    server->session_count++;
    if (refused) {
        const struct peri_field later = {PERI_STR("Retry-After"), PERI_STR("10")};
        http->close = true;
        peri_http_refuse(session, 503, "too many connections", &later);
        peri_session_want_turn(session);
    } else {
        peri_client_arrive(session, listener);
    }
    settle(session);
}

void peri_session_close(struct peri_session *session) {
    if (session->closing) {
        return;
    }
    session->closing = true;
    peri_wheel_unset(&session->server->wheel, &session->timer);
    peri_list_remove(&session->link);
    peri_list_push(&session->server->closing, &session->link);
}

void peri_session_release(struct peri_session *session) {
    assert(session->closing && !session->queued);
    peri_list_remove(&session->link);
    session->server->session_count--;
    session->server->refusals -= session->refused;
    peri_client_leave(session);
    peri_http_drop(session);
    if (session->key != 0) {
        peri_hub_detach(session->server->hub, session->key);
    }
    peri_connection_deinit(&session->ws);
    peri_free(session->backlog);
    peri_stream_deinit(&session->stream);
    peri_slabs_free(&session->server->small, session, sizeof *session);
}
