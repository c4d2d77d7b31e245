// What each address of a peer uses up at the moment, and whether it may have more: connections at
// once, handshakes and messages in a second. An address that uses nothing is forgotten.
//
// Addresses of IPv6 count together by their first 64 bits, since whoever has one has them all. All
// peers on sockets of the file system count as one.
#pragma once

#include "base/ip.h"
#include "base/list.h"
#include "base/map.h"

enum {
    PERI_ADDRESS_FORGET_MS =
        1000,                    ///< after the last session: by then every rate is back at nothing
    PERI_ADDRESSES_IDLE = 65536, ///< remembered without a session; over it the oldest is forgotten
};

/// Events of one kind, at most so many in a second and so many at once. Zero-initialised has seen
/// none.
struct peri_rate {
    uint64_t busy_ns; ///< until when what has been seen takes, were it spread over the second
};

/// @param most in a second; 0: no bound
/// @return false when it is one too many, which then does not count
bool peri_rate_allow(struct peri_rate *rate, uint64_t most, uint64_t now_ms);

/// One address.
struct peri_address_use {
    struct peri_list idle; ///< in the table's, while it has no session
    uint64_t idle_ms;      ///< since when
    struct peri_rate handshakes, messages;
    uint32_t sessions;
    uint8_t key[9]; ///< family, and what counts of the address
};

/// Zero-initialised is not ready: peri_addresses_init.
struct peri_addresses {
    struct peri_map uses;  ///< struct peri_address_use, by key: seeded, so nobody picks collisions
    struct peri_list idle; ///< the longest idle first
    size_t idle_count;
};

void peri_addresses_init(struct peri_addresses *addresses);
void peri_addresses_deinit(struct peri_addresses *addresses); ///< no use is entered any more

/// One more session of an address.
/// @param most  how many it may have; 0: no bound
/// @param use   on PERI_OK: until peri_addresses_leave
/// @return PERI_OK; PERI_E_LIMIT; PERI_E_MEMORY
PERI_MUST_CHECK int peri_addresses_enter(struct peri_addresses *addresses, const struct peri_ip *ip,
                                         uint64_t most, uint64_t now_ms,
                                         struct peri_address_use **use);

void peri_addresses_leave(struct peri_addresses *addresses, struct peri_address_use *use,
                          uint64_t now_ms);

/// Forgets who has been idle for long enough.
/// @return true when some idle are left: call again after PERI_ADDRESS_FORGET_MS
bool peri_addresses_forget(struct peri_addresses *addresses, uint64_t now_ms);
