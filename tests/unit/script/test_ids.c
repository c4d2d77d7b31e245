// Ids: read back to their key, differ between hosts, and take no text that is none.
#include "script/ids.h"

#include "support/cmocka.h"

static const peri_key keys[] = {1, 2, 0x0000000100000001, 0xFF00000000000001, UINT64_MAX};

enum { KEYS = sizeof keys / sizeof keys[0] };

static void an_id_reads_back_to_its_key(void **state) {
    (void)state;
    struct peri_ids ids;
    char id[PERI_ID_BYTES];
    for (int round = 0; round < 1000; round++) {
        assert_int_equal(peri_ids_init(&ids), PERI_OK);
        for (int i = 0; i < KEYS; i++) {
            peri_id_write(&ids, keys[i], id);
            assert_true(peri_id_read(&ids, peri_str(id, sizeof id)) == keys[i]);
        }
    }
}

static void ids_of_two_keys_or_two_hosts_differ(void **state) {
    (void)state;
    struct peri_ids one = {.secret = {1, 2}, .host = 3}, other = {.secret = {4, 5}, .host = 6};
    char a[PERI_ID_BYTES], b[PERI_ID_BYTES];
    peri_id_write(&one, 1, a);
    peri_id_write(&one, 2, b);
    assert_memory_not_equal(a, b, sizeof a);
    peri_id_write(&other, 1, b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(peri_id_read(&other, peri_str(a, sizeof a)) == 0);
}

static void what_is_no_id_names_no_connection(void **state) {
    (void)state;
    const struct peri_ids ids = {.secret = {1, 2}, .host = 0};
    assert_true(peri_id_read(&ids, PERI_STR("")) == 0);
    assert_true(peri_id_read(&ids, PERI_STR("short")) == 0);
    assert_true(peri_id_read(&ids, PERI_STR("AAAAAAAAAAAAAAAA")) == 0);
    assert_true(peri_id_read(&ids, PERI_STR("aaa\0aaaaaaaaaaaa")) == 0);
    assert_true(peri_id_read(&ids, PERI_STR("aaa7777777777777")) == 0); // over 64 bits
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_reads_back_to_its_key),
        cmocka_unit_test(ids_of_two_keys_or_two_hosts_differ),
        cmocka_unit_test(what_is_no_id_names_no_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
