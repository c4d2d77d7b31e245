#include "net/addresses.h"

#include <stdio.h>

#include "base/alloc.h"
#include "support/cmocka.h"

enum { NOW = 1000000 };

static struct peri_addresses addresses;

static int set_up(void **state) {
    (void)state;
    peri_addresses_init(&addresses);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    peri_addresses_deinit(&addresses);
    return peri_alloc_live() == 0 ? 0 : -1;
}

static struct peri_ip ip_of(const char *text) {
    struct peri_ip ip = {.family = PERI_IP_UNIX};
    assert_true(strcmp(text, "unix") == 0 || peri_ip_read(&ip, peri_str_of(text)));
    return ip;
}

static int enter(const char *text, uint64_t most, uint64_t now_ms, struct peri_address_use **use) {
    struct peri_ip ip = ip_of(text);
    return peri_addresses_enter(&addresses, &ip, most, now_ms, use);
}

static struct peri_address_use *entered(const char *text) {
    struct peri_address_use *use = NULL;
    assert_int_equal(enter(text, 0, NOW, &use), PERI_OK);
    return use;
}

static void leave(struct peri_address_use *use, uint64_t now_ms) {
    peri_addresses_leave(&addresses, use, now_ms);
}

static void an_address_has_so_many_sessions_and_no_more(void **state) {
    (void)state;
    struct peri_address_use *use[3], *other, *none = NULL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(enter("192.0.2.1", 3, NOW, &use[i]), PERI_OK);
        assert_ptr_equal(use[i], use[0]);
    }
    assert_int_equal(enter("192.0.2.1", 3, NOW, &none), PERI_E_LIMIT);
    assert_null(none);
    assert_int_equal(enter("192.0.2.2", 3, NOW, &other), PERI_OK);
    leave(use[0], NOW);
    assert_int_equal(enter("192.0.2.1", 3, NOW, &use[0]), PERI_OK);
    assert_int_equal(enter("192.0.2.1", 3, NOW, &none), PERI_E_LIMIT);
    for (int i = 0; i < 3; i++) {
        leave(use[i], NOW);
    }
    leave(other, NOW);
}

static void who_has_one_address_of_ipv6_has_all_with_its_first_64_bits(void **state) {
    (void)state;
    struct peri_address_use *one = entered("2001:db8:1:2::1");
    struct peri_address_use *same = entered("2001:db8:1:2:ffff:ffff:ffff:ffff");
    struct peri_address_use *other = entered("2001:db8:1:3::1");
    assert_ptr_equal(one, same);
    assert_ptr_not_equal(one, other);
    leave(one, NOW);
    leave(same, NOW);
    leave(other, NOW);
}

static void families_are_apart_and_ipv4_counts_whole(void **state) {
    (void)state;
    static const char *const texts[] = {"1.2.3.4", "1.2.3.5", "102:304::", "unix", "::", "0.0.0.0"};
    struct peri_address_use *uses[6];
    for (int i = 0; i < 6; i++) {
        uses[i] = entered(texts[i]);
        assert_int_equal(uses[i]->sessions, 1);
    }
    assert_int_equal(addresses.uses.count, 6);
    for (int i = 0; i < 6; i++) {
        leave(uses[i], NOW);
    }
}

static void an_address_without_sessions_is_forgotten_after_a_second(void **state) {
    (void)state;
    struct peri_address_use *use = entered("192.0.2.1"), *stays = entered("192.0.2.2");
    leave(use, NOW);
    assert_true(peri_addresses_forget(&addresses, NOW + PERI_ADDRESS_FORGET_MS - 1));
    assert_int_equal(addresses.uses.count, 2);
    assert_false(peri_addresses_forget(&addresses, NOW + PERI_ADDRESS_FORGET_MS));
    assert_int_equal(addresses.uses.count, 1);
    leave(stays, NOW);
}

static void one_that_comes_back_in_time_is_known(void **state) {
    (void)state;
    struct peri_address_use *use = entered("192.0.2.1");
    assert_true(peri_rate_allow(&use->handshakes, 1, NOW));
    leave(use, NOW);
    assert_int_equal(enter("192.0.2.1", 0, NOW + 999, &use), PERI_OK);
    assert_false(peri_rate_allow(&use->handshakes, 1, NOW + 999));
    assert_false(peri_addresses_forget(&addresses, NOW + 5000)); // it has a session
    assert_int_equal(addresses.uses.count, 1);
    leave(use, NOW + 5000);
    assert_int_equal(enter("192.0.2.1", 0, NOW + 7000, &use), PERI_OK);
    assert_int_equal(use->handshakes.busy_ns, 0); // a new one
    leave(use, NOW + 7000);
}

static void very_many_that_come_and_go_leave_no_more_than_there_may_be(void **state) {
    (void)state;
    char text[32];
    for (int i = 0; i < PERI_ADDRESSES_IDLE + 1000; i++) {
        (void)snprintf(text, sizeof text, "%d.%d.%d.1", 1 + (i >> 16), i >> 8 & 255, i & 255);
        leave(entered(text), NOW);
    }
    assert_int_equal(addresses.idle_count, PERI_ADDRESSES_IDLE);
    assert_int_equal(addresses.uses.count, PERI_ADDRESSES_IDLE);
    assert_false(peri_addresses_forget(&addresses, NOW + PERI_ADDRESS_FORGET_MS));
    assert_int_equal(addresses.uses.count, 0);
}

static void a_rate_allows_so_many_at_once_and_then_as_they_are_due(void **state) {
    (void)state;
    static const uint64_t rates[] = {1, 2, 3, 7, 10, 1000, 1001};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct peri_rate rate = {0};
        for (uint64_t n = 0; n < rates[i]; n++) {
            assert_true(peri_rate_allow(&rate, rates[i], NOW));
        }
        assert_false(peri_rate_allow(&rate, rates[i], NOW));
        assert_false(peri_rate_allow(&rate, rates[i], NOW)); // nor does that cost anything
        assert_true(peri_rate_allow(&rate, rates[i], NOW + 1000));
    }
    struct peri_rate rate = {0};
    for (int n = 0; n < 10; n++) {
        assert_true(peri_rate_allow(&rate, 10, NOW));
    }
    assert_false(peri_rate_allow(&rate, 10, NOW + 99));
    assert_true(peri_rate_allow(&rate, 10, NOW + 100));
    assert_false(peri_rate_allow(&rate, 10, NOW + 100));
    assert_true(peri_rate_allow(&rate, 10, NOW + 300));
    assert_true(peri_rate_allow(&rate, 10, NOW + 300));
    assert_false(peri_rate_allow(&rate, 10, NOW + 300));
}

static void a_rate_of_0_has_no_bound(void **state) {
    (void)state;
    struct peri_rate rate = {0};
    for (int n = 0; n < 100000; n++) {
        assert_true(peri_rate_allow(&rate, 0, NOW));
    }
    assert_int_equal(rate.busy_ns, 0);
}

static void without_memory_nobody_is_entered(void **state) {
    (void)state;
    struct peri_address_use *use = NULL;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        peri_alloc_fail_from(nth);
        assert_int_equal(enter("192.0.2.1", 0, NOW, &use), PERI_E_MEMORY);
        assert_null(use);
        assert_int_equal(addresses.uses.count, 0);
    }
    peri_alloc_fail_from(0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_address_has_so_many_sessions_and_no_more),
        TEST(who_has_one_address_of_ipv6_has_all_with_its_first_64_bits),
        TEST(families_are_apart_and_ipv4_counts_whole),
        TEST(an_address_without_sessions_is_forgotten_after_a_second),
        TEST(one_that_comes_back_in_time_is_known),
        TEST(very_many_that_come_and_go_leave_no_more_than_there_may_be),
        TEST(a_rate_allows_so_many_at_once_and_then_as_they_are_due),
        TEST(a_rate_of_0_has_no_bound),
        TEST(without_memory_nobody_is_entered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
