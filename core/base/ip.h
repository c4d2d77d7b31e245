// Addresses of peers, and ranges of them: read, printed, compared.
#pragma once

#include <stdbool.h>

#include "base/status.h"

enum {
    PERI_IP_BYTES = 16,
    PERI_IP_TEXT = 46, ///< INET6_ADDRSTRLEN
};

enum peri_ip_family {
    PERI_IP_NONE,
    PERI_IP_V4,
    PERI_IP_V6,
    PERI_IP_UNIX, ///< a peer on a socket of the file system, who has no address
};

/// Zero-initialised is none. Ports and zones are no part of it.
struct peri_ip {
    uint8_t family;               ///< enum peri_ip_family
    uint8_t bytes[PERI_IP_BYTES]; ///< V4 has 4; what is not used is 0
};

struct peri_ip peri_ip_v4(const uint8_t bytes[4]);

/// An IPv4 address within an IPv6 one (::ffff:192.0.2.1) is the former. RFC 4291 section 2.5.5.2
struct peri_ip peri_ip_v6(const uint8_t bytes[PERI_IP_BYTES]);

/// Reads "192.0.2.1" or "2001:db8::1", and nothing beside it.
/// @return false for anything else: *ip is untouched
bool peri_ip_read(struct peri_ip *ip, struct peri_str text);

/// "192.0.2.1", "2001:db8::1" or "unix"; "" for none. NUL-terminated.
void peri_ip_print(char out[PERI_IP_TEXT], const struct peri_ip *ip);

static inline bool peri_ip_equal(const struct peri_ip *a, const struct peri_ip *b) {
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/// All addresses of a family that have the first `bits` of one.
struct peri_ip_range {
    struct peri_ip first;
    uint8_t bits;
};

/// Reads an address, "10.0.0.0/8", "2001:db8::/32" or "unix".
/// @return false for anything else, and where bits are set behind the prefix: *range is untouched
bool peri_ip_range_read(struct peri_ip_range *range, struct peri_str text);

/// Borrowed ranges. Zero-initialised has nobody in it.
struct peri_ip_set {
    const struct peri_ip_range *ranges;
    size_t count;
};

bool peri_ip_set_has(const struct peri_ip_set *set, const struct peri_ip *ip);
