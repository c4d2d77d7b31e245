// The domain: connections, rooms, outboxes and the order of events. One hub a worker, one thread.
// Knows neither Lua nor libuv: it meets them at policy.h and ports.h.
#pragma once

#include "hub/limits.h"
#include "hub/outbox.h"
#include "hub/policy.h"
#include "hub/ports.h"
#include "proto/deflate.h"

struct peri_hub;

/// @param worker 0 to 255
/// @param limits borrowed; outlives the hub
/// @return owned; NULL when out of memory
PERI_MUST_CHECK struct peri_hub *peri_hub_new(unsigned worker, const struct peri_limits *limits);

/// All connections must be detached, and policy's references to rooms given back. Calls neither
/// policy nor ports: pending events are dropped.
void peri_hub_free(struct peri_hub *hub); ///< NULL does nothing

/// Policy and ports are made with the hub they talk to: each is set once, before the first
/// connection. Copied.
void peri_hub_set_policy(struct peri_hub *hub, const struct peri_policy *policy);
void peri_hub_set_ports(struct peri_hub *hub, const struct peri_ports *ports);

const struct peri_policy *peri_hub_policy(const struct peri_hub *hub);
const struct peri_ports *peri_hub_ports(const struct peri_hub *hub);
const struct peri_limits *peri_hub_limits(const struct peri_hub *hub);

/// What the hub's connections share of permessage-deflate. Its budget is deflate_memory.
struct peri_deflate_pool *peri_hub_deflate_pool(struct peri_hub *hub);

// What net tells the hub.

struct peri_opening {
    uint32_t script;
    void *transport; ///< net's own, given back in ports
    uint64_t exchange;
    struct peri_request *request; ///< borrowed
    struct peri_params *params;   ///< transferred on PERI_OK; NULL for none
    struct peri_str protocol;     ///< copied; len 0 for none
    struct peri_str remote;       ///< address without port, as text; copied

    /// For what is sent: of peri_hub_deflate_pool, shared, or the connection's own and then
    /// transferred on PERI_OK. NULL: nothing is compressed.
    struct peri_deflater *deflater;
};

/// Registers a connection, puts it into the script's `all`, and runs `open`.
/// @return PERI_OK with *key set (the connection may have ended already); PERI_E_MEMORY
PERI_MUST_CHECK int peri_hub_open(struct peri_hub *hub, const struct peri_opening *opening,
                                  peri_key *key);

/// What the connection is asked for next: has it in the caches by the time that its bytes are read.
void peri_hub_prefetch(const struct peri_hub *hub, peri_key key);

/// How many message events may be given to peri_hub_messages now; 0: stop reading until
/// ports.input_wanted.
size_t peri_hub_input_room(const struct peri_hub *hub, peri_key key);

/// A script's connections are held no longer: what has waited runs.
void peri_hub_release(struct peri_hub *hub, uint32_t script);

/// Gives a read batch of messages (text and binary events only): runs them, or keeps copies while
/// a handler of the connection waits. All n are taken.
/// @return PERI_OK; PERI_E_CLOSED: the connection has ended, go on for the close handshake only
PERI_MUST_CHECK int peri_hub_messages(struct peri_hub *hub, peri_key key,
                                      const struct peri_event *events, size_t n);

/// Queues a pong. While the socket takes nothing, one not yet begun gives way to it.
void peri_hub_pong(struct peri_hub *hub, peri_key key, struct peri_str payload);

/// Queues a ping.
void peri_hub_ping(struct peri_hub *hub, peri_key key, struct peri_str payload);

void peri_hub_set_rtt(struct peri_hub *hub, peri_key key, uint32_t microseconds);

enum peri_end {
    PERI_END_PEER, ///< the peer's Close frame came: it is answered with its code
    PERI_END_HOST, ///< the host ends it: a Close frame with the code is queued
    PERI_END_LOST, ///< FIN, RST, a missed pong, a stall: nothing more can be said; code 1006
};

/// Ends a connection for a reason other than the script's: it leaves its rooms at once, and its
/// `close` event queues behind the messages that came before. Ended already: does nothing, save
/// that a first code of 1006 by peri_hub_gone_quiet gives way to a Close frame that is found.
void peri_hub_end(struct peri_hub *hub, peri_key key, enum peri_end how, int code,
                  struct peri_str reason);

/// A FIN was noticed while input was paused: as ended from now on (connected, rooms, sends), but
/// `close` waits until net has read what came before it and calls peri_hub_end.
void peri_hub_gone_quiet(struct peri_hub *hub, peri_key key);

/// A write has found that the socket failed, and net will say how it ended: until then what is sent is
/// answered PERI_E_CLOSED. From within ports.flush and ports.write.
void peri_hub_lost(struct peri_hub *hub, peri_key key);

/// The transport is gone: drops the outbox; the slot is freed when the last handler has run. Ends
/// the connection (PERI_END_LOST) if nothing did before.
void peri_hub_detach(struct peri_hub *hub, peri_key key);

/// Reports a write: from within ports.flush, or when the socket is writable again.
/// @param blocked the socket took less than was offered
void peri_hub_written(struct peri_hub *hub, struct peri_conn *conn, size_t bytes, bool blocked);

/// The end of a turn: runs events that are due (resumed connections, drain, close), settles
/// rooms, has ports.flush write, and frees what has gone.
/// @return true when work is left: call again before waiting for input
bool peri_hub_turn(struct peri_hub *hub);

/// For net: found until peri_hub_detach, whatever policy has done with it; stays where it is.
/// @return borrowed; NULL when there is none
struct peri_conn *peri_hub_attached(const struct peri_hub *hub, peri_key key);

struct peri_outbox *peri_conn_outbox(struct peri_conn *conn);
void *peri_conn_transport(const struct peri_conn *conn); ///< NULL once detached

/// Has it in the caches by the time that it is written to.
void peri_conn_prefetch(const struct peri_conn *conn);

peri_key peri_conn_key(const struct peri_conn *conn);

size_t peri_hub_count(const struct peri_hub *hub); ///< connections registered

// What policy asks of the hub. Everything here may be called in a handler.

/// A handler that had answered PERI_BUSY has returned: the connection's next events may run, in
/// the next turn.
void peri_hub_resume(struct peri_hub *hub, peri_key key);

/// @return borrowed until policy returns; NULL when the connection is gone for good. One that has
///         ended is found until its `close` has run.
struct peri_conn *peri_hub_conn(const struct peri_hub *hub, peri_key key);

/// Walks the connections that have not gone for good: start with *cursor = 0. Others may come and
/// go between two calls; one that is there all the while is seen once. @return NULL at the end
struct peri_conn *peri_hub_next_conn(const struct peri_hub *hub, uint32_t *cursor);

bool peri_conn_is_connected(const struct peri_conn *conn); ///< false once ended
bool peri_conn_is_busy(const struct peri_conn *conn);      ///< a handler of it waits
uint32_t peri_conn_script(const struct peri_conn *conn);
struct peri_params *peri_conn_params(const struct peri_conn *conn);
struct peri_str peri_conn_protocol(const struct peri_conn *conn);
struct peri_str peri_conn_remote(const struct peri_conn *conn);
uint64_t peri_conn_buffered(const struct peri_conn *conn); ///< bytes queued
uint32_t peri_conn_rtt_us(const struct peri_conn *conn);   ///< 0: none yet

struct peri_outgoing {
    enum peri_opcode opcode; ///< PERI_OP_TEXT (valid UTF-8) or PERI_OP_BINARY
    struct peri_str payload; ///< borrowed
    size_t before;           ///< bytes in front of payload that may be overwritten: for the header
};

/// Sends to one connection. Never dropped: over the hard limit the connection ends with 1013.
/// @param own sent by this connection's own event: if it ends over soft, reading pauses. The one that does so
///            may go over the hard limit, if it is no larger than a message that may come.
/// @return PERI_OK; PERI_AGAIN: accepted, over the soft limit; PERI_E_CLOSED: it has ended, perhaps
///         over this; PERI_E_LIMIT: larger than the hard limit, nothing sent; PERI_E_MEMORY:
///         nothing sent
PERI_MUST_CHECK int peri_conn_send(struct peri_hub *hub, struct peri_conn *conn,
                                   const struct peri_outgoing *out, bool own);

/// The script's own close: what was sent before still goes out, pending messages are dropped.
/// @return PERI_OK; PERI_E_CLOSED when it had ended
PERI_MUST_CHECK int peri_conn_close(struct peri_hub *hub, struct peri_conn *conn, int code,
                                    struct peri_str reason);
