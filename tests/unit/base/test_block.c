// Refcounted blocks.
#include "base/block.h"

#include "base/alloc.h"
#include "support/cmocka.h"

static void a_block_lives_until_its_last_reference(void **state) {
    (void)state;
    uint64_t live = peri_alloc_live();
    struct peri_block *block = peri_block_new(100, NULL);
    assert_non_null(block);
    assert_int_equal(block->len, 0);
    assert_int_equal(block->cap, 100);
    assert_true(peri_block_is_sole(block));
    assert_ptr_equal(peri_block_ref(block), block);
    assert_false(peri_block_is_sole(block));
    peri_block_unref(block);
    assert_true(peri_block_is_sole(block));
    peri_block_unref(block);
    peri_block_unref(NULL);
    assert_int_equal(peri_alloc_live(), live);
}

static void an_account_counts_each_block_once(void **state) {
    (void)state;
    struct peri_block_account account = {0};
    struct peri_block *a = peri_block_new(100, &account);
    struct peri_block *b = peri_block_new(0, &account);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(account.bytes, 100 + 2 * sizeof *a);
    (void)peri_block_ref(a);
    assert_int_equal(account.bytes, 100 + 2 * sizeof *a);
    peri_block_unref(a);
    peri_block_unref(b);
    assert_int_equal(account.bytes, 100 + sizeof *a);
    peri_block_unref(a);
    assert_int_equal(account.bytes, 0);
}

static void too_large_or_no_memory_is_null_and_not_charged(void **state) {
    (void)state;
    struct peri_block_account account = {0};
    assert_null(peri_block_new(UINT32_MAX, &account));
    assert_null(peri_block_new(SIZE_MAX, &account));
    peri_alloc_fail_from(1);
    assert_null(peri_block_new(1, &account));
    peri_alloc_fail_from(0);
    assert_int_equal(account.bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_lives_until_its_last_reference),
        cmocka_unit_test(an_account_counts_each_block_once),
        cmocka_unit_test(too_large_or_no_memory_is_null_and_not_charged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
