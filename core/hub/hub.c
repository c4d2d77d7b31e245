// The turn: what runs events, settles rooms, has outboxes written, and frees what has gone.
#include "hub/hub.h"

#include <assert.h>

#include "base/alloc.h"
#include "hub/internal.h"

enum {
    ROUNDS = 4, ///< in a turn: each runs at most one event, or batch, of every connection
    DEFLATED_KEPT = 64 * 1024,
};

struct peri_hub *peri_hub_new(unsigned worker, const struct peri_limits *limits) {
    assert(worker <= UINT8_MAX);
    struct peri_hub *hub = peri_calloc(1, sizeof *hub);
    if (hub) {
        hub->worker = (uint8_t)worker; // checked above
        hub->limits = limits;
        peri_slabs_init(&hub->small);
    }
    return hub;
}

void peri_hub_free(struct peri_hub *hub) {
    if (!hub) {
        return;
    }
    hub->freeing = true;
    peri_settle_free(hub);
    for (uint32_t i = 0; i < hub->slot_count; i++) {
        struct peri_conn *conn = peri_hub_in_slot(hub, i);
        if (conn) {
            peri_conn_free(hub, conn);
        }
    }
    peri_room_free_all(hub);
    peri_slabs_deinit(&hub->small);
    peri_block_unref(hub->cork);
    peri_deflate_pool_deinit(&hub->deflate);
    peri_buffer_deinit(&hub->deflated);
    peri_free(hub->slots);
    peri_free(hub->dirty);
    peri_free(hub);
}

void peri_hub_set_policy(struct peri_hub *hub, const struct peri_policy *policy) {
    hub->policy = *policy;
}

void peri_hub_set_ports(struct peri_hub *hub, const struct peri_ports *ports) {
    hub->ports = *ports;
}

const struct peri_policy *peri_hub_policy(const struct peri_hub *hub) {
    return &hub->policy;
}

const struct peri_ports *peri_hub_ports(const struct peri_hub *hub) {
    return &hub->ports;
}

const struct peri_limits *peri_hub_limits(const struct peri_hub *hub) {
    return hub->limits;
}

// Marks.

void peri_hub_want_turn(struct peri_hub *hub) {
    if (!hub->turn_asked) {
        hub->turn_asked = true;
        hub->ports.turn_soon(hub->ports.self);
    }
}

void peri_hub_mark_dirty(struct peri_hub *hub, struct peri_conn *conn) {
    if (!peri_conn_wants_flush(conn)) {
        return;
    }
    assert(!hub->flushing); // the list is being written
    conn->unwritten = true;
    if (!conn->dirty) {
        conn->dirty = true;
        assert(hub->dirty_count < hub->dirty_cap);
        hub->dirty[hub->dirty_count++] = conn;
    }
    peri_hub_want_turn(hub);
}

void peri_hub_mark_ready(struct peri_hub *hub, struct peri_conn *conn) {
    if (conn->ready) {
        return;
    }
    conn->ready = true;
    conn->next = NULL;
    if (hub->ready_first) {
        hub->ready_last->next = conn;
    } else {
        hub->ready_first = conn;
    }
    hub->ready_last = conn;
    peri_hub_want_turn(hub);
}

bool peri_hub_watch_limits(struct peri_hub *hub, struct peri_conn *conn) {
    if (!conn->outbox.blocked && !conn->over) {
        return false; // nothing counts
    }
    uint64_t counted = peri_outbox_counted(&conn->outbox);
    uint64_t soft = peri_hub_limits_of(hub, conn->script)->outbox_soft;
    if (conn->stage != STAGE_OPEN) {
        return counted > soft;
    }
    if (counted > soft) {
        conn->over = true;
        conn->paused = conn->paused || conn->own_sent;
    } else if (conn->over && 2 * counted < soft) {
        conn->over = false;
        conn->paused = false;
        peri_inbox_add_drain(hub, conn);
        peri_inbox_reopen(hub, conn);
    }
    return counted > soft;
}

// Writing.

void peri_hub_written(struct peri_hub *hub, struct peri_conn *conn, size_t bytes, bool blocked) {
    peri_outbox_consume(&conn->outbox, bytes);
    conn->outbox.blocked = blocked && conn->outbox.bytes > 0;
    if (blocked && conn->corked) {
        peri_conn_unshare(hub, conn, TAG_DIRECT);
    }
    (void)peri_hub_watch_limits(hub, conn);
    conn->own_sent = false;
}

/// Bytes that outboxes hold: blocks that wait empty to be used again do not count.
static uint64_t bytes_held(const struct peri_hub *hub) {
    uint64_t bytes = hub->account.bytes;
    if (hub->cork && peri_block_is_sole(hub->cork)) {
        bytes -= sizeof *hub->cork + hub->cork->cap;
    }
    for (uint32_t i = 0; i < hub->idle_count; i++) {
        const struct peri_block *block = hub->idle[i]->block;
        if (block && peri_block_is_sole(block)) {
            bytes -= sizeof *block + block->cap;
        }
    }
    return bytes;
}

/// The connection with most queued; of those that have ended, only what may be dropped counts.
/// @param going what ended connections still send of frames that are begun: it is on its way out
static struct peri_conn *hungriest(const struct peri_hub *hub, uint64_t *going) {
    struct peri_conn *found = NULL;
    uint32_t most = 0;
    *going = 0;
    for (uint32_t i = 0; i < hub->slot_count; i++) {
        struct peri_conn *conn = peri_hub_in_slot(hub, i);
        if (!conn || conn->outbox.bytes == 0) {
            continue;
        }
        uint32_t bytes = conn->outbox.bytes;
        if (conn->stage != STAGE_OPEN) {
            uint32_t last = PERI_FRAME_HEADER_MAX + PERI_CONTROL_MAX; // its Close frame
            *going += conn->outbox.begun_left_;
            bytes -= conn->outbox.begun_left_;
            bytes = bytes > last ? bytes : 0;
        }
        if (bytes > most) {
            most = bytes;
            found = conn;
        }
    }
    return found;
}

/// Drops what a connection has queued, save a frame that is begun.
static void shed(struct peri_hub *hub, struct peri_conn *conn) {
    peri_outbox_cut(&conn->outbox);
    peri_conn_unshare(hub, conn, TAG_ROOM);
    if (conn->stage == STAGE_OPEN) {
        peri_conn_overrun(hub, conn, "outbox_total");
    } else if (conn->said_close) {
        (void)peri_conn_say_close(hub, conn, (struct peri_str){0});
    }
}

static void keep_under_total(struct peri_hub *hub) {
    if (hub->account.bytes <= hub->limits->outbox_total) {
        return;
    }
    uint64_t going = 0;
    for (;;) {
        struct peri_conn *conn = hungriest(hub, &going);
        if (!conn || bytes_held(hub) <= hub->limits->outbox_total + going) {
            return;
        }
        shed(hub, conn);
    }
}

/// The dirty one there, and those behind it are brought near.
static struct peri_conn *next_dirty(const struct peri_hub *hub, uint32_t i) {
    enum { AHEAD = 4 };
    if (i + AHEAD < hub->dirty_count) {
        peri_conn_prefetch(hub->dirty[i + AHEAD]);
    }
    return hub->dirty[i];
}

/// Has the outboxes of the dirty ones written.
static void flush_dirty(struct peri_hub *hub) {
    assert(!hub->flushing);
    uint32_t n = 0;
    for (uint32_t i = 0; i < hub->dirty_count; i++) {
        struct peri_conn *conn = next_dirty(hub, i);
        if (conn->unwritten && peri_conn_wants_flush(conn)) {
            hub->dirty[n++] = conn;
        }
        conn->unwritten = conn->dirty = false;
    }
    hub->dirty_count = 0;
    if (n > 0) {
        hub->flushing = true;
        hub->ports.flush(hub->ports.self, hub->dirty, n);
        hub->flushing = false;
    }
}

void peri_hub_flush(struct peri_hub *hub) {
    // Who was sent something goes first, and has what its rooms have for it in the same write.
    for (uint32_t i = 0; hub->active && i < hub->dirty_count; i++) {
        peri_settle(hub, hub->dirty[i]);
    }
    flush_dirty(hub);
    if (hub->active) {
        peri_settle_all(hub);
        flush_dirty(hub);
    }
    hub->untried = 0;
    keep_under_total(hub);
}

// The turn.

/// Runs one event, or batch, of each connection that is ready now.
static void run_ready(struct peri_hub *hub) {
    struct peri_conn *last = hub->ready_last;
    bool more = hub->ready_first != NULL;
    while (more) {
        struct peri_conn *conn = hub->ready_first;
        more = conn != last;
        hub->ready_first = conn->next;
        conn->ready = false;
        peri_inbox_run(hub, conn);
    }
}

static void sweep(struct peri_hub *hub) {
    struct peri_conn *conn = hub->dead;
    hub->dead = NULL;
    while (conn) {
        struct peri_conn *next = conn->next;
        if (conn->dirty) { // its place in the list goes with the next flush
            conn->next = hub->dead;
            hub->dead = conn;
        } else {
            peri_conn_free(hub, conn);
        }
        conn = next;
    }
}

bool peri_hub_turn(struct peri_hub *hub) {
    assert(!hub->calling);
    hub->turn_asked = true; // what is marked now is seen to now
    for (int round = 0; round < ROUNDS; round++) {
        run_ready(hub);
        hub->resting = true;
        peri_hub_flush(hub);
        hub->resting = false;
        if (!hub->ready_first) {
            break;
        }
    }
    sweep(hub);
    peri_buffer_clear(&hub->deflated, DEFLATED_KEPT);
    hub->turn_asked = false;
    return hub->ready_first || hub->active || hub->dirty_count > 0 || hub->dead;
}
