#include "net/wheel.h"

#include "support/cmocka.h"

enum { TICK = PERI_WHEEL_TICK_MS, ROUND_MS = PERI_WHEEL_TICK_MS * PERI_WHEEL_SLOTS };

static struct peri_wheel wheel;

static int set_up(void **state) {
    (void)state;
    peri_wheel_init(&wheel, 1000);
    return 0;
}

/// The same numbers in each run.
static uint64_t next_random(void) {
    static uint64_t x = 88172645463325252;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static size_t take_all(uint64_t now_ms) {
    size_t n = 0;
    while (peri_wheel_next(&wheel, now_ms)) {
        n++;
    }
    return n;
}

static void test_a_timer_comes_due_at_its_time_and_not_before(void **state) {
    (void)state;
    struct peri_wheel_timer timer = {0};
    peri_wheel_set(&wheel, &timer, 1250);
    assert_true(peri_wheel_is_set(&timer));
    for (uint64_t now = 1000; now < 1300; now += 10) {
        assert_null(peri_wheel_next(&wheel, now));
    }
    assert_ptr_equal(peri_wheel_next(&wheel, 1300), &timer);
    assert_false(peri_wheel_is_set(&timer));
    assert_null(peri_wheel_next(&wheel, 1300));
    assert_int_equal(wheel.count, 0);
}

static void test_a_timer_rounds_away_waits(void **state) {
    (void)state;
    struct peri_wheel_timer far = {0}, near = {0};
    peri_wheel_set(&wheel, &far, 1500 + 3 * (uint64_t)ROUND_MS);
    peri_wheel_set(&wheel, &near, 1500);
    for (uint64_t now = 1000; now < 1500 + 3 * (uint64_t)ROUND_MS; now += TICK) {
        const struct peri_wheel_timer *due = peri_wheel_next(&wheel, now);
        assert_ptr_equal(due, now == 1500 ? &near : NULL);
    }
    assert_ptr_equal(peri_wheel_next(&wheel, 1500 + 3 * (uint64_t)ROUND_MS), &far);
}

static void test_a_timer_that_is_moved_or_unset_does_not_come_at_its_old_time(void **state) {
    (void)state;
    struct peri_wheel_timer moved = {0}, unset = {0};
    peri_wheel_set(&wheel, &moved, 1200);
    peri_wheel_set(&wheel, &unset, 1200);
    peri_wheel_set(&wheel, &moved, 1600);
    peri_wheel_unset(&wheel, &unset);
    peri_wheel_unset(&wheel, &unset);
    assert_int_equal(wheel.count, 1);
    assert_int_equal(take_all(1500), 0);
    assert_ptr_equal(peri_wheel_next(&wheel, 1600), &moved);
}

static void test_a_loop_that_slept_for_hours_misses_none(void **state) {
    (void)state;
    struct peri_wheel_timer timers[1000] = {0};
    for (size_t i = 0; i < 1000; i++) {
        peri_wheel_set(&wheel, &timers[i], 1000 + i * 977);
    }
    assert_int_equal(take_all(1000 + 20 * (uint64_t)ROUND_MS), 1000);
    peri_wheel_set(&wheel, &timers[0], 1000 + 20 * (uint64_t)ROUND_MS + TICK);
    assert_int_equal(take_all(1000 + 20 * (uint64_t)ROUND_MS), 0);
    assert_int_equal(take_all(1000 + 20 * (uint64_t)ROUND_MS + TICK), 1);
}

static void test_one_set_in_the_past_during_the_walk_comes_at_the_next_tick(void **state) {
    (void)state;
    struct peri_wheel_timer timer = {0};
    peri_wheel_set(&wheel, &timer, 0);
    assert_ptr_equal(peri_wheel_next(&wheel, 1100), &timer);
    peri_wheel_set(&wheel, &timer, 0);
    assert_null(peri_wheel_next(&wheel, 1100));
    assert_ptr_equal(peri_wheel_next(&wheel, 1200), &timer);
}

static void test_a_due_timer_can_be_unset_by_the_one_before_it(void **state) {
    (void)state;
    struct peri_wheel_timer first = {0}, second = {0};
    peri_wheel_set(&wheel, &first, 1200);
    peri_wheel_set(&wheel, &second, 1200);
    assert_ptr_equal(peri_wheel_next(&wheel, 1200), &first);
    peri_wheel_unset(&wheel, &second);
    assert_null(peri_wheel_next(&wheel, 1200));
}

static void test_random_timers_come_within_a_tick_of_their_time(void **state) {
    (void)state;
    enum { MANY = 500 };
    struct peri_wheel_timer timers[MANY] = {0};
    uint64_t now = 1000, wanted[MANY];
    for (size_t i = 0; i < MANY; i++) {
        wanted[i] = now + next_random() % 200000;
        peri_wheel_set(&wheel, &timers[i], wanted[i]);
    }
    size_t seen = 0;
    while (wheel.count > 0) {
        uint64_t before = now;
        now += 1 + next_random() % 250;
        struct peri_wheel_timer *due;
        while ((due = peri_wheel_next(&wheel, now))) {
            size_t i = (size_t)(due - timers);
            assert_true(wanted[i] <= now);
            assert_true(wanted[i] + TICK > before || before == 1000);
            seen++;
        }
    }
    assert_int_equal(seen, MANY);
}

static void test_a_timer_is_after_a_time_whose_tick_comes_earlier(void **state) {
    (void)state;
    struct peri_wheel_timer timer = {0};
    assert_true(peri_wheel_is_after(&wheel, &timer, UINT64_MAX)); // unset
    peri_wheel_set(&wheel, &timer, 1450);
    assert_true(peri_wheel_is_after(&wheel, &timer, 1400));
    assert_false(peri_wheel_is_after(&wheel, &timer, 1401));
    assert_false(peri_wheel_is_after(&wheel, &timer, 1500 + (uint64_t)ROUND_MS));
    peri_wheel_set(&wheel, &timer, 0); // past: at the next tick, and so is every past one
    assert_false(peri_wheel_is_after(&wheel, &timer, 0));
}

static void test_a_due_timer_that_waits_its_turn_is_after_nothing(void **state) {
    (void)state;
    struct peri_wheel_timer first = {0}, second = {0};
    peri_wheel_set(&wheel, &first, 1200);
    peri_wheel_set(&wheel, &second, 1200);
    assert_ptr_equal(peri_wheel_next(&wheel, 1200), &first);
    assert_false(peri_wheel_is_after(&wheel, &second, 0));
    assert_ptr_equal(peri_wheel_next(&wheel, 1200), &second);
}

/// Times around which the 32 bits of a timer, or of milliseconds, begin anew.
static void test_a_wheel_that_has_run_for_years_keeps_its_times(void **state) {
    (void)state;
    const uint64_t turns[] = {(uint64_t)UINT32_MAX + 1, ((uint64_t)INT32_MAX + 1) * TICK,
                              ((uint64_t)UINT32_MAX + 1) * TICK};
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        const uint64_t turn = turns[i] / TICK * TICK, begin = turn - 1000,
                       far = turn + 3 * ROUND_MS - 500;
        struct peri_wheel_timer before = {0}, after = {0}, rounds_after = {0}, year_after = {0};
        peri_wheel_init(&wheel, begin);
        peri_wheel_set(&wheel, &year_after, turn + UINT64_C(365) * 24 * 3600 * 1000);
        peri_wheel_set(&wheel, &rounds_after, far);
        peri_wheel_set(&wheel, &after, turn + 450);
        peri_wheel_set(&wheel, &before, turn - 450);
        assert_true(peri_wheel_is_after(&wheel, &after, turn - TICK));
        assert_false(peri_wheel_is_after(&wheel, &before, turn + TICK));
        for (uint64_t now = begin; now <= far; now += TICK) {
            struct peri_wheel_timer *due = now == turn - 400   ? &before
                                           : now == turn + 500 ? &after
                                           : now == far        ? &rounds_after
                                                               : NULL;
            assert_ptr_equal(peri_wheel_next(&wheel, now), due);
        }
        assert_true(peri_wheel_is_set(&year_after));
        peri_wheel_unset(&wheel, &year_after);
    }
}

static void test_a_timer_beyond_what_32_bits_tell_comes_early_not_at_once(void **state) {
    (void)state;
    const uint64_t most = (uint64_t)INT32_MAX * TICK;
    struct peri_wheel_timer timer = {0};
    peri_wheel_set(&wheel, &timer, UINT64_MAX);
    assert_int_equal(take_all(most), 0);
    assert_true(peri_wheel_is_after(&wheel, &timer, most));
    assert_int_equal(take_all(1100 + most), 1);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_timer_comes_due_at_its_time_and_not_before),
        TEST(test_a_timer_rounds_away_waits),
        TEST(test_a_timer_that_is_moved_or_unset_does_not_come_at_its_old_time),
        TEST(test_a_loop_that_slept_for_hours_misses_none),
        TEST(test_one_set_in_the_past_during_the_walk_comes_at_the_next_tick),
        TEST(test_a_due_timer_can_be_unset_by_the_one_before_it),
        TEST(test_a_timer_is_after_a_time_whose_tick_comes_earlier),
        TEST(test_a_due_timer_that_waits_its_turn_is_after_nothing),
        TEST(test_a_wheel_that_has_run_for_years_keeps_its_times),
        TEST(test_a_timer_beyond_what_32_bits_tell_comes_early_not_at_once),
        TEST(test_random_timers_come_within_a_tick_of_their_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
