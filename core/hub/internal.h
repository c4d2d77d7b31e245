// What the files of the hub share: their structures, and who does what to them.
//
// Rules that hold everywhere here:
// - A connection is freed by the sweep at the end of a turn only, so a struct peri_conn stays valid
//   across any call; whether it has ended must be asked again.
// - Policy is called by conn.c and inbox.c only, from peri_hub_open, peri_hub_messages and
//   peri_hub_turn; everything else marks. So a handler that ends connections, its own included,
//   never finds one gone under it.
// - Bytes are appended to an outbox only after its connection has been settled.
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "base/slabs.h"
#include "hub/room.h"

enum {
    CORK_BYTES = 64 * 1024,      ///< the block that direct sends share
    SLOW_BLOCK_BYTES = 4 * 1024, ///< a block of a blocked connection's own
    DIRECT_BYTES = 16 * 1024,    ///< from here a send may go straight to the socket
    FLUSH_ONE_BYTES = 64 * 1024, ///< gathered by one room or outbox: flush in the midst of a turn
    FLUSH_ALL_BYTES = 256 * 1024,
    INBOX_BYTES = 64 * 1024, ///< pending: reading stops
    INBOX_MESSAGES = 1024,
    BATCH = 64, ///< messages given to policy at once
};

/// Tags of outbox runs. Those of `latest` frames are hashes, never below LATEST.
enum {
    TAG_ROOM = 0,   ///< bytes shared with other members
    TAG_DIRECT = 1, ///< bytes sent to this connection alone
    TAG_PONG = 2,
    TAG_SEVERAL = 3, ///< no run's: an outbox's that has a ring
    TAG_LATEST = 4,
};

/// A connection among a room's members: in place for its script's `all`, in front of a peri_joined for
/// the rooms that it joined.
struct peri_membership {
    struct peri_joined *next; ///< of the connection, in join order
    uint32_t at;              ///< in room->members; NOT_MEMBER once the connection has ended
    uint32_t cursor;          ///< frames of the room that it has had, counted as room->base is
};

struct peri_joined {
    struct peri_membership m;
    struct peri_conn *conn;
    struct peri_room *room;
    struct peri_info *info; ///< NULL for none
};

#define NOT_MEMBER UINT32_MAX

enum peri_stage {
    STAGE_OPEN,
    STAGE_QUIET,   ///< ended, but what came before may still be read
    STAGE_ENDED,   ///< `close` is to run, after what is pending
    STAGE_CLOSING, ///< `close` has been called
    STAGE_GONE,    ///< forgotten by policy; net still has it
    STAGE_DEAD,    ///< the sweep frees it
};

/// As small as can be: there is one for every idle connection.
struct peri_conn {
    // What a broadcast touches comes first: it finds it in one cache line.
    void *transport; ///< NULL once detached
    struct peri_outbox outbox;
    uint32_t script;
    uint16_t code;     ///< of the end. 1006 before it: a write has found the socket failed
    uint8_t stage : 3; ///< enum peri_stage
    bool busy : 1;     ///< a handler waits
    bool dropping : 1; ///< closed by its script: pending messages are not run
    bool over : 1;     ///< was over soft and has not drained
    bool drain_due : 1;
    bool paused : 1;            ///< not read until it drains
    bool own_sent : 1;          ///< its own event sent to it since the last write
    bool starved : 1;           ///< net was told to stop reading
    bool corked : 1;            ///< some run may lie in the cork
    bool ready : 1;             ///< in the ready list
    bool dirty : 1;             ///< in the dirty list
    bool unwritten : 1;         ///< has bytes that no write was tried for
    bool said_close : 1;        ///< a Close frame is last in the outbox
    bool delivering : 1;        ///< policy runs on its pending messages
    struct peri_membership all; ///< and all.next: the rooms it joined

    peri_key key;
    struct peri_inbox *inbox;       ///< NULL when nothing is pending
    struct peri_deflater *deflater; ///< NULL: nothing is compressed
    struct peri_params *params;
    struct peri_conn *next; ///< in the hub's ready list, or its dead one
    uint32_t rtt_us;
    uint32_t protocol_len : 24;
    uint32_t remote_len : 8;
    char text[]; ///< protocol, then remote address
};

/// A frame of this turn, encoded once for all members.
struct peri_room_frame {
    uint64_t number; ///< the hub's running one: the order of all broadcasts
    uint64_t tag;
    struct peri_block *block; ///< shared(ref)
    uint32_t offset, length;
    enum peri_slow slow;
    bool pays; ///< large enough to be compressed
};

/// A room's frames as members with one window size get them: those that pay are compressed, once
/// for all such members that keep no context, when the first of them takes them.
struct peri_deflated {
    struct peri_room_frame *frames; ///< like the plain ones, and in the same places
    uint32_t count, cap;
    struct peri_block *block; ///< where the next frame goes; shared(ref)
};

/// What a room has gathered since it was last settled. Taken from the hub's idle ones when the
/// first frame comes.
struct peri_gathered {
    struct peri_room_frame *frames;
    uint32_t count, cap;
    uint32_t largest; ///< frame, in bytes
    uint64_t bytes;
    bool latest;              ///< one frame at least has the policy `latest`
    bool pays;                ///< one frame at least does
    struct peri_block *block; ///< where the next frame goes; shared(ref)
    struct peri_deflated *deflated[PERI_WINDOW_MAX - PERI_WINDOW_MIN + 1]; ///< NULL: not asked for
};

struct peri_room {
    uint64_t id;                      ///< never reused
    struct peri_membership **members; ///< in join order, NULL where one has left
    uint32_t member_count, member_end, member_cap;
    uint32_t base;                  ///< frames before those gathered, modulo 2^32
    struct peri_gathered *gathered; ///< NULL: not active
    struct peri_room *next_active;
    uint32_t owner;
    uint32_t charged_to; ///< the script that pays for the name
    uint32_t refs;
    bool is_all;
    struct peri_str name; ///< lies behind the struct
};

/// A membership that has not had all that its room has gathered.
struct peri_behind {
    struct peri_membership *m;
    struct peri_room *room;
};

/// What is kept for a script, or for the shared rooms.
struct peri_owner {
    struct peri_room *all;
    struct peri_map rooms;
    uint64_t peopled; ///< rooms that have members
};

/// A connection's address; or, where it is odd, a free slot: the serial of the last connection here, and
/// the next free slot (conn.c).
struct peri_slot {
    uint64_t word;
};

enum { IDLE_GATHERED = 8 };

struct peri_hub {
    const struct peri_limits *limits;
    struct peri_policy policy;
    struct peri_ports ports;
    uint8_t worker;

    // Registry (conn.c).
    struct peri_slabs small; ///< connections and memberships
    struct peri_slot *slots;
    uint32_t slot_count, free_first, free_last; ///< free slots are used in turn
    uint32_t conn_count;

    // Rooms (room.c).
    struct peri_owner *owners; ///< by script; 0 owns the shared rooms
    uint32_t owner_count;
    uint64_t last_room_id;

    // Broadcasts (settle.c).
    uint64_t last_number;
    struct peri_room *active; ///< those that have gathered; each is referenced
    uint32_t active_count;
    struct peri_gathered *idle[IDLE_GATHERED];
    uint32_t idle_count;
    struct peri_behind *merge; ///< room for the rooms of any one connection
    uint32_t merge_cap;

    // Outboxes (send.c, hub.c).
    struct peri_block_account account;
    struct peri_block *cork;
    uint64_t untried;         ///< bytes gathered since the last flush
    struct peri_conn **dirty; ///< room for every connection, so marking never fails
    uint32_t dirty_count, dirty_cap;

    // Compression (deflate.c).
    struct peri_deflate_budget deflate_budget;
    struct peri_deflate_pool deflate;
    struct peri_buffer deflated; ///< the message just compressed

    // Events (inbox.c, hub.c).
    struct peri_conn *ready_first, *ready_last;
    struct peri_conn *dead; ///< to be freed by the sweep
    bool calling;           ///< policy is running
    bool turn_asked;        ///< ports.turn_soon was called, or a turn is running
    bool resting;           ///< no handler runs: member arrays may be compacted
    bool iterating;         ///< they may not: one is being walked
    bool flushing;
    bool freeing; ///< the hub is being freed: policy is not called any more
};

/// @return NULL: the slot is free
static inline struct peri_conn *peri_hub_in_slot(const struct peri_hub *hub, uint32_t slot) {
    uint64_t word = hub->slots[slot].word;
    return word & 1 ? NULL : (struct peri_conn *)(uintptr_t)word;
}

/// Whose membership it is. @param room of which it is one
static inline struct peri_conn *peri_member_of(const struct peri_room *room,
                                               const struct peri_membership *m) {
    return room->is_all ? PERI_CONTAINER(m, struct peri_conn, all)
                        : PERI_CONTAINER(m, struct peri_joined, m)->conn;
}

/// A connected one's `all`.
static inline struct peri_room *peri_conn_all(const struct peri_hub *hub,
                                              const struct peri_conn *conn) {
    return hub->owners[conn->script].all;
}

static inline const struct peri_limits *peri_hub_limits_of(const struct peri_hub *hub,
                                                           uint32_t script) {
    return script == PERI_SHARED ? hub->limits
                                 : hub->policy.traits(hub->policy.self, script)->limits;
}

static inline bool peri_conn_wants_flush(const struct peri_conn *conn) {
    return conn->transport && conn->outbox.bytes > 0 && !conn->outbox.blocked;
}

// hub.c

/// Asks for a turn, once.
void peri_hub_want_turn(struct peri_hub *hub);

/// The outbox has new bytes: write them at the end of the turn.
void peri_hub_mark_dirty(struct peri_hub *hub, struct peri_conn *conn);

/// The connection may have an event to run, or may be freed.
void peri_hub_mark_ready(struct peri_hub *hub, struct peri_conn *conn);

/// Settles what is active and has everything written that waits for its first try. Who was sent
/// something goes first.
void peri_hub_flush(struct peri_hub *hub);

/// After bytes were queued or written: notes whether the connection went over soft or has drained.
/// @return true when it is over soft
bool peri_hub_watch_limits(struct peri_hub *hub, struct peri_conn *conn);

// conn.c

struct peri_conn *peri_hub_find(const struct peri_hub *hub, peri_key key);

/// It ends with 1013 and nothing follows: what it has not been settled for is stepped over.
/// @param limit the one that it is over, for the log
void peri_conn_overrun(struct peri_hub *hub, struct peri_conn *conn, const char *limit);

/// Queues a Close frame with the code. @return false without memory
bool peri_conn_say_close(struct peri_hub *hub, struct peri_conn *conn, struct peri_str reason);

/// Runs `close`, and when it has run has policy forget the connection.
void peri_conn_run_close(struct peri_hub *hub, struct peri_conn *conn);

void peri_conn_free(struct peri_hub *hub, struct peri_conn *conn);

// inbox.c

/// Frees what is pending.
void peri_inbox_drop(struct peri_conn *conn);

/// Runs the connection's next event, if one is due.
void peri_inbox_run(struct peri_hub *hub, struct peri_conn *conn);

/// True when the ready list has something to do for it.
bool peri_inbox_is_due(const struct peri_conn *conn);

/// Keeps the reason of an end for `close`; without memory it is lost.
void peri_inbox_keep_reason(struct peri_conn *conn, struct peri_str reason);
struct peri_str peri_inbox_reason(const struct peri_conn *conn);

/// Tells net to read on, if it was told to stop and the cause is gone.
void peri_inbox_reopen(struct peri_hub *hub, struct peri_conn *conn);

/// `drain` is to run after what is pending now.
void peri_inbox_add_drain(struct peri_hub *hub, struct peri_conn *conn);

// send.c

/// Queues a control frame. @return false without memory
bool peri_conn_queue_control(struct peri_hub *hub, struct peri_conn *conn, enum peri_opcode opcode,
                             struct peri_str payload);

/// Queues a compressed message.
/// @param most bytes that may wait then
/// @return PERI_OK; PERI_E_LIMIT: there would be more; PERI_E_MEMORY
PERI_MUST_CHECK int peri_conn_queue_deflated(struct peri_hub *hub, struct peri_conn *conn,
                                             const struct peri_outgoing *out, uint64_t most);

/// Copies what is queued into a block of its own, so that a slow peer does not hold blocks of which
/// it needs little.
/// @param tag the runs to copy: TAG_DIRECT, or TAG_ROOM for all
void peri_conn_unshare(struct peri_hub *hub, struct peri_conn *conn, uint64_t tag);

// room.c

/// Puts a connection into its script's `all`; to be called once. @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_room_enter_all(struct peri_hub *hub, struct peri_conn *conn);

/// Leaves all rooms; they stay listed.
void peri_room_leave_all(struct peri_hub *hub, struct peri_conn *conn);

/// Forgets the rooms that are listed.
void peri_room_unlist(struct peri_hub *hub, struct peri_conn *conn);

/// @return NULL: it is no member
struct peri_membership *peri_room_membership(struct peri_conn *conn, const struct peri_room *room);

/// Closes the holes of those who left, where that pays.
void peri_room_compact(struct peri_hub *hub, struct peri_room *room);

void peri_room_free_all(struct peri_hub *hub);

// settle.c

/// Moves to the outbox what the connection's rooms have gathered for it, in the order in which it
/// was sent. It may end over this.
void peri_settle(struct peri_hub *hub, struct peri_conn *conn);

/// Settles every member of every active room. Who has nothing else waiting is written to at once.
void peri_settle_all(struct peri_hub *hub);

/// Marks as had, without queueing it, what the connection has not been settled for.
void peri_settle_skip(const struct peri_hub *hub, struct peri_conn *conn);

/// How many frames a room has gathered, ever, modulo 2^32.
uint32_t peri_settle_end(const struct peri_room *room);

void peri_settle_free(struct peri_hub *hub);

/// Room for n bytes at the end of a block. Blocks start small, since one slow member may hold one
/// long after the turn.
/// @param block   NULL for none yet
/// @param follows there are others of this turn before it: it will be larger than they
PERI_MUST_CHECK bool peri_settle_reserve(struct peri_hub *hub, struct peri_block **block,
                                         bool follows, size_t n);

// deflate.c

/// May a message of this size be compressed?
static inline bool peri_deflate_pays(const struct peri_hub *hub, size_t bytes) {
    return bytes > 0 && bytes >= hub->limits->deflate_min;
}

/// The message in a frame of a room.
struct peri_outgoing peri_deflate_message_of(const struct peri_room_frame *frame);

/// Compresses a message that pays, for a connection with a deflater, as the next one that it gets.
/// @param deflated on true: borrowed until the next one; must be sent with RSV1
/// @return false: it is to be sent as it is
bool peri_conn_deflate(struct peri_hub *hub, struct peri_conn *conn, struct peri_str payload,
                       struct peri_str *deflated);

/// Does the connection keep a context? Then what it is sent is compressed for it alone.
bool peri_conn_has_context(const struct peri_conn *conn);

/// What was compressed for it last is not sent.
void peri_conn_forget_context(struct peri_conn *conn);

/// A room's frames for a connection that has a deflater and keeps no context.
/// @param to how many are wanted
/// @return borrowed until the next call; the plain ones without memory
const struct peri_room_frame *peri_deflated_frames(struct peri_hub *hub,
                                                   const struct peri_conn *conn,
                                                   struct peri_gathered *g, uint32_t to);

/// Frees what was compressed of a room's frames.
void peri_deflated_drop(struct peri_gathered *g);

// outbox.c

/// Makes the last run longer, if it is the tag's and ends there in that block.
/// @return false: it is not, and nothing has changed
bool peri_outbox_extend(struct peri_outbox *outbox, const struct peri_block *block, uint32_t offset,
                        uint32_t length, uint64_t tag);

/// Appends whole frames.
/// @param block a reference is taken on PERI_OK
/// @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_outbox_append(struct peri_outbox *outbox, struct peri_block *block,
                                       uint32_t offset, uint32_t length, uint64_t tag);

/// The run at an index from the front, borrowed. One that gave way may still be there, with no block
/// and no length; never first or last.
/// @return false past the end
bool peri_outbox_at(const struct peri_outbox *outbox, uint32_t index, struct peri_outbox_run *run);

/// As peri_outbox_at, the last one. @return false: there is none
bool peri_outbox_last(const struct peri_outbox *outbox, struct peri_outbox_run *run);

/// The bytes of the run at an index, which has some, are elsewhere now.
/// @param block a reference is taken
void peri_outbox_move(struct peri_outbox *outbox, uint32_t index, struct peri_block *block,
                      uint32_t offset);

/// Removes the runs of this tag that are not begun. @return how many
uint32_t peri_outbox_remove(struct peri_outbox *outbox, uint64_t tag);

/// As peri_outbox_remove, for a tag of which no two wait at a time. Looks from the back, where what
/// was queued last is found at once, however much a peer that does not read has before it.
void peri_outbox_remove_last(struct peri_outbox *outbox, uint64_t tag);

/// Drops all but the rest of a frame that is partly on the wire.
void peri_outbox_cut(struct peri_outbox *outbox);
