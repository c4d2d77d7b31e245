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

/// Scripts that are loaded from now on may use the system's modules, `io` and `os`: they can do all that
/// the host's user can.
void peri_host_trust(struct peri_host *host);

/// Starts the watchdog, which stops handlers that don't end: see handler_stop_s. The calling thread
/// is watched, and must be the one that frees the host. Called again once the limits have changed.
/// @return PERI_OK; PERI_E_SYSTEM: no thread, or no memory for one
PERI_MUST_CHECK int peri_host_watch(struct peri_host *host);

/// Every connection must be gone, and peri_host_cut_waits called. Closes all VMs.
void peri_host_free(struct peri_host *host); ///< NULL does nothing

/// Files of settings, the weaker one first.
enum peri_config_layer {
    PERI_CONFIG_FOLDER,   ///< DIR/perigee.lua
    PERI_CONFIG_OPERATOR, ///< the file of --config
    PERI_CONFIG_LAYERS,
};

/// What a file of settings gives for one name. Borrowed for the call.
struct peri_config_value {
    bool is_limit; ///< of the table `limits`; else at the top
    bool is_list;
    struct peri_str name;
    const struct peri_str *items; ///< of a list; else the one value
    size_t count;
    struct peri_str where; ///< "FILE:LINE", or "FILE" where the line can't be told
};

/// Takes a value. Names, items and `where` are NUL-terminated, and hold no other NUL.
/// @return PERI_OK; or an error, and text for the user appended, which begins with `where` and may
///         quote any byte of the file
typedef int peri_config_set(void *arg, const struct peri_config_value *value,
                            struct peri_buffer *error);

/// Reads a file of settings: its `scripts` become `ws.config`, all else goes to `set`. A section of
/// the operator's wins over the folder's key by key. Each layer is read once, before peri_host_load.
/// @param path  of the operator's file; not used for DIR/perigee.lua, which may be missing
/// @param error on failure: appended with text for the user, of any bytes that the file may hold
/// @return PERI_OK; PERI_E_INVALID; PERI_E_SYSTEM (it, or DIR, cannot be read); PERI_E_MEMORY
PERI_MUST_CHECK int peri_host_configure(struct peri_host *host, enum peri_config_layer layer,
                                        const char *path, peri_config_set *set, void *arg,
                                        struct peri_buffer *error);

/// Takes a line of Lua that is `depth` tables deep, and the file it is from (NULL: of no single one).
/// @return PERI_OK, or a status that ends the printing
typedef int peri_config_line(void *arg, int depth, struct peri_str code, const char *where);

/// Prints what the scripts' sections come to, sorted by name: the inside of the table `scripts`.
/// @return PERI_OK, PERI_E_MEMORY, or what `line` returned
PERI_MUST_CHECK int peri_host_print_sections(struct peri_host *host, peri_config_line *line,
                                             void *arg);

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
