// A connection's queue of outgoing bytes: references into shared blocks, in order.
#pragma once

#include <stdbool.h>
#include <sys/uio.h>

#include "base/block.h"

/// A run of whole frames, the first perhaps partly written.
struct peri_outbox_run {
    struct peri_block *block; ///< shared(ref)
    uint32_t offset, length;
    uint64_t tag; ///< whose bytes they are; a `latest` frame's names its room and key
};

enum { PERI_OUTBOX_FRAME_MAX = 0x7fffffff };

/// Zero-initialised is empty. The only run is held in place, so that a reply allocates nothing.
struct peri_outbox {
    union {
        struct peri_block *only;       ///< the only run's; NULL: there is none
        struct peri_outbox_ring *ring; ///< of all runs, where tag_ says that there are several
    } runs_;
    uint64_t tag_;             ///< of the only run
    uint32_t offset_;          ///< of the only run, whose length is `bytes`
    uint32_t bytes;            ///< queued
    uint32_t begun_left_ : 31; ///< what is left of a frame that is partly on the wire; else 0
    uint32_t blocked : 1;      ///< the socket took less than it was offered: what is queued counts
    uint32_t missed;           ///< frames that the hub left out since the last drain
};

static inline bool peri_outbox_is_empty(const struct peri_outbox *outbox) {
    return outbox->bytes == 0;
}

/// What counts against the limits: only what is left after a write was tried.
static inline uint32_t peri_outbox_counted(const struct peri_outbox *outbox) {
    return outbox->blocked ? outbox->bytes : 0;
}

/// Points iov at the front of the queue. @return how many were filled
int peri_outbox_peek(const struct peri_outbox *outbox, struct iovec *iov, int max);

/// Drops the first n bytes: they are written (n <= bytes).
void peri_outbox_consume(struct peri_outbox *outbox, size_t n);

/// Drops everything queued.
void peri_outbox_deinit(struct peri_outbox *outbox);
