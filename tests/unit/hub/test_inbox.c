// Waiting handlers, what queues behind them, and when reading stops.
#include "support.h"

enum { KIB_64 = 65536 };

static enum peri_answer wait_on_w(struct world *w, size_t peer, enum event event,
                                  struct peri_str data) {
    (void)w;
    (void)peer;
    return event == EVENT_MESSAGE && data.len > 0 && data.ptr[0] == 'w' ? PERI_BUSY : PERI_DONE;
}

static void resume(size_t peer) {
    peri_hub_resume(world.hub, world.peers[peer].key);
    turns();
}

static int receive_str(size_t peer, struct peri_str text) {
    struct peri_event event = {.kind = PERI_EV_BINARY, .in_input = true, .payload = text};
    return peri_hub_messages(world.hub, world.peers[peer].key, &event, 1);
}

/// Connects with a handler that waits.
static size_t connect_waiting(void) {
    size_t a = connect_to(1);
    world.handler = wait_on_w;
    assert_int_equal(receive(a, "wait"), PERI_OK);
    forget_log();
    return a;
}

static void test_an_idle_connection_runs_a_batch_at_once_and_without_a_copy(void **state) {
    (void)state;
    static const char *const texts[] = {"1", "2", "3"};
    size_t a = connect_to(1);
    forget_log();
    uint64_t live = peri_alloc_live();
    assert_int_equal(receive_n(a, texts, 3), PERI_OK);
    assert_int_equal(peri_alloc_live(), live);
    expect_log("msg:0:1 msg:0:2 msg:0:3 ");
    assert_int_equal(world.batches, 1);
    assert_int_equal(world.turns_asked, 0);
}

static void test_when_one_waits_the_rest_queue_and_come_in_order(void **state) {
    (void)state;
    static const char *const texts[] = {"1", "w2", "3", "4"};
    size_t a = connect_to(1);
    forget_log();
    world.handler = wait_on_w;
    assert_int_equal(receive_n(a, texts, 4), PERI_OK);
    assert_int_equal(receive(a, "5"), PERI_OK);
    assert_int_equal(receive(a, "w6"), PERI_OK);
    assert_int_equal(receive(a, "7"), PERI_OK);
    turns();
    expect_log("msg:0:1 msg:0:w2 ");
    resume(a);
    expect_log("msg:0:3 msg:0:4 msg:0:5 msg:0:w6 ");
    assert_int_equal(receive(a, "8"), PERI_OK);
    turns();
    expect_log("");
    resume(a);
    expect_log("msg:0:7 msg:0:8 ");
    assert_int_equal(receive(a, "9"), PERI_OK);
    expect_log("msg:0:9 ");
}

static void test_what_queued_one_by_one_is_given_as_one_batch(void **state) {
    (void)state;
    size_t a = connect_waiting();
    for (int i = 0; i < 100; i++) {
        assert_int_equal(receive(a, "x"), PERI_OK);
    }
    world.batches = 0;
    resume(a);
    assert_int_equal(world.batches, 2); // of 64 and 36
}

static void test_what_is_queued_is_a_copy(void **state) {
    (void)state;
    size_t a = connect_waiting();
    char text[] = "original";
    assert_int_equal(receive_str(a, peri_str(text, 8)), PERI_OK);
    memset(text, 'X', 8);
    resume(a);
    expect_log("msg:0:original ");
}

static void test_a_wait_holds_up_no_other_connection(void **state) {
    (void)state;
    size_t a = connect_waiting(), b = connect_to(1);
    forget_log();
    assert_int_equal(receive(a, "1"), PERI_OK);
    assert_int_equal(receive(b, "2"), PERI_OK);
    expect_log("msg:1:2 ");
    resume(a);
    expect_log("msg:0:1 ");
}

static void test_events_that_are_due_take_turns_between_connections(void **state) {
    (void)state;
    size_t a = connect_waiting(), b = connect_waiting();
    for (int i = 0; i < 70; i++) {
        assert_int_equal(receive(a, "a"), PERI_OK);
    }
    assert_int_equal(receive(b, "b"), PERI_OK);
    forget_log();
    peri_hub_resume(world.hub, world.peers[a].key);
    peri_hub_resume(world.hub, world.peers[b].key);
    turns();
    const char *log = log_text();
    const char *of_b = strstr(log, "msg:1:b");
    assert_non_null(of_b);
    assert_int_equal(of_b - log, 64 * 8); // behind one batch of the other's, not behind all of it
}

static void test_a_turn_is_bounded_and_says_that_work_is_left(void **state) {
    (void)state;
    size_t a = connect_waiting();
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(receive(a, "a"), PERI_OK);
    }
    peri_hub_resume(world.hub, world.peers[a].key);
    world.batches = 0;
    assert_true(peri_hub_turn(world.hub));
    assert_in_range(world.batches, 1, 15);
    turns();
    assert_int_equal(world.batches, 16);
}

static void test_without_a_message_handler_messages_cost_nothing(void **state) {
    (void)state;
    size_t a = connect_to(1);
    forget_log();
    world.traits[1].has_message = false;
    peri_alloc_fail_from(1);
    assert_int_equal(receive(a, "1"), PERI_OK);
    peri_alloc_fail_from(0);
    expect_log("");
    assert_int_equal(input_room(a), 64);
}

// When reading stops.

static void test_room_is_64_when_idle_and_1_while_a_handler_waits(void **state) {
    (void)state;
    size_t a = connect_to(1);
    assert_int_equal(input_room(a), 64);
    world.handler = wait_on_w;
    assert_int_equal(receive(a, "w"), PERI_OK);
    assert_int_equal(input_room(a), 1);
    assert_int_equal(receive(a, "1"), PERI_OK);
    assert_int_equal(input_room(a), 1);
    peri_hub_resume(world.hub, world.peers[a].key);
    assert_int_equal(input_room(a), 1); // what is pending goes first
    turns();
    assert_int_equal(input_room(a), 64);
    assert_int_equal(world.peers[a].wanted, 0); // it was never told to stop
}

static void test_reading_stops_at_64_kib_pending(void **state) {
    (void)state;
    size_t a = connect_waiting();
    assert_int_equal(receive_str(a, filler('x', KIB_64 - 1)), PERI_OK);
    assert_int_equal(input_room(a), 1);
    assert_int_equal(receive_str(a, filler('y', 1)), PERI_OK);
    assert_int_equal(input_room(a), 0);
    assert_int_equal(world.peers[a].wanted, 0);
    resume(a);
    assert_int_equal(world.peers[a].wanted, 1);
    assert_int_equal(input_room(a), 64);
}

static void test_or_one_larger_message(void **state) {
    (void)state;
    size_t a = connect_waiting();
    assert_int_equal(input_room(a), 1);
    assert_int_equal(receive_str(a, filler('x', 16 * (size_t)KIB_64)), PERI_OK);
    assert_int_equal(input_room(a), 0);
    resume(a);
    assert_int_equal(world.peers[a].wanted, 1);
}

static void test_reading_stops_at_1024_messages_pending(void **state) {
    (void)state;
    size_t a = connect_waiting();
    for (int i = 0; i < 1023; i++) {
        assert_int_equal(receive(a, ""), PERI_OK);
    }
    assert_int_equal(input_room(a), 1);
    assert_int_equal(receive(a, ""), PERI_OK);
    assert_int_equal(input_room(a), 0);
    resume(a);
    assert_int_equal(world.peers[a].wanted, 1);
    assert_int_equal(input_room(a), 64);
}

static void test_reading_goes_on_as_soon_as_there_is_room_though_the_next_one_waits(void **state) {
    (void)state;
    size_t a = connect_waiting();
    assert_int_equal(receive(a, "w"), PERI_OK);
    assert_int_equal(receive_str(a, filler('x', KIB_64)), PERI_OK);
    assert_int_equal(input_room(a), 0);
    resume(a); // runs "w", which waits; the large one is still pending
    assert_int_equal(world.peers[a].wanted, 0);
    assert_int_equal(input_room(a), 0);
    world.handler = wait_on_w;
    resume(a);
    assert_int_equal(world.peers[a].wanted, 1);
}

static void test_an_end_opens_reading_for_the_handshake(void **state) {
    (void)state;
    size_t a = connect_waiting();
    assert_int_equal(receive_str(a, filler('x', KIB_64)), PERI_OK);
    assert_int_equal(input_room(a), 0);
    end_by(a, PERI_END_HOST, 1001, "");
    assert_int_equal(world.peers[a].wanted, 1);
    assert_int_equal(input_room(a), 64);
    assert_int_equal(receive(a, "late"), PERI_E_CLOSED);
}

static enum peri_answer send_own(struct world *w, size_t peer, enum event event,
                                 struct peri_str data) {
    (void)w;
    if (event == EVENT_MESSAGE) {
        struct peri_outgoing out = {PERI_OP_TEXT, filler('o', 600), 0};
        bool own = data.ptr[0] == 'o';
        assert_true(peri_conn_send(world.hub, conn_of(peer), &out, own) >= PERI_OK);
    }
    return PERI_DONE;
}

static void test_own_sends_over_soft_pause_reading_until_drained(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.script_limits[1].outbox_soft = 1000;
    world.handler = send_own;
    world.peers[a].window = 0;
    assert_int_equal(receive(a, "o"), PERI_OK);
    turns(); // 604 are left
    assert_int_equal(input_room(a), 64);
    assert_int_equal(receive(a, "o"), PERI_OK); // 1208
    assert_int_equal(input_room(a), 0);
    turns();
    open_window(a, 1208 - 500);
    assert_int_equal(world.peers[a].wanted, 0);
    assert_int_equal(input_room(a), 0);
    open_window(a, 1);
    assert_int_equal(world.peers[a].wanted, 1);
    turns();
    assert_int_equal(input_room(a), 64);
}

static void test_own_sends_found_over_soft_by_the_flush_pause_too(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.script_limits[1].outbox_soft = 500;
    world.handler = send_own;
    world.peers[a].window = 10;
    assert_int_equal(receive(a, "o"), PERI_OK);
    assert_int_equal(input_room(a), 64); // no write was tried yet
    turns();
    assert_int_equal(input_room(a), 0);
}

static void test_sends_by_others_do_not_pause_reading(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.script_limits[1].outbox_soft = 500;
    world.handler = send_own;
    world.peers[a].window = 10;
    assert_int_equal(receive(a, "x"), PERI_OK);
    assert_int_equal(receive(a, "x"), PERI_OK);
    turns();
    assert_int_equal(input_room(a), 64);
}

static void test_going_quiet_ends_the_pause(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.script_limits[1].outbox_soft = 500;
    world.handler = send_own;
    world.peers[a].window = 10;
    assert_int_equal(receive(a, "o"), PERI_OK);
    turns();
    assert_int_equal(input_room(a), 0);
    peri_hub_gone_quiet(world.hub, world.peers[a].key);
    assert_int_equal(world.peers[a].wanted, 1);
    assert_int_equal(input_room(a), 64);
}

static void test_without_memory_to_keep_a_message_the_connection_ends_with_1011(void **state) {
    (void)state;
    size_t a = connect_waiting();
    assert_int_equal(receive(a, "1"), PERI_OK);
    peri_alloc_fail_from(2); // the chunk; the first is the inbox's, or this one
    int rc = receive_str(a, filler('2', 5000));
    peri_alloc_fail_from(0);
    if (rc == PERI_OK) { // the inbox was there already
        peri_alloc_fail_from(1);
        rc = receive_str(a, filler('3', 5000));
        peri_alloc_fail_from(0);
    }
    assert_int_equal(rc, PERI_E_CLOSED);
    assert_false(peri_conn_is_connected(conn_of(a)));
    world.handler = NULL;
    resume(a);
    assert_non_null(strstr(log_text(), "msg:0:1 "));
    assert_non_null(strstr(log_text(), "close:0:1011:"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_an_idle_connection_runs_a_batch_at_once_and_without_a_copy),
        TEST(test_when_one_waits_the_rest_queue_and_come_in_order),
        TEST(test_what_queued_one_by_one_is_given_as_one_batch),
        TEST(test_what_is_queued_is_a_copy),
        TEST(test_a_wait_holds_up_no_other_connection),
        TEST(test_events_that_are_due_take_turns_between_connections),
        TEST(test_a_turn_is_bounded_and_says_that_work_is_left),
        TEST(test_without_a_message_handler_messages_cost_nothing),
        TEST(test_room_is_64_when_idle_and_1_while_a_handler_waits),
        TEST(test_reading_stops_at_64_kib_pending),
        TEST(test_or_one_larger_message),
        TEST(test_reading_stops_at_1024_messages_pending),
        TEST(test_reading_goes_on_as_soon_as_there_is_room_though_the_next_one_waits),
        TEST(test_an_end_opens_reading_for_the_handshake),
        TEST(test_own_sends_over_soft_pause_reading_until_drained),
        TEST(test_own_sends_found_over_soft_by_the_flush_pause_too),
        TEST(test_sends_by_others_do_not_pause_reading),
        TEST(test_going_quiet_ends_the_pause),
        TEST(test_without_memory_to_keep_a_message_the_connection_ends_with_1011),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
