// A descriptor that must not make the host wait.
#include "base/log_output.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/cmocka.h"

static struct peri_log_output output;
static int ends[2]; ///< read, write

static int open_pipe(void **state) {
    (void)state;
    assert_int_equal(pipe(ends), 0);
    output = (struct peri_log_output){0};
    peri_log_output_open(&output, ends[1]);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    peri_log_output_close(&output);
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static void write_numbers(int from, int to) {
    char text[101];
    for (int i = from; i < to; i++) {
        (void)snprintf(text, sizeof text, "%099d\n", i);
        peri_log_output_line(&output, peri_str(text, 100));
    }
}

/// Reads all that comes while it is pushed; numbers follow each other. @return the last one's next
static int read_numbers(int first) {
    static char text[2 * sizeof output.pending];
    size_t n = 0;
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    for (;;) {
        ssize_t got = read(ends[0], text + n, sizeof text - n);
        if (got <= 0 && output.len == 0) {
            break;
        }
        n += got > 0 ? (size_t)got : 0;
        peri_log_output_push(&output);
    }
    assert_int_equal(n % 100, 0);
    for (size_t i = 0; i < n / 100; i++) {
        char expected[101];
        (void)snprintf(expected, sizeof expected, "%099d\n", first + (int)i);
        assert_memory_equal(text + 100 * i, expected, 100);
    }
    return first + (int)(n / 100);
}

static void others_who_have_the_pipe_still_wait(void **state) {
    (void)state;
    assert_true(output.own_fd >= 0);
    assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    assert_int_not_equal(fcntl(output.own_fd, F_GETFL) & O_NONBLOCK, 0);
    assert_int_not_equal(fcntl(output.own_fd, F_GETFD) & FD_CLOEXEC, 0);
}

static void check_full(void) {
    enum { MANY = 20000 };
    write_numbers(0, MANY); // would block for ever
    assert_true(output.dropped > 0);
    assert_false(peri_log_output_has_room(&output));
    assert_int_equal((uint64_t)read_numbers(0) + output.dropped, MANY);
    assert_true(peri_log_output_has_room(&output));
}

static void a_full_pipe_keeps_lines_then_counts_them(void **state) {
    (void)state;
    check_full();
}

static void so_does_one_that_could_not_be_opened_again(void **state) {
    (void)state;
    peri_log_output_close(&output);
    assert_int_equal(output.own_fd, -1);
    check_full();
}

static void so_does_a_socket(void **state) {
    (void)state;
    (void)close_all(NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    peri_log_output_open(&output, ends[1]);
    check_full();
}

static void at_the_end_a_reader_has_some_time_but_not_for_ever(void **state) {
    (void)state;
    write_numbers(0, 2000);
    size_t left = output.len;
    assert_true(left > 0);
    peri_log_output_wait(&output, 20);
    assert_int_equal(output.len, left);
}

static void what_is_kept_moves_to_the_front_and_stays_in_order(void **state) {
    (void)state;
    enum { ROUNDS = 80, LINES = 40 };
    char text[100 * LINES];
    int next = 2000, front = 0;
    write_numbers(0, next);
    // The reader takes as much as is added, until more has been kept than there is room for.
    for (int i = 0; i < ROUNDS; i++) {
        size_t at = output.at;
        assert_true(output.len > 0);
        assert_int_equal(read(ends[0], text, sizeof text), sizeof text);
        write_numbers(next, next + LINES);
        next += LINES;
        front += output.at < at;
    }
    assert_true(front > 0);
    assert_int_equal(output.dropped, 0);
    assert_int_equal(read_numbers(ROUNDS * LINES), next);
}

static void without_a_reader_lines_are_dropped_and_counted(void **state) {
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    write_numbers(0, 1000);
    close(ends[0]);
    write_numbers(0, 10);
    assert_int_equal(output.len, 0);
    assert_true(output.dropped >= 10);
    assert_int_equal(dup2(ends[1], ends[0]), ends[0]); // for the teardown
}

static void a_full_disk_is_counted(void **state) {
    (void)state;
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    peri_log_output_close(&output);
    peri_log_output_open(&output, full);
    write_numbers(0, 3);
    assert_int_equal(output.dropped, 3);
    assert_int_equal(output.len, 0);
    close(full);
}

static void a_line_behind_half_a_line_begins_at_the_margin(void **state) {
    (void)state;
    char text[100];
    output.torn = true; // as an error in the midst of one leaves it
    peri_log_output_line(&output, PERI_STR("next\n"));
    peri_log_output_line(&output, PERI_STR("last\n"));
    assert_int_equal(read(ends[0], text, sizeof text), 11);
    assert_memory_equal(text, "\nnext\nlast\n", 11);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(others_who_have_the_pipe_still_wait, open_pipe, close_all),
        cmocka_unit_test_setup_teardown(a_full_pipe_keeps_lines_then_counts_them, open_pipe,
                                        close_all),
        cmocka_unit_test_setup_teardown(so_does_one_that_could_not_be_opened_again, open_pipe,
                                        close_all),
        cmocka_unit_test_setup_teardown(so_does_a_socket, open_pipe, close_all),
        cmocka_unit_test_setup_teardown(at_the_end_a_reader_has_some_time_but_not_for_ever,
                                        open_pipe, close_all),
        cmocka_unit_test_setup_teardown(what_is_kept_moves_to_the_front_and_stays_in_order,
                                        open_pipe, close_all),
        cmocka_unit_test_setup_teardown(without_a_reader_lines_are_dropped_and_counted, open_pipe,
                                        close_all),
        cmocka_unit_test_setup_teardown(a_full_disk_is_counted, open_pipe, close_all),
        cmocka_unit_test_setup_teardown(a_line_behind_half_a_line_begins_at_the_margin, open_pipe,
                                        close_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
