// Alarms: what is due when, over all VMs, behind the one wake-up that ports offers. A script's
// timers and its sleeping handlers are alarms.
#pragma once

#include <stdbool.h>

#include "hub/ports.h"

struct peri_hub;
struct peri_alarms;

/// Embedded by whoever waits; zero-initialised is not set. Setting and clearing cannot fail.
struct peri_alarm {
    uint64_t at_ns;
    void (*due)(struct peri_alarm *alarm);
    uint64_t order_; ///< among equals, first set is first due
    struct peri_alarm *child_, *next_;
    struct peri_alarm *prev_; ///< the sibling before, or the parent; itself for the root
};

/// @param hub borrowed: its ports tell the time and wake
PERI_MUST_CHECK struct peri_alarms *peri_alarms_new(struct peri_hub *hub);

/// No alarm may be set.
void peri_alarms_free(struct peri_alarms *alarms); ///< NULL does nothing

/// @param alarm borrowed until due or cleared, not set yet; `due` is called from peri_alarms_run
void peri_alarms_set(struct peri_alarms *alarms, struct peri_alarm *alarm, uint64_t at_ns);

/// Not set: does nothing.
void peri_alarms_clear(struct peri_alarms *alarms, struct peri_alarm *alarm);

/// Whether it is set: false while it is being called, unless that set it again.
bool peri_alarm_is_set(const struct peri_alarm *alarm);

/// Calls what is due, for a bounded time and number, then asks ports to be woken for the next.
void peri_alarms_run(struct peri_alarms *alarms);

uint64_t peri_alarms_now(const struct peri_alarms *alarms);
