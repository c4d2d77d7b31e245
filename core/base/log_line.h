// How an event reads as a line of the log, in each format.
#pragma once

#include <time.h>

#include "base/log.h"

enum {
    PERI_LOG_LINE_MAX = 64 * 1024,  ///< bytes of a line; what does not fit is cut, and says so
    PERI_LOG_VALUE_MAX = 16 * 1024, ///< the same of the message and of each value
};

struct peri_log_event {
    enum peri_log_level level;
    struct timespec time; ///< CLOCK_REALTIME
    struct peri_str message;
    const struct peri_log_field *fields; ///< borrowed; NULL for none
    uint64_t more;                       ///< repeats that this line stands for; 0: it is itself
};

/// Writes one line, or one and indented ones in the short formats, for an excerpt, a
/// hint and a traceback. Never fails.
/// @return its bytes, the newline included
size_t peri_log_write_line(char out[PERI_LOG_LINE_MAX], enum peri_log_format format,
                           const struct peri_log_event *event);

/// Control characters (C1 too), what separates lines or paragraphs, and what turns the direction of
/// the text around it: a reader would see something else than what is there.
bool peri_log_misleads(uint32_t character);

/// Bytes of the UTF-8 character at s, and the character; 0 when what is there is none. n > 0
size_t peri_log_decode(const char *s, size_t n, uint32_t *character);
