// Frames to feed a connection, and its events as text.
#pragma once

#include "proto/connection.h"
#include "support/feeding.h"

static const uint8_t KEY[4] = {0x37, 0xfa, 0x21, 0x3d};

/// Bytes of several frames.
struct wire {
    struct peri_buffer bytes;
    enum peri_role to; ///< whom they go to: frames to a server are masked
};

static inline void put_frame(struct wire *wire, bool fin, int opcode, const void *payload,
                             size_t n) {
    uint8_t header[PERI_FRAME_HEADER_MAX];
    size_t header_bytes = peri_frame_encode(header, fin, 0, PERI_OP_CONTINUATION, n,
                                            wire->to == PERI_SERVER ? KEY : NULL);
    header[0] |= (uint8_t)opcode; // a reserved one too, which is no enum peri_opcode
    assert_int_equal(peri_buffer_append(&wire->bytes, header, header_bytes), PERI_OK);
    assert_int_equal(peri_buffer_append(&wire->bytes, payload, n), PERI_OK);
    if (wire->to == PERI_SERVER && n > 0) {
        peri_mask(wire->bytes.ptr + wire->bytes.len - n, n, KEY, 0);
    }
}

#define PUT(wire, fin, opcode, literal) put_frame(wire, fin, opcode, literal, sizeof(literal) - 1)

static const struct peri_connection CONNECTION = {
    .role = PERI_SERVER, .max_message_bytes = 1 << 20, .max_fragments = 1024};

static inline void write_payload(struct peri_buffer *seen, struct peri_str payload) {
    uint64_t sum = 0;
    for (size_t i = 0; i < payload.len; i++) {
        unsigned char byte = (unsigned char)payload.ptr[i];
        sum = sum * 31 + byte;
        if (payload.len <= 64) {
            bool plain = byte >= ' ' && byte != '\\' && byte != '"' && byte < 0x7f;
            assert_int_equal(peri_buffer_printf(seen, plain ? "%c" : "<%02x>", byte), PERI_OK);
        }
    }
    if (payload.len > 64) {
        assert_int_equal(peri_buffer_printf(seen, "%zu bytes, %016lx", payload.len, sum), PERI_OK);
    }
}

static inline void write_event(struct peri_buffer *seen, const struct peri_event *ev) {
    static const char *const names[] = {"text", "binary", "ping", "pong", "close"};
    assert_int_equal(peri_buffer_printf(seen, "%s ", names[ev->kind]), PERI_OK);
    if (ev->kind == PERI_EV_CLOSE) {
        assert_int_equal(peri_buffer_printf(seen, "%d ", ev->close_code), PERI_OK);
    }
    write_payload(seen, ev->payload);
    assert_int_equal(peri_buffer_append(seen, "\n", 1), PERI_OK);
}

/// A feeding_run; arg is the struct peri_connection to start from.
static inline void run_connection(const struct feeding *feeding, void *arg,
                                  struct peri_buffer *seen) {
    struct peri_connection c = *(const struct peri_connection *)arg;
    int rc = PERI_AGAIN;
    size_t at = 0;
    size_t n = 0;
    for (uint8_t *piece; rc == PERI_AGAIN && (piece = feeding_next(feeding, &at, &n));) {
        struct peri_span in = {piece, n};
        struct peri_event ev;
        while ((rc = peri_connection_next(&c, &in, &ev)) == PERI_OK) {
            uintptr_t payload = (uintptr_t)ev.payload.ptr;
            bool inside = payload >= (uintptr_t)piece && payload <= (uintptr_t)(piece + n);
            assert_true(ev.payload.len == 0 || ev.in_input == inside);
            write_event(seen, &ev);
        }
        assert_true(rc != PERI_AGAIN || in.len == 0);
        if (rc != PERI_AGAIN) {
            assert_int_equal(peri_connection_next(&c, &in, &ev), rc); // stays as it is
        }
        free(piece);
    }
    int written = PERI_OK;
    if (rc == PERI_E_PROTOCOL) {
        written = peri_buffer_printf(seen, "fail %d %s\n", c.error_code, c.error_text);
    } else if (rc == PERI_E_CLOSED) {
        written = peri_buffer_printf(seen, "closed\n");
    } else if (rc == PERI_E_MEMORY) {
        written = peri_buffer_printf(seen, "no memory\n");
    }
    assert_int_equal(written, PERI_OK);
    peri_connection_deinit(&c);
}

/// Feeds the bytes in all ways to a connection that starts as c.
static inline void expect_of(struct peri_connection c, const void *bytes, size_t n,
                             const char *expected) {
    feeding_check_all(bytes, n, run_connection, &c, expected);
}

/// Feeds what is on the wire to the side it goes to, and empties it.
static inline void expect_wire(struct wire *wire, const char *expected) {
    struct peri_connection c = CONNECTION;
    c.role = wire->to;
    expect_of(c, wire->bytes.ptr, wire->bytes.len, expected);
    peri_buffer_deinit(&wire->bytes);
}

#define EXPECT(to, literal, expected) \
    do { \
        struct peri_connection c_ = CONNECTION; \
        c_.role = (to); \
        expect_of(c_, literal, sizeof(literal) - 1, expected); \
    } while (0)
