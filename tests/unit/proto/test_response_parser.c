// Responses, whole and cut at every byte.
#include "proto/response_parser.h"

#include "support/response.h"

static void expect(const char *text, const char *expected) {
    struct peri_response_limits limits = RESPONSE_LIMITS;
    feeding_check_all(text, strlen(text), run_response, &limits, expected);
}

static void a_101_ends_with_its_head(void **state) {
    (void)state;
    expect("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
           "1.1 101 Switching Protocols|upgrade=websocket|connection=Upgrade|\n");
    expect("HTTP/1.1 101 \r\nUPGRADE: a\r\nConnection: upgrade\r\n\r\n\x81\x02hi",
           "1.1 101 |upgrade=a|connection=upgrade|\n\x81\x02hi");
    expect("HTTP/1.1 101 Odd\r\nContent-Length: 5\r\n\r\nframe", // no upgrade: the check says so
           "1.1 101 Odd|content-length=5|\nframe");
}

static void a_body_of_known_length_is_read(void **state) {
    (void)state;
    expect("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nX-Empty:\r\n\r\nwrong keymore",
           "1.1 403 Forbidden|content-length=9|x-empty=|wrong key\nmore");
    expect("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
           "1.1 404 Not Found|content-length=0|\n");
    expect("HTTP/1.1 204 No Content\r\n\r\n", "1.1 204 No Content|\n");
    expect("HTTP/1.1 304 Not Modified\r\n\r\n", "1.1 304 Not Modified|\n");
}

static void a_chunked_body_is_put_together(void **state) {
    (void)state;
    expect("HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n"
           "Trailer: dropped\r\n\r\n",
           "1.1 500 Oh|transfer-encoding=chunked|abcde\n");
}

static void the_end_of_the_connection_ends_a_body(void **state) {
    (void)state;
    expect("HTTP/1.0 200 OK\r\n\r\nall of it", "end: 1.0 200 OK|all of it\n");
    expect("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "end: 1.1 200 OK|connection=close|\n");
    expect("HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\nhalf",
           "end: 1.1 400 Bad Request|content-length=10|half...\n");
}

static void interim_responses_are_passed_over(void **state) {
    (void)state;
    expect("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
           "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno",
           "1.1 401 Unauthorized|content-length=2|no\n");
    expect("HTTP/1.1 100 Continue\r\n\r\n", "end: it closed in the midst of its head\n");
}

static void what_is_broken_in_a_body_leaves_the_head(void **state) {
    (void)state;
    expect("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
           "1.1 403 No|transfer-encoding=chunked|...\n");
}

static void an_interim_response_with_a_body_was_given_out(void **state) {
    (void)state;
    expect("HTTP/1.1 106\r\nTransfer-Encoding:t\r\n\r\n",
           "end: it closed in the midst of its head\n");
    expect("HTTP/1.1 106\r\nTransfer-Encoding:t\r\n\r\nx", "it is not HTTP\n");
    expect("HTTP/1.1 103\r\nTransfer-Encoding: chunked\r\n\r\nx", "it is not HTTP\n");
}

static void a_body_over_the_bound_is_cut(void **state) {
    (void)state;
    struct peri_response_limits limits = RESPONSE_LIMITS;
    limits.body_bytes = 4;
    static const char exact[] = "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nfour";
    static const char more[] = "HTTP/1.1 403 No\r\nConnection: close\r\n\r\nfour";
    static const char over[] = "HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nfour5";
    feeding_check_all(exact, sizeof exact - 1, run_response, &limits,
                      "1.1 403 No|content-length=4|four\n");
    feeding_check_all(more, sizeof more - 1, run_response, &limits,
                      "end: 1.1 403 No|connection=close|four\n");
    feeding_check_all(over, sizeof over - 1, run_response, &limits,
                      "1.1 403 No|content-length=9|four...\n");
}

static void a_head_over_a_bound_is_refused(void **state) {
    (void)state;
    struct peri_response_limits limits = RESPONSE_LIMITS;
    static const char head[] = "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\nContent-Length: 0\r\n\r\n";
    limits.head_bytes = sizeof head - 1;
    limits.head_fields = 3;
    feeding_check_all(head, sizeof head - 1, run_response, &limits,
                      "1.1 200 OK|a=b|c=d|content-length=0|\n");
    limits.head_bytes--;
    feeding_check_all(head, sizeof head - 1, run_response, &limits, "its head is too large\n");
    limits.head_bytes++;
    limits.head_fields--;
    feeding_check_all(head, sizeof head - 1, run_response, &limits,
                      "its head has too many fields\n");
    // Interim heads count, so that they do not go on for ever.
    struct peri_buffer endless = {0};
    for (int i = 0; i < 100; i++) {
        assert_int_equal(peri_buffer_append_str(&endless, PERI_STR("HTTP/1.1 100 C\r\n\r\n")),
                         PERI_OK);
    }
    limits = RESPONSE_LIMITS;
    feeding_check_all(endless.ptr, endless.len, run_response, &limits, "its head is too large\n");
    peri_buffer_deinit(&endless);
}

static void a_broken_name_over_the_limit_was_refused_for_this_or_that_as_it_was_cut(void **state) {
    (void)state;
    static const char text[] = "HTTP/1.1 200 OK\r\nA: b\r\nab\x01: c\r\n\r\n";
    struct peri_response_limits limits = RESPONSE_LIMITS;
    limits.head_fields = 1;
    feeding_check_all(text, sizeof text - 1, run_response, &limits, "it is not HTTP\n");
}

static void what_is_no_response_is_refused(void **state) {
    (void)state;
    expect("SSH-2.0-OpenSSH_9.2\r\n", "it is not HTTP\n");
    expect("GET / HTTP/1.1\r\n\r\n", "it is not HTTP\n");
    expect("HTTP/1.1 abc\r\n\r\n", "it is not HTTP\n");
    expect("HTTP/1.1 200 OK\r\nA b\r\n\r\n", "it is not HTTP\n");
    expect("HTTP/1.1 200 OK\r\nA: b", "end: it closed in the midst of its head\n");
    struct peri_response_limits limits = RESPONSE_LIMITS;
    struct peri_response_parser *parser = peri_response_parser_new(&limits);
    const struct peri_response *response;
    assert_int_equal(peri_response_parser_end(parser, &response), PERI_E_INVALID);
    assert_string_equal(peri_response_parser_why(parser), "it closed without an answer");
    peri_response_parser_free(parser);
}

static void out_of_memory_is_an_error_wherever_it_is(void **state) {
    (void)state;
    static const char text[] = "HTTP/1.1 403 No\r\nA: b\r\nContent-Length: 4\r\n\r\nfour";
    uint64_t live = peri_alloc_live();
    bool failed = true;
    for (uint64_t nth = 1; failed; nth++) {
        uint8_t bytes[sizeof text];
        memcpy(bytes, text, sizeof text);
        struct peri_span in = {bytes, sizeof text - 1};
        const struct peri_response *response = NULL;
        peri_alloc_fail_from(nth);
        struct peri_response_parser *parser = peri_response_parser_new(&RESPONSE_LIMITS);
        int rc = parser ? peri_response_parser_feed(parser, &in, &response) : PERI_E_MEMORY;
        peri_alloc_fail_from(0);
        failed = rc != PERI_OK;
        assert_int_equal(rc, failed ? PERI_E_MEMORY : PERI_OK);
        peri_response_parser_free(parser);
        assert_int_equal(peri_alloc_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_101_ends_with_its_head),
        cmocka_unit_test(a_body_of_known_length_is_read),
        cmocka_unit_test(a_chunked_body_is_put_together),
        cmocka_unit_test(the_end_of_the_connection_ends_a_body),
        cmocka_unit_test(interim_responses_are_passed_over),
        cmocka_unit_test(what_is_broken_in_a_body_leaves_the_head),
        cmocka_unit_test(an_interim_response_with_a_body_was_given_out),
        cmocka_unit_test(a_body_over_the_bound_is_cut),
        cmocka_unit_test(a_head_over_a_bound_is_refused),
        cmocka_unit_test(a_broken_name_over_the_limit_was_refused_for_this_or_that_as_it_was_cut),
        cmocka_unit_test(what_is_no_response_is_refused),
        cmocka_unit_test(out_of_memory_is_an_error_wherever_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
