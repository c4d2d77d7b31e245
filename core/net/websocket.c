// A session as a WebSocket: frames to the hub, outboxes to the socket, pings, and the close
// handshake's last steps. RFC 6455 sections 5.5 and 7
#include <assert.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "net/internal.h"

/// Messages on their way to the hub.
struct batch {
    struct peri_event *events;
    size_t n;
    size_t room; ///< how many the hub takes
};

/// How many messages may be collected. One that has ended takes and drops them all.
static size_t room_of(const struct peri_session *session) {
    size_t room =
        session->ended ? BATCH_EVENTS : peri_hub_input_room(session->server->hub, session->key);
    return room < BATCH_EVENTS ? room : BATCH_EVENTS;
}

static void give(struct peri_session *session, struct batch *batch) {
    if (batch->n > 0 && !session->ended) {
        // Closed by now: the rest is read for its Close frame only, as session->ended says.
        (void)!peri_hub_messages(session->server->hub, session->key, batch->events, batch->n);
    }
    batch->n = 0;
    batch->room = room_of(session);
}

static void log_end(const struct peri_session *session, enum peri_log_level level, const char *what,
                    int code, const char *why) {
    const struct peri_conn *conn = peri_hub_attached(session->server->hub, session->key);
    char digits[8];
    (void)snprintf(digits, sizeof digits, "%d", code);
    const struct peri_log_field fields[] = {
        {"code", peri_str_of(digits)},
        {"why", peri_str_of(why)},
        {"remote", conn ? peri_conn_remote(conn) : peri_str_of("?")},
        {0},
    };
    peri_log_fields(level, peri_str_of(what), fields);
}

/// The peer broke the protocol: after our Close frame nothing that it sends counts.
static void fail(struct peri_session *session, int code, const char *why) {
    session->failed = true;
    if (!session->ended) {
        log_end(session, PERI_LOG_INFO, "connection failed", code, why);
    }
    peri_hub_end(session->server->hub, session->key, PERI_END_HOST, code, peri_str_of(why));
    peri_session_want_turn(session);
}

/// What a ping carries, and its pong: only who has read the ping knows it.
static uint64_t proof_of(const struct peri_session *session) {
    const uint64_t ping[] = {session->key, session->ping.us_};
    return peri_hash(ping, sizeof ping);
}

static void on_pong(struct peri_session *session, struct peri_str payload) {
    uint64_t proof = proof_of(session);
    if (!peri_ping_is_out(session->ping) || payload.len != sizeof proof ||
        memcmp(payload.ptr, &proof, sizeof proof) != 0) {
        return; // unsolicited, or late. RFC 6455 section 5.5.3
    }
    uint32_t us = peri_ping_rtt(session->ping, uv_hrtime());
    session->ping = (struct peri_ping){0};
    peri_hub_set_rtt(session->server->hub, session->key, us);
}

static void on_control(struct peri_session *session, const struct peri_event *event) {
    struct peri_hub *hub = session->server->hub;
    switch (event->kind) {
    case PERI_EV_PING: peri_hub_pong(hub, session->key, event->payload); break;
    case PERI_EV_PONG: on_pong(session, event->payload); break;
    case PERI_EV_CLOSE:
        session->peer_closed = true;
        peri_hub_end(hub, session->key, PERI_END_PEER, event->close_code, event->payload);
        peri_session_want_turn(session);
        break;
    case PERI_EV_TEXT:
    case PERI_EV_BINARY: assert(false); break;
    }
}

bool peri_ws_input(struct peri_session *session, struct peri_span *in, struct peri_budget *budget) {
    struct batch batch = {.events = session->server->events, .room = room_of(session)};
    while (!session->failed && !session->peer_closed) {
        if (batch.room == 0) {
            session->paused = true;
            return true;
        }
        struct peri_event *event = &batch.events[batch.n];
        int rc = peri_connection_next(&session->ws, in, event);
        if (rc != PERI_OK) {
            give(session, &batch);
            if (rc == PERI_AGAIN) {
                session->paused = batch.room == 0;
                return true;
            }
            fail(session, rc == PERI_E_PROTOCOL ? session->ws.error_code : 1011,
                 rc == PERI_E_PROTOCOL ? session->ws.error_text : "out of memory");
        } else if (event->kind == PERI_EV_TEXT || event->kind == PERI_EV_BINARY) {
            if (!session->ended && !peri_client_may_send(session)) {
                give(session, &batch);
                fail(session, 1008, "too many messages from this address (address_messages)");
                continue;
            }
            batch.n++;
            if (batch.n == batch.room || !event->in_input) {
                give(session, &batch);
                if (in->len > 0 && batch.room > 0 && peri_budget_is_spent(budget)) {
                    return false;
                }
            }
        } else {
            struct peri_event control = *event;
            give(session, &batch);
            on_control(session, &control);
        }
    }
    in->len = 0;
    return true;
}

void peri_ws_eof(struct peri_session *session) {
    peri_hub_end(session->server->hub, session->key, PERI_END_LOST, 1006, PERI_STR(""));
    peri_session_want_turn(session);
}

/// What a 101 left unwritten goes first. @return true when nothing of it is left
static bool write_head(struct peri_session *session) {
    if (!session->has_http) {
        return true;
    }
    if (!peri_http_write(session)) {
        return false;
    }
    if (session->http->phase != HTTP_OPENING) {
        peri_http_drop(session);
    }
    return true;
}

/// Nothing more is sent or waited for once what is queued is written: after both Close frames the server
/// closes first. RFC 6455 section 7.1.1
static bool is_over(const struct peri_session *session) {
    return session->ended && (!session->handshake || session->peer_closed || session->failed);
}

void peri_ws_write(struct peri_session *session, struct peri_conn *conn) {
    struct peri_hub *hub = session->server->hub;
    struct peri_outbox *outbox = peri_conn_outbox(conn);
    bool was_blocked = session->want_write;
    bool blocked = false;
    while (!blocked && !peri_outbox_is_empty(outbox)) {
        if (session->dead) { // swallowed, so that nothing waits for it to drain
            peri_hub_lost(hub, session->key);
            peri_hub_written(hub, conn, outbox->bytes, false);
            break;
        }
        struct iovec iov[WRITE_VECTORS];
        int n = peri_outbox_peek(outbox, iov, WRITE_VECTORS);
        size_t offered = 0;
        for (int i = 0; i < n; i++) {
            offered += iov[i].iov_len;
        }
        bool ends = is_over(session) && offered == outbox->bytes;
        size_t taken = write_head(session) ? peri_session_send(session, iov, n, ends) : 0;
        if (session->dead) {
            continue;
        }
        blocked = taken < offered || peri_stream_is_full(&session->stream);
        peri_hub_written(hub, conn, taken, blocked);
    }
    if (!session->dead && !blocked) {
        blocked = !(write_head(session) && peri_session_flush(session));
    }
    session->want_write = blocked;
    if (blocked) {
        peri_session_note_full(session);
        if (!was_blocked) {
            session->taken = peri_server_since_now(session->server);
        }
    }
    if (session->want_write != was_blocked) {
        session->quiet = peri_server_since_now(session->server); // no pong could come meanwhile
        peri_session_want_turn(session);
    }
    if (session->ended && !session->want_write) {
        peri_session_want_turn(session);
    }
}

void peri_ws_resume(struct peri_session *session) {
    struct peri_conn *conn = peri_hub_attached(session->server->hub, session->key);
    if (conn && session->dead) {
        peri_ws_write(session, conn);
    }
    if (session->paused && room_of(session) > 0) {
        session->paused = false;
        session->quiet = peri_server_since_now(session->server); // the pong clock stood
    }
}

void peri_ws_finish(struct peri_session *session) {
    struct peri_conn *conn = peri_hub_attached(session->server->hub, session->key);
    bool written = !conn || (peri_outbox_is_empty(peri_conn_outbox(conn)) &&
                             !peri_stream_is_full(&session->stream));
    if (!session->ended || (!session->dead && (session->has_http || !written))) {
        return;
    }
    if (session->eof || session->dead) {
        peri_session_close(session);
    } else if (is_over(session)) {
        peri_session_linger(session);
    }
}

uint64_t peri_ws_due(const struct peri_session *session) {
    const struct peri_limits *limits = session->server->limits;
    uint64_t now = peri_server_now(session->server);
    if (session->ended) {
        // While what was sent before goes out, the handshake has not begun.
        return peri_since_due(session->taken, limits->close_ms, now);
    }
    if (session->dead) {
        return UINT64_MAX; // it has its turn, and is late no second time
    }
    if (session->want_write) {
        return peri_since_due(session->taken, limits->stall_ms, now);
    }
    if (session->paused || session->left) {
        return UINT64_MAX;
    }
    return peri_since_due(session->quiet,
                          peri_ping_is_out(session->ping) ? limits->pong_ms : limits->ping_ms, now);
}

void peri_ws_late(struct peri_session *session) {
    if (session->want_write && peri_session_has_taken(session)) {
        return;
    }
    if (session->ended) {
        const struct peri_conn *conn = peri_hub_attached(session->server->hub, session->key);
        const struct peri_log_field remote[] = {
            {"remote", conn ? peri_conn_remote(conn) : peri_str_of("?")}, {0}};
        peri_log_fields(PERI_LOG_INFO, PERI_STR("no end of the close handshake (close_s)"), remote);
        peri_session_close(session);
        return;
    }
    if (!session->want_write && !peri_ping_is_out(session->ping)) {
        session->ping = peri_ping(uv_hrtime());
        session->quiet = peri_server_since_now(session->server);
        uint64_t proof = proof_of(session);
        peri_hub_ping(session->server->hub, session->key,
                      peri_str((const char *)&proof, sizeof proof));
        return;
    }
    log_end(session, PERI_LOG_INFO, "connection lost", 1006,
            session->want_write ? "it takes nothing (stall_s)" : "no pong (pong_s)");
    // It ends here and now: who floods and never reads must not be heard for as long as it sends.
    session->dead = session->hangup = true;
    peri_hub_end(session->server->hub, session->key, PERI_END_LOST, 1006, PERI_STR(""));
    peri_session_want_turn(session);
}
