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

static int set_up(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(peri_poller_open(&poller, &loop, note), PERI_OK);
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
        cmocka_unit_test_setup_teardown(an_end_is_told_to_who_only_waits_for_that, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(where_both_sides_have_shut_it_all_has_happened, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_closed_socket_is_not_watched_any_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_can_not_be_watched_is_an_error, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
