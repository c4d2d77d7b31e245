// Every bound of the host, by its name: one table parses them, documents them and says which a
// script may tighten for itself.
#pragma once

#include <stdbool.h>

#include "base/buffer.h"

/// Sizes in bytes, times in milliseconds. Named in the table as users write them: `head_ms` is
/// set as head_s, in seconds.
struct peri_limits {
    uint64_t head_bytes, head_fields, head_ms;
    uint64_t body_bytes, body_ms;
    uint64_t handler_wait_ms;
    uint64_t response_bytes;
    uint64_t keepalive_ms, keepalive_requests;
    uint64_t stall_ms;
    uint64_t message_bytes, fragments;
    uint64_t ping_ms, pong_ms;
    uint64_t outbox_soft, outbox_hard, outbox_total;
    uint64_t close_ms;
    uint64_t connections; ///< 0: the descriptor limit less 10 %
    uint64_t address_connections, address_handshakes, address_messages; ///< 0: no bound
    uint64_t conn_rooms, room_name_bytes;
    uint64_t rooms, timers, limiter_keys;
    uint64_t handler_warn_ms, handler_stop_ms;
    uint64_t script_memory;
    uint64_t reload_wait_ms, gone_ms;
    uint64_t probation_ms, probation_connections, probation_factor;
    uint64_t drain_ms, drain_stop_ms;
    uint64_t deflate, deflate_takeover; ///< 0 or 1
    uint64_t deflate_min, deflate_window, deflate_memory;
    char origins[512]; ///< see peri_handshake_origin_allowed
};

enum peri_limit_kind {
    PERI_LIMIT_COUNT,
    PERI_LIMIT_BYTES,
    PERI_LIMIT_SECONDS,
    PERI_LIMIT_TEXT,
    PERI_LIMIT_SWITCH, ///< stored as 0 or 1
};

struct peri_limit_spec {
    const char *name; ///< as users write it
    enum peri_limit_kind kind;
    size_t offset;       ///< in struct peri_limits
    uint64_t min, max;   ///< of the stored value; for text: max bytes
    const char *initial; ///< the default, as a user would write it
    bool for_scripts;    ///< a script may set a tighter one in its `limits`
    const char *what;    ///< one line for --help and docs
};

extern const struct peri_limit_spec peri_limit_specs[];
extern const size_t peri_limit_spec_count;

/// @return NULL when there is no limit of this name
const struct peri_limit_spec *peri_limit_find(struct peri_str name);

/// All at their defaults.
void peri_limits_init(struct peri_limits *limits);

/// Sets one by name. Numbers may be written with a fraction (seconds) or a unit (KiB, MiB, GiB), a
/// switch as on, yes, true, 1, or their contraries.
/// @param error on PERI_E_INVALID: appended with a sentence for the user; an unknown name
///              suggests the nearest one
PERI_MUST_CHECK int peri_limits_set(struct peri_limits *limits, struct peri_str name,
                                    struct peri_str value, struct peri_buffer *error);

/// As peri_limits_set, for a script's own `limits`: refuses names that are not a script's to set
/// and values above the present one.
PERI_MUST_CHECK int peri_limits_tighten(struct peri_limits *limits, struct peri_str name,
                                        struct peri_str value, struct peri_buffer *error);

/// Appends the value of one as peri_limits_set reads it: "64 KiB", "0.5", "same".
/// @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_limits_print(const struct peri_limits *limits,
                                      const struct peri_limit_spec *spec, struct peri_buffer *out);

/// A frame that holds one largest message.
static inline uint64_t peri_limits_frame_max(const struct peri_limits *limits) {
    return limits->message_bytes + 14;
}

/// The largest outbox a connection may have: outbox_hard, but never below one largest message.
static inline uint64_t peri_limits_outbox_hard(const struct peri_limits *limits) {
    uint64_t one = peri_limits_frame_max(limits);
    return limits->outbox_hard > one ? limits->outbox_hard : one;
}
