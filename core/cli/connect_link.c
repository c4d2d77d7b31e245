// Frames both ways on an open connection. Writing is by queue, so that nobody waits for the peer.
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include "cli/connect.h"

enum { FRAGMENTS_MAX = 65536 };

void connect_link_init(struct connect_link *link, struct connect_wire *wire,
                       struct peri_buffer *rest) {
    *link = (struct connect_link){
        .wire = *wire,
        .ws = {.role = PERI_CLIENT,
               .max_message_bytes = MESSAGE_MAX,
               .max_fragments = FRAGMENTS_MAX},
        .rest = *rest,
        .input = {rest->ptr, rest->len},
    };
    *wire = (struct connect_wire){.fd = -1};
    *rest = (struct peri_buffer){0};
}

void connect_link_deinit(struct connect_link *link) {
    peri_connection_deinit(&link->ws);
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

int connect_link_send(struct connect_link *link, enum peri_opcode opcode, struct peri_str payload) {
    uint8_t header[PERI_FRAME_HEADER_MAX];
    uint8_t key[4]; // a new one each time that nobody can foresee. RFC 6455 section 5.3
    if (link->close_sent) {
        return PERI_OK;
    }
    if (getentropy(key, sizeof key) < 0) {
        return PERI_E_SYSTEM;
    }
    size_t n = peri_frame_encode(header, true, 0, opcode, payload.len, key);
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

int connect_link_close(struct connect_link *link, int code, struct peri_str reason) {
    uint8_t payload[PERI_CONTROL_MAX];
    size_t n = peri_close_payload(payload, code, reason);
    int rc = connect_link_send(link, PERI_OP_CLOSE, peri_str((const char *)payload, n));
    link->close_sent = link->close_sent || rc == PERI_OK;
    return rc;
}

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

int connect_link_next(struct connect_link *link, struct peri_event *ev) {
    int rc = peri_connection_next(&link->ws, &link->input, ev);
    if (rc == PERI_OK && ev->kind == PERI_EV_PING) {
        link->pong_is_due = true;
        link->pong_bytes = ev->payload.len; // at most PERI_CONTROL_MAX
        if (ev->payload.len > 0) {
            memcpy(link->pong, ev->payload.ptr, ev->payload.len);
        }
    }
    return rc;
}
