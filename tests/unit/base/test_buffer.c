// Growing buffers.
#include "base/buffer.h"

#include "base/alloc.h"
#include "support/cmocka.h"

static void bytes_are_kept_in_order_while_it_grows(void **state) {
    (void)state;
    struct peri_buffer buffer = {0};
    for (int i = 0; i < 10000; i++) {
        uint8_t byte = (uint8_t)i;
        assert_int_equal(peri_buffer_append(&buffer, &byte, 1), PERI_OK);
    }
    assert_int_equal(buffer.len, 10000);
    assert_true(buffer.cap < 20000);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(buffer.ptr[i], (uint8_t)i);
    }
    peri_buffer_deinit(&buffer);
    assert_null(buffer.ptr);
    peri_buffer_deinit(&buffer);
}

static void growth_is_geometric(void **state) {
    (void)state;
    struct peri_buffer buffer = {0};
    size_t moves = 0;
    for (size_t i = 0; i < 1 << 20; i++) {
        size_t cap = buffer.cap;
        assert_int_equal(peri_buffer_append(&buffer, "x", 1), PERI_OK);
        moves += buffer.cap != cap;
    }
    assert_in_range(moves, 1, 20);
    peri_buffer_deinit(&buffer);
}

static void text_is_formatted_to_its_end(void **state) {
    (void)state;
    struct peri_buffer buffer = {0};
    assert_int_equal(peri_buffer_append_str(&buffer, PERI_STR("a")), PERI_OK);
    assert_int_equal(peri_buffer_append_str(&buffer, (struct peri_str){0}), PERI_OK);
    assert_int_equal(peri_buffer_printf(&buffer, "%d-%s", 42, "b"), PERI_OK);
    assert_str_equal(peri_buffer_str(&buffer), "a42-b");
    for (size_t n = 50; n < 70; n++) { // around the size of the first allocation
        peri_buffer_clear(&buffer, 0);
        assert_int_equal(peri_buffer_printf(&buffer, "%0*d", (int)n, 7), PERI_OK);
        assert_int_equal(buffer.len, n);
        assert_int_equal(buffer.ptr[n - 1], '7');
    }
    peri_buffer_deinit(&buffer);
}

static void consuming_drops_from_the_front(void **state) {
    (void)state;
    struct peri_buffer buffer = {0};
    peri_buffer_consume(&buffer, 0);
    assert_int_equal(peri_buffer_append(&buffer, "abcdef", 6), PERI_OK);
    peri_buffer_consume(&buffer, 0);
    peri_buffer_consume(&buffer, 2);
    assert_str_equal(peri_buffer_str(&buffer), "cdef");
    peri_buffer_consume(&buffer, 4);
    assert_int_equal(buffer.len, 0);
    peri_buffer_deinit(&buffer);
}

static void clearing_keeps_only_little_memory(void **state) {
    (void)state;
    struct peri_buffer buffer = {0};
    assert_int_equal(peri_buffer_reserve(&buffer, 1000), PERI_OK);
    size_t cap = buffer.cap;
    peri_buffer_clear(&buffer, cap);
    assert_int_equal(buffer.cap, cap);
    peri_buffer_clear(&buffer, cap - 1);
    assert_int_equal(buffer.cap, 0);
    assert_null(buffer.ptr);
}

static void out_of_memory_leaves_the_buffer_as_it_was(void **state) {
    (void)state;
    struct peri_buffer buffer = {0};
    assert_int_equal(peri_buffer_append(&buffer, "abc", 3), PERI_OK);
    struct peri_buffer before = buffer;
    peri_alloc_fail_from(1);
    assert_int_equal(peri_buffer_reserve(&buffer, buffer.cap), PERI_E_MEMORY);
    assert_int_equal(peri_buffer_printf(&buffer, "%0100d", 1), PERI_E_MEMORY);
    peri_alloc_fail_from(0);
    assert_int_equal(peri_buffer_reserve(&buffer, SIZE_MAX), PERI_E_MEMORY);
    assert_int_equal(peri_buffer_reserve(&buffer, SIZE_MAX - 3), PERI_E_MEMORY);
    assert_memory_equal(&buffer, &before, sizeof before);
    assert_str_equal(peri_buffer_str(&buffer), "abc");
    peri_buffer_deinit(&buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_kept_in_order_while_it_grows),
        cmocka_unit_test(growth_is_geometric),
        cmocka_unit_test(text_is_formatted_to_its_end),
        cmocka_unit_test(consuming_drops_from_the_front),
        cmocka_unit_test(clearing_keeps_only_little_memory),
        cmocka_unit_test(out_of_memory_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
