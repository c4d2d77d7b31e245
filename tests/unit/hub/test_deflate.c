// Compression of what goes out: what pays, what is shared, contexts, and what they must survive.
#include "deflating.h"
#include "hub/internal.h"

enum { MIN = 100 };

static int small_set_up(void **state) {
    int rc = deflating_set_up(state);
    world.limits.deflate_min = MIN;
    return rc;
}

#define SMALL_TEST(name) cmocka_unit_test_setup_teardown(name, small_set_up, deflating_tear_down)

static void say(const char *room, struct peri_str text, enum peri_slow slow) {
    (void)broadcast_str(room_of(room), text, slow, NULL);
}

static void say_all(struct peri_str text) {
    (void)broadcast_str(peri_room_all(world.hub, 1), text, PERI_SLOW_CLOSE, NULL);
}

/// Of so many values, each as likely: of 16, it is compressed to half.
static void fill_at_random(char *to, size_t n, unsigned values) {
    unsigned seed = 1;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245 + 12345;
        to[i] = (char)('a' + (seed >> 16) % values);
    }
}

/// Without a block: there is none.
static struct peri_outbox_run run_of(size_t peer, uint32_t at) {
    struct peri_outbox_run run = {0};
    (void)peri_outbox_at(peri_conn_outbox(conn_of(peer)), at, &run);
    return run;
}

// Direct sends

static void test_a_send_is_compressed_from_deflate_min_on(void **state) {
    (void)state;
    for (int own = 0; own <= 1; own++) {
        size_t a = connect_deflating(12, own);
        assert_int_equal(send_str(a, filler('1', MIN - 1)), PERI_OK);
        assert_int_equal(send_str(a, filler('2', MIN)), PERI_OK);
        struct peri_outgoing binary = {PERI_OP_BINARY, filler('3', 5000), 0};
        assert_int_equal(peri_conn_send(world.hub, conn_of(a), &binary, false), PERI_OK);
        assert_int_equal(send_text(a, "4"), PERI_OK);
        turns();
        assert_true(world.peers[a].wire.len < 300);
        expect_unpacked(a, 2, "T:1*99 T:2*100 B:3*5000 T:4 ");
    }
}

static void test_what_has_not_agreed_gets_nothing_compressed(void **state) {
    (void)state;
    size_t a = connect_to(1);
    assert_int_equal(send_str(a, filler('1', 5000)), PERI_OK);
    turns();
    expect_wire(a, "T:1*5000 ");
}

static void test_what_gets_no_shorter_goes_plain(void **state) {
    (void)state;
    char noise[1000];
    fill_at_random(noise, sizeof noise, 256);
    struct peri_outgoing out = {PERI_OP_BINARY, peri_str(noise, sizeof noise), 0};
    for (int own = 0; own <= 1; own++) {
        size_t a = connect_deflating(12, own);
        join(a, "r");
        size_t addressed = 0;
        struct peri_broadcast b = {.out = out};
        assert_int_equal(peri_conn_send(world.hub, conn_of(a), &out, false), PERI_OK);
        assert_int_equal(peri_room_broadcast(world.hub, room_of("r"), &b, &addressed), PERI_OK);
        assert_int_equal(send_str(a, filler('1', 500)), PERI_OK);
        turns();
        size_t packed = 0;
        struct peri_buffer plain = unpack(a, &packed);
        assert_int_equal(packed, 1);
        assert_int_equal(plain.len, 2 * (4 + sizeof noise) + 4 + 500);
        assert_memory_equal(plain.ptr + 4, noise, sizeof noise);
        free(plain.ptr);
    }
}

static void test_control_frames_are_never_compressed(void **state) {
    (void)state;
    world.limits.deflate_min = 0;
    size_t a = connect_deflating(12, true);
    char same[PERI_CONTROL_MAX - 2];
    memset(same, 'x', sizeof same);
    peri_hub_ping(world.hub, world.peers[a].key, peri_str(same, sizeof same));
    peri_hub_pong(world.hub, world.peers[a].key, peri_str(same, sizeof same));
    assert_int_equal(send_text(a, ""), PERI_OK);
    assert_int_equal(peri_conn_close(world.hub, conn_of(a), 1000, peri_str(same, sizeof same)),
                     PERI_OK);
    turns();
    expect_unpacked(a, 0, "P:x*123 O:x*123 T: C:\x03*125 ");
}

static void test_a_large_send_is_written_at_once_in_its_place(void **state) {
    (void)state;
    static char text[300000];
    fill_at_random(text, sizeof text, 16); // to half of it
    for (int own = 0; own <= 1; own++) {
        size_t a = connect_deflating(12, own);
        world.peers[a].window = 100000;
        assert_int_equal(send_text(a, "before"), PERI_OK);
        assert_true(send_str(a, peri_str(text, sizeof text)) >= PERI_OK);
        assert_int_equal(world.peers[a].writes, 1);
        assert_true(send_str(a, filler('2', 1000)) >= PERI_OK);
        assert_in_range(queued(a), 50, 150000);
        open_window(a, SIZE_MAX);
        expect_unpacked(a, 2, "T:before T:g*300000 T:2*1000 ");
    }
}

// Broadcasts

static void test_a_broadcast_is_compressed_once_for_members_of_one_window(void **state) {
    (void)state;
    size_t peers[5] = {connect_deflating(12, false), connect_deflating(12, false),
                       connect_deflating(9, false), connect_to(1), connect_to(1)};
    for (size_t i = 0; i < 5; i++) {
        join(peers[i], "r");
    }
    say("r", filler('1', 1000), PERI_SLOW_CLOSE);
    say("r", filler('2', 2000), PERI_SLOW_CLOSE);
    struct peri_gathered *g = room_of("r")->gathered;
    for (size_t i = 0; i < 7; i++) {
        assert_null(g->deflated[i]); // not before anybody takes it
    }
    for (size_t i = 0; i < 5; i++) {
        peri_settle(world.hub, conn_of(peers[i]));
        assert_null(run_of(peers[i], 1).block); // two messages are one run
    }
    assert_ptr_equal(run_of(peers[0], 0).block, run_of(peers[1], 0).block);
    assert_int_equal(run_of(peers[0], 0).offset, run_of(peers[1], 0).offset);
    assert_int_equal(run_of(peers[0], 0).length, run_of(peers[1], 0).length);
    assert_ptr_not_equal(run_of(peers[0], 0).block, run_of(peers[2], 0).block);
    assert_ptr_equal(run_of(peers[3], 0).block, run_of(peers[4], 0).block);
    assert_int_equal(g->deflated[3]->block->len, run_of(peers[0], 0).length);
    turns();
    for (size_t i = 0; i < 5; i++) {
        expect_unpacked(peers[i], i < 3 ? 2 : 0, "T:1*1000 T:2*2000 ");
    }
}

static void test_a_room_without_such_members_compresses_nothing(void **state) {
    (void)state;
    size_t a = connect_to(1);
    join(a, "r");
    say("r", filler('1', 3000), PERI_SLOW_CLOSE);
    peri_settle(world.hub, conn_of(a));
    for (size_t i = 0; i < 7; i++) {
        assert_null(room_of("r")->gathered->deflated[i]);
    }
    assert_int_equal(world.hub->deflate_budget.used_, 0);
}

static void test_small_messages_among_large_ones_keep_their_place(void **state) {
    (void)state;
    size_t peers[3] = {connect_deflating(12, false), connect_deflating(12, true), connect_to(1)};
    for (size_t i = 0; i < 3; i++) {
        join(peers[i], "r");
        join(peers[i], "q");
    }
    for (int i = 0; i < 3; i++) {
        say("r", PERI_STR("a"), PERI_SLOW_CLOSE);
        say("q", filler('b', 500), PERI_SLOW_CLOSE);
        say("r", filler('c', 600), PERI_SLOW_CLOSE);
        say("q", PERI_STR("d"), PERI_SLOW_CLOSE);
        say("q", PERI_STR("e"), PERI_SLOW_CLOSE);
        (void)send_str(peers[i], filler('f', 700));
    }
    turns();
#define ROUND "T:a T:b*500 T:c*600 T:d T:e "
    expect_unpacked(peers[0], 7, ROUND "T:f*700 " ROUND ROUND);
    expect_unpacked(peers[1], 7, ROUND ROUND "T:f*700 " ROUND);
    expect_unpacked(peers[2], 0, ROUND ROUND ROUND "T:f*700 ");
}

static void test_only_small_messages_take_the_plain_way(void **state) {
    (void)state;
    size_t a = connect_deflating(12, false), b = connect_to(1);
    join(a, "r");
    join(b, "r");
    for (int i = 0; i < 50; i++) {
        say("r", PERI_STR("small"), PERI_SLOW_CLOSE);
    }
    peri_settle(world.hub, conn_of(a));
    peri_settle(world.hub, conn_of(b));
    assert_ptr_equal(run_of(a, 0).block, run_of(b, 0).block);
    assert_int_equal(run_of(a, 0).length, run_of(b, 0).length);
}

// Contexts

static void test_a_context_makes_what_repeats_shorter(void **state) {
    (void)state;
    size_t a = connect_deflating(12, true), b = connect_deflating(12, false);
    struct peri_str text =
        PERI_STR("{\"from\": \"ann\", \"room\": \"lobby\", \"text\": \"how do you do, "
                 "fellow kids, on this fine day?\", \"at\": 1234567890123}");
    size_t sizes[3][2];
    for (int i = 0; i < 3; i++) {
        if (i < 2) {
            (void)send_str(a, text);
            (void)send_str(b, text);
        } else {
            say_all(text);
        }
        turns();
        sizes[i][0] = world.peers[a].wire.len;
        sizes[i][1] = world.peers[b].wire.len;
        char wanted[64];
        (void)snprintf(wanted, sizeof wanted, "T:{*%zu ", text.len);
        expect_unpacked(a, 1, wanted);
        expect_unpacked(b, 1, wanted);
    }
    assert_int_equal(sizes[0][0], sizes[0][1]);
    assert_true(sizes[1][0] < sizes[0][0] / 4 && sizes[2][0] < sizes[0][0] / 4);
    assert_int_equal(sizes[1][1], sizes[0][1]);
    assert_int_equal(sizes[2][1], sizes[0][1]);
}

static void test_large_copies_for_contexts_do_not_add_up(void **state) {
    (void)state;
    static char text[400000];
    fill_at_random(text, sizeof text, 16); // to half of it
    for (size_t i = 0; i < 10; i++) {
        (void)connect_deflating(12, true);
    }
    world.peers[3].window = 1000; // a slow one keeps its own
    unsigned before = world.flushes;
    say_all(peri_str(text, sizeof text));
    assert_true(world.flushes >= before + 10); // each by itself, not all together
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(queued(i) > 0, i == 3);
    }
    assert_true(world.hub->account.bytes < 2 * sizeof text);
    open_window(3, SIZE_MAX);
    turns();
    for (size_t i = 0; i < 10; i++) {
        expect_unpacked(i, 1, "T:g*400000 ");
    }
}

static void test_copies_for_contexts_are_written_and_count_no_more(void **state) {
    (void)state;
    char text[10000];
    fill_at_random(text, sizeof text, 16); // to half of it: 300 KB for all
    for (size_t i = 0; i < 60; i++) {
        (void)connect_deflating(12, true);
    }
    say_all(peri_str(text, sizeof text));
    turns();
    unsigned before = world.peers[0].flushes;
    for (int i = 0; i < 5; i++) {
        say_all(peri_str(text, sizeof text));
    }
    assert_int_equal(world.peers[0].flushes, before); // nothing is too much for a turn yet
    turns();
    assert_int_equal(world.peers[0].flushes, before + 1);
}

static void test_a_failed_socket_is_found_between_frames_of_two_rooms(void **state) {
    (void)state;
    static char text[100000];
    fill_at_random(text, sizeof text, 16);
    for (int round = 0; round < 2; round++) {
        size_t a = connect_deflating(12, round == 0);
        join(a, "r");
        join(a, "s");
        world.peers[a].dead = true;
        for (int i = 0; i < 4; i++) {
            say(i % 2 ? "r" : "s", peri_str(text, i < 2 ? 20000 : sizeof text), PERI_SLOW_CLOSE);
        }
        turns();
        assert_int_equal(send_str(a, peri_str(text, 10)), PERI_E_CLOSED);
        assert_int_equal(world.peers[a].wire.len, 0);
    }
}

static void test_what_a_slow_policy_leaves_out_is_in_no_context(void **state) {
    (void)state;
    world.script_limits[1].outbox_soft = 1000;
    size_t a = connect_deflating(12, true);
    join(a, "r");
    world.peers[a].window = 0;
    world.limits.deflate_min = SIZE_MAX;
    (void)send_str(a, filler('0', 1200));
    turns();
    world.limits.deflate_min = MIN;
    assert_true(is_blocked(a));
    say("r", filler('1', 500), PERI_SLOW_DROP);   // left out
    say("r", filler('2', 500), PERI_SLOW_LATEST); // gives way
    (void)send_str(a, filler('3', 500));
    say("r", filler('4', 500), PERI_SLOW_LATEST);
    (void)send_str(a, filler('5', 500));
    turns();
    open_window(a, SIZE_MAX);
    turns();
    expect_log("open:0 drain:0:2 ");
    say("r", filler('6', 500), PERI_SLOW_CLOSE);
    turns();
    expect_unpacked(a, 3, "T:0*1200 T:3*500 T:4*500 T:5*500 T:6*500 ");
}

static void test_latest_gives_way_compressed_where_there_is_no_context(void **state) {
    (void)state;
    world.script_limits[1].outbox_soft = 1000;
    size_t a = connect_deflating(12, false);
    join(a, "r");
    world.peers[a].window = 0;
    world.limits.deflate_min = SIZE_MAX;
    (void)send_str(a, filler('0', 1200));
    turns();
    world.limits.deflate_min = MIN;
    say("r", filler('1', 500), PERI_SLOW_LATEST);
    say("r", filler('2', 500), PERI_SLOW_LATEST);
    turns();
    assert_in_range(queued(a), 1210, 1260); // limits count what is really queued
    open_window(a, SIZE_MAX);
    expect_unpacked(a, 1, "T:0*1200 T:2*500 ");
}

static void test_limits_count_compressed_bytes(void **state) {
    (void)state;
    world.script_limits[1].outbox_soft = 1000;
    world.script_limits[1].outbox_hard = 2000;
    world.script_limits[1].message_bytes = 1500;
    for (int own = 0; own <= 1; own++) {
        size_t a = connect_deflating(12, own), b = connect_to(1);
        join(a, "r");
        join(b, "r");
        world.peers[a].window = world.peers[b].window = 0;
        say("r", PERI_STR("0"), PERI_SLOW_CLOSE);
        turns();
        for (int i = 1; i <= 3; i++) {
            say("r", filler((char)('0' + i), 900), PERI_SLOW_CLOSE);
            turns();
        }
        assert_true(peri_conn_is_connected(conn_of(a)));
        assert_null(conn_of(b)); // over soft
        open_window(a, SIZE_MAX);
        expect_unpacked(a, 3, "T:0 T:1*900 T:2*900 T:3*900 ");
        end_by(a, PERI_END_LOST, 0, "");
    }
    size_t a = connect_deflating(12, false);
    assert_int_equal(send_str(a, filler('1', 2001)),
                     PERI_E_LIMIT); // as a message, not as it shrinks
}

static void test_over_hard_a_connection_with_a_context_ends(void **state) {
    (void)state;
    world.script_limits[1].outbox_soft = 2000;
    world.script_limits[1].outbox_hard = 2000;
    world.script_limits[1].message_bytes = 1500;
    size_t a = connect_deflating(12, true);
    join(a, "r");
    world.peers[a].window = 0;
    world.limits.deflate_min = SIZE_MAX;
    (void)send_str(a, filler('0', 1990));
    turns();
    world.limits.deflate_min = MIN;
    forget_log();
    say("r", filler('1', 500), PERI_SLOW_DROP);
    turns();
    expect_log("close:0:1013:too slow forget:0 ");
    open_window(a, SIZE_MAX);
    expect_unpacked(a, 0, "T:0*1990 C:1013:too slow ");
}

// The budget

static void test_an_end_frees_the_context(void **state) {
    (void)state;
    size_t a = connect_deflating(12, true);
    (void)send_str(a, filler('1', 500));
    assert_true(world.hub->deflate_budget.used_ > 0);
    assert_int_equal(peri_conn_close(world.hub, conn_of(a), 1000, (struct peri_str){0}), PERI_OK);
    assert_int_equal(world.hub->deflate_budget.used_, 0);
    turns();
    expect_unpacked(a, 1, "T:1*500 C:1000: ");
}

static void test_a_context_that_can_not_be_had_gives_way_to_the_shared_one(void **state) {
    (void)state;
    world.limits.deflate_memory = 200 * 1024;
    size_t peers[8];
    for (size_t i = 0; i < 8; i++) {
        peers[i] = connect_deflating(12, true); // nothing is used yet
        join(peers[i], "r");
    }
    for (int i = 0; i < 3; i++) {
        say("r", filler('1', 2000), PERI_SLOW_CLOSE);
        turns();
        assert_true(world.hub->deflate_budget.used_ <= 200 * 1024);
    }
    size_t with = 0;
    for (size_t i = 0; i < 8; i++) {
        with += peri_conn_has_context(conn_of(peers[i]));
        (void)send_str(peers[i], filler('2', 2000));
    }
    assert_in_range(with, 2, 4);
    turns();
    for (size_t i = 0; i < 8; i++) {
        expect_unpacked(peers[i], 4, "T:1*2000 T:1*2000 T:1*2000 T:2*2000 ");
    }
}

static void test_over_the_budget_all_goes_plain(void **state) {
    (void)state;
    size_t a = connect_deflating(12, true), b = connect_deflating(12, false);
    world.limits.deflate_memory = 1000;
    (void)peri_hub_deflate_pool(world.hub);
    say_all(filler('1', 2000));
    (void)send_str(a, filler('2', 2000));
    turns();
    expect_unpacked(a, 0, "T:1*2000 T:2*2000 ");
    expect_unpacked(b, 0, "T:1*2000 ");
}

// No memory

enum { HALF = 300 };

/// A message whose first half repeats what the one before it ended in: who has lost that one reads
/// it wrongly.
static struct peri_str story(char mark) {
    static char text[1 + 2 * HALF];
    text[0] = mark;
    memset(text + 1, mark - 1, HALF);
    memset(text + 1 + HALF, mark, HALF);
    return peri_str(text, sizeof text);
}

/// What each got must be whole stories, in order, whatever the memory was.
static void check_stories(size_t peer) {
    struct peri_buffer plain = unpack(peer, NULL);
    char last = '/';
    for (size_t at = 0; at < plain.len;) {
        struct peri_frame frame;
        assert_int_equal(peri_frame_decode(&frame, plain.ptr + at, plain.len - at), PERI_OK);
        assert_true(frame.length <= plain.len - at - frame.header_bytes);
        const char *payload = (const char *)plain.ptr + at + frame.header_bytes;
        if (frame.opcode == PERI_OP_TEXT) {
            assert_true(*payload > last);
            assert_true(peri_str_equal(peri_str(payload, (size_t)frame.length), story(*payload)));
            last = *payload;
        }
        at += frame.header_bytes + (size_t)frame.length;
    }
    free(plain.ptr);
}

static void test_without_memory_no_context_is_confused(void **state) {
    for (int own = 0; own <= 1; own++) {
        bool done = false;
        for (uint64_t nth = 1; !done; nth++) {
            assert_int_equal(deflating_tear_down(state), 0);
            assert_int_equal(small_set_up(state), 0);
            size_t a = connect_deflating(12, own), b = connect_deflating(12, own);
            assert_int_equal(send_str(a, story('0')), PERI_OK);
            assert_int_equal(send_str(b, story('0')), PERI_OK);
            turns();
            world.peers[b].window = 5;
            peri_alloc_fail_from(nth);
            const char *why = NULL;
            bool joined = peri_room_join(world.hub, conn_of(a), 1, PERI_STR("r"),
                                         (struct peri_str){0}, &why) == PERI_OK &&
                          peri_room_join(world.hub, conn_of(b), 1, PERI_STR("r"),
                                         (struct peri_str){0}, &why) == PERI_OK;
            done = joined;
            for (char mark = '1'; joined && mark <= '8'; mark++) {
                struct peri_broadcast talk = {.out = text_of(story(mark))};
                size_t addressed = 0;
                int rc = PERI_OK;
                if (mark % 2) {
                    rc = peri_room_broadcast(world.hub, room_of("r"), &talk, &addressed);
                } else {
                    rc = send_str(mark % 4 ? a : b, talk.out.payload);
                }
                done = done && rc == PERI_OK;
                if (mark == '5') {
                    turns();
                }
                if (!room_of("r")) {
                    break; // both have ended over it
                }
            }
            turns();
            done = done && conn_of(a) && conn_of(b);
            peri_alloc_fail_from(0);
            // With memory again all goes on; what came before must not have harmed it.
            if (room_of("r")) {
                say("r", story('9'), PERI_SLOW_CLOSE);
                turns();
            }
            for (size_t peer = a; peer <= b; peer++) {
                if (peri_hub_attached(world.hub, world.peers[peer].key)) {
                    open_window(peer, SIZE_MAX);
                }
                check_stories(peer);
            }
            if (done) {
                assert_true(nth > 10);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SMALL_TEST(test_a_send_is_compressed_from_deflate_min_on),
        SMALL_TEST(test_what_has_not_agreed_gets_nothing_compressed),
        SMALL_TEST(test_what_gets_no_shorter_goes_plain),
        SMALL_TEST(test_control_frames_are_never_compressed),
        SMALL_TEST(test_a_large_send_is_written_at_once_in_its_place),
        SMALL_TEST(test_a_broadcast_is_compressed_once_for_members_of_one_window),
        SMALL_TEST(test_a_room_without_such_members_compresses_nothing),
        SMALL_TEST(test_small_messages_among_large_ones_keep_their_place),
        SMALL_TEST(test_only_small_messages_take_the_plain_way),
        SMALL_TEST(test_a_context_makes_what_repeats_shorter),
        SMALL_TEST(test_large_copies_for_contexts_do_not_add_up),
        SMALL_TEST(test_copies_for_contexts_are_written_and_count_no_more),
        SMALL_TEST(test_a_failed_socket_is_found_between_frames_of_two_rooms),
        SMALL_TEST(test_what_a_slow_policy_leaves_out_is_in_no_context),
        SMALL_TEST(test_latest_gives_way_compressed_where_there_is_no_context),
        SMALL_TEST(test_limits_count_compressed_bytes),
        SMALL_TEST(test_over_hard_a_connection_with_a_context_ends),
        SMALL_TEST(test_an_end_frees_the_context),
        SMALL_TEST(test_a_context_that_can_not_be_had_gives_way_to_the_shared_one),
        SMALL_TEST(test_over_the_budget_all_goes_plain),
        SMALL_TEST(test_without_memory_no_context_is_confused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
