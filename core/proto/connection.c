// Bytes to events. A frame is read in two stages, header and payload; either may be cut anywhere
// by the end of the input. Everything is checked in the order of the bytes, as soon as they are
// there, so that the events do not depend on how the input was cut. (They do where a peer reaches
// back further than the window that it agreed to: see peri_inflater_new.)
#include "proto/connection.h"

#include "base/alloc.h"
#include "base/buffer.h"
#include "proto/deflate.h"
#include "proto/utf8.h"

enum {
    FIN = 0x80,
    RSV1 = 0x40,
    MASKED = 0x80,
    SHORT_HEADER_BYTES = 6, ///< of a masked frame with a short length
};

enum stage {
    STAGE_HEADER,
    STAGE_PAYLOAD,
    STAGE_CLOSED, ///< a Close frame was delivered
    STAGE_BROKEN, ///< by the peer
    STAGE_NO_MEMORY,
};

/// Where in a frame, and in a message, the bytes are.
struct progress {
    union {
        uint8_t header[PERI_FRAME_HEADER_MAX]; ///< an incomplete frame header
        struct {
            uint64_t left; ///< payload bytes to come
            uint8_t key[4];
            uint8_t key_at; ///< where in the key the next byte is
            uint8_t opcode;
            bool fin, masked;
        } frame; ///< the frame whose payload is being read
    };
    uint8_t header_bytes;  ///< held
    bool compressed;       ///< the message being assembled is
    struct peri_utf8 utf8; ///< of the text being assembled
    uint32_t fragments;
};

/// What outlives the read it came in. A control frame may come in the midst of a message, so each
/// has its own place.
struct peri_partial {
    struct progress progress;
    struct peri_buffer message;  ///< as it came
    struct peri_buffer inflated; ///< what a compressed one holds
    uint64_t deflated_bytes;     ///< taken of a compressed one
    bool delivered;              ///< what it holds was given out by the last call
    uint8_t control_bytes;
    uint8_t control[PERI_CONTROL_MAX];
};

/// One call's view: the connection, and where it is. That goes into the partial at the call's end, where
/// something is unfinished then.
struct reading {
    struct peri_connection *c;
    struct progress at;
};

_Static_assert(sizeof(struct peri_connection) <= 32, "part of every idle connection");

static bool is_control(uint8_t opcode) {
    return opcode & 0x8;
}

static void free_partial(struct peri_connection *c) {
    if (c->stage_ < STAGE_BROKEN && c->partial_) {
        peri_buffer_deinit(&c->partial_->message);
        peri_buffer_deinit(&c->partial_->inflated);
        peri_free(c->partial_);
        c->partial_ = NULL;
    }
}

static int fail(struct peri_connection *c, uint16_t code, const char *text) {
    free_partial(c);
    c->stage_ = STAGE_BROKEN;
    c->error_code = code;
    c->error_text = text;
    return PERI_E_PROTOCOL;
}

static int fail_memory(struct peri_connection *c) {
    free_partial(c);
    c->stage_ = STAGE_NO_MEMORY;
    c->error_code = 1011;
    c->error_text = "out of memory";
    return PERI_E_MEMORY;
}

/// The last event was used: nothing of it stays.
static void drop_delivered(struct peri_connection *c) {
    if (!c->partial_ || !c->partial_->delivered) {
        return;
    }
    if (c->message_opcode_) {
        c->partial_->control_bytes = 0; // it was a control frame inside the message
        c->partial_->delivered = false;
    } else {
        free_partial(c);
    }
}

/// Makes place for what must be kept until the next read.
static bool has_partial(struct peri_connection *c) {
    if (!c->partial_) {
        c->partial_ = peri_calloc(1, sizeof *c->partial_);
    }
    return c->partial_ != NULL;
}

/// RSV1 on the first frame of a message says that it is compressed. RFC 7692 section 6
static bool is_compressed(const struct peri_connection *c, uint8_t first) {
    uint8_t opcode = first & 0xf;
    return (first & 0x70) == RSV1 && c->inflater &&
           (opcode == PERI_OP_TEXT || opcode == PERI_OP_BINARY);
}

/// Checks what the first byte of a header says. RFC 6455 sections 5.2, 5.4, 5.5
static int check_first(struct peri_connection *c, uint8_t first) {
    bool fin = first & 0x80;
    if (first & 0x70 && !is_compressed(c, first)) {
        return fail(c, 1002, "reserved bit set");
    }
    switch (first & 0xf) {
    case PERI_OP_CONTINUATION:
        return c->message_opcode_ ? PERI_OK : fail(c, 1002, "continuation of no message");
    case PERI_OP_TEXT:
    case PERI_OP_BINARY:
        return c->message_opcode_ ? fail(c, 1002, "message inside a message") : PERI_OK;
    case PERI_OP_CLOSE:
    case PERI_OP_PING:
    case PERI_OP_PONG: return fin ? PERI_OK : fail(c, 1002, "fragmented control frame");
    default: return fail(c, 1002, "reserved opcode");
    }
}

/// Checks what the second byte adds. RFC 6455 sections 5.1, 5.5
static int check_second(struct peri_connection *c, uint8_t first, uint8_t second) {
    bool masked = second & 0x80;
    if (masked != (c->role == PERI_SERVER)) {
        return fail(c, 1002, masked ? "masked frame from a server" : "unmasked frame");
    }
    uint8_t length = second & 0x7f;
    if (is_control(first) && length > PERI_CONTROL_MAX) {
        return fail(c, 1002, "control frame too long");
    }
    if ((first & 0xf) == PERI_OP_CLOSE && length == 1) {
        return fail(c, 1002, "close code cut short");
    }
    return PERI_OK;
}

/// Reads a header from bytes; what comes of it is as of peri_frame_decode.
static int check_header(struct peri_connection *c, struct peri_frame *frame, const uint8_t *bytes,
                        size_t n) {
    int rc = n > 0 ? check_first(c, bytes[0]) : PERI_OK;
    if (rc == PERI_OK && n > 1) {
        rc = check_second(c, bytes[0], bytes[1]);
    }
    if (rc != PERI_OK) {
        return rc;
    }
    rc = peri_frame_decode(frame, bytes, n);
    return rc == PERI_E_PROTOCOL ? fail(c, 1002, "bad frame length") : rc;
}

/// Takes a whole header from the input, or what there is of it.
static int take_header(struct reading *r, struct peri_span *in, struct peri_frame *frame) {
    struct peri_connection *c = r->c;
    if (r->at.header_bytes == 0) {
        int rc = check_header(c, frame, in->ptr, in->len);
        if (rc == PERI_OK) {
            in->ptr += frame->header_bytes;
            in->len -= frame->header_bytes;
        }
        if (rc != PERI_AGAIN) {
            return rc;
        }
    }
    // What is incomplete fits; if it is complete now, it is so before the array is full.
    while (in->len > 0) {
        r->at.header[r->at.header_bytes++] = *in->ptr++;
        in->len--;
        int rc = check_header(c, frame, r->at.header, r->at.header_bytes);
        if (rc != PERI_AGAIN) {
            r->at.header_bytes = 0;
            return rc;
        }
    }
    return PERI_AGAIN;
}

static int fail_too_big(struct peri_connection *c) {
    return fail(c, 1009, "message too big (message_bytes)");
}

/// How many bytes a message may come in. What can't be compressed gets a little longer, by an
/// eighth with the least frugal settings of zlib.
static uint64_t incoming_bytes(const struct reading *r) {
    uint64_t most = r->c->max_message_bytes;
    return r->at.compressed ? most + most / 4 + 1024 : most;
}

/// Starts a message or continues one. RFC 6455 section 5.4
static int begin_data(struct reading *r, const struct peri_frame *frame) {
    struct peri_connection *c = r->c;
    if (frame->opcode != PERI_OP_CONTINUATION) {
        c->message_opcode_ = frame->opcode;
        r->at.compressed = frame->rsv != 0; // checked: RSV1, and agreed on
        r->at.fragments = 0;
    }
    const struct peri_partial *partial = c->partial_;
    uint64_t held = !partial           ? 0
                    : r->at.compressed ? partial->deflated_bytes
                                       : partial->message.len;
    uint64_t most = incoming_bytes(r);
    if (held > most || frame->length > most - held) {
        return fail_too_big(c);
    }
    if (r->at.fragments >= c->max_fragments) {
        return fail(c, 1008, "too many fragments (fragments)");
    }
    r->at.fragments++;
    return PERI_OK;
}

static int begin_frame(struct reading *r, const struct peri_frame *frame) {
    if (!is_control(frame->opcode)) {
        int rc = begin_data(r, frame);
        if (rc != PERI_OK) {
            return rc;
        }
    }
    r->at.frame.left = frame->length;
    memcpy(r->at.frame.key, frame->key, sizeof r->at.frame.key);
    r->at.frame.key_at = 0;
    r->at.frame.opcode = frame->opcode;
    r->at.frame.fin = frame->fin;
    r->at.frame.masked = frame->masked;
    r->c->stage_ = STAGE_PAYLOAD;
    return PERI_OK;
}

/// Takes what the input has of the frame's payload, unmasked.
static struct peri_str take_payload(struct reading *r, struct peri_span *in) {
    size_t n = r->at.frame.left < in->len ? (size_t)r->at.frame.left : in->len; // the smaller
    if (r->at.frame.masked) {
        peri_mask(in->ptr, n, r->at.frame.key, r->at.frame.key_at);
        r->at.frame.key_at = (uint8_t)((r->at.frame.key_at + n) & 3);
    }
    struct peri_str taken = {(const char *)in->ptr, n};
    in->ptr += n;
    in->len -= n;
    r->at.frame.left -= n;
    return taken;
}

/// RFC 6455 sections 5.5.1, 7.4
static int deliver_close(struct peri_connection *c, struct peri_event *ev) {
    ev->close_code = 1005;
    if (ev->payload.len > 0) {
        const uint8_t *bytes = (const uint8_t *)ev->payload.ptr; // not 1 byte: check_second
        int code = bytes[0] << 8 | bytes[1];
        if (!peri_close_code_is_valid(code)) {
            return fail(c, 1002, "invalid close code");
        }
        if (!peri_utf8_is_valid(bytes + 2, ev->payload.len - 2)) {
            return fail(c, 1007, "close reason is not UTF-8");
        }
        ev->close_code = (uint16_t)code; // two bytes
        ev->payload = peri_str(ev->payload.ptr + 2, ev->payload.len - 2);
    }
    c->message_opcode_ = 0; // a message it cut off will never end
    c->stage_ = STAGE_CLOSED;
    return PERI_OK;
}

/// Gives out the payload: where it is in the input, if all of it is.
static int deliver(struct peri_connection *c, enum peri_event_kind kind, struct peri_str in_input,
                   struct peri_str in_partial, struct peri_event *ev) {
    struct peri_event event = {
        .kind = kind,
        .in_input = in_partial.len == 0,
        .payload = in_partial.len == 0 ? in_input : in_partial,
    };
    c->stage_ = STAGE_HEADER;
    if (kind == PERI_EV_CLOSE) {
        int rc = deliver_close(c, &event);
        if (rc != PERI_OK) {
            return rc;
        }
    }
    if (c->partial_) {
        c->partial_->delivered = true;
    }
    *ev = event;
    return PERI_OK;
}

static int read_control(struct reading *r, struct peri_str taken, struct peri_event *ev) {
    struct peri_connection *c = r->c;
    bool whole = r->at.frame.left == 0;
    size_t held = c->partial_ ? c->partial_->control_bytes : 0;
    if (taken.len > 0 && (held > 0 || !whole)) {
        if (!has_partial(c)) {
            return fail_memory(c);
        }
        memcpy(c->partial_->control + held, taken.ptr, taken.len);
        held += taken.len;
        c->partial_->control_bytes = (uint8_t)held; // the frame is at most PERI_CONTROL_MAX
    }
    if (!whole) {
        return PERI_AGAIN;
    }
    enum peri_event_kind kind = r->at.frame.opcode == PERI_OP_CLOSE  ? PERI_EV_CLOSE
                                : r->at.frame.opcode == PERI_OP_PING ? PERI_EV_PING
                                                                     : PERI_EV_PONG;
    struct peri_str kept = {held ? (const char *)c->partial_->control : NULL, held};
    return deliver(c, kind, taken, kept, ev);
}

static enum peri_event_kind kind_of(const struct peri_connection *c) {
    return c->message_opcode_ == PERI_OP_TEXT ? PERI_EV_TEXT : PERI_EV_BINARY;
}

/// Decompresses a piece, and checks what comes out. RFC 7692 section 7.2.2
static int inflate_piece(struct reading *r, struct peri_str piece, bool last) {
    struct peri_connection *c = r->c;
    struct peri_buffer *out = &c->partial_->inflated;
    size_t before = out->len;
    bool text = c->message_opcode_ == PERI_OP_TEXT;
    bool first = c->partial_->deflated_bytes == piece.len; // all that has come
    int rc = peri_inflater_take(c->inflater, piece, first, last, c->max_message_bytes, out);
    // Before what rc says: it comes first in the message, however that was cut.
    if (text && out->len > before &&
        !peri_utf8_feed(&r->at.utf8, out->ptr + before, out->len - before)) {
        return fail(c, 1007, "text is not UTF-8");
    }
    switch (rc) {
    case PERI_OK: break;
    case PERI_E_LIMIT: return fail_too_big(c);
    case PERI_E_INVALID: return fail(c, 1007, "message is not deflated");
    default: return fail_memory(c);
    }
    if (text && last && !peri_utf8_is_complete(&r->at.utf8)) {
        return fail(c, 1007, "text ends inside a character");
    }
    return PERI_OK;
}

static int read_compressed(struct reading *r, struct peri_str taken, struct peri_event *ev) {
    struct peri_connection *c = r->c;
    bool frame_ends = r->at.frame.left == 0;
    bool message_ends = frame_ends && r->at.frame.fin;
    if (!has_partial(c)) {
        return fail_memory(c);
    }
    struct peri_partial *partial = c->partial_;
    struct peri_str piece = taken;
    bool own = peri_inflater_is_own(c->inflater);
    partial->deflated_bytes += taken.len;
    if (!own && (partial->message.len > 0 || !message_ends)) {
        if (peri_buffer_append(&partial->message, taken.ptr, taken.len) != PERI_OK) {
            return fail_memory(c);
        }
        piece = peri_buffer_str(&partial->message);
    }
    if (message_ends || (own && piece.len > 0)) {
        int rc = inflate_piece(r, piece, message_ends);
        if (rc != PERI_OK) {
            return rc;
        }
    }
    if (!message_ends) {
        c->stage_ = frame_ends ? STAGE_HEADER : STAGE_PAYLOAD;
        return PERI_AGAIN;
    }
    peri_buffer_deinit(&partial->message); // of no more use, while a script has the message
    enum peri_event_kind kind = kind_of(c);
    c->message_opcode_ = 0;
    return deliver(c, kind, (struct peri_str){0}, peri_buffer_str(&partial->inflated), ev);
}

/// Checks the next piece of a text. RFC 6455 section 8.1
static int check_text(struct peri_connection *c, struct peri_utf8 *utf8, struct peri_str piece,
                      bool last) {
    if (!peri_utf8_feed(utf8, piece.ptr, piece.len)) {
        return fail(c, 1007, "text is not UTF-8");
    }
    if (last && !peri_utf8_is_complete(utf8)) {
        return fail(c, 1007, "text ends inside a character");
    }
    return PERI_OK;
}

static int read_data(struct reading *r, struct peri_str taken, struct peri_event *ev) {
    struct peri_connection *c = r->c;
    bool text = c->message_opcode_ == PERI_OP_TEXT;
    bool frame_ends = r->at.frame.left == 0;
    bool message_ends = frame_ends && r->at.frame.fin;
    int rc = text ? check_text(c, &r->at.utf8, taken, message_ends) : PERI_OK;
    if (rc != PERI_OK) {
        return rc;
    }
    size_t held = c->partial_ ? c->partial_->message.len : 0;
    if (taken.len > 0 && (held > 0 || !message_ends)) {
        if (!has_partial(c) ||
            peri_buffer_append(&c->partial_->message, taken.ptr, taken.len) != PERI_OK) {
            return fail_memory(c);
        }
        held += taken.len;
    }
    if (!message_ends) {
        c->stage_ = frame_ends ? STAGE_HEADER : STAGE_PAYLOAD;
        return PERI_AGAIN;
    }
    enum peri_event_kind kind = kind_of(c);
    c->message_opcode_ = 0;
    struct peri_str kept = {held ? (const char *)c->partial_->message.ptr : NULL, held};
    return deliver(c, kind, taken, kept, ev);
}

/// A message of one frame, all of it here and plain, in one step: most are. Nothing is unfinished.
/// @return PERI_OK with *ev set; PERI_AGAIN: it is no such, and nothing has changed; or an error
static int take_whole(struct peri_connection *c, struct peri_span *in, struct peri_event *ev) {
    const uint8_t *at = in->ptr;
    if (in->len < SHORT_HEADER_BYTES || c->role != PERI_SERVER) {
        return PERI_AGAIN;
    }
    bool text = at[0] == (FIN | PERI_OP_TEXT), binary = at[0] == (FIN | PERI_OP_BINARY);
    size_t n = at[1] & 0x7f, header_bytes = SHORT_HEADER_BYTES;
    if (n == 126) {
        n = (size_t)at[2] << 8 | at[3];
        header_bytes += 2;
    } else if (n == 127) {
        return PERI_AGAIN;
    }
    if (!(text || binary) || !(at[1] & MASKED) || (header_bytes > SHORT_HEADER_BYTES && n < 126) ||
        in->len < header_bytes + n || n > c->max_message_bytes) {
        return PERI_AGAIN;
    }
    uint8_t *payload = in->ptr + header_bytes;
    bool ascii = peri_mask(payload, n, payload - 4, 0);
    if (text && !ascii) {
        struct peri_utf8 utf8 = {0};
        int rc = check_text(c, &utf8, peri_str((const char *)payload, n), true);
        if (rc != PERI_OK) {
            return rc;
        }
    }
    in->ptr = payload + n;
    in->len -= header_bytes + n;
    *ev = (struct peri_event){
        .kind = text ? PERI_EV_TEXT : PERI_EV_BINARY,
        .in_input = true,
        .before = (uint8_t)header_bytes, // 6 or 8
        .payload = {(const char *)payload, n},
    };
    return PERI_OK;
}

/// Takes one step: a header, or what there is of a payload.
/// @return PERI_OK with *ev set; PERI_AGAIN: no event yet; or an error
static int step(struct reading *r, struct peri_span *in, struct peri_event *ev) {
    if (r->c->stage_ == STAGE_HEADER) {
        struct peri_frame frame;
        int rc = take_header(r, in, &frame);
        if (rc == PERI_OK) {
            rc = begin_frame(r, &frame);
        }
        if (rc != PERI_OK) {
            return rc;
        }
    }
    struct peri_str taken = take_payload(r, in);
    if (is_control(r->at.frame.opcode)) {
        return read_control(r, taken, ev);
    }
    return r->at.compressed ? read_compressed(r, taken, ev) : read_data(r, taken, ev);
}

static bool is_unfinished(const struct reading *r) {
    const struct peri_connection *c = r->c;
    return c->stage_ == STAGE_PAYLOAD ||
           (c->stage_ == STAGE_HEADER && (c->message_opcode_ != 0 || r->at.header_bytes > 0));
}

/// Steps until there is an event, and keeps what is unfinished.
static int take_parts(struct peri_connection *c, struct peri_span *in, struct peri_event *ev) {
    struct reading r = {.c = c};
    int rc = PERI_AGAIN;
    if (c->partial_) {
        r.at = c->partial_->progress;
    }
    while (rc == PERI_AGAIN && in->len > 0) {
        rc = step(&r, in, ev);
    }
    if (is_unfinished(&r)) {
        if (!has_partial(c)) {
            return fail_memory(c);
        }
        c->partial_->progress = r.at;
    }
    return rc;
}

/// What is no whole message, or comes behind something unfinished.
__attribute__((noinline)) static int take_other(struct peri_connection *c, struct peri_span *in,
                                                struct peri_event *ev) {
    switch ((enum stage)c->stage_) {
    case STAGE_HEADER:
    case STAGE_PAYLOAD: break;
    case STAGE_CLOSED: drop_delivered(c); return PERI_E_CLOSED;
    case STAGE_BROKEN: return PERI_E_PROTOCOL;
    case STAGE_NO_MEMORY: return PERI_E_MEMORY;
    }
    if (c->partial_ && c->partial_->delivered) {
        drop_delivered(c);
        return peri_connection_next(c, in, ev);
    }
    return take_parts(c, in, ev);
}

int peri_connection_next(struct peri_connection *c, struct peri_span *in, struct peri_event *ev) {
    bool between = c->stage_ == STAGE_HEADER && !c->partial_;
    int rc = between ? take_whole(c, in, ev) : PERI_AGAIN;
    return rc == PERI_AGAIN ? take_other(c, in, ev) : rc;
}

void peri_connection_deinit(struct peri_connection *c) {
    free_partial(c);
    peri_inflater_free(c->inflater);
    c->inflater = NULL;
}
