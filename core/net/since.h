// Times that a session keeps, in 32 bits. Only how long ago one was can be asked.
//
// Milliseconds of the loop's clock are kept modulo 2^32: 49 days. That is enough for a connection that
// is idle for months, since no time is looked at that is old. Each one counts in some state of the
// session only (the socket is full, the peer is quiet, a ping waits for its pong) and is taken anew
// when that state begins. A state with a limit (a day at most, as hub/limits.c has it) is looked at
// by the wheel when the limit is over, and either ends or has its time taken anew. A state that may
// last (reading is paused) has no limit, and no time that is asked for.
#pragma once

#include <stdbool.h>
#include <stdint.h>

/// Since when something is so.
struct peri_since {
    uint32_t ms_;
};

static inline struct peri_since peri_since(uint64_t now_ms) {
    return (struct peri_since){(uint32_t)now_ms}; // modulo 2^32
}

/// When it will have been so for limit_ms, by the clock of now_ms: at once, if it has been already.
static inline uint64_t peri_since_due(struct peri_since since, uint64_t limit_ms, uint64_t now_ms) {
    uint32_t elapsed = (uint32_t)now_ms - since.ms_;
    return elapsed < limit_ms ? now_ms + (limit_ms - elapsed) : now_ms;
}

/// When a ping was queued: microseconds modulo 2^32. 0: none was.
struct peri_ping {
    uint32_t us_;
};

static inline struct peri_ping peri_ping(uint64_t now_ns) {
    uint32_t us = (uint32_t)(now_ns / 1000);
    return (struct peri_ping){us != 0 ? us : UINT32_MAX}; // rather a microsecond early than none
}

static inline bool peri_ping_is_out(struct peri_ping ping) {
    return ping.us_ != 0;
}

/// How long its pong took, in microseconds; at least one. One that took more than 71 minutes, for
/// which reading has to have been paused or pong_s to be longer, tells that much less.
static inline uint32_t peri_ping_rtt(struct peri_ping ping, uint64_t now_ns) {
    uint32_t us = (uint32_t)(now_ns / 1000) - ping.us_;
    return us != 0 ? us : 1;
}
