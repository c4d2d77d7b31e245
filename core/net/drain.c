// The host's end: new requests get 503, live connections 1001 over drain_s, and at drain_stop_s it
// is over.
#include "base/log.h"
#include "net/internal.h"
#include "net/service.h"

enum {
    DRAIN_TICK_MS = 50,
    DRAIN_AT_LEAST = 64, ///< connections told at a tick: few are told at once
};

/// Idle since before the drain: who came later is about to ask, and gets the 503.
static bool is_idle(const struct peri_session *session) {
    const struct peri_http *http = session->http;
    return session->stage == SESSION_HTTP && http->phase == HTTP_READING &&
           http->parsing == PERI_REQUEST_IDLE && http->since_ms < session->server->drain_began_ms;
}

/// Tells up to n connections, those first that have been told least recently: never.
static void tell(struct peri_server *server, uint64_t n) {
    struct peri_list *end = server->sessions.prev;
    for (struct peri_list *at = server->sessions.next, *next; n > 0; at = next) {
        struct peri_session *session = PERI_CONTAINER(at, struct peri_session, link);
        next = at->next;
        if (at == &server->sessions) {
            return;
        }
        if (is_idle(session)) {
            peri_session_close(session);
        } else if (session->stage == SESSION_WS && session->key != 0 && !session->told) {
            session->told = true;
            peri_list_remove(&session->link);
            peri_list_push(&server->sessions, &session->link);
            peri_hub_end(server->hub, session->key, PERI_END_HOST, 1001,
                         PERI_STR("the host is stopping"));
            server->drain_told++;
            n--;
        }
        if (at == end) {
            return;
        }
    }
}

/// True when nobody is left who was here, or who is still being answered.
static bool is_over(const struct peri_server *server) {
    if (peri_hub_count(server->hub) > 0 || server->exchanges.count > 0) {
        return false;
    }
    for (const struct peri_list *at = server->sessions.next; at != &server->sessions;
         at = at->next) {
        const struct peri_session *session = PERI_CONTAINER(at, struct peri_session, link);
        if (session->stage == SESSION_WS ||
            (session->stage == SESSION_HTTP && session->http->phase != HTTP_READING)) {
            return false;
        }
    }
    return true;
}

static void on_drain(uv_timer_t *timer) {
    struct peri_server *server = timer->data;
    uint64_t elapsed = peri_server_now(server) - server->drain_began_ms;
    bool over = is_over(server);
    if (over || elapsed >= server->limits->drain_stop_ms) {
        if (!over) {
            peri_log(PERI_LOG_WARN, "what is left is cut off (drain_stop_s): %zu connections",
                     server->session_count);
        }
        uv_stop(&server->loop);
        return;
    }
    uint64_t over_ms = server->limits->drain_ms;
    uint64_t share = over_ms <= elapsed
                         ? UINT64_MAX
                         : server->session_count * DRAIN_TICK_MS / (over_ms - elapsed) + 1;
    tell(server, share > DRAIN_AT_LEAST ? share : DRAIN_AT_LEAST);
}

void peri_server_drain(struct peri_server *server) {
    server->draining = true;
    peri_feed_end(server);
    peri_service_notify("STOPPING=1");
    server->drain_began_ms = peri_server_now(server);
    (void)uv_timer_start(&server->drain, on_drain, 0, DRAIN_TICK_MS);
}
