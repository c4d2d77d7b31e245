// What policy must answer: the hub and net call these, script/ implements them. Nothing here is
// called from within another policy call, and none is called from a flush.
#pragma once

#include <stdbool.h>

#include "hub/limits.h"
#include "hub/router.h"
#include "proto/connection.h"
#include "proto/request.h"

/// Names a connection for good: worker (8 bits), slot (24), serial (32, never 0). Never reused
/// within a host's life, so one that is gone is simply not found. 0 names none.
typedef uint64_t peri_key;

/// What a script has, fixed once it is loaded.
struct peri_traits {
    bool has_upgrade, has_open, has_message, has_drain, has_close, has_request;
    const struct peri_str *protocols; ///< best first
    size_t protocol_count;
    const struct peri_limits *limits; ///< the host's, tightened by the script
};

enum peri_answer {
    PERI_DONE, ///< the handler has returned (or raised, and was dealt with)
    PERI_BUSY, ///< it waits; policy calls peri_hub_resume when it has returned
};

struct peri_policy {
    void *self;

    /// Cheap, and changes nothing: the hub asks at every message and send, in the midst of a
    /// handler too.
    /// @return borrowed, never NULL; asked anew for every request
    const struct peri_traits *(*traits)(void *self, uint32_t script);

    /// May new upgrades and requests come in? Not to a script that failed to load or is over its
    /// memory cap: they get 503. May collect garbage: not for the midst of a handler.
    bool (*admits)(void *self, uint32_t script);

    /// Runs `upgrade`. Policy answers through ports.accept or ports.respond, now or later.
    /// @param exchange names the request in ports; never reused
    /// @param request  borrowed; policy takes a reference if its handler waits
    /// @param params   the same; NULL for none
    void (*upgrade)(void *self, uint32_t script, uint64_t exchange, struct peri_request *request,
                    struct peri_params *params, struct peri_str remote);

    /// Runs `request`; as upgrade, answered through ports.respond or ports.decline.
    void (*request)(void *self, uint32_t script, uint64_t exchange, struct peri_request *request,
                    struct peri_params *params, struct peri_str remote);

    /// An upgrade that was accepted does not become a connection: what was kept for it may go.
    void (*abandon)(void *self, uint32_t script, uint64_t exchange);

    /// Runs `open`. Called for every connection, also when the script has no `open`.
    /// @param exchange of the upgrade that led here
    enum peri_answer (*open)(void *self, peri_key key, uint64_t exchange,
                             struct peri_request *request);

    /// Runs `message` for each event in order (PERI_EV_TEXT and PERI_EV_BINARY only), entering
    /// Lua once. Stops early when one waits or the connection ends.
    /// @param taken how many were run or begun, at least 1
    enum peri_answer (*messages)(void *self, peri_key key, const struct peri_event *events,
                                 size_t n, size_t *taken);

    enum peri_answer (*drain)(void *self, peri_key key, uint64_t missed);

    /// Runs `close`, once for every open, after every earlier event. Called only if has_close.
    enum peri_answer (*close)(void *self, peri_key key, int code, struct peri_str reason);

    /// The connection is gone for good and no handler of it runs: its data may be freed.
    void (*forget)(void *self, peri_key key);

    /// Charges (or, below 0, gives back) bytes kept in the hub for a script: room names, infos.
    /// @return PERI_OK; PERI_E_MEMORY when over the script's cap (never for a negative amount)
    int (*charge)(void *self, uint32_t script, int64_t bytes);

    /// The time asked for by ports.wake_at has come.
    void (*wake)(void *self);
};
