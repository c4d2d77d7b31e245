// Peers that have agreed on permessage-deflate.
#pragma once

#include "support.h"

/// What peers read with is theirs: it is no part of the hub's budget.
static struct peri_deflate_budget peers_budget;
static struct peri_deflate_pool peers_pool;

static inline int deflating_set_up(void **state) {
    peers_budget = (struct peri_deflate_budget){.max_bytes = UINT64_C(1) << 40};
    peers_pool = (struct peri_deflate_pool){.budget = &peers_budget};
    return set_up(state);
}

static inline int deflating_tear_down(void **state) {
    for (size_t i = 0; i < world.peer_count; i++) {
        peri_inflater_free(world.peers[i].inflater);
    }
    peri_deflate_pool_deinit(&peers_pool);
    return tear_down(state);
}

/// @param own the hub may keep a context for it
/// @return the peer's number, or NOBODY when out of memory
static inline size_t try_connect_deflating(unsigned bits, bool own) {
    struct peri_deflate_pool *pool = peri_hub_deflate_pool(world.hub);
    world.deflater = own ? peri_deflater_new(pool, bits) : peri_deflater_shared(pool, bits);
    size_t peer = world.deflater ? try_connect(1) : NOBODY;
    if (peer == NOBODY) {
        peri_deflater_free(world.deflater);
    }
    world.deflater = NULL;
    return peer;
}

static inline size_t connect_deflating(unsigned bits, bool own) {
    size_t peer = try_connect_deflating(bits, own);
    assert_int_not_equal(peer, NOBODY);
    return peer;
}

/// What a peer's socket took, with its compressed messages as plain ones. It is as one that keeps a
/// context: what was compressed without one is read the same.
/// @param packed on return: how many were compressed; may be NULL
/// @return the caller's, for free(3)
static inline struct peri_buffer unpack(size_t at, size_t *packed) {
    struct peer *peer = &world.peers[at];
    struct peri_buffer plain = {0}, message = {0};
    size_t n = 0;
    if (!peer->inflater) {
        peer->inflater = peri_inflater_new(&peers_pool, 15);
        assert_non_null(peer->inflater);
    }
    for (size_t from = 0; from < peer->wire.len;) {
        struct peri_frame frame;
        const uint8_t *bytes = peer->wire.ptr + from;
        int rc = peri_frame_decode(&frame, bytes, peer->wire.len - from);
        size_t length = frame.header_bytes + (size_t)frame.length;
        if (rc != PERI_OK || length > peer->wire.len - from) {
            add_uncounted(&plain, bytes, peer->wire.len - from); // incomplete
            break;
        }
        if (frame.rsv == 0) {
            add_uncounted(&plain, bytes, length);
        } else {
            assert_true(frame.rsv == 4 && frame.fin);
            assert_true(frame.opcode == PERI_OP_TEXT || frame.opcode == PERI_OP_BINARY);
            struct peri_str payload = {(const char *)bytes + frame.header_bytes,
                                       (size_t)frame.length};
            message.len = 0;
            assert_int_equal(
                peri_inflater_take(peer->inflater, payload, true, true, 1 << 24, &message),
                PERI_OK);
            assert_true(message.len > payload.len);
            uint8_t header[PERI_FRAME_HEADER_MAX];
            size_t header_bytes = peri_frame_encode(header, true, 0, (enum peri_opcode)frame.opcode,
                                                    message.len, NULL);
            add_uncounted(&plain, header, header_bytes);
            add_uncounted(&plain, message.ptr, message.len);
            n++;
        }
        from += length;
    }
    peri_buffer_deinit(&message);
    if (packed) {
        *packed = n;
    }
    return plain;
}

/// As expect_wire, of what it reads; and so many of the messages came compressed.
static inline void expect_unpacked(size_t peer, size_t packed, const char *wanted) {
    static char got[65536];
    size_t n = 0;
    struct peri_buffer plain = unpack(peer, &n);
    describe_wire(&plain, got, sizeof got);
    free(plain.ptr);
    assert_string_equal(got, wanted);
    assert_int_equal(n, packed);
    forget_wire(peer);
}
