// What sockets are watched for: a set of the system's own, of which libuv watches one descriptor. So a
// socket takes no memory here, and what happened to many of them is told by one look.
#pragma once

#include <uv.h>

#include "base/status.h"

enum {
    PERI_READABLE = 1,
    PERI_WRITABLE = 2,
    PERI_HANGUP = 4, ///< the peer will send nothing more
    PERI_FAILED = 8, ///< told whatever is watched for
};

struct peri_poller {
    uv_poll_t look; ///< whether there is anything
    int set;
    /// Called for each socket that something happened to. Where both sides have shut it, all that may be
    /// watched for has happened, asked for or not.
    void (*ready)(void *whom, unsigned events);
    /// Called between two looks in one turn of the loop's: where some sockets were ready, more are by now, and
    /// the turn of libuv's and its own look cost as much as a few messages.
    void (*between)(struct peri_poller *poller);
};

/// @return PERI_OK or PERI_E_SYSTEM
PERI_MUST_CHECK int peri_poller_open(struct peri_poller *poller, uv_loop_t *loop,
                                     void (*ready)(void *whom, unsigned events),
                                     void (*between)(struct peri_poller *poller));

/// Watches a socket; closing it ends that too. What there is at that moment is told. From then on it
/// is told once, when more comes to it; but of one that is watched for being writable, again and again
/// for as long as there is anything.
/// @param before what it was watched for; 0: it was not
/// @param now    0: it is not any more
/// @param whom   borrowed. After it is gone nothing is told of it, but in the look of before: so it has
///               to outlive that
/// @return PERI_OK or PERI_E_SYSTEM
PERI_MUST_CHECK int peri_poller_watch(struct peri_poller *poller, int fd, unsigned before,
                                      unsigned now, void *whom);

/// No socket is watched any more. `look` is closed with the loop's other handles.
void peri_poller_close(struct peri_poller *poller);
