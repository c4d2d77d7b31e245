// The log as its callers see it: levels, what a line holds, repeats, and a reader who stops.
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "support/cmocka.h"

static void keep_line(void *arg, struct peri_str line) {
    struct peri_buffer *lines = arg;
    if (peri_buffer_append_str(lines, line) != PERI_OK) {
        abort();
    }
}

static struct peri_buffer lines;

static int set_up(void **state) {
    (void)state;
    peri_log_set_level(PERI_LOG_INFO);
    peri_log_set_sink(keep_line, &lines);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    peri_buffer_deinit(&lines);
    peri_log_set_sink(NULL, NULL);
    return 0;
}

/// Compares the only line, from its level on; its time has the right shape.
static void check_line(const char *expected) {
    static const char shape[] = "time=dddd-dd-ddTdd:dd:dd.dddZ ";
    assert_int_equal(peri_buffer_append(&lines, "", 1), PERI_OK);
    const char *line = (const char *)lines.ptr;
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        // the d of "dddd", not those of words: there are none in it
        if (shape[i] == 'd') {
            assert_in_range(line[i], '0', '9');
        } else {
            assert_int_equal(line[i], shape[i]);
        }
    }
    assert_string_equal(line + sizeof shape - 1, expected);
    peri_buffer_clear(&lines, 0);
}

static void a_line_has_time_level_message_and_fields(void **state) {
    (void)state;
    const struct peri_log_field fields[] = {
        {"route", PERI_STR("/ws")}, {"bytes", PERI_STR("12")}, {"empty", PERI_STR("")}, {0}};
    peri_log_fields(PERI_LOG_WARN, PERI_STR("hello there"), fields);
    check_line("level=warn msg=\"hello there\" route=/ws bytes=12 empty=\"\"\n");
    peri_log_fields(PERI_LOG_ERROR, PERI_STR(""), NULL);
    check_line("level=error msg=\"\"\n");
    peri_log(PERI_LOG_INFO, "%s is %d", "x", 3);
    check_line("level=info msg=\"x is 3\"\n");
}

static void lines_below_the_level_are_dropped(void **state) {
    (void)state;
    peri_log(PERI_LOG_DEBUG, "dropped");
    assert_int_equal(lines.len, 0);
    peri_log_set_level(PERI_LOG_DEBUG);
    assert_int_equal(peri_log_level(), PERI_LOG_DEBUG);
    peri_log(PERI_LOG_DEBUG, "kept");
    check_line("level=debug msg=\"kept\"\n");
    peri_log_set_level(PERI_LOG_ERROR);
    peri_log(PERI_LOG_WARN, "dropped");
    assert_int_equal(lines.len, 0);
}

static void check_value(struct peri_str value, const char *expected) {
    const struct peri_log_field fields[] = {{"k", value}, {0}};
    char line[200];
    (void)snprintf(line, sizeof line, "level=info msg=\"m\" k=%s\n", expected);
    peri_log_fields(PERI_LOG_INFO, PERI_STR("m"), fields);
    check_line(line);
}

static void a_value_cannot_forge_a_field_or_a_line(void **state) {
    (void)state;
    check_value(PERI_STR("a b"), "\"a b\"");
    check_value(PERI_STR("a=b"), "\"a=b\"");
    check_value(PERI_STR("x\" level=error"), "\"x\\\" level=error\"");
    check_value(PERI_STR("x\\"), "\"x\\\\\"");
    check_value(PERI_STR("x\nlevel=error"), "\"x\\nlevel=error\"");
    check_value(PERI_STR("\r\t\0\x1b[2J\x7f"), "\"\\r\\t\\x00\\x1B[2J\\x7F\"");
}

static void utf8_stands_as_it_is_and_the_rest_is_escaped(void **state) {
    (void)state;
    check_value(PERI_STR("caf\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x99"),
                "caf\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x99");
    check_value(PERI_STR("\xff\xc0\xaf"), "\"\\xFF\\xC0\\xAF\"");
    check_value(PERI_STR("\xed\xa0\x80"), "\"\\xED\\xA0\\x80\"");          // a surrogate
    check_value(PERI_STR("\xe0\x80\x80"), "\"\\xE0\\x80\\x80\"");          // overlong
    check_value(PERI_STR("\xf4\x90\x80\x80"), "\"\\xF4\\x90\\x80\\x80\""); // over U+10FFFF
    check_value(PERI_STR("a\xe2\x82"), "\"a\\xE2\\x82\"");                 // cut
    check_value(PERI_STR("\xc2\x85"), "\"\\xC2\\x85\"");                   // a C1 control
    check_value(PERI_STR("\xe2\x80\xa8"), "\"\\xE2\\x80\\xA8\"");          // a line separator
}

static void a_key_cannot_forge_anything_either(void **state) {
    (void)state;
    const struct peri_log_field fields[] = {{"a b=\n\"c.d-e_f9", PERI_STR("1")}, {0}};
    peri_log_fields(PERI_LOG_INFO, PERI_STR("m"), fields);
    check_line("level=info msg=\"m\" a_b___c.d-e_f9=1\n");
}

static void plain_text_is_cut_at_1_kib(void **state) {
    (void)state;
    peri_log(PERI_LOG_INFO, "%02000d", 0);
    const char *zeros = strstr((const char *)lines.ptr, "msg=\"");
    assert_non_null(zeros);
    assert_int_equal(strspn(zeros + 5, "0"), 1024);
    assert_int_equal(lines.ptr[lines.len - 1], '\n');
}

static void without_memory_a_line_is_whole(void **state) {
    (void)state;
    int pipe_[2];
    char text[200];
    assert_int_equal(pipe(pipe_), 0);
    peri_log_set_sink(NULL, NULL);
    peri_log_set_output(pipe_[1]);
    uint64_t live = peri_alloc_live();
    peri_alloc_fail_from(1);
    peri_log(PERI_LOG_INFO, "hello");
    peri_alloc_fail_from(0);
    assert_int_equal(peri_alloc_live(), live);
    ssize_t n = read(pipe_[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(strstr(text, "level=info msg=\"hello\"\n"));
    peri_log_end();
    peri_log_set_output(STDERR_FILENO);
    close(pipe_[0]);
    close(pipe_[1]);
}

/// A pipe's two ends that this thread's has no more, and where the log goes.
static void *log_apart(void *arg) {
    const int *fds = arg;
    peri_log_stand_apart();
    peri_log(PERI_LOG_INFO, "from afar");
    return fcntl(fds[0], F_GETFD) < 0 && errno == EBADF && fcntl(STDERR_FILENO, F_GETFD) >= 0
               ? arg
               : NULL;
}

static void who_stands_apart_has_the_logs_descriptor_alone(void **state) {
    (void)state;
#ifdef CLOSE_RANGE_UNSHARE
    bool can = close_range(UINT_MAX, UINT_MAX, 0) == 0;
#else
    bool can = false;
#endif
    int pipe_[2], other[2];
    char text[200];
    void *apart = NULL;
    pthread_t thread;
    assert_int_equal(pipe(pipe_), 0);
    assert_int_equal(pipe(other), 0);
    peri_log_set_sink(NULL, NULL);
    peri_log_set_output(pipe_[1]);
    assert_int_equal(pthread_create(&thread, NULL, log_apart, other), 0);
    assert_int_equal(pthread_join(thread, &apart), 0);
    ssize_t n = read(pipe_[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(strstr(text, "level=info msg=\"from afar\"\n"));
    assert_true(fcntl(other[0], F_GETFD) >= 0);  // still the others'
    assert_ptr_equal(apart, can ? other : NULL); // else all stay shared
    peri_log_end();
    peri_log_set_output(STDERR_FILENO);
    for (int i = 0; i < 2; i++) {
        close(pipe_[i]);
        close(other[i]);
    }
}

static size_t count_lines(const char *words) {
    assert_int_equal(peri_buffer_append(&lines, "", 1), PERI_OK);
    size_t n = 0;
    for (const char *at = (const char *)lines.ptr; (at = strstr(at, words)); at++) {
        n++;
    }
    lines.len--;
    return n;
}

static void log_refused(const char *path, const char *why) {
    const struct peri_log_field fields[] = {
        {"why", peri_str_of(why)}, {"path", peri_str_of(path)}, {0}};
    peri_log_fields(PERI_LOG_INFO, PERI_STR("refused"), fields);
}

static void repeats_are_counted_and_the_last_count_is_said_at_the_end(void **state) {
    (void)state;
    char path[20];
    assert_false(peri_log_waits());
    for (int i = 0; i < PERI_LOG_REPEATS + 1204; i++) {
        (void)snprintf(path, sizeof path, "/%d", i);
        log_refused(path, "the path is too long");
    }
    // This test may be stopped for a second at any point: all are accounted for in any case.
    peri_log(PERI_LOG_INFO, "another");
    assert_int_equal(count_lines("another"), 1);
    peri_log_end();
    assert_false(peri_log_waits());
    size_t said = count_lines(" path="), counted = 0;
    for (const char *at = (const char *)lines.ptr; (at = strstr(at, " more=")); at++) {
        counted += strtoul(at + 6, NULL, 10);
    }
    assert_true(said >= PERI_LOG_REPEATS && counted > 0);
    assert_int_equal(said + counted, PERI_LOG_REPEATS + 1204);
    assert_non_null(strstr((const char *)lines.ptr, "more)\" why=\"the path is too long\" more="));
}

static void what_is_held_back_waits_for_a_tick(void **state) {
    (void)state;
    for (int i = 0; i < 20 * PERI_LOG_REPEATS && !peri_log_waits(); i++) {
        log_refused("/", "no");
    }
    assert_true(peri_log_waits());
    while (peri_log_waits()) {
        (void)usleep(20 * 1000);
        peri_log_tick();
    }
    assert_int_equal(count_lines("refused (x "), 1);
}

static void a_script_may_say_more_often_and_other_fields_are_another_line(void **state) {
    (void)state;
    for (int i = 0; i < PERI_LOG_SAID; i++) {
        const struct peri_log_field fields[] = {{"who", PERI_STR("a")}, {0}};
        peri_log_say(PERI_LOG_INFO, PERI_STR("hello"), fields);
        char who[20];
        (void)snprintf(who, sizeof who, "b%d", i);
        const struct peri_log_field others[] = {{"who", peri_str_of(who)}, {0}};
        peri_log_say(PERI_LOG_INFO, PERI_STR("hello"), others);
    }
    assert_false(peri_log_waits());
    assert_int_equal(count_lines("who=a\n"), PERI_LOG_SAID);
    assert_int_equal(count_lines("who=b"), PERI_LOG_SAID);
}

static void a_new_sink_knows_nothing_of_what_was_held_back(void **state) {
    (void)state;
    for (int i = 0; i < 20 * PERI_LOG_REPEATS && !peri_log_waits(); i++) {
        log_refused("/", "no");
    }
    peri_buffer_clear(&lines, 0);
    peri_log_set_sink(keep_line, &lines);
    assert_false(peri_log_waits());
    peri_log_end();
    assert_int_equal(lines.len, 0);
}

static void a_reader_who_stops_costs_lines_and_hears_how_many(void **state) {
    (void)state;
    static char text[1 << 20];
    int pipe_[2];
    size_t n = 0;
    assert_int_equal(pipe(pipe_), 0);
    assert_int_equal(fcntl(pipe_[0], F_SETFL, O_NONBLOCK), 0);
    peri_log_set_sink(NULL, NULL);
    peri_log_set_output(pipe_[1]);
    enum { LINES = 20000 };
    for (int i = 0; i < LINES; i++) {
        peri_log(PERI_LOG_INFO, "line %d of many that nobody reads", i); // would block for ever
    }
    assert_true(peri_log_waits());
    // It reads again: what was kept comes, how many are lost, and what is new.
    for (int idle = 0; idle < 2;) {
        ssize_t got = read(pipe_[0], text + n, sizeof text - 1 - n);
        n += got > 0 ? (size_t)got : 0;
        idle = got > 0 ? 0 : idle + 1;
        peri_log_tick();
    }
    assert_false(peri_log_waits());
    peri_log(PERI_LOG_INFO, "new");
    peri_log_end();
    ssize_t got = read(pipe_[0], text + n, sizeof text - 1 - n);
    n += got > 0 ? (size_t)got : 0;
    text[n] = '\0';
    unsigned long kept = 0;
    for (const char *at = text; (at = strstr(at, " of many")); at++) {
        kept++;
    }
    const char *lost = strstr(text, " dropped=");
    assert_non_null(lost);
    assert_int_equal(kept + strtoul(lost + 9, NULL, 10), LINES);
    assert_non_null(strstr(lost, "msg=\"new\"\n"));
    // Whole lines only.
    for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
        assert_int_equal(strncmp(at, "time=", 5), 0);
        assert_non_null(strchr(at, '\n'));
    }
    peri_log_set_output(STDERR_FILENO);
    close(pipe_[0]);
    close(pipe_[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_time_level_message_and_fields, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(lines_below_the_level_are_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_cannot_forge_a_field_or_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(utf8_stands_as_it_is_and_the_rest_is_escaped, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_key_cannot_forge_anything_either, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plain_text_is_cut_at_1_kib, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_stands_apart_has_the_logs_descriptor_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_memory_a_line_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repeats_are_counted_and_the_last_count_is_said_at_the_end,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_held_back_waits_for_a_tick, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_script_may_say_more_often_and_other_fields_are_another_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_sink_knows_nothing_of_what_was_held_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_reader_who_stops_costs_lines_and_hears_how_many, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
