// Which script answers at a path. Static > :param > *, most specific first, segment by segment.
#pragma once

#include "base/status.h"

/// What a route's pattern took from a path: one allocation, counted.
struct peri_params {
    size_t count;
    uint32_t refs_; ///< beyond the first
    struct {
        struct peri_str name;  ///< without the colon; "*" for the rest
        struct peri_str value; ///< decoded
    } at[];
};

/// @return shared(ref); NULL for NULL
struct peri_params *peri_params_ref(struct peri_params *params);
void peri_params_unref(struct peri_params *params); ///< NULL does nothing

struct peri_router;

PERI_MUST_CHECK struct peri_router *peri_router_new(void);
void peri_router_free(struct peri_router *router); ///< NULL does nothing

/// Adds a route. Patterns: "/", "/a/b", "/a/:name", "/files/*" (last segment only).
/// @param script   not 0
/// @param taken_by on PERI_E_EXISTS: the script that has this route (parameter names aside)
/// @return PERI_OK; PERI_E_EXISTS; PERI_E_INVALID (not absolute, an empty or doubled name, a "*"
///         before the end); PERI_E_MEMORY
PERI_MUST_CHECK int peri_router_add(struct peri_router *router, struct peri_str pattern,
                                    uint32_t script, uint32_t *taken_by);

/// Swaps what two routers hold.
void peri_router_exchange(struct peri_router *a, struct peri_router *b);

/// Finds the script for a raw path, which is split at "/" and decoded segment by segment. A
/// trailing slash is ignored; parameters are never empty; "*" takes one segment at least.
/// @param params shared(ref) on PERI_OK; NULL when the pattern has none
/// @return PERI_OK; PERI_AGAIN when no route matches; PERI_E_INVALID for %2F, %00, a broken
///         escape or bad UTF-8 in a segment (400); PERI_E_MEMORY
PERI_MUST_CHECK int peri_router_match(const struct peri_router *router, struct peri_str path,
                                      uint32_t *script, struct peri_params **params);
