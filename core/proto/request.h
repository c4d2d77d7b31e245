// An HTTP/1.1 request, read from bytes by llhttp under bounds. RFC 9112
#pragma once

#include "base/buffer.h"
#include "proto/field.h"

/// A request, whole: immutable, refcounted (one thread), so that a handler that waits can outlive
/// the connection it came on. All strings are borrowed from it.
struct peri_request {
    uint32_t refs_;
    struct peri_str method;
    struct peri_str target;
    struct peri_str path;  ///< of the target, raw, "/..." (absolute-form is reduced to it), or "*"
    struct peri_str query; ///< what follows "?", raw; empty when none
    uint8_t http_major, http_minor;
    bool keep_alive;
    size_t field_count;
    const struct peri_field *fields; ///< in the order sent, repeated ones apart
    struct peri_str body;
    struct peri_buffer head_; ///< as received, but for the case of names
    struct peri_buffer body_;
    struct peri_field *fields_;
};

struct peri_request *peri_request_ref(struct peri_request *request);
void peri_request_unref(struct peri_request *request); ///< NULL does nothing

/// The value of the first field of that name (lower case). @return false when absent
bool peri_request_field(const struct peri_request *request, struct peri_str name,
                        struct peri_str *value);

/// How many fields have that name (lower case).
size_t peri_request_count(const struct peri_request *request, struct peri_str name);

/// True when any field of that name lists the token (case-insensitive). RFC 9110 section 5.6.1
bool peri_request_lists(const struct peri_request *request, struct peri_str name,
                        struct peri_str token);

struct peri_request_limits {
    uint32_t head_bytes;  ///< all of the head; so much again for what stands between two pieces of
                          ///< a chunked body, and for its trailers
    uint32_t head_fields; ///< trailers included
    uint32_t body_bytes;
};

enum peri_request_stage {
    PERI_REQUEST_IDLE, ///< no byte of it yet
    PERI_REQUEST_HEAD,
    PERI_REQUEST_BODY,
};

struct peri_request_parser;

/// @param limits copied
/// @return owned; NULL when out of memory
PERI_MUST_CHECK struct peri_request_parser *
peri_request_parser_new(const struct peri_request_limits *limits);
void peri_request_parser_free(struct peri_request_parser *parser); ///< NULL does nothing

/// Takes bytes until one request is whole; may then be called again for the next on the
/// connection. What follows a request is left in *in: another request, or after an upgrade
/// something that is no longer HTTP.
///
/// Strict where leniency lets requests be smuggled: one Host, framing by one Content-Length or by
/// chunked alone, CRLF line ends, no folded fields, no control characters. CONNECT is 501.
///
/// @param in       borrowed; advanced past what was consumed
/// @param request  on PERI_OK: shared(ref), the caller's
/// @return PERI_OK; PERI_AGAIN; PERI_E_INVALID: answer with peri_request_parser_status() and
///         close; PERI_E_MEMORY: answer 503 and close. After an error further calls return the same.
PERI_MUST_CHECK int peri_request_parser_feed(struct peri_request_parser *parser,
                                             struct peri_span *in, struct peri_request **request);

/// After PERI_E_INVALID: 400 malformed, 413 body too large, 431 head too large, 501 unknown
/// transfer coding or CONNECT, 505 version; `why` is static text, may be NULL.
int peri_request_parser_status(const struct peri_request_parser *parser, const char **why);

enum peri_request_stage peri_request_parser_stage(const struct peri_request_parser *parser);

/// What is known of a request whose body is being read: all but the body.
/// @return borrowed until the next call of feed; NULL in another stage, or after an error
const struct peri_request *peri_request_parser_head(const struct peri_request_parser *parser);

/// Tightens the limit for the body that is being read. The stage is PERI_REQUEST_BODY.
/// @return PERI_OK; an error as of feed, when it is over that already
PERI_MUST_CHECK int peri_request_parser_limit_body(struct peri_request_parser *parser,
                                                   uint64_t bytes);

/// True once after a head with "Expect: 100-continue" whose body is awaited.
bool peri_request_parser_wants_continue(struct peri_request_parser *parser);
