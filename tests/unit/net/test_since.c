#include "net/since.h"

#include "hub/limits.h"
#include "support/cmocka.h"

static const uint64_t TURN = (uint64_t)UINT32_MAX + 1; ///< where 32 bits begin anew

static void something_is_due_once_its_limit_is_over(void **state) {
    (void)state;
    const struct peri_since since = peri_since(5000);
    assert_int_equal(peri_since_due(since, 300, 5000), 5300);
    assert_int_equal(peri_since_due(since, 300, 5299), 5300);
    assert_int_equal(peri_since_due(since, 300, 5300), 5300);
    assert_int_equal(peri_since_due(since, 300, 9000), 9000); // at once, as it is late
    assert_int_equal(peri_since_due(since, 0, 5000), 5000);
}

static void a_limit_holds_when_the_clock_leaves_32_bits_meanwhile(void **state) {
    (void)state;
    for (uint64_t turn = TURN; turn <= 100 * TURN; turn += TURN) {
        const struct peri_since since = peri_since(turn - 100);
        assert_int_equal(peri_since_due(since, 300, turn - 1), turn + 200);
        assert_int_equal(peri_since_due(since, 300, turn), turn + 200);
        assert_int_equal(peri_since_due(since, 300, turn + 199), turn + 200);
        assert_int_equal(peri_since_due(since, 300, turn + 201), turn + 201);
    }
}

static void every_limit_of_time_is_over_long_before_32_bits_are(void **state) {
    (void)state;
    size_t seen = 0;
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        if (peri_limit_specs[i].kind == PERI_LIMIT_SECONDS) {
            assert_true(peri_limit_specs[i].max <= TURN / 16); // a loop may be late, by days even
            seen++;
        }
    }
    assert_true(seen > 0);
}

static void a_ping_is_out_whenever_it_was_queued(void **state) {
    (void)state;
    assert_false(peri_ping_is_out((struct peri_ping){0}));
    for (uint64_t us = TURN - 2; us < TURN + 3; us++) {
        assert_true(peri_ping_is_out(peri_ping(us * 1000)));
    }
    assert_true(peri_ping_is_out(peri_ping(0)));
}

static void a_pong_tells_how_long_it_took(void **state) {
    (void)state;
    for (uint64_t us = TURN - 2; us < TURN + 3; us++) {
        const struct peri_ping ping = peri_ping(us * 1000 + 999);
        assert_int_equal(peri_ping_rtt(ping, us * 1000 + 999), 1); // 0 is: not measured
        assert_in_range(peri_ping_rtt(ping, (us + 250) * 1000), 250, us == TURN ? 251 : 250);
        assert_in_range(peri_ping_rtt(ping, (us + TURN - 2) * 1000), TURN - 2, TURN - 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(something_is_due_once_its_limit_is_over),
        cmocka_unit_test(a_limit_holds_when_the_clock_leaves_32_bits_meanwhile),
        cmocka_unit_test(every_limit_of_time_is_over_long_before_32_bits_are),
        cmocka_unit_test(a_ping_is_out_whenever_it_was_queued),
        cmocka_unit_test(a_pong_tells_how_long_it_took),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
