// Frames both ways on an open connection. Writing is by queue, so that nobody waits for the peer.
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include "cli/connect.h"

enum {
    FRAGMENTS_MAX = 128 * 1024,
    RSV1 = 4,
    DEFLATE_BYTES = 1024 * 1024, ///< more than one connection can use: a context each way
};

/// Makes ready what both sides agreed on. Where the client's window is one that zlib can't compress
/// with, messages go as they are, as each of them may. RFC 7692 sections 6.1, 7.1.2.2
static int init_deflate(struct connect_link *link, const struct peri_deflate_terms *terms) {
    unsigned theirs = terms->server_bits ? terms->server_bits : PERI_WINDOW_MAX;
    unsigned ours = terms->client_bits ? terms->client_bits : PERI_WINDOW_MAX;
    link->budget.max_bytes = DEFLATE_BYTES;
    link->pool.budget = &link->budget;
    link->ws.inflater = terms->server_no_takeover ? peri_inflater_shared(&link->pool)
                                                  : peri_inflater_new(&link->pool, theirs);
    if (ours >= PERI_WINDOW_MIN) {
        link->deflater = terms->client_no_takeover ? peri_deflater_shared(&link->pool, ours)
                                                   : peri_deflater_new(&link->pool, ours);
    }
    return link->ws.inflater ? PERI_OK : PERI_E_MEMORY;
}

int connect_link_init(struct connect_link *link, struct connect_opened *opened) {
    *link = (struct connect_link){
        .wire = opened->wire,
        .ws = {.role = PERI_CLIENT,
               .max_message_bytes = MESSAGE_MAX,
               .max_fragments = FRAGMENTS_MAX},
        .rest = opened->rest,
        .input = {opened->rest.ptr, opened->rest.len},
    };
    opened->wire = (struct connect_wire){.fd = -1};
    opened->rest = (struct peri_buffer){0};
    return opened->deflates ? init_deflate(link, &opened->terms) : PERI_OK;
}

void connect_link_deinit(struct connect_link *link) {
    peri_connection_deinit(&link->ws);
    peri_deflater_free(link->deflater);
    peri_deflate_pool_deinit(&link->pool);
    peri_buffer_deinit(&link->deflated);
    peri_buffer_deinit(&link->out);
    peri_buffer_deinit(&link->rest);
    connect_wire_close(&link->wire);
}

size_t connect_link_waiting(const struct connect_link *link) {
    return link->out.len - link->out_sent;
}

size_t connect_link_unconfirmed(const struct connect_link *link) {
    int n = 0;
    return ioctl(link->wire.fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0; // tcp(7)
}

/// Compresses a message, if it is large enough and gets shorter by it.
static bool deflate_message(struct connect_link *link, enum peri_opcode opcode,
                            struct peri_str payload) {
    bool is_message = opcode == PERI_OP_TEXT || opcode == PERI_OP_BINARY;
    return is_message && link->deflater && payload.len >= DEFLATE_MIN_BYTES &&
           peri_deflater_message(link->deflater, payload, &link->deflated);
}

/// Queues a frame, masked.
static int put_frame(struct connect_link *link, uint8_t rsv, enum peri_opcode opcode,
                     struct peri_str payload) {
    uint8_t header[PERI_FRAME_HEADER_MAX];
    uint8_t key[4]; // a new one each time that nobody can foresee. RFC 6455 section 5.3
    if (getentropy(key, sizeof key) < 0) {
        return PERI_E_SYSTEM;
    }
    size_t n = peri_frame_encode(header, true, rsv, opcode, payload.len, key);
    int rc = peri_buffer_reserve(&link->out, n + payload.len);
    if (rc != PERI_OK) {
        return rc;
    }
    uint8_t *at = link->out.ptr + link->out.len;
    memcpy(at, header, n);
    if (payload.len > 0) {
        memcpy(at + n, payload.ptr, payload.len);
        peri_mask(at + n, payload.len, key, 0);
    }
    link->out.len += n + payload.len;
    return PERI_OK;
}

int connect_link_send(struct connect_link *link, enum peri_opcode opcode, struct peri_str payload) {
    if (link->close_sent) {
        return PERI_OK;
    }
    if (!deflate_message(link, opcode, payload)) {
        return put_frame(link, 0, opcode, payload);
    }
    int rc = put_frame(link, RSV1, opcode, peri_buffer_str(&link->deflated));
    peri_buffer_clear(&link->deflated, LINK_FULL_BYTES);
    return rc;
}

int connect_link_close(struct connect_link *link, int code, struct peri_str reason) {
    uint8_t payload[PERI_CONTROL_MAX];
    size_t n = peri_close_payload(payload, code, reason);
    int rc = connect_link_send(link, PERI_OP_CLOSE, peri_str((const char *)payload, n));
    link->close_sent = link->close_sent || rc == PERI_OK;
    return rc;
}

/// Sends the pong that is due, once there is room for it.
static int send_pong(struct connect_link *link) {
    if (!link->pong_is_due || connect_link_waiting(link) >= LINK_FULL_BYTES) {
        return PERI_OK;
    }
    int rc =
        connect_link_send(link, PERI_OP_PONG, peri_str((const char *)link->pong, link->pong_bytes));
    link->pong_is_due = link->pong_is_due && rc != PERI_OK;
    return rc;
}

/// Moves what is left only when that is the smaller half, so that each byte is moved once.
static void drop_sent(struct connect_link *link) {
    if (link->out_sent > link->out.len / 2) {
        peri_buffer_consume(&link->out, link->out_sent);
        link->out_sent = 0;
    }
}

int connect_link_flush(struct connect_link *link) {
    int rc = send_pong(link);
    if (rc != PERI_OK) {
        return rc;
    }
    while (connect_link_waiting(link) > 0) {
        size_t n = 0;
        rc = connect_wire_write(&link->wire, link->out.ptr + link->out_sent,
                                connect_link_waiting(link), &n);
        if (rc != PERI_OK) {
            drop_sent(link);
            return rc == PERI_AGAIN ? PERI_OK : rc;
        }
        link->out_sent += n;
    }
    peri_buffer_clear(&link->out, LINK_FULL_BYTES);
    link->out_sent = 0;
    return PERI_OK;
}

int connect_link_receive(struct connect_link *link) {
    size_t n = 0;
    int rc = connect_wire_read(&link->wire, link->read, sizeof link->read, &n);
    if (rc != PERI_OK) {
        return rc;
    }
    link->has_ended = n == 0;
    link->input = (struct peri_span){link->read, n};
    return PERI_OK;
}

/// Answers a ping at once, so that the pong is in its place among what is sent. A peer that takes
/// none of them has only its last one kept.
static int answer_ping(struct connect_link *link, struct peri_str payload) {
    link->pong_is_due = true;
    link->pong_bytes = payload.len; // at most PERI_CONTROL_MAX
    if (payload.len > 0) {
        memcpy(link->pong, payload.ptr, payload.len);
    }
    return send_pong(link);
}

int connect_link_next(struct connect_link *link, struct peri_event *ev) {
    int rc = peri_connection_next(&link->ws, &link->input, ev);
    return rc == PERI_OK && ev->kind == PERI_EV_PING ? answer_ping(link, ev->payload) : rc;
}
