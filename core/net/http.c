// A session as HTTP: one request at a time, from its first byte to its answer's last. Which of
// script, file and refusal answers.
#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/internal.h"
#include "proto/handshake.h"

static uint32_t to_u32(uint64_t n) {
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

struct peri_http *peri_http_new(struct peri_server *server, const struct peri_ip *ip) {
    const struct peri_request_limits limits = {
        .head_bytes = to_u32(server->limits->head_bytes),
        .head_fields = to_u32(server->limits->head_fields),
        .body_bytes = to_u32(server->limits->body_bytes),
    };
    struct peri_http *http = peri_calloc(1, sizeof *http);
    if (!http) {
        return NULL;
    }
    http->file = -1;
    peri_list_init(&http->feed);
    http->peer = *ip;
    peri_ip_print(http->remote, ip);
    http->parser = peri_request_parser_new(&limits);
    if (!http->parser) {
        peri_free(http);
        return NULL;
    }
    return http;
}

/// Forgets the present request.
static void end_request(struct peri_session *session) {
    struct peri_http *http = session->http;
    peri_exchange_end(session);
    peri_request_unref(http->request);
    peri_params_unref(http->params);
    http->request = NULL;
    http->params = NULL;
    http->script = 0;
    session->server->answer_bytes -= http->counted;
    http->counted = 0;
    if (http->file >= 0) {
        close(http->file);
        http->file = -1;
    }
    http->part.n = 0;
    http->upgrade = http->head = false;
}

void peri_http_drop(struct peri_session *session) {
    if (!session->has_http) {
        return;
    }
    struct peri_http *http = session->http;
    if (http->opened != 0 && session->key == 0) {
        const struct peri_policy *policy = session->server->policy;
        policy->abandon(policy->self, http->script, http->opened);
    }
    end_request(session);
    peri_feed_leave(session);
    peri_request_parser_free(http->parser);
    peri_buffer_deinit(&http->out);
    peri_free(http->proxy);
    peri_deflater_free(http->deflater);
    peri_inflater_free(http->inflater);
    session->has_http = false;
    session->backlog = http->backlog;
    peri_free(http);
}

/// The traits of the request's script; NULL without a route.
static const struct peri_traits *traits_of(const struct peri_session *session) {
    const struct peri_policy *policy = session->server->policy;
    return session->http->script == 0 ? NULL : policy->traits(policy->self, session->http->script);
}

static void redirect_to_folder(struct peri_session *session) {
    const struct peri_request *request = session->http->request;
    struct peri_buffer location = {0};
    int rc = peri_buffer_append_str(&location, request->path);
    if (rc == PERI_OK) {
        rc = peri_buffer_printf(&location, "/%s%.*s", request->query.len > 0 ? "?" : "",
                                (int)request->query.len, request->query.ptr);
    }
    const struct peri_field field = {PERI_STR("Location"), peri_buffer_str(&location)};
    const struct peri_reply reply = {.status = 301, .fields = &field, .field_count = 1};
    if (rc == PERI_OK) {
        peri_http_reply(session, &reply);
    } else {
        peri_http_refuse(session, 503, "out of memory", NULL);
    }
    peri_buffer_deinit(&location);
}

/// Files and assets can be read only. @return false when that was said
static bool check_reading(struct peri_session *session) {
    if (session->http->head || peri_str_equal(session->http->request->method, PERI_STR("GET"))) {
        return true;
    }
    const struct peri_field allow = {PERI_STR("Allow"), PERI_STR("GET, HEAD")};
    peri_http_refuse(session, 405, "a file can be read only", &allow);
    return false;
}

/// @return true when an asset has answered, or why it can't
static bool serve_asset(struct peri_session *session) {
    const struct peri_server_options *options = &session->server->options;
    for (size_t i = 0; i < options->asset_count; i++) {
        if (peri_str_equal(options->assets[i].path, session->http->request->path)) {
            if (check_reading(session)) {
                peri_http_reply_asset(session, &options->assets[i]);
            }
            return true;
        }
    }
    return false;
}

/// @return true when a file has answered, or why there is none
static bool serve_file(struct peri_session *session) {
    const char *dir = session->server->options.public_dir;
    const struct peri_request *request = session->http->request;
    struct peri_file file;
    int rc =
        dir ? peri_file_open(&file, dir, request->path, peri_accepts_gzip(request)) : PERI_AGAIN;
    if (rc == PERI_AGAIN) {
        return false;
    }
    if (rc == PERI_E_EXISTS) {
        redirect_to_folder(session);
    } else if (rc != PERI_OK) {
        peri_http_refuse(session, rc == PERI_E_MEMORY ? 503 : 500, "the file can't be read", NULL);
    } else if (!check_reading(session)) {
        close(file.fd);
    } else {
        peri_http_reply_file(session, &file);
    }
    return true;
}

void peri_http_fall_through(struct peri_session *session) {
    const struct peri_policy *policy = session->server->policy;
    uint32_t script = session->http->script;
    if (serve_file(session) || serve_asset(session)) {
        return;
    }
    if (script == 0) {
        peri_http_refuse(session, 404, "nothing is here", NULL);
    } else if (!policy->admits(policy->self, script)) {
        peri_http_refuse(session, 503, "the script is not ready", NULL);
    } else {
        peri_http_refuse(session, 426, "a WebSocket is here", NULL);
    }
}

static void plain(struct peri_session *session) {
    struct peri_http *http = session->http;
    const struct peri_policy *policy = session->server->policy;
    const struct peri_traits *traits = traits_of(session);
    if (!traits || !traits->has_request) {
        peri_http_fall_through(session);
    } else if (!policy->admits(policy->self, http->script)) {
        peri_http_refuse(session, 503, "the script is not ready", NULL);
    } else if (http->request->body.len > traits->limits->body_bytes) {
        peri_http_refuse(session, 413, "the body is too large (body_bytes)", NULL);
    } else if (peri_exchange_begin(session)) {
        policy->request(policy->self, http->script, http->exchange, http->request, http->params,
                        peri_str_of(http->remote));
    }
}

/// A request is whole: who answers?
static void route(struct peri_session *session) {
    struct peri_http *http = session->http;
    http->upgrade = peri_handshake_is_upgrade(http->request);
    http->head = peri_str_equal(http->request->method, PERI_STR("HEAD"));
    http->since_ms = peri_server_now(session->server);
    if (!peri_client_admit(session)) {
        return;
    }
    int rc = peri_router_match(session->server->options.router, http->request->path, &http->script,
                               &http->params);
    if (rc != PERI_OK && rc != PERI_AGAIN) {
        bool memory = rc == PERI_E_MEMORY;
        peri_http_refuse(session, memory ? 503 : 400, memory ? "out of memory" : "malformed path",
                         NULL);
    } else if (session->server->draining) {
        const struct peri_field later = {PERI_STR("Retry-After"), PERI_STR("10")};
        peri_http_refuse(session, 503, "the host is stopping", &later);
    } else if (peri_feed_is_asked_for(session)) {
        if (check_reading(session)) {
            peri_feed_begin(session);
        }
    } else if (http->upgrade) {
        peri_http_upgrade(session, rc == PERI_OK);
    } else {
        plain(session);
    }
}

/// Where a body goes is known before it has come: what is too much for the script is not read.
static int limit_body(const struct peri_session *session) {
    const struct peri_server *server = session->server;
    const struct peri_policy *policy = server->policy;
    struct peri_request_parser *parser = session->http->parser;
    uint32_t script = 0;
    struct peri_params *params = NULL;
    int rc = peri_router_match(server->options.router, peri_request_parser_head(parser)->path,
                               &script, &params);
    peri_params_unref(params);
    if (rc != PERI_OK) {
        return PERI_OK; // said when the request is whole
    }
    const struct peri_traits *traits = policy->traits(policy->self, script);
    return traits->has_request ? peri_request_parser_limit_body(parser, traits->limits->body_bytes)
                               : PERI_OK;
}

/// The parser's clocks: a head from accept or its first byte, a body from the end of the head.
static int note_stage(struct peri_session *session) {
    struct peri_http *http = session->http;
    enum peri_request_stage stage = peri_request_parser_stage(http->parser);
    int rc = stage == PERI_REQUEST_BODY && http->parsing != PERI_REQUEST_BODY ? limit_body(session)
                                                                              : PERI_OK;
    // The first head's clock runs from the accept.
    if (stage != http->parsing && !(stage == PERI_REQUEST_HEAD && http->served == 0)) {
        http->since_ms = peri_server_now(session->server);
    }
    http->parsing = (uint8_t)stage;
    if (rc == PERI_OK && peri_request_parser_wants_continue(http->parser) &&
        peri_buffer_append_str(&http->out, PERI_STR("HTTP/1.1 100 Continue\r\n\r\n")) == PERI_OK) {
        (void)peri_http_write(session);
    }
    return rc;
}

void peri_http_input(struct peri_session *session, struct peri_span *in) {
    struct peri_http *http = session->http;
    struct peri_request *request = NULL;
    int rc = peri_request_parser_feed(http->parser, in, &request);
    if (rc == PERI_AGAIN) {
        rc = note_stage(session);
        if (rc == PERI_OK) {
            return;
        }
    }
    if (request) {
        http->request = request;
        http->parsing = PERI_REQUEST_IDLE;
        route(session);
    } else {
        const char *why = "out of memory";
        int status = rc == PERI_E_INVALID ? peri_request_parser_status(http->parser, &why) : 503;
        http->close = true;
        peri_http_refuse(session, status, why, NULL);
    }
    if (!session->closing) {
        peri_http_turn(session);
    }
}

void peri_http_turn(struct peri_session *session) {
    struct peri_http *http = session->http;
    assert(session->has_http);
    if (http->phase == HTTP_OPENING) {
        peri_http_open(session);
    } else if (http->phase == HTTP_REPLYING || http->out.len > 0) {
        if (peri_http_write(session) && http->phase == HTTP_REPLYING) {
            end_request(session);
            peri_client_answered(session);
            peri_buffer_clear(&http->out, 0);
            if (http->close) {
                peri_session_linger(session);
                return;
            }
            http->phase = HTTP_READING;
            http->since_ms = peri_server_now(session->server);
        }
    }
    if (session->stage == SESSION_HTTP && session->dead && http->phase != HTTP_WAITING) {
        peri_session_close(session);
    }
}

uint64_t peri_http_due(const struct peri_session *session) {
    const struct peri_limits *limits = session->server->limits;
    const struct peri_http *http = session->http;
    switch ((enum http_phase)http->phase) {
    case HTTP_READING:
        if (http->parsing == PERI_REQUEST_BODY) {
            return http->since_ms + limits->body_ms;
        }
        return http->since_ms + (http->parsing == PERI_REQUEST_IDLE && http->served > 0
                                     ? limits->keepalive_ms
                                     : limits->head_ms);
    case HTTP_WAITING: {
        const struct peri_traits *traits = traits_of(session);
        return http->since_ms + (traits ? traits->limits : limits)->handler_wait_ms;
    }
    case HTTP_REPLYING:
        return peri_since_due(session->taken, limits->stall_ms, peri_server_now(session->server));
    case HTTP_STREAMING: return peri_feed_due(session);
    case HTTP_OPENING: break;
    }
    return UINT64_MAX;
}

void peri_http_late(struct peri_session *session) {
    struct peri_http *http = session->http;
    switch ((enum http_phase)http->phase) {
    case HTTP_READING:
        if (http->parsing == PERI_REQUEST_IDLE && http->served > 0) {
            peri_log(PERI_LOG_DEBUG, "an idle HTTP connection is closed (keepalive_s)");
            peri_session_close(session);
            return;
        }
        http->close = true;
        peri_http_refuse(session, 408,
                         http->parsing == PERI_REQUEST_BODY ? "the body is late (body_s)"
                                                            : "the head is late (head_s)",
                         NULL);
        break;
    case HTTP_WAITING:
        peri_exchange_end(session);
        peri_http_refuse(session, 504, "the script takes too long (handler_wait_s)", NULL);
        break;
    case HTTP_REPLYING: {
        if (peri_session_has_taken(session)) {
            return;
        }
        const struct peri_log_field remote[] = {{"remote", peri_str_of(http->remote)}, {0}};
        peri_log_fields(PERI_LOG_INFO, PERI_STR("an answer is not taken (stall_s)"), remote);
        peri_session_close(session);
        return;
    }
    case HTTP_STREAMING: peri_feed_late(session); return;
    case HTTP_OPENING: return;
    }
    peri_session_want_turn(session);
}
