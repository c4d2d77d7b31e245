// Response heads.
#include "proto/response.h"

#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "support/cmocka.h"

static void a_head_is_written(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    assert_int_equal(peri_response_begin(&out, 404), PERI_OK);
    assert_int_equal(peri_response_field(&out, PERI_STR("Content-Length"), PERI_STR("0")), PERI_OK);
    assert_int_equal(peri_response_field(&out, PERI_STR("Empty"), PERI_STR("")), PERI_OK);
    assert_int_equal(peri_response_end(&out), PERI_OK);
    static const char first[] = "HTTP/1.1 404 Not Found\r\nDate: ";
    static const char last[] = " GMT\r\nContent-Length: 0\r\nEmpty: \r\n\r\n";
    assert_memory_equal(out.ptr, first, sizeof first - 1);
    assert_memory_equal(out.ptr + out.len - (sizeof last - 1), last, sizeof last - 1);
    assert_int_equal(out.len,
                     sizeof first - 1 + sizeof "Sun, 06 Nov 1994 08:49:37" - 1 + sizeof last - 1);
    peri_buffer_deinit(&out);
}

static void the_date_is_now_in_gmt(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    time_t before = time(NULL);
    assert_int_equal(peri_response_begin(&out, 200), PERI_OK);
    time_t after = time(NULL);
    assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
    struct tm utc = {0};
    const char *date = strstr((const char *)out.ptr, "Date: ");
    assert_non_null(date);
    assert_non_null(strptime(date, "Date: %a, %d %b %Y %H:%M:%S GMT", &utc));
    assert_in_range(timegm(&utc), before, after);
    peri_buffer_deinit(&out);
}

static void a_code_without_a_name_has_none(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    assert_string_equal(peri_status_text(299), "");
    assert_int_equal(peri_response_begin(&out, 299), PERI_OK);
    assert_memory_equal(out.ptr, "HTTP/1.1 299 \r\n", 15);
    peri_buffer_deinit(&out);
}

static void every_status_we_answer_has_a_name(void **state) {
    (void)state;
    static const int used[] = {101, 200, 304, 400, 403, 404, 405, 408,
                               413, 426, 431, 500, 501, 503, 504, 505};
    for (size_t i = 0; i < sizeof used / sizeof used[0]; i++) {
        assert_true(*peri_status_text(used[i]) != '\0');
    }
}

static void a_field_cannot_end_its_line(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    static const struct {
        struct peri_str name, value;
    } bad[] = {
        {{"A", 1}, {"b\r\nSet-Cookie: c", 16}},
        {{"A", 1}, {"b\n", 2}},
        {{"A", 1}, {"b\r", 2}},
        {{"A", 1}, {"b\0", 2}},
        {{"A\r\nB", 4}, {"c", 1}},
        {{"A:", 2}, {"b", 1}},
        {{"A B", 3}, {"c", 1}},
        {{"", 0}, {"c", 1}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(peri_field_is_valid(bad[i].name, bad[i].value));
        assert_int_equal(peri_response_field(&out, bad[i].name, bad[i].value), PERI_E_INVALID);
        assert_int_equal(out.len, 0);
    }
    assert_true(peri_field_is_valid(PERI_STR("X-Name"), PERI_STR("caf\xc3\xa9 \t=;\"")));
}

static void control_characters_were_sent_that_a_peer_refuses(void **state) {
    (void)state;
    for (char c = 0x01; c < 0x7f; c++) {
        const struct peri_str value = {&c, 1};
        assert_true(peri_field_is_valid(PERI_STR("A"), value) == (c >= ' ' || c == '\t'));
    }
    assert_false(peri_field_is_valid(PERI_STR("A"), PERI_STR("b\x7f")));
}

static void out_of_memory_leaves_the_buffer_as_it_was(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    peri_alloc_fail_from(1);
    assert_int_equal(peri_response_begin(&out, 200), PERI_E_MEMORY);
    assert_int_equal(peri_response_field(&out, PERI_STR("A"), PERI_STR("b")), PERI_E_MEMORY);
    assert_int_equal(peri_response_end(&out), PERI_E_MEMORY);
    peri_alloc_fail_from(0);
    assert_int_equal(out.len, 0);
    assert_null(out.ptr);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_written),
        cmocka_unit_test(the_date_is_now_in_gmt),
        cmocka_unit_test(a_code_without_a_name_has_none),
        cmocka_unit_test(every_status_we_answer_has_a_name),
        cmocka_unit_test(a_field_cannot_end_its_line),
        cmocka_unit_test(control_characters_were_sent_that_a_peer_refuses),
        cmocka_unit_test(out_of_memory_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
