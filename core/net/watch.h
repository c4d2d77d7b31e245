// Watches the folder of scripts. Events of the file system say when to look, and a look (net/survey.h)
// says whether anything has changed and what else is to be watched. One is taken each second in any
// case: there are file systems that tell nothing, as over a network.
#pragma once

#include <uv.h>

#include "base/status.h"

struct peri_watch;

struct peri_watch_options {
    const char *dir;    ///< as the user has named it; outlives the watch
    size_t events_max;  ///< folders that the system is asked to tell about; 0: none
    uint64_t period_ms; ///< between looks that no event has asked for; 0: there are none
    /// On the loop's thread: files may have changed, and none has changed for 50 ms, or one has for a
    /// second.
    void (*changed)(void *arg);
    void *arg;
};

/// What suits a host.
enum { PERI_WATCH_EVENTS = 4096, PERI_WATCH_PERIOD_MS = 1000 };

/// Begins: whatever changes from here on will be told once the loop runs. Looks on this thread.
/// @param options copied
/// @return owned; NULL when out of memory
PERI_MUST_CHECK struct peri_watch *peri_watch_new(uv_loop_t *loop,
                                                  const struct peri_watch_options *options);

/// Nothing is told any more. The loop must run until its memory is free.
void peri_watch_close(struct peri_watch *watch); ///< NULL does nothing
