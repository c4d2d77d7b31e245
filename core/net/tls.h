// TLS on accepted sockets, as a server. OpenSSL never sees a socket: what recv has brought lies in
// a buffer of the loop's, and what OpenSSL has to say is gathered in another one and sent at once.
// So an idle connection holds no buffer, its own or OpenSSL's. RFC 8446
#pragma once

#include <stdbool.h>
#include <sys/uio.h>

#include "base/buffer.h"

struct peri_certificates;
struct peri_tls;
struct peri_tls_loop;

enum {
    /// What peri_tls_read may bring at most.
    PERI_TLS_READ_BYTES = 64 * 1024,
};

// What the connections of one loop share

/// @param certificates borrowed until peri_tls_loop_free
/// @return owned; NULL when out of memory
PERI_MUST_CHECK struct peri_tls_loop *
peri_tls_loop_new(const struct peri_certificates *certificates);
void peri_tls_loop_free(struct peri_tls_loop *loop); ///< NULL does nothing

// A connection

/// @param loop outlives the connection
/// @param fd   borrowed: an accepted socket from which nothing was read
/// @return owned; NULL when out of memory
PERI_MUST_CHECK struct peri_tls *peri_tls_new(struct peri_tls_loop *loop, int fd);
void peri_tls_free(struct peri_tls *tls); ///< NULL does nothing

/// True once the handshake is done: bytes may be sent.
bool peri_tls_is_open(const struct peri_tls *tls);

/// True while the socket does not take all that was said: at most two records and a few of TLS's
/// own messages. Nothing more is sent meanwhile. peri_tls_flush goes on when the socket is writable.
bool peri_tls_is_full(const struct peri_tls *tls);

/// True when peri_tls_read has something to say that the socket will not wake anybody for: the end.
bool peri_tls_has_ended(const struct peri_tls *tls);

/// Reads once from the socket, and all that it brought: OpenSSL keeps no whole record back.
/// @param out  of PERI_TLS_READ_BYTES
/// @param n    on PERI_OK: bytes in out; 0 when what came was the handshake's or part of a record
/// @param more on PERI_OK: the socket may have more. If not, it was empty (epoll(7): a short read)
/// @return PERI_OK; PERI_AGAIN: the socket is empty; PERI_E_CLOSED: nothing more comes;
///         PERI_E_PROTOCOL: the peer is not understood, or does not understand us: peri_tls_why.
///         PERI_E_INVALID: it speaks HTTP, from the first byte on
PERI_MUST_CHECK int peri_tls_read(struct peri_tls *tls, uint8_t *out, size_t *n, bool *more);

/// Why peri_tls_read or peri_tls_send has failed. Not the caller's to free.
const char *peri_tls_why(const struct peri_tls *tls);

/// Sends without waiting, a record at a time, until the socket is full.
/// @param taken on PERI_OK: bytes that are on their way
/// @return PERI_OK; PERI_E_CLOSED: the socket or the connection has failed
PERI_MUST_CHECK int peri_tls_send(struct peri_tls *tls, const struct iovec *iov, int n,
                                  size_t *taken);

/// Sends a part of a file.
/// @param taken on PERI_OK: bytes that are on their way; 0: the socket is full
/// @return PERI_OK; PERI_E_SYSTEM: the file can't be read there; PERI_E_CLOSED
PERI_MUST_CHECK int peri_tls_send_file(struct peri_tls *tls, int file, uint64_t at, size_t n,
                                       size_t *taken);

/// Sends what the socket did not take before.
/// @param sent set: bytes of the socket's
/// @return PERI_OK; PERI_E_CLOSED
PERI_MUST_CHECK int peri_tls_flush(struct peri_tls *tls, size_t *sent);

/// Says that nothing more will be sent (close_notify). What is read from here on is thrown away.
/// @return PERI_OK; PERI_E_CLOSED
PERI_MUST_CHECK int peri_tls_end(struct peri_tls *tls);
