// The feed: one stream of events to many pages (Server-Sent Events), as answers that do not end. Its
// clients are few, each with a bound on what waits for it: whoever is cut off comes back, and is
// greeted anew.
#include "net/internal.h"

#include "proto/handshake.h"

enum {
    CLIENTS_MAX = 64,
    WAITING_MAX = 64 * 1024, ///< bytes that a client has not taken
    QUIET_MS = 15000,        ///< between two signs of life, so that who is gone is found
};

bool peri_feed_is_asked_for(const struct peri_session *session) {
    const struct peri_feed *feed = &session->server->options.feed;
    return feed->path.len > 0 && !session->http->upgrade &&
           peri_str_equal(feed->path, session->http->request->path);
}

/// Pages of others may not listen. A browser that sends no Origin says by Sec-Fetch-Site whose page
/// it is: an image's address would take a place otherwise.
static bool is_of_this_host(const struct peri_session *session) {
    const struct peri_request *request = session->http->request;
    struct peri_str site;
    if (peri_request_field(request, PERI_STR("origin"), &site)) {
        return peri_handshake_origin_allowed(request,
                                             peri_str_of(session->server->limits->origins));
    }
    return !peri_request_field(request, PERI_STR("sec-fetch-site"), &site) ||
           peri_str_equal(site, PERI_STR("same-origin")) || peri_str_equal(site, PERI_STR("none"));
}

void peri_feed_begin(struct peri_session *session) {
    struct peri_server *server = session->server;
    const struct peri_feed *feed = &server->options.feed;
    struct peri_buffer greeting = {0};
    if (!is_of_this_host(session)) {
        peri_http_refuse(session, 403, "pages of this origin may not listen (origins)", NULL);
    } else if (server->feed_count >= CLIENTS_MAX) {
        const struct peri_field later = {PERI_STR("Retry-After"), PERI_STR("10")};
        peri_http_refuse(session, 503, "too many pages listen", &later);
    } else if (feed->greet(feed->self, &greeting) != PERI_OK) {
        peri_http_refuse(session, 503, "out of memory", NULL);
    } else {
        peri_http_reply_stream(session, PERI_STR("text/event-stream"), peri_buffer_str(&greeting));
        if (session->http->phase == HTTP_STREAMING) {
            peri_list_push(&server->feed, &session->http->feed);
            server->feed_count++;
        }
    }
    peri_buffer_deinit(&greeting);
}

void peri_feed_leave(struct peri_session *session) {
    if (!peri_list_is_empty(&session->http->feed)) {
        peri_list_remove(&session->http->feed);
        session->server->feed_count--;
    }
}

/// @param session its http is streaming
static void say(struct peri_session *session, struct peri_str text) {
    struct peri_http *http = session->http;
    uint64_t now = peri_server_now(session->server);
    if (http->out.len == 0) {
        session->taken = peri_since(now); // from here on it may stall
    }
    http->since_ms = now;
    if (http->out.len + text.len > WAITING_MAX ||
        peri_buffer_append_str(&http->out, text) != PERI_OK) {
        peri_session_close(session);
    } else {
        peri_session_want_turn(session);
    }
}

static struct peri_session *session_of(const struct peri_list *at) {
    return PERI_CONTAINER(at, struct peri_http, feed)->session;
}

void peri_server_publish(struct peri_server *server, struct peri_str event) {
    for (struct peri_list *at = server->feed.next, *next; at != &server->feed; at = next) {
        next = at->next;
        if (!session_of(at)->closing) {
            say(session_of(at), event);
        }
    }
}

uint64_t peri_feed_due(const struct peri_session *session) {
    const struct peri_http *http = session->http;
    const struct peri_server *server = session->server;
    return http->out.len > 0
               ? peri_since_due(session->taken, server->limits->stall_ms, peri_server_now(server))
               : http->since_ms + QUIET_MS;
}

void peri_feed_late(struct peri_session *session) {
    if (session->http->out.len == 0) {
        say(session, PERI_STR(":\n\n")); // a comment
    } else if (!peri_session_has_taken(session)) {
        peri_session_close(session);
    }
}

void peri_feed_end(struct peri_server *server) {
    for (const struct peri_list *at = server->feed.next; at != &server->feed; at = at->next) {
        peri_session_close(session_of(at)); // the sweep takes it off the list
    }
}
