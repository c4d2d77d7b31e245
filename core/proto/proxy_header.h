// What a proxy that does not speak HTTP says before the first byte of its client: whom the
// connection is from. The PROXY protocol, versions 1 and 2.
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
#pragma once

#include "base/ip.h"

enum {
    PERI_PROXY_V1_MAX = 107,      ///< its line, with CRLF
    PERI_PROXY_V2_MAX = 16 + 216, ///< up to the end of the longest addresses
};

/// A header that is being read. Zero-initialised has read nothing; it owns nothing.
struct peri_proxy_header {
    uint8_t bytes_[PERI_PROXY_V2_MAX];
    uint32_t read_;  ///< bytes of it, also those that are skipped
    uint32_t whole_; ///< bytes of all of version 2, once they are known
};

/// Takes bytes until the header is whole, and none behind it. The first bytes tell the version, and
/// the first that fits neither is an error. What follows the addresses (TLVs) is skipped, not kept.
///
/// @param in      borrowed; advanced past what was consumed
/// @param source  on PERI_OK: who has connected to the proxy. None: it does not say (LOCAL,
///                UNKNOWN, what is no stream). PERI_IP_UNIX: over a socket of the file system there
/// @return PERI_OK; PERI_AGAIN; PERI_E_INVALID: this is no such header. After that it must not be
///         fed again.
PERI_MUST_CHECK int peri_proxy_header_feed(struct peri_proxy_header *header, struct peri_span *in,
                                           struct peri_ip *source);
