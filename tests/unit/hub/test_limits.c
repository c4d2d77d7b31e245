#include "hub/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/alloc.h"

static struct peri_limits limits;
static struct peri_buffer error;

static int set_up(void **state) {
    (void)state;
    peri_limits_init(&limits);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    peri_buffer_deinit(&error);
    return peri_alloc_live() == 0 ? 0 : -1;
}

static int set(const char *name, const char *value) {
    peri_buffer_clear(&error, 4096);
    return peri_limits_set(&limits, peri_str_of(name), peri_str_of(value), &error);
}

static int tighten(const char *name, const char *value) {
    peri_buffer_clear(&error, 4096);
    return peri_limits_tighten(&limits, peri_str_of(name), peri_str_of(value), &error);
}

static void expect_error(const char *wanted) {
    char got[512];
    snprintf(got, sizeof got, "%.*s", (int)error.len, error.ptr ? (char *)error.ptr : "");
    assert_string_equal(got, wanted);
}

static void test_the_defaults_are_those_of_the_contract(void **state) {
    (void)state;
    assert_int_equal(limits.head_bytes, 8 * 1024);
    assert_int_equal(limits.head_fields, 100);
    assert_int_equal(limits.head_ms, 10 * 1000);
    assert_int_equal(limits.body_bytes, 1024 * 1024);
    assert_int_equal(limits.body_ms, 30 * 1000);
    assert_int_equal(limits.handler_wait_ms, 60 * 1000);
    assert_int_equal(limits.response_bytes, 8 * 1024 * 1024);
    assert_int_equal(limits.keepalive_ms, 15 * 1000);
    assert_int_equal(limits.keepalive_requests, 1000);
    assert_int_equal(limits.stall_ms, 30 * 1000);
    assert_int_equal(limits.message_bytes, 1024 * 1024);
    assert_int_equal(limits.fragments, 1024);
    assert_int_equal(limits.ping_ms, 25 * 1000);
    assert_int_equal(limits.pong_ms, 10 * 1000);
    assert_int_equal(limits.outbox_soft, 64 * 1024);
    assert_int_equal(limits.outbox_hard, 1024 * 1024);
    assert_int_equal(limits.outbox_total, 256 * 1024 * 1024);
    assert_int_equal(limits.close_ms, 2 * 1000);
    assert_int_equal(limits.connections, 0);
    assert_int_equal(limits.conn_rooms, 128);
    assert_int_equal(limits.room_name_bytes, 255);
    assert_int_equal(limits.rooms, 100000);
    assert_int_equal(limits.timers, 10000);
    assert_int_equal(limits.limiter_keys, 100000);
    assert_string_equal(limits.origins, "same");
    assert_int_equal(limits.script_memory, 64 * 1024 * 1024);
    assert_int_equal(limits.drain_ms, 10 * 1000);
    assert_int_equal(limits.drain_stop_ms, 30 * 1000);
    assert_int_equal(limits.deflate, 1);
    assert_int_equal(limits.deflate_min, 1024);
    assert_int_equal(limits.deflate_window, 12);
    assert_int_equal(limits.deflate_takeover, 0);
    assert_int_equal(limits.deflate_memory, 64 * 1024 * 1024);
}

static void test_every_row_takes_its_own_default_and_both_bounds(void **state) {
    (void)state;
    struct peri_limits defaults;
    peri_limits_init(&defaults);
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        const struct peri_limit_spec *spec = &peri_limit_specs[i];
        char value[64];
        assert_int_equal(set(spec->name, spec->initial), PERI_OK);
        assert_true(spec->what && spec->what[0]);
        if (spec->kind == PERI_LIMIT_TEXT || spec->kind == PERI_LIMIT_SWITCH) {
            continue;
        }
        const uint64_t *at = (const uint64_t *)(const void *)((const char *)&limits + spec->offset);
        uint64_t per = spec->kind == PERI_LIMIT_SECONDS ? 1000 : 1;
        uint64_t bounds[] = {spec->min, spec->max};
        for (size_t b = 0; b < 2; b++) {
            snprintf(value, sizeof value, "%llu.%03llu", (unsigned long long)(bounds[b] / per),
                     (unsigned long long)(bounds[b] % per));
            assert_int_equal(set(spec->name, value), PERI_OK);
            assert_true(*at == bounds[b]);
        }
        snprintf(value, sizeof value, "%llu", (unsigned long long)spec->max / per + 1);
        assert_int_equal(set(spec->name, value), PERI_E_INVALID);
        assert_true(*at == spec->max);
        if (spec->min > 0) {
            assert_int_equal(set(spec->name, "0"), PERI_E_INVALID);
        }
        assert_int_equal(set(spec->name, spec->initial), PERI_OK);
    }
    assert_memory_equal(&limits, &defaults, sizeof limits);
}

static void expect_printed(const char *name, const char *value, const char *wanted) {
    struct peri_buffer out = {0};
    assert_int_equal(set(name, value), PERI_OK);
    assert_int_equal(peri_limits_print(&limits, peri_limit_find(peri_str_of(name)), &out), PERI_OK);
    assert_true(peri_str_equal(peri_buffer_str(&out), peri_str_of(wanted)));
    peri_buffer_deinit(&out);
}

static void test_every_default_is_printed_as_it_is_written(void **state) {
    (void)state;
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        expect_printed(peri_limit_specs[i].name, peri_limit_specs[i].initial,
                       peri_limit_specs[i].initial);
    }
}

static void test_values_are_printed_in_the_largest_unit_that_holds_them_exactly(void **state) {
    (void)state;
    expect_printed("message_bytes", "65536", "64 KiB");
    expect_printed("message_bytes", "1023 KiB", "1023 KiB");
    expect_printed("message_bytes", "1025", "1025");
    expect_printed("outbox_total", "2048 MiB", "2 GiB");
    expect_printed("body_bytes", "0", "0");
    expect_printed("head_s", "2.50", "2.5");
    expect_printed("head_s", "0.001", "0.001");
    expect_printed("head_s", "100", "100");
    expect_printed("origins", "a b", "a b");
    expect_printed("deflate", "false", "off");
    expect_printed("deflate", "yes", "on");
}

static void test_a_script_may_set_these_and_no_others(void **state) {
    (void)state;
    char names[512] = "";
    size_t n = 0;
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        const struct peri_limit_spec *spec = &peri_limit_specs[i];
        if (spec->for_scripts) {
            n += (size_t)snprintf(names + n, sizeof names - n, "%s ", spec->name);
            assert_int_equal(tighten(spec->name, spec->initial), PERI_OK);
        } else {
            assert_int_equal(tighten(spec->name, spec->initial), PERI_E_INVALID);
        }
    }
    assert_string_equal(names, "body_bytes handler_wait_s response_bytes message_bytes fragments "
                               "outbox_soft outbox_hard conn_rooms room_name_bytes rooms timers "
                               "limiter_keys handler_warn_s handler_stop_s script_memory ");
    assert_int_equal(tighten("ping_s", "1"), PERI_E_INVALID);
    expect_error("limit ping_s is the host's: a script can't set it");
}

static void test_bytes_take_units(void **state) {
    (void)state;
    assert_int_equal(set("message_bytes", "2KiB"), PERI_OK);
    assert_int_equal(limits.message_bytes, 2048);
    assert_int_equal(set("message_bytes", " 1.5 MiB "), PERI_OK);
    assert_int_equal(limits.message_bytes, 1536 * 1024);
    assert_int_equal(set("outbox_total", "2GiB"), PERI_OK);
    assert_true(limits.outbox_total == UINT64_C(2) << 30);
    assert_int_equal(set("message_bytes", "77"), PERI_OK);
    assert_int_equal(limits.message_bytes, 77);
    assert_int_equal(set("message_bytes", "78.0"), PERI_OK);
    assert_int_equal(limits.message_bytes, 78);
}

static void test_seconds_take_a_fraction(void **state) {
    (void)state;
    assert_int_equal(set("ping_s", "0.25"), PERI_OK);
    assert_int_equal(limits.ping_ms, 250);
    assert_int_equal(set("ping_s", "3"), PERI_OK);
    assert_int_equal(limits.ping_ms, 3000);
    assert_int_equal(set("ping_s", "0.001"), PERI_OK);
    assert_int_equal(limits.ping_ms, 1);
    assert_int_equal(set("ping_s", "0.00099"), PERI_E_INVALID);
    expect_error("limit ping_s: 0.00099 is below the least, 0.001 s");
}

static void test_what_is_no_number_is_refused_and_changes_nothing(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "a",
                                      "-1",
                                      "+1",
                                      "1e3",
                                      "0x10",
                                      "1 KB",
                                      "1 kib",
                                      ".5",
                                      "1.",
                                      "1.5",
                                      "1 2",
                                      "KiB",
                                      "inf",
                                      "1..2",
                                      "18446744073709551616",
                                      "18446744073709551615 GiB"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(set("message_bytes", bad[i]), PERI_E_INVALID);
        assert_int_equal(limits.message_bytes, 1024 * 1024);
    }
    assert_int_equal(set("message_bytes", "1 KB"), PERI_E_INVALID);
    expect_error("limit message_bytes: \"1 KB\" is not a number of bytes, or one with KiB, MiB or "
                 "GiB");
    assert_int_equal(set("fragments", "1 KiB"), PERI_E_INVALID);
    expect_error("limit fragments: \"1 KiB\" is not a whole number");
    assert_int_equal(set("ping_s", "1 KiB"), PERI_E_INVALID);
    expect_error("limit ping_s: \"1 KiB\" is not a number of seconds");
}

static void test_a_switch_takes_the_words_that_people_use(void **state) {
    (void)state;
    static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "0", " 1 "};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        assert_int_equal(set("deflate", words[i]), PERI_OK);
        assert_int_equal(limits.deflate, i % 2);
    }
    static const char *const bad[] = {"", "On", "2", "01", "1.0", "off on", "yess"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(set("deflate", bad[i]), PERI_E_INVALID);
        assert_int_equal(limits.deflate, 1);
    }
    assert_int_equal(set("deflate_takeover", "maybe"), PERI_E_INVALID);
    expect_error("limit deflate_takeover: \"maybe\" is not on or off");
}

static void test_out_of_bounds_names_the_bound(void **state) {
    (void)state;
    assert_int_equal(set("fragments", "0"), PERI_E_INVALID);
    expect_error("limit fragments: 0 is below the least, 1");
    assert_int_equal(set("message_bytes", "2 GiB"), PERI_E_INVALID);
    expect_error("limit message_bytes: 2 GiB is above the most, 1073741824 bytes");
}

static void test_an_unknown_name_suggests_the_nearest(void **state) {
    (void)state;
    assert_int_equal(set("mesage_byte", "1"), PERI_E_INVALID);
    expect_error("unknown limit \"mesage_byte\": did you mean message_bytes?");
    assert_int_equal(set("pings", "1"), PERI_E_INVALID);
    expect_error("unknown limit \"pings\": did you mean ping_s?");
    assert_int_equal(set("head_ms", "1"), PERI_E_INVALID);
    expect_error("unknown limit \"head_ms\": did you mean head_s?");
    assert_int_equal(set("zzzzzzzzzzzzzzzz", "1"), PERI_E_INVALID);
    expect_error("unknown limit \"zzzzzzzzzzzzzzzz\"");
    assert_int_equal(tighten("timer", "1"), PERI_E_INVALID);
    expect_error("unknown limit \"timer\": did you mean timers?");
    assert_int_equal(set("", "1"), PERI_E_INVALID);
}

static void test_tightening_goes_down_only(void **state) {
    (void)state;
    assert_int_equal(tighten("conn_rooms", "12"), PERI_OK);
    assert_int_equal(limits.conn_rooms, 12);
    assert_int_equal(tighten("conn_rooms", "12"), PERI_OK);
    assert_int_equal(tighten("conn_rooms", "13"), PERI_E_INVALID);
    expect_error("limit conn_rooms: 13 is above the host's, 12");
    assert_int_equal(limits.conn_rooms, 12);
    assert_int_equal(tighten("handler_wait_s", "61"), PERI_E_INVALID);
    expect_error("limit handler_wait_s: 61 is above the host's, 60");
}

static void test_text_fits_or_is_refused(void **state) {
    (void)state;
    char text[600];
    memset(text, 'x', sizeof text);
    assert_int_equal(peri_limits_set(&limits, PERI_STR("origins"), peri_str(text, 511), &error),
                     PERI_OK);
    assert_int_equal(strlen(limits.origins), 511);
    assert_int_equal(peri_limits_set(&limits, PERI_STR("origins"), peri_str(text, 512), &error),
                     PERI_E_INVALID);
    assert_int_equal(peri_limits_set(&limits, PERI_STR("origins"), peri_str("a\0b", 3), &error),
                     PERI_E_INVALID);
    assert_int_equal(set("origins", "https://a.example, same"), PERI_OK);
    assert_string_equal(limits.origins, "https://a.example, same");
}

static void test_the_hard_limit_is_never_below_one_largest_message(void **state) {
    (void)state;
    assert_int_equal(peri_limits_outbox_hard(&limits), 1024 * 1024 + 14);
    assert_int_equal(set("message_bytes", "1KiB"), PERI_OK);
    assert_int_equal(peri_limits_outbox_hard(&limits), 1024 * 1024);
    assert_int_equal(set("outbox_hard", "1"), PERI_OK);
    assert_int_equal(peri_limits_outbox_hard(&limits), 1024 + 14);
}

static void test_an_error_that_cannot_be_told_is_still_one(void **state) {
    (void)state;
    peri_alloc_fail_from(1);
    int rc = peri_limits_set(&limits, PERI_STR("nothing"), PERI_STR("1"), &error);
    peri_alloc_fail_from(0);
    assert_int_equal(rc, PERI_E_MEMORY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_the_defaults_are_those_of_the_contract),
        TEST(test_every_row_takes_its_own_default_and_both_bounds),
        TEST(test_every_default_is_printed_as_it_is_written),
        TEST(test_values_are_printed_in_the_largest_unit_that_holds_them_exactly),
        TEST(test_a_script_may_set_these_and_no_others),
        TEST(test_bytes_take_units),
        TEST(test_seconds_take_a_fraction),
        TEST(test_what_is_no_number_is_refused_and_changes_nothing),
        TEST(test_a_switch_takes_the_words_that_people_use),
        TEST(test_out_of_bounds_names_the_bound),
        TEST(test_an_unknown_name_suggests_the_nearest),
        TEST(test_tightening_goes_down_only),
        TEST(test_text_fits_or_is_refused),
        TEST(test_the_hard_limit_is_never_below_one_largest_message),
        TEST(test_an_error_that_cannot_be_told_is_still_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
