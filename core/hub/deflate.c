// Compression of what goes out. A member that keeps no context shares it with all others of the same
// window; one that keeps a context has all compressed for itself, in the order in which it is sent.
//
// What was compressed with a context has to reach the peer, or the context is not the peer's any more.
// So nothing that may give way in the outbox (a `latest` frame) goes through one, and a connection
// that loses what was queued says nothing more but its Close frame.
#include <assert.h>

#include "base/alloc.h"
#include "hub/internal.h"

enum { RSV1 = 4, FIRST_FRAMES = 16 };

struct peri_deflate_pool *peri_hub_deflate_pool(struct peri_hub *hub) {
    hub->deflate_budget.max_bytes = hub->limits->deflate_memory; // may have been set meanwhile
    hub->deflate.budget = &hub->deflate_budget;
    return &hub->deflate;
}

bool peri_conn_has_context(const struct peri_conn *conn) {
    return conn->deflater && peri_deflater_is_own(conn->deflater);
}

void peri_conn_forget_context(struct peri_conn *conn) {
    if (peri_conn_has_context(conn)) {
        peri_deflater_reset(conn->deflater);
    }
}

/// A context for which there is no memory when it is first used gives way to the shared one: a side
/// that may keep a context need not.
static void have_ready(struct peri_hub *hub, struct peri_conn *conn) {
    if (!peri_conn_has_context(conn) || peri_deflater_is_ready(conn->deflater)) {
        return;
    }
    unsigned bits = peri_deflater_bits(conn->deflater);
    peri_deflater_free(conn->deflater);
    conn->deflater = peri_deflater_shared(&hub->deflate, bits);
}

bool peri_conn_deflate(struct peri_hub *hub, struct peri_conn *conn, struct peri_str payload,
                       struct peri_str *deflated) {
    have_ready(hub, conn);
    if (!conn->deflater || !peri_deflater_message(conn->deflater, payload, &hub->deflated)) {
        return false;
    }
    *deflated = peri_buffer_str(&hub->deflated);
    return true;
}

struct peri_outgoing peri_deflate_message_of(const struct peri_room_frame *frame) {
    struct peri_frame head;
    const uint8_t *bytes = frame->block->bytes + frame->offset;
    int rc = peri_frame_decode(&head, bytes, frame->length);
    assert(rc == PERI_OK); // we encoded it: text or binary
    (void)rc;
    return (struct peri_outgoing){
        .opcode = (enum peri_opcode)head.opcode,
        .payload = {(const char *)bytes + head.header_bytes, (size_t)head.length},
    };
}

/// Replaces a frame by its compressed form, if that is shorter and there is memory for it.
static void deflate_frame(struct peri_hub *hub, struct peri_deflater *deflater,
                          struct peri_deflated *d, struct peri_room_frame *frame) {
    struct peri_outgoing message = peri_deflate_message_of(frame);
    uint8_t header[PERI_FRAME_HEADER_MAX];
    if (!peri_deflater_message(deflater, message.payload, &hub->deflated)) {
        return;
    }
    struct peri_buffer *out = &hub->deflated;
    size_t header_bytes = peri_frame_encode(header, true, RSV1, message.opcode, out->len, NULL);
    size_t n = header_bytes + out->len;
    if (!peri_settle_reserve(hub, &d->block, d->count > 0, n)) {
        return;
    }
    struct peri_block *block = d->block;
    memcpy(block->bytes + block->len, header, header_bytes);
    memcpy(block->bytes + block->len + header_bytes, out->ptr, out->len);
    frame->block = block;
    frame->offset = block->len;
    frame->length = (uint32_t)n; // less than the plain one's
    block->len += frame->length;
}

static bool reserve_frames(struct peri_deflated *d, uint32_t n) {
    uint32_t cap = d->cap ? d->cap : FIRST_FRAMES;
    while (cap < n) {
        cap *= 2; // as the plain ones' does, which are as many
    }
    if (cap > d->cap) {
        struct peri_room_frame *frames = peri_realloc(d->frames, cap * sizeof *frames);
        if (!frames) {
            return false;
        }
        d->frames = frames;
        d->cap = cap;
    }
    return true;
}

const struct peri_room_frame *peri_deflated_frames(struct peri_hub *hub,
                                                   const struct peri_conn *conn,
                                                   struct peri_gathered *g, uint32_t to) {
    unsigned bits = peri_deflater_bits(conn->deflater);
    struct peri_deflated **place = &g->deflated[bits - PERI_WINDOW_MIN];
    if (!*place) {
        *place = peri_calloc(1, sizeof **place);
    }
    struct peri_deflated *d = *place;
    if (!d || !reserve_frames(d, to)) {
        return g->frames;
    }
    while (d->count < to) {
        struct peri_room_frame *frame = &d->frames[d->count];
        *frame = g->frames[d->count];
        if (frame->pays) {
            deflate_frame(hub, conn->deflater, d, frame);
        }
        (void)peri_block_ref(frame->block);
        d->count++;
    }
    return d->frames;
}

void peri_deflated_drop(struct peri_gathered *g) {
    for (size_t i = 0; i < sizeof g->deflated / sizeof g->deflated[0]; i++) {
        struct peri_deflated *d = g->deflated[i];
        if (!d) {
            continue;
        }
        for (uint32_t j = 0; j < d->count; j++) {
            peri_block_unref(d->frames[j].block);
        }
        peri_block_unref(d->block);
        peri_free(d->frames);
        peri_free(d);
        g->deflated[i] = NULL;
    }
}
