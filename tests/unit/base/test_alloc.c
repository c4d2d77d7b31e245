// The counted heap.
#include "base/alloc.h"

#include <pthread.h>

#include "support/cmocka.h"

static void what_is_allocated_and_not_freed_is_counted(void **state) {
    (void)state;
    uint64_t live = peri_alloc_live();
    void *a = peri_alloc(0);
    void *b = peri_calloc(3, 5);
    void *c = peri_realloc(NULL, 10);
    assert_int_equal(peri_alloc_live(), live + 3);
    assert_memory_equal(b, (const char[15]){0}, 15);
    c = peri_realloc(c, 100000);
    assert_non_null(c);
    assert_int_equal(peri_alloc_live(), live + 3);
    peri_free(a);
    peri_free(b);
    peri_free(c);
    peri_free(NULL);
    assert_int_equal(peri_alloc_live(), live);
}

static void a_size_of_zero_is_a_block(void **state) {
    (void)state;
    void *blocks[] = {peri_alloc(0), peri_calloc(0, 8), peri_calloc(8, 0), peri_realloc(NULL, 0)};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        assert_non_null(blocks[i]);
        blocks[i] = peri_realloc(blocks[i], 0);
        assert_non_null(blocks[i]);
        peri_free(blocks[i]);
    }
}

static void an_aligned_block_is_aligned_and_counted(void **state) {
    (void)state;
    uint64_t live = peri_alloc_live();
    for (size_t alignment = sizeof(void *); alignment <= 65536; alignment *= 2) {
        unsigned char *block = peri_alloc_aligned(alignment, 3 * alignment - 16);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % alignment, 0);
        block[3 * alignment - 17] = 1;
        assert_int_equal(peri_alloc_live(), live + 1);
        peri_free(block);
    }
    assert_int_equal(peri_alloc_live(), live);
    assert_null(peri_alloc_aligned(4096, SIZE_MAX - 8192));
    peri_alloc_fail_from(1);
    assert_null(peri_alloc_aligned(16, 16));
    peri_alloc_fail_from(0);
    assert_int_equal(peri_alloc_live(), live);
}

static void the_nth_allocation_fails_and_all_after_it(void **state) {
    (void)state;
    uint64_t live = peri_alloc_live();
    peri_alloc_fail_from(3);
    void *a = peri_alloc(1);
    void *b = peri_calloc(1, 1);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(peri_alloc(1));
    assert_null(peri_realloc(a, 2)); // a stands
    assert_null(peri_calloc(1, 1));
    assert_int_equal(peri_alloc_live(), live + 2);
    peri_alloc_fail_from(0);
    a = peri_realloc(a, 2);
    assert_non_null(a);
    peri_free(a);
    peri_free(b);
    assert_int_equal(peri_alloc_live(), live);
}

static void too_much_is_null_and_not_counted(void **state) {
    (void)state;
    uint64_t live = peri_alloc_live();
    assert_null(peri_calloc(SIZE_MAX / 2, 4));
    assert_null(peri_calloc(SIZE_MAX / 4, 3));
    assert_null(peri_alloc(SIZE_MAX));
    assert_null(peri_realloc(NULL, SIZE_MAX / 2 + 1));
    assert_int_equal(peri_alloc_live(), live);
}

static void *allocate_elsewhere(void *arg) {
    uint64_t live = peri_alloc_live();
    peri_free(peri_alloc(1));
    *(void **)arg = peri_alloc(1);
    return peri_alloc_live() == live + 1 ? arg : NULL;
}

static void each_thread_counts_and_fails_for_itself(void **state) {
    (void)state;
    uint64_t live = peri_alloc_live();
    pthread_t thread;
    void *block = NULL;
    void *result = NULL;
    peri_alloc_fail_from(1);
    assert_int_equal(pthread_create(&thread, NULL, allocate_elsewhere, &block), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    peri_alloc_fail_from(0);
    assert_ptr_equal(result, &block);
    assert_non_null(block);
    assert_int_equal(peri_alloc_live(), live);
    peri_free(block);
    assert_int_equal(peri_alloc_live(), live - 1); // ours to free, theirs to allocate
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_allocated_and_not_freed_is_counted),
        cmocka_unit_test(a_size_of_zero_is_a_block),
        cmocka_unit_test(an_aligned_block_is_aligned_and_counted),
        cmocka_unit_test(the_nth_allocation_fails_and_all_after_it),
        cmocka_unit_test(too_much_is_null_and_not_counted),
        cmocka_unit_test(each_thread_counts_and_fails_for_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
