// All scripts of a folder, and the policy they make together: one VM a script.
#pragma once

#include "hub/hub.h"
#include "hub/router.h"

struct peri_host;

/// @param dir    the folder, as the user named it; copied
/// @param limits the host's; borrowed, outlives the host
/// @param hub    borrowed, outlives the host; its ports are set before peri_host_load
/// @return owned; NULL when out of memory
PERI_MUST_CHECK struct peri_host *peri_host_new(const char *dir, const struct peri_limits *limits,
                                                struct peri_hub *hub);

/// Every connection must be gone, and peri_host_cut_waits called. Closes all VMs.
void peri_host_free(struct peri_host *host); ///< NULL does nothing

/// Reads DIR/perigee.lua, if there is one: its limits into *limits, its scripts' sections for
/// `ws.config`. Called before peri_host_load.
/// @param limits may be the host's own
/// @param error  on failure: appended with one line for the user
/// @return PERI_OK (also when there is no such file); PERI_E_INVALID; PERI_E_SYSTEM (DIR cannot
///         be read); PERI_E_MEMORY
PERI_MUST_CHECK int peri_host_configure(struct peri_host *host, struct peri_limits *limits,
                                        struct peri_buffer *error);

/// Finds the scripts in DIR, loads each (compile, run, `start`) and adds its routes. A script that
/// fails to load is logged with file, line and message; its route answers 503.
/// @param router gets the routes
/// @param error  on failure: appended with one line for the user
/// @return PERI_OK; PERI_E_EXISTS: two scripts have one route, both named; PERI_E_INVALID: a route
///         that is none; PERI_E_SYSTEM: DIR cannot be read; PERI_E_MEMORY
PERI_MUST_CHECK int peri_host_load(struct peri_host *host, struct peri_router *router,
                                   struct peri_buffer *error);

/// The policy to give to the hub; valid as long as the host.
const struct peri_policy *peri_host_policy(struct peri_host *host);

/// One route of one script, for people to read.
struct peri_route {
    struct peri_str pattern; ///< "/chat/:room"
    struct peri_str file;    ///< relative to DIR, "chat.lua"
    bool loaded;             ///< false: it answers 503
};

/// Walks the routes in the order of their files: start with *cursor = 0. @return false at the
/// end
bool peri_host_next_route(const struct peri_host *host, size_t *cursor, struct peri_route *route);

/// Ends every wait: each waiting handler raises past every pcall and costs its event.
void peri_host_cut_waits(struct peri_host *host);
