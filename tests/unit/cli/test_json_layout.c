// JSON laid out: what is valid, what fits on a line, what does not.
#include "cli/json_layout.h"

#include "base/alloc.h"
#include "support/cmocka.h"

static void only_json_is_valid(void **state) {
    (void)state;
    static const char *const good[] = {
        "{}",
        " [ ] ",
        "[1,-0,0.5,1e9,-1.5E-3]",
        "{\"a\":{\"b\":[null,true,false]}}",
        "\"\\u00e9\\n\\\"\\/\"",
        "1",
        "[\"\xc3\xa4\"]",
        "{\"\":\"\"}",
    };
    static const char *const bad[] = {
        "",      " ",     "{",         "[1,]",          "{\"a\":}", "{\"a\",1}",
        "{a:1}", "[01]",  "[1.]",      "[.5]",          "[+1]",     "[1e]",
        "[-]",   "nul",   "[\"\\x\"]", "[\"\\u12g4\"]", "[\"a]",    "[\"\n\"]",
        "[1] 2", "[1 2]", "['a']",     "{\"a\":1,}",    "[,1]",     "]",
        "[}",    "[\"\\",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (!peri_json_is_valid(peri_str_of(good[i]))) {
            fail_msg("%s", good[i]);
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (peri_json_is_valid(peri_str_of(bad[i]))) {
            fail_msg("%s", bad[i]);
        }
    }
}

static void what_is_nested_too_deep_is_not_laid_out(void **state) {
    (void)state;
    char text[202];
    memset(text, '[', 101);
    memset(text + 101, ']', 101);
    assert_false(peri_json_is_valid(peri_str(text, 202)));
    assert_true(peri_json_is_valid(peri_str(text + 1, 200)));
    struct peri_buffer out = {0};
    assert_int_equal(peri_json_layout(&out, peri_str(text + 1, 200), 0, 10), PERI_OK);
    assert_true(out.len > 200);
    peri_buffer_deinit(&out);
}

static void expect_layout(const char *text, size_t columns, const char *expected) {
    struct peri_buffer out = {0};
    assert_true(peri_json_is_valid(peri_str_of(text)));
    assert_int_equal(peri_json_layout(&out, peri_str_of(text), 1, columns), PERI_OK);
    assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
    assert_string_equal((const char *)out.ptr, expected);
    // A second time it stays as it is.
    struct peri_buffer again = {0};
    assert_int_equal(peri_json_layout(&again, peri_str_of((const char *)out.ptr), 1, columns),
                     PERI_OK);
    assert_true(peri_str_equal(peri_buffer_str(&again), peri_str((char *)out.ptr, out.len - 1)));
    peri_buffer_deinit(&again);
    peri_buffer_deinit(&out);
}

static void what_fits_is_on_one_line(void **state) {
    (void)state;
    expect_layout("{\"a\" :1,\n\"b\":[ 1,2 ] , \"c\":{}}", 40,
                  "{\"a\": 1, \"b\": [1, 2], \"c\": {}}");
    expect_layout("[\"a,b: {c}\\\"\",1]", 40, "[\"a,b: {c}\\\"\", 1]");
    expect_layout(" 12 ", 40, "12");
}

static void what_does_not_fit_is_a_member_a_line(void **state) {
    (void)state;
    expect_layout("{\"a\":1,\"b\":[10,20,30],\"c\":{\"d\":[]},\"e\":[]}", 17,
                  "{\n"
                  "   \"a\": 1,\n"
                  "   \"b\": [\n"
                  "     10,\n"
                  "     20,\n"
                  "     30\n"
                  "   ],\n"
                  "   \"c\": {\"d\": []},\n"
                  "   \"e\": []\n"
                  " }");
    expect_layout("{}", 0, "{}");
}

static void out_of_memory_leaves_the_buffer_as_it_was(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    peri_alloc_fail_from(1);
    assert_int_equal(peri_json_layout(&out, PERI_STR("[1]"), 0, 1), PERI_E_MEMORY);
    peri_alloc_fail_from(0);
    assert_int_equal(out.len, 0);
    peri_buffer_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_json_is_valid),
        cmocka_unit_test(what_is_nested_too_deep_is_not_laid_out),
        cmocka_unit_test(what_fits_is_on_one_line),
        cmocka_unit_test(what_does_not_fit_is_a_member_a_line),
        cmocka_unit_test(out_of_memory_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
