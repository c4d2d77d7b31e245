// The server's side of the opening handshake. RFC 6455 section 4.2
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "proto/request.h"

enum { PERI_HANDSHAKE_PROOF_BYTES = 28 };

/// An answer other than 101.
struct peri_refusal {
    int status;
    const char *why;         ///< static, a few words; the body of the answer
    struct peri_field field; ///< one more header, e.g. Sec-WebSocket-Version: 13; name.len 0: none
};

/// True when the request asks for a WebSocket: it lists `websocket` in Upgrade, or carries a
/// Sec-WebSocket-Key or Sec-WebSocket-Version. Anything else is plain HTTP.
bool peri_handshake_is_upgrade(const struct peri_request *request);

/// Checks the client's opening handshake. Each failing has its answer:
///   405 with Allow: GET             a method other than GET
///   400                             HTTP/1.0; no Host or an empty one; Upgrade does not list
///                                   websocket, or Connection does not list upgrade
///   426 with Sec-WebSocket-Version  not exactly one version field with the value 13
///   400                             not exactly one key of 16 bytes in base64
///   400                             a subprotocol that is no token
///   400                             Sec-WebSocket-Extensions is not of its grammar
/// @return PERI_OK, or PERI_E_INVALID with *refusal set
PERI_MUST_CHECK int peri_handshake_check(const struct peri_request *request,
                                         struct peri_refusal *refusal);

/// May a page of this Origin connect?
/// @param origins  "same" (scheme aside, Origin's host and port equal the Host header's; a port
///                 that is not given is the default of Origin's scheme), "*" (any), or a list of
///                 origins separated by spaces or commas; "same" may be one of them
/// @return true also when the request has no Origin (not a browser). RFC 6455 section 10.2
bool peri_handshake_origin_allowed(const struct peri_request *request, struct peri_str origins);

/// The client's subprotocols, in its order, duplicates kept, what is no token left out (a handshake
/// that passed the check has none): start with *cursor = 0.
/// @return false at the end
bool peri_handshake_next_protocol(const struct peri_request *request, size_t *cursor,
                                  struct peri_str *protocol);

/// True when the client offered it.
bool peri_handshake_offers(const struct peri_request *request, struct peri_str protocol);

/// Writes the value of Sec-WebSocket-Accept for a key: the server's proof, and what a client
/// compares it with. NUL-terminated.
/// @return PERI_OK or PERI_E_MEMORY. RFC 6455 section 4.2.2
PERI_MUST_CHECK int peri_handshake_proof(char out[PERI_HANDSHAKE_PROOF_BYTES + 1],
                                         struct peri_str key);

/// Writes the 101 up to its last field, so that the caller may add more with peri_response_field
/// and then peri_response_end.
/// @param request  one that peri_handshake_check passed
/// @param protocol one the client offered; len 0 for none
/// @return PERI_OK; PERI_E_INVALID when the client did not offer the protocol, or sent no key;
///         PERI_E_MEMORY. *out is unchanged but on PERI_OK.
PERI_MUST_CHECK int peri_handshake_accept(struct peri_buffer *out,
                                          const struct peri_request *request,
                                          struct peri_str protocol);
