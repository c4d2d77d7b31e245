// SipHash and random bytes.
#include "base/hash.h"

#include "support/cmocka.h"

static void siphash_1_3_agrees_with_cpythons(void **state) {
    (void)state;
    // PYTHONHASHSEED=0 makes CPython's key zeros: hash(bytes(range(n))), n from 1
    static const uint64_t expected[] = {0x68a914128e01e473, 0x010bac45c41e3669, 0x4d4c9a4a8ef6e0ad,
                                        0x7cc43f98813e4dbd, 0x5abe2169dff36275, 0xe3c25f87624f1cdb,
                                        0x2f098ab0c751325a, 0xead411e67ebe2eea, 0x75927f9d95124362,
                                        0xaf9f77a65ab51a1d, 0xfe64ce8b6617fcff, 0xa6baf4fb0f9fe1c2,
                                        0xa0cf3211850f8e0d, 0x7f86049379fbfe67, 0xf30eb725bb91c9ea,
                                        0x8972188433a5c5b7, 0x4883c49a2c009c1d};
    enum { LONGEST = sizeof expected / sizeof expected[0] };
    uint8_t key[16] = {0};
    uint8_t message[LONGEST];
    for (size_t n = 1; n <= LONGEST; n++) {
        message[n - 1] = (uint8_t)(n - 1);
        assert_int_equal(peri_siphash(key, message, n), expected[n - 1]);
    }
    key[15] = 1;
    assert_int_not_equal(peri_siphash(key, message, LONGEST), expected[LONGEST - 1]);
}

static void a_hash_is_the_same_all_along_and_depends_on_every_byte(void **state) {
    (void)state;
    uint8_t bytes[40] = {0};
    for (size_t n = 1; n <= sizeof bytes; n++) {
        uint64_t hash = peri_hash(bytes, n);
        assert_int_equal(peri_hash(bytes, n), hash);
        assert_int_not_equal(peri_hash(bytes, n - 1), hash);
        for (size_t i = 0; i < n; i++) {
            bytes[i] = 1;
            assert_int_not_equal(peri_hash(bytes, n), hash);
            bytes[i] = 0;
        }
    }
}

static void random_bytes_differ(void **state) {
    (void)state;
    uint8_t a[300] = {0}; // over the 256 that one getrandom always gives
    uint8_t b[300] = {0};
    assert_int_equal(peri_random(a, sizeof a), PERI_OK);
    assert_int_equal(peri_random(b, sizeof b), PERI_OK);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a + 284, b + 284, 16);
    assert_int_equal(peri_random(NULL, 0), PERI_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_1_3_agrees_with_cpythons),
        cmocka_unit_test(a_hash_is_the_same_all_along_and_depends_on_every_byte),
        cmocka_unit_test(random_bytes_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
