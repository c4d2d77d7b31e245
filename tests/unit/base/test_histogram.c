#include "base/histogram.h"

#include <stdlib.h>

#include "support/cmocka.h"

static struct peri_histogram histogram; // large for a stack

static void reset(void) {
    histogram = (struct peri_histogram){0};
}

static void an_empty_one_answers_0(void **state) {
    (void)state;
    reset();
    assert_int_equal(peri_histogram_at(&histogram, 0), 0);
    assert_int_equal(peri_histogram_at(&histogram, 500), 0);
    assert_int_equal(peri_histogram_at(&histogram, 1000), 0);
}

static void a_single_value_is_told_to_a_64th_wherever_it_lies(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < PERI_HISTOGRAM_BITS; bits++) {
        uint64_t power = (uint64_t)1 << bits;
        const uint64_t values[] = {power, power + power / 3, power + power / 2, 2 * power - 1};
        for (size_t i = 0; i < 4; i++) {
            reset();
            peri_histogram_add(&histogram, values[i], 1);
            uint64_t told = peri_histogram_at(&histogram, 500);
            uint64_t off = told > values[i] ? told - values[i] : values[i] - told;
            assert_true(off <= values[i] / 64);
            assert_int_equal(peri_histogram_at(&histogram, 0), told);
            assert_int_equal(peri_histogram_at(&histogram, 1000), told);
        }
    }
}

static void small_values_are_exact_and_0_is_a_value(void **state) {
    (void)state;
    for (uint64_t value = 0; value < 64; value++) {
        reset();
        peri_histogram_add(&histogram, value, 3);
        assert_int_equal(peri_histogram_at(&histogram, 990), value);
        assert_int_equal(histogram.count, 3);
    }
}

static void values_beyond_the_largest_count_as_it(void **state) {
    (void)state;
    reset();
    peri_histogram_add(&histogram, UINT64_MAX, 1);
    peri_histogram_add(&histogram, (uint64_t)1 << PERI_HISTOGRAM_BITS, 1);
    uint64_t largest = ((uint64_t)1 << PERI_HISTOGRAM_BITS) - 1;
    assert_true(peri_histogram_at(&histogram, 0) >= largest - largest / 64);
    assert_true(peri_histogram_at(&histogram, 1000) <= largest);
}

static int by_value(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void percentiles_are_those_of_the_sorted_values(void **state) {
    (void)state;
    enum { N = 10000 };
    static uint64_t values[N];
    uint64_t random = 88172645463325252u;
    reset();
    for (size_t i = 0; i < N; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        values[i] = random >> (24 + random % 40); // of all sizes
        peri_histogram_add(&histogram, values[i], 1);
    }
    qsort(values, N, sizeof values[0], by_value);
    static const unsigned asked[] = {1, 10, 250, 500, 900, 990, 999, 1000};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        uint64_t exact = values[(size_t)asked[i] * N / 1000 - 1];
        uint64_t told = peri_histogram_at(&histogram, asked[i]);
        uint64_t off = told > exact ? told - exact : exact - told;
        assert_true(off <= exact / 64);
    }
}

static void the_99th_of_a_few_values_is_the_largest(void **state) {
    (void)state;
    reset();
    for (uint64_t value = 1; value <= 50; value++) {
        peri_histogram_add(&histogram, value, 1);
    }
    assert_int_equal(peri_histogram_at(&histogram, 990), 50);
    assert_int_equal(peri_histogram_at(&histogram, 500), 25);
    assert_int_equal(peri_histogram_at(&histogram, 0), 1);
}

static void a_merged_one_has_counted_both(void **state) {
    (void)state;
    static struct peri_histogram other;
    reset();
    other = histogram;
    peri_histogram_add(&histogram, 10, 99);
    peri_histogram_add(&other, 60, 1);
    peri_histogram_merge(&histogram, &other);
    assert_int_equal(histogram.count, 100);
    assert_int_equal(peri_histogram_at(&histogram, 990), 10);
    assert_int_equal(peri_histogram_at(&histogram, 991), 60);
    assert_int_equal(other.count, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_answers_0),
        cmocka_unit_test(a_single_value_is_told_to_a_64th_wherever_it_lies),
        cmocka_unit_test(small_values_are_exact_and_0_is_a_value),
        cmocka_unit_test(values_beyond_the_largest_count_as_it),
        cmocka_unit_test(percentiles_are_those_of_the_sorted_values),
        cmocka_unit_test(the_99th_of_a_few_values_is_the_largest),
        cmocka_unit_test(a_merged_one_has_counted_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
