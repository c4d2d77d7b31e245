// Small blocks out of slabs.
#include "base/slabs.h"

#include <string.h>

#include "base/alloc.h"
#include "support/cmocka.h"

enum { BLOCKS = 4000, STEPS = 60000 };

struct block {
    unsigned char *at;
    size_t size;
    unsigned char mark;
};

static struct peri_slabs slabs;
static struct block blocks[BLOCKS];
static uint64_t live_before;
static uint32_t seed;

static int begin(void **state) {
    (void)state;
    seed = 1;
    live_before = peri_alloc_live();
    peri_slabs_init(&slabs);
    memset(blocks, 0, sizeof blocks);
    return 0;
}

static int end(void **state) {
    (void)state;
    peri_slabs_deinit(&slabs);
    assert_int_equal(peri_alloc_live(), live_before);
    return 0;
}

static uint32_t some(uint32_t below) {
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static void *take(size_t size) {
    void *block = peri_slabs_take(&slabs, size);
    if (!block && peri_slabs_grow(&slabs, size) == PERI_OK) {
        block = peri_slabs_take(&slabs, size);
    }
    return block;
}

static void fill(size_t i, size_t size) {
    blocks[i] = (struct block){take(size), size, (unsigned char)some(256)};
    assert_non_null(blocks[i].at);
    assert_int_equal((uintptr_t)blocks[i].at % (size % 64 == 0 ? 64 : 16), 0);
    memset(blocks[i].at, blocks[i].mark, size);
}

static void empty(size_t i) {
    for (size_t byte = 0; byte < blocks[i].size; byte++) {
        assert_int_equal(blocks[i].at[byte], blocks[i].mark);
    }
    peri_slabs_give(&slabs, blocks[i].at);
    blocks[i].at = NULL;
}

static void empty_all(void) {
    for (size_t i = 0; i < BLOCKS; i++) {
        if (blocks[i].at) {
            empty(i);
        }
    }
}

static void blocks_of_all_sizes_keep_what_is_written_to_them(void **state) {
    (void)state;
    for (size_t step = 0; step < STEPS; step++) {
        size_t i = some(BLOCKS);
        if (blocks[i].at) {
            empty(i);
        } else {
            fill(i, 1 + some(PERI_SLAB_BLOCK_MAX));
        }
    }
    empty_all();
}

static void holes_are_filled_before_a_slab_is_made(void **state) {
    (void)state;
    for (size_t i = 0; i < BLOCKS; i++) {
        fill(i, 48);
    }
    size_t count = slabs.count;
    for (size_t i = 0; i < BLOCKS; i += 3) {
        empty(i);
    }
    for (size_t i = 0; i < BLOCKS; i += 3) {
        fill(i, 40);
    }
    assert_int_equal(slabs.count, count);
    empty_all();
}

static void a_slab_that_is_empty_serves_any_size(void **state) {
    (void)state;
    for (size_t i = 0; i < BLOCKS; i++) {
        fill(i, 64);
    }
    size_t most = slabs.count;
    assert_true(most > 30);
    empty_all();
    for (size_t i = 0; i < BLOCKS / 4; i++) {
        fill(i, 200);
    }
    assert_in_range(slabs.count, 1, most + 1); // the last one of 64 stays
    empty_all();
}

static void of_what_a_burst_took_little_stays(void **state) {
    (void)state;
    static void *burst[100000];
    for (size_t i = 0; i < 100000; i++) {
        burst[i] = take(100);
        assert_non_null(burst[i]);
    }
    assert_true(peri_slabs_bytes(&slabs) > 11000000);
    for (size_t i = 0; i < 100000; i++) {
        peri_slabs_give(&slabs, burst[(i * 7919) % 100000]);
    }
    assert_in_range(peri_slabs_bytes(&slabs), 1, 1024 * 1024 + PERI_SLAB_BYTES);
    peri_slabs_trim(&slabs);
    assert_int_equal(slabs.count, 1);
}

static void one_block_taken_and_given_asks_the_heap_once(void **state) {
    (void)state;
    peri_slabs_give(&slabs, take(24));
    uint64_t live = peri_alloc_live();
    peri_alloc_fail_from(1);
    for (size_t i = 0; i < 1000; i++) {
        void *block = take(32);
        assert_non_null(block);
        peri_slabs_give(&slabs, block);
    }
    peri_alloc_fail_from(0);
    assert_int_equal(peri_alloc_live(), live);
}

static void a_heap_that_is_full_is_an_error(void **state) {
    (void)state;
    peri_alloc_fail_from(1);
    assert_int_equal(peri_slabs_grow(&slabs, 16), PERI_E_MEMORY);
    peri_alloc_fail_from(0);
    assert_null(peri_slabs_take(&slabs, 16));
    fill(0, 16);
    empty(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_of_all_sizes_keep_what_is_written_to_them, begin,
                                        end),
        cmocka_unit_test_setup_teardown(holes_are_filled_before_a_slab_is_made, begin, end),
        cmocka_unit_test_setup_teardown(a_slab_that_is_empty_serves_any_size, begin, end),
        cmocka_unit_test_setup_teardown(of_what_a_burst_took_little_stays, begin, end),
        cmocka_unit_test_setup_teardown(one_block_taken_and_given_asks_the_heap_once, begin, end),
        cmocka_unit_test_setup_teardown(a_heap_that_is_full_is_an_error, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
