// Whose a session is: whom the socket is from, whom a trusted proxy says it is from, and what that
// address may still have. A client of a trusted proxy is counted once it is known, and the proxy
// itself never, unless it says nobody.
#include <assert.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/internal.h"
#include "proto/forwarded.h"

enum { REFUSALS_AT_ONCE = 128 }; ///< that are told why; others are just closed

static const struct peri_ip_set *trusted(const struct peri_session *session) {
    return &session->server->options.trusted_proxies;
}

static bool counts(const struct peri_limits *limits) {
    return limits->address_connections > 0 || limits->address_handshakes > 0 ||
           limits->address_messages > 0;
}

static void set_client(struct peri_session *session, const struct peri_ip *ip) {
    peri_ip_print(session->http->remote, ip);
}

static void on_forget(uv_timer_t *timer) {
    struct peri_server *server = timer->data;
    if (peri_addresses_forget(&server->uses, peri_server_now(server))) {
        (void)uv_timer_start(timer, on_forget, PERI_ADDRESS_FORGET_MS, 0);
    }
}

void peri_client_leave(struct peri_session *session) {
    struct peri_server *server = session->server;
    if (!session->use) {
        return;
    }
    peri_addresses_leave(&server->uses, session->use, peri_server_now(server));
    session->use = NULL;
    if (!uv_is_active((uv_handle_t *)&server->forget)) {
        (void)uv_timer_start(&server->forget, on_forget, PERI_ADDRESS_FORGET_MS, 0);
    }
}

/// Has the session count for an address.
/// @return PERI_OK; PERI_E_LIMIT; PERI_E_MEMORY
static int enter(struct peri_session *session, const struct peri_ip *ip) {
    struct peri_server *server = session->server;
    assert(!session->use);
    return counts(server->limits)
               ? peri_addresses_enter(&server->uses, ip, server->limits->address_connections,
                                      peri_server_now(server), &session->use)
               : PERI_OK;
}

static const struct peri_field later = {{"Retry-After", 11}, {"10", 2}};

/// Why enter() has found no room.
static const char *why_not(int rc) {
    return rc == PERI_E_LIMIT ? "too many connections from this address (address_connections)"
                              : "out of memory";
}

/// A session that is not wanted is told so, and ends. Where many are, the next just end.
static void turn_away(struct peri_session *session, int status, const char *why) {
    struct peri_server *server = session->server;
    if (server->refusals >= REFUSALS_AT_ONCE) {
        peri_log(PERI_LOG_WARN, "connections are closed without an answer: %s", why);
        peri_session_close(session);
        return;
    }
    server->refusals++;
    session->refused = session->http->close = true;
    peri_http_refuse(session, status, why, status == 503 ? &later : NULL);
    peri_session_want_turn(session);
}

void peri_client_arrive(struct peri_session *session, const struct peri_listener *listener) {
    struct peri_http *http = session->http;
    int rc = PERI_OK;
    http->trusted = peri_ip_set_has(trusted(session), &http->peer);
    if (listener->proxy && !http->trusted) {
        turn_away(session, 400, "only trusted proxies may connect here (trusted_proxies)");
        return;
    }
    if (listener->proxy) {
        http->proxy = peri_calloc(1, sizeof *http->proxy);
        rc = http->proxy ? PERI_OK : PERI_E_MEMORY;
    } else if (!http->trusted) {
        rc = enter(session, &http->peer);
    }
    if (rc != PERI_OK) {
        turn_away(session, 503, why_not(rc));
    }
}

void peri_client_read_proxy(struct peri_session *session, struct peri_span *in) {
    struct peri_http *http = session->http;
    struct peri_ip source;
    int rc = peri_proxy_header_feed(http->proxy, in, &source);
    if (rc == PERI_AGAIN) {
        return;
    }
    peri_free(http->proxy);
    http->proxy = NULL;
    if (rc != PERI_OK) {
        turn_away(session, 400, "no header of the PROXY protocol, or a malformed one");
        return;
    }
    if (source.family != PERI_IP_NONE) {
        http->peer = source;
        set_client(session, &source);
    }
    // Such a proxy passes the fields of requests on as they come. They count only where its own
    // peer is one that is trusted; who "unix" is on its machine is not known here.
    http->trusted = source.family != PERI_IP_UNIX && source.family != PERI_IP_NONE &&
                    peri_ip_set_has(trusted(session), &source);
    rc = http->trusted ? PERI_OK : enter(session, &http->peer);
    if (rc != PERI_OK) {
        turn_away(session, 503, why_not(rc));
    }
}

bool peri_client_admit(struct peri_session *session) {
    struct peri_http *http = session->http;
    const struct peri_server *server = session->server;
    if (http->trusted) {
        struct peri_ip client = http->peer;
        if (peri_forwarded_find(http->request, trusted(session), &client) ==
            PERI_FORWARDED_DISPUTED) {
            const struct peri_log_field remote[] = {{"remote", peri_str_of(http->remote)}, {0}};
            peri_log_fields(PERI_LOG_WARN,
                            PERI_STR("Forwarded and X-Forwarded-For name different clients, so "
                                     "neither counts: have the proxy remove the one that it does "
                                     "not write"),
                            remote);
        }
        set_client(session, &client);
        int rc = enter(session, &client);
        if (rc != PERI_OK) {
            peri_http_refuse(session, 503, why_not(rc), &later);
            return false;
        }
    }
    if (http->upgrade && session->use &&
        !peri_rate_allow(&session->use->handshakes, server->limits->address_handshakes,
                         peri_server_now(server))) {
        const struct peri_field soon = {PERI_STR("Retry-After"), PERI_STR("1")};
        peri_http_refuse(session, 503, "too many handshakes from this address (address_handshakes)",
                         &soon);
        return false;
    }
    return true;
}

void peri_client_answered(struct peri_session *session) {
    if (session->http->trusted) {
        peri_client_leave(session);
        set_client(session, &session->http->peer);
    }
}

bool peri_client_may_send(struct peri_session *session) {
    const struct peri_server *server = session->server;
    return !session->use ||
           peri_rate_allow(&session->use->messages, server->limits->address_messages,
                           peri_server_now(server));
}
