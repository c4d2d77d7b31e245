// Sec-WebSocket-Extensions: its grammar, and what client and server agree on of
// permessage-deflate. RFC 6455 section 9.1, RFC 7692 section 7.1
#pragma once

#include "base/buffer.h"
#include "proto/request.h"

/// An extension as it is offered or accepted. Borrowed from the field's value.
struct peri_extension {
    struct peri_str name;   ///< a token
    struct peri_str params; ///< for peri_extension_next_param
};

struct peri_extension_param {
    struct peri_str name;  ///< a token
    struct peri_str value; ///< a token; of a quoted one what is between the quotes, raw
    bool has_value;
};

/// Takes the next extension off a field's value, and checks its grammar to its end.
/// @param rest advanced past it
/// @return PERI_OK; PERI_AGAIN at the end; PERI_E_INVALID: not of the grammar. RFC 6455 section 9.1
PERI_MUST_CHECK int peri_extension_next(struct peri_str *rest, struct peri_extension *extension);

/// Takes the next parameter off extension->params. @return false at the end
bool peri_extension_next_param(struct peri_str *params, struct peri_extension_param *param);

/// True when all fields of the name are of the grammar. An empty one is let pass.
bool peri_extension_fields_are_valid(const struct peri_field *fields, size_t n);

enum { PERI_WINDOW_MIN = 9, PERI_WINDOW_MAX = 15 }; ///< what zlib compresses with, in bits

/// What one side says of permessage-deflate: in an offer, in an answer, or what both come to.
struct peri_deflate_terms {
    bool server_no_takeover; ///< the server begins each message with an empty window
    bool client_no_takeover;
    uint8_t server_bits; ///< the server's window, 8 to 15; 0: not named, which is 15
    uint8_t client_bits; ///< as server_bits; in an offer without a value it is 15
};

/// What a server is ready for.
struct peri_deflate_wishes {
    uint8_t window; ///< bits of the windows that the server keeps, at most
    bool server_takeover, client_takeover;
};

/// Picks the first offer that can be met, of all that the fields hold, in their order.
///
/// An offer is declined for a parameter that is unknown, repeated or has no valid value, and for a
/// server's window of 8 bits, with which zlib can't compress. The client's window is bounded only
/// where the client allows it and its context is kept: a window for one message costs nothing.
///
/// @param fields of the request; those of another name are passed over
/// @param terms  on PERI_OK: the answer
/// @return PERI_OK; PERI_AGAIN: nothing that can be met is offered; PERI_E_INVALID: a field is not
///         of the grammar. RFC 7692 sections 5, 7.1
PERI_MUST_CHECK int peri_deflate_choose(const struct peri_field *fields, size_t n,
                                        const struct peri_deflate_wishes *wishes,
                                        struct peri_deflate_terms *terms);

/// Appends a client's offer, or a server's answer, as the value of the field.
/// @param is_offer a client's window of 15 bits goes without its value
/// @return PERI_OK or PERI_E_MEMORY (the buffer is unchanged)
PERI_MUST_CHECK int peri_deflate_print(const struct peri_deflate_terms *terms, bool is_offer,
                                       struct peri_buffer *out);

/// Checks a server's answer to an offer.
/// @param terms on PERI_OK: what both keep to
/// @return PERI_OK; PERI_AGAIN: no extension is accepted; PERI_E_INVALID: the client must fail the
///         connection. RFC 7692 sections 5.1, 7.1
PERI_MUST_CHECK int peri_deflate_check_answer(const struct peri_field *fields, size_t n,
                                              const struct peri_deflate_terms *offer,
                                              struct peri_deflate_terms *terms);
