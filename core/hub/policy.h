// What policy must answer: the hub and net call these, script/ implements them. Nothing here is
// called from within another policy call, and none is called from a flush.
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "hub/limits.h"
#include "hub/router.h"
#include "proto/connection.h"
#include "proto/request.h"

/// Names a connection for good: serial (32 bits, never 0), worker (8), slot (24). Never reused
/// within a host's life, so one that is gone is simply not found. 0 names none. No two that are
/// there at once have the same low 32 bits: Lua hashes a conn by those alone.
typedef uint64_t peri_key;

/// What a script has, fixed once it is loaded, but for `held`.
struct peri_traits {
    bool held; ///< events of its connections wait until peri_hub_release
    bool has_upgrade, has_open, has_message, has_drain, has_close, has_request;
    const struct peri_str *protocols; ///< best first
    size_t protocol_count;
    const struct peri_limits *limits; ///< the host's, tightened by the script
};

enum peri_answer {
    PERI_DONE, ///< the handler has returned (or raised, and was dealt with)
    PERI_BUSY, ///< it waits; policy calls peri_hub_resume when it has returned
};

/// What became of the last reload of a script.
enum peri_reload {
    PERI_RELOAD_NONE,     ///< there was none: this is its first generation
    PERI_RELOAD_DONE,     ///< the rules have changed
    PERI_RELOAD_FAILED,   ///< the generation before goes on serving
    PERI_RELOAD_REVERTED, ///< errors on probation brought the last good generation back
    PERI_RELOAD_GONE,     ///< the file is gone: its connections were closed with 1001
};

struct peri_script_status {
    struct peri_str name; ///< path in DIR without ".lua": "games/quiz"
    struct peri_str file; ///< as messages say it: "scripts/games/quiz.lua"
    uint32_t generation;  ///< 0: none has loaded, its routes answer 503
    int64_t version;      ///< the script's own
    bool is_loading;      ///< a candidate is being loaded, or waits for the move to end
    bool is_moving;       ///< the generation before still holds data, or handlers that wait
    bool is_on_probation; ///< errors may bring the generation before back
    uint64_t connections, rooms, timers;
    uint64_t waiting;            ///< handlers that wait
    uint64_t memory, memory_max; ///< bytes, and the cap
    uint64_t messages;           ///< since the host began
    uint64_t errors;             ///< events lost to an error, likewise
    struct peri_str last_error;  ///< its message, of one line; len 0: none yet
    uint64_t error_age_ns;
    enum peri_reload reload;
    struct peri_str reload_why; ///< of one that failed or was reverted: file, line, message
    uint64_t reload_age_ns;
    /// How long handlers took, in nanoseconds; 0 unless peri_policy.measure is on.
    uint64_t p50_ns, p99_ns;
};

/// One thing that happened to a script's rules, for whoever listens: ports.news.
struct peri_news {
    struct peri_str script;  ///< name
    struct peri_str file;    ///< where it went wrong, else the script's; as messages say it
    uint32_t line;           ///< 0: of no one line
    uint32_t generation;     ///< that serves now; 0: none
    enum peri_reload what;   ///< never PERI_RELOAD_NONE
    bool was_asked;          ///< by peri_policy.reload, or else by a save
    bool on_probation;       ///< what PERI_RELOAD_DONE begins with: another one may follow
    struct peri_str message; ///< of what failed; else for people to read
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

    /// Something in the scripts' folder may have changed: policy looks what, and reloads.
    void (*files_changed)(void *self);

    // What operators ask. Between two turns only.

    /// Walks the scripts: start with *cursor = 0. What `out` points to is borrowed until policy is
    /// called again. @return false at the end
    bool (*status)(void *self, size_t *cursor, struct peri_script_status *out);

    /// Loads a script anew from its files as they are, changed or not. Answered by ports.news.
    /// @param script by name; len 0 for all
    /// @param error  on failure: appended with one line for the user
    /// @return how many were begun; PERI_E_INVALID: there is no such script; PERI_E_MEMORY
    int (*reload)(void *self, struct peri_str script, struct peri_buffer *error);

    /// Evaluates a Lua expression, or runs statements, in a script's VM, under the budgets of a
    /// handler; logged. May not wait.
    /// @param out appended with what it gives, as text for people (or its error)
    /// @return PERI_OK; PERI_E_INVALID: no such script, or it raised; PERI_E_MEMORY
    int (*eval)(void *self, struct peri_str script, struct peri_str code, struct peri_buffer *out);

    /// Begins or ends to measure how long handlers take, which costs two clock reads an entry.
    void (*measure)(void *self, bool on);
};
