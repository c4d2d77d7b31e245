// Broadcasts to members that are slow, and what settling must keep.
#include "hub/internal.h"
#include "support.h"

enum { SOFT = 1000, HARD = 2000 };

static int settle_set_up(void **state) {
    int rc = set_up(state);
    world.script_limits[1].outbox_soft = SOFT;
    world.script_limits[1].outbox_hard = HARD;
    world.script_limits[1].message_bytes = 100;
    return rc;
}

/// A member of "r" whose socket is full, with that many bytes queued (from 128 on).
static size_t connect_slow(size_t bytes) {
    size_t a = connect_to(1);
    join(a, "r");
    world.peers[a].window = 0;
    assert_true(send_str(a, filler('0', bytes - 4)) >= PERI_OK);
    turns();
    assert_int_equal(queued(a), bytes);
    assert_true(is_blocked(a));
    forget_log();
    return a;
}

static size_t say(const char *text, enum peri_slow slow, const char *key) {
    size_t n = broadcast_str(room_of("r"), peri_str_of(text), slow, key);
    turns();
    return n;
}

// The soft limit.

static void test_at_the_soft_limit_a_member_is_not_slow_yet(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT);
    assert_int_equal(say("1", PERI_SLOW_CLOSE, NULL), 1);
    assert_true(peri_conn_is_connected(conn_of(a)));
    assert_int_equal(queued(a), SOFT + 3);
    open_window(a, SIZE_MAX);
    expect_wire(a, "T:0*996 T:1 ");
}

static void test_over_the_soft_limit_close_ends_with_1013_and_sends_nothing_more(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1), b = connect_to(1);
    join(b, "r");
    forget_log();
    assert_int_equal(say("1", PERI_SLOW_CLOSE, NULL), 2);
    assert_int_equal(say("2", PERI_SLOW_CLOSE, NULL), 1);
    expect_log("close:0:1013:too slow forget:0 ");
    assert_true(world.peers[a].handshake);
    open_window(a, SIZE_MAX);
    expect_wire(a, "T:0*997 C:1013:too slow ");
    expect_wire(b, "T:1 T:2 ");
}

static void test_what_no_write_was_tried_for_does_not_count(void **state) {
    (void)state;
    size_t a = connect_to(1);
    join(a, "r");
    for (int i = 0; i < 10; i++) {
        broadcast_str(room_of("r"), filler('x', 900), PERI_SLOW_CLOSE, NULL);
    }
    turns();
    assert_true(peri_conn_is_connected(conn_of(a)));
    expect_log("open:0 ");
    assert_int_equal(world.peers[a].wire.len, 10 * 904);
}

static void test_limits_act_frame_by_frame(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT - 5);
    for (int i = 1; i <= 4; i++) {
        char text[2] = {(char)('0' + i), '\0'};
        broadcast_str(room_of("r"), peri_str_of(text), PERI_SLOW_DROP, NULL);
    }
    turns();
    open_window(a, SIZE_MAX); // 995 and 3: 998; and 3: 1001, over
    expect_wire(a, "T:0*991 T:1 T:2 ");
    turns();
    expect_log("drain:0:2 ");
}

static void test_over_the_soft_limit_drop_leaves_out_and_counts(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1);
    assert_int_equal(say("1", PERI_SLOW_DROP, NULL), 1);
    assert_int_equal(say("2", PERI_SLOW_DROP, NULL), 1);
    assert_int_equal(send_text(a, "3"), PERI_AGAIN); // direct sends are never dropped
    assert_int_equal(say("4", PERI_SLOW_DROP, NULL), 1);
    open_window(a, SIZE_MAX);
    turns();
    expect_log("drain:0:3 ");
    say("5", PERI_SLOW_DROP, NULL);
    expect_wire(a, "T:0*997 T:3 T:5 ");
}

static void test_over_the_soft_limit_latest_gives_way_to_the_same_room_and_key(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT - 10);
    join(a, "q");
    say("1", PERI_SLOW_LATEST, "k");
    say("2", PERI_SLOW_LATEST, "j");
    say("3", PERI_SLOW_LATEST, NULL);
    say("4", PERI_SLOW_CLOSE, NULL);
    assert_int_equal(queued(a), SOFT + 2);
    say("5", PERI_SLOW_LATEST, "k");                                   // 1 gives way
    broadcast_str(room_of("q"), PERI_STR("6"), PERI_SLOW_LATEST, "k"); // another room: nothing does
    say("7", PERI_SLOW_LATEST, NULL);                                  // 3 gives way
    say("8", PERI_SLOW_LATEST, "k");                                   // 5 gives way
    say("9", PERI_SLOW_LATEST, "new");                                 // nothing does
    open_window(a, SIZE_MAX);
    turns();
    expect_wire(a, "T:0*986 T:2 T:4 T:6 T:7 T:8 T:9 ");
    expect_log("drain:0:3 ");
}

static void test_what_gave_way_is_told_also_when_that_brought_it_back_under_at_once(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT - 100);
    broadcast_str(room_of("r"), filler('1', 100), PERI_SLOW_LATEST, "k"); // over by 2
    broadcast_str(room_of("r"), PERI_STR("2"), PERI_SLOW_LATEST, "k");    // in the same turn: under
    turns();
    assert_int_equal(queued(a), SOFT - 97);
    open_window(a, SIZE_MAX);
    turns();
    expect_wire(a, "T:0*896 T:2 ");
    expect_log("drain:0:1 ");
}

static void test_under_the_soft_limit_nothing_gives_way(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT / 2);
    say("1", PERI_SLOW_LATEST, "k");
    say("2", PERI_SLOW_LATEST, "k");
    open_window(a, SIZE_MAX);
    turns();
    expect_wire(a, "T:0*496 T:1 T:2 ");
    expect_log("");
}

static void test_a_latest_frame_that_is_begun_does_not_give_way(void **state) {
    (void)state;
    size_t a = connect_to(1);
    join(a, "r");
    world.peers[a].window = 1;
    broadcast_str(room_of("r"), filler('1', 1100), PERI_SLOW_LATEST, "k");
    turns();
    assert_int_equal(queued(a), 1103);
    say("2", PERI_SLOW_LATEST, "k");
    say("3", PERI_SLOW_LATEST, "k");
    open_window(a, SIZE_MAX);
    turns();
    expect_wire(a, "T:1*1100 T:3 ");
    expect_log("open:0 drain:0:1 ");
}

// The hard limit.

static void test_direct_sends_fill_the_outbox_up_to_the_hard_limit_exactly(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT);
    assert_int_equal(send_str(a, filler('1', HARD - SOFT - 4)), PERI_AGAIN);
    assert_int_equal(queued(a), HARD);
    assert_int_equal(send_text(a, ""), PERI_E_CLOSED);
    turns();
    expect_log("close:0:1013:too slow forget:0 ");
    open_window(a, SIZE_MAX);
    expect_wire(a, "T:0*996 T:1*996 C:1013:too slow ");
}

static void test_the_answer_that_pauses_reading_may_go_over_the_hard_limit(void **state) {
    (void)state;
    // At soft nothing pauses yet, and what it has sent may be as large as any message.
    world.script_limits[1].message_bytes = HARD - 14;
    size_t a = connect_slow(SOFT);
    struct peri_outgoing largest = text_of(filler('1', HARD - 4));
    assert_int_equal(peri_conn_send(world.hub, conn_of(a), &largest, true), PERI_AGAIN);
    assert_int_equal(queued(a), SOFT + HARD);
    assert_int_equal(peri_hub_input_room(world.hub, world.peers[a].key), 0);
    struct peri_outgoing next = text_of(PERI_STR(""));
    assert_int_equal(peri_conn_send(world.hub, conn_of(a), &next, true), PERI_E_CLOSED);
    turns();
    open_window(a, SIZE_MAX);
    expect_wire(a, "T:0*996 T:1*1996 C:1013:too slow ");
}

static void test_an_answer_that_pauses_nothing_stays_under_the_hard_limit(void **state) {
    (void)state;
    world.script_limits[1].outbox_soft = 3 * HARD;
    size_t a = connect_slow(SOFT);
    struct peri_outgoing out = text_of(filler('1', HARD - SOFT - 4));
    assert_int_equal(peri_conn_send(world.hub, conn_of(a), &out, true), PERI_OK);
    assert_int_equal(queued(a), HARD);
    assert_int_equal(peri_conn_send(world.hub, conn_of(a), &out, true), PERI_E_CLOSED);
    turns();
    open_window(a, SIZE_MAX);
    expect_wire(a, "T:0*996 T:1*996 C:1013:too slow ");
}

static void test_a_broadcast_over_the_hard_limit_ends_whatever_the_policy(void **state) {
    (void)state;
    // At soft, so no slow policy applies; the frame would pass hard by one byte.
    for (int slow = PERI_SLOW_CLOSE; slow <= PERI_SLOW_LATEST; slow++) {
        size_t a = connect_slow(SOFT);
        broadcast_str(room_of("r"), filler('1', HARD - SOFT - 3), (enum peri_slow)slow, NULL);
        turns();
        assert_null(conn_of(a));
        open_window(a, SIZE_MAX);
        expect_wire(a, "T:0*996 C:1013:too slow ");
    }
    size_t b = connect_slow(SOFT);
    broadcast_str(room_of("r"), filler('1', HARD - SOFT - 4), PERI_SLOW_CLOSE, NULL);
    turns();
    assert_true(peri_conn_is_connected(conn_of(b)));
}

static void test_latest_may_not_pass_the_hard_limit_either(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1);
    for (int i = 0; i < 400; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        say("x", PERI_SLOW_LATEST, key);
    }
    assert_null(conn_of(a));
    expect_log("close:0:1013:too slow forget:0 ");
}

static void test_a_message_larger_than_the_hard_limit_is_refused_and_nothing_sent(void **state) {
    (void)state;
    size_t a = connect_to(1), addressed = NOBODY;
    join(a, "r");
    assert_int_equal(send_str(a, filler('1', HARD - 3)), PERI_E_LIMIT);
    struct peri_broadcast b = {.out = text_of(filler('2', HARD - 3))};
    assert_int_equal(peri_room_broadcast(world.hub, room_of("r"), &b, &addressed), PERI_E_LIMIT);
    assert_int_equal(addressed, NOBODY);
    assert_int_equal(send_str(a, filler('3', HARD - 4)), PERI_OK);
    turns();
    expect_wire(a, "T:3*1996 ");
}

static void test_in_a_shared_room_each_member_has_its_own_limits(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1), b = connect_to(2);
    assert_int_equal(join_as(a, PERI_SHARED, "s", NULL), PERI_OK);
    assert_int_equal(join_as(b, PERI_SHARED, "s", NULL), PERI_OK);
    struct peri_room *shared = peri_room_find(world.hub, PERI_SHARED, PERI_STR("s"));
    world.peers[b].window = 0;
    assert_int_equal(broadcast_str(shared, filler('1', 3000), PERI_SLOW_DROP, NULL), 2);
    turns();
    assert_int_equal(queued(b), 3004);
    assert_int_equal(broadcast_str(shared, PERI_STR("2"), PERI_SLOW_CLOSE, NULL), 2);
    turns();
    assert_null(conn_of(a));
    assert_true(peri_conn_is_connected(conn_of(b)));
    size_t c = connect_to(1); // its hard limit is below one frame of the shared room's
    assert_int_equal(join_as(c, PERI_SHARED, "s", NULL), PERI_OK);
    assert_int_equal(broadcast_str(shared, filler('3', 3000), PERI_SLOW_DROP, NULL), 2);
    turns();
    expect_wire(c, "C:1013:too slow ");
}

static void test_all_members_may_end_over_one_broadcast(void **state) {
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        connect_slow(SOFT + 1);
    }
    assert_int_equal(say("1", PERI_SLOW_CLOSE, NULL), 10);
    assert_null(room_of("r"));
    assert_null(peri_room_all(world.hub, 1));
}

static void test_an_excepted_member_may_end_before_the_broadcast(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1);
    assert_int_equal(broadcast("r", "1"), 1);
    assert_int_equal(broadcast_but("r", "2", a), 0); // settling it for the exception ended it
    turns();
    assert_null(room_of("r"));
}

static void test_a_send_to_a_member_that_settling_ends_is_closed(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1);
    broadcast("r", "1");
    assert_int_equal(send_text(a, "2"), PERI_E_CLOSED);
    turns();
    expect_log("close:0:1013:too slow forget:0 ");
}

static void test_a_leave_and_a_close_that_settling_ends_say_so(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1), b = connect_slow(SOFT + 1);
    broadcast("r", "1");
    assert_int_equal(leave(a, "r"), PERI_E_CLOSED);
    assert_int_equal(peri_conn_close(world.hub, conn_of(b), 1000, PERI_STR("")), PERI_E_CLOSED);
    turns();
    expect_log("close:0:1013:too slow forget:0 close:1:1013:too slow forget:1 ");
}

// Drain.

static void test_drain_comes_once_under_half_of_soft(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1);
    open_window(a, SOFT + 1 - SOFT / 2); // exactly half is left
    turns();
    expect_log("");
    open_window(a, 1);
    turns();
    expect_log("drain:0:0 ");
    open_window(a, 100);
    turns();
    expect_log("");
}

static void test_without_having_been_over_soft_there_is_no_drain(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT);
    open_window(a, SIZE_MAX);
    turns();
    expect_log("");
}

static void test_a_script_without_drain_gets_none(void **state) {
    (void)state;
    world.traits[1].has_drain = false;
    size_t a = connect_slow(SOFT + 1);
    open_window(a, SIZE_MAX);
    turns();
    expect_log("");
    assert_int_equal(send_text(a, "x"), PERI_OK);
}

static void test_send_says_slow_only_while_over_soft(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1);
    assert_int_equal(send_text(a, "1"), PERI_AGAIN);
    open_window(a, 100);
    assert_int_equal(send_text(a, "2"), PERI_OK);
}

static enum peri_answer wait_on_w(struct world *w, size_t peer, enum event event,
                                  struct peri_str data) {
    (void)w;
    (void)peer;
    return event == EVENT_MESSAGE && data.ptr[0] == 'w' ? PERI_BUSY : PERI_DONE;
}

static void test_drain_keeps_its_place_among_the_messages(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1);
    world.handler = wait_on_w;
    say("missed", PERI_SLOW_DROP, NULL);
    assert_int_equal(receive(a, "w1"), PERI_OK);
    assert_int_equal(receive(a, "2"), PERI_OK);
    open_window(a, SIZE_MAX);
    assert_int_equal(receive(a, "3"), PERI_OK);
    turns();
    expect_log("msg:0:w1 ");
    peri_hub_resume(world.hub, world.peers[a].key);
    turns();
    expect_log("msg:0:2 drain:0:1 msg:0:3 ");
}

static void test_an_ended_connection_gets_no_drain(void **state) {
    (void)state;
    size_t a = connect_slow(SOFT + 1);
    end_by(a, PERI_END_HOST, 1001, "");
    open_window(a, SIZE_MAX);
    turns();
    expect_log("close:0:1001: forget:0 ");
}

// Order and membership.

static void test_a_join_sees_only_later_broadcasts_and_a_leave_stops_at_once(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1);
    join(a, "r");
    broadcast("r", "1");
    join(b, "r");
    broadcast("r", "2");
    assert_int_equal(leave(a, "r"), PERI_OK);
    assert_int_equal(leave(a, "r"), PERI_AGAIN);
    broadcast("r", "3");
    join(a, "r");
    broadcast("r", "4");
    turns();
    expect_wire(a, "T:1 T:2 T:4 ");
    expect_wire(b, "T:2 T:3 T:4 ");
}

static void test_exceptions_are_counted_once_and_others_ignored(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1), c = connect_to(1), d = connect_to(1);
    join(a, "r");
    join(b, "r");
    join(d, "r");
    end_by(d, PERI_END_LOST, 0, "");
    const peri_key except[] = {world.peers[a].key, world.peers[c].key, world.peers[a].key, 0, 42,
                               world.peers[d].key};
    struct peri_broadcast out = {
        .out = text_of(PERI_STR("1")), .except = except, .except_count = 6};
    size_t addressed = NOBODY;
    assert_int_equal(peri_room_broadcast(world.hub, room_of("r"), &out, &addressed), PERI_OK);
    assert_int_equal(addressed, 1);
    turns();
    expect_wire(a, "");
    expect_wire(b, "T:1 ");
}

static void test_a_burst_in_one_room_is_one_reference(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1);
    join(a, "r");
    join(b, "r");
    for (int i = 0; i < 100; i++) {
        broadcast("r", "x");
    }
    peri_alloc_fail_from(1);
    peri_settle(world.hub, conn_of(a));
    peri_alloc_fail_from(0);
    struct iovec iov[64];
    assert_int_equal(peri_outbox_peek(peri_conn_outbox(conn_of(a)), iov, 64), 1);
    assert_int_equal(iov[0].iov_len, 300);
    turns();
    assert_int_equal(world.peers[b].wire.len, 300);
}

static void test_who_has_nothing_waiting_is_written_to_past_the_outbox(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1);
    join(a, "r");
    join(b, "r");
    broadcast("r", "1");
    broadcast("r", "2");
    turns();
    assert_int_equal(world.peers[a].writes, 1); // both at once
    assert_int_equal(world.peers[b].writes, 1);
    assert_int_equal(world.flushes, 0);
    expect_wire(a, "T:1 T:2 ");
    expect_wire(b, "T:1 T:2 ");
}

static void test_what_is_refused_of_a_write_past_the_outbox_is_queued(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1);
    join(a, "r");
    join(b, "r");
    world.peers[a].window = 5; // in the midst of the second frame
    broadcast("r", "1");
    broadcast("r", "2");
    turns();
    assert_true(is_blocked(a));
    assert_int_equal(queued(a), 1);
    assert_int_equal(say("3", PERI_SLOW_CLOSE, NULL), 2);
    assert_int_equal(world.peers[a].writes, 1);
    open_window(a, SIZE_MAX);
    expect_wire(a, "T:1 T:2 T:3 ");
    expect_wire(b, "T:1 T:2 T:3 ");
}

static void test_a_latest_frame_that_is_refused_whole_gives_way(void **state) {
    (void)state;
    size_t a = connect_to(1);
    join(a, "r");
    world.script_limits[1].outbox_soft = 1;
    world.peers[a].window = 0;
    assert_int_equal(say("1", PERI_SLOW_LATEST, "k"), 1);
    assert_true(is_blocked(a));
    assert_int_equal(say("2", PERI_SLOW_LATEST, "k"), 1);
    open_window(a, SIZE_MAX);
    expect_wire(a, "T:2 ");
}

static void test_who_was_sent_something_has_it_and_its_rooms_in_one_write(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1);
    join(a, "r");
    join(b, "r");
    broadcast("r", "1");
    assert_int_equal(send_text(b, "2"), PERI_OK);
    broadcast("r", "3");
    turns();
    assert_int_equal(world.peers[b].flushes, 1);
    assert_int_equal(world.peers[b].writes, 0);
    assert_int_equal(world.peers[a].writes, 1);
    expect_wire(a, "T:1 T:3 ");
    expect_wire(b, "T:1 T:2 T:3 ");
}

static void test_a_burst_longer_than_a_block_arrives_whole(void **state) {
    (void)state;
    size_t a = connect_to(1);
    join(a, "r");
    for (int i = 0; i < 60; i++) {
        broadcast_str(room_of("r"), filler((char)('A' + i), 1000), PERI_SLOW_CLOSE, NULL);
    }
    turns();
    assert_int_equal(world.flushes, 1);
    const uint8_t *bytes = world.peers[a].wire.ptr;
    assert_int_equal(world.peers[a].wire.len, 60 * 1004);
    for (size_t i = 0; i < 60; i++) {
        assert_int_equal(bytes[i * 1004 + 4], 'A' + i);
    }
}

static void test_a_room_of_nobody_else_addresses_nobody(void **state) {
    (void)state;
    size_t a = connect_to(1);
    join(a, "r");
    assert_int_equal(broadcast_but("r", "1", a), 0);
    struct peri_room *room = peri_room_ref(room_of("r"));
    assert_int_equal(leave(a, "r"), PERI_OK);
    assert_int_equal(broadcast("r", "2"), 0);
    peri_room_unref(world.hub, room);
    turns();
    expect_wire(a, "");
    assert_null(room_of("r"));
}

static void test_a_warm_broadcast_allocates_nothing(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1);
    join(a, "r");
    join(b, "r");
    broadcast("r", "1");
    turns();
    peri_alloc_fail_from(1);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(broadcast("r", "2"), 2);
        turns();
    }
    peri_alloc_fail_from(0);
    assert_int_equal(world.peers[b].wire.len, 303);
}

#define SETTLE_TEST(name) cmocka_unit_test_setup_teardown(name, settle_set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SETTLE_TEST(test_at_the_soft_limit_a_member_is_not_slow_yet),
        SETTLE_TEST(test_over_the_soft_limit_close_ends_with_1013_and_sends_nothing_more),
        SETTLE_TEST(test_what_no_write_was_tried_for_does_not_count),
        SETTLE_TEST(test_limits_act_frame_by_frame),
        SETTLE_TEST(test_over_the_soft_limit_drop_leaves_out_and_counts),
        SETTLE_TEST(test_over_the_soft_limit_latest_gives_way_to_the_same_room_and_key),
        SETTLE_TEST(test_what_gave_way_is_told_also_when_that_brought_it_back_under_at_once),
        SETTLE_TEST(test_under_the_soft_limit_nothing_gives_way),
        SETTLE_TEST(test_a_latest_frame_that_is_begun_does_not_give_way),
        SETTLE_TEST(test_direct_sends_fill_the_outbox_up_to_the_hard_limit_exactly),
        SETTLE_TEST(test_the_answer_that_pauses_reading_may_go_over_the_hard_limit),
        SETTLE_TEST(test_an_answer_that_pauses_nothing_stays_under_the_hard_limit),
        SETTLE_TEST(test_a_broadcast_over_the_hard_limit_ends_whatever_the_policy),
        SETTLE_TEST(test_latest_may_not_pass_the_hard_limit_either),
        SETTLE_TEST(test_a_message_larger_than_the_hard_limit_is_refused_and_nothing_sent),
        SETTLE_TEST(test_in_a_shared_room_each_member_has_its_own_limits),
        SETTLE_TEST(test_all_members_may_end_over_one_broadcast),
        SETTLE_TEST(test_an_excepted_member_may_end_before_the_broadcast),
        SETTLE_TEST(test_a_send_to_a_member_that_settling_ends_is_closed),
        SETTLE_TEST(test_a_leave_and_a_close_that_settling_ends_say_so),
        SETTLE_TEST(test_drain_comes_once_under_half_of_soft),
        SETTLE_TEST(test_without_having_been_over_soft_there_is_no_drain),
        SETTLE_TEST(test_a_script_without_drain_gets_none),
        SETTLE_TEST(test_send_says_slow_only_while_over_soft),
        SETTLE_TEST(test_drain_keeps_its_place_among_the_messages),
        SETTLE_TEST(test_an_ended_connection_gets_no_drain),
        SETTLE_TEST(test_a_join_sees_only_later_broadcasts_and_a_leave_stops_at_once),
        SETTLE_TEST(test_exceptions_are_counted_once_and_others_ignored),
        SETTLE_TEST(test_a_burst_in_one_room_is_one_reference),
        SETTLE_TEST(test_who_has_nothing_waiting_is_written_to_past_the_outbox),
        SETTLE_TEST(test_what_is_refused_of_a_write_past_the_outbox_is_queued),
        SETTLE_TEST(test_a_latest_frame_that_is_refused_whole_gives_way),
        SETTLE_TEST(test_who_was_sent_something_has_it_and_its_rooms_in_one_write),
        SETTLE_TEST(test_a_burst_longer_than_a_block_arrives_whole),
        SETTLE_TEST(test_a_room_of_nobody_else_addresses_nobody),
        SETTLE_TEST(test_a_warm_broadcast_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
