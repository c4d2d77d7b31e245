// The queue of the sessions that want a turn, and when they read.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/internal.h"
#include "support/cmocka.h"

enum { SESSIONS = 3 };

static struct peri_hub *hub;
static struct peri_server *server;
static struct peri_limits limits;
static struct peri_session *sessions[SESSIONS];
static int peers[SESSIONS];

static void cut_nothing(void *arg) {
    (void)arg;
}

/// Sessions that are turned away: each is queued, to write its answer.
static int set_up(void **state) {
    (void)state;
    static const struct peri_listener listener = {0};
    const struct peri_ip ip = {0};
    peri_limits_init(&limits);
    hub = peri_hub_new(0, &limits);
    assert_non_null(hub);
    const struct peri_server_options options = {
        .limits = &limits, .hub = hub, .cut_waits = cut_nothing};
    server = peri_server_new(&options);
    assert_non_null(server);
    peri_hub_set_policy(hub, &(struct peri_policy){0});
    for (size_t i = 0; i < SESSIONS; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        peri_session_begin(server, &listener, pair[0], &ip, true);
        sessions[i] = PERI_CONTAINER(server->sessions.prev, struct peri_session, link);
        peers[i] = pair[1];
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    while (!peri_list_is_empty(&server->sessions)) {
        peri_session_close(PERI_CONTAINER(server->sessions.next, struct peri_session, link));
    }
    peri_server_turns(server);
    peri_server_sweep(server);
    assert_int_equal(server->session_count, 0);
    for (size_t i = 0; i < SESSIONS; i++) {
        close(peers[i]);
    }
    peri_hub_free(hub);
    peri_server_free(server);
    return 0;
}

/// Has the peer its answer?
static bool is_answered(size_t i) {
    char byte;
    return recv(peers[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void turns_come_in_the_order_in_which_they_were_asked_for(void **state) {
    (void)state;
    for (size_t i = SESSIONS; i-- > 0;) {
        peri_session_want_turn(sessions[i]); // for the second time: it has its place already
    }
    const struct peri_session *at = server->turns;
    for (size_t i = 0; i < SESSIONS; i++, at = at->next_turn) {
        assert_ptr_equal(at, sessions[i]);
    }
    assert_null(at);
}

static void one_that_wants_a_turn_during_its_turn_gets_it_the_next_time(void **state) {
    (void)state;
    peri_server_turns(server);
    const struct peri_session *at = server->turns;
    for (size_t i = 0; i < SESSIONS; i++, at = at->next_turn) {
        assert_true(is_answered(i));
        assert_int_equal(sessions[i]->stage, SESSION_LINGER);
        assert_ptr_equal(at, sessions[i]); // for what is behind its last request
    }
    assert_null(at);
    peri_server_turns(server);
    assert_null(server->turns);
}

static void one_that_is_closed_while_it_is_queued_gets_no_turn_and_is_freed_after_it(void **state) {
    (void)state;
    peri_session_close(sessions[1]);
    peri_session_want_turn(sessions[1]);
    peri_server_sweep(server);
    assert_int_equal(server->session_count, SESSIONS);
    peri_server_turns(server);
    assert_true(is_answered(0));
    assert_false(is_answered(1));
    assert_true(is_answered(2));
    peri_server_sweep(server);
    assert_int_equal(server->session_count, SESSIONS - 1);
}

static void one_that_is_closed_after_its_turn_is_freed_at_once(void **state) {
    (void)state;
    peri_server_turns(server);
    peri_server_turns(server); // lingering asked for another one
    peri_session_close(sessions[0]);
    peri_server_sweep(server);
    assert_int_equal(server->session_count, SESSIONS - 1);
}

/// Bytes that wait in the session's socket.
static int unread(size_t i) {
    int bytes = -1;
    assert_int_equal(ioctl(sessions[i]->stream.fd, FIONREAD, &bytes), 0);
    return bytes;
}

/// A round of the loop, less its polling.
static void go_round(void) {
    server->has_polled = false;
    peri_server_turns(server);
    server->has_polled = true;
    peri_server_turns(server);
}

static void one_reads_once_in_a_round_and_goes_on_by_itself(void **state) {
    (void)state;
    static const char bytes[2 * READ_BYTES + 10];
    go_round(); // all is said: what comes now is thrown away
    go_round();
    assert_null(server->turns);
    assert_int_equal(send(peers[0], bytes, sizeof bytes, 0), sizeof bytes);
    server->has_polled = false;
    peri_session_on_ready(sessions[0], PERI_READABLE);
    assert_int_equal(unread(0), READ_BYTES + 10);
    server->has_polled = true;
    peri_server_turns(server); // of the same round
    assert_int_equal(unread(0), READ_BYTES + 10);
    peri_session_on_ready(sessions[0], PERI_READABLE); // another event, before the next one's turn
    assert_int_equal(unread(0), READ_BYTES + 10);
    go_round();
    assert_int_equal(unread(0), 10);
    go_round();
    assert_int_equal(unread(0), 0);
    assert_null(server->turns);
}

static void the_end_behind_bytes_is_read_in_the_next_round(void **state) {
    (void)state;
    go_round();
    go_round();
    assert_int_equal(send(peers[0], "x", 1, 0), 1);
    assert_int_equal(shutdown(peers[0], SHUT_WR), 0);
    peri_session_on_ready(sessions[0], PERI_READABLE | PERI_HANGUP);
    peri_server_turns(server);
    assert_false(sessions[0]->eof);
    go_round();
    assert_true(sessions[0]->eof && sessions[0]->closing);
}

static void one_that_can_not_be_watched_is_closed_and_leaves_no_timer(void **state) {
    (void)state;
    static const struct peri_listener listener = {0};
    const struct peri_ip ip = {0};
    int file = open("/dev/null", O_RDWR | O_CLOEXEC); // of which epoll takes none
    peri_session_begin(server, &listener, file, &ip, false);
    struct peri_session *session = PERI_CONTAINER(server->closing.prev, struct peri_session, link);
    assert_int_equal(session->stream.fd, file);
    assert_true(session->closing);
    assert_false(peri_wheel_is_set(&session->timer));
    peri_server_sweep(server);
    assert_int_equal(server->session_count, SESSIONS);
}

static void the_end_frees_those_that_are_queued_too(void **state) {
    (void)state;
    peri_server_stop(server);
    peri_server_stop(server); // at once
    peri_server_run(server);
    assert_int_equal(server->session_count, 0);
    assert_false(is_answered(0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(turns_come_in_the_order_in_which_they_were_asked_for),
        TEST(one_that_wants_a_turn_during_its_turn_gets_it_the_next_time),
        TEST(one_that_is_closed_while_it_is_queued_gets_no_turn_and_is_freed_after_it),
        TEST(one_that_is_closed_after_its_turn_is_freed_at_once),
        TEST(one_reads_once_in_a_round_and_goes_on_by_itself),
        TEST(the_end_behind_bytes_is_read_in_the_next_round),
        TEST(one_that_can_not_be_watched_is_closed_and_leaves_no_timer),
        TEST(the_end_frees_those_that_are_queued_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
