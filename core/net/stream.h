// The bytes of a session: as they are on its socket, or by TLS. Never waits.
#pragma once

#include "net/tls.h"

struct peri_stream {
    struct peri_tls *tls; ///< owned; NULL: the bytes go as they are
    int fd;               ///< owned
    int unacked;          ///< bytes that the peer had not acknowledged when it was last full
};

/// Gives back TLS and the socket, of which TLS says goodbye.
void peri_stream_deinit(struct peri_stream *stream);

/// TLS is given up: what is sent goes as it is.
void peri_stream_drop_tls(struct peri_stream *stream);

/// Reads once.
/// @param out  of PERI_TLS_READ_BYTES
/// @param more as peri_tls_read
/// @return as peri_tls_read; PERI_OK with *n of 0 is TLS's alone
PERI_MUST_CHECK int peri_stream_read(struct peri_stream *stream, uint8_t *out, size_t *n,
                                     bool *more);

/// Sends what the socket takes now.
/// @param ends  peri_stream_end follows at once: they may wait for it, to leave in one segment
/// @param taken on PERI_OK: bytes; 0 when it is full
/// @return PERI_OK; PERI_E_CLOSED: the socket has failed
PERI_MUST_CHECK int peri_stream_send(struct peri_stream *stream, const struct iovec *iov, int n,
                                     bool ends, size_t *taken);

/// Sends a part of a file: straight from the system's cache of it, where the bytes go as they are.
/// @return as peri_stream_send; PERI_E_SYSTEM: the file can't be read there
PERI_MUST_CHECK int peri_stream_send_file(struct peri_stream *stream, int file, uint64_t at,
                                          size_t n, size_t *taken);

/// Says that nothing more will be sent, once all is.
/// @return PERI_OK; PERI_AGAIN: when the socket is writable; PERI_E_CLOSED
PERI_MUST_CHECK int peri_stream_end(struct peri_stream *stream);

/// True while taken bytes wait for the socket: then nothing more is taken. Only with TLS, which
/// has to send a record whole.
static inline bool peri_stream_is_full(const struct peri_stream *stream) {
    return stream->tls && peri_tls_is_full(stream->tls);
}

/// True when there is an end to be read that makes the socket readable no more.
static inline bool peri_stream_has_ended(const struct peri_stream *stream) {
    return stream->tls && peri_tls_has_ended(stream->tls);
}
