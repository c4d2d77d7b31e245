#include "net/stream.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

void peri_stream_deinit(struct peri_stream *stream) {
    if (stream->tls) {
        PERI_IGNORE(peri_tls_end(stream->tls)); // it is over in any case
    }
    peri_stream_drop_tls(stream);
    close(stream->fd);
}

void peri_stream_drop_tls(struct peri_stream *stream) {
    peri_tls_free(stream->tls);
    stream->tls = NULL;
}

int peri_stream_read(struct peri_stream *stream, uint8_t *out, size_t *n, bool *more) {
    if (stream->tls) {
        return peri_tls_read(stream->tls, out, n, more);
    }
    for (;;) {
        ssize_t got = recv(stream->fd, out, PERI_TLS_READ_BYTES, MSG_DONTWAIT);
        if (got > 0) {
            *n = (size_t)got;
            // Also short where urgent data or passed descriptors come, which nobody has to send here: who
            // does waits for what it sends next.
            *more = got == PERI_TLS_READ_BYTES;
            return PERI_OK;
        }
        if (got == 0 || errno != EINTR) {
            bool empty = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
            return empty ? PERI_AGAIN : PERI_E_CLOSED;
        }
    }
}

/// What a failed send means. EINTR: another try.
static bool is_full(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM;
}

int peri_stream_send(struct peri_stream *stream, const struct iovec *iov, int n, bool ends,
                     size_t *taken) {
    if (stream->tls) {
        return peri_tls_send(stream->tls, iov, n, taken);
    }
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, // sendmsg only reads it
                             .msg_iovlen = (size_t)n};
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (ends ? MSG_MORE : 0);
    for (;;) {
        // Of one piece as a rule, and the kernel has less to do for send.
        ssize_t sent = n == 1 ? send(stream->fd, iov[0].iov_base, iov[0].iov_len, flags)
                              : sendmsg(stream->fd, &message, flags);
        if (sent >= 0 || is_full()) {
            *taken = sent > 0 ? (size_t)sent : 0;
            return PERI_OK;
        }
        if (errno != EINTR) {
            return PERI_E_CLOSED;
        }
    }
}

int peri_stream_send_file(struct peri_stream *stream, int file, uint64_t at, size_t n,
                          size_t *taken) {
    if (stream->tls) {
        return peri_tls_send_file(stream->tls, file, at, n, taken);
    }
    off_t offset = (off_t)at; // within the size of a file
    for (;;) {
        ssize_t sent = sendfile(stream->fd, file, &offset, n);
        if (sent > 0 || (sent < 0 && is_full())) {
            *taken = sent > 0 ? (size_t)sent : 0;
            return PERI_OK;
        }
        if (sent == 0 || errno == EIO || errno == EINVAL) {
            return PERI_E_SYSTEM; // it is shorter by now, or its disk has failed
        }
        if (errno != EINTR) {
            return PERI_E_CLOSED;
        }
    }
}

int peri_stream_end(struct peri_stream *stream) {
    int rc = stream->tls ? peri_tls_end(stream->tls) : PERI_OK;
    if (rc == PERI_OK && peri_stream_is_full(stream)) {
        return PERI_AGAIN;
    }
    return rc == PERI_OK && shutdown(stream->fd, SHUT_WR) == 0 ? PERI_OK : PERI_E_CLOSED;
}
