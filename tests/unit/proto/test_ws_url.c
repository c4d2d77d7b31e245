// The URL of a WebSocket: its parts, what is refused, what a Location means.
#include "proto/ws_url.h"

#include <stdio.h>

#include "base/alloc.h"
#include "support/cmocka.h"

static int expect_nothing_leaks(void **state) {
    (void)state;
    return peri_alloc_live() == 0 ? 0 : -1;
}

static struct peri_ws_url parse(const char *text) {
    struct peri_ws_url url;
    const char *why = NULL;
    if (peri_ws_url_parse(&url, peri_str_of(text), &why) != PERI_OK) {
        fail_msg("%s: %s", text, why);
    }
    return url;
}

static void expect_written(const char *text, const char *host, const char *target) {
    struct peri_ws_url url = parse(text);
    struct peri_buffer out = {0};
    assert_int_equal(peri_ws_url_write_host(&out, &url), PERI_OK);
    assert_int_equal(peri_buffer_append(&out, " ", 1), PERI_OK);
    assert_int_equal(peri_ws_url_write_target(&out, &url), PERI_OK);
    assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
    char expected[256];
    (void)snprintf(expected, sizeof expected, "%s %s", host, target);
    assert_string_equal((const char *)out.ptr, expected);
    peri_buffer_deinit(&out);
}

static void a_url_has_its_parts(void **state) {
    (void)state;
    struct peri_ws_url url = parse("WS://me:pass@example.org:8080/a/b?c=d");
    assert_false(url.is_secure);
    assert_false(url.is_ipv6);
    assert_true(url.has_user_info);
    assert_str_equal(url.user_info, "me:pass");
    assert_str_equal(url.host, "example.org");
    assert_int_equal(url.port, 8080);
    assert_str_equal(url.target, "/a/b?c=d");

    url = parse("ws://localhost?q");
    assert_false(url.has_user_info);
    assert_int_equal(url.port, 80);
    assert_str_equal(url.target, "?q");
    assert_int_equal(parse("http://a:").port, 80);
    assert_int_equal(parse("https://a").port, 443);
    assert_true(parse("https://a").is_secure);
    assert_true(parse("wss://a").is_secure);
    assert_false(parse("http://a").is_secure);

    url = parse("ws://[fe80::1%25eth0]:9/");
    assert_true(url.is_ipv6);
    assert_str_equal(url.host, "fe80::1%25eth0");
    assert_int_equal(url.port, 9);
    assert_true(parse("ws://@a").has_user_info);
}

static void what_is_no_url_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",           "localhost:8000", "ftp://a",     "ws:/a",         "ws://",
        "ws:///path", "ws://:80",       "ws://a:0",    "ws://a:65536",  "ws://a:99999999999",
        "ws://a:8x",  "ws://a:-1",      "ws://[::1",   "ws://[]",       "ws://[a.b]",
        "ws://[1]",   "ws://[::g]",     "ws://[::1]x", "ws://a b",      "ws://a/b c",
        "ws://a/\n",  "ws://a/\x7f",    "ws://a/#x",   "ws://a\\b",     "ws://\xc3\xa4",
        "ws://a,b",   "ws://b@c@a",     "ws://a<b>",   "//localhost/a", "ws://user@",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct peri_ws_url url = {.port = 7};
        const char *why = NULL;
        if (peri_ws_url_parse(&url, peri_str_of(bad[i]), &why) != PERI_E_INVALID) {
            fail_msg("%s is taken", bad[i]);
        }
        assert_non_null(why);
        assert_int_equal(url.port, 7); // untouched
    }
}

static void host_and_target_are_written(void **state) {
    (void)state;
    expect_written("ws://a", "a", "/");
    expect_written("ws://a:80/", "a", "/");
    expect_written("ws://a:8000?x=1", "a:8000", "/?x=1");
    expect_written("http://[::1]:8000/x", "[::1]:8000", "/x");
    expect_written("ws://[fe80::1%25eth0]/", "[fe80::1]", "/");
    expect_written("https://a:443/", "a", "/");
    expect_written("wss://a:80/", "a:80", "/");
    expect_written("ws://a/caf\xc3\xa9\"%20'", "a", "/caf%C3%A9%22%20'");
}

static void the_same_host_is_known(void **state) {
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } pairs[] = {
        {"ws://a/x", "http://A:80/y", true},  {"ws://a", "ws://b", false},
        {"ws://a:80", "ws://a:81", false},    {"ws://a", "wss://a", false},
        {"ws://[::1]", "ws://[::1]/z", true}, {"ws://a:443", "wss://a", false},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct peri_ws_url a = parse(pairs[i].a), b = parse(pairs[i].b);
        assert_int_equal(peri_ws_url_same_host(&a, &b), pairs[i].same);
    }
}

static void a_location_means_a_whole_url(void **state) {
    (void)state;
    static const char base[] = "ws://u:p@host:8000/a/b/c?q";
    static const char *const cases[][2] = {
        {"http://other/x#frag", "http://other/x"},
        {"//other:9/x", "ws://other:9/x"},
        {"/x?y", "ws://host:8000/x?y"},
        {"x", "ws://host:8000/a/b/x"},
        {"./x", "ws://host:8000/a/b/x"},
        {"../x", "ws://host:8000/a/x"},
        {"../../../../x", "ws://host:8000/x"},
        {"..", "ws://host:8000/a/"},
        {".", "ws://host:8000/a/b/"},
        {"/./d/../e/./f?../g", "ws://host:8000/e/f?../g"},
        {"?z", "ws://host:8000/a/b/c?z"},
        {"", "ws://host:8000/a/b/c?q"},
        {"#f", "ws://host:8000/a/b/c?q"},
        {"x:1", "x:1"}, // a scheme, if an odd one
        {"/x:1", "ws://host:8000/x:1"},
        {"...", "ws://host:8000/a/b/..."},
    };
    struct peri_ws_url from = parse(base);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peri_buffer out = {0};
        assert_int_equal(peri_ws_url_resolve(&out, &from, peri_str_of(cases[i][0])), PERI_OK);
        assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
        assert_string_equal((const char *)out.ptr, cases[i][1]);
        peri_buffer_deinit(&out);
    }
    struct peri_buffer out = {0};
    from = parse("ws://[::1]:5");
    assert_int_equal(peri_ws_url_resolve(&out, &from, PERI_STR("y")), PERI_OK);
    assert_str_equal(peri_buffer_str(&out), "ws://[::1]:5/y");
    peri_buffer_deinit(&out);
}

static void out_of_memory_leaves_the_buffer_as_it_was(void **state) {
    (void)state;
    struct peri_ws_url url = parse("ws://a:9/b");
    struct peri_buffer out = {0};
    peri_alloc_fail_from(1);
    assert_int_equal(peri_ws_url_write_host(&out, &url), PERI_E_MEMORY);
    assert_int_equal(peri_ws_url_write_target(&out, &url), PERI_E_MEMORY);
    assert_int_equal(peri_ws_url_resolve(&out, &url, PERI_STR("c")), PERI_E_MEMORY);
    peri_alloc_fail_from(0);
    assert_int_equal(out.len, 0);
    peri_buffer_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_has_its_parts),
        cmocka_unit_test(what_is_no_url_is_refused),
        cmocka_unit_test(host_and_target_are_written),
        cmocka_unit_test(the_same_host_is_known),
        cmocka_unit_test(a_location_means_a_whole_url),
        cmocka_unit_test(out_of_memory_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, expect_nothing_leaks);
}
