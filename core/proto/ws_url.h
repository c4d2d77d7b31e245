// Where a WebSocket is: ws://host:port/path?query. RFC 6455 section 3, RFC 3986
#pragma once

#include <stdbool.h>

#include "base/buffer.h"

/// Its parts; all strings are borrowed from the text.
struct peri_ws_url {
    bool is_secure;            ///< wss or https
    bool is_ipv6;              ///< was written in brackets
    bool has_user_info;        ///< "user:password@" was there
    uint16_t port;             ///< 80, or 443 where it is secure, unless given
    struct peri_str user_info; ///< raw
    struct peri_str host;      ///< without brackets
    struct peri_str target;    ///< path and query, raw: "", "/..." or "?..."
};

/// Reads ws://, wss://, and http:// and https:// as their synonyms. A path may hold bytes that
/// would have to be escaped; white space and control characters are refused.
/// @param why  on PERI_E_INVALID: what is wrong, static
/// @return PERI_OK or PERI_E_INVALID
PERI_MUST_CHECK int peri_ws_url_parse(struct peri_ws_url *url, struct peri_str text,
                                      const char **why);

/// True when both have the same scheme, host and port: what is meant for one may go to the other.
bool peri_ws_url_same_host(const struct peri_ws_url *a, const struct peri_ws_url *b);

/// Appends the value of Host: the port only where it is not the default, no zone of an IPv6
/// address. RFC 9110 section 7.2, RFC 6874 section 3
PERI_MUST_CHECK int peri_ws_url_write_host(struct peri_buffer *out, const struct peri_ws_url *url);

/// Appends the target of a request: at least "/", bytes beyond ASCII and what has no place in one
/// escaped.
PERI_MUST_CHECK int peri_ws_url_write_target(struct peri_buffer *out,
                                             const struct peri_ws_url *url);

/// Appends the whole URL that a Location means when it came from base. A fragment is left out.
/// @return PERI_OK or PERI_E_MEMORY. RFC 3986 section 5.2
PERI_MUST_CHECK int peri_ws_url_resolve(struct peri_buffer *out, const struct peri_ws_url *base,
                                        struct peri_str location);
