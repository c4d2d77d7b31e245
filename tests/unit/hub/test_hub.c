// The turn and the flush: what is corked, what leaves at once, and who ends when all is too much.
#include "hub/hub.h"

#include "hub/internal.h"
#include "support.h"

static void test_a_send_leaves_at_the_end_of_the_turn(void **state) {
    (void)state;
    size_t a = connect_to(1);
    expect_log("open:0 ");
    assert_int_equal(send_text(a, "one"), PERI_OK);
    assert_int_equal(send_text(a, "two"), PERI_OK);
    expect_wire(a, "");
    assert_int_equal(world.turns_asked, 1);
    assert_false(peri_hub_turn(world.hub));
    expect_wire(a, "T:one T:two ");
    assert_int_equal(world.peers[a].flushes, 1);
}

static void test_a_broadcast_reaches_every_member_in_order_with_sends(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1), c = connect_to(1);
    join(a, "r");
    join(b, "r");
    assert_int_equal(broadcast("r", "1"), 2);
    assert_int_equal(send_text(a, "2"), PERI_OK);
    assert_int_equal(broadcast_but("r", "3", a), 1);
    assert_int_equal(broadcast_str(peri_room_all(world.hub, 1), PERI_STR("4"), 0, NULL), 3);
    join(c, "r");
    assert_int_equal(broadcast("r", "5"), 3);
    turns();
    expect_wire(a, "T:1 T:2 T:4 T:5 ");
    expect_wire(b, "T:1 T:3 T:4 T:5 ");
    expect_wire(c, "T:4 T:5 ");
}

static void test_the_dirty_list_is_taken_once_a_turn_as_one_array(void **state) {
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        connect_to(1);
    }
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(send_text(i, "1"), PERI_OK);
        assert_int_equal(send_text(i, "2"), PERI_OK);
    }
    assert_false(peri_hub_turn(world.hub));
    assert_int_equal(world.flushes, 1);
    assert_int_equal(world.flushed, 9);
    assert_false(peri_hub_turn(world.hub));
    assert_int_equal(world.flushes, 1);
}

static void test_binary_goes_as_binary(void **state) {
    (void)state;
    size_t a = connect_to(1);
    struct peri_outgoing out = {PERI_OP_BINARY, peri_str("\0\1", 2), 0};
    assert_int_equal(peri_conn_send(world.hub, conn_of(a), &out, false), PERI_OK);
    turns();
    assert_memory_equal(world.peers[a].wire.ptr, "\x82\x02\x00\x01", 4);
}

static void test_a_warm_echo_allocates_nothing(void **state) {
    (void)state;
    size_t a = connect_to(1);
    assert_int_equal(send_text(a, "x"), PERI_OK);
    turns();
    peri_alloc_fail_from(1);
    for (int i = 0; i < 1000; i++) {
        for (int j = 0; j < 64; j++) {
            assert_int_equal(send_str(a, filler('x', 100)), PERI_OK);
        }
        turns();
    }
    peri_alloc_fail_from(0);
    assert_int_equal(world.peers[a].wire.len, 3 + 64000 * 102);
    assert_int_equal(peri_conn_buffered(conn_of(a)), 0);
}

static void test_sends_in_one_turn_are_one_buffer(void **state) {
    (void)state;
    size_t a = connect_to(1);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(send_text(a, "x"), PERI_OK);
    }
    struct iovec iov[64];
    assert_int_equal(peri_outbox_peek(peri_conn_outbox(conn_of(a)), iov, 64), 1);
    assert_int_equal(peri_conn_buffered(conn_of(a)), 150);
}

// Flushes in the midst of a turn.

static void test_64_kib_in_one_outbox_flush_at_once(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1);
    assert_int_equal(send_text(b, "1"), PERI_OK);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(send_str(a, filler('x', 8192 - 4)), PERI_OK);
    }
    assert_int_equal(send_str(a, filler('x', 8191 - 4)), PERI_OK);
    assert_int_equal(world.flushes, 0);
    assert_int_equal(send_str(a, filler('x', 0)), PERI_OK); // 65,537
    assert_int_equal(world.flushes, 1);
    assert_int_equal(world.peers[a].wire.len, 65537);
    expect_wire(b, "T:1 "); // the whole list is taken
}

static void test_64_kib_in_one_room_flush_at_once(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1);
    join(a, "r");
    join(b, "r");
    for (int i = 0; i < 63; i++) {
        broadcast_str(room_of("r"), filler('x', 1024 - 4), PERI_SLOW_CLOSE, NULL);
    }
    broadcast_str(room_of("r"), filler('x', 1023 - 4), PERI_SLOW_CLOSE, NULL);
    assert_int_equal(world.flushes, 0);
    broadcast("r", "");
    assert_int_equal(world.flushes, 1);
    assert_int_equal(world.peers[a].wire.len, 65537);
    assert_int_equal(world.peers[b].wire.len, 65537);
    broadcast("r", "");
    assert_int_equal(world.flushes, 1); // it starts anew
}

static void test_256_kib_in_all_flush_at_once(void **state) {
    (void)state;
    for (size_t i = 0; i < 8; i++) {
        size_t a = connect_to(1);
        char name[2] = {(char)('a' + i), '\0'};
        join(a, name);
        if (i < 4) {
            assert_int_equal(send_str(a, filler('x', 15000)), PERI_OK);
            assert_int_equal(send_str(a, filler('x', 15000)), PERI_OK);
        }
        broadcast_str(room_of(name), filler('x', 32000), PERI_SLOW_CLOSE, NULL);
        assert_int_equal(world.flushes, i < 4 ? 0 : 1); // 4 * 62,012, and 32,004
    }
    assert_int_equal(world.peers[4].wire.len, 32004);
    assert_int_equal(world.peers[5].wire.len, 0);
}

static void test_a_blocked_connection_is_not_offered_until_it_is_writable(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.peers[a].window = 1;
    assert_int_equal(send_text(a, "1"), PERI_OK);
    turns();
    assert_true(is_blocked(a));
    assert_int_equal(send_text(a, "2"), PERI_OK);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(send_str(a, filler('x', 10000)) >= PERI_OK, 1);
    }
    turns();
    assert_int_equal(world.peers[a].flushes, 1);
    open_window(a, SIZE_MAX);
    assert_false(is_blocked(a));
    assert_int_equal(queued(a), 0);
    assert_int_equal(world.peers[a].wire.len, 6 + 20 * 10004);
}

static enum peri_answer send_much(struct world *w, size_t peer, enum event event,
                                  struct peri_str data) {
    (void)data;
    if (event == EVENT_MESSAGE) {
        for (int i = 0; i < 30; i++) {
            assert_true(send_str(peer, filler('x', 10000)) >= PERI_OK);
        }
        assert_int_equal(w->peers[0].wire.len, 50000); // flushed: what its socket took is gone
    }
    return PERI_DONE;
}

static void test_a_flush_in_a_handler_runs_no_other(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.handler = send_much;
    world.peers[a].window = 50000;
    assert_int_equal(receive(a, "go"), PERI_OK);
    open_window(a, SIZE_MAX);
    turns();
    expect_log("open:0 msg:0:go drain:0:0 ");
}

// Large sends.

static void test_a_large_send_leaves_at_once_behind_what_is_corked(void **state) {
    (void)state;
    size_t a = connect_to(1);
    assert_int_equal(send_text(a, "first"), PERI_OK);
    peri_alloc_fail_from(1); // not copied anywhere
    assert_int_equal(send_str(a, filler('L', 200000)), PERI_OK);
    peri_alloc_fail_from(0);
    assert_int_equal(world.peers[a].writes, 1);
    expect_wire(a, "T:first T:L*200000 ");
    assert_int_equal(send_text(a, "last"), PERI_OK);
    turns();
    expect_wire(a, "T:first T:L*200000 T:last ");
}

static void test_large_begins_at_16_kib(void **state) {
    (void)state;
    size_t a = connect_to(1);
    assert_int_equal(send_str(a, filler('x', 16 * 1024 - 5)), PERI_OK);
    assert_int_equal(world.peers[a].writes, 0);
    assert_int_equal(send_str(a, filler('x', 16 * 1024 - 4)), PERI_OK);
    assert_int_equal(world.peers[a].writes, 1);
}

static void test_what_the_socket_refuses_of_a_large_send_is_copied(void **state) {
    (void)state;
    // Nothing taken, part of the header, all of it, part of the payload, all but a byte.
    static const size_t windows[] = {0, 1, 4, 10000, 20003};
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        size_t a = connect_to(1);
        world.peers[a].window = windows[i];
        assert_int_equal(send_str(a, filler('L', 20000)), PERI_OK);
        assert_true(is_blocked(a));
        assert_int_equal(queued(a), 20004 - windows[i]);
        assert_int_equal(peri_conn_outbox(conn_of(a))->begun_left_,
                         windows[i] ? 20004 - windows[i] : 0);
        assert_int_equal(send_text(a, "next"), PERI_OK);
        turns();
        open_window(a, SIZE_MAX);
        expect_wire(a, "T:L*20000 T:next ");
    }
}

static void test_the_header_of_a_large_send_lies_in_front_of_it_where_there_is_room(void **state) {
    (void)state;
    enum { SIZE = 20000 };
    static char bytes[8 + SIZE];
    static const char header[] = {(char)0x81, 126, SIZE >> 8, SIZE & 0xff};
    static const size_t windows[] = {SIZE_MAX, 0, 3, 10000};
    for (size_t before = 0; before <= 8; before++) {
        for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
            size_t a = connect_to(1);
            struct peri_outgoing out = text_of(peri_str(bytes + 8, SIZE));
            out.before = before;
            memset(bytes, '-', 8);
            memset(bytes + 8, 'L', SIZE);
            world.peers[a].window = windows[i];
            assert_int_equal(peri_conn_send(world.hub, conn_of(a), &out, false), PERI_OK);
            memset(bytes + 8, 'x', SIZE); // what it needs it has
            turns();
            open_window(a, SIZE_MAX);
            expect_wire(a, "T:L*20000 ");
            assert_memory_equal(bytes, "----", 4);
            assert_memory_equal(bytes + 4, before < 4 ? "----" : header, 4);
        }
    }
}

static void test_a_large_frame_that_cannot_be_finished_ends_the_connection(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.peers[a].window = 100;
    peri_alloc_fail_from(1);
    assert_int_equal(send_str(a, filler('L', 20000)), PERI_E_CLOSED);
    peri_alloc_fail_from(0);
    assert_int_equal(world.peers[a].ended, 1);
    assert_false(world.peers[a].handshake);
    assert_int_equal(queued(a), 0);
    turns();
    expect_log("open:0 close:0:1006: forget:0 ");
}

// What a slow peer holds.

static void test_a_blocked_connection_holds_only_what_it_needs(void **state) {
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        connect_to(1);
        world.peers[i].window = i < 5 ? 2 : SIZE_MAX;
        assert_int_equal(send_str(i, filler('x', 64)), PERI_OK);
    }
    turns();
    assert_true(peri_block_is_sole(world.hub->cork));
    uint64_t cork = sizeof(struct peri_block) + world.hub->cork->cap;
    assert_int_equal(world.hub->account.bytes - cork, 5 * (sizeof(struct peri_block) + 64));
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(send_text(i, "more"), PERI_OK);
        assert_int_equal(send_text(i, "and more"), PERI_OK);
    }
    assert_true(peri_block_is_sole(world.hub->cork));
    struct iovec iov[8];
    assert_int_equal(peri_outbox_peek(peri_conn_outbox(conn_of(0)), iov, 8), 2);
    for (size_t i = 0; i < 5; i++) {
        open_window(i, SIZE_MAX);
        expect_wire(i, "T:x*64 T:more T:and more ");
    }
    assert_int_equal(world.hub->account.bytes, cork);
}

static void test_an_old_cork_is_let_go_too(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.peers[a].window = 0;
    assert_int_equal(send_str(a, filler('a', 100)), PERI_OK);
    for (size_t i = 1; i <= 20; i++) { // 200 KB: the first cork is full long before the flush
        connect_to(1);
        assert_int_equal(send_str(i, filler('x', 10000)), PERI_OK);
    }
    turns();
    assert_int_equal(world.hub->account.bytes,
                     2 * sizeof(struct peri_block) + world.hub->cork->cap + 102);
}

// Control frames.

static void pong(size_t peer, const char *text) {
    peri_hub_pong(world.hub, world.peers[peer].key, peri_str_of(text));
}

static void test_each_ping_has_its_pong_while_the_peer_takes_them(void **state) {
    (void)state;
    size_t a = connect_to(1);
    pong(a, "1");
    assert_int_equal(send_text(a, "x"), PERI_OK);
    pong(a, "2");
    pong(a, "3");
    peri_hub_ping(world.hub, world.peers[a].key, PERI_STR("p"));
    turns();
    expect_wire(a, "O:1 T:x O:2 O:3 P:p ");
}

static void test_a_pong_replaces_one_that_is_not_begun_where_the_peer_takes_none(void **state) {
    (void)state;
    size_t a = connect_to(1);
    pong(a, "1");
    turns();
    forget_wire(a);
    world.peers[a].window = 1;
    pong(a, "4");
    turns();
    pong(a, "5");
    pong(a, "6");
    open_window(a, SIZE_MAX);
    expect_wire(a, "O:4 O:6 ");
}

static void test_a_flood_of_pings_costs_one_pong(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.peers[a].window = 0;
    assert_int_equal(send_text(a, "x"), PERI_OK);
    turns();
    uint64_t held = world.hub->account.bytes;
    for (int i = 0; i < 100000; i++) {
        pong(a, "0123456789");
    }
    assert_int_equal(queued(a), 3 + 12);
    assert_int_equal(world.hub->account.bytes, held + sizeof(struct peri_block) + 12);
}

static void test_a_pong_follows_the_broadcasts_before_it_and_soft_does_not_hold_it(void **state) {
    (void)state;
    size_t a = connect_to(1);
    join(a, "r");
    broadcast("r", "1");
    pong(a, "2");
    broadcast("r", "3");
    turns();
    expect_wire(a, "T:1 O:2 T:3 ");
    forget_wire(a);
    world.script_limits[1].outbox_soft = 10;
    world.peers[a].window = 0;
    assert_int_equal(send_text(a, "more than ten bytes"), PERI_OK);
    turns();
    pong(a, "4");
    assert_true(peri_conn_is_connected(conn_of(a)));
    open_window(a, SIZE_MAX);
    expect_wire(a, "T:more than ten bytes O:4 ");
}

static void test_after_the_end_there_is_no_pong_and_no_ping(void **state) {
    (void)state;
    size_t a = connect_to(1);
    end_by(a, PERI_END_HOST, 1000, "");
    pong(a, "x");
    peri_hub_ping(world.hub, world.peers[a].key, PERI_STR("x"));
    turns();
    expect_wire(a, "C:1000: ");
}

// The total.

static void test_over_the_total_the_one_with_most_queued_ends(void **state) {
    (void)state;
    world.limits.outbox_total = 100000;
    size_t a = connect_to(1), b = connect_to(1), c = connect_to(1);
    for (size_t i = 0; i < 3; i++) {
        world.peers[i].window = 1;
    }
    forget_log();
    assert_int_equal(send_str(a, filler('a', 40000)), PERI_OK);
    assert_int_equal(send_str(b, filler('b', 30000)), PERI_OK);
    assert_int_equal(send_str(b, filler('B', 20000)), PERI_OK);
    turns();
    expect_log("");
    assert_int_equal(send_str(c, filler('c', 15000)), PERI_OK);
    turns();
    expect_log("close:1:1013:too slow forget:1 ");
    for (size_t i = 0; i < 3; i++) {
        open_window(i, SIZE_MAX);
    }
    expect_wire(a, "T:a*40000 ");
    expect_wire(b, "T:b*30000 C:1013:too slow "); // the frame that was begun is finished
    expect_wire(c, "T:c*15000 ");
}

static void test_when_all_is_in_frames_begun_as_many_end_as_must(void **state) {
    (void)state;
    world.limits.outbox_total = 250000;
    for (size_t i = 0; i < 5; i++) {
        connect_to(1);
        world.peers[i].window = 1;
        assert_true(send_str(i, filler('x', 90000 + 1000 * i)) >= PERI_OK);
    }
    forget_log();
    turns();
    expect_log("close:4:1013:too slow forget:4 close:3:1013:too slow forget:3 "
               "close:2:1013:too slow forget:2 ");
    turns();
    for (size_t i = 0; i < 5; i++) {
        open_window(i, SIZE_MAX);
    }
    expect_wire(1, "T:x*91000 ");
    expect_wire(2, "T:x*92000 C:1013:too slow ");
}

static void test_shared_bytes_count_once_and_idle_blocks_do_not(void **state) {
    (void)state;
    world.limits.outbox_total = 100000;
    for (size_t i = 0; i < 20; i++) {
        join(connect_to(1), "r");
        world.peers[i].window = 0;
    }
    broadcast_str(room_of("r"), filler('x', 30000), PERI_SLOW_CLOSE, NULL);
    turns();
    for (size_t i = 0; i < 20; i++) {
        assert_true(peri_conn_is_connected(conn_of(i)));
        open_window(i, SIZE_MAX);
    }
    world.limits.outbox_total = 1;
    turns();
    assert_int_equal(peri_hub_count(world.hub), 20);
}

static void test_an_ended_connection_that_holds_too_much_keeps_its_close_frame(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.peers[a].window = 10;
    assert_int_equal(send_text(a, "0123456789"), PERI_OK);
    assert_int_equal(send_str(a, filler('x', 10000)), PERI_OK);
    end_by(a, PERI_END_HOST, 1001, "bye");
    turns();
    world.limits.outbox_total = 1000;
    turns();
    open_window(a, SIZE_MAX);
    expect_wire(a, "T:0123456789 C:1001: ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_send_leaves_at_the_end_of_the_turn),
        TEST(test_a_broadcast_reaches_every_member_in_order_with_sends),
        TEST(test_the_dirty_list_is_taken_once_a_turn_as_one_array),
        TEST(test_binary_goes_as_binary),
        TEST(test_a_warm_echo_allocates_nothing),
        TEST(test_sends_in_one_turn_are_one_buffer),
        TEST(test_64_kib_in_one_outbox_flush_at_once),
        TEST(test_64_kib_in_one_room_flush_at_once),
        TEST(test_256_kib_in_all_flush_at_once),
        TEST(test_a_blocked_connection_is_not_offered_until_it_is_writable),
        TEST(test_a_flush_in_a_handler_runs_no_other),
        TEST(test_a_large_send_leaves_at_once_behind_what_is_corked),
        TEST(test_large_begins_at_16_kib),
        TEST(test_what_the_socket_refuses_of_a_large_send_is_copied),
        TEST(test_the_header_of_a_large_send_lies_in_front_of_it_where_there_is_room),
        TEST(test_a_large_frame_that_cannot_be_finished_ends_the_connection),
        TEST(test_a_blocked_connection_holds_only_what_it_needs),
        TEST(test_an_old_cork_is_let_go_too),
        TEST(test_each_ping_has_its_pong_while_the_peer_takes_them),
        TEST(test_a_pong_replaces_one_that_is_not_begun_where_the_peer_takes_none),
        TEST(test_a_flood_of_pings_costs_one_pong),
        TEST(test_a_pong_follows_the_broadcasts_before_it_and_soft_does_not_hold_it),
        TEST(test_after_the_end_there_is_no_pong_and_no_ping),
        TEST(test_over_the_total_the_one_with_most_queued_ends),
        TEST(test_when_all_is_in_frames_begun_as_many_end_as_must),
        TEST(test_shared_bytes_count_once_and_idle_blocks_do_not),
        TEST(test_an_ended_connection_that_holds_too_much_keeps_its_close_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
