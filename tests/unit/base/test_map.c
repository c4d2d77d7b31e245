// The hash map, against a plain array.
#include "base/map.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/alloc.h"
#include "support/cmocka.h"

enum { KEYS = 500 };

struct item {
    char name[16];
    bool in_map;
};

static struct peri_str key_of(const struct item *item) {
    return peri_str_of(item->name);
}

static void make_items(struct item items[KEYS]) {
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(items[i].name, sizeof items[i].name, "key%d", i);
        items[i].in_map = false;
    }
}

static void an_empty_map_needs_nothing(void **state) {
    (void)state;
    struct peri_map map = {0};
    size_t cursor = 0;
    assert_null(peri_map_get(&map, PERI_STR("a")));
    assert_null(peri_map_take(&map, PERI_STR("a")));
    assert_null(peri_map_next(&map, &cursor));
    peri_map_deinit(&map);
}

static void keys_are_bytes_of_any_kind(void **state) {
    (void)state;
    struct peri_map map = {0};
    int values[4];
    const struct peri_str keys[] = {PERI_STR(""), PERI_STR("a"), PERI_STR("a\0"), PERI_STR("a\0b")};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(peri_map_put(&map, keys[i], &values[i]), PERI_OK);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_ptr_equal(peri_map_get(&map, keys[i]), &values[i]);
    }
    peri_map_deinit(&map);
}

static void putting_a_key_again_replaces_key_and_value(void **state) {
    (void)state;
    struct peri_map map = {0};
    struct item old = {.name = "same"};
    struct item new = {.name = "same"};
    assert_int_equal(peri_map_put(&map, key_of(&old), &old), PERI_OK);
    assert_int_equal(peri_map_put(&map, key_of(&new), &new), PERI_OK);
    assert_int_equal(map.count, 1);
    memset(&old, 0xff, sizeof old); // its key is no longer borrowed
    assert_ptr_equal(peri_map_get(&map, PERI_STR("same")), &new);
    assert_ptr_equal(peri_map_take(&map, PERI_STR("same")), &new);
    assert_null(peri_map_take(&map, PERI_STR("same")));
    assert_int_equal(map.count, 0);
    peri_map_deinit(&map);
}

static void check_all(const struct peri_map *map, struct item items[KEYS]) {
    size_t expected = 0;
    for (int i = 0; i < KEYS; i++) {
        assert_ptr_equal(peri_map_get(map, key_of(&items[i])), items[i].in_map ? &items[i] : NULL);
        expected += items[i].in_map;
    }
    assert_int_equal(map->count, expected);
    size_t cursor = 0;
    size_t walked = 0;
    for (struct item *item; (item = peri_map_next(map, &cursor)); walked++) {
        assert_true(item->in_map);
    }
    assert_int_equal(walked, expected);
}

static void it_holds_what_was_put_and_not_taken(void **state) {
    (void)state;
    struct peri_map map = {0};
    static struct item items[KEYS];
    make_items(items);
    uint64_t random = 42;
    for (int round = 0; round < 100000; round++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        // grows for a while, then shrinks
        bool put = (random >> 33) % 10 < (round / 5000 % 2 ? 3u : 7u);
        struct item *item = &items[(random >> 40) % KEYS];
        if (put) {
            assert_int_equal(peri_map_put(&map, key_of(item), item), PERI_OK);
        } else {
            assert_ptr_equal(peri_map_take(&map, key_of(item)), item->in_map ? item : NULL);
        }
        item->in_map = put;
        if (round % 997 == 0) {
            check_all(&map, items);
        }
    }
    check_all(&map, items);
    assert_true(map.cap_ <= 4096); // tombstones do not make it grow
    peri_map_deinit(&map);
}

static void every_entry_may_be_taken_while_walking(void **state) {
    (void)state;
    struct peri_map map = {0};
    static struct item items[KEYS];
    make_items(items);
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(peri_map_put(&map, key_of(&items[i]), &items[i]), PERI_OK);
    }
    size_t cursor = 0;
    size_t walked = 0;
    for (struct item *item; (item = peri_map_next(&map, &cursor)); walked++) {
        assert_ptr_equal(peri_map_take(&map, key_of(item)), item);
    }
    assert_int_equal(walked, KEYS);
    assert_int_equal(map.count, 0);
    peri_map_deinit(&map);
}

static void putting_and_taking_in_turns_needs_no_more_memory(void **state) {
    (void)state;
    struct peri_map map = {0};
    static struct item items[KEYS];
    make_items(items);
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(peri_map_put(&map, key_of(&items[i]), &items[i]), PERI_OK);
        assert_ptr_equal(peri_map_take(&map, key_of(&items[i])), &items[i]);
        peri_alloc_fail_from(1); // after the first
    }
    peri_alloc_fail_from(0);
    peri_map_deinit(&map);
}

static void out_of_memory_leaves_the_map_as_it_was(void **state) {
    (void)state;
    struct peri_map map = {0};
    static struct item items[KEYS];
    make_items(items);
    uint64_t live = peri_alloc_live();
    for (int i = 0; i < KEYS; i++) {
        peri_alloc_fail_from(1);
        int rc = peri_map_put(&map, key_of(&items[i]), &items[i]);
        peri_alloc_fail_from(0);
        if (rc != PERI_OK) {
            assert_int_equal(rc, PERI_E_MEMORY);
            check_all(&map, items);
            assert_int_equal(peri_map_put(&map, key_of(&items[i]), &items[i]), PERI_OK);
        }
        items[i].in_map = true;
    }
    check_all(&map, items);
    peri_map_deinit(&map);
    assert_int_equal(peri_alloc_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_needs_nothing),
        cmocka_unit_test(keys_are_bytes_of_any_kind),
        cmocka_unit_test(putting_a_key_again_replaces_key_and_value),
        cmocka_unit_test(it_holds_what_was_put_and_not_taken),
        cmocka_unit_test(every_entry_may_be_taken_while_walking),
        cmocka_unit_test(putting_and_taking_in_turns_needs_no_more_memory),
        cmocka_unit_test(out_of_memory_leaves_the_map_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
