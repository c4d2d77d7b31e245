// An HTTP/1.1 response to a GET, read from bytes by llhttp under bounds. RFC 9112
#pragma once

#include "base/buffer.h"
#include "proto/field.h"

/// Strings are borrowed from the parser.
struct peri_response {
    int status; ///< 101, or 200 and up: interim ones are passed over
    uint8_t http_major, http_minor;
    struct peri_str reason; ///< what stands behind the status
    const struct peri_field *fields;
    size_t field_count;
    struct peri_str body;
    bool body_is_cut; ///< it went on, over the bound or in no way that could be read
};

struct peri_response_limits {
    uint32_t head_bytes; ///< interim responses included
    uint32_t head_fields;
    uint32_t body_bytes; ///< what is over it is not waited for
};

struct peri_response_parser;

/// @param limits copied
/// @return owned; NULL when out of memory
PERI_MUST_CHECK struct peri_response_parser *
peri_response_parser_new(const struct peri_response_limits *limits);
void peri_response_parser_free(struct peri_response_parser *parser); ///< NULL does nothing

/// Takes bytes until one response is whole. What follows a 101's head is left in *in.
///
/// @param in        borrowed; advanced past what was consumed
/// @param response  on PERI_OK: borrowed from the parser
/// @return PERI_OK, also when called again; PERI_AGAIN; PERI_E_INVALID: not a response, or over a
///         bound; PERI_E_MEMORY. After an error further calls return the same.
PERI_MUST_CHECK int peri_response_parser_feed(struct peri_response_parser *parser,
                                              struct peri_span *in,
                                              const struct peri_response **response);

/// The connection has ended, which ends a body of no declared length, and cuts another one short.
/// @return PERI_OK, PERI_E_INVALID (there was no whole head) or PERI_E_MEMORY, as of feed
PERI_MUST_CHECK int peri_response_parser_end(struct peri_response_parser *parser,
                                             const struct peri_response **response);

/// After PERI_E_INVALID: static, a few words.
const char *peri_response_parser_why(const struct peri_response_parser *parser);
