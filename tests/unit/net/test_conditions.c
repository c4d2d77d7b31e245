#include "net/conditions.h"

#include "support/cmocka.h"

enum { CHANGED = 784111777 }; // Sun, 06 Nov 1994 08:49:37 GMT

static const struct peri_version VERSION = {{"\"1-2\"", 5}, true, CHANGED};

/// A GET with these fields: name, value, name, value, NULL.
static struct peri_request ask(struct peri_field fields[8], const char *const *texts) {
    size_t n = 0;
    for (; texts[2 * n]; n++) {
        fields[n] = (struct peri_field){peri_str_of(texts[2 * n]), peri_str_of(texts[2 * n + 1])};
    }
    return (struct peri_request){.method = PERI_STR("GET"), .fields = fields, .field_count = n};
}

#define REQUEST(...) \
    struct peri_field fields_[8] = {0}; \
    const struct peri_request request = ask(fields_, (const char *const[]){__VA_ARGS__, NULL})

static int status_with(const char *name, const char *value) {
    REQUEST(name, value);
    return peri_conditions_status(&request, &VERSION);
}

static void test_tags_are_compared_weakly_and_in_lists(void **state) {
    (void)state;
    static const char *const had[] = {"\"1-2\"", "W/\"1-2\"", "\"x\", \"1-2\"", "*"};
    static const char *const not_had[] = {"\"1-3\"", "1-2", "", "W/", "\"1-2"};
    for (size_t i = 0; i < sizeof had / sizeof had[0]; i++) {
        assert_int_equal(status_with("if-none-match", had[i]), 304);
    }
    for (size_t i = 0; i < sizeof not_had / sizeof not_had[0]; i++) {
        assert_int_equal(status_with("if-none-match", not_had[i]), 200);
    }
    assert_int_equal(status_with("if-match", "\"1-2\""), 200);
    assert_int_equal(status_with("if-match", "*"), 200);
    assert_int_equal(status_with("if-match", "W/\"1-2\""), 412); // strongly
    assert_int_equal(status_with("if-match", "\"1-3\""), 412);
}

static void test_a_tag_in_a_second_field_of_the_name_counts(void **state) {
    (void)state;
    REQUEST("if-none-match", "\"x\"", "if-none-match", "\"1-2\"");
    assert_int_equal(peri_conditions_status(&request, &VERSION), 304);
}

static void test_dates_are_compared_in_all_three_forms(void **state) {
    (void)state;
    static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        assert_int_equal(status_with("if-modified-since", same[i]), 304);
        assert_int_equal(status_with("if-unmodified-since", same[i]), 200);
    }
    const char *later = "Sun, 06 Nov 1994 08:49:38 GMT", *earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
    assert_int_equal(status_with("if-modified-since", later), 304);
    assert_int_equal(status_with("if-modified-since", earlier), 200);
    assert_int_equal(status_with("if-unmodified-since", later), 200);
    assert_int_equal(status_with("if-unmodified-since", earlier), 412);
    static const char *const no_dates[] = {
        "",
        "yesterday",
        "784111777",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMT!",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT"};
    for (size_t i = 0; i < sizeof no_dates / sizeof no_dates[0]; i++) {
        assert_int_equal(status_with("if-modified-since", no_dates[i]), 200);
        assert_int_equal(status_with("if-unmodified-since", no_dates[i]), 200);
    }
}

static void test_a_tag_goes_before_a_date(void **state) {
    (void)state;
    REQUEST("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT", "if-none-match", "\"x\"");
    assert_int_equal(peri_conditions_status(&request, &VERSION), 200);
    struct peri_field fields[8] = {0};
    const char *const texts[] = {"if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT", "if-match",
                                 "\"1-2\"", NULL};
    const struct peri_request match = ask(fields, texts);
    assert_int_equal(peri_conditions_status(&match, &VERSION), 200);
}

static void test_without_a_date_only_tags_count(void **state) {
    (void)state;
    static const struct peri_version undated = {.tag = {"\"1-2\"", 5}};
    static const char *const names[] = {"if-modified-since", "if-unmodified-since"};
    for (size_t i = 0; i < 2; i++) {
        REQUEST(names[i], "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_int_equal(peri_conditions_status(&request, &undated), 200);
    }
    struct peri_range range;
    REQUEST("range", "bytes=1-2", "if-range", "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_int_equal(peri_range_status(&request, &undated, 10, &range), 200);
}

static void expect_range(const char *text, uint64_t size, int status, uint64_t at, uint64_t n) {
    REQUEST("range", text);
    struct peri_range range = {7, 7};
    assert_int_equal(peri_range_status(&request, &VERSION, size, &range), status);
    assert_int_equal(range.at, at);
    assert_int_equal(range.n, n);
}

static void test_one_range_is_read(void **state) {
    (void)state;
    expect_range("bytes=0-0", 10, 206, 0, 1);
    expect_range("bytes=0-9", 10, 206, 0, 10);
    expect_range("bytes=9-9", 10, 206, 9, 1);
    expect_range("bytes=2-5", 10, 206, 2, 4);
    expect_range("BYTES= 2-5", 10, 206, 2, 4);
    expect_range("bytes=2-", 10, 206, 2, 8);
    expect_range("bytes=2-10", 10, 206, 2, 8); // the end is moved to the file's
    expect_range("bytes=2-99999999999999999999999", 10, 206, 2, 8);
    expect_range("bytes=-3", 10, 206, 7, 3);
    expect_range("bytes=-10", 10, 206, 0, 10);
    expect_range("bytes=-11", 10, 206, 0, 10);
}

static void test_a_range_outside_of_the_file_is_416(void **state) {
    (void)state;
    expect_range("bytes=10-", 10, 416, 0, 0);
    expect_range("bytes=10-10", 10, 416, 0, 0);
    expect_range("bytes=99999999999999999999999-", 10, 416, 0, 0);
    expect_range("bytes=0-", 0, 416, 0, 0);
    expect_range("bytes=0-0", 0, 416, 0, 0);
}

static void test_the_last_nothing_of_a_file_is_416(void **state) {
    (void)state;
    REQUEST("range", "bytes=-0");
    struct peri_range range;
    assert_int_equal(peri_range_status(&request, &VERSION, 10, &range), 416);
    assert_int_equal(range.n, 0);
}

static void test_what_is_no_single_range_is_ignored(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",           "bytes",     "bytes=",        "bytes=-",     "bytes=a-b",  "bytes=5-2",
        "lines=1-2",  "bytes=1",   "bytes=1-2,4-5", "bytes=1-2,",  "bytes=,1-2", "bytes=1-2x",
        "bytes=+1-2", "bytes=--2", "bytes=0x1-2",   "bytes=1 - 2", "bytes=-5-6", "bytes 1-2",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        expect_range(texts[i], 10, 200, 0, 10);
    }
    expect_range("bytes=-5", 0, 200, 0, 0);
}

static void test_ranges_are_for_one_field_of_a_get(void **state) {
    (void)state;
    struct peri_range range;
    REQUEST("range", "bytes=1-2", "range", "bytes=1-2");
    assert_int_equal(peri_range_status(&request, &VERSION, 10, &range), 200);
    struct peri_request head = request;
    head.field_count = 1;
    assert_int_equal(peri_range_status(&head, &VERSION, 10, &range), 206);
    head.method = PERI_STR("HEAD");
    assert_int_equal(peri_range_status(&head, &VERSION, 10, &range), 200);
}

static int range_if(const char *value) {
    REQUEST("range", "bytes=1-2", "if-range", value);
    struct peri_range range;
    return peri_range_status(&request, &VERSION, 10, &range);
}

static void test_if_range_wants_the_very_same_version(void **state) {
    (void)state;
    assert_int_equal(range_if("\"1-2\""), 206);
    assert_int_equal(range_if("Sun, 06 Nov 1994 08:49:37 GMT"), 206);
    static const char *const others[] = {"W/\"1-2\"",
                                         "\"1-3\"",
                                         "*",
                                         "",
                                         "Sun, 06 Nov 1994 08:49:38 GMT",
                                         "Sun, 06 Nov 1994 08:49:36 GMT"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(range_if(others[i]), 200);
    }
}

static bool takes_gzip(const char *value) {
    REQUEST("accept-encoding", value);
    return peri_accepts_gzip(&request);
}

static void test_gzip_is_taken_by_its_weight(void **state) {
    (void)state;
    static const char *const yes[] = {
        "gzip",           "GZIP",         "x-gzip", "br, gzip", "gzip;q=1",
        "gzip ; q=0.001", "gzip;q=1.000", "*",      "*;q=0.5",  "identity;q=0.5, gzip;q=0.5",
        "*;q=0, gzip"};
    static const char *const no[] = {"",
                                     "br",
                                     "identity",
                                     "gzip;q=0",
                                     "gzip;q=0.000",
                                     "*;q=0",
                                     "gzip;q=0, *",
                                     "gzip;q=",
                                     "gzip;q=2",
                                     "gzip;q=-1",
                                     "gzip;x=1",
                                     "gzipped",
                                     "gzip;q=0.5, identity",
                                     "gzip;q=1.5",
                                     "gzip;q=a"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        assert_true(takes_gzip(yes[i]));
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        assert_false(takes_gzip(no[i]));
    }
    const struct peri_request none = {.method = PERI_STR("GET")};
    assert_false(peri_accepts_gzip(&none));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tags_are_compared_weakly_and_in_lists),
        cmocka_unit_test(test_a_tag_in_a_second_field_of_the_name_counts),
        cmocka_unit_test(test_dates_are_compared_in_all_three_forms),
        cmocka_unit_test(test_a_tag_goes_before_a_date),
        cmocka_unit_test(test_without_a_date_only_tags_count),
        cmocka_unit_test(test_one_range_is_read),
        cmocka_unit_test(test_a_range_outside_of_the_file_is_416),
        cmocka_unit_test(test_the_last_nothing_of_a_file_is_416),
        cmocka_unit_test(test_what_is_no_single_range_is_ignored),
        cmocka_unit_test(test_ranges_are_for_one_field_of_a_get),
        cmocka_unit_test(test_if_range_wants_the_very_same_version),
        cmocka_unit_test(test_gzip_is_taken_by_its_weight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
