// The intrusive list.
#include "base/list.h"

#include "support/cmocka.h"

struct item {
    int number;
    struct peri_list link;
};

static int sum(const struct peri_list *list) {
    int total = 0;
    for (struct peri_list *at = list->next; at != list; at = at->next) {
        // NOLINTNEXTLINE(clang-analyzer-security.ArrayBound): the item is around its link
        total = total * 10 + PERI_CONTAINER(at, struct item, link)->number;
    }
    return total;
}

static void items_stay_in_the_order_they_were_pushed(void **state) {
    (void)state;
    struct peri_list list;
    static struct item items[] = {{.number = 1}, {.number = 2}, {.number = 3}};
    peri_list_init(&list);
    assert_true(peri_list_is_empty(&list));
    for (size_t i = 0; i < 3; i++) {
        peri_list_push(&list, &items[i].link);
    }
    assert_int_equal(sum(&list), 123);
    peri_list_remove(&items[1].link);
    assert_int_equal(sum(&list), 13);
    peri_list_remove(&items[1].link); // again: nothing
    assert_int_equal(sum(&list), 13);
    peri_list_push(&list, &items[1].link);
    assert_int_equal(sum(&list), 132);
    for (size_t i = 0; i < 3; i++) {
        peri_list_remove(&items[i].link);
    }
    assert_true(peri_list_is_empty(&list));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_stay_in_the_order_they_were_pushed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
