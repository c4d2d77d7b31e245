// Percent-decoding of path segments and forms.
#include "proto/url.h"

#include <stdio.h>

#include "base/alloc.h"
#include "support/cmocka.h"

static void expect_segment(struct peri_str segment, struct peri_str expected) {
    struct peri_buffer out = {0};
    assert_int_equal(peri_buffer_append(&out, "/", 1), PERI_OK);
    assert_int_equal(peri_url_decode_segment(&out, segment), PERI_OK);
    assert_int_equal(out.len, 1 + expected.len);
    assert_memory_equal(out.ptr + 1, expected.len ? expected.ptr : "", expected.len);
    peri_buffer_deinit(&out);
}

static void a_segment_is_decoded(void **state) {
    (void)state;
    expect_segment(PERI_STR(""), PERI_STR(""));
    expect_segment(PERI_STR("a-b_c.d~"), PERI_STR("a-b_c.d~"));
    expect_segment(PERI_STR("a%20b%2bc+d"), PERI_STR("a b+c+d"));
    expect_segment(PERI_STR("%E2%82%ac"), PERI_STR("\xe2\x82\xac"));
    expect_segment(PERI_STR("%2e%2E"), PERI_STR(".."));
    expect_segment(PERI_STR("%252F"), PERI_STR("%2F")); // once
    expect_segment(PERI_STR("%01%7f"), PERI_STR("\x01\x7f"));
}

static void a_bad_segment_is_refused_and_leaves_the_buffer(void **state) {
    (void)state;
    static const struct peri_str bad[] = {
        {"%", 1},   {"a%", 2},     {"a%2", 3},           {"%zz", 3},     {"%2", 2},
        {"%-1", 3}, {"%2F", 3},    {"a%2fb", 5},         {"%00", 3},     {"a%00", 4},
        {"%ff", 3}, {"%C0%AF", 6}, {"%ED%A0%80", 9},     {"%E2%82", 6},  {"\xff", 1},
        {"a/b", 3}, {"a\0b", 3},   {"%F4%90%80%80", 12}, {"%e2%82x", 7}, {"% 20", 4},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct peri_buffer out = {0};
        assert_int_equal(peri_buffer_append(&out, "before", 6), PERI_OK);
        assert_int_equal(peri_url_decode_segment(&out, bad[i]), PERI_E_INVALID);
        assert_str_equal(peri_buffer_str(&out), "before");
        peri_buffer_deinit(&out);
    }
}

static void every_byte_escapes_in_both_cases(void **state) {
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char lower[4], upper[4];
        (void)snprintf(lower, sizeof lower, "%%%02x", byte);
        (void)snprintf(upper, sizeof upper, "%%%02X", byte);
        struct peri_buffer out = {0};
        assert_int_equal(peri_form_decode(&out, peri_str(lower, 3)), PERI_OK);
        assert_int_equal(peri_form_decode(&out, peri_str(upper, 3)), PERI_OK);
        assert_int_equal(out.len, 2);
        assert_int_equal(out.ptr[0], byte);
        assert_int_equal(out.ptr[1], byte);
        peri_buffer_deinit(&out);
    }
}

static void a_form_keeps_what_is_broken(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    assert_int_equal(peri_form_decode(&out, PERI_STR("")), PERI_OK);
    assert_int_equal(peri_form_decode(&out, PERI_STR("a+b%20c%2Bd|%zz%4|%ff%00|100%")), PERI_OK);
    assert_str_equal(peri_buffer_str(&out), "a b c+d|%zz%4|\xff\0|100%");
    peri_buffer_deinit(&out);
}

static void a_query_is_walked_in_order(void **state) {
    (void)state;
    const struct peri_str query = PERI_STR("&a=1&&b&c=&=d&e=f=g&a=2&");
    static const char *const expected[][2] = {{"a", "1"}, {"b", ""},    {"c", ""},
                                              {"", "d"},  {"e", "f=g"}, {"a", "2"}};
    size_t cursor = 0;
    struct peri_str name, value;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(peri_form_next(query, &cursor, &name, &value));
        assert_true(peri_str_equal(name, peri_str_of(expected[i][0])));
        assert_true(peri_str_equal(value, peri_str_of(expected[i][1])));
    }
    assert_false(peri_form_next(query, &cursor, &name, &value));
    assert_false(peri_form_next(query, &cursor, &name, &value));
    cursor = 0;
    assert_false(peri_form_next((struct peri_str){0}, &cursor, &name, &value));
}

static void out_of_memory_is_an_error(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    peri_alloc_fail_from(1);
    assert_int_equal(peri_url_decode_segment(&out, PERI_STR("a")), PERI_E_MEMORY);
    assert_int_equal(peri_form_decode(&out, PERI_STR("a")), PERI_E_MEMORY);
    peri_alloc_fail_from(0);
    assert_null(out.ptr);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_is_decoded),
        cmocka_unit_test(a_bad_segment_is_refused_and_leaves_the_buffer),
        cmocka_unit_test(every_byte_escapes_in_both_cases),
        cmocka_unit_test(a_form_keeps_what_is_broken),
        cmocka_unit_test(a_query_is_walked_in_order),
        cmocka_unit_test(out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
