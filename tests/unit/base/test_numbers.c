// Numbers by address, beside an array that holds the same.
#include "base/numbers.h"

#include <stdlib.h>
#include <string.h>

#include "support/cmocka.h"

enum { ADDRESSES = 3000, STEPS = 200000 };

static struct peri_numbers numbers;
static uint32_t wanted[ADDRESSES];
static char places[ADDRESSES * 16];
static uint32_t seed;

static uint32_t some(uint32_t below) {
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static void put(const void *address, uint32_t number) {
    if (peri_numbers_is_full(&numbers)) {
        struct peri_number *before = numbers.entries_;
        struct peri_number *entries = malloc(peri_numbers_next_cap(&numbers) * sizeof *entries);
        assert_non_null(entries);
        peri_numbers_move(&numbers, entries);
        free(before);
    }
    peri_numbers_put(&numbers, address, number);
}

static void expect_all(void) {
    uint32_t count = 0;
    for (size_t i = 0; i < ADDRESSES; i++) {
        assert_int_equal(peri_numbers_get(&numbers, &places[i * 16]), wanted[i]);
        count += wanted[i] != 0;
    }
    assert_int_equal(numbers.count, count);
}

static int set_up(void **state) {
    (void)state;
    numbers = (struct peri_numbers){0};
    memset(wanted, 0, sizeof wanted);
    seed = 1;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(numbers.entries_);
    return 0;
}

static void without_memory_nothing_is_found(void **state) {
    (void)state;
    assert_int_equal(peri_numbers_get(&numbers, places), 0);
    assert_true(peri_numbers_is_full(&numbers));
}

static void what_is_put_is_found_until_it_is_removed(void **state) {
    (void)state;
    for (uint32_t step = 0; step < STEPS; step++) {
        uint32_t i = some(ADDRESSES);
        if (wanted[i] != 0 && some(3) > 0) {
            peri_numbers_remove(&numbers, &places[(size_t)i * 16]);
            wanted[i] = 0;
        } else if (wanted[i] == 0) {
            wanted[i] = step + 1;
            put(&places[(size_t)i * 16], wanted[i]);
        }
        if (step % 5000 == 0) {
            expect_all();
        }
    }
    expect_all();
}

static void all_go_in_any_order(void **state) {
    (void)state;
    for (uint32_t i = 0; i < ADDRESSES; i++) {
        wanted[i] = i + 1;
        put(&places[(size_t)i * 16], wanted[i]);
    }
    for (uint32_t n = 0; n < ADDRESSES; n++) {
        uint32_t i = n * 1009 % ADDRESSES;
        peri_numbers_remove(&numbers, &places[(size_t)i * 16]);
        wanted[i] = 0;
        if (n % 250 == 0) {
            expect_all();
        }
    }
    assert_int_equal(numbers.count, 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(without_memory_nothing_is_found),
        TEST(what_is_put_is_found_until_it_is_removed),
        TEST(all_go_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
