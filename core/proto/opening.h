// The client's side of the opening handshake. RFC 6455 section 4.1
#pragma once

#include "proto/extension.h"
#include "proto/response_parser.h"
#include "proto/ws_url.h"

enum { PERI_OPENING_NONCE_BYTES = 16, PERI_OPENING_KEY_CHARS = 24 };

/// What a client asks for. Borrowed strings.
struct peri_opening {
    struct peri_ws_url url;
    char key[PERI_OPENING_KEY_CHARS + 1]; ///< as of peri_opening_set_key
    const struct peri_field *fields;      ///< more to send, each one that peri_opening_may_add
    size_t field_count;
    const struct peri_str *protocols; ///< offered, the best first
    size_t protocol_count;
    const struct peri_deflate_terms
        *deflate; ///< permessage-deflate is offered so; NULL: not at all
};

/// What a server has chosen of it.
struct peri_opening_choice {
    struct peri_str protocol; ///< borrowed from the response; len 0 for none
    bool deflates;            ///< permessage-deflate is agreed on
    struct peri_deflate_terms terms;
};

/// @param nonce  random and the caller's, not used before
void peri_opening_set_key(struct peri_opening *opening,
                          const uint8_t nonce[PERI_OPENING_NONCE_BYTES]);

/// May a caller add a field of that name? Not one that the handshake writes itself or that frames a
/// body. `Host` may be given, in place of the URL's.
bool peri_opening_may_add(struct peri_str name);

/// Appends the request. User and password of the URL go as Basic credentials unless the fields have
/// an Authorization.
/// @return PERI_OK; PERI_E_INVALID for a field or protocol that can't be sent; PERI_E_MEMORY.
///         *out is unchanged but on PERI_OK.
PERI_MUST_CHECK int peri_opening_write(struct peri_buffer *out, const struct peri_opening *opening);

/// Is the response the 101 that was asked for?
/// @param choice  filled on PERI_OK
/// @param why     on PERI_E_PROTOCOL: static, a few words
/// @return PERI_OK; PERI_E_INVALID: another status than 101; PERI_E_PROTOCOL: a 101 that must not
///         be believed; PERI_E_MEMORY
PERI_MUST_CHECK int peri_opening_check(const struct peri_opening *opening,
                                       const struct peri_response *response,
                                       struct peri_opening_choice *choice, const char **why);
