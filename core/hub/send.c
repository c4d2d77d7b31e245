// Sends to one connection. Their bytes are gathered in one block for all connections, the cork,
// which is emptied and used again once everything in it is written.
#include <assert.h>

#include "base/alloc.h"
#include "hub/internal.h"

enum { PLAIN = 0, RSV1 = 4 };

/// A frame to be queued. Its header is made where it goes: what was just written by bytes takes long
/// to be read as a whole.
struct frame {
    enum peri_opcode opcode;
    uint8_t rsv;
    struct peri_str payload;
    size_t before; ///< as of peri_outgoing
};

static size_t frame_bytes(const struct frame *frame) {
    return peri_frame_header_bytes(frame->payload.len) + frame->payload.len;
}

/// @return bytes written
static size_t encode(uint8_t out[PERI_FRAME_HEADER_MAX], const struct frame *frame) {
    return peri_frame_encode(out, true, frame->rsv, frame->opcode, frame->payload.len, NULL);
}

/// Copies the whole frame. @param to has room for it
static void copy_frame(uint8_t *to, const struct frame *frame) {
    size_t header_bytes = encode(to, frame);
    if (frame->payload.len > 0) {
        memcpy(to + header_bytes, frame->payload.ptr, frame->payload.len);
    }
}

/// Copies the frame's bytes from `skip` on.
static void copy_rest(uint8_t *to, const struct frame *frame, size_t skip) {
    uint8_t header[PERI_FRAME_HEADER_MAX];
    size_t header_bytes = encode(header, frame);
    if (skip < header_bytes) {
        memcpy(to, header + skip, header_bytes - skip);
        to += header_bytes - skip;
        skip = 0;
    } else {
        skip -= header_bytes;
    }
    if (skip < frame->payload.len) {
        memcpy(to, frame->payload.ptr + skip, frame->payload.len - skip);
    }
}

static size_t room_in(const struct peri_block *block) {
    return block->cap - block->len;
}

/// The cork with room for n bytes, at most CORK_BYTES. @return shared(ref); NULL without memory
static struct peri_block *place_in_cork(struct peri_hub *hub, size_t n) {
    if (hub->cork && peri_block_is_sole(hub->cork)) {
        hub->cork->len = 0;
    }
    if (!hub->cork || room_in(hub->cork) < n) {
        struct peri_block *cork = peri_block_new(CORK_BYTES, &hub->account);
        if (!cork) {
            return NULL;
        }
        peri_block_unref(hub->cork);
        hub->cork = cork;
    }
    return peri_block_ref(hub->cork);
}

/// For a blocked connection: the rest of the block that its queue ends in, or one more of its own.
static struct peri_block *place_apart(struct peri_hub *hub, struct peri_conn *conn, size_t n,
                                      uint64_t tag) {
    struct peri_outbox_run last;
    if (tag != TAG_DIRECT) {
        return peri_block_new(n, &hub->account);
    }
    if (peri_outbox_last(&conn->outbox, &last) && last.tag == TAG_DIRECT &&
        peri_block_is_sole(last.block) && last.offset + last.length == last.block->len &&
        room_in(last.block) >= n) {
        return peri_block_ref(last.block);
    }
    return peri_block_new(n > SLOW_BLOCK_BYTES ? n : SLOW_BLOCK_BYTES, &hub->account);
}

/// In the cork, behind what the connection has last in it: so it is where a message after another is
/// answered. @return false: it can't be so, and nothing has changed
static bool queue_behind(struct peri_hub *hub, struct peri_conn *conn, const struct frame *frame) {
    struct peri_block *cork = hub->cork;
    size_t n = frame_bytes(frame);
    if (!cork || conn->outbox.blocked || !conn->unwritten || room_in(cork) < n ||
        !peri_outbox_extend(&conn->outbox, cork, cork->len, (uint32_t)n, TAG_DIRECT)) {
        return false;
    }
    copy_frame(cork->bytes + cork->len, frame);
    cork->len += (uint32_t)n; // at most its cap
    hub->untried += n;
    return true;
}

/// Queues the frame's bytes from `skip` on.
static int queue(struct peri_hub *hub, struct peri_conn *conn, const struct frame *frame,
                 size_t skip, uint64_t tag) {
    size_t n = frame_bytes(frame) - skip;
    bool apart = conn->outbox.blocked || n > CORK_BYTES;
    struct peri_block *block = apart ? place_apart(hub, conn, n, tag) : place_in_cork(hub, n);
    if (!block) {
        return PERI_E_MEMORY;
    }
    if (skip == 0) {
        copy_frame(block->bytes + block->len, frame);
    } else {
        copy_rest(block->bytes + block->len, frame, skip);
    }
    uint32_t length = (uint32_t)n; // at most block->cap
    int rc = peri_outbox_append(&conn->outbox, block, block->len, length, tag);
    if (rc == PERI_OK) {
        block->len += length;
        conn->corked = conn->corked || !apart;
        hub->untried += conn->outbox.blocked ? 0 : n;
        peri_hub_mark_dirty(hub, conn);
    }
    peri_block_unref(block);
    return rc;
}

bool peri_conn_queue_control(struct peri_hub *hub, struct peri_conn *conn, enum peri_opcode opcode,
                             struct peri_str payload) {
    const struct frame frame = {opcode, PLAIN, payload, 0};
    bool gives_way = opcode == PERI_OP_PONG && conn->outbox.blocked;
    return queue(hub, conn, &frame, 0, gives_way ? TAG_PONG : TAG_DIRECT) == PERI_OK;
}

int peri_conn_queue_deflated(struct peri_hub *hub, struct peri_conn *conn,
                             const struct peri_outgoing *out, uint64_t most) {
    const struct frame frame = {out->opcode, RSV1, out->payload, 0};
    if (peri_outbox_counted(&conn->outbox) + frame_bytes(&frame) > most) {
        return PERI_E_LIMIT;
    }
    return queue(hub, conn, &frame, 0, TAG_DIRECT);
}

/// As long as the peer takes them, each ping gets its pong; else only the last (RFC 6455 section
/// 5.5.3). So a flood of pings costs the pongs of one read, at most.
void peri_hub_pong(struct peri_hub *hub, peri_key key, struct peri_str payload) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    if (!conn || conn->stage != STAGE_OPEN) {
        return;
    }
    peri_settle(hub, conn);
    if (conn->stage == STAGE_OPEN) {
        peri_outbox_remove_last(&conn->outbox, TAG_PONG);
        (void)peri_conn_queue_control(hub, conn, PERI_OP_PONG, payload); // else the peer asks again
    }
}

void peri_hub_ping(struct peri_hub *hub, peri_key key, struct peri_str payload) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    if (!conn || conn->stage != STAGE_OPEN) {
        return;
    }
    peri_settle(hub, conn);
    if (conn->stage == STAGE_OPEN) {
        (void)peri_conn_queue_control(hub, conn, PERI_OP_PING, payload); // else: no pong, and 1006
    }
}

/// Points at the whole frame. One piece costs the system less than two.
/// @param header where it is made, if it can't be in front of the payload
/// @return how many pieces
static int point_at(struct iovec iov[2], uint8_t header[PERI_FRAME_HEADER_MAX],
                    const struct frame *frame) {
    uint8_t *payload = (uint8_t *)(uintptr_t)frame->payload.ptr; // read, but for what is before it
    size_t header_bytes = peri_frame_header_bytes(frame->payload.len);
    if (frame->before >= header_bytes) {
        iov[0] = (struct iovec){payload - header_bytes, frame_bytes(frame)};
        (void)encode(payload - header_bytes, frame);
        return 1;
    }
    iov[0] = (struct iovec){header, encode(header, frame)};
    iov[1] = (struct iovec){payload, frame->payload.len};
    return 2;
}

/// Writes a large frame from where it lies, behind what is queued; only what the socket refuses
/// is copied.
/// @return PERI_OK; PERI_AGAIN: not now, queue it; PERI_E_MEMORY: part of it is on the wire and
///         the rest is lost
static int write_directly(struct peri_hub *hub, struct peri_conn *conn, const struct frame *frame) {
    struct peri_outbox *outbox = &conn->outbox;
    if (peri_conn_wants_flush(conn)) {
        hub->ports.flush(hub->ports.self, &conn, 1);
    }
    if (outbox->bytes > 0 || outbox->blocked || !conn->transport) {
        return PERI_AGAIN;
    }
    uint8_t header[PERI_FRAME_HEADER_MAX];
    struct iovec iov[2];
    int pieces = point_at(iov, header, frame);
    size_t n = frame_bytes(frame);
    size_t written = hub->ports.write(hub->ports.self, conn->transport, iov, pieces);
    if (written >= n) {
        return PERI_OK;
    }
    outbox->blocked = true;
    if (queue(hub, conn, frame, written, TAG_DIRECT) != PERI_OK) {
        outbox->blocked = false;
        return written > 0 ? PERI_E_MEMORY : PERI_AGAIN;
    }
    outbox->begun_left_ = written > 0 ? (n - written) & PERI_OUTBOX_FRAME_MAX : 0;
    return PERI_OK;
}

/// Does an answer of n bytes make reading pause, and is it no larger than what may come? Such a one passes
/// the hard limit: else it would depend on the peer's pace whether its largest messages can be sent back.
static bool is_last_answer(const struct peri_limits *limits, const struct peri_conn *conn,
                           size_t n) {
    uint64_t waits = peri_outbox_counted(&conn->outbox), soft = limits->outbox_soft;
    return waits <= soft && waits + n > soft && n <= peri_limits_frame_max(limits);
}

int peri_conn_send(struct peri_hub *hub, struct peri_conn *conn, const struct peri_outgoing *out,
                   bool own) {
    if (conn->stage != STAGE_OPEN || conn->code != 0) {
        return PERI_E_CLOSED;
    }
    const struct peri_limits *limits = peri_hub_limits_of(hub, conn->script);
    uint64_t hard = peri_limits_outbox_hard(limits);
    struct frame frame = {out->opcode, PLAIN, out->payload, out->before};
    if (frame_bytes(&frame) > hard) {
        return PERI_E_LIMIT;
    }
    peri_settle(hub, conn); // before compressing: what it brings is compressed before this
    if (conn->stage != STAGE_OPEN) {
        return PERI_E_CLOSED;
    }
    struct peri_str deflated;
    if (conn->deflater && peri_deflate_pays(hub, out->payload.len) &&
        peri_conn_deflate(hub, conn, out->payload, &deflated)) {
        frame = (struct frame){out->opcode, RSV1, deflated, 0};
    }
    size_t n = frame_bytes(&frame);
    if (peri_outbox_counted(&conn->outbox) + n > hard &&
        !(own && is_last_answer(limits, conn, n))) {
        peri_conn_overrun(hub, conn, "outbox_hard");
        return PERI_E_CLOSED;
    }
    int rc = PERI_AGAIN;
    if (n >= DIRECT_BYTES && !conn->outbox.blocked) {
        rc = write_directly(hub, conn, &frame);
    }
    if (rc == PERI_AGAIN) {
        rc = queue_behind(hub, conn, &frame) ? PERI_OK : queue(hub, conn, &frame, 0, TAG_DIRECT);
        if (rc != PERI_OK) {
            peri_conn_forget_context(conn);
            return rc;
        }
    } else if (rc != PERI_OK) {
        // The frame can't be finished, so nothing more can be said on this connection.
        peri_hub_end(hub, conn->key, PERI_END_LOST, 1006, PERI_STR("out of memory"));
        return PERI_E_CLOSED;
    }
    conn->own_sent = conn->own_sent || (own && conn->outbox.bytes > 0);
    if (!conn->outbox.blocked &&
        (conn->outbox.bytes >= FLUSH_ONE_BYTES || hub->untried >= FLUSH_ALL_BYTES)) {
        peri_hub_flush(hub);
    }
    return peri_hub_watch_limits(hub, conn) ? PERI_AGAIN : PERI_OK;
}

static bool is_shared(const struct peri_hub *hub, const struct peri_outbox_run *run, uint64_t tag) {
    if (!run->block) {
        return false; // it gave way
    }
    if (tag == TAG_ROOM) {
        return true;
    }
    if (run->tag != TAG_DIRECT && run->tag != TAG_PONG) {
        return false;
    }
    return !peri_block_is_sole(run->block) || run->block == hub->cork ||
           (run->block->cap == CORK_BYTES && run->length < CORK_BYTES / 2); // a cork of before
}

void peri_conn_unshare(struct peri_hub *hub, struct peri_conn *conn, uint64_t tag) {
    struct peri_outbox_run run;
    size_t bytes = 0;
    for (uint32_t i = 0; peri_outbox_at(&conn->outbox, i, &run); i++) {
        bytes += is_shared(hub, &run, tag) ? run.length : 0;
    }
    conn->corked = false;
    struct peri_block *block = bytes ? peri_block_new(bytes, &hub->account) : NULL;
    if (!block) {
        return; // nothing to do; or no memory, and it holds what it holds
    }
    for (uint32_t i = 0; peri_outbox_at(&conn->outbox, i, &run); i++) {
        if (!is_shared(hub, &run, tag) || run.block == block) {
            continue;
        }
        memcpy(block->bytes + block->len, run.block->bytes + run.offset, run.length);
        peri_outbox_move(&conn->outbox, i, block, block->len);
        block->len += run.length;
    }
    peri_block_unref(block);
}
