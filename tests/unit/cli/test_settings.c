// Settings: their places, and what becomes of values that are wrong or find no memory.
#include "cli/settings.h"

#include <stdio.h>

#include "base/alloc.h"
#include "cli/sources.h"
#include "support/cmocka.h"

static struct peri_settings settings;
static struct peri_buffer error;

static int set_up(void **state) {
    (void)state;
    return peri_settings_init(&settings);
}

static int tear_down(void **state) {
    (void)state;
    peri_settings_deinit(&settings);
    peri_buffer_deinit(&error);
    return peri_alloc_live() == 0 ? 0 : -1;
}

static int set(enum peri_setting_id id, const char *text, enum peri_place place) {
    static const char *const where[] = {"default", "a.lua:1", "PERIGEE_X", "b.lua:2", "--x"};
    struct peri_str item = peri_str_of(text);
    peri_buffer_clear(&error, 4096);
    return peri_settings_set(&settings, id, &item, 1, place, where[place], &error);
}

static int set_limit(const char *value, enum peri_place place, const char *where) {
    peri_buffer_clear(&error, 4096);
    return peri_settings_set_limit(&settings, PERI_STR("rooms"), peri_str_of(value), place, where,
                                   &error);
}

static void every_default_is_a_value_that_may_be_set(void **state) {
    (void)state;
    for (int i = 0; i < PERI_SETTINGS; i++) {
        enum peri_setting_id id = (enum peri_setting_id)i;
        const struct peri_setting *setting = &peri_settings_table[id];
        assert_true(setting->what[0] && setting->must_be[0]);
        assert_int_equal(setting->form[0] == '\0', setting->kind == PERI_SETTING_SWITCH);
        assert_int_equal(setting->initial[0] != '\0', settings.values[id].count);
        if (setting->initial[0]) {
            assert_string_equal(peri_settings_text(&settings, id), setting->initial);
            assert_int_equal(set(id, setting->initial, PERI_FROM_FLAG), PERI_OK);
        }
    }
}

static void a_weaker_place_never_replaces_a_stronger_one_whatever_came_first(void **state) {
    (void)state;
    assert_int_equal(set(PERI_SETTING_PORT, "3", PERI_FROM_FILE), PERI_OK);
    assert_int_equal(set(PERI_SETTING_PORT, "2", PERI_FROM_ENVIRONMENT), PERI_OK);
    assert_string_equal(peri_settings_text(&settings, PERI_SETTING_PORT), "3");
    assert_int_equal(set(PERI_SETTING_PORT, "4", PERI_FROM_FLAG), PERI_OK);
    assert_string_equal(peri_settings_text(&settings, PERI_SETTING_PORT), "4");
    assert_int_equal(set(PERI_SETTING_PORT, "5", PERI_FROM_FLAG), PERI_OK);
    assert_string_equal(peri_settings_text(&settings, PERI_SETTING_PORT), "5");

    assert_int_equal(set_limit("3", PERI_FROM_ENVIRONMENT, "PERIGEE_ROOMS"), PERI_OK);
    assert_int_equal(set_limit("2", PERI_FROM_FOLDER, "a.lua"), PERI_OK);
    assert_int_equal(settings.limits.rooms, 3);
    assert_int_equal(set_limit("4", PERI_FROM_FILE, "b.lua"), PERI_OK);
    assert_int_equal(settings.limits.rooms, 4);
}

static void expect_list(const char *wanted) {
    char got[256] = "";
    const char *item = NULL;
    while ((item = peri_settings_next(&settings, PERI_SETTING_LISTEN, item))) {
        (void)snprintf(got + strlen(got), sizeof got - strlen(got), "[%s]", item);
    }
    assert_string_equal(got, wanted);
}

static void lists_of_flags_add_up_and_those_of_other_places_stand_alone(void **state) {
    (void)state;
    const struct peri_str two[] = {PERI_STR("a:1"), PERI_STR("unix:/b c")};
    expect_list("");
    assert_int_equal(
        peri_settings_set(&settings, PERI_SETTING_LISTEN, two, 2, PERI_FROM_FILE, "f", &error),
        PERI_OK);
    expect_list("[a:1][unix:/b c]");
    assert_int_equal(set(PERI_SETTING_LISTEN, "c:3", PERI_FROM_FILE), PERI_OK);
    expect_list("[c:3]");
    assert_int_equal(set(PERI_SETTING_LISTEN, "d:4", PERI_FROM_FLAG), PERI_OK);
    assert_int_equal(set(PERI_SETTING_LISTEN, "e:5", PERI_FROM_FLAG), PERI_OK);
    expect_list("[d:4][e:5]");
}

static void an_empty_list_wins_over_a_weaker_one(void **state) {
    (void)state;
    assert_int_equal(set(PERI_SETTING_LISTEN, "a:1", PERI_FROM_ENVIRONMENT), PERI_OK);
    assert_false(peri_settings_has_host(&settings));
    assert_int_equal(
        peri_settings_set(&settings, PERI_SETTING_LISTEN, NULL, 0, PERI_FROM_FILE, "f", &error),
        PERI_OK);
    expect_list("");
    assert_true(peri_settings_has_host(&settings));
}

static void a_switch_is_on_or_off_in_many_words(void **state) {
    (void)state;
    static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};
    assert_true(peri_settings_is_on(&settings, PERI_SETTING_WATCH));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        assert_int_equal(set(PERI_SETTING_WATCH, words[i], PERI_FROM_FLAG), PERI_OK);
        assert_int_equal(peri_settings_is_on(&settings, PERI_SETTING_WATCH), i % 2);
    }
    assert_int_equal(set(PERI_SETTING_WATCH, "sometimes", PERI_FROM_FILE), PERI_E_INVALID);
    assert_str_equal(peri_buffer_str(&error),
                     "b.lua:2: watch must be on or off, not \"sometimes\"");
}

static void host_and_port_count_beside_listen_if_one_of_them_is_set(void **state) {
    (void)state;
    assert_true(peri_settings_has_host(&settings));
    assert_int_equal(set(PERI_SETTING_LISTEN, "a:1", PERI_FROM_FLAG), PERI_OK);
    assert_false(peri_settings_has_host(&settings));
    assert_int_equal(set(PERI_SETTING_HOST, "h", PERI_FROM_ENVIRONMENT), PERI_OK);
    assert_true(peri_settings_has_host(&settings));
}

static void what_is_wrong_changes_nothing_and_names_its_place(void **state) {
    (void)state;
    assert_int_equal(set(PERI_SETTING_PORT, "65536", PERI_FROM_FLAG), PERI_E_INVALID);
    assert_str_equal(peri_buffer_str(&error),
                     "--x must be a number from 0 to 65535, not \"65536\"");
    assert_int_equal(set(PERI_SETTING_PORT, "", PERI_FROM_FILE), PERI_E_INVALID);
    assert_str_equal(peri_buffer_str(&error),
                     "b.lua:2: port must be a number from 0 to 65535, not \"\"");
    assert_string_equal(peri_settings_text(&settings, PERI_SETTING_PORT), "8000");
    assert_int_equal(set_limit("-1", PERI_FROM_FLAG, "--limit"), PERI_E_INVALID);
    assert_str_equal(peri_buffer_str(&error), "--limit: limit rooms: \"-1\" is not a whole number");
    assert_int_equal(settings.limits.rooms, 100000);
}

static void variables_are_found_among_others(void **state) {
    (void)state;
    char *variables[] = {"HOME=/",
                         "PERIGEE=x",
                         "PERIGEE_LISTEN= a:1  b:2 ",
                         "PERIGEE_ROOMS=7",
                         "PERIGEE_NO_EQUALS",
                         "PERIGEE_PORT=",
                         NULL};
    assert_int_equal(peri_settings_read_environment(&settings, variables, &error), PERI_OK);
    expect_list("[a:1][b:2]");
    assert_int_equal(settings.limits.rooms, 7);
    assert_false(peri_settings_is_set(&settings, PERI_SETTING_PORT));
}

static void names_are_made_of_names(void **state) {
    (void)state;
    assert_string_equal(peri_setting_variable("log_level").text, "PERIGEE_LOG_LEVEL");
    assert_string_equal(peri_setting_flag("log_level").text, "--log-level");
}

/// @return what the first step that fails returns
static int take_all_steps(void) {
    char *variables[] = {"PERIGEE_LISTEN=a:1 b:2", "PERIGEE_ROOMS=7", NULL};
    struct peri_settings all;
    struct peri_str port = PERI_STR("1");
    int status = peri_settings_init(&all);
    if (status != PERI_OK) {
        return status;
    }
    status = peri_settings_set(&all, PERI_SETTING_PORT, &port, 1, PERI_FROM_FLAG, "--port", &error);
    if (status == PERI_OK) {
        status = peri_settings_read_environment(&all, variables, &error);
    }
    if (status == PERI_OK) {
        port = PERI_STR("x");
        status =
            peri_settings_set(&all, PERI_SETTING_PORT, &port, 1, PERI_FROM_FLAG, "--port", &error);
    }
    peri_settings_deinit(&all);
    return status;
}

static void without_memory_it_says_so_at_any_allocation(void **state) {
    (void)state;
    uint64_t nth = 0;
    int status;
    do {
        peri_buffer_deinit(&error);
        peri_alloc_fail_from(++nth);
        status = take_all_steps();
        peri_alloc_fail_from(0);
        assert_true(status == PERI_E_MEMORY || status == PERI_E_INVALID);
    } while (status == PERI_E_MEMORY);
    assert_true(nth > peri_limit_spec_count);
    assert_str_equal(peri_buffer_str(&error), "--port must be a number from 0 to 65535, not \"x\"");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_default_is_a_value_that_may_be_set),
        TEST(a_weaker_place_never_replaces_a_stronger_one_whatever_came_first),
        TEST(lists_of_flags_add_up_and_those_of_other_places_stand_alone),
        TEST(an_empty_list_wins_over_a_weaker_one),
        TEST(a_switch_is_on_or_off_in_many_words),
        TEST(host_and_port_count_beside_listen_if_one_of_them_is_set),
        TEST(what_is_wrong_changes_nothing_and_names_its_place),
        TEST(variables_are_found_among_others),
        TEST(names_are_made_of_names),
        TEST(without_memory_it_says_so_at_any_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
