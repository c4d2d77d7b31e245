#include "hub/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/alloc.h"

static struct peri_router *router;
static uint64_t live_before;

static int set_up(void **state) {
    (void)state;
    live_before = peri_alloc_live();
    router = peri_router_new();
    return router ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    peri_router_free(router);
    return peri_alloc_live() == live_before ? 0 : -1;
}

static void add(const char *pattern, uint32_t script) {
    uint32_t taken_by = 0;
    assert_int_equal(peri_router_add(router, peri_str_of(pattern), script, &taken_by), PERI_OK);
}

static int try_add(const char *pattern) {
    uint32_t taken_by = 0;
    return peri_router_add(router, peri_str_of(pattern), 9, &taken_by);
}

/// @param wanted "name=value name=value", in the pattern's order; "" for none
static void expect(const char *path, uint32_t wanted_script, const char *wanted) {
    uint32_t script = 0;
    struct peri_params *params = NULL;
    char got[512] = "";
    size_t at = 0;
    assert_int_equal(peri_router_match(router, peri_str_of(path), &script, &params), PERI_OK);
    assert_int_equal(script, wanted_script);
    for (size_t i = 0; params && i < params->count; i++) {
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%.*s=%.*s", i ? " " : "",
                               (int)params->at[i].name.len, params->at[i].name.ptr,
                               (int)params->at[i].value.len, params->at[i].value.ptr);
    }
    assert_string_equal(got, wanted);
    peri_params_unref(params);
}

static int try_match(const char *path) {
    uint32_t script = 0;
    struct peri_params *params = NULL;
    int rc = peri_router_match(router, peri_str_of(path), &script, &params);
    assert_null(params);
    return rc;
}

static void test_the_root_matches_only_the_root(void **state) {
    (void)state;
    add("/", 1);
    expect("/", 1, "");
    assert_int_equal(try_match("/a"), PERI_AGAIN);
    assert_int_equal(try_match("//"), PERI_AGAIN);
}

static void test_static_goes_before_param_before_rest(void **state) {
    (void)state;
    add("/a/*", 1);
    add("/a/:x", 2);
    add("/a/b", 3);
    expect("/a/b", 3, "");
    expect("/a/c", 2, "x=c");
    expect("/a/c/d", 1, "*=c/d");
    expect("/a/b/c", 1, "*=b/c");
}

static void test_a_dead_end_is_backed_out_of(void **state) {
    (void)state;
    add("/a/b/c", 1);
    add("/a/:x/d", 2);
    add("/:y/b/:z", 3);
    add("/*", 4);
    expect("/a/b/c", 1, "");
    expect("/a/b/d", 2, "x=b");
    expect("/a/b/e", 3, "y=a z=e");
    expect("/a/q/e", 4, "*=a/q/e");
}

static void test_each_route_keeps_its_own_names(void **state) {
    (void)state;
    add("/g/:id", 1);
    add("/g/:game/p/:player", 2);
    expect("/g/7", 1, "id=7");
    expect("/g/7/p/9", 2, "game=7 player=9");
}

static void test_a_trailing_slash_is_ignored(void **state) {
    (void)state;
    add("/a/", 1);
    add("/p/:x", 2);
    expect("/a", 1, "");
    expect("/a/", 1, "");
    expect("/p/x/", 2, "x=x");
    assert_int_equal(try_match("/a//"), PERI_AGAIN);
}

static void test_parameters_are_never_empty(void **state) {
    (void)state;
    add("/p/:x", 1);
    add("/f/*", 2);
    add("/q/:x/y", 3);
    assert_int_equal(try_match("/p"), PERI_AGAIN);
    assert_int_equal(try_match("/p/"), PERI_AGAIN);
    assert_int_equal(try_match("/p//"), PERI_AGAIN);
    assert_int_equal(try_match("/f"), PERI_AGAIN);
    assert_int_equal(try_match("/f/"), PERI_AGAIN);
    assert_int_equal(try_match("/f//a"), PERI_AGAIN);
    assert_int_equal(try_match("/q//y"), PERI_AGAIN);
    expect("/f/a//b", 2, "*=a//b");
}

static void test_segments_are_decoded_after_the_split(void **state) {
    (void)state;
    add("/caf\xc3\xa9/:x", 1);
    add("/a b", 2);
    expect("/caf%C3%A9/%41%20b", 1, "x=A b");
    expect("/a%20b", 2, "");
    expect("/caf\xc3\xa9/a%3Fb%2525", 1, "x=a?b%25");
    expect("/caf%c3%a9/a+b", 1, "x=a+b");
}

static void test_bad_segments_are_refused_wherever_they_are(void **state) {
    (void)state;
    add("/a/*", 1);
    assert_int_equal(try_match("/a/b%2Fc"), PERI_E_INVALID);
    assert_int_equal(try_match("/a/b%2fc"), PERI_E_INVALID);
    assert_int_equal(try_match("/a/b%00c"), PERI_E_INVALID);
    assert_int_equal(try_match("/a/b%4"), PERI_E_INVALID);
    assert_int_equal(try_match("/a/b%zz"), PERI_E_INVALID);
    assert_int_equal(try_match("/a/%ff"), PERI_E_INVALID);
    assert_int_equal(try_match("/elsewhere/%ff"), PERI_E_INVALID);
    assert_int_equal(try_match("/a/\xc3"), PERI_E_INVALID);
}

static void test_a_path_that_is_not_absolute_matches_nothing(void **state) {
    (void)state;
    add("/*", 1);
    assert_int_equal(try_match("*"), PERI_AGAIN);
    assert_int_equal(try_match(""), PERI_AGAIN);
}

static void test_a_route_is_taken_once_parameter_names_aside(void **state) {
    (void)state;
    uint32_t taken_by = 0;
    add("/a/:x", 5);
    assert_int_equal(peri_router_add(router, PERI_STR("/a/:y"), 6, &taken_by), PERI_E_EXISTS);
    assert_int_equal(taken_by, 5);
    add("/a/*", 7);
    assert_int_equal(peri_router_add(router, PERI_STR("/a/*"), 6, &taken_by), PERI_E_EXISTS);
    assert_int_equal(taken_by, 7);
    add("/", 8);
    assert_int_equal(peri_router_add(router, PERI_STR("/"), 6, &taken_by), PERI_E_EXISTS);
    assert_int_equal(taken_by, 8);
    assert_int_equal(peri_router_add(router, PERI_STR("/a/:z/"), 6, &taken_by), PERI_E_EXISTS);
    assert_int_equal(taken_by, 5);
}

static void test_malformed_patterns_are_refused(void **state) {
    (void)state;
    assert_int_equal(try_add(""), PERI_E_INVALID);
    assert_int_equal(try_add("a"), PERI_E_INVALID);
    assert_int_equal(try_add("/a//b"), PERI_E_INVALID);
    assert_int_equal(try_add("//"), PERI_E_INVALID);
    assert_int_equal(try_add("/:"), PERI_E_INVALID);
    assert_int_equal(try_add("/:a/b/:a"), PERI_E_INVALID);
    assert_int_equal(try_add("/*/a"), PERI_E_INVALID);
    assert_int_equal(try_add("/*a"), PERI_E_INVALID);
    assert_int_equal(try_match("/a"), PERI_AGAIN);
}

static void test_a_thousand_static_routes_are_all_found(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        char pattern[32];
        snprintf(pattern, sizeof pattern, "/r%u", (i * 7919) % 1000);
        add(pattern, (i * 7919) % 1000 + 1);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        char path[32];
        snprintf(path, sizeof path, "/r%u", i);
        expect(path, i + 1, "");
    }
}

static void test_every_failed_allocation_leaves_the_router_whole(void **state) {
    (void)state;
    uint32_t taken_by = 0, script = 0;
    struct peri_params *params = NULL;
    int rc = PERI_E_MEMORY;
    for (uint64_t nth = 1; rc != PERI_OK; nth++) {
        peri_alloc_fail_from(nth);
        rc = peri_router_add(router, PERI_STR("/a/:x/b/*"), 3, &taken_by);
        peri_alloc_fail_from(0);
        assert_true(rc == PERI_OK || rc == PERI_E_MEMORY);
        assert_true(nth < 100);
    }
    rc = PERI_E_MEMORY;
    for (uint64_t nth = 1; rc != PERI_OK; nth++) {
        peri_alloc_fail_from(nth);
        rc = peri_router_match(router, PERI_STR("/a/1/b/2/3"), &script, &params);
        peri_alloc_fail_from(0);
        assert_true(rc == PERI_OK || rc == PERI_E_MEMORY);
        assert_true(nth < 100);
    }
    assert_int_equal(script, 3);
    peri_params_unref(params);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_the_root_matches_only_the_root),
        TEST(test_static_goes_before_param_before_rest),
        TEST(test_a_dead_end_is_backed_out_of),
        TEST(test_each_route_keeps_its_own_names),
        TEST(test_a_trailing_slash_is_ignored),
        TEST(test_parameters_are_never_empty),
        TEST(test_segments_are_decoded_after_the_split),
        TEST(test_bad_segments_are_refused_wherever_they_are),
        TEST(test_a_path_that_is_not_absolute_matches_nothing),
        TEST(test_a_route_is_taken_once_parameter_names_aside),
        TEST(test_malformed_patterns_are_refused),
        TEST(test_a_thousand_static_routes_are_all_found),
        TEST(test_every_failed_allocation_leaves_the_router_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
