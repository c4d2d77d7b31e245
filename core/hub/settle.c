// Broadcasts. A room gathers the frames of a turn once for all its members; to settle a member is
// to give it what its rooms have gathered since it was last settled, in the order of the hub's
// running number: into its outbox, where limits and slow policies act, or, where nothing waits,
// straight to its socket.
#include <assert.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/prefetch.h"
#include "hub/internal.h"

enum { FIRST_FRAMES = 16, KEPT_FRAMES = 1024, FIRST_BLOCK = 4 * 1024, LARGEST_BLOCK = 64 * 1024 };

uint32_t peri_settle_end(const struct peri_room *room) {
    return room->base + (room->gathered ? room->gathered->count : 0);
}

static bool is_behind(const struct peri_room *room, const struct peri_membership *m) {
    return m->cursor != peri_settle_end(room);
}

// Gathering.

static void free_gathered(struct peri_gathered *g) {
    peri_block_unref(g->block);
    peri_free(g->frames);
    peri_free(g);
}

static bool activate(struct peri_hub *hub, struct peri_room *room) {
    struct peri_gathered *g =
        hub->idle_count ? hub->idle[--hub->idle_count] : peri_calloc(1, sizeof *g);
    if (!g) {
        return false;
    }
    if (g->block && peri_block_is_sole(g->block)) {
        g->block->len = 0;
    }
    room->gathered = g;
    room->next_active = hub->active;
    hub->active = peri_room_ref(room);
    hub->active_count++;
    return true;
}

/// Every member has been settled.
static void deactivate(struct peri_hub *hub, struct peri_room *room) {
    struct peri_gathered *g = room->gathered;
    room->base += g->count;
    room->gathered = NULL;
    peri_deflated_drop(g);
    for (uint32_t i = 0; i < g->count; i++) {
        peri_block_unref(g->frames[i].block);
    }
    if (g->block && g->block->cap > LARGEST_BLOCK) {
        peri_block_unref(g->block);
        g->block = NULL;
    }
    if (hub->idle_count == IDLE_GATHERED || g->cap > KEPT_FRAMES) {
        free_gathered(g);
    } else {
        *g = (struct peri_gathered){.frames = g->frames, .cap = g->cap, .block = g->block};
        hub->idle[hub->idle_count++] = g;
    }
}

static bool reserve_frame(struct peri_gathered *g) {
    if (g->count < g->cap) {
        return true;
    }
    uint32_t cap = g->cap ? 2 * g->cap : FIRST_FRAMES;
    struct peri_room_frame *frames = peri_realloc(g->frames, cap * sizeof *frames);
    if (!frames) {
        return false;
    }
    g->frames = frames;
    g->cap = cap;
    return true;
}

bool peri_settle_reserve(struct peri_hub *hub, struct peri_block **block, bool follows, size_t n) {
    if (*block && (*block)->cap - (*block)->len >= n) {
        return true;
    }
    size_t cap = *block && follows ? 4 * (size_t)(*block)->cap : FIRST_BLOCK;
    if (cap > LARGEST_BLOCK) {
        cap = LARGEST_BLOCK;
    }
    struct peri_block *next = peri_block_new(n > cap ? n : cap, &hub->account);
    if (!next) {
        return false;
    }
    peri_block_unref(*block);
    *block = next;
    return true;
}

/// What names a `latest` frame's place: its room and key.
static uint64_t tag_of(const struct peri_room *room, const struct peri_broadcast *broadcast) {
    if (broadcast->slow != PERI_SLOW_LATEST) {
        return TAG_ROOM;
    }
    uint64_t tag = room->id * UINT64_C(0x9e3779b97f4a7c15);
    if (broadcast->key.len > 0) {
        tag ^= peri_hash(broadcast->key.ptr, broadcast->key.len);
    }
    return tag < TAG_LATEST ? tag + TAG_LATEST : tag;
}

static int gather(struct peri_hub *hub, struct peri_room *room,
                  const struct peri_broadcast *broadcast, const uint8_t *header,
                  size_t header_bytes) {
    struct peri_str payload = broadcast->out.payload;
    size_t n = header_bytes + payload.len;
    if (!room->gathered && !activate(hub, room)) {
        return PERI_E_MEMORY;
    }
    struct peri_gathered *g = room->gathered;
    if (!reserve_frame(g) || !peri_settle_reserve(hub, &g->block, g->count > 0, n)) {
        return PERI_E_MEMORY;
    }
    struct peri_block *block = g->block;
    struct peri_room_frame *frame = &g->frames[g->count++];
    *frame = (struct peri_room_frame){
        .number = ++hub->last_number,
        .tag = tag_of(room, broadcast),
        .block = peri_block_ref(block),
        .offset = block->len,
        .length = (uint32_t)n, // at most block->cap
        .slow = broadcast->slow,
        .pays = peri_deflate_pays(hub, payload.len),
    };
    memcpy(block->bytes + block->len, header, header_bytes);
    if (payload.len > 0) {
        memcpy(block->bytes + block->len + header_bytes, payload.ptr, payload.len);
    }
    block->len += frame->length;
    g->bytes += n;
    g->largest = frame->length > g->largest ? frame->length : g->largest;
    g->latest = g->latest || broadcast->slow == PERI_SLOW_LATEST;
    g->pays = g->pays || frame->pays;
    hub->untried += n;
    return PERI_OK;
}

/// The membership of an excepted connection; NULL when it has none.
static struct peri_membership *excepted(const struct peri_hub *hub, const struct peri_room *room,
                                        peri_key key) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    return conn ? peri_room_membership(conn, room) : NULL;
}

static void settle_excepted(struct peri_hub *hub, const struct peri_room *room,
                            const struct peri_broadcast *broadcast) {
    for (size_t i = 0; hub->active_count > 0 && i < broadcast->except_count; i++) {
        struct peri_membership *m = excepted(hub, room, broadcast->except[i]);
        if (m) {
            peri_settle(hub, peri_member_of(room, m));
        }
    }
}

/// The excepted, who had all that came before, step over the frame just gathered.
/// @return how many
static size_t step_over(const struct peri_hub *hub, const struct peri_room *room,
                        const struct peri_broadcast *broadcast) {
    size_t count = 0;
    for (size_t i = 0; i < broadcast->except_count; i++) {
        struct peri_membership *m = excepted(hub, room, broadcast->except[i]);
        if (m && is_behind(room, m)) { // else named twice
            m->cursor = peri_settle_end(room);
            count++;
        }
    }
    return count;
}

int peri_room_broadcast(struct peri_hub *hub, struct peri_room *room,
                        const struct peri_broadcast *broadcast, size_t *addressed) {
    size_t payload_bytes = broadcast->out.payload.len;
    uint8_t header[PERI_FRAME_HEADER_MAX];
    size_t header_bytes =
        peri_frame_encode(header, true, 0, broadcast->out.opcode, payload_bytes, NULL);
    if (payload_bytes + header_bytes >
        peri_limits_outbox_hard(peri_hub_limits_of(hub, room->owner))) {
        return PERI_E_LIMIT;
    }
    int rc = PERI_OK;
    size_t count = 0;
    peri_room_ref(room); // its members may all end on the way
    settle_excepted(hub, room, broadcast);
    if (room->member_count > 0) {
        rc = gather(hub, room, broadcast, header, header_bytes);
    }
    if (room->member_count > 0 && rc == PERI_OK) {
        count = room->member_count - step_over(hub, room, broadcast);
        peri_hub_want_turn(hub);
        if (room->gathered->bytes >= FLUSH_ONE_BYTES || hub->untried >= FLUSH_ALL_BYTES) {
            peri_hub_flush(hub);
        }
    }
    if (rc == PERI_OK) {
        *addressed = count;
    }
    peri_room_unref(hub, room);
    return rc;
}

// Settling.

/// A slow policy leaves something out for a connection. Said once until its `drain`.
static void miss(struct peri_conn *conn, uint32_t count, const char *policy) {
    if (conn->outbox.missed == 0 && count > 0) {
        const struct peri_log_field fields[] = {{"limit", PERI_STR("outbox_soft")},
                                                {"slow", peri_str_of(policy)},
                                                {"remote", peri_conn_remote(conn)},
                                                {NULL, {0}}};
        peri_log_fields(PERI_LOG_INFO, PERI_STR("a slow connection misses messages"), fields);
    }
    conn->outbox.missed += count;
    conn->over = conn->over || count > 0; // what gave way may have brought it back under at once
}

/// Queues one frame for a connection, compressed with its own context.
/// @return PERI_OK; PERI_AGAIN: it is to be queued as it is; PERI_E_CLOSED: the connection has ended
static int take_with_context(struct peri_hub *hub, struct peri_conn *conn,
                             const struct peri_limits *limits,
                             const struct peri_room_frame *frame) {
    struct peri_outgoing out = peri_deflate_message_of(frame);
    if (!peri_conn_deflate(hub, conn, out.payload, &out.payload)) {
        return PERI_AGAIN;
    }
    int rc = peri_conn_queue_deflated(hub, conn, &out, peri_limits_outbox_hard(limits));
    if (rc != PERI_OK) {
        peri_conn_overrun(hub, conn, rc == PERI_E_LIMIT ? "outbox_hard" : "memory");
        return PERI_E_CLOSED;
    }
    return PERI_OK;
}

/// Queues one frame for a connection, or does what the limits say.
/// @return false when the connection has ended over it
static bool take_frame(struct peri_hub *hub, struct peri_conn *conn,
                       const struct peri_limits *limits, const struct peri_room_frame *frame) {
    struct peri_outbox *outbox = &conn->outbox;
    if (peri_outbox_counted(outbox) > limits->outbox_soft) {
        switch (frame->slow) {
        case PERI_SLOW_CLOSE: peri_conn_overrun(hub, conn, "outbox_soft"); return false;
        case PERI_SLOW_DROP: miss(conn, 1, "drop"); return true;
        case PERI_SLOW_LATEST: miss(conn, peri_outbox_remove(outbox, frame->tag), "latest"); break;
        }
    }
    if (frame->pays && frame->slow != PERI_SLOW_LATEST && peri_conn_has_context(conn)) {
        int rc = take_with_context(hub, conn, limits, frame);
        if (rc != PERI_AGAIN) {
            return rc == PERI_OK;
        }
    }
    if (peri_outbox_counted(outbox) + (uint64_t)frame->length > peri_limits_outbox_hard(limits)) {
        peri_conn_overrun(hub, conn, "outbox_hard");
        return false;
    }
    if (peri_outbox_append(outbox, frame->block, frame->offset, frame->length, frame->tag) !=
        PERI_OK) {
        peri_conn_overrun(hub, conn, "memory");
        return false;
    }
    return true;
}

/// Queues frames that no limit can touch: one run for all that lie in one block.
static bool take_runs(struct peri_hub *hub, struct peri_conn *conn,
                      const struct peri_room_frame *frames, uint32_t n) {
    for (uint32_t i = 0; i < n;) {
        uint32_t last = n - 1;
        if (frames[last].block != frames[i].block) { // blocks follow each other, none comes back
            last = i;
            while (frames[last + 1].block == frames[i].block) {
                last++;
            }
        }
        uint32_t length = frames[last].offset + frames[last].length - frames[i].offset;
        if (peri_outbox_append(&conn->outbox, frames[i].block, frames[i].offset, length,
                               TAG_ROOM) != PERI_OK) {
            peri_conn_overrun(hub, conn, "memory");
            return false;
        }
        i = last + 1;
    }
    return true;
}

/// Takes from a room what comes before the frame numbered `before`.
static bool take(struct peri_hub *hub, struct peri_conn *conn, struct peri_behind in,
                 uint64_t before) {
    struct peri_membership *m = in.m;
    struct peri_gathered *g = in.room->gathered;
    const struct peri_room_frame *frames = g->frames;
    const struct peri_limits *limits = peri_hub_limits_of(hub, conn->script);
    uint32_t from = m->cursor - in.room->base;
    uint32_t to = g->count;
    if (before != UINT64_MAX) {
        to = from;
        while (to < g->count && g->frames[to].number < before) {
            to++;
        }
    }
    m->cursor += to - from;
    bool deflate = g->pays && conn->deflater;
    if (!deflate && !conn->outbox.blocked && !g->latest &&
        g->largest <= peri_limits_outbox_hard(limits)) {
        return take_runs(hub, conn, frames + from, to - from);
    }
    if (deflate && !peri_conn_has_context(conn)) {
        frames = peri_deflated_frames(hub, conn, g, to);
    }
    for (uint32_t i = from; i < to; i++) {
        if (!take_frame(hub, conn, limits, &frames[i])) {
            return false;
        }
    }
    return true;
}

static uint64_t next_number(struct peri_behind in) {
    return in.room->gathered->frames[in.m->cursor - in.room->base].number;
}

/// Takes from the n rooms in hub->merge in the order of the frames' numbers.
static bool take_merged(struct peri_hub *hub, struct peri_conn *conn, uint32_t n) {
    struct peri_behind *merge = hub->merge;
    assert(merge); // there are two rooms to merge, so one was joined
    while (n > 1) {
        uint32_t first = 0;
        uint64_t least = UINT64_MAX, second = UINT64_MAX;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t number = next_number(merge[i]);
            if (number < least) {
                second = least;
                least = number;
                first = i;
            } else if (number < second) {
                second = number;
            }
        }
        if (!take(hub, conn, merge[first], second)) {
            return false;
        }
        if (!is_behind(merge[first].room, merge[first].m)) {
            merge[first] = merge[--n];
        }
    }
    return n == 0 || take(hub, conn, merge[0], UINT64_MAX);
}

static void settled(struct peri_hub *hub, struct peri_conn *conn) {
    peri_hub_mark_dirty(hub, conn);
    // What is compressed for it alone is not to add up over all members before the flush.
    if (conn->outbox.bytes >= FLUSH_ONE_BYTES && peri_conn_has_context(conn) &&
        peri_conn_wants_flush(conn)) {
        hub->ports.flush(hub->ports.self, &conn, 1);
    }
    if (conn->outbox.blocked) {
        (void)peri_hub_watch_limits(hub, conn);
    }
}

/// If it is behind in that room, one more is to be merged.
static void note_behind(struct peri_hub *hub, struct peri_behind *last, uint32_t *n,
                        struct peri_behind in) {
    if (is_behind(in.room, in.m)) {
        *last = in;
        if (hub->merge) { // NULL: nobody ever joined a room, so `all` is the only one
            hub->merge[*n] = in;
        }
        (*n)++;
    }
}

/// Do the frames lie in one piece? Plain ones do where the ends are in one block: blocks follow each
/// other, none comes back. Between compressed ones there may be a plain one.
static bool in_one_piece(const struct peri_room_frame *frames, uint32_t n, bool plain) {
    bool one = frames[n - 1].block == frames[0].block;
    for (uint32_t i = 1; one && !plain && i < n; i++) {
        one = frames[i].block == frames[0].block;
    }
    return one;
}

/// Is no frame of the room larger than may wait for a connection of that script?
static bool fit(const struct peri_hub *hub, const struct peri_room *room, uint32_t script) {
    return room->gathered->largest <= peri_limits_outbox_hard(peri_hub_limits_of(hub, script));
}

/// Writes what is behind in a room, whose frames fit, straight from the room's block, past the outbox:
/// for a connection that has nothing else waiting, where no slow policy has a say. What the socket
/// refuses is queued.
/// @return false: it is to be taken
static bool write_past(struct peri_hub *hub, struct peri_conn *conn, struct peri_behind in) {
    struct peri_gathered *g = in.room->gathered;
    uint32_t from = in.m->cursor - in.room->base;
    uint32_t n = g->count - from;
    if (!peri_outbox_is_empty(&conn->outbox) || conn->outbox.blocked || !conn->transport ||
        (g->latest && n > 1)) {
        return false;
    }
    const struct peri_room_frame *first = g->frames + from;
    bool plain = !g->pays || !conn->deflater;
    if (!plain) {
        if (peri_conn_has_context(conn)) {
            return false;
        }
        first = peri_deflated_frames(hub, conn, g, g->count) + from;
    }
    if (!in_one_piece(first, n, plain)) {
        return false;
    }
    in.m->cursor += n;
    uint32_t length = first[n - 1].offset + first[n - 1].length - first->offset;
    const struct iovec iov = {first->block->bytes + first->offset, length};
    size_t written = hub->ports.write(hub->ports.self, conn->transport, &iov, 1);
    if (written < length) {
        int rc = peri_outbox_append(&conn->outbox, first->block, first->offset, length,
                                    n == 1 ? first->tag : TAG_ROOM);
        assert(rc == PERI_OK); // the only run is held in place
        (void)rc;
        peri_hub_written(hub, conn, written, true);
    }
    return true;
}

/// @param n     of how many rooms; with more than one they are in hub->merge
/// @param write there is one room, whose frames fit: what has no need to wait may be written
static void settle_for(struct peri_hub *hub, struct peri_conn *conn, struct peri_behind last,
                       uint32_t n, bool write) {
    if (n == 0 || (write && write_past(hub, conn, last))) {
        return;
    }
    bool open = n == 1 ? take(hub, conn, last, UINT64_MAX) : take_merged(hub, conn, n);
    if (open) {
        settled(hub, conn);
    }
}

static void settle_rooms(struct peri_hub *hub, struct peri_conn *conn, bool write) {
    struct peri_behind last = {0};
    uint32_t n = 0;
    note_behind(hub, &last, &n, (struct peri_behind){&conn->all, peri_conn_all(hub, conn)});
    for (struct peri_joined *joined = conn->all.next; joined; joined = joined->m.next) {
        note_behind(hub, &last, &n, (struct peri_behind){&joined->m, joined->room});
    }
    settle_for(hub, conn, last, n, write && n == 1 && fit(hub, last.room, conn->script));
}

void peri_settle(struct peri_hub *hub, struct peri_conn *conn) {
    if (hub->active_count > 0 && conn->stage == STAGE_OPEN) {
        settle_rooms(hub, conn, false);
    }
}

/// Of a large room no cache has all: members are brought near in the order in which they come. The
/// system's work for one is long enough for the next one's.
static void prefetch_members(const struct peri_room *room, uint32_t i) {
    uint32_t end = room->member_end;
    if (i + 3 < end) {
        peri_prefetch(room->members[i + 3], sizeof(struct peri_membership));
    }
    if (i + 2 < end && room->members[i + 2]) {
        peri_conn_prefetch(peri_member_of(room, room->members[i + 2]));
    }
    if (i + 1 < end && room->members[i + 1]) {
        peri_prefetch(peri_member_of(room, room->members[i + 1])->transport, PERI_CACHE_LINE);
    }
}

static void settle_members(struct peri_hub *hub, struct peri_room *room) {
    bool single = hub->active_count == 1;
    bool write = false;
    uint32_t script = PERI_SHARED; // of the last one; no connection's
    for (uint32_t i = 0; i < room->member_end; i++) {
        struct peri_membership *m = room->members[i];
        prefetch_members(room, i);
        if (!m || !is_behind(room, m)) {
            continue;
        }
        struct peri_conn *conn = peri_member_of(room, m);
        if (single) {
            write = conn->script == script ? write : fit(hub, room, conn->script);
            script = conn->script;
            settle_for(hub, conn, (struct peri_behind){m, room}, 1, write);
        } else {
            settle_rooms(hub, conn, true);
        }
    }
}

void peri_settle_all(struct peri_hub *hub) {
    bool was_iterating = hub->iterating;
    hub->iterating = true;
    for (struct peri_room *room = hub->active; room; room = room->next_active) {
        settle_members(hub, room);
    }
    hub->iterating = was_iterating;
    while (hub->active) {
        struct peri_room *room = hub->active;
        hub->active = room->next_active;
        hub->active_count--;
        deactivate(hub, room);
        if (hub->resting) {
            peri_room_compact(hub, room);
        }
        peri_room_unref(hub, room);
    }
}

void peri_settle_skip(const struct peri_hub *hub, struct peri_conn *conn) {
    conn->all.cursor = peri_settle_end(peri_conn_all(hub, conn));
    for (struct peri_joined *joined = conn->all.next; joined; joined = joined->m.next) {
        joined->m.cursor = peri_settle_end(joined->room);
    }
}

void peri_settle_free(struct peri_hub *hub) {
    hub->iterating = true; // no room is compacted on the way out
    while (hub->active) {
        struct peri_room *room = hub->active;
        hub->active = room->next_active;
        hub->active_count--;
        deactivate(hub, room);
        peri_room_unref(hub, room);
    }
    while (hub->idle_count > 0) {
        free_gathered(hub->idle[--hub->idle_count]);
    }
}
