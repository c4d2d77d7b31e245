// What is told of real sockets, with a real loop.
#include "net/poller.h"

#include <sys/socket.h>
#include <unistd.h>

#include "support/cmocka.h"

static uv_loop_t loop;
static struct peri_poller poller;
static int ours, theirs; ///< two ends of a connection

/// What `ready` was called with last, and how often.
static struct {
    void *whom;
    unsigned events;
    int calls;
} told;

static void note(void *whom, unsigned events) {
    told.whom = whom;
    told.events = events;
    told.calls++;
}

/// Lets the loop turn until it has nothing more to tell. @return the events of the last call; 0: none
static unsigned look(void) {
    told.events = 0;
    told.calls = 0;
    for (int i = 0; i < 3; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    return told.events;
}

static void watch(unsigned before, unsigned now) {
    assert_int_equal(peri_poller_watch(&poller, ours, before, now, &ours), PERI_OK);
}

enum { MANY = 20 };

/// Pairs of which each first end is watched.
static int pairs[MANY][2];

/// So many of the pairs have something to be told.
static void stir(int n) {
    for (int i = 0; i < n; i++) {
        assert_int_equal(write(pairs[i][1], "x", 1), 1);
    }
}

static int looks;

/// More has come between two looks.
static void note_between(struct peri_poller *which) {
    assert_ptr_equal(which, &poller);
    looks++;
    stir(looks == 1 ? MANY : 1);
}

static void keep_stirring(struct peri_poller *which) {
    (void)which;
    looks++;
    stir(MANY);
}

static int set_up(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(peri_poller_open(&poller, &loop, note, note_between), PERI_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ours = ends[0];
    theirs = ends[1];
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    peri_poller_close(&poller);
    uv_close((uv_handle_t *)&poller.look, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    close(ours);
    if (theirs >= 0) {
        close(theirs);
    }
    return 0;
}

static void what_is_not_watched_for_is_not_told(void **state) {
    (void)state;
    assert_int_equal(look(), 0);
    watch(0, PERI_READABLE);
    assert_int_equal(look(), 0);
    watch(PERI_READABLE, PERI_READABLE | PERI_WRITABLE);
    assert_int_equal(look(), PERI_WRITABLE);
    assert_ptr_equal(told.whom, &ours);
    watch(PERI_READABLE | PERI_WRITABLE, PERI_READABLE);
    assert_int_equal(look(), 0);
}

static void bytes_are_told_when_they_come(void **state) {
    (void)state;
    watch(0, PERI_READABLE | PERI_HANGUP);
    for (int i = 0; i < 3; i++) { // those of before are not read
        assert_int_equal(write(theirs, "x", 1), 1);
        assert_int_equal(look(), PERI_READABLE);
        assert_int_equal(told.calls, 1);
        assert_int_equal(look(), 0);
    }
    assert_int_equal(shutdown(theirs, SHUT_WR), 0);
    assert_int_equal(look(), PERI_READABLE | PERI_HANGUP);
    assert_int_equal(told.calls, 1);
    assert_int_equal(look(), 0);
}

static void what_is_there_already_is_told_to_who_begins_to_watch(void **state) {
    (void)state;
    assert_int_equal(write(theirs, "x", 1), 1);
    watch(0, PERI_READABLE);
    assert_int_equal(look(), PERI_READABLE);
    watch(PERI_READABLE, PERI_HANGUP);
    assert_int_equal(look(), 0);
    watch(PERI_HANGUP, PERI_READABLE | PERI_HANGUP);
    assert_int_equal(look(), PERI_READABLE);
    watch(PERI_READABLE | PERI_HANGUP, 0);
    assert_int_equal(look(), 0);
    watch(0, PERI_READABLE);
    assert_int_equal(look(), PERI_READABLE);
    assert_int_equal(look(), 0);
}

static void to_who_waits_to_write_all_is_told_again_and_again(void **state) {
    (void)state;
    const unsigned both = PERI_READABLE | PERI_WRITABLE;
    watch(0, both);
    assert_int_equal(write(theirs, "x", 1), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(look(), both);
        assert_true(told.calls > 1);
    }
    watch(both, PERI_READABLE);
    assert_int_equal(look(), PERI_READABLE);
    assert_int_equal(look(), 0);
}

static void open_pairs(void) {
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), 0);
        assert_int_equal(peri_poller_watch(&poller, pairs[i][0], 0, PERI_READABLE, pairs[i]),
                         PERI_OK);
    }
    looks = told.calls = 0;
}

static void close_pairs(void) {
    for (int i = 0; i < MANY; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
}

static void while_many_are_ready_it_looks_again_at_once(void **state) {
    (void)state;
    open_pairs();
    for (int tries = 0; tries < 1000 && looks != 2; tries++) { // until no other program interferes
        (void)look();
        looks = told.calls = 0;
        stir(MANY);
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(looks, 2);
    assert_int_equal(told.calls, MANY + MANY + 1);
    stir(3);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(looks, 2); // of so few there is one look
    close_pairs();
}

static void count_tick(uv_timer_t *timer) {
    ++*(int *)timer->data;
    (void)uv_timer_stop(timer);
}

static void the_loop_has_its_turn_however_many_are_ready(void **state) {
    (void)state;
    uv_timer_t timer;
    int ticks = 0;
    poller.between = keep_stirring;
    open_pairs();
    stir(MANY);
    assert_int_equal(uv_timer_init(&loop, &timer), 0);
    timer.data = &ticks;
    assert_int_equal(uv_timer_start(&timer, count_tick, 0, 0), 0);
    for (int i = 0; i < 2; i++) { // in either order
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_true(looks > 1);
    assert_int_equal(ticks, 1);
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    close_pairs();
}

static void an_end_is_told_to_who_only_waits_for_that(void **state) {
    (void)state;
    watch(0, PERI_HANGUP);
    assert_int_equal(write(theirs, "x", 1), 1);
    assert_int_equal(look(), 0);
    assert_int_equal(shutdown(theirs, SHUT_WR), 0);
    assert_int_equal(look(), PERI_HANGUP);
    watch(PERI_HANGUP, PERI_READABLE);
    assert_int_equal(look(), PERI_READABLE);
}

static void where_both_sides_have_shut_it_all_has_happened(void **state) {
    (void)state;
    watch(0, PERI_WRITABLE);
    close(theirs);
    theirs = -1;
    assert_int_equal(look() & PERI_WRITABLE, PERI_WRITABLE);
    assert_int_equal(told.events & PERI_READABLE, PERI_READABLE); // for what it is: an end
    watch(PERI_WRITABLE, 0);
    assert_int_equal(look(), 0);
}

static void a_closed_socket_is_not_watched_any_more(void **state) {
    (void)state;
    watch(0, PERI_WRITABLE);
    assert_int_equal(look(), PERI_WRITABLE);
    close(ours);
    assert_int_equal(look(), 0);
    ours = dup(theirs);
}

static void one_that_can_not_be_watched_is_an_error(void **state) {
    (void)state;
    assert_int_equal(peri_poller_watch(&poller, -1, 0, PERI_READABLE, NULL), PERI_E_SYSTEM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_not_watched_for_is_not_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_are_told_when_they_come, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_there_already_is_told_to_who_begins_to_watch,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(to_who_waits_to_write_all_is_told_again_and_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(while_many_are_ready_it_looks_again_at_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_loop_has_its_turn_however_many_are_ready, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_end_is_told_to_who_only_waits_for_that, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(where_both_sides_have_shut_it_all_has_happened, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_closed_socket_is_not_watched_any_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_can_not_be_watched_is_an_error, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
