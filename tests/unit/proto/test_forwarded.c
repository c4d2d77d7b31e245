#include "proto/forwarded.h"

#include "support/request.h"

/// 10.0.0.0/8 and fd00::/8 are believed.
static enum peri_forwarded find(const char *fields, struct peri_ip *client) {
    struct peri_ip_range ranges[2];
    assert_true(peri_ip_range_read(&ranges[0], PERI_STR("10.0.0.0/8")));
    assert_true(peri_ip_range_read(&ranges[1], PERI_STR("fd00::/8")));
    const struct peri_ip_set believed = {ranges, 2};
    char text[16384];
    int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", fields);
    assert_in_range(n, 1, sizeof text - 1);
    struct peri_request *request = read_request(text);
    enum peri_forwarded said = peri_forwarded_find(request, &believed, client);
    peri_request_unref(request);
    return said;
}

static void named(const char *fields, const char *wanted) {
    struct peri_ip client = {0};
    char text[PERI_IP_TEXT];
    enum peri_forwarded said = find(fields, &client);
    if (said != PERI_FORWARDED_NAMED) {
        fail_msg("%s: nobody is named (%d)", fields, said);
    }
    peri_ip_print(text, &client);
    if (strcmp(text, wanted) != 0) {
        fail_msg("%s: %s, not %s", fields, text, wanted);
    }
}

static void not_named(const char *fields, enum peri_forwarded why) {
    struct peri_ip client = {.family = PERI_IP_UNIX};
    enum peri_forwarded said = find(fields, &client);
    if (said != why) {
        fail_msg("%s: %d, not %d", fields, said, why);
    }
    assert_int_equal(client.family, PERI_IP_UNIX); // untouched
}

static void hidden(const char *fields) {
    not_named(fields, PERI_FORWARDED_HIDDEN);
}

#define X "X-Forwarded-For: "
#define F "Forwarded: "

static void without_the_fields_nobody_is_named(void **state) {
    (void)state;
    not_named("", PERI_FORWARDED_ABSENT);
    not_named("X-Real-IP: 1.2.3.4\r\nX-Forwarded-Host: 1.2.3.4\r\n", PERI_FORWARDED_ABSENT);
}

static void the_last_that_is_no_proxy_of_ours_is_the_client(void **state) {
    (void)state;
    named(X "192.0.2.1\r\n", "192.0.2.1");
    named(X "192.0.2.1, 198.51.100.7\r\n", "198.51.100.7"); // the first is what that one says
    named(X "192.0.2.1, 10.1.1.1, 10.2.2.2\r\n", "192.0.2.1");
    named(X "6.6.6.6, 192.0.2.1, 10.1.1.1, fd00::1\r\n", "192.0.2.1");
    named(X "10.9.9.9, 192.0.2.1\r\n", "192.0.2.1");
    named(F "for=6.6.6.6, for=192.0.2.1;by=10.3.3.3, for=10.1.1.1\r\n", "192.0.2.1");
    named(F "for=192.0.2.1, for=198.51.100.7\r\n", "198.51.100.7");
}

static void where_all_are_proxies_of_ours_the_first_is_the_client(void **state) {
    (void)state;
    named(X "10.1.1.1\r\n", "10.1.1.1");
    named(X "10.1.1.1, 10.2.2.2, 10.3.3.3\r\n", "10.1.1.1");
    named(F "for=10.1.1.1, for=\"[fd00::2]\"\r\n", "10.1.1.1");
}

static void lines_are_one_list(void **state) {
    (void)state;
    named(X "6.6.6.6\r\n" X "192.0.2.1\r\n" X "10.1.1.1\r\n", "192.0.2.1");
    named(F "for=6.6.6.6\r\n" F "for=192.0.2.1, for=10.2.2.2\r\n" F "for=10.1.1.1\r\n",
          "192.0.2.1");
    named(X "\r\n" X "192.0.2.1\r\n", "192.0.2.1");
    hidden(X "\r\n");
    hidden(F "\r\n");
}

static void addresses_come_with_ports_brackets_and_zones(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"192.0.2.43:47011", "192.0.2.43"},
        {"192.0.2.43:_port", "192.0.2.43"},
        {"[2001:db8:cafe::17]:4711", "2001:db8:cafe::17"},
        {"[2001:db8:cafe::17]:_a.b-C_9", "2001:db8:cafe::17"},
        {"[2001:db8:cafe::17]", "2001:db8:cafe::17"},
        {"2001:db8:cafe::17", "2001:db8:cafe::17"},
        {"[fe80::1%eth0]:80", "fe80::1"},
        {"fe80::1%eth0", "fe80::1"},
        {"[::ffff:192.0.2.1]:80", "192.0.2.1"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char fields[128];
        (void)snprintf(fields, sizeof fields, X "%s\r\n", pairs[i][0]);
        named(fields, pairs[i][1]);
        (void)snprintf(fields, sizeof fields, F "for=\"%s\"\r\n", pairs[i][0]);
        named(fields, pairs[i][1]);
    }
    named(F "for=192.0.2.43:80\r\n", "192.0.2.43"); // quotes that many leave out
    named(F "for=[2001:db8::1]:80;proto=https\r\n", "2001:db8::1");
}

static void what_is_no_node_hides_the_client(void **state) {
    (void)state;
    static const char *const nodes[] = {
        "unknown",      "_hidden",     "_SEVKISEK",
        "unknown:80",   "_a:_b",       "localhost",
        "192.0.2.1:",   "192.0.2.1:x", "1.2.3.4:123456",
        "1.2.3.4:_",    "[192.0.2.1]", "[::1",
        "[::1]80",      "[::1]:",      "[::1]:80:80",
        "[]",           "[]:80",       "1.2.3.4%eth0",
        "192.0.2.1.5",  "::1::",       "[[::1]]",
        ":80",          ":",           "%",
        "999.1.1.1",    "[::1%eth0",   "0x1.2.3.4",
        "192.0.2.1/24", "_",           "1.2.3.4:_!x",
    };
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        char fields[128];
        (void)snprintf(fields, sizeof fields, X "6.6.6.6, %s\r\n", nodes[i]);
        hidden(fields);
        (void)snprintf(fields, sizeof fields, F "for=6.6.6.6, for=\"%s\"\r\n", nodes[i]);
        hidden(fields);
    }
    hidden(F "for=6.6.6.6, proto=https\r\n"); // a proxy that does not say
    hidden(F "for=6.6.6.6, for=\"\"\r\n");
}

static void behind_one_that_is_hidden_the_next_that_is_named_counts(void **state) {
    (void)state;
    named(X "6.6.6.6, unknown, 10.1.1.1\r\n", "10.1.1.1");
    named(X "6.6.6.6, unknown, 10.1.1.1, 10.2.2.2\r\n", "10.1.1.1");
    named(F "for=6.6.6.6, for=_x, for=10.1.1.1\r\n", "10.1.1.1");
    named(X "unknown, 192.0.2.1\r\n", "192.0.2.1");
}

static void an_element_may_hold_more_in_any_order_and_case(void **state) {
    (void)state;
    named(F "For=\"192.0.2.1\";Proto=http;by=203.0.113.43\r\n", "192.0.2.1");
    named(F "proto=http;by=203.0.113.43;FOR=192.0.2.1\r\n", "192.0.2.1");
    named(F "host=\"a,b;for=6.6.6.6\" ; for=192.0.2.1 ; ext=\"\"\r\n", "192.0.2.1");
    named(F "for=\"19\\2.0.2.1\"\r\n", "192.0.2.1"); // quoted pairs
    named(F ", ,for=192.0.2.1, ,\r\n", "192.0.2.1");
    named(F "for=192.0.2.1;\r\n", "192.0.2.1");
    named(F ";;for=192.0.2.1\r\n", "192.0.2.1");
    named(F "x-for=6.6.6.6;for=192.0.2.1\r\n", "192.0.2.1");
}

static void a_malformed_line_says_nothing_whatever_stands_before_it(void **state) {
    (void)state;
    static const char *const lines[] = {
        "for",
        "for=",
        "for =192.0.2.1",
        "for= 192.0.2.1",
        "=192.0.2.1",
        "for=\"192.0.2.1",
        "for=\"192.0.2.1\\",
        "for=\"192.0.2.1\"x",
        "for=a b",
        "for=192.0.2.1 for=1.1.1.1",
        "for=192.0.2.1;for=192.0.2.1",
        "192.0.2.1",
        "for=192.0.2.1;;;x",
        "for=192.0.2.1;x=@",
        "for==192.0.2.1",
        "for=192.0.2.1;x=\"a\"\"b\"",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char fields[160];
        (void)snprintf(fields, sizeof fields, F "%s\r\n", lines[i]);
        hidden(fields);
        (void)snprintf(fields, sizeof fields, F "for=6.6.6.6\r\n" F "for=7.7.7.7, %s\r\n",
                       lines[i]);
        hidden(fields);
        // What one of ours has added on a line of its own counts.
        (void)snprintf(fields, sizeof fields, F "%s\r\n" F "for=192.0.2.1\r\n", lines[i]);
        named(fields, "192.0.2.1");
    }
}

/// What a client sends so that the proxy's addition to the same line is read as a part of its own.
static void an_open_quote_does_not_swallow_what_a_proxy_adds(void **state) {
    (void)state;
    static const char *const opened[] = {"for=6.6.6.6;x=\"", "for=\"6.6.6.6", "for=6.6.6.6, for=\"",
                                         "for=6.6.6.6;x=\"\\", "for=6.6.6.6;x=\"\\\""};
    static const char *const added[] = {"for=192.0.2.1",
                                        "for=\"192.0.2.1\"",
                                        "for=\"[2001:db8::1]:80\"",
                                        "for=192.0.2.1;proto=\"http\"",
                                        "for=\"192.0.2.1\";by=\"10.0.0.1:80\"",
                                        "proto=\"\";for=a"};
    for (size_t i = 0; i < sizeof opened / sizeof opened[0]; i++) {
        for (size_t k = 0; k < sizeof added / sizeof added[0]; k++) {
            char fields[160];
            (void)snprintf(fields, sizeof fields, F "%s, %s\r\n", opened[i], added[k]);
            hidden(fields);
        }
    }
}

static void both_fields_count_where_they_say_the_same_and_else_neither(void **state) {
    (void)state;
    named(F "for=192.0.2.1\r\n" X "192.0.2.1\r\n", "192.0.2.1");
    named(X "6.6.6.6, 192.0.2.1, 10.1.1.1\r\n" F "for=\"192.0.2.1:80\"\r\n", "192.0.2.1");
    not_named(F "for=6.6.6.6\r\n" X "192.0.2.1\r\n", PERI_FORWARDED_DISPUTED);
    not_named(F "for=192.0.2.1\r\n" X "6.6.6.6\r\n", PERI_FORWARDED_DISPUTED);
    not_named(F "for=unknown\r\n" X "192.0.2.1\r\n", PERI_FORWARDED_DISPUTED);
    not_named(F "for=192.0.2.1\r\n" X "\r\n", PERI_FORWARDED_DISPUTED);
    hidden(F "for=unknown\r\n" X "unknown\r\n");
}

static void long_values_are_no_addresses_and_end_nothing(void **state) {
    (void)state;
    char fields[8000];
    char *at = fields;
    at += sprintf(at, F "for=6.6.6.6, for=\"");
    memset(at, '1', 4000);
    (void)sprintf(at + 4000, "\", for=10.1.1.1\r\n");
    named(fields, "10.1.1.1");

    hidden(X
           "6.6.6.6, [0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]\r\n");
}

/// The result may be anything; what is looked at stays within the request, as sanitizers see.
static void rubbish_is_read_to_its_end(void **state) {
    (void)state;
    static const char pieces[][12] = {"for=", "\"",  "\\", ",",  ";", "10.0.0.1", "[",   "]",
                                      ":80",  "::1", "%",  "_x", " ", "unknown",  "by=", "="};
    uint64_t x = 88172645463325252;
    for (int i = 0; i < 20000; i++) {
        char fields[256];
        struct peri_ip client;
        int n = snprintf(fields, sizeof fields, "%s", i % 2 ? F : X);
        for (int k = 0; k < 12; k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            n += snprintf(fields + n, sizeof fields - (size_t)n, "%s",
                          pieces[x % (sizeof pieces / sizeof pieces[0])]);
        }
        (void)snprintf(fields + n, sizeof fields - (size_t)n, "\r\n");
        (void)find(fields, &client);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_fields_nobody_is_named),
        cmocka_unit_test(the_last_that_is_no_proxy_of_ours_is_the_client),
        cmocka_unit_test(where_all_are_proxies_of_ours_the_first_is_the_client),
        cmocka_unit_test(lines_are_one_list),
        cmocka_unit_test(addresses_come_with_ports_brackets_and_zones),
        cmocka_unit_test(what_is_no_node_hides_the_client),
        cmocka_unit_test(behind_one_that_is_hidden_the_next_that_is_named_counts),
        cmocka_unit_test(an_element_may_hold_more_in_any_order_and_case),
        cmocka_unit_test(a_malformed_line_says_nothing_whatever_stands_before_it),
        cmocka_unit_test(an_open_quote_does_not_swallow_what_a_proxy_adds),
        cmocka_unit_test(both_fields_count_where_they_say_the_same_and_else_neither),
        cmocka_unit_test(long_values_are_no_addresses_and_end_nothing),
        cmocka_unit_test(rubbish_is_read_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
