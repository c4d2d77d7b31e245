// Lines that repeat, in a time that the test makes.
#include "base/log_repeats.h"

#include <stdio.h>

#include "support/cmocka.h"

static struct peri_log_repeats repeats;

static int set_up(void **state) {
    (void)state;
    repeats = (struct peri_log_repeats){0};
    return 0;
}

static bool pass(struct peri_log_event event, uint64_t now_ms) {
    return peri_log_repeats_pass(&repeats, &event, PERI_LOG_HAPPENED, now_ms);
}

/// How many of n lines pass.
static int count_passed(int n, struct peri_log_event event, uint64_t now_ms) {
    int passed = 0;
    for (int i = 0; i < n; i++) {
        passed += pass(event, now_ms);
    }
    return passed;
}

static const struct peri_log_event boom = {.level = PERI_LOG_ERROR, .message = PERI_STR("boom")};

static void what_is_over_the_bound_is_held_until_the_second_is_over(void **state) {
    (void)state;
    struct peri_log_event held = {0};
    assert_int_equal(count_passed(PERI_LOG_REPEATS, boom, 5000), PERI_LOG_REPEATS); // at the bound
    assert_int_equal(repeats.holding, 0);
    assert_false(peri_log_repeats_due(&repeats, UINT64_MAX, &held));
    assert_false(pass(boom, 5001)); // one above
    assert_int_equal(count_passed(1203, boom, 5999), 0);
    assert_false(peri_log_repeats_due(&repeats, 5999, &held));
    assert_true(peri_log_repeats_due(&repeats, 6000, &held));
    assert_int_equal(held.more, 1204);
    assert_int_equal(held.level, PERI_LOG_ERROR);
    assert_str_equal(held.message, "boom");
    assert_null(held.fields[0].key);
    assert_false(peri_log_repeats_due(&repeats, UINT64_MAX, &held)); // said once
    assert_int_equal(repeats.holding, 0);
    assert_int_equal(count_passed(20, boom, 6000), PERI_LOG_REPEATS); // a new second
}

static void lines_of_one_place_are_repeats_whatever_they_say(void **state) {
    (void)state;
    struct peri_log_event held = {0};
    int passed = 0;
    for (int i = 0; i < 1000; i++) {
        char text[32], place[32];
        (void)snprintf(text, sizeof text, "a.lua:%d: bad %d", 1 + i % 2, i); // what a peer has sent
        (void)snprintf(place, sizeof place, "a.lua:%d:", 1 + i % 2);
        const struct peri_log_field fields[] = {{peri_log_place, peri_str_of(place)}, {0}};
        passed += pass((struct peri_log_event){.level = PERI_LOG_ERROR,
                                               .message = peri_str_of(text),
                                               .fields = fields},
                       5000);
    }
    assert_int_equal(passed, 2 * PERI_LOG_REPEATS);
    for (int i = 0; i < 2; i++) {
        assert_true(peri_log_repeats_due(&repeats, 6000, &held));
        assert_int_equal(held.more, 500 - PERI_LOG_REPEATS);
        assert_null(held.fields[0].key);
    }
}

static void a_field_that_is_only_called_place_is_none(void **state) {
    (void)state;
    char key[] = "place";
    const struct peri_log_field fields[] = {{key, PERI_STR("here")}, {0}};
    for (int i = 0; i < 100; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "bad %d", i);
        assert_true(
            pass((struct peri_log_event){.message = peri_str_of(text), .fields = fields}, 0));
    }
}

static void a_second_that_held_nothing_begins_anew(void **state) {
    (void)state;
    assert_int_equal(count_passed(PERI_LOG_REPEATS, boom, 0), PERI_LOG_REPEATS);
    assert_int_equal(count_passed(PERI_LOG_REPEATS, boom, 1000), PERI_LOG_REPEATS);
    assert_false(pass(boom, 1999));
}

static void at_the_end_nothing_waits_for_its_second(void **state) {
    (void)state;
    struct peri_log_event held = {0};
    (void)count_passed(PERI_LOG_REPEATS + 1, boom, 5000);
    assert_true(peri_log_repeats_due(&repeats, UINT64_MAX, &held));
    assert_int_equal(held.more, 1);
}

static void other_lines_are_not_held_back_with_it(void **state) {
    (void)state;
    const struct peri_log_field one[] = {{"script", PERI_STR("a")}, {0}};
    const struct peri_log_field other[] = {{"script", PERI_STR("b")}, {0}};
    const struct peri_log_event others[] = {
        {.level = PERI_LOG_WARN, .message = PERI_STR("boom")},
        {.level = PERI_LOG_ERROR, .message = PERI_STR("bang")},
        {.level = PERI_LOG_ERROR, .message = PERI_STR("boom"), .fields = one},
        {.level = PERI_LOG_ERROR, .message = PERI_STR("boom"), .fields = other},
    };
    (void)count_passed(PERI_LOG_REPEATS + 1, boom, 0);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(count_passed(PERI_LOG_REPEATS, others[i], 0), PERI_LOG_REPEATS);
    }
    assert_int_equal(repeats.holding, 1);
}

static void what_differs_from_peer_to_peer_does_not_count(void **state) {
    (void)state;
    struct peri_log_event held = {0};
    char conn[20];
    int passed = 0;
    for (int i = 0; i < 100; i++) {
        (void)snprintf(conn, sizeof conn, "%d", i);
        const struct peri_log_field fields[] = {
            {"script", PERI_STR("chat")},   {"handler", PERI_STR("open")},
            {"conn", peri_str_of(conn)},    {"remote", peri_str_of(conn)},
            {"path", peri_str_of(conn)},    {"why", PERI_STR("no")},
            {"traceback", PERI_STR("...")}, {0}};
        passed += pass((struct peri_log_event){.message = PERI_STR("m"), .fields = fields}, 0);
    }
    assert_int_equal(passed, PERI_LOG_REPEATS);
    assert_true(peri_log_repeats_due(&repeats, 1000, &held));
    static const char *const keys[] = {"script", "handler", "why"};
    static const char *const values[] = {"chat", "open", "no"};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(held.fields[i].key, keys[i]);
        assert_int_equal(held.fields[i].value.len, strlen(values[i]));
        assert_memory_equal(held.fields[i].value.ptr, values[i], strlen(values[i]));
    }
    assert_null(held.fields[3].key);
}

static void what_a_script_says_counts_with_all_its_fields_in_any_order(void **state) {
    (void)state;
    const struct peri_log_field ab[] = {{"a", PERI_STR("1")}, {"b", PERI_STR("2")}, {0}};
    const struct peri_log_field ba[] = {{"b", PERI_STR("2")}, {"a", PERI_STR("1")}, {0}};
    const struct peri_log_field swapped[] = {{"a", PERI_STR("2")}, {"b", PERI_STR("1")}, {0}};
    struct peri_log_event event = {.message = PERI_STR("m"), .fields = ab};
    for (int i = 0; i < PERI_LOG_SAID; i++) {
        assert_true(peri_log_repeats_pass(&repeats, &event, PERI_LOG_SAID_SO, 0));
    }
    event.fields = ba;
    assert_false(peri_log_repeats_pass(&repeats, &event, PERI_LOG_SAID_SO, 0));
    event.fields = swapped;
    assert_true(peri_log_repeats_pass(&repeats, &event, PERI_LOG_SAID_SO, 0));
}

static void long_texts_are_kept_in_part_and_end_with_a_whole_character(void **state) {
    (void)state;
    static char text[100000];
    struct peri_log_event held = {0};
    for (size_t i = 0; i + 1 < sizeof text; i += 2) {
        memcpy(text + i, "\xc3\xa9", 2);
    }
    struct peri_log_field fields[17] = {{0}};
    for (size_t i = 0; i < 16; i++) {
        fields[i] = (struct peri_log_field){"script", peri_str(text + (i & 1), 50000)};
    }
    const struct peri_log_event event = {.message = peri_str(text, sizeof text), .fields = fields};
    assert_int_equal(count_passed(PERI_LOG_REPEATS + 1, event, 0), PERI_LOG_REPEATS);
    assert_true(peri_log_repeats_due(&repeats, 1000, &held));
    assert_in_range(held.message.len, 100, 200);
    assert_memory_equal(held.message.ptr + held.message.len - 5, "\xc3\xa9...", 5);
    assert_non_null(held.fields[0].key);
}

static void bytes_that_are_no_utf8_are_kept_too(void **state) {
    (void)state;
    char text[300];
    struct peri_log_event held = {0};
    memset(text, 0x80, sizeof text);
    const struct peri_log_event event = {.message = peri_str(text, sizeof text)};
    (void)count_passed(PERI_LOG_REPEATS + 1, event, 0);
    assert_true(peri_log_repeats_due(&repeats, 1000, &held));
    assert_in_range(held.message.len, 100, 200);
}

static void with_more_lines_than_places_none_is_lost(void **state) {
    (void)state;
    enum { MANY = 3 * PERI_LOG_REPEATS_KNOWN, TIMES = 2 * PERI_LOG_REPEATS };
    struct peri_log_event held = {0};
    char name[20];
    uint64_t passed = 0, counted = 0;
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "line %d", i);
        const struct peri_log_event event = {.message = peri_str_of(name)};
        passed += (uint64_t)count_passed(TIMES, event, 0);
    }
    assert_int_equal(repeats.holding, PERI_LOG_REPEATS_KNOWN);
    while (peri_log_repeats_due(&repeats, 1000, &held)) {
        counted += held.more;
    }
    assert_int_equal(passed + counted, MANY * TIMES);
    assert_int_equal(counted, PERI_LOG_REPEATS_KNOWN * PERI_LOG_REPEATS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_over_the_bound_is_held_until_the_second_is_over, set_up),
        cmocka_unit_test_setup(lines_of_one_place_are_repeats_whatever_they_say, set_up),
        cmocka_unit_test_setup(a_field_that_is_only_called_place_is_none, set_up),
        cmocka_unit_test_setup(a_second_that_held_nothing_begins_anew, set_up),
        cmocka_unit_test_setup(at_the_end_nothing_waits_for_its_second, set_up),
        cmocka_unit_test_setup(other_lines_are_not_held_back_with_it, set_up),
        cmocka_unit_test_setup(what_differs_from_peer_to_peer_does_not_count, set_up),
        cmocka_unit_test_setup(what_a_script_says_counts_with_all_its_fields_in_any_order, set_up),
        cmocka_unit_test_setup(long_texts_are_kept_in_part_and_end_with_a_whole_character, set_up),
        cmocka_unit_test_setup(bytes_that_are_no_utf8_are_kept_too, set_up),
        cmocka_unit_test_setup(with_more_lines_than_places_none_is_lost, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
