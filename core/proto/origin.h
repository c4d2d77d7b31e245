// Web origins: which page is asking. RFC 6454, RFC 6455 section 10.2
#pragma once

#include <stdbool.h>

#include "base/status.h"

/// True when both are the same origin: scheme and host in any case, default ports (80 for http and
/// ws, 443 for https and wss) given or not. "null" equals only itself.
bool peri_origin_equal(struct peri_str a, struct peri_str b);

/// True when the origin's host and port are those of a Host header, whatever its scheme. A port
/// that is not given is the default of the origin's scheme. "null" is no host.
bool peri_origin_is_host(struct peri_str origin, struct peri_str host);
