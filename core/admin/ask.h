// The asking side of the control socket: requests as lines, and answers read.
#pragma once

#include "admin/admin.h"

// Each appends a line. @return PERI_OK or PERI_E_MEMORY

/// @param measure have the host tell how long handlers take, from now on
PERI_MUST_CHECK int peri_ask_status(struct peri_buffer *out, bool measure);

/// @param script len 0 for all
/// @param wait   for the end of the probation
PERI_MUST_CHECK int peri_ask_reload(struct peri_buffer *out, struct peri_str script, bool wait);
PERI_MUST_CHECK int peri_ask_eval(struct peri_buffer *out, struct peri_str script,
                                  struct peri_str code);

/// An answer. What it gives is borrowed from it.
struct peri_reading;

/// @param line outlives nothing: it is copied
/// @return PERI_OK; PERI_E_INVALID: this is no answer of a host's; PERI_E_MEMORY
PERI_MUST_CHECK int peri_reading_new(struct peri_str line, struct peri_reading **reading);
void peri_reading_free(struct peri_reading *reading); ///< NULL does nothing

/// @param error set when it is not: why
bool peri_reading_is_ok(const struct peri_reading *reading, struct peri_str *error);

/// What an expression gave.
struct peri_str peri_reading_text(const struct peri_reading *reading);

struct peri_host_status {
    struct peri_str version, dir;
    int64_t process;
    uint64_t up_ns, connections;
};

void peri_reading_host(const struct peri_reading *reading, struct peri_host_status *host);

/// Walks where the host listens, the scripts and the outcomes of a reload: i from 0.
/// @return false at the end; what is missing, or not as it should be, is 0 or empty
bool peri_reading_address(const struct peri_reading *reading, size_t i, struct peri_str *address);
bool peri_reading_script(const struct peri_reading *reading, size_t i,
                         struct peri_script_status *script);
bool peri_reading_reload(const struct peri_reading *reading, size_t i, struct peri_news *news);

/// What happened to a script, by its name, between two answers: events a second. 0 where it was not
/// there before.
struct peri_rates {
    double messages, errors;
};
struct peri_rates peri_reading_rates(const struct peri_reading *before,
                                     const struct peri_reading *after, size_t i);

/// Appends the second of two answers to peri_ask_status as a line, each script with its rates:
/// `messages_s` and `errors_s`. @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_reading_print(const struct peri_reading *before,
                                       const struct peri_reading *after, struct peri_buffer *out);
