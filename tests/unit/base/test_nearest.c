// How far two names are apart.
#include "base/nearest.h"

#include "support/cmocka.h"

static void equal_names_are_no_step_apart_whatever_their_case(void **state) {
    (void)state;
    assert_int_equal(peri_distance(PERI_STR(""), PERI_STR("")), 0);
    assert_int_equal(peri_distance(PERI_STR("message"), PERI_STR("Message")), 0);
}

static void a_letter_added_removed_or_changed_is_a_step(void **state) {
    (void)state;
    assert_int_equal(peri_distance(PERI_STR("mesage"), PERI_STR("message")), 1);
    assert_int_equal(peri_distance(PERI_STR("messsage"), PERI_STR("message")), 1);
    assert_int_equal(peri_distance(PERI_STR("massage"), PERI_STR("message")), 1);
    assert_int_equal(peri_distance(PERI_STR("kitten"), PERI_STR("sitting")), 3);
    assert_int_equal(peri_distance(PERI_STR(""), PERI_STR("abc")), 3);
}

static void a_text_of_64_bytes_is_compared_and_a_longer_one_is_far_from_all(void **state) {
    (void)state;
    char text[65];
    memset(text, 'a', sizeof text);
    assert_int_equal(peri_distance(peri_str(text, 64), peri_str(text, 63)), 1);
    assert_true(peri_distance(peri_str(text, 65), peri_str(text, 65)) == SIZE_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_names_are_no_step_apart_whatever_their_case),
        cmocka_unit_test(a_letter_added_removed_or_changed_is_a_step),
        cmocka_unit_test(a_text_of_64_bytes_is_compared_and_a_longer_one_is_far_from_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
