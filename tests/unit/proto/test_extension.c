// Sec-WebSocket-Extensions: the grammar, what a server makes of offers, and a client of answers.
#include "proto/extension.h"

#include "support/feeding.h"

#define MOST 4

/// Fields of the name, one a line of the text.
struct fields {
    struct peri_field at[MOST];
    size_t n;
};

static struct fields fields_of(const char *text) {
    struct fields fields = {0};
    while (*text) {
        size_t n = strcspn(text, "\n");
        assert_true(fields.n < MOST);
        fields.at[fields.n++] =
            (struct peri_field){PERI_STR("sec-websocket-extensions"), peri_str(text, n)};
        text += n + (text[n] == '\n');
    }
    return fields;
}

static void expect_grammar(const char *text, bool valid) {
    // In a block of its own, so that a sanitizer sees a byte read past it.
    size_t n = strlen(text);
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    const struct peri_field field = {PERI_STR("sec-websocket-extensions"), peri_str(copy, n)};
    bool seen = peri_extension_fields_are_valid(&field, 1);
    free(copy);
    if (seen != valid) {
        fail_msg("<%s> is %s", text, seen ? "valid" : "not valid");
    }
}

static void what_is_of_the_grammar_passes(void **state) {
    (void)state;
    static const char *const good[] = {
        "",
        " ",
        ",",
        " , ,",
        "a",
        " a ",
        "a,b",
        "a ,\tb",
        ",a,,b,",
        "a;b",
        "a ; b",
        "a;b=c",
        "a; b = c",
        "a;b=\"c\"",
        "a;b=\"\\c\"",
        "a; b=\"c\" ;d",
        "a;b;c=d,e;f=\"g\"",
        "foo, bar; baz=2",
        "deflate-stream",
        "x!#$%&'*+-.^_`|~9; a",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        expect_grammar(good[i], true);
    }
}

static void what_is_not_of_the_grammar_does_not(void **state) {
    (void)state;
    static const char *const bad[] = {
        ";",          "a;",          "a;;b",        "a;b=",     "a;=b",
        "a b",        "a;b c",       "a;b=c d",     "a=b",      "a;b=\"",
        "a;b=\"c",    "a;b=\"\"",    "a;b=\"c d\"", "a;b=\"\\", "a;b=\"\\\"\"",
        "a;b=\"c\"d", "a;b=\"c\\\"", "\"a\"",       "a,;b",     "a;,b",
        "a/b",        "a;b=\"c,d\"", "a\x80",       "a;b=(c)",  "a;b=\"\\ \"",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        expect_grammar(bad[i], false);
    }
}

static void extensions_and_their_parameters_are_told_apart(void **state) {
    (void)state;
    struct peri_str rest = PERI_STR(" foo, bar ;x; y=1;z=\"\\2\" , baz");
    struct peri_extension extension;
    struct peri_extension_param param;
    assert_int_equal(peri_extension_next(&rest, &extension), PERI_OK);
    assert_str_equal(extension.name, "foo");
    assert_false(peri_extension_next_param(&extension.params, &param));
    assert_int_equal(peri_extension_next(&rest, &extension), PERI_OK);
    assert_str_equal(extension.name, "bar");
    assert_true(peri_extension_next_param(&extension.params, &param));
    assert_str_equal(param.name, "x");
    assert_false(param.has_value);
    assert_true(peri_extension_next_param(&extension.params, &param));
    assert_str_equal(param.name, "y");
    assert_str_equal(param.value, "1");
    assert_true(peri_extension_next_param(&extension.params, &param));
    assert_str_equal(param.value, "\\2");
    assert_true(param.has_value);
    assert_false(peri_extension_next_param(&extension.params, &param));
    assert_int_equal(peri_extension_next(&rest, &extension), PERI_OK);
    assert_str_equal(extension.name, "baz");
    assert_int_equal(peri_extension_next(&rest, &extension), PERI_AGAIN);
}

// A server.

static const struct peri_deflate_wishes PLAIN = {.window = 12};
static const struct peri_deflate_wishes BOTH = {
    .window = 12, .server_takeover = true, .client_takeover = true};

/// @param wanted the answer; "" for none; NULL for a malformed offer
static void expect_answer(const struct peri_deflate_wishes *wishes, const char *offer,
                          const char *wanted) {
    struct fields fields = fields_of(offer);
    struct peri_deflate_terms terms;
    struct peri_buffer text = {0};
    int rc = peri_deflate_choose(fields.at, fields.n, wishes, &terms);
    if (rc == PERI_OK) {
        assert_int_equal(peri_deflate_print(&terms, false, &text), PERI_OK);
    }
    assert_int_equal(peri_buffer_append(&text, "", 1), PERI_OK);
    if (rc != (!wanted     ? PERI_E_INVALID
               : wanted[0] ? PERI_OK
                           : PERI_AGAIN) ||
        strcmp((const char *)text.ptr, wanted ? wanted : "") != 0) {
        fail_msg("<%s>: %d <%s>", offer, rc, (const char *)text.ptr);
    }
    peri_buffer_deinit(&text);
}

#define PMD "permessage-deflate"
#define S_NO "; server_no_context_takeover"
#define C_NO "; client_no_context_takeover"
#define S_BITS "; server_max_window_bits"
#define C_BITS "; client_max_window_bits"

static void each_offer_gets_its_answer(void **state) {
    (void)state;
    static const struct {
        const char *offer, *plain, *both; ///< answers without takeover, and with it each way
    } table[] = {
        {PMD, PMD S_NO C_NO, PMD},
        {PMD C_BITS, PMD S_NO C_NO, PMD C_BITS "=12"}, // as browsers do
        {PMD C_BITS "=15", PMD S_NO C_NO, PMD C_BITS "=12"},
        {PMD C_BITS "=10", PMD S_NO C_NO, PMD C_BITS "=10"},
        {PMD C_BITS "=8", PMD S_NO C_NO, PMD C_BITS "=8"},
        {PMD S_BITS "=15", PMD S_NO C_NO S_BITS "=12", PMD S_BITS "=12"},
        {PMD S_BITS "=12", PMD S_NO C_NO S_BITS "=12", PMD S_BITS "=12"},
        {PMD S_BITS "=9", PMD S_NO C_NO S_BITS "=9", PMD S_BITS "=9"},
        {PMD S_BITS "=\"10\"", PMD S_NO C_NO S_BITS "=10", PMD S_BITS "=10"},
        {PMD S_BITS "=\"1\\0\"", PMD S_NO C_NO S_BITS "=10", PMD S_BITS "=10"},
        {PMD S_NO, PMD S_NO C_NO, PMD S_NO},
        {PMD C_NO, PMD S_NO C_NO, PMD C_NO},
        {PMD C_NO C_BITS, PMD S_NO C_NO, PMD C_NO},
        {PMD C_BITS S_BITS "=11" C_NO S_NO, PMD S_NO C_NO S_BITS "=11", PMD S_NO C_NO S_BITS "=11"},
        {"", "", ""},
        {"x-webkit-deflate-frame", "", ""},
        {"x-webkit-deflate-frame, " PMD, PMD S_NO C_NO, PMD},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        expect_answer(&PLAIN, table[i].offer, table[i].plain);
        expect_answer(&BOTH, table[i].offer, table[i].both);
    }
}

static void a_takeover_each_way_is_a_matter_of_its_own(void **state) {
    (void)state;
    struct peri_deflate_wishes wishes = {.window = 15, .server_takeover = true};
    expect_answer(&wishes, PMD C_BITS, PMD C_NO);
    wishes = (struct peri_deflate_wishes){.window = 15, .client_takeover = true};
    expect_answer(&wishes, PMD C_BITS, PMD S_NO C_BITS "=15");
}

static void a_bad_offer_is_declined(void **state) {
    (void)state;
    static const char *const bad[] = {
        PMD "; unknown",
        PMD "; unknown=1",
        PMD S_NO S_NO,
        PMD C_NO C_NO,
        PMD S_BITS "=10" S_BITS "=10",
        PMD C_BITS C_BITS,
        PMD C_BITS C_BITS "=10",
        PMD S_NO "=1",
        PMD C_NO "=true",
        PMD S_BITS, // must have a value
        PMD S_BITS "=8",
        PMD S_BITS "=7",
        PMD S_BITS "=16",
        PMD S_BITS "=0",
        PMD S_BITS "=010",
        PMD S_BITS "=1e1",
        PMD S_BITS "=+10",
        PMD S_BITS "=4294967306",
        PMD C_BITS "=7",
        PMD C_BITS "=16",
        PMD C_BITS "=x",
        PMD C_BITS "=09",
        "PERMESSAGE-DEFLATE",
        PMD "; Server_no_context_takeover",
        "permessage-deflat",
        "permessage-deflate-x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char offers[256];
        expect_answer(&PLAIN, bad[i], "");
        (void)snprintf(offers, sizeof offers, "%s, " PMD S_BITS "=10", bad[i]);
        expect_answer(&BOTH, offers, PMD S_BITS "=10"); // the next one may be better
        (void)snprintf(offers, sizeof offers, "%s\n" PMD S_BITS "=10", bad[i]);
        expect_answer(&BOTH, offers, PMD S_BITS "=10");
    }
}

static void the_first_good_offer_wins_over_all_fields(void **state) {
    (void)state;
    expect_answer(&BOTH, PMD S_NO ", " PMD, PMD S_NO);
    expect_answer(&BOTH, PMD ", " PMD S_NO, PMD);
    expect_answer(&BOTH, "a\n\n" PMD S_BITS "=8, " PMD C_NO "\n" PMD, PMD C_NO);
    struct peri_field fields[] = {
        {PERI_STR("sec-websocket-protocol"), PERI_STR(PMD)},
        {PERI_STR("sec-websocket-extensions"), PERI_STR(PMD S_NO)},
        {PERI_STR("x"), PERI_STR(PMD)},
    };
    struct peri_deflate_terms terms = {0};
    assert_int_equal(peri_deflate_choose(fields, 3, &BOTH, &terms), PERI_OK);
    assert_true(terms.server_no_takeover);
    assert_int_equal(peri_deflate_choose(fields, 1, &BOTH, &terms), PERI_AGAIN);
}

static void a_malformed_field_spoils_good_offers_too(void **state) {
    (void)state;
    expect_answer(&PLAIN, PMD ";", NULL);
    expect_answer(&PLAIN, PMD ", a b", NULL);
    expect_answer(&PLAIN, PMD "\n;", NULL);
    expect_answer(&PLAIN, "=\n" PMD, NULL);
}

// A client.

static void expect_offer(struct peri_deflate_terms offer, const char *wanted) {
    struct peri_buffer text = {0};
    assert_int_equal(peri_deflate_print(&offer, true, &text), PERI_OK);
    assert_int_equal(peri_buffer_append(&text, "", 1), PERI_OK);
    assert_string_equal((const char *)text.ptr, wanted);
    peri_buffer_deinit(&text);
}

static const struct peri_deflate_terms OFFER = {.client_bits = 15};

static void a_client_writes_its_offer(void **state) {
    (void)state;
    expect_offer(OFFER, PMD C_BITS);
    expect_offer((struct peri_deflate_terms){true, true, 10, 11},
                 PMD S_NO C_NO S_BITS "=10" C_BITS "=11");
    expect_offer((struct peri_deflate_terms){0}, PMD);
}

static int check(struct peri_deflate_terms offer, const char *answer,
                 struct peri_deflate_terms *terms) {
    struct fields fields = fields_of(answer);
    return peri_deflate_check_answer(fields.at, fields.n, &offer, terms);
}

static void a_good_answer_is_kept_to(void **state) {
    (void)state;
    struct peri_deflate_terms terms = {0};
    assert_int_equal(check(OFFER, PMD, &terms), PERI_OK);
    assert_int_equal(terms.client_bits, 15);
    assert_int_equal(terms.server_bits, 0);
    assert_false(terms.client_no_takeover || terms.server_no_takeover);
    assert_int_equal(check(OFFER, PMD S_NO C_NO S_BITS "=8" C_BITS "=9", &terms), PERI_OK);
    assert_int_equal(terms.client_bits, 9);
    assert_int_equal(terms.server_bits, 8);
    assert_true(terms.client_no_takeover && terms.server_no_takeover);
    struct peri_deflate_terms offer = {.client_no_takeover = true, .client_bits = 10};
    assert_int_equal(check(offer, PMD, &terms), PERI_OK);
    assert_true(terms.client_no_takeover);
    assert_int_equal(terms.client_bits, 10);
}

static void no_extension_may_be_accepted(void **state) {
    (void)state;
    struct peri_deflate_terms terms;
    assert_int_equal(check(OFFER, "", &terms), PERI_AGAIN);
}

static void a_bad_answer_fails_the_connection(void **state) {
    (void)state;
    static const char *const bad[] = {
        "other",          PMD ", " PMD,  PMD "\n" PMD, PMD ", x",       PMD "; x",
        PMD S_NO S_NO,    PMD S_NO "=1", PMD S_BITS,   PMD S_BITS "=7", PMD C_BITS,
        PMD C_BITS "=16", PMD ";",       ";",
    };
    struct peri_deflate_terms terms;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(check(OFFER, bad[i], &terms), PERI_E_INVALID);
    }
    struct peri_deflate_terms none = {0};
    assert_int_equal(check(none, PMD C_BITS "=15", &terms), PERI_E_INVALID); // not offered
    struct peri_deflate_terms ten = {.server_bits = 10, .client_bits = 10};
    assert_int_equal(check(ten, PMD S_BITS "=10" C_BITS "=11", &terms), PERI_E_INVALID);
    assert_int_equal(check(ten, PMD S_BITS "=11", &terms), PERI_E_INVALID);
    assert_int_equal(check(ten, PMD, &terms), PERI_E_INVALID); // must be granted
    assert_int_equal(check(ten, PMD S_BITS "=9" C_BITS "=8", &terms), PERI_OK);
    struct peri_deflate_terms no_takeover = {.server_no_takeover = true};
    assert_int_equal(check(no_takeover, PMD, &terms), PERI_E_INVALID);
    assert_int_equal(check(no_takeover, PMD S_NO, &terms), PERI_OK);
}

static void without_memory_nothing_is_written(void **state) {
    (void)state;
    struct peri_deflate_terms terms = {true, true, 10, 10};
    uint64_t nth = 0;
    int rc = PERI_E_MEMORY;
    while (rc == PERI_E_MEMORY) {
        struct peri_buffer text = {0};
        peri_alloc_fail_from(++nth);
        rc = peri_deflate_print(&terms, false, &text);
        peri_alloc_fail_from(0);
        assert_true(rc == PERI_OK || text.len == 0);
        peri_buffer_deinit(&text);
    }
    assert_true(nth > 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_of_the_grammar_passes),
        cmocka_unit_test(what_is_not_of_the_grammar_does_not),
        cmocka_unit_test(extensions_and_their_parameters_are_told_apart),
        cmocka_unit_test(each_offer_gets_its_answer),
        cmocka_unit_test(a_takeover_each_way_is_a_matter_of_its_own),
        cmocka_unit_test(a_bad_offer_is_declined),
        cmocka_unit_test(the_first_good_offer_wins_over_all_fields),
        cmocka_unit_test(a_malformed_field_spoils_good_offers_too),
        cmocka_unit_test(a_client_writes_its_offer),
        cmocka_unit_test(a_good_answer_is_kept_to),
        cmocka_unit_test(no_extension_may_be_accepted),
        cmocka_unit_test(a_bad_answer_fails_the_connection),
        cmocka_unit_test(without_memory_nothing_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
