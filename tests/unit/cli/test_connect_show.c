// What a person sees of messages, whatever bytes a peer sends.
#include "cli/connect.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "support/cmocka.h"

static const struct connect_look PLAIN = {.colour = false, .columns = 40};

static void expect_text(struct peri_str text, const char *expected) {
    struct peri_buffer out = {0};
    assert_int_equal(connect_show_text(&out, text, 2), PERI_OK);
    assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
    assert_string_equal((const char *)out.ptr, expected);
    peri_buffer_deinit(&out);
}

static void text_cannot_drive_the_terminal(void **state) {
    (void)state;
    expect_text(PERI_STR("plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x99\x82\t|"),
                "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x99\x82\t|");
    expect_text(PERI_STR("a\x1b[2Jb\x07\x08\x7f"), "a\\x1b[2Jb\\x07\\x08\\x7f");
    expect_text(PERI_STR("a\r\nb\0c"), "a\\r\n  b\\0c");
    expect_text(PERI_STR("\xc2\x9b"
                         "31m"),
                "\\x9b31m"); // C1, as 8-bit CSI
    expect_text(PERI_STR("\xe2\x80\xae\xe2\x81\xa6"), "\\u202e\\u2066");
    expect_text(PERI_STR("bad \xff\x9b\xe2\x82"), "bad \\xff\\x9b\\xe2\\x82"); // a refusal's body
}

/// All but the time.
static void expect_shown(enum connect_direction direction, bool binary, struct peri_str payload,
                         const char *expected) {
    struct peri_buffer out = {0};
    (void)setenv("TZ", "UTC0", 1);
    assert_int_equal(connect_show(&out, &PLAIN, direction, binary, payload, 3661), PERI_OK);
    assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
    assert_memory_equal(out.ptr, "01:01:01 ", 9);
    assert_string_equal((const char *)out.ptr + 9, expected);
    peri_buffer_deinit(&out);
}

static void directions_differ(void **state) {
    (void)state;
    expect_shown(CONNECT_IN, false, PERI_STR("hi"), "< hi\n");
    expect_shown(CONNECT_OUT, false, PERI_STR("[1,2]"), "> [1,2]\n"); // as it was typed
    expect_shown(CONNECT_NOTE, false, PERI_STR("closed"), "* closed\n");
    expect_shown(CONNECT_IN, false, PERI_STR(""), "< \n");
    expect_shown(CONNECT_IN, false, PERI_STR("a\nb"), "< a\n           b\n");
}

static void json_is_laid_out(void **state) {
    (void)state;
    expect_shown(CONNECT_IN, false, PERI_STR("{\"a\":[1,2]}"), "< {\"a\": [1, 2]}\n");
    expect_shown(CONNECT_IN, false, PERI_STR("{\"long name\":\"long value\",\"b\":2}"),
                 "< {\n             \"long name\": \"long value\",\n             \"b\": 2\n"
                 "           }\n");
    expect_shown(CONNECT_IN, false, PERI_STR("[\"\xc2\x9b\"]"), "< [\"\\x9b\"]\n");
    expect_shown(CONNECT_IN, false, PERI_STR("{no json"), "< {no json\n");
}

static void binary_is_dumped(void **state) {
    (void)state;
    expect_shown(CONNECT_IN, true, PERI_STR("\0\x1b[m ABCDEFGHIJKL"),
                 "< binary, 17 bytes\n"
                 "  0000  00 1b 5b 6d 20 41 42 43  44 45 46 47 48 49 4a 4b"
                 "  |..[m ABCDEFGHIJK|\n"
                 "  0010  4c                                              "
                 "  |L|\n");
    expect_shown(CONNECT_IN, true, PERI_STR(""), "< binary, 0 bytes\n");
    char large[5000] = {0};
    struct peri_buffer out = {0};
    assert_int_equal(connect_show(&out, &PLAIN, CONNECT_IN, true, peri_str(large, sizeof large), 0),
                     PERI_OK);
    assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
    assert_non_null(strstr((const char *)out.ptr, "... and 904 bytes more\n"));
    peri_buffer_deinit(&out);
}

static void colours_are_only_where_they_are_wanted(void **state) {
    (void)state;
    const struct connect_look look = {.colour = true, .columns = 40};
    struct peri_buffer out = {0};
    assert_int_equal(connect_show(&out, &look, CONNECT_IN, false, PERI_STR("x"), 0), PERI_OK);
    assert_non_null(memchr(out.ptr, '\x1b', out.len));
    peri_buffer_deinit(&out);
    assert_int_equal(connect_show(&out, &PLAIN, CONNECT_IN, false, PERI_STR("x"), 0), PERI_OK);
    assert_null(memchr(out.ptr, '\x1b', out.len));
    peri_buffer_deinit(&out);
}

static void every_close_code_has_words(void **state) {
    (void)state;
    assert_string_equal(connect_close_words(1000), "normal");
    assert_string_equal(connect_close_words(1006), "the connection was lost");
    assert_string_equal(connect_close_words(4001), "the application's own");
    assert_string_equal(connect_close_words(3000), "registered by a library or framework");
    assert_string_equal(connect_close_words(2999), "reserved for the protocol");
    assert_string_equal(connect_close_words(999), "no valid code");
    assert_string_equal(connect_close_words(5000), "no valid code");
    for (int code = 1000; code <= 1015; code++) {
        assert_string_not_equal(connect_close_words(code), "reserved for the protocol");
    }
}

static void out_of_memory_leaves_the_buffer_as_it_was(void **state) {
    (void)state;
    uint64_t live = peri_alloc_live();
    int rc = PERI_E_MEMORY;
    for (uint64_t nth = 1; rc != PERI_OK; nth++) {
        struct peri_buffer out = {0};
        peri_alloc_fail_from(nth);
        rc = connect_show(&out, &PLAIN, CONNECT_IN, false, PERI_STR("{\"a\":1}"), 0);
        peri_alloc_fail_from(0);
        assert_true(rc == PERI_OK || out.len == 0);
        peri_buffer_deinit(&out);
        assert_int_equal(peri_alloc_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_cannot_drive_the_terminal),
        cmocka_unit_test(directions_differ),
        cmocka_unit_test(json_is_laid_out),
        cmocka_unit_test(binary_is_dumped),
        cmocka_unit_test(colours_are_only_where_they_are_wanted),
        cmocka_unit_test(every_close_code_has_words),
        cmocka_unit_test(out_of_memory_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
