// Events as lines, in each format.
#include "base/log_line.h"

#include <stdlib.h>

#include "support/cmocka.h"

static char out[PERI_LOG_LINE_MAX + 1];

/// 2001-09-09 01:46:40.012 UTC
static const struct timespec then = {1000000000, 12345678};

static const char *write_line(enum peri_log_format format, enum peri_log_level level,
                              struct peri_str message, const struct peri_log_field *fields,
                              uint64_t more) {
    const struct peri_log_event event = {level, then, message, fields, more};
    memset(out, 'x', sizeof out);
    size_t n = peri_log_write_line(out, format, &event);
    assert_in_range(n, 1, PERI_LOG_LINE_MAX);
    out[n] = '\0';
    return out;
}

static const struct peri_log_field about[] = {
    {"script", PERI_STR("games/quiz")},
    {"generation", PERI_STR("3")},
    {"handler", PERI_STR("message")},
    {"conn", PERI_STR("0a\n")},
    {"traceback", PERI_STR("stack traceback:\n\t[C]: in 'error'\n\tq.lua:3: \x1b[2J\xff")},
    {0},
};

static void logfmt_has_all_on_one_line(void **state) {
    (void)state;
    assert_string_equal(
        write_line(PERI_LOG_LOGFMT, PERI_LOG_ERROR, PERI_STR("q.lua:3: \"no\""), about, 0),
        "time=2001-09-09T01:46:40.012Z level=error msg=\"q.lua:3: \\\"no\\\"\" script=games/quiz "
        "generation=3 handler=message conn=\"0a\\n\" "
        "traceback=\"stack traceback:\\n\\t[C]: in 'error'\\n\\tq.lua:3: \\x1B[2J\\xFF\"\n");
}

static void json_is_one_object_a_line(void **state) {
    (void)state;
    assert_string_equal(
        write_line(PERI_LOG_JSON, PERI_LOG_ERROR, PERI_STR("q.lua:3: \"no\""), about, 0),
        "{\"time\":\"2001-09-09T01:46:40.012Z\",\"level\":\"error\",\"msg\":\"q.lua:3: "
        "\\\"no\\\"\","
        "\"script\":\"games/quiz\",\"generation\":\"3\",\"handler\":\"message\",\"conn\":\"0a\\n\","
        "\"traceback\":\"stack traceback:\\n\\t[C]: in 'error'\\n\\tq.lua:3: "
        "\\u001b[2J\\\\xFF\"}\n");
}

static void short_lines_are_for_people(void **state) {
    (void)state;
    assert_string_equal(
        write_line(PERI_LOG_SHORT, PERI_LOG_ERROR, PERI_STR("q.lua:3: \"no\""), about, 0),
        "01:46:40 error games/quiz message: q.lua:3: \"no\" conn=\"0a\\n\"\n"
        "    stack traceback:\n"
        "      [C]: in 'error'\n"
        "      q.lua:3: \\x1B[2J\\xFF\n");
    assert_string_equal(write_line(PERI_LOG_SHORT, PERI_LOG_INFO, PERI_STR("hello"), NULL, 0),
                        "01:46:40 info  hello\n");
}

static void colours_begin_and_end_on_the_line(void **state) {
    (void)state;
    assert_string_equal(
        write_line(PERI_LOG_COLOURED, PERI_LOG_WARN, PERI_STR("a\x1b[31m"), NULL, 0),
        "\x1b[2m01:46:40\x1b[0m \x1b[33mwarn \x1b[0m a\\x1B[31m\x1b[2m\x1b[0m\n");
}

static void a_count_is_in_the_message_and_a_number_of_its_own(void **state) {
    (void)state;
    const struct peri_log_field fields[] = {{"why", PERI_STR("no")}, {0}};
    static const struct {
        enum peri_log_format format;
        uint64_t more;
        const char *line;
    } rows[] = {
        {PERI_LOG_LOGFMT, 1204,
         "time=2001-09-09T01:46:40.012Z level=info msg=\"m (x 1,204 more)\" why=no more=1204\n"},
        {PERI_LOG_JSON, 1204,
         "{\"time\":\"2001-09-09T01:46:40.012Z\",\"level\":\"info\",\"msg\":\"m (x 1,204 more)\","
         "\"why\":\"no\",\"more\":1204}\n"},
        {PERI_LOG_SHORT, 1, "01:46:40 info  m (x 1 more) why=no\n"},
        {PERI_LOG_SHORT, 999, "01:46:40 info  m (x 999 more) why=no\n"},
        {PERI_LOG_SHORT, 12345678, "01:46:40 info  m (x 12,345,678 more) why=no\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(
            write_line(rows[i].format, PERI_LOG_INFO, PERI_STR("m"), fields, rows[i].more),
            rows[i].line);
    }
}

static void json_keeps_hidden_characters_and_shows_what_is_no_utf8(void **state) {
    (void)state;
    const struct peri_log_field fields[] = {
        {"k", PERI_STR("\0\x1f\x7f\xc2\x85\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa9\\\xed\xa0\x80 "
                       "caf\xc3\xa9 \xf0\x9f\x8c\x99")},
        {0}};
    assert_non_null(strstr(write_line(PERI_LOG_JSON, PERI_LOG_INFO, PERI_STR("m"), fields, 0),
                           ",\"k\":\"\\u0000\\u001f\\u007f\\u0085\\u2028\\u202e\\u2069\\\\"
                           "\\\\xED\\\\xA0\\\\x80 caf\xc3\xa9 \xf0\x9f\x8c\x99\"}\n"));
}

static void no_text_turns_the_direction_of_a_line(void **state) {
    (void)state;
    assert_string_equal(
        write_line(PERI_LOG_SHORT, PERI_LOG_INFO, PERI_STR("a\xe2\x80\xae\xe2\x81\xa6z"), NULL, 0),
        "01:46:40 info  a\\xE2\\x80\\xAE\\xE2\\x81\\xA6z\n");
}

/// No byte that peers may send begins a line, ends one or reaches a terminal as a command.
static void check_harmless(enum peri_log_format format, const char *bytes, size_t n) {
    const struct peri_log_field fields[] = {{"script", peri_str(bytes, n)},
                                            {"handler", peri_str(bytes, n)},
                                            {"path", peri_str(bytes, n)},
                                            {"traceback", peri_str(bytes, n)},
                                            {0}};
    const char *line = write_line(format, PERI_LOG_INFO, peri_str(bytes, n), fields, 0);
    size_t len = strlen(line);
    assert_int_equal(line[len - 1], '\n');
    for (size_t i = 0; i + 1 < len; i++) {
        bool below = format == PERI_LOG_SHORT && strncmp(line + i, "\n    ", 5) == 0;
        assert_true(below || ((unsigned char)line[i] >= 0x20 && line[i] != 0x7f));
        uint32_t c = 0;
        size_t size = peri_log_decode(line + i, len - i, &c);
        assert_true(size > 0 && !(c >= 0x80 && c < 0xa0) && !(c >= 0x2028 && c <= 0x202e));
        i += size - 1;
    }
}

static void whatever_bytes_come_lines_stay_lines_and_utf8(void **state) {
    (void)state;
    static const enum peri_log_format formats[] = {PERI_LOG_LOGFMT, PERI_LOG_JSON, PERI_LOG_SHORT};
    srandom(7);
    for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
        for (int first = 0; first < 256; first++) {
            for (int second = 0; second < 256; second++) {
                const char pair[] = {(char)first, (char)second};
                check_harmless(formats[f], pair, sizeof pair);
            }
        }
        for (int i = 0; i < 2000; i++) {
            char bytes[40];
            for (size_t at = 0; at < sizeof bytes; at++) {
                bytes[at] =
                    (char)(random() % 3 ? random() : "\n\r\x1b\"\\\xe2\x80\xa8"[random() % 8]);
            }
            check_harmless(formats[f], bytes, (size_t)(random() % (long)sizeof bytes));
        }
    }
}

static void names_that_a_line_has_are_not_given_twice(void **state) {
    (void)state;
    const struct peri_log_field fields[] = {
        {"script", PERI_STR("a")}, {"level", PERI_STR("error")}, {"script", PERI_STR("b")},
        {"m x", PERI_STR("1")},    {"m\"x", PERI_STR("2")},      {"", PERI_STR("3")},
        {"time", PERI_STR("4")},   {"more", PERI_STR("5")},      {0}};
    assert_string_equal(write_line(PERI_LOG_JSON, PERI_LOG_INFO, PERI_STR("m"), fields, 0),
                        "{\"time\":\"2001-09-09T01:46:40.012Z\",\"level\":\"info\",\"msg\":\"m\","
                        "\"script\":\"a\",\"level_\":\"error\",\"script_\":\"b\",\"m_x\":\"1\","
                        "\"m_x_\":\"2\",\"_\":\"3\",\"time_\":\"4\",\"more_\":\"5\"}\n");
}

static void check_end(const char *line, const char *end) {
    assert_true(strlen(line) > strlen(end));
    assert_string_equal(line + strlen(line) - strlen(end), end);
}

static void what_is_too_long_is_cut_and_the_line_closes(void **state) {
    (void)state;
    static char huge[1 << 20];
    static const char *const fill[] = {"a", "\x01", "\xff", "\"", "\xe2\x80\xa8"};
    for (size_t f = 0; f < sizeof fill / sizeof fill[0]; f++) {
        for (size_t i = 0; i + 4 < sizeof huge; i += strlen(fill[f])) {
            memcpy(huge + i, fill[f], strlen(fill[f]));
        }
        struct peri_log_field fields[17] = {{0}};
        static const char *const keys = "a\0b\0c\0d\0e\0f\0g\0h\0i\0j\0k\0l\0m\0n\0o\0p";
        for (size_t i = 0; i < 16; i++) {
            fields[i].key = keys + 2 * i;
            fields[i].value = peri_str(huge, sizeof huge - 4);
        }
        const char *line = write_line(PERI_LOG_JSON, PERI_LOG_INFO, fields[0].value, fields, 9);
        check_end(line, "...\",\"more\":9}\n");
        const char *a = strstr(line, "... (x 9 more)\",\"a\":\""); // the message leaves room
        assert_non_null(a);
        assert_in_range(a - line, PERI_LOG_VALUE_MAX, PERI_LOG_VALUE_MAX + 100);
        line = write_line(PERI_LOG_LOGFMT, PERI_LOG_INFO, fields[0].value, fields, 0);
        check_end(line, f == 0 ? "...\n" : "...\"\n"); // letters alone need no quotes
        (void)write_line(PERI_LOG_COLOURED, PERI_LOG_INFO, fields[0].value, fields, 0);
    }
    // Its own size exactly: nothing is cut.
    assert_null(strstr(
        write_line(PERI_LOG_LOGFMT, PERI_LOG_INFO,
                   peri_str(memset(huge, 'a', PERI_LOG_VALUE_MAX), PERI_LOG_VALUE_MAX), NULL, 0),
        "..."));
    memset(huge, 'a', PERI_LOG_VALUE_MAX + 1);
    assert_non_null(strstr(
        write_line(PERI_LOG_LOGFMT, PERI_LOG_INFO, peri_str(huge, PERI_LOG_VALUE_MAX + 1), NULL, 0),
        "a...\"\n"));
}

static void an_excerpt_and_a_hint_stand_between_message_and_traceback(void **state) {
    const struct peri_log_field fields[] = {
        {"script", PERI_STR("q")},
        {"traceback", PERI_STR("stack traceback:")},
        {"hint", PERI_STR("mind the \x1b")},
        {peri_log_excerpt, PERI_STR("     2 | x\x1b\n>    3 | y\n     4 |")},
        {"conn", PERI_STR("a")},
        {0},
    };
    (void)state;
    assert_string_equal(write_line(PERI_LOG_SHORT, PERI_LOG_ERROR, PERI_STR("no"), fields, 0),
                        "01:46:40 error q: no conn=a\n"
                        "         2 | x\\x1B\n"
                        "    >    3 | y\n"
                        "         4 |\n"
                        "    hint: mind the \\x1B\n"
                        "    stack traceback:\n");
    assert_string_equal(write_line(PERI_LOG_COLOURED, PERI_LOG_ERROR, PERI_STR("no"), fields, 0),
                        "\x1b[2m01:46:40\x1b[0m \x1b[1;31merror\x1b[0m q: no\x1b[2m conn=a\n"
                        "         2 | x\\x1B\n"
                        "    \x1b[0;1m>    3 | y\x1b[0;2m\n"
                        "         4 |\n"
                        "    \x1b[0;1mhint: mind the \\x1B\x1b[0;2m\n"
                        "    stack traceback:\x1b[0m\n");
}

static void one_line_formats_have_the_hint_and_no_excerpt(void **state) {
    const struct peri_log_field fields[] = {
        {"hint", PERI_STR("do so")},
        {peri_log_excerpt, PERI_STR("> 3 | y")},
        {"conn", PERI_STR("a")},
        {0},
    };
    const struct peri_log_field own[] = {{"excerpt", PERI_STR("a script's own")}, {0}};
    (void)state;
    assert_non_null(strstr(write_line(PERI_LOG_LOGFMT, PERI_LOG_ERROR, PERI_STR("no"), fields, 0),
                           "msg=\"no\" hint=\"do so\" conn=a\n"));
    assert_non_null(strstr(write_line(PERI_LOG_JSON, PERI_LOG_ERROR, PERI_STR("no"), fields, 0),
                           "\"msg\":\"no\",\"hint\":\"do so\",\"conn\":\"a\"}\n"));
    assert_non_null(strstr(write_line(PERI_LOG_LOGFMT, PERI_LOG_ERROR, PERI_STR("no"), own, 0),
                           "excerpt=\"a script's own\""));
}

static void a_traceback_of_a_million_lines_is_cut(void **state) {
    (void)state;
    static char huge[1 << 20];
    memset(huge, '\n', sizeof huge);
    const struct peri_log_field fields[] = {{"traceback", peri_str(huge, sizeof huge)}, {0}};
    const char *line = write_line(PERI_LOG_SHORT, PERI_LOG_INFO, PERI_STR("m"), fields, 0);
    assert_true(strlen(line) > PERI_LOG_LINE_MAX / 2);
}

static int set_utc(void **state) {
    (void)state;
    return setenv("TZ", "UTC", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logfmt_has_all_on_one_line),
        cmocka_unit_test(json_is_one_object_a_line),
        cmocka_unit_test(short_lines_are_for_people),
        cmocka_unit_test(colours_begin_and_end_on_the_line),
        cmocka_unit_test(a_count_is_in_the_message_and_a_number_of_its_own),
        cmocka_unit_test(json_keeps_hidden_characters_and_shows_what_is_no_utf8),
        cmocka_unit_test(no_text_turns_the_direction_of_a_line),
        cmocka_unit_test(whatever_bytes_come_lines_stay_lines_and_utf8),
        cmocka_unit_test(names_that_a_line_has_are_not_given_twice),
        cmocka_unit_test(what_is_too_long_is_cut_and_the_line_closes),
        cmocka_unit_test(an_excerpt_and_a_hint_stand_between_message_and_traceback),
        cmocka_unit_test(one_line_formats_have_the_hint_and_no_excerpt),
        cmocka_unit_test(a_traceback_of_a_million_lines_is_cut),
    };
    return cmocka_run_group_tests(tests, set_utc, NULL);
}
