// A session's TLS up to the end of its handshake: the PROXY header that may come before it, peers
// who speak something else, and what is said of those that fail.
#include <errno.h>
#include <sys/socket.h>

#include "base/log.h"
#include "net/internal.h"

enum { PROXY_BYTES = 4096 }; ///< looked at once

static void tell(const struct peri_session *session, const char *what, const char *why) {
    const struct peri_conn *conn =
        session->stage == SESSION_WS ? peri_hub_attached(session->server->hub, session->key) : NULL;
    const struct peri_log_field fields[] = {
        {"why", peri_str_of(why)},
        {"remote", conn                ? peri_conn_remote(conn)
                   : session->has_http ? peri_str_of(session->http->remote)
                                       : peri_str_of("?")},
        {0},
    };
    peri_log_fields(PERI_LOG_INFO, peri_str_of(what), fields);
}

void peri_session_tls_tell(const struct peri_session *session) {
    tell(session, session->stage == SESSION_TLS ? "TLS handshake failed" : "TLS failed",
         peri_tls_why(session->stream.tls));
}

void peri_session_tls_late(struct peri_session *session) {
    tell(session, "TLS handshake failed", "it is late (head_s)");
    peri_session_linger(session);
}

/// The PROXY header is not a part of TLS, whose first byte has to stay in the socket.
static int read_proxy_header(struct peri_session *session) {
    uint8_t *buffer = session->server->buffer;
    int fd = session->stream.fd;
    ssize_t n;
    do {
        n = recv(fd, buffer, PROXY_BYTES, MSG_PEEK | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? PERI_AGAIN : PERI_E_CLOSED;
    }
    struct peri_span in = {buffer, (size_t)n};
    peri_client_read_proxy(session, &in);
    size_t taken = (size_t)n - in.len;
    // It is there, since it has just been seen.
    return taken == 0 || recv(fd, buffer, taken, MSG_DONTWAIT) == (ssize_t)taken ? PERI_OK
                                                                                 : PERI_E_CLOSED;
}

/// Who speaks plain HTTP hears in plain HTTP why that is wrong.
static void answer_in_plain(struct peri_session *session) {
    peri_stream_drop_tls(&session->stream);
    session->stage = SESSION_HTTP;
    session->http->close = true;
    if (session->http->phase == HTTP_READING) { // else there is an answer already
        peri_http_refuse(session, 400, "this port speaks TLS: use https:// or wss://", NULL);
    }
    peri_session_want_turn(session);
}

int peri_session_tls_read(struct peri_session *session, size_t *n, bool *more) {
    if (session->http->proxy) {
        *n = 0;
        *more = true;
        return read_proxy_header(session);
    }
    int rc = peri_stream_read(&session->stream, session->server->buffer, n, more);
    if (rc == PERI_E_INVALID) {
        answer_in_plain(session);
    } else if (*n > 0 || peri_tls_is_open(session->stream.tls)) {
        // What was decrypted came behind a whole handshake, also where TLS has failed since.
        session->stage = SESSION_HTTP;
        peri_session_want_turn(session); // for an answer that has waited
    }
    return rc;
}
