// TLS from the client's side, on a connected socket that is not blocking. Never waits. RFC 8446
#pragma once

#include <stdbool.h>

#include "base/buffer.h"

struct peri_tls_client;

enum { PERI_TLS_CLIENT_READ_BYTES = 16 * 1024 }; ///< a record

/// Whom to trust.
struct peri_tls_trust {
    const char *ca; ///< a file of certificates in PEM form; NULL: whom the system trusts
    bool anybody;   ///< nothing is checked
};

enum peri_tls_wait { PERI_TLS_WAIT_READ, PERI_TLS_WAIT_WRITE };

/// @param fd    borrowed
/// @param host  whose certificate it has to be: a name or an address, without brackets
/// @param why   on PERI_E_INVALID: appended with what is wrong with trust->ca, for the user
/// @return PERI_OK: *client is owned; PERI_E_INVALID; PERI_E_MEMORY
PERI_MUST_CHECK int peri_tls_client_new(struct peri_tls_client **client, int fd,
                                        struct peri_str host, const struct peri_tls_trust *trust,
                                        struct peri_buffer *why);

/// Says goodbye to the other side, if there was time to say hello, as far as the socket takes it.
/// NULL does nothing.
void peri_tls_client_free(struct peri_tls_client *client);

/// @param wait  on PERI_AGAIN: for what the socket has to become ready
/// @return PERI_OK; PERI_AGAIN; PERI_E_INVALID: the other side's certificate is no good;
///         PERI_E_SYSTEM, PERI_E_PROTOCOL: it failed; peri_tls_client_why
PERI_MUST_CHECK int peri_tls_client_shake_hands(struct peri_tls_client *client,
                                                enum peri_tls_wait *wait);

/// Reads at most a record, so that none is kept back which the socket will not tell of.
/// @param size  at least PERI_TLS_CLIENT_READ_BYTES
/// @param n     on PERI_OK: bytes; 0: the other side has ended
/// @return PERI_OK; PERI_AGAIN; PERI_E_SYSTEM, PERI_E_PROTOCOL: peri_tls_client_why
PERI_MUST_CHECK int peri_tls_client_read(struct peri_tls_client *client, uint8_t *bytes,
                                         size_t size, size_t *n);

/// After PERI_AGAIN the next call has to bring the same bytes, and may bring more.
/// @param n  on PERI_OK: bytes that were taken
/// @return as peri_tls_client_read
PERI_MUST_CHECK int peri_tls_client_write(struct peri_tls_client *client, const uint8_t *bytes,
                                          size_t size, size_t *n);

/// Why one of them has failed. Borrowed.
const char *peri_tls_client_why(const struct peri_tls_client *client);
