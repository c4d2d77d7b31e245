// One line an event: as logfmt (time=... level=... msg="..." key=value), as JSON, or short and
// coloured for a person at a terminal. Whatever a peer sends is escaped in all of them, so that
// nothing forges a line. What repeats is held back and counted, and a reader who does not keep up
// costs lines, which are counted too, but never the host's time.
//
// May be called by any thread.
#pragma once

#include <stdbool.h>

#include "base/status.h"

enum peri_log_level { PERI_LOG_DEBUG, PERI_LOG_INFO, PERI_LOG_WARN, PERI_LOG_ERROR };

enum peri_log_format {
    PERI_LOG_LOGFMT,
    PERI_LOG_JSON,     ///< one object a line
    PERI_LOG_SHORT,    ///< local time, level, script, handler, message; a traceback on lines below
    PERI_LOG_COLOURED, ///< the same in colours
};

/// A key and its value. Fields end with one whose key is NULL.
struct peri_log_field {
    const char *key;
    struct peri_str value;
};

/// The key, by its address, of a text of several lines for the short formats only: it comes below the
/// line, as a traceback does. The line in it that begins with ">" stands out.
extern const char peri_log_excerpt[];

/// The key, by its address, of what is written nowhere: lines of peri_log_fields that are the same in
/// it are repeats whatever their messages say. Where an error was raised, say: its text may hold
/// what a peer has sent.
extern const char peri_log_place[];

enum {
    PERI_LOG_REPEATS = 10, ///< of a line of the host's in a second; more are held back
    PERI_LOG_SAID = 1000,  ///< of one that a script chose to write
};

/// Lines below this level are dropped. Default PERI_LOG_INFO.
void peri_log_set_level(enum peri_log_level level);
enum peri_log_level peri_log_level(void);

/// Default PERI_LOG_LOGFMT.
void peri_log_set_format(enum peri_log_format format);

/// Whether it is one of the short ones, for people.
bool peri_log_is_short(void);

/// What suits a reader of fd: at a terminal coloured, or short where NO_COLOR or TERM=dumb asks for
/// it; else logfmt.
enum peri_log_format peri_log_format_for(int fd);

/// Where lines go: stderr unless this says otherwise.
/// @param fd borrowed until peri_log_end
void peri_log_set_output(int fd);

/// The calling thread shares no descriptors with others from here on: it has copies of the standard
/// ones and of the log's. Among threads that share them, the kernel counts who uses one at each call.
/// Where the system can't do it (Linux before 5.9), all stay shared. To be called after
/// peri_log_set_output.
void peri_log_stand_apart(void);

/// Where complete lines go instead, the newline included; it must not log. NULL: to the output
/// again. What is held back by then is forgotten.
void peri_log_set_sink(void (*sink)(void *arg, struct peri_str line), void *arg);

/// Something happened. Lines with the same level, message (or place), script, handler, status, code,
/// why and limit are repeats, whoever caused them.
/// @param fields borrowed; NULL for none
void peri_log_fields(enum peri_log_level level, struct peri_str message,
                     const struct peri_log_field *fields);

/// Somebody chose to say so. Only lines that are the same in every field are repeats.
/// @param fields borrowed; NULL for none
void peri_log_say(enum peri_log_level level, struct peri_str message,
                  const struct peri_log_field *fields);

/// Plain text, at most 1 KiB of it.
void peri_log(enum peri_log_level level, const char *format, ...) PERI_PRINTF(2, 3);

/// Whether something is held back, or waits for its reader: then peri_log_tick is to be called
/// within a second. Cheap.
bool peri_log_waits(void);

/// Says what was held back for a second, and writes what the reader takes now.
void peri_log_tick(void);

/// Says all that is held back, and waits a second at most for the reader to take it.
void peri_log_end(void);
