#include "support.h"

#include "hub/internal.h"

static void expect_presence(const char *name, const char *wanted) {
    char got[256] = "";
    size_t n = 0, cursor = 0;
    struct peri_str info;
    for (peri_key key; (key = peri_room_next(room_of(name), &cursor, &info));) {
        n += (size_t)snprintf(got + n, sizeof got - n, "%zu:%.*s ", peer_of(&world, key),
                              (int)info.len, info.len ? info.ptr : "");
    }
    assert_string_equal(got, wanted);
}

static void test_presence_is_in_join_order_and_joining_again_keeps_the_place(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        connect_to(1);
    }
    assert_int_equal(join_as(1, 1, "r", "{\"n\":1}"), PERI_OK);
    assert_int_equal(join_as(0, 1, "r", NULL), PERI_OK);
    assert_int_equal(join_as(2, 1, "r", "2"), PERI_OK);
    expect_presence("r", "1:{\"n\":1} 0: 2:2 ");
    assert_int_equal(join_as(1, 1, "r", "new"), PERI_OK);
    assert_int_equal(join_as(2, 1, "r", NULL), PERI_OK);
    expect_presence("r", "1:new 0: 2: ");
    assert_int_equal(peri_room_count(room_of("r")), 3);
    assert_int_equal(leave(1, "r"), PERI_OK);
    assert_int_equal(join_as(1, 1, "r", NULL), PERI_OK);
    expect_presence("r", "0: 2: 1: ");
}

static void test_names_are_bytes_and_owners_are_apart(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(2);
    const char *why = NULL;
    struct peri_str odd = peri_str("a\0b", 3), none = {0};
    assert_int_equal(peri_room_join(world.hub, conn_of(a), 1, odd, none, &why), PERI_OK);
    assert_int_equal(peri_room_join(world.hub, conn_of(a), 1, none, none, &why), PERI_OK);
    assert_int_equal(join_as(b, 2, "a", NULL), PERI_OK);
    assert_int_equal(join_as(b, PERI_SHARED, "a", NULL), PERI_OK);
    assert_int_equal(join_as(a, PERI_SHARED, "a", NULL), PERI_OK);
    assert_null(room_of("a"));
    struct peri_room *room = peri_room_find(world.hub, 1, odd);
    assert_true(peri_str_equal(peri_room_name(room), odd));
    assert_int_equal(peri_room_owner(room), 1);
    assert_int_equal(peri_room_count(peri_room_find(world.hub, 1, none)), 1);
    assert_int_equal(peri_room_count(peri_room_find(world.hub, 2, PERI_STR("a"))), 1);
    assert_int_equal(peri_room_count(peri_room_find(world.hub, PERI_SHARED, PERI_STR("a"))), 2);
    assert_null(peri_room_find(world.hub, 12345, odd));
}

static void test_all_holds_every_connection_of_its_script_and_cannot_be_left(void **state) {
    (void)state;
    assert_null(peri_room_all(world.hub, 1));
    size_t a = connect_to(1);
    connect_to(2);
    struct peri_room *all = peri_room_all(world.hub, 1);
    assert_true(peri_room_is_all(all));
    assert_int_equal(peri_room_name(all).len, 0);
    assert_int_equal(peri_room_count(all), 1);
    assert_true(peri_conn_is_member(conn_of(a), all));
    assert_int_equal(peri_room_leave(world.hub, conn_of(a), all), PERI_AGAIN);
    void *cursor = NULL;
    assert_null(peri_conn_next_room(conn_of(a), &cursor));
}

static void test_rooms_are_listed_in_the_order_in_which_they_were_joined(void **state) {
    (void)state;
    size_t a = connect_to(1);
    join(a, "c");
    join(a, "a");
    join(a, "b");
    join(a, "c");
    assert_int_equal(leave(a, "a"), PERI_OK);
    void *cursor = NULL;
    assert_ptr_equal(peri_conn_next_room(conn_of(a), &cursor), room_of("c"));
    assert_ptr_equal(peri_conn_next_room(conn_of(a), &cursor), room_of("b"));
    assert_null(peri_conn_next_room(conn_of(a), &cursor));
    assert_false(peri_conn_is_member(conn_of(a), peri_room_all(world.hub, 1)) == false);
}

static void test_a_room_lives_while_it_has_members_or_references(void **state) {
    (void)state;
    size_t a = connect_to(1);
    join(a, "r");
    struct peri_room *room = peri_room_ref(room_of("r"));
    assert_int_equal(leave(a, "r"), PERI_OK);
    assert_ptr_equal(room_of("r"), room);
    assert_int_equal(peri_room_count(room), 0);
    join(a, "r");
    assert_ptr_equal(room_of("r"), room);
    peri_room_unref(world.hub, room);
    assert_ptr_equal(room_of("r"), room);
    assert_int_equal(leave(a, "r"), PERI_OK);
    assert_null(room_of("r"));
}

static struct peri_room *held; // by policy, until it collects
static int collections;

static void let_go(struct world *w) {
    struct peri_room *room = held;
    if (room && --collections == 0) {
        held = NULL;
        peri_room_unref(w->hub, room);
    }
}

static void test_policy_may_let_go_of_a_room_while_the_hub_works_on_it(void **state) {
    (void)state;
    for (int nth = 1; nth <= 8; nth++) {
        size_t a = connect_to(1);
        join(a, "r");
        held = peri_room_ref(room_of("r"));
        assert_int_equal(leave(a, "r"), PERI_OK);
        collections = nth;
        world.collect = let_go;
        assert_int_equal(join_as(a, 1, "r", "info"), PERI_OK);
        assert_int_equal(broadcast("r", "x"), 1);
        assert_int_equal(leave(a, "r"), PERI_OK);
        turns();
        world.collect = NULL;
        if (held) {
            peri_room_unref(world.hub, held);
        }
        assert_null(room_of("r"));
        expect_wire(a, "T:x ");
    }
}

// Limits.

static void expect_refused(size_t peer, uint32_t owner, struct peri_str name, struct peri_str info,
                           const char *wanted) {
    const char *why = "";
    assert_int_equal(peri_room_join(world.hub, conn_of(peer), owner, name, info, &why),
                     PERI_E_LIMIT);
    assert_string_equal(why, wanted);
    assert_null(peri_room_find(world.hub, owner, name));
}

static void test_joins_stop_at_each_limit_exactly(void **state) {
    (void)state;
    struct peri_str none = {0};
    size_t a = connect_to(1), b = connect_to(1);
    world.script_limits[1].conn_rooms = 2;
    world.script_limits[1].rooms = 3;
    world.script_limits[1].room_name_bytes = 4;
    join(a, "four");
    expect_refused(a, 1, PERI_STR("fives"), none, "over the limit room_name_bytes");
    join(a, "2");
    expect_refused(a, 1, PERI_STR("3"), none, "over the limit conn_rooms");
    join(a, "2"); // it is in that one
    join(b, "3");
    expect_refused(b, 1, PERI_STR("4"), none, "over the limit rooms");
    join(b, "2"); // there is that one
    assert_int_equal(leave(a, "four"), PERI_OK);
    assert_int_equal(leave(b, "2"), PERI_OK);
    join(b, "4");
}

static void test_empty_rooms_that_are_only_referenced_do_not_count(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.script_limits[1].rooms = 1;
    join(a, "1");
    struct peri_room *room = peri_room_ref(room_of("1"));
    assert_int_equal(leave(a, "1"), PERI_OK);
    join(a, "2");
    expect_refused(a, 1, PERI_STR("3"), (struct peri_str){0}, "over the limit rooms");
    assert_int_equal(join_as(a, 1, "1", NULL), PERI_E_LIMIT);
    peri_room_unref(world.hub, room);
}

static void test_shared_rooms_are_limited_by_the_host(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.limits.rooms = 1;
    assert_int_equal(join_as(a, PERI_SHARED, "1", NULL), PERI_OK);
    expect_refused(a, PERI_SHARED, PERI_STR("2"), (struct peri_str){0}, "over the limit rooms");
}

static void test_an_info_of_1_kib_is_kept_and_a_larger_one_refused(void **state) {
    (void)state;
    size_t a = connect_to(1);
    const char *why = NULL;
    assert_int_equal(
        peri_room_join(world.hub, conn_of(a), 1, PERI_STR("r"), filler('i', PERI_INFO_MAX), &why),
        PERI_OK);
    size_t cursor = 0;
    struct peri_str info;
    assert_true(peri_room_next(room_of("r"), &cursor, &info) == world.peers[a].key);
    assert_int_equal(info.len, PERI_INFO_MAX);
    expect_refused(a, 1, PERI_STR("s"), filler('i', PERI_INFO_MAX + 1),
                   "info is larger than 1 KiB");
}

// Charges.

static void test_names_and_infos_are_charged_and_given_back(void **state) {
    (void)state;
    size_t a = connect_to(1), b = connect_to(2);
    assert_int_equal(join_as(a, 1, "12345", "123"), PERI_OK);
    assert_int_equal(world.charged[1], 8);
    assert_int_equal(join_as(a, 1, "12345", "1"), PERI_OK);
    assert_int_equal(world.charged[1], 6);
    assert_int_equal(join_as(b, PERI_SHARED, "1234567", "12"), PERI_OK);
    assert_int_equal(join_as(a, PERI_SHARED, "1234567", "1"), PERI_OK);
    assert_int_equal(world.charged[1], 7);
    assert_int_equal(world.charged[2], 9);
    end_by(b, PERI_END_LOST, 0, "");
    turns();
    assert_int_equal(world.charged[2], 7); // the name outlives the one who made it
    end_by(a, PERI_END_LOST, 0, "");
    assert_int_equal(world.charged[1], 5); // infos go at the end, the name when close has run
    turns();
    assert_int_equal(world.charged[1], 0);
    assert_int_equal(world.charged[2], 0);
}

static void test_over_the_scripts_memory_a_join_fails_and_changes_nothing(void **state) {
    (void)state;
    size_t a = connect_to(1);
    world.charge_cap = 6;
    assert_int_equal(join_as(a, 1, "1234567", NULL), PERI_E_MEMORY);
    assert_null(room_of("1234567"));
    assert_int_equal(join_as(a, 1, "1234", "123"), PERI_E_MEMORY);
    assert_null(room_of("1234"));
    assert_int_equal(world.charged[1], 0);
    assert_int_equal(join_as(a, 1, "1234", "12"), PERI_OK);
    assert_int_equal(join_as(a, 1, "1234", "123"), PERI_E_MEMORY);
    expect_presence("1234", "0:12 ");
    assert_int_equal(join_as(a, 1, "1234", NULL), PERI_OK);
    expect_presence("1234", "0: ");
}

// The array of members.

static void test_order_survives_many_joins_and_leaves(void **state) {
    (void)state;
    size_t order[PEERS], count = 0;
    uint64_t random = 12345;
    for (size_t i = 0; i < PEERS; i++) {
        connect_to(1);
    }
    for (int step = 0; step < 20000; step++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        size_t peer = (size_t)(random >> 40) % PEERS, at = 0;
        while (at < count && order[at] != peer) {
            at++;
        }
        if (at == count) {
            join(peer, "r");
            order[count++] = peer;
        } else {
            assert_int_equal(leave(peer, "r"), PERI_OK);
            count--;
            memmove(order + at, order + at + 1, (count - at) * sizeof *order);
        }
        if (step % 100 == 0) {
            (void)broadcast("r", "x");
            turns();
        }
        if (step % 16 == 0 && count > 0) {
            size_t cursor = 0;
            for (size_t i = 0; i < count; i++) {
                assert_true(peri_room_next(room_of("r"), &cursor, NULL) ==
                            world.peers[order[i]].key);
            }
            assert_true(peri_room_next(room_of("r"), &cursor, NULL) == 0);
            assert_true(room_of("r")->member_cap <= 2 * PEERS);
        }
    }
}

static void test_a_room_that_has_shrunk_is_walked_no_further_than_it_must(void **state) {
    (void)state;
    for (size_t i = 0; i < PEERS; i++) {
        join(connect_to(1), "r");
    }
    for (size_t i = 1; i + 1 < PEERS; i++) {
        assert_int_equal(leave(i, "r"), PERI_OK);
    }
    assert_int_equal(room_of("r")->member_end, PEERS);
    broadcast("r", "x");
    turns();
    assert_int_equal(room_of("r")->member_end, 2);
}

static void test_members_may_leave_while_they_are_walked(void **state) {
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        join(connect_to(1), "r");
    }
    struct peri_room *room = peri_room_ref(room_of("r"));
    size_t cursor = 0, seen = 0;
    for (peri_key key; (key = peri_room_next(room, &cursor, NULL));) {
        assert_int_equal(peer_of(&world, key), seen++);
        broadcast_str(room, filler('x', 70000), PERI_SLOW_CLOSE, NULL); // flushes at once
        assert_int_equal(peri_room_leave(world.hub, peri_hub_conn(world.hub, key), room), PERI_OK);
    }
    assert_int_equal(seen, 10);
    peri_room_unref(world.hub, room);
    assert_null(room_of("r"));
}

static void test_closing_a_room_closes_each_member_as_its_own_script_would(void **state) {
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        join(connect_to(1), "r");
    }
    size_t other = connect_to(1);
    forget_log();
    assert_int_equal(peri_room_close(world.hub, room_of("r"), 4004, PERI_STR("over")), 5);
    assert_int_equal(peri_room_count(peri_room_all(world.hub, 1)), 1);
    turns();
    for (size_t i = 0; i < 5; i++) {
        expect_wire(i, "C:4004:over ");
    }
    expect_wire(other, "");
    assert_null(room_of("r"));
    assert_int_equal(peri_room_close(world.hub, peri_room_all(world.hub, 1), 1001, PERI_STR("")),
                     1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_presence_is_in_join_order_and_joining_again_keeps_the_place),
        TEST(test_names_are_bytes_and_owners_are_apart),
        TEST(test_all_holds_every_connection_of_its_script_and_cannot_be_left),
        TEST(test_rooms_are_listed_in_the_order_in_which_they_were_joined),
        TEST(test_a_room_lives_while_it_has_members_or_references),
        TEST(test_policy_may_let_go_of_a_room_while_the_hub_works_on_it),
        TEST(test_joins_stop_at_each_limit_exactly),
        TEST(test_empty_rooms_that_are_only_referenced_do_not_count),
        TEST(test_shared_rooms_are_limited_by_the_host),
        TEST(test_an_info_of_1_kib_is_kept_and_a_larger_one_refused),
        TEST(test_names_and_infos_are_charged_and_given_back),
        TEST(test_over_the_scripts_memory_a_join_fails_and_changes_nothing),
        TEST(test_order_survives_many_joins_and_leaves),
        TEST(test_a_room_that_has_shrunk_is_walked_no_further_than_it_must),
        TEST(test_members_may_leave_while_they_are_walked),
        TEST(test_closing_a_room_closes_each_member_as_its_own_script_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
