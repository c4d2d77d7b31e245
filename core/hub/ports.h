// What the hub and policy need from the outside. net/ implements them; tests may too.
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "proto/request.h"

struct peri_conn;
struct peri_news;

/// A piece of work for another thread. Embedded by its owner, who may not touch what `run` uses
/// until `done`.
struct peri_work {
    void (*run)(struct peri_work *work);  ///< on a thread of its own
    void (*done)(struct peri_work *work); ///< on the worker's, between two turns; may free work
    struct peri_work *next_;              ///< while it waits for a thread
};

/// An answer to an HTTP request. All borrowed for the call.
struct peri_reply {
    int status;
    struct peri_str body;
    struct peri_str content_type;    ///< used unless `fields` has one; len 0 for none
    const struct peri_field *fields; ///< checked by policy, with peri_field_is_valid
    size_t field_count;
};

/// An upgrade accepted by policy. All borrowed for the call.
struct peri_acceptance {
    struct peri_str protocol; ///< one the client offered; len 0: net picks by the script's list
    const struct peri_field *fields;
    size_t field_count;
};

/// Every call may come in the midst of a handler: none of them enters policy.
struct peri_ports {
    void *self;

    /// Monotonic nanoseconds.
    uint64_t (*now_ns)(void *self);

    /// Calls policy.wake at this monotonic time, once; a later call replaces it; UINT64_MAX: never.
    void (*wake_at)(void *self, uint64_t at_ns);

    /// Answers an upgrade with 101; the connection opens later in this turn.
    /// @return PERI_OK; PERI_E_CLOSED when the client has left or was answered already
    int (*accept)(void *self, uint64_t exchange, const struct peri_acceptance *acceptance);

    /// Answers an upgrade or a request. @return as accept
    int (*respond)(void *self, uint64_t exchange, const struct peri_reply *reply);

    /// The `request` handler gave no value: go on as if the script had none. @return as accept
    int (*decline)(void *self, uint64_t exchange);

    /// Writes each connection's outbox, by peri_outbox_peek, until it is empty or the socket takes
    /// no more, and reports by peri_hub_written. Where the socket has failed or is being closed,
    /// all counts as taken, and peri_hub_lost is called.
    void (*flush)(void *self, struct peri_conn *const *conns, size_t n);

    /// Writes straight to a connection's socket, whose outbox is empty and not blocked. Reports nothing.
    /// @return bytes taken: fewer than were offered when it would block; a socket that has failed is
    ///         as in flush
    size_t (*write)(void *self, void *transport, const struct iovec *iov, int n);

    /// The hub takes input of this connection again (peri_hub_input_room is not 0).
    void (*input_wanted)(void *self, void *transport);

    /// The connection has ended (docs/scripting.md: order and ends). What its outbox holds is still to be
    /// written. `handshake`: a Close frame is last in it, so await the peer's for close_s;
    /// else close the socket once it is written.
    void (*ended)(void *self, void *transport, bool handshake);

    /// The hub has work: peri_hub_turn must be called before the loop waits.
    void (*turn_soon)(void *self);

    /// Runs the work elsewhere; what is given first begins first. Can't fail. `done` is called in any
    /// case, at the host's end too: that waits for it. (Not where the loop never ran.)
    void (*work)(void *self, struct peri_work *work);

    /// Rules have changed, or failed to: for pages in development and for commands that wait. The
    /// log has it already. Borrowed for the call.
    void (*news)(void *self, const struct peri_news *news);
};
