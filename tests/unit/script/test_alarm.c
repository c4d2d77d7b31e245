// Alarms: due in order of time, then of setting; cleared ones never; the wake-up asked for is the
// first one's.
#include "script/alarm.h"

#include "base/list.h"
#include "hub/hub.h"
#include "support/cmocka.h"

enum { ALARMS = 300 };

struct clock {
    uint64_t now_ns, wake_at_ns;
    struct peri_hub *hub;
    struct peri_alarms *alarms;
    int order[ALARMS]; ///< numbers of those that were due
    int due;
};

struct numbered {
    struct peri_alarm alarm;
    struct clock *clock;
    int number;
    struct numbered *clears; ///< on being due
    uint64_t again_ns;       ///< on being due, set anew for then
    uint64_t takes_ns;       ///< that pass meanwhile
};

static uint64_t clock_now(void *self) {
    return ((struct clock *)self)->now_ns;
}

static void clock_wake_at(void *self, uint64_t at_ns) {
    ((struct clock *)self)->wake_at_ns = at_ns;
}

static void note(struct peri_alarm *alarm) {
    struct numbered *n = PERI_CONTAINER(alarm, struct numbered, alarm);
    n->clock->order[n->clock->due++] = n->number;
    n->clock->now_ns += n->takes_ns;
    if (n->clears) {
        peri_alarms_clear(n->clock->alarms, &n->clears->alarm);
    }
    if (n->again_ns) {
        uint64_t at_ns = n->again_ns;
        n->again_ns = 0;
        peri_alarms_set(n->clock->alarms, &n->alarm, at_ns);
    }
}

/// As ports does it: the wake-up that was asked for comes once.
static void run_if_due(struct clock *clock) {
    if (clock->wake_at_ns <= clock->now_ns) {
        clock->wake_at_ns = UINT64_MAX;
        peri_alarms_run(clock->alarms);
    }
}

static int begin(void **state) {
    static struct peri_limits limits;
    static struct clock clock;
    clock = (struct clock){.wake_at_ns = UINT64_MAX};
    peri_limits_init(&limits);
    clock.hub = peri_hub_new(0, &limits);
    assert_non_null(clock.hub);
    struct peri_ports ports = {.self = &clock, .now_ns = clock_now, .wake_at = clock_wake_at};
    peri_hub_set_ports(clock.hub, &ports);
    clock.alarms = peri_alarms_new(clock.hub);
    assert_non_null(clock.alarms);
    *state = &clock;
    return 0;
}

static int end(void **state) {
    struct clock *clock = *state;
    peri_alarms_free(clock->alarms);
    peri_hub_free(clock->hub);
    return 0;
}

static void set(struct clock *clock, struct numbered *n, int number, uint64_t at_ns) {
    *n = (struct numbered){.alarm.due = note, .clock = clock, .number = number};
    peri_alarms_set(clock->alarms, &n->alarm, at_ns);
}

static void the_first_alarm_is_what_ports_is_asked_for(void **state) {
    struct clock *clock = *state;
    struct numbered a, b;
    set(clock, &a, 1, 500);
    assert_int_equal(clock->wake_at_ns, 500);
    set(clock, &b, 2, 300);
    assert_int_equal(clock->wake_at_ns, 300);
    peri_alarms_clear(clock->alarms, &b.alarm);
    assert_int_equal(clock->wake_at_ns, 500);
    peri_alarms_clear(clock->alarms, &a.alarm);
    assert_true(clock->wake_at_ns == UINT64_MAX);
    peri_alarms_clear(clock->alarms, &a.alarm); // not set: does nothing
}

static void equals_are_due_in_the_order_of_setting(void **state) {
    struct clock *clock = *state;
    struct numbered n[5];
    for (int i = 0; i < 5; i++) {
        set(clock, &n[i], i, 100);
    }
    clock->now_ns = 100;
    run_if_due(clock);
    assert_int_equal(clock->due, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(clock->order[i], i);
    }
}

static void one_that_is_due_may_clear_another_and_set_itself_again(void **state) {
    struct clock *clock = *state;
    struct numbered a, b, c;
    set(clock, &a, 1, 100);
    set(clock, &b, 2, 100);
    set(clock, &c, 3, 100);
    a.clears = &b;
    a.again_ns = 150;
    clock->now_ns = 120;
    run_if_due(clock);
    assert_int_equal(clock->due, 2);
    assert_int_equal(clock->order[1], 3);
    assert_int_equal(clock->wake_at_ns, 150);
    clock->now_ns = 150;
    run_if_due(clock);
    assert_int_equal(clock->due, 3);
}

static uint64_t next(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void random_sets_and_clears_are_due_in_order(void **state) {
    struct clock *clock = *state;
    static struct numbered n[ALARMS];
    uint64_t seed = 7;
    for (int round = 0; round < 200; round++) {
        bool cleared[ALARMS] = {false};
        int left = ALARMS;
        clock->due = 0;
        for (int i = 0; i < ALARMS; i++) {
            set(clock, &n[i], i, clock->now_ns + next(&seed) % 64);
            int j = (int)(next(&seed) % (uint64_t)(i + 1));
            if (next(&seed) % 3 == 0 && !cleared[j]) {
                peri_alarms_clear(clock->alarms, &n[j].alarm);
                cleared[j] = true;
                left--;
            }
        }
        while (clock->due < left) {
            clock->now_ns++;
            run_if_due(clock);
        }
        assert_int_equal(clock->due, left);
        for (int i = 0; i < left; i++) {
            assert_false(cleared[clock->order[i]]);
            const struct peri_alarm *one = &n[clock->order[i]].alarm;
            const struct peri_alarm *before = i ? &n[clock->order[i - 1]].alarm : one;
            assert_true(before->at_ns < one->at_ns ||
                        (before->at_ns == one->at_ns && before->order_ <= one->order_));
        }
        clock->now_ns += 64;
        assert_true(clock->wake_at_ns == UINT64_MAX);
    }
}

static void what_takes_long_leaves_the_rest_to_the_next_wake_up(void **state) {
    struct clock *clock = *state;
    struct numbered n[5];
    for (int i = 0; i < 5; i++) {
        set(clock, &n[i], i, 100);
        n[i].takes_ns = 6000000;
    }
    clock->now_ns = 100;
    run_if_due(clock);
    assert_int_equal(clock->due, 2); // 12 ms
    assert_int_equal(clock->wake_at_ns, 100);
    run_if_due(clock);
    run_if_due(clock);
    assert_int_equal(clock->due, 5);
    assert_true(clock->wake_at_ns == UINT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_alarm_is_what_ports_is_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(equals_are_due_in_the_order_of_setting, begin, end),
        cmocka_unit_test_setup_teardown(one_that_is_due_may_clear_another_and_set_itself_again,
                                        begin, end),
        cmocka_unit_test_setup_teardown(what_takes_long_leaves_the_rest_to_the_next_wake_up, begin,
                                        end),
        cmocka_unit_test_setup_teardown(random_sets_and_clears_are_due_in_order, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
