// Answers to HTTP requests: how they are worded, and how they get out. RFC 9110, RFC 9112
#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "net/internal.h"
#include "proto/response.h"
#include "proto/text.h"

enum {
    FILE_TAIL = 32 * 1024,    ///< of a file: its end, which goes through memory; small ones whole
    FILE_A_TURN = 256 * 1024, ///< others want their turn too
};

/// An answer as it is being put together.
struct draft {
    struct peri_session *session;
    struct peri_buffer *out;
    int rc; ///< the first thing that failed
};

static void field(struct draft *draft, struct peri_str name, struct peri_str value) {
    if (draft->rc == PERI_OK) {
        draft->rc = peri_response_field(draft->out, name, value);
    }
}

static void number_field(struct draft *draft, struct peri_str name, uint64_t number) {
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
    field(draft, name, peri_str_of(digits));
}

/// RFC 9110 section 14.4
static void range_field(struct draft *draft, const struct peri_range *part, uint64_t size) {
    char text[80];
    unsigned long long first = part->at, last = part->at + part->n - 1, all = size;
    if (part->n > 0) {
        (void)snprintf(text, sizeof text, "bytes %llu-%llu/%llu", first, last, all);
    } else {
        (void)snprintf(text, sizeof text, "bytes */%llu", all);
    }
    field(draft, PERI_STR("Content-Range"), peri_str_of(text));
}

static struct draft begin(struct peri_session *session, int status) {
    struct peri_http *http = session->http;
    const struct peri_request *request = http->request;
    if (http->upgrade || session->server->draining || !request || !request->keep_alive) {
        http->close = true;
    } else if (++http->served >= session->server->limits->keepalive_requests) {
        peri_log(PERI_LOG_DEBUG, "the last answer on an HTTP connection (keepalive_requests)");
        http->close = true;
    }
    struct draft draft = {.session = session, .out = &http->out};
    draft.rc = peri_response_begin(draft.out, status);
    return draft;
}

static void end(struct draft *draft, struct peri_str body) {
    struct peri_http *http = draft->session->http;
    if (http->close) {
        field(draft, PERI_STR("Connection"), PERI_STR("close"));
    } else if (http->request->http_minor == 0) {
        field(draft, PERI_STR("Connection"), PERI_STR("keep-alive"));
    }
    if (draft->rc == PERI_OK) {
        draft->rc = peri_response_end(draft->out);
    }
    if (draft->rc == PERI_OK && !http->head) {
        draft->rc = peri_buffer_append_str(draft->out, body);
    }
    if (draft->rc != PERI_OK) {
        peri_log(PERI_LOG_ERROR, "an answer could not be written: its connection is closed");
        peri_session_close(draft->session);
    }
    http->phase = HTTP_REPLYING;
    draft->session->taken = peri_server_since_now(draft->session->server);
}

/// Fields that are the host's to set.
static bool is_ours(struct peri_str name) {
    static const char *const ours[] = {
        "connection", "content-length",    "date", "keep-alive", "trailer",
        "upgrade",    "transfer-encoding", "te"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (peri_text_equal(name, peri_str_of(ours[i]))) {
            return true;
        }
    }
    return false;
}

/// Clients who ask for much and take nothing must not fill the memory: what waits has a total.
static bool is_too_much(const struct peri_session *session, size_t body_bytes) {
    const struct peri_server *server = session->server;
    uint64_t total = server->limits->outbox_total;
    return server->answer_bytes > total || body_bytes > total - server->answer_bytes;
}

void peri_http_reply(struct peri_session *session, const struct peri_reply *reply) {
    if (is_too_much(session, reply->body.len)) {
        peri_http_refuse(session, 503, "too many answers wait to be taken (outbox_total)", NULL);
        return;
    }
    session->http->counted = reply->body.len;
    session->server->answer_bytes += reply->body.len;
    struct draft draft = begin(session, reply->status);
    bool typed = reply->content_type.len == 0;
    for (size_t i = 0; i < reply->field_count; i++) {
        const struct peri_field *at = &reply->fields[i];
        if (!is_ours(at->name)) {
            field(&draft, at->name, at->value);
        }
        typed = typed || peri_text_equal(at->name, PERI_STR("content-type"));
    }
    bool bodiless = reply->status < 200 || reply->status == 204 || reply->status == 304;
    if (!bodiless) {
        if (!typed) {
            field(&draft, PERI_STR("Content-Type"), reply->content_type);
        }
        number_field(&draft, PERI_STR("Content-Length"), reply->body.len);
    }
    end(&draft, bodiless ? PERI_STR("") : reply->body);
}

static void log_refusal(const struct peri_session *session, int status, const char *why) {
    const struct peri_request *request = session->http->request;
    char digits[8];
    (void)snprintf(digits, sizeof digits, "%d", status);
    const struct peri_log_field fields[] = {
        {"status", peri_str_of(digits)},
        {"why", peri_str_of(why)},
        {"path", request ? request->path : peri_str_of("-")},
        {"remote", peri_str_of(session->http->remote)},
        {0},
    };
    // What browsers ask for by themselves and what scanners try is no news.
    bool usual = status == 404 || status == 405 || status == 426;
    peri_log_fields(usual ? PERI_LOG_DEBUG : PERI_LOG_INFO, PERI_STR("refused"), fields);
}

void peri_http_refuse(struct peri_session *session, int status, const char *why,
                      const struct peri_field *extra) {
    char body[160];
    (void)snprintf(body, sizeof body, "%d %s: %s\n", status, peri_status_text(status),
                   why ? why : "refused");
    struct peri_reply reply = {
        .status = status,
        .body = peri_str_of(body),
        .content_type = PERI_STR("text/plain; charset=utf-8"),
    };
    log_refusal(session, status, why ? why : "refused");
    struct draft draft = begin(session, status);
    if (extra && extra->name.len > 0) {
        field(&draft, extra->name, extra->value);
    }
    if (status == 426) { // RFC 9110 section 15.5.22
        field(&draft, PERI_STR("Upgrade"), PERI_STR("websocket"));
        field(&draft, PERI_STR("Connection"), PERI_STR("Upgrade"));
    }
    field(&draft, PERI_STR("Content-Type"), reply.content_type);
    number_field(&draft, PERI_STR("Content-Length"), reply.body.len);
    end(&draft, reply.body);
}

void peri_http_reply_file(struct peri_session *session, const struct peri_file *file) {
    struct peri_http *http = session->http;
    const struct peri_version version = {peri_str_of(file->tag), true, file->mark.modified.tv_sec};
    struct peri_range part = {0};
    int status = peri_conditions_status(http->request, &version);
    if (status == 200) {
        status = peri_range_status(http->request, &version, file->mark.size, &part);
    }
    struct draft draft = begin(session, status);
    field(&draft, PERI_STR("ETag"), version.tag);
    field(&draft, PERI_STR("Last-Modified"), peri_str_of(file->date));
    field(&draft, PERI_STR("Cache-Control"), PERI_STR("no-cache")); // ask again, a 304 is cheap
    if (file->varies) {
        field(&draft, PERI_STR("Vary"), PERI_STR("Accept-Encoding"));
    }
    if (status == 206 || status == 416) {
        range_field(&draft, &part, file->mark.size);
    }
    if (status == 200 || status == 206) {
        field(&draft, PERI_STR("Accept-Ranges"), PERI_STR("bytes"));
        field(&draft, PERI_STR("Content-Type"), file->content_type);
        field(&draft, PERI_STR("X-Content-Type-Options"), PERI_STR("nosniff"));
        if (file->compressed) {
            field(&draft, PERI_STR("Content-Encoding"), PERI_STR("gzip"));
        }
    }
    if (status != 304) {
        number_field(&draft, PERI_STR("Content-Length"), part.n);
    }
    end(&draft, PERI_STR(""));
    if (part.n == 0 || http->head || session->closing) {
        close(file->fd);
    } else {
        http->file = file->fd;
        http->part = part;
        http->mark = file->mark;
    }
}

void peri_http_reply_stream(struct peri_session *session, struct peri_str content_type,
                            struct peri_str begins) {
    struct peri_http *http = session->http;
    http->close = true;
    http->session = session;
    struct draft draft = begin(session, 200);
    field(&draft, PERI_STR("Content-Type"), content_type);
    field(&draft, PERI_STR("Cache-Control"), PERI_STR("no-store"));
    field(&draft, PERI_STR("X-Accel-Buffering"), PERI_STR("no")); // nginx would collect it
    field(&draft, PERI_STR("X-Content-Type-Options"), PERI_STR("nosniff"));
    end(&draft, begins);
    if (!http->head && !session->closing) {
        http->phase = HTTP_STREAMING;
        http->since_ms = peri_server_now(session->server);
    }
}

void peri_http_reply_asset(struct peri_session *session, const struct peri_asset *asset) {
    static const uint8_t key[16] = {0}; // the same tag on every host of that version
    char tag[24];
    (void)snprintf(tag, sizeof tag, "\"%016llx\"",
                   (unsigned long long)peri_siphash(key, asset->content.ptr, asset->content.len));
    const struct peri_version version = {.tag = peri_str_of(tag)};
    const struct peri_field fields[] = {
        {PERI_STR("ETag"), version.tag},
        {PERI_STR("Cache-Control"), PERI_STR("no-cache")}, // as for files
        {PERI_STR("X-Content-Type-Options"), PERI_STR("nosniff")},
    };
    struct peri_reply reply = {
        .status = peri_conditions_status(session->http->request, &version),
        .fields = fields,
        .field_count = sizeof fields / sizeof fields[0],
    };
    if (reply.status == 200) {
        reply.content_type = peri_file_content_type(asset->path);
        reply.body = asset->content;
    }
    peri_http_reply(session, &reply);
}

/// Reads what is left of the file into `out`. Then comes the last look at the file: this piece goes
/// out only if all before it was of the version that the head speaks of.
static bool read_tail(struct peri_http *http) {
    size_t n = (size_t)http->part.n; // at most FILE_TAIL
    if (peri_buffer_reserve(&http->out, n) != PERI_OK ||
        pread(http->file, http->out.ptr + http->out.len, n, (off_t)http->part.at) != (ssize_t)n ||
        !peri_file_is_unchanged(http->file, &http->mark)) {
        return false;
    }
    http->out.len += n;
    http->part.n = 0;
    return true;
}

/// Sends what is in `out`. @return true when nothing is left in it
static bool send_out(struct peri_session *session) {
    struct peri_http *http = session->http;
    struct iovec iov = {http->out.ptr + http->out_at, http->out.len - http->out_at};
    if (iov.iov_len > 0) {
        http->out_at += peri_session_send(session, &iov, 1, false);
    }
    if (http->out_at < http->out.len || !peri_session_flush(session)) {
        return false;
    }
    http->out.len = http->out_at = 0;
    return true;
}

bool peri_http_write(struct peri_session *session) {
    struct peri_http *http = session->http;
    assert(session->has_http);
    size_t budget = FILE_A_TURN;
    bool whole = true; // the file, as it was
    while (!session->dead && whole) {
        if (http->part.n > 0 && http->part.n <= FILE_TAIL) {
            whole = read_tail(http);
            continue;
        }
        if (!send_out(session) || budget == 0) {
            break;
        }
        if (http->part.n == 0) {
            return true;
        }
        uint64_t bulk = http->part.n - FILE_TAIL;
        ssize_t taken = peri_session_send_file(session, http->file, http->part.at,
                                               bulk < budget ? (size_t)bulk : budget);
        if (taken == 0) {
            break;
        }
        whole = taken > 0;
        if (whole) {
            http->part.at += (size_t)taken;
            http->part.n -= (size_t)taken;
            budget -= (size_t)taken;
        }
    }
    if (!whole) { // only an early end can tell the client
        peri_log(PERI_LOG_WARN, "a file changed while it was sent: its connection is closed");
        session->dead = session->hangup = true;
    }
    session->want_write = !session->dead;
    if (session->want_write) {
        peri_session_note_full(session);
    }
    return false;
}
