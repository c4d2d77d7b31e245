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

static void the_nearest_is_the_first_of_those_that_are_most_like_it(void **state) {
    (void)state;
    struct peri_nearest nearest = peri_nearest(PERI_STR("prot"));
    peri_nearest_try(&nearest, "port");
    peri_nearest_try(&nearest, "part");
    peri_nearest_try(&nearest, "p");
    assert_string_equal(nearest.found, "port");
}

static void what_shares_less_than_half_of_its_letters_is_not_near(void **state) {
    (void)state;
    struct peri_nearest nearest = peri_nearest(PERI_STR("zzzz"));
    peri_nearest_try(&nearest, "port");
    peri_nearest_try(&nearest, "zz-port");
    assert_null(nearest.found);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_names_are_no_step_apart_whatever_their_case),
        cmocka_unit_test(a_letter_added_removed_or_changed_is_a_step),
        cmocka_unit_test(a_text_of_64_bytes_is_compared_and_a_longer_one_is_far_from_all),
        cmocka_unit_test(the_nearest_is_the_first_of_those_that_are_most_like_it),
        cmocka_unit_test(what_shares_less_than_half_of_its_letters_is_not_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
