// The registry of connections, and the order in which they end.
#include "support.h"

#include "hub/internal.h"

static enum peri_answer wait_always(struct world *w, size_t peer, enum event event,
                                    struct peri_str data) {
    (void)w;
    (void)peer;
    (void)event;
    (void)data;
    return PERI_BUSY;
}

static int close_by_script(size_t peer, int code, const char *reason) {
    struct peri_conn *conn = conn_of(peer);
    return conn ? peri_conn_close(world.hub, conn, code, peri_str_of(reason)) : PERI_E_CLOSED;
}

static void detach(size_t peer) {
    peri_hub_detach(world.hub, world.peers[peer].key);
}

// Registry.

static void test_a_key_has_worker_slot_and_serial(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1);
    assert_int_equal(world.peers[a].key >> 24 & 0xff, 7);
    assert_int_equal(world.peers[a].key & 0xffffff, 0);
    assert_int_equal(world.peers[a].key >> 32, 1);
    assert_int_equal(world.peers[b].key & 0xffffff, 1);
    assert_int_equal(peri_hub_count(world.hub), 2);
    assert_ptr_equal(peri_conn_transport(conn_of(a)), &world.peers[a]);
    assert_int_equal(peri_conn_script(conn_of(a)), 1);
}

/// Lua's tables hash a conn by these 32 bits alone.
static void test_keys_that_are_there_at_once_differ_in_their_low_half(void **state) {
    (void)state;
    for (size_t i = 0; i < PEERS; i++) {
        size_t a = connect_to(1);
        for (size_t j = 0; j < a; j++) {
            assert_true((uint32_t)world.peers[j].key != (uint32_t)world.peers[a].key);
        }
    }
}

static void test_a_key_that_is_gone_is_never_found_again(void **state) {
    (void)state;
    peri_key seen[200];
    for (size_t i = 0; i < 200; i++) {
        world.peer_count = 0;
        size_t a = connect_to(1);
        seen[i] = world.peers[a].key;
        for (size_t j = 0; j < i; j++) {
            assert_true(seen[j] != seen[i]);
            assert_null(peri_hub_conn(world.hub, seen[j]));
        }
        detach(a);
        turns();
        free(world.peers[a].wire.ptr);
        world.peers[a].wire = (struct peri_buffer){0};
    }
    assert_null(peri_hub_conn(world.hub, 0));
    assert_null(peri_hub_conn(world.hub, UINT64_MAX));
    assert_int_equal(peri_hub_count(world.hub), 0);
}

static void test_serials_skip_0(void **state) {
    (void)state;
    size_t a = connect_to(1);
    detach(a);
    turns();
    for (uint32_t i = 0; i < world.hub->slot_count; i++) {
        world.hub->slots[i].word |= (uint64_t)UINT32_MAX << 32;
    }
    size_t b = connect_to(1);
    assert_int_equal(world.peers[b].key >> 32, 1);
}

static void test_a_connection_stays_where_it_is_while_others_come(void **state) {
    (void)state;
    size_t a = connect_to(1);
    struct peri_conn *conn = conn_of(a);
    for (size_t i = 1; i < PEERS; i++) {
        connect_to(1);
    }
    assert_ptr_equal(conn_of(a), conn);
    assert_int_equal(peri_hub_count(world.hub), PEERS);
}

static void test_what_was_given_at_the_opening_answers_until_close_has_run(void **state) {
    (void)state;
    struct peri_params *params = peri_calloc(1, sizeof *params);
    struct peri_opening opening = {
        .script = 2,
        .transport = &world.peers[0],
        .params = params,
        .protocol = PERI_STR("chat.v1"),
        .remote = PERI_STR("2001:db8::1"),
    };
    peri_key key = 0;
    world.peer_count = 1;
    world.peers[0].window = SIZE_MAX;
    assert_int_equal(peri_hub_open(world.hub, &opening, &key), PERI_OK);
    struct peri_conn *conn = peri_hub_conn(world.hub, key);
    assert_ptr_equal(peri_conn_params(conn), params);
    assert_true(peri_str_equal(peri_conn_protocol(conn), PERI_STR("chat.v1")));
    assert_true(peri_str_equal(peri_conn_remote(conn), PERI_STR("2001:db8::1")));
    peri_hub_set_rtt(world.hub, key, 1234);
    assert_int_equal(peri_conn_rtt_us(conn), 1234);
    assert_int_equal(close_by_script(0, 1000, ""), PERI_OK);
    assert_ptr_equal(peri_conn_params(conn), params);
    turns();
    assert_null(peri_hub_conn(world.hub, key));
    assert_ptr_equal(peri_hub_attached(world.hub, key), conn);
    detach(0);
    assert_null(peri_hub_attached(world.hub, key));
}

static void test_an_idle_connection_is_small(void **state) {
    (void)state;
    assert_true(sizeof(struct peri_conn) <= 160);
    size_t a = connect_to(1);
    uint64_t live = peri_alloc_live();
    size_t b = connect_to(1);
    // The struct itself, which is a slab's where there are any, and no more.
    assert_int_equal(peri_alloc_live(), live + (PERI_HAS_SLABS ? 0 : 1));
    assert_int_not_equal(a, b);
}

// Ends.

static size_t all_count(uint32_t script) {
    const struct peri_room *all = peri_room_all(world.hub, script);
    return all ? peri_room_count(all) : 0;
}

static enum peri_answer count_all_in_open(struct world *w, size_t peer, enum event event,
                                          struct peri_str data) {
    (void)w;
    (void)peer;
    (void)data;
    if (event == EVENT_OPEN) {
        assert_int_equal(all_count(1), 1);
    }
    return PERI_DONE;
}

static void test_a_connection_is_in_all_from_just_before_open(void **state) {
    (void)state;
    world.handler = count_all_in_open;
    connect_to(1);
    expect_log("open:0 ");
}

/// Ends of every kind; number 0 is the script's own.
static void end_in_way(size_t peer, int way) {
    switch (way) {
    case 0: assert_int_equal(close_by_script(peer, 4000, "bye"), PERI_OK); break;
    case 1: end_by(peer, PERI_END_PEER, 4001, "peer"); break;
    case 2: end_by(peer, PERI_END_HOST, 1002, "host"); break;
    case 3: end_by(peer, PERI_END_LOST, 0, ""); break;
    case 4: peri_hub_gone_quiet(world.hub, world.peers[peer].key); break;
    default: detach(peer); break;
    }
}

static void test_however_it_ends_it_has_left_at_once(void **state) {
    (void)state;
    for (int way = 0; way <= 5; way++) {
        size_t a = connect_to(1), b = connect_to(1);
        join(a, "r");
        join(b, "r");
        struct peri_conn *conn = conn_of(a);
        end_in_way(a, way);
        assert_false(peri_conn_is_connected(conn));
        assert_int_equal(peri_room_count(room_of("r")), 1);
        size_t cursor = 0;
        assert_true(peri_room_next(room_of("r"), &cursor, NULL) == world.peers[b].key);
        assert_true(peri_room_next(room_of("r"), &cursor, NULL) == 0);
        assert_false(peri_conn_is_member(conn, room_of("r")));
        assert_int_equal(broadcast("r", "x"), 1);
        assert_int_equal(all_count(1), 1);
        assert_int_equal(send_text(a, "no"), PERI_E_CLOSED);
        assert_int_equal(join_as(a, 1, "s", NULL), PERI_E_CLOSED);
        assert_null(room_of("s"));
        assert_int_equal(leave(a, "r"), PERI_E_CLOSED);
        assert_int_equal(close_by_script(a, 1000, ""), PERI_E_CLOSED);
        // Its rooms answer as they were at the end.
        void *next = NULL;
        assert_true(
            peri_str_equal(peri_room_name(peri_conn_next_room(conn, &next)), PERI_STR("r")));
        assert_null(peri_conn_next_room(conn, &next));
        detach(a);
        detach(b);
        turns();
        assert_int_equal(peri_hub_count(world.hub), 0);
        assert_null(room_of("r"));
    }
}

static void test_each_end_has_its_code_and_its_last_words(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1), c = connect_to(1), d = connect_to(1);
    size_t e = connect_to(1), f = connect_to(1);
    forget_log();
    end_in_way(a, 0);
    end_in_way(b, 1);
    end_in_way(c, 2);
    end_in_way(d, 3);
    end_by(e, PERI_END_PEER, 1005, "");
    detach(f);
    turns();
    expect_log("close:0:4000:bye forget:0 close:1:4001:peer forget:1 close:2:1002:host forget:2 "
               "close:3:1006: forget:3 close:4:1005: forget:4 close:5:1006: forget:5 ");
}

static void test_the_peer_is_told_as_each_end_asks(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1), c = connect_to(1), d = connect_to(1);
    size_t e = connect_to(1);
    end_in_way(a, 0);
    end_in_way(b, 1);
    end_in_way(c, 2);
    end_in_way(d, 3);
    end_by(e, PERI_END_PEER, 1005, "");
    turns();
    expect_wire(a, "C:4000:bye ");
    expect_wire(b, "C:4001: ");
    expect_wire(c, "C:1002:host ");
    expect_wire(d, "");
    expect_wire(e, "C: ");
    for (size_t i = 0; i < world.peer_count; i++) {
        assert_int_equal(world.peers[i].ended, 1);
    }
    assert_true(world.peers[a].handshake && world.peers[c].handshake);
    assert_false(world.peers[b].handshake || world.peers[d].handshake || world.peers[e].handshake);
}

static void test_the_first_end_counts(void **state) {
    (void)state;
    size_t a = connect_to(1);
    forget_log();
    end_in_way(a, 0);
    end_in_way(a, 1);
    end_in_way(a, 2);
    end_in_way(a, 3);
    end_in_way(a, 4);
    turns();
    end_in_way(a, 1);
    detach(a);
    turns();
    expect_log("close:0:4000:bye forget:0 ");
    expect_wire(a, "C:4000:bye ");
    assert_int_equal(world.peers[a].ended, 1);
}

static void test_after_its_own_close_what_was_sent_before_goes_out(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(1);
    join(a, "r");
    join(b, "r");
    assert_int_equal(send_text(a, "1"), PERI_OK);
    broadcast("r", "2");
    assert_int_equal(close_by_script(a, 1000, ""), PERI_OK);
    broadcast("r", "3");
    turns();
    expect_wire(a, "T:1 T:2 C:1000: ");
}

static enum peri_answer close_at_2(struct world *w, size_t peer, enum event event,
                                   struct peri_str data) {
    (void)w;
    if (event == EVENT_MESSAGE && peri_str_equal(data, PERI_STR("2"))) {
        assert_int_equal(close_by_script(peer, 1000, ""), PERI_OK);
    }
    return PERI_DONE;
}

static void test_after_its_own_close_no_message_runs_the_rest_of_the_batch_included(void **state) {
    (void)state;
    static const char *const texts[] = {"1", "2", "3"};
    size_t a = connect_to(1);
    forget_log();
    world.handler = close_at_2;
    assert_int_equal(receive_n(a, texts, 3), PERI_E_CLOSED);
    assert_int_equal(receive(a, "4"), PERI_E_CLOSED);
    turns();
    expect_log("msg:0:1 msg:0:2 close:0:1000: forget:0 ");
}

static enum peri_answer wait_for_message(struct world *w, size_t peer, enum event event,
                                         struct peri_str data) {
    (void)w;
    (void)peer;
    (void)data;
    return event == EVENT_MESSAGE ? PERI_BUSY : PERI_DONE;
}

static void resume(size_t peer) {
    peri_hub_resume(world.hub, world.peers[peer].key);
    turns();
}

static void test_its_own_close_drops_what_waits_behind_a_handler(void **state) {
    (void)state;
    static const char *const texts[] = {"1", "2", "3"};
    size_t a = connect_to(1);
    forget_log();
    world.handler = wait_for_message;
    assert_int_equal(receive_n(a, texts, 3), PERI_OK);
    assert_int_equal(close_by_script(a, 1000, ""), PERI_OK);
    turns();
    expect_log("msg:0:1 "); // a close does not cut a wait short
    resume(a);
    expect_log("close:0:1000: forget:0 ");
}

static void test_messages_before_the_peers_end_still_run_then_close(void **state) {
    (void)state;
    static const char *const texts[] = {"1", "2", "3"};
    for (int way = 1; way <= 5; way++) {
        size_t a = connect_to(1);
        forget_log();
        world.handler = wait_for_message;
        assert_int_equal(receive_n(a, texts, 3), PERI_OK);
        end_in_way(a, way);
        turns();
        if (way == 4) {
            detach(a);
        }
        world.handler = NULL;
        resume(a);
        char wanted[128];
        static const char *const how[] = {"", "4001:peer", "1002:host", "1006:", "1006:", "1006:"};
        snprintf(wanted, sizeof wanted, "msg:%zu:1 msg:%zu:2 msg:%zu:3 close:%zu:%s forget:%zu ", a,
                 a, a, a, how[way], a);
        expect_log(wanted);
    }
}

static enum peri_answer wait_in_close(struct world *w, size_t peer, enum event event,
                                      struct peri_str data) {
    (void)w;
    (void)peer;
    (void)data;
    return event == EVENT_CLOSE ? PERI_BUSY : PERI_DONE;
}

static void test_in_close_rooms_answer_as_at_the_end_until_it_has_run(void **state) {
    (void)state;
    size_t a = connect_to(1);
    join(a, "r");
    join(a, "s");
    world.handler = wait_in_close;
    end_in_way(a, 3);
    detach(a);
    turns();
    void *next = NULL;
    struct peri_conn *conn = conn_of(a);
    assert_non_null(conn);
    assert_ptr_equal(peri_conn_next_room(conn, &next), room_of("r"));
    assert_ptr_equal(peri_conn_next_room(conn, &next), room_of("s"));
    assert_null(peri_conn_next_room(conn, &next));
    assert_int_equal(peri_hub_count(world.hub), 1);
    resume(a);
    assert_null(conn_of(a));
    assert_null(room_of("r"));
    assert_int_equal(peri_hub_count(world.hub), 0);
    expect_log("open:0 close:0:1006: forget:0 ");
}

static void test_close_does_not_wait_for_the_handshake(void **state) {
    (void)state;
    size_t a = connect_to(1);
    forget_log();
    world.peers[a].window = 0;
    assert_int_equal(send_text(a, "x"), PERI_OK);
    end_in_way(a, 0);
    turns();
    expect_log("close:0:4000:bye forget:0 ");
    assert_null(conn_of(a));
    open_window(a, SIZE_MAX); // what is queued outlives what policy knows
    expect_wire(a, "T:x C:4000:bye ");
    assert_int_equal(peri_hub_count(world.hub), 1);
    detach(a);
    turns();
    assert_int_equal(peri_hub_count(world.hub), 0);
}

static void test_a_connection_without_close_is_forgotten_all_the_same(void **state) {
    (void)state;
    world.traits[1].has_close = false;
    size_t a = connect_to(1);
    end_in_way(a, 1);
    turns();
    expect_log("open:0 forget:0 ");
}

static enum peri_answer close_in_open(struct world *w, size_t peer, enum event event,
                                      struct peri_str data) {
    (void)w;
    (void)data;
    if (event == EVENT_OPEN) {
        assert_int_equal(close_by_script(peer, 1011, ""), PERI_OK);
    }
    return PERI_DONE;
}

static void test_a_close_in_open_is_an_end_like_any_other(void **state) {
    (void)state;
    world.handler = close_in_open;
    size_t a = connect_to(1);
    assert_int_equal(receive(a, "1"), PERI_E_CLOSED);
    turns();
    expect_log("open:0 close:0:1011: forget:0 ");
    expect_wire(a, "C:1011: ");
}

static void test_open_may_wait_and_what_follows_queues(void **state) {
    (void)state;
    world.handler = wait_always;
    size_t a = connect_to(1);
    assert_int_equal(receive(a, "1"), PERI_OK);
    end_in_way(a, 1);
    turns();
    expect_log("open:0 ");
    world.handler = NULL;
    resume(a);
    expect_log("msg:0:1 close:0:4001:peer forget:0 ");
}

static void test_a_quiet_end_takes_the_peers_code_when_its_close_is_found(void **state) {
    (void)state;
    size_t a = connect_to(1);
    forget_log();
    world.handler = wait_for_message;
    assert_int_equal(receive(a, "1"), PERI_OK);
    peri_hub_gone_quiet(world.hub, world.peers[a].key);
    assert_int_equal(world.peers[a].ended, 0); // net has yet to read what came before
    assert_int_equal(receive(a, "2"), PERI_OK);
    turns();
    end_by(a, PERI_END_PEER, 4005, "gone");
    assert_int_equal(world.peers[a].ended, 1);
    assert_int_equal(receive(a, "3"), PERI_E_CLOSED);
    world.handler = NULL;
    resume(a);
    expect_log("msg:0:1 msg:0:2 close:0:4005:gone forget:0 ");
    expect_wire(a, "C:4005: ");
}

static void test_a_quiet_end_without_a_close_frame_is_1006(void **state) {
    (void)state;
    size_t a = connect_to(1);
    peri_hub_gone_quiet(world.hub, world.peers[a].key);
    peri_hub_gone_quiet(world.hub, world.peers[a].key);
    turns();
    expect_log("open:0 "); // `close` waits until net has read all
    end_by(a, PERI_END_LOST, 0, "");
    turns();
    expect_log("close:0:1006: forget:0 ");
}

static void test_a_socket_that_a_broadcast_finds_failed_is_no_slow_one(void **state) {
    (void)state;
    world.script_limits[1].outbox_soft = 1000;
    world.traits[1].has_drain = true;
    size_t a = connect_to(1), b = connect_to(1);
    join(a, "r");
    join(b, "r");
    forget_log();
    world.peers[a].dead = true;
    for (int i = 0; i < 4; i++) {
        (void)broadcast_str(room_of("r"), filler('x', 70000), PERI_SLOW_CLOSE, NULL);
    }
    assert_int_equal(send_str(a, filler('x', 1)), PERI_E_CLOSED);
    assert_int_equal(receive(a, "1"), PERI_OK); // what came before still runs
    turns();
    end_by(a, PERI_END_LOST, 0, "");
    turns();
    expect_log("msg:0:1 close:0:1006: forget:0 ");
    expect_wire(a, "");
    assert_int_equal(world.peers[b].wire.len, 4 * (70000 + 10));
}

static void test_sending_to_a_failed_socket_comes_to_an_end(void **state) {
    (void)state;
    static const size_t sizes[] = {1000, 60000};
    for (size_t i = 0; i < 2; i++) {
        size_t a = connect_to(1), sent = 0;
        world.peers[a].dead = true;
        while (sent < 100 && send_str(a, filler('x', sizes[i])) == PERI_OK) {
            sent++;
        }
        assert_in_range(sent, 1, 1 + 65536 / sizes[i]); // the one by which it is found, at last
        assert_int_equal(send_str(a, filler('x', 1)), PERI_E_CLOSED);
    }
}

static void test_the_slot_is_freed_when_the_last_handler_has_run(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.handler = wait_for_message;
    assert_int_equal(receive(a, "1"), PERI_OK);
    detach(a);
    turns();
    assert_int_equal(peri_hub_count(world.hub), 1);
    assert_non_null(conn_of(a));
    resume(a);
    assert_int_equal(peri_hub_count(world.hub), 0);
}

static enum peri_answer end_all_in_handler(struct world *w, size_t peer, enum event event,
                                           struct peri_str data) {
    (void)w;
    (void)data;
    if (event == EVENT_MESSAGE) {
        broadcast("r", "bye");
        assert_int_equal(peri_room_close(world.hub, room_of("r"), 4002, PERI_STR("all")), 3);
        assert_null(peri_hub_conn(world.hub, 0));
        assert_non_null(conn_of(peer)); // ended, and still there
        assert_int_equal(send_text(peer, "no"), PERI_E_CLOSED);
    }
    return PERI_DONE;
}

static void test_a_broadcast_and_close_that_end_their_sender_are_safe(void **state) {
    (void)state;
    static const char *const texts[] = {"1", "2"};
    for (size_t i = 0; i < 3; i++) {
        join(connect_to(1), "r");
    }
    forget_log();
    world.handler = end_all_in_handler;
    assert_int_equal(receive_n(1, texts, 2), PERI_E_CLOSED);
    turns();
    expect_log("msg:1:1 close:0:4002:all forget:0 close:1:4002:all forget:1 close:2:4002:all "
               "forget:2 ");
    for (size_t i = 0; i < 3; i++) {
        expect_wire(i, "T:bye C:4002:all ");
    }
}

static void test_ends_of_unknown_connections_do_nothing(void **state) {
    (void)state;
    peri_hub_end(world.hub, 42, PERI_END_HOST, 1000, PERI_STR(""));
    peri_hub_gone_quiet(world.hub, 42);
    peri_hub_detach(world.hub, 42);
    peri_hub_resume(world.hub, 42);
    peri_hub_pong(world.hub, 42, PERI_STR(""));
    peri_hub_ping(world.hub, 42, PERI_STR(""));
    peri_hub_set_rtt(world.hub, 42, 1);
    assert_int_equal(peri_hub_input_room(world.hub, 42), 0);
    assert_int_equal(peri_hub_messages(world.hub, 42, NULL, 0), PERI_E_CLOSED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_key_has_worker_slot_and_serial),
        TEST(test_keys_that_are_there_at_once_differ_in_their_low_half),
        TEST(test_a_key_that_is_gone_is_never_found_again),
        TEST(test_serials_skip_0),
        TEST(test_a_connection_stays_where_it_is_while_others_come),
        TEST(test_what_was_given_at_the_opening_answers_until_close_has_run),
        TEST(test_an_idle_connection_is_small),
        TEST(test_a_connection_is_in_all_from_just_before_open),
        TEST(test_however_it_ends_it_has_left_at_once),
        TEST(test_each_end_has_its_code_and_its_last_words),
        TEST(test_the_peer_is_told_as_each_end_asks),
        TEST(test_the_first_end_counts),
        TEST(test_after_its_own_close_what_was_sent_before_goes_out),
        TEST(test_after_its_own_close_no_message_runs_the_rest_of_the_batch_included),
        TEST(test_its_own_close_drops_what_waits_behind_a_handler),
        TEST(test_messages_before_the_peers_end_still_run_then_close),
        TEST(test_in_close_rooms_answer_as_at_the_end_until_it_has_run),
        TEST(test_close_does_not_wait_for_the_handshake),
        TEST(test_a_connection_without_close_is_forgotten_all_the_same),
        TEST(test_a_close_in_open_is_an_end_like_any_other),
        TEST(test_open_may_wait_and_what_follows_queues),
        TEST(test_a_quiet_end_takes_the_peers_code_when_its_close_is_found),
        TEST(test_a_quiet_end_without_a_close_frame_is_1006),
        TEST(test_a_socket_that_a_broadcast_finds_failed_is_no_slow_one),
        TEST(test_sending_to_a_failed_socket_comes_to_an_end),
        TEST(test_the_slot_is_freed_when_the_last_handler_has_run),
        TEST(test_a_broadcast_and_close_that_end_their_sender_are_safe),
        TEST(test_ends_of_unknown_connections_do_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
