// What we speak as a server of TLS: versions, ciphers, groups, ALPN, session tickets. RFC 8446,
// RFC 9325
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/status.h"

enum {
    /// How long a key makes tickets, and how long a ticket counts: a key opens them for twice as long.
    PERI_TICKET_S = 3600,
    PERI_TICKET_NAME_BYTES = 16, ///< as OpenSSL has it
    PERI_TICKET_SECRET_BYTES = 32,
};

struct peri_ticket_key {
    uint8_t name[PERI_TICKET_NAME_BYTES];
    uint8_t cipher[PERI_TICKET_SECRET_BYTES];
    uint8_t mac[PERI_TICKET_SECRET_BYTES];
    uint64_t made_s; ///< 0: there is none
};

/// The keys of session tickets, in memory alone: the present one, and the one before it.
/// Zero-initialised they are made when first asked for.
struct peri_tickets {
    struct peri_ticket_key keys[2];
};

/// @param tickets borrowed for as long as a connection may use the context
/// @return owned, without a certificate; NULL when out of memory
PERI_MUST_CHECK SSL_CTX *peri_tls_context_new(struct peri_tickets *tickets);

/// Makes the present key anew when its hour is over.
/// @return false without random bytes
PERI_MUST_CHECK bool peri_tickets_rotate(struct peri_tickets *tickets, uint64_t now_s);
