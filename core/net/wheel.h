// Coarse timers for many connections: setting, moving and unsetting one is a list operation, and
// none has a libuv handle of its own.
#pragma once

#include <stdint.h>

#include "base/list.h"

enum { PERI_WHEEL_TICK_MS = 100, PERI_WHEEL_SLOTS = 512 };

/// Zero-initialised is unset. Embedded in what it is for; must be unset before that is freed.
struct peri_wheel_timer {
    struct peri_list link_;
    uint32_t tick_; ///< modulo 2^32, 13 years: only how far it is from another counts
};

struct peri_wheel {
    struct peri_list slots_[PERI_WHEEL_SLOTS];
    struct peri_list due_;
    uint64_t tick_; ///< the next to be looked at
    size_t count;   ///< timers that are set
};

/// Holds pointers into itself: must not be moved.
void peri_wheel_init(struct peri_wheel *wheel, uint64_t now_ms);

/// Sets or moves a timer. It comes due at the first tick at or after due_ms, never before; one that
/// is more than six years off comes due by then.
void peri_wheel_set(struct peri_wheel *wheel, struct peri_wheel_timer *timer, uint64_t due_ms);

/// True when it is unset, or setting it for due_ms would have it come due at an earlier tick.
bool peri_wheel_is_after(const struct peri_wheel *wheel, const struct peri_wheel_timer *timer,
                         uint64_t due_ms);

/// An unset one stays so.
void peri_wheel_unset(struct peri_wheel *wheel, struct peri_wheel_timer *timer);

/// Takes the next timer that is due and unsets it. Between two calls any timer may be set or
/// unset; one set in the past comes due at the next tick, so a walk always ends.
/// @return NULL when none is left
struct peri_wheel_timer *peri_wheel_next(struct peri_wheel *wheel, uint64_t now_ms);

static inline bool peri_wheel_is_set(const struct peri_wheel_timer *timer) {
    return timer->link_.next != NULL;
}
