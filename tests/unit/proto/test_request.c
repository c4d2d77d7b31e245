// Looking things up in a request, and the grammar that fields share.
#include "proto/text.h"
#include "support/request.h"

static void fields_are_found_by_their_lower_case_name(void **state) {
    (void)state;
    struct peri_request *request =
        read_request("GET / HTTP/1.1\r\nHOST: x\r\nA: 1\r\nB: 2\r\na: 3\r\n\r\n");
    struct peri_str value = {0};
    assert_true(peri_request_field(request, PERI_STR("host"), &value));
    assert_str_equal(value, "x");
    assert_true(peri_request_field(request, PERI_STR("a"), &value));
    assert_str_equal(value, "1");
    assert_false(peri_request_field(request, PERI_STR("A"), &value));
    assert_false(peri_request_field(request, PERI_STR("absent"), &value));
    assert_str_equal(value, "1"); // untouched
    assert_int_equal(peri_request_count(request, PERI_STR("a")), 2);
    assert_int_equal(peri_request_count(request, PERI_STR("absent")), 0);
    peri_request_unref(request);
}

static void tokens_are_found_in_any_list_of_a_field(void **state) {
    (void)state;
    struct peri_request *request =
        read_request("GET / HTTP/1.1\r\nHost: x\r\nL: one ,\tTwo,,three\r\nL:\r\nL: four\r\n\r\n");
    static const char *const listed[] = {"one", "two", "TWO", "three", "four"};
    static const char *const not_listed[] = {"", "on", "one ,", "hree", "five"};
    for (size_t i = 0; i < 5; i++) {
        assert_true(peri_request_lists(request, PERI_STR("l"), peri_str_of(listed[i])));
        assert_false(peri_request_lists(request, PERI_STR("l"), peri_str_of(not_listed[i])));
    }
    assert_false(peri_request_lists(request, PERI_STR("m"), PERI_STR("one")));
    peri_request_unref(request);
}

static void list_items_come_in_order_without_blanks_and_empty_ones(void **state) {
    (void)state;
    struct peri_str rest = PERI_STR(" a,, b c ,\t,d");
    struct peri_str item;
    assert_true(peri_text_next_item(&rest, &item));
    assert_str_equal(item, "a");
    assert_true(peri_text_next_item(&rest, &item));
    assert_str_equal(item, "b c");
    assert_true(peri_text_next_item(&rest, &item));
    assert_str_equal(item, "d");
    assert_false(peri_text_next_item(&rest, &item));
    assert_false(peri_text_next_item(&rest, &item));
}

static void token_characters_are_those_of_the_rfc(void **state) {
    (void)state;
    size_t count = 0;
    for (int c = 0; c < 256; c++) {
        char one = (char)c;
        count += peri_text_is_token(peri_str(&one, 1));
    }
    assert_int_equal(count, 26 + 26 + 10 + 15);
    assert_true(peri_text_is_token(PERI_STR("chat.v2+json")));
    assert_false(peri_text_is_token(PERI_STR("")));
    assert_false(peri_text_is_token(PERI_STR("a b")));
    assert_false(peri_text_is_token(PERI_STR("a/b")));
    assert_false(peri_text_is_token(PERI_STR("a\0")));
    assert_false(peri_text_is_token(PERI_STR("caf\xc3\xa9")));
}

static void only_ascii_letters_have_case(void **state) {
    (void)state;
    assert_true(peri_text_equal(PERI_STR("WebSocket-13"), PERI_STR("wEBsOCKET-13")));
    assert_false(peri_text_equal(PERI_STR("[a]"), PERI_STR("{a}")));
    assert_false(peri_text_equal(PERI_STR("@"), PERI_STR("`")));
    assert_false(peri_text_equal(PERI_STR("a"), PERI_STR("ab")));
    for (int c = 0; c < 256; c++) {
        char lower = peri_text_lower((char)c);
        assert_int_equal(lower, c >= 'A' && c <= 'Z' ? (char)(c + 32) : (char)c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_by_their_lower_case_name),
        cmocka_unit_test(tokens_are_found_in_any_list_of_a_field),
        cmocka_unit_test(list_items_come_in_order_without_blanks_and_empty_ones),
        cmocka_unit_test(token_characters_are_those_of_the_rfc),
        cmocka_unit_test(only_ascii_letters_have_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
