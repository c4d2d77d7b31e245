// Lines that come over and over within a second: the first ones pass, the rest is counted.
#pragma once

#include "base/log_line.h"

enum {
    PERI_LOG_REPEATS_KNOWN = 64,
    PERI_LOG_REPEAT_TEXT = 512,
    PERI_LOG_REPEAT_FIELDS = 8,
};

/// One line and how often it came since began_ms.
struct peri_log_repeat {
    uint64_t hash, began_ms, seen, held;
    enum peri_log_level level;
    struct peri_str message; ///< this and the fields lie in text, cut to fit
    struct peri_log_field fields[PERI_LOG_REPEAT_FIELDS + 1];
    char text[PERI_LOG_REPEAT_TEXT];
};

/// Zero-initialised is empty. Must not move.
struct peri_log_repeats {
    size_t holding; ///< lines of which some are held
    struct peri_log_repeat known[PERI_LOG_REPEATS_KNOWN];
};

enum peri_log_kind { PERI_LOG_HAPPENED, PERI_LOG_SAID_SO };

/// Take all that is due first.
/// @return whether the event is to be written; false: it is held back, and counted
bool peri_log_repeats_pass(struct peri_log_repeats *repeats, const struct peri_log_event *event,
                           enum peri_log_kind kind, uint64_t now_ms);

/// Takes out one line whose second is over and of which some were held back.
/// @param now_ms UINT64_MAX: however long ago it began
/// @param event  filled on true but for its time; lies in repeats until peri_log_repeats_pass
bool peri_log_repeats_due(struct peri_log_repeats *repeats, uint64_t now_ms,
                          struct peri_log_event *event);
