// Every allocation of a scenario fails once, and once with all that follow it: an error, or one
// connection ended; never a crash, a leak, a half state or a gap in a stream.
#include "hub/internal.h"
#include "support.h"

enum { MEMBERS = 5, DEEPEST = 40 };

static struct {
    unsigned next;                     ///< message
    unsigned addressed[MEMBERS][1000]; ///< to a peer, in order
    size_t count[MEMBERS];
} sent;

static bool is_open(size_t peer) {
    struct peri_conn *conn = peer < world.peer_count ? conn_of(peer) : NULL;
    return conn && peri_conn_is_connected(conn);
}

static struct peri_str next_payload(size_t pad) {
    static char bytes[100000];
    int n = snprintf(bytes, sizeof bytes, "%u.", ++sent.next);
    memset(bytes + n, '.', pad);
    return peri_str(bytes, (size_t)n + pad);
}

static void try_send(size_t peer, size_t pad) {
    if (is_open(peer) && send_str(peer, next_payload(pad)) >= PERI_OK) {
        sent.addressed[peer][sent.count[peer]++] = sent.next;
    }
}

static void try_broadcast(const char *name, enum peri_slow slow, size_t except, size_t pad) {
    struct peri_room *room = room_of(name);
    size_t addressed = NOBODY;
    bool member[MEMBERS];
    if (!room) {
        return;
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        member[i] = is_open(i) && i != except && peri_conn_is_member(conn_of(i), room);
    }
    struct peri_broadcast b = {.out = text_of(next_payload(pad)), .slow = slow};
    if (except != NOBODY) {
        b.except = &world.peers[except].key;
        b.except_count = 1;
    }
    int rc = peri_room_broadcast(world.hub, room, &b, &addressed);
    assert_true(rc == PERI_OK || rc == PERI_E_MEMORY);
    for (size_t i = 0; rc == PERI_OK && i < MEMBERS; i++) {
        if (member[i]) {
            sent.addressed[i][sent.count[i]++] = sent.next;
        }
    }
}

static void try_join(size_t peer, const char *name, const char *info) {
    if (is_open(peer)) {
        int rc = join_as(peer, 1, name, info);
        assert_true(rc == PERI_OK || rc == PERI_E_MEMORY);
        const struct peri_room *room = room_of(name);
        assert_true(rc != PERI_OK || (room && peri_conn_is_member(conn_of(peer), room)));
    }
}

static enum peri_answer wait_on_w(struct world *w, size_t peer, enum event event,
                                  struct peri_str data) {
    (void)w;
    (void)peer;
    return event == EVENT_MESSAGE && data.ptr[0] == 'w' ? PERI_BUSY : PERI_DONE;
}

static void try_turn(void) {
    for (int i = 0; i < 5; i++) {
        (void)peri_hub_turn(world.hub);
    }
}

/// The steps of the scenario. @return false past the last
static bool step(size_t at) {
    static const char *const texts[] = {"1", "w2", "3"};
    switch (at) {
    case 0: world.handler = wait_on_w; return true;
    case 1:
    case 2:
    case 3:
        if (try_connect(1) == NOBODY) {
            peri_alloc_fail_from(0);
            connect_to(1); // the next one comes in
        }
        return true;
    case 4: try_join(0, "r", "info"); return true;
    case 5: try_join(1, "r", NULL); return true;
    case 6: try_join(2, "r", NULL); return true;
    case 7: try_join(0, "q", "other"); return true;
    case 8: try_join(0, "r", "again"); return true;
    case 9: try_broadcast("r", PERI_SLOW_CLOSE, NOBODY, 10); return true;
    case 10: try_broadcast("q", PERI_SLOW_CLOSE, NOBODY, 5000); return true;
    case 11: try_send(0, 10); return true;
    case 12: try_turn(); return true;
    case 13:
        for (size_t i = 0; i < world.peer_count; i++) {
            world.peers[i].window = 20 * i;
        }
        try_send(0, 100);
        try_send(1, 100);
        return true;
    case 14: try_broadcast("r", PERI_SLOW_CLOSE, 0, 100); return true;
    case 15: try_broadcast("r", PERI_SLOW_LATEST, NOBODY, 100); return true;
    case 16: try_broadcast("q", PERI_SLOW_CLOSE, NOBODY, 100); return true;
    case 17: try_broadcast("r", PERI_SLOW_CLOSE, NOBODY, 100); return true;
    case 18: try_turn(); return true;
    case 19: try_send(0, 100); return true;
    case 20: try_send(1, 30000); return true;
    case 21: try_broadcast("r", PERI_SLOW_LATEST, 2, 70000); return true;
    case 22:
        if (is_open(0)) {
            (void)receive_n(0, texts, 3);
        }
        return true;
    case 23:
        if (is_open(0)) {
            (void)receive(0, "4");
        }
        return true;
    case 24:
        peri_hub_pong(world.hub, world.peers[0].key, PERI_STR("pong"));
        peri_hub_pong(world.hub, world.peers[1].key, PERI_STR("pong"));
        return true;
    case 25: try_turn(); return true;
    case 26: peri_hub_resume(world.hub, world.peers[0].key); return true;
    case 27: end_by(0, PERI_END_HOST, 1001, "a reason"); return true;
    case 28:
        if (is_open(1)) {
            (void)leave(1, "r"); // it may not have come in
        }
        return true;
    case 29: try_send(2, 20000); return true;
    case 30: try_turn(); return true;
    case 31:
        if (is_open(1)) {
            assert_int_equal(peri_conn_close(world.hub, conn_of(1), 1000, PERI_STR("bye")),
                             PERI_OK);
        }
        return true;
    case 32: peri_hub_detach(world.hub, world.peers[2].key); return true;
    case 33: try_turn(); return true;
    default: return false;
    }
}

/// Each stream is what was addressed to its peer, in order; without a gap as long as it lasts.
static void check_streams(void) {
    for (size_t i = 0; i < world.peer_count; i++) {
        const struct peri_buffer *wire = &world.peers[i].wire;
        size_t at = 0, n = 0;
        while (at < wire->len) {
            struct peri_frame frame;
            int rc = peri_frame_decode(&frame, wire->ptr + at, wire->len - at);
            if (rc != PERI_OK || frame.length > wire->len - at - frame.header_bytes) {
                break; // it was cut off with its connection
            }
            const char *payload = (const char *)wire->ptr + at + frame.header_bytes;
            if (frame.opcode == PERI_OP_TEXT) {
                assert_true(n < sent.count[i]);
                assert_int_equal(strtoul(payload, NULL, 10), sent.addressed[i][n]);
                n++;
            }
            at += frame.header_bytes + (size_t)frame.length;
        }
        if (is_open(i)) {
            assert_int_equal(n, sent.count[i]);
        }
    }
}

static void run_with_failure(size_t failing_step, uint64_t nth) {
    void *state = NULL;
    assert_int_equal(set_up(&state), 0);
    memset(&sent, 0, sizeof sent);
    for (size_t at = 0;; at++) {
        peri_alloc_fail_from(at == failing_step ? nth : 0);
        bool more = step(at);
        peri_alloc_fail_from(0);
        if (!more) {
            break;
        }
    }
    for (size_t i = 0; i < world.peer_count; i++) {
        if (peri_hub_attached(world.hub, world.peers[i].key)) {
            open_window(i, SIZE_MAX);
        }
    }
    turns();
    check_streams();
    assert_int_equal(tear_down(&state), 0);
}

static void test_any_allocation_of_any_step_may_fail(void **state) {
    (void)state;
    for (size_t at = 0; at < 34; at++) {
        for (uint64_t nth = 1; nth <= DEEPEST; nth++) {
            run_with_failure(at, nth);
        }
    }
}

static void test_all_memory_may_fail_from_any_allocation_on(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 300; nth++) {
        assert_int_equal(set_up(state), 0);
        memset(&sent, 0, sizeof sent);
        connect_to(1);
        connect_to(1);
        connect_to(1);
        peri_alloc_fail_from(nth);
        for (size_t at = 0; at == 0 || step(at); at = at == 0 ? 4 : at + 1) {
            if (at == 0) {
                world.handler = wait_on_w;
            }
        }
        peri_alloc_fail_from(0);
        for (size_t i = 0; i < world.peer_count; i++) {
            if (peri_hub_attached(world.hub, world.peers[i].key)) {
                open_window(i, SIZE_MAX);
            }
        }
        turns();
        check_streams();
        assert_int_equal(tear_down(state), 0);
    }
}

static void test_a_hub_without_memory_is_not_made(void **state) {
    (void)state;
    struct peri_limits limits;
    peri_limits_init(&limits);
    peri_alloc_fail_from(1);
    struct peri_hub *hub = peri_hub_new(0, &limits);
    peri_alloc_fail_from(0);
    assert_null(hub);
    peri_hub_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_allocation_of_any_step_may_fail),
        cmocka_unit_test(test_all_memory_may_fail_from_any_allocation_on),
        cmocka_unit_test(test_a_hub_without_memory_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
