// Whom a request is from, where proxies that are believed say so: Forwarded (RFC 7239), and what
// was there before it, X-Forwarded-For.
#pragma once

#include "base/ip.h"
#include "proto/request.h"

enum peri_forwarded {
    PERI_FORWARDED_ABSENT, ///< no field of that kind
    PERI_FORWARDED_NAMED,
    PERI_FORWARDED_HIDDEN,   ///< "unknown", an obfuscated name, or what can't be read
    PERI_FORWARDED_DISPUTED, ///< there are both fields, and they do not say the same
};

/// Finds the client of a request that a believed proxy has sent. Each proxy adds whom it has the
/// request from at the end, so what is said counts from there up to the first that is nobody
/// believed: what stands before is what that client says itself. If all are believed it is the
/// first, and behind one that is hidden the next that is named.
///
/// A proxy that writes one of the fields often passes on the other as it came, from anybody. Hence
/// neither counts where the two differ.
///
/// @param believed  the proxies
/// @param client    set for PERI_FORWARDED_NAMED only
enum peri_forwarded peri_forwarded_find(const struct peri_request *request,
                                        const struct peri_ip_set *believed, struct peri_ip *client);
