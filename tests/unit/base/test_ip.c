#include "base/ip.h"

#include "support/cmocka.h"

static struct peri_ip ip_of(const char *text) {
    struct peri_ip ip = {0};
    assert_true(peri_ip_read(&ip, peri_str_of(text)));
    return ip;
}

static void expect_printed(const struct peri_ip *ip, const char *wanted) {
    char text[PERI_IP_TEXT];
    peri_ip_print(text, ip);
    assert_string_equal(text, wanted);
}

static void an_address_is_printed_as_the_shortest_that_reads_back(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"192.0.2.1", "192.0.2.1"},
        {"0.0.0.0", "0.0.0.0"},
        {"::", "::"},
        {"2001:DB8:0:0::1", "2001:db8::1"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"0:0:0:0:0:FFFF:c000:201", "192.0.2.1"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct peri_ip ip = ip_of(pairs[i][0]);
        expect_printed(&ip, pairs[i][1]);
    }
    expect_printed(&(struct peri_ip){.family = PERI_IP_UNIX}, "unix");
    expect_printed(&(struct peri_ip){0}, "");
}

static void what_is_no_address_is_none(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",           "1.2.3",      "1.2.3.4.5",
        "1.2.3.256",  "01.2.3.4",   " 1.2.3.4",
        "1.2.3.4 ",   "1.2.3.4:5",  "[::1]",
        "::1%lo",     "unix",       "localhost",
        ":::",        "1::2::3",    "12345::",
        "2130706433", "0x7f.0.0.1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    struct peri_ip ip = {.family = PERI_IP_UNIX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(peri_ip_read(&ip, peri_str_of(wrong[i])));
    }
    assert_false(peri_ip_read(&ip, PERI_STR("1.2.3.4\0")));
    assert_int_equal(ip.family, PERI_IP_UNIX); // untouched
}

static bool has(const char *range, const char *address) {
    struct peri_ip_range read;
    struct peri_ip ip = {.family = PERI_IP_UNIX};
    assert_true(peri_ip_range_read(&read, peri_str_of(range)));
    if (strcmp(address, "unix") != 0) {
        ip = ip_of(address);
    }
    const struct peri_ip_set set = {&read, 1};
    return peri_ip_set_has(&set, &ip);
}

static void a_range_has_what_shares_its_prefix_and_nothing_else(void **state) {
    (void)state;
    assert_true(has("10.0.0.0/8", "10.255.255.255"));
    assert_false(has("10.0.0.0/8", "11.0.0.0"));
    assert_true(has("192.0.2.64/26", "192.0.2.127"));
    assert_false(has("192.0.2.64/26", "192.0.2.63"));
    assert_false(has("192.0.2.64/26", "192.0.2.128"));
    assert_true(has("192.0.2.1", "192.0.2.1"));
    assert_false(has("192.0.2.1", "192.0.2.0"));
    assert_true(has("192.0.2.2/31", "192.0.2.3"));
    assert_false(has("192.0.2.2/31", "192.0.2.4"));
    assert_true(has("192.0.2.1/32", "192.0.2.1"));
    assert_true(has("0.0.0.0/0", "255.255.255.255"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("::1", "::1"));
    assert_false(has("::1/128", "::2"));
    assert_true(has("::/0", "fe80::1"));
}

static void families_do_not_meet(void **state) {
    (void)state;
    assert_false(has("0.0.0.0/0", "::1"));
    assert_false(has("::/0", "127.0.0.1"));
    assert_false(has("0.0.0.0/0", "unix"));
    assert_false(has("::/0", "unix"));
    assert_true(has("unix", "unix"));
    assert_false(has("unix", "127.0.0.1"));
    const struct peri_ip_set nobody = {0};
    const struct peri_ip none = {0}, one = ip_of("::1");
    assert_false(peri_ip_set_has(&nobody, &one));
    assert_false(peri_ip_set_has(&nobody, &none));
}

static void an_ipv4_range_may_be_written_within_ipv6(void **state) {
    (void)state;
    assert_true(has("::ffff:10.0.0.0/104", "10.1.2.3"));
    assert_false(has("::ffff:10.0.0.0/104", "11.1.2.3"));
    assert_true(has("::ffff:0:0/96", "1.2.3.4"));
    assert_false(has("::ffff:0:0/96", "::1"));
    assert_true(has("10.0.0.0/8", "::ffff:10.1.2.3"));
}

static void what_is_no_range_or_an_unclear_one_is_none(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/8/8",
        "10.0.0.1/8",
        "10.0.0.0/-1",
        "10.0.0.0/ 8",
        "10.0.0.0/0008",
        "10.0.0.0/255.0.0.0",
        "::/129",
        "::1/64",
        "fe80::%lo/64",
        "::ffff:10.0.0.0/8",
        "UNIX",
        "unix:",
        "unix/0",
        "*",
        "10.*",
        "0.0.0.1/0",
    };
    struct peri_ip_range range = {.bits = 77};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(peri_ip_range_read(&range, peri_str_of(wrong[i])));
    }
    assert_int_equal(range.bits, 77); // untouched
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_printed_as_the_shortest_that_reads_back),
        cmocka_unit_test(what_is_no_address_is_none),
        cmocka_unit_test(a_range_has_what_shares_its_prefix_and_nothing_else),
        cmocka_unit_test(families_do_not_meet),
        cmocka_unit_test(an_ipv4_range_may_be_written_within_ipv6),
        cmocka_unit_test(what_is_no_range_or_an_unclear_one_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
