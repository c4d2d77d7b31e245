#include "net/tls.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/certificates.h"

enum {
    RECORD_BYTES = SSL3_RT_MAX_PLAIN_LENGTH,
    /// From one recv. With the part of a record that OpenSSL has already, all of it fits into what
    /// peri_tls_read fills, so nothing waits in OpenSSL that epoll knows nothing of.
    CIPHER_BYTES = PERI_TLS_READ_BYTES - SSL3_RT_MAX_PACKET_SIZE,
    KEPT_BYTES = 4 * RECORD_BYTES, ///< of the shared buffer for what is said
    SEND_BYTES = 2 * RECORD_BYTES, ///< a socket that is full costs no more memory than that
    /// Of a connection's unsent bytes: what was sent at once, and answers to the peer's key updates.
    /// Who asks for more without reading is cut off.
    UNSENT_MAX = 64 * 1024,
    /// Key updates and renegotiations, which are refused, in what one recv has brought. Each takes as
    /// long as many messages, and 1,700 fit: they would hold up everybody else.
    ASIDES_MAX = 16,
};

struct peri_tls_loop {
    const struct peri_certificates *certificates;
    BIO_METHOD *method;
    BIO *bio; ///< one for all: it reads from `in`, and writes to `out`
    /// Of the connection at work. Empty between two calls.
    const uint8_t *in;
    size_t in_len;
    struct peri_buffer out;
    int asides_left; ///< negative: there were too many
    uint8_t cipher[CIPHER_BYTES];
    uint8_t record[RECORD_BYTES]; ///< small pieces, gathered
};

struct peri_tls {
    SSL *ssl;
    struct peri_tls_loop *loop;
    struct peri_buffer unsent; ///< what the socket did not take
    const char *why;           ///< it has failed
    int fd;
    bool lost : 1;  ///< the socket has failed
    bool heard : 1; ///< the first byte was looked at
    bool ended : 1; ///< the peer sends nothing more, or nothing that is understood: to be told
    bool deaf : 1;  ///< what comes is thrown away
};

// What OpenSSL takes for its transport

static int read_in(BIO *bio, char *out, int n) {
    struct peri_tls_loop *loop = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (n <= 0 || loop->in_len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t taken = (size_t)n < loop->in_len ? (size_t)n : loop->in_len; // n is positive
    memcpy(out, loop->in, taken);
    loop->in += taken;
    loop->in_len -= taken;
    return (int)taken; // at most n
}

static int write_out(BIO *bio, const char *bytes, int n) {
    struct peri_tls_loop *loop = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    return n > 0 && peri_buffer_append(&loop->out, bytes, (size_t)n) == PERI_OK ? n : -1;
}

static long control(BIO *bio, int what, long n, void *arg) {
    (void)bio;
    (void)n;
    (void)arg;
    return what == BIO_CTRL_FLUSH; // it is, at the end of each call
}

struct peri_tls_loop *peri_tls_loop_new(const struct peri_certificates *certificates) {
    struct peri_tls_loop *loop = peri_calloc(1, sizeof *loop);
    if (!loop) {
        return NULL;
    }
    loop->certificates = certificates;
    loop->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "perigee's loop");
    if (loop->method) {
        (void)BIO_meth_set_read(loop->method, read_in);
        (void)BIO_meth_set_write(loop->method, write_out);
        (void)BIO_meth_set_ctrl(loop->method, control);
        loop->bio = BIO_new(loop->method);
    }
    if (!loop->bio) {
        peri_tls_loop_free(loop);
        return NULL;
    }
    BIO_set_data(loop->bio, loop);
    BIO_set_init(loop->bio, 1);
    return loop;
}

void peri_tls_loop_free(struct peri_tls_loop *loop) {
    if (loop) {
        BIO_free(loop->bio);
        BIO_meth_free(loop->method);
        peri_buffer_deinit(&loop->out);
        peri_free(loop);
    }
}

// A connection's life

/// Told by OpenSSL of each message of TLS's own: counts what comes of them behind the handshake.
static void count_aside(int sent, int version, int kind, const void *bytes, size_t n, SSL *ssl,
                        void *arg) {
    struct peri_tls_loop *loop = arg;
    (void)version;
    (void)bytes;
    (void)n;
    (void)ssl;
    if (!sent && kind == SSL3_RT_HANDSHAKE && --loop->asides_left < 0) {
        loop->in_len = 0; // OpenSSL stops when it has no more
    }
}

struct peri_tls *peri_tls_new(struct peri_tls_loop *loop, int fd) {
    struct peri_tls *tls = peri_calloc(1, sizeof *tls);
    SSL *ssl = tls ? SSL_new(peri_certificates_context(loop->certificates)) : NULL;
    if (!ssl || BIO_up_ref(loop->bio) != 1) {
        SSL_free(ssl);
        peri_free(tls);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_bio(ssl, loop->bio, loop->bio); // one reference for both
    SSL_set_accept_state(ssl);
    SSL_set_msg_callback(ssl, count_aside);
    SSL_set_msg_callback_arg(ssl, loop);
    tls->ssl = ssl;
    tls->loop = loop;
    tls->fd = fd;
    return tls;
}

void peri_tls_free(struct peri_tls *tls) {
    if (tls) {
        SSL_free(tls->ssl);
        peri_buffer_deinit(&tls->unsent);
        peri_free(tls);
    }
}

bool peri_tls_is_open(const struct peri_tls *tls) {
    return !tls->why && !tls->lost && SSL_is_init_finished(tls->ssl);
}

bool peri_tls_is_full(const struct peri_tls *tls) {
    return tls->unsent.len > 0;
}

bool peri_tls_has_ended(const struct peri_tls *tls) {
    return tls->ended;
}

const char *peri_tls_why(const struct peri_tls *tls) {
    return tls->why ? tls->why : "nothing is wrong";
}

static int fail(struct peri_tls *tls, const char *otherwise) {
    unsigned long code = ERR_peek_last_error();
    const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;
    tls->why = text ? text : otherwise;
    ERR_clear_error();
    return PERI_E_CLOSED;
}

// Out

/// @return bytes taken, 0 when it would block; -1
static ssize_t send_some(const struct peri_tls *tls, const uint8_t *bytes, size_t n) {
    for (;;) {
        ssize_t taken = send(tls->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (taken >= 0) {
            return taken;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM) {
            return 0;
        }
        if (errno != EINTR) {
            return -1;
        }
    }
}

static int keep_unsent(struct peri_tls *tls, const uint8_t *bytes, size_t n) {
    if (n > UNSENT_MAX - tls->unsent.len) {
        return fail(tls, "it takes nothing of what it asks for");
    }
    return peri_buffer_append(&tls->unsent, bytes, n) == PERI_OK ? PERI_OK
                                                                 : fail(tls, "out of memory");
}

/// Brings what the connection at work has said to its socket, behind what waits there.
static int deliver(struct peri_tls *tls, size_t *sent) {
    struct peri_buffer *out = &tls->loop->out;
    bool first = tls->unsent.len == 0;
    int rc = first ? PERI_OK : keep_unsent(tls, out->ptr, out->len);
    struct peri_buffer *from = first ? out : &tls->unsent;
    ssize_t taken = rc == PERI_OK && from->len > 0 ? send_some(tls, from->ptr, from->len) : 0;
    size_t n = taken > 0 ? (size_t)taken : 0;
    if (taken < 0) {
        tls->lost = true;
        rc = PERI_E_CLOSED;
    } else if (rc == PERI_OK && first && n < out->len) {
        rc = keep_unsent(tls, out->ptr + n, out->len - n);
    } else if (rc == PERI_OK && !first) {
        peri_buffer_consume(&tls->unsent, n);
        if (tls->unsent.len == 0) {
            peri_buffer_deinit(&tls->unsent);
        }
    }
    peri_buffer_clear(out, KEPT_BYTES);
    *sent = n;
    return rc;
}

int peri_tls_flush(struct peri_tls *tls, size_t *sent) {
    return deliver(tls, sent);
}

/// Puts a record into `out`. When enough has gathered there, it is sent.
static int send_record(struct peri_tls *tls, const uint8_t *bytes, size_t n) {
    size_t written, sent;
    ERR_clear_error();
    if (SSL_write_ex(tls->ssl, bytes, n, &written) != 1) {
        (void)fail(tls, "out of memory"); // the transport takes all
        peri_buffer_clear(&tls->loop->out, KEPT_BYTES);
        return PERI_E_CLOSED;
    }
    return tls->loop->out.len < SEND_BYTES ? PERI_OK : deliver(tls, &sent);
}

/// Where in an iov we are.
struct cursor {
    const struct iovec *iov;
    int left;
    size_t at; ///< in iov[0]
};

/// Takes at most a record's worth: from where it lies if that is one piece, else gathered.
static struct peri_str next_record(struct peri_tls_loop *loop, struct cursor *cursor) {
    size_t gathered = 0;
    while (cursor->left > 0 && gathered < RECORD_BYTES) {
        const uint8_t *from = (const uint8_t *)cursor->iov->iov_base + cursor->at;
        size_t here = cursor->iov->iov_len - cursor->at;
        size_t n = here < RECORD_BYTES - gathered ? here : RECORD_BYTES - gathered;
        bool alone = gathered == 0 && (n == RECORD_BYTES || cursor->left == 1);
        if (!alone) {
            memcpy(loop->record + gathered, from, n);
        }
        gathered += n;
        cursor->at += n;
        if (n == here) {
            cursor->iov++;
            cursor->left--;
            cursor->at = 0;
        }
        if (alone) {
            return peri_str((const char *)from, n);
        }
    }
    return peri_str((const char *)loop->record, gathered);
}

/// Sends what has gathered.
static int finish_send(struct peri_tls *tls, int rc, size_t total, size_t *taken) {
    size_t sent;
    if (rc == PERI_OK && tls->loop->out.len > 0) {
        rc = deliver(tls, &sent);
    }
    if (rc == PERI_OK) {
        *taken = total;
    }
    return rc;
}

int peri_tls_send(struct peri_tls *tls, const struct iovec *iov, int n, size_t *taken) {
    struct cursor cursor = {iov, n, 0};
    size_t sent, total = 0;
    int rc = peri_tls_is_full(tls) ? deliver(tls, &sent) : PERI_OK;
    if (!peri_tls_is_open(tls)) {
        return PERI_E_CLOSED;
    }
    while (rc == PERI_OK && !peri_tls_is_full(tls)) {
        struct peri_str record = next_record(tls->loop, &cursor);
        if (record.len == 0) {
            break;
        }
        rc = send_record(tls, (const uint8_t *)record.ptr, record.len);
        total += record.len;
    }
    return finish_send(tls, rc, total, taken);
}

int peri_tls_send_file(struct peri_tls *tls, int file, uint64_t at, size_t n, size_t *taken) {
    uint8_t *record = tls->loop->record;
    size_t total = 0;
    int rc = PERI_OK;
    while (rc == PERI_OK && total < n && !peri_tls_is_full(tls)) {
        size_t wanted = n - total < RECORD_BYTES ? n - total : RECORD_BYTES;
        ssize_t got = pread(file, record, wanted, (off_t)(at + total)); // within a file's size
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) { // it is shorter by now, or its disk has failed
            break;
        }
        rc = send_record(tls, record, (size_t)got);
        total += (size_t)got;
    }
    bool unreadable = total == 0 && n > 0 && !peri_tls_is_full(tls);
    rc = finish_send(tls, rc, total, taken);
    return rc == PERI_OK && unreadable ? PERI_E_SYSTEM : rc;
}

int peri_tls_end(struct peri_tls *tls) {
    size_t sent;
    if (!tls->deaf && peri_tls_is_open(tls)) {
        ERR_clear_error();
        (void)SSL_shutdown(tls->ssl); // what comes back is the peer's close_notify: not waited for
        ERR_clear_error();
    }
    tls->deaf = true;
    return deliver(tls, &sent);
}

// In

/// Has OpenSSL take all of what came. Sets `ended` when no more will be understood.
static void take(struct peri_tls *tls, uint8_t *out, size_t *n) {
    struct peri_tls_loop *loop = tls->loop;
    size_t more, sent;
    loop->asides_left = SSL_is_init_finished(tls->ssl) ? ASIDES_MAX : INT_MAX;
    ERR_clear_error();
    while (SSL_read_ex(tls->ssl, out + *n, PERI_TLS_READ_BYTES - *n, &more) == 1) {
        *n += more;
        assert(*n < PERI_TLS_READ_BYTES); // see CIPHER_BYTES
    }
    switch (SSL_get_error(tls->ssl, 0)) {
    case SSL_ERROR_WANT_READ: break;
    case SSL_ERROR_ZERO_RETURN: tls->ended = true; break;
    default: (void)fail(tls, "out of memory"); tls->ended = true;
    }
    if (loop->asides_left < 0 && !tls->ended) {
        (void)fail(tls, "too many key updates or renegotiations at once");
        tls->ended = true;
    }
    loop->in_len = 0;
    if (deliver(tls, &sent) != PERI_OK) {
        tls->ended = true;
    }
}

/// What was noted in `ended`.
static int tell_end(struct peri_tls *tls) {
    if (tls->lost || !tls->why) {
        return PERI_E_CLOSED;
    }
    tls->deaf = true;
    tls->ended = false;
    return PERI_E_PROTOCOL;
}

int peri_tls_read(struct peri_tls *tls, uint8_t *out, size_t *n, bool *more) {
    struct peri_tls_loop *loop = tls->loop;
    if (tls->ended) {
        return tell_end(tls);
    }
    ssize_t got;
    do {
        got = recv(tls->fd, loop->cipher, sizeof loop->cipher, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? PERI_AGAIN : PERI_E_CLOSED;
    }
    if (!tls->heard && !tls->deaf) {
        tls->heard = true;
        if (loop->cipher[0] >= 'A' && loop->cipher[0] <= 'Z') { // a method; a record begins with 22
            return PERI_E_INVALID;
        }
    }
    size_t total = 0;
    if (!tls->deaf) {
        loop->in = loop->cipher;
        loop->in_len = (size_t)got;
        take(tls, out, &total);
        if (tls->ended && total == 0) {
            return tell_end(tls);
        }
    }
    *n = total;
    *more = got == sizeof loop->cipher;
    return PERI_OK;
}
