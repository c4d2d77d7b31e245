// From HTTP to WebSocket: who may, what the 101 says, and the requests that policy has been asked
// about. RFC 6455 section 4.2
#include <assert.h>

#include "base/log.h"
#include "net/internal.h"
#include "proto/extension.h"
#include "proto/handshake.h"
#include "proto/response.h"
#include "proto/text.h"

static struct peri_str exchange_name(const uint64_t *exchange) {
    return peri_str((const char *)exchange, sizeof *exchange);
}

bool peri_exchange_begin(struct peri_session *session) {
    struct peri_http *http = session->http;
    http->exchange = ++session->server->last_exchange;
    if (peri_map_put(&session->server->exchanges, exchange_name(&http->exchange), session) !=
        PERI_OK) {
        http->exchange = 0;
        peri_http_refuse(session, 503, "out of memory", NULL);
        return false;
    }
    http->phase = HTTP_WAITING;
    return true;
}

void peri_exchange_end(struct peri_session *session) {
    if (session->http->exchange != 0) {
        (void)peri_map_take(&session->server->exchanges, exchange_name(&session->http->exchange));
        session->http->exchange = 0;
    }
}

struct peri_session *peri_exchange_find(const struct peri_server *server, uint64_t exchange) {
    struct peri_session *session = peri_map_get(&server->exchanges, exchange_name(&exchange));
    return session && !session->closing ? session : NULL;
}

/// The best of the script's subprotocols that the client offered, as it lies in the request.
static struct peri_str choose_protocol(const struct peri_request *request,
                                       const struct peri_str *ours, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct peri_str offered;
        for (size_t cursor = 0; peri_handshake_next_protocol(request, &cursor, &offered);) {
            if (peri_str_equal(offered, ours[i])) {
                return offered;
            }
        }
    }
    return peri_str("", 0);
}

/// Fields of the 101 that are not a script's to set.
static bool is_of_the_handshake(struct peri_str name) {
    return peri_text_equal(name, PERI_STR("upgrade")) ||
           peri_text_equal(name, PERI_STR("connection")) ||
           peri_text_equal(name, PERI_STR("date")) ||
           peri_text_equal(name, PERI_STR("content-length")) ||
           peri_text_equal(name, PERI_STR("transfer-encoding")) ||
           (name.len >= 14 && peri_text_equal(peri_str(name.ptr, 14), PERI_STR("sec-websocket-")));
}

static void log_over_memory(const struct peri_http *http, const char *what) {
    const struct peri_log_field fields[] = {
        {"limit", PERI_STR("deflate_memory")}, {"remote", peri_str_of(http->remote)}, {0}};
    peri_log_fields(PERI_LOG_INFO, peri_str_of(what), fields);
}

/// Takes contexts for the connection, where the terms have them. One that there is no memory for
/// is not kept: the server may say so of either side. RFC 7692 section 7.1.1
static void take_contexts(struct peri_http *http, struct peri_deflate_pool *pool, unsigned bits,
                          struct peri_deflate_terms *terms) {
    bool wanted = !terms->server_no_takeover || !terms->client_no_takeover;
    if (!terms->server_no_takeover) {
        http->deflater = peri_deflater_new(pool, bits);
        terms->server_no_takeover = !http->deflater;
    }
    if (!terms->client_no_takeover) {
        unsigned client_bits = terms->client_bits ? terms->client_bits : PERI_WINDOW_MAX;
        http->inflater = peri_inflater_new(pool, client_bits);
        if (!http->inflater) {
            terms->client_no_takeover = true;
            terms->client_bits = 0;
        }
    }
    if (wanted && (terms->server_no_takeover || terms->client_no_takeover)) {
        log_over_memory(http, "a connection is compressed without a context");
    }
}

static void give_back_deflate(struct peri_http *http) {
    peri_deflater_free(http->deflater);
    peri_inflater_free(http->inflater);
    http->deflater = NULL;
    http->inflater = NULL;
}

/// Agrees on permessage-deflate. RFC 7692 section 5
/// @return false: nothing will be compressed
static bool agree_on_deflate(const struct peri_session *session, struct peri_deflate_terms *terms) {
    struct peri_http *http = session->http;
    const struct peri_limits *limits = session->server->limits;
    const struct peri_request *request = http->request;
    const struct peri_deflate_wishes wishes = {
        .window = (uint8_t)limits->deflate_window, // 9 to 15
        .server_takeover = limits->deflate_takeover,
        .client_takeover = limits->deflate_takeover,
    };
    if (!limits->deflate ||
        peri_deflate_choose(request->fields, request->field_count, &wishes, terms) != PERI_OK) {
        return false;
    }
    struct peri_deflate_pool *pool = peri_hub_deflate_pool(session->server->hub);
    unsigned bits = terms->server_bits ? terms->server_bits : wishes.window;
    take_contexts(http, pool, bits, terms);
    if (terms->server_no_takeover) {
        http->deflater = peri_deflater_shared(pool, bits);
    }
    if (terms->client_no_takeover) {
        http->inflater = peri_inflater_shared(pool);
    }
    if (!http->deflater || !http->inflater) {
        log_over_memory(http, "a connection is not compressed");
        give_back_deflate(http);
        return false;
    }
    return true;
}

static int write_extension(struct peri_buffer *out, const struct peri_deflate_terms *terms) {
    struct peri_buffer value = {0};
    int rc = peri_deflate_print(terms, false, &value);
    if (rc == PERI_OK) {
        rc =
            peri_response_field(out, PERI_STR("Sec-WebSocket-Extensions"), peri_buffer_str(&value));
    }
    peri_buffer_deinit(&value);
    return rc;
}

static int write_accept(const struct peri_session *session,
                        const struct peri_acceptance *acceptance) {
    struct peri_http *http = session->http;
    struct peri_deflate_terms terms;
    int rc = peri_handshake_accept(&http->out, http->request, http->protocol);
    if (rc == PERI_OK && agree_on_deflate(session, &terms)) {
        rc = write_extension(&http->out, &terms);
    }
    for (size_t i = 0; rc == PERI_OK && i < acceptance->field_count; i++) {
        const struct peri_field *field = &acceptance->fields[i];
        if (!is_of_the_handshake(field->name)) {
            rc = peri_response_field(&http->out, field->name, field->value);
        }
    }
    return rc == PERI_OK ? peri_response_end(&http->out) : rc;
}

void peri_http_accept(struct peri_session *session, const struct peri_acceptance *acceptance) {
    struct peri_http *http = session->http;
    const struct peri_policy *policy = session->server->policy;
    const struct peri_traits *traits = policy->traits(policy->self, http->script);
    http->protocol =
        acceptance->protocol.len > 0
            ? choose_protocol(http->request, &acceptance->protocol, 1)
            : choose_protocol(http->request, traits->protocols, traits->protocol_count);
    if (write_accept(session, acceptance) != PERI_OK) {
        http->out.len = 0;
        give_back_deflate(http);
        peri_http_refuse(session, 500, "the handshake could not be written", NULL);
        return;
    }
    http->phase = HTTP_OPENING;
}

void peri_http_upgrade(struct peri_session *session, bool found) {
    struct peri_http *http = session->http;
    const struct peri_server *server = session->server;
    const struct peri_policy *policy = server->policy;
    struct peri_refusal refusal = {0};
    if (peri_handshake_check(http->request, &refusal) != PERI_OK) {
        peri_http_refuse(session, refusal.status, refusal.why, &refusal.field);
        return;
    }
    if (!found) {
        peri_http_refuse(session, 404, "nothing is here", NULL);
        return;
    }
    const struct peri_traits *traits = policy->traits(policy->self, http->script);
    if (!policy->admits(policy->self, http->script)) {
        peri_http_refuse(session, 503, "the script is not ready", NULL);
    } else if (!traits->has_upgrade && !traits->has_open && !traits->has_message) {
        peri_http_refuse(session, 404, "no WebSocket is here", NULL);
    } else if (!peri_handshake_origin_allowed(http->request,
                                              peri_str_of(server->limits->origins))) {
        peri_http_refuse(session, 403, "pages of this origin may not connect (origins)", NULL);
    } else if (!traits->has_upgrade) {
        peri_http_accept(session, &(struct peri_acceptance){0});
    } else if (peri_exchange_begin(session)) {
        policy->upgrade(policy->self, http->script, http->exchange, http->request, http->params,
                        peri_str_of(http->remote));
    }
}

static uint32_t to_u32(uint64_t n) {
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

void peri_http_open(struct peri_session *session) {
    struct peri_http *http = session->http;
    const struct peri_policy *policy = session->server->policy;
    const struct peri_limits *limits = policy->traits(policy->self, http->script)->limits;
    session->ws.role = PERI_SERVER;
    session->ws.max_message_bytes = to_u32(limits->message_bytes);
    session->ws.max_fragments = to_u32(limits->fragments);
    session->ws.inflater = http->inflater;
    http->inflater = NULL; // the session's
    session->stage = SESSION_WS;
    session->quiet = session->taken = peri_server_since_now(session->server);
    (void)peri_http_write(session); // the 101 first: `open` may send at once

    const struct peri_opening opening = {
        .script = http->script,
        .transport = session,
        .exchange = http->opened,
        .request = http->request,
        .params = http->params,
        .protocol = http->protocol,
        .remote = peri_str_of(http->remote),
        .deflater = http->deflater,
    };
    int rc = peri_hub_open(session->server->hub, &opening, &session->key);
    if (rc != PERI_OK) {
        peri_log(PERI_LOG_ERROR, "out of memory: a connection is not opened");
        peri_session_close(session);
        return;
    }
    http->params = NULL; // transferred
    http->deflater = NULL;
    http->phase = HTTP_REPLYING;
    if (http->out.len == 0) {
        peri_http_drop(session);
    }
    if (session->ended) {
        peri_session_want_turn(session);
    }
}
