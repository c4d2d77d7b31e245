// The client's opening handshake: what is asked, and which answers are believed.
#include "proto/opening.h"

#include "proto/handshake.h"
#include "support/request.h"
#include "support/response.h"

// RFC 6455 section 1.3: the key, and its proof "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".
static const uint8_t NONCE[PERI_OPENING_NONCE_BYTES] = {'t', 'h', 'e', ' ', 's', 'a', 'm', 'p',
                                                        'l', 'e', ' ', 'n', 'o', 'n', 'c', 'e'};

static const struct peri_deflate_terms DEFLATE = {.client_bits = 15};

static struct peri_opening opening_of(const char *text) {
    struct peri_opening opening = {0};
    const char *why;
    assert_int_equal(peri_ws_url_parse(&opening.url, peri_str_of(text), &why), PERI_OK);
    peri_opening_set_key(&opening, NONCE);
    return opening;
}

static void expect_request(const struct peri_opening *opening, const char *expected) {
    struct peri_buffer out = {0};
    assert_int_equal(peri_opening_write(&out, opening), PERI_OK);
    assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
    assert_string_equal((const char *)out.ptr, expected);
    peri_buffer_deinit(&out);
}

static void a_request_is_written(void **state) {
    (void)state;
    struct peri_opening opening = opening_of("ws://example.org:8000/chat?room=tea");
    expect_request(&opening, "GET /chat?room=tea HTTP/1.1\r\nHost: example.org:8000\r\n"
                             "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                             "Sec-WebSocket-Version: 13\r\n\r\n");
    const struct peri_field fields[] = {{PERI_STR("Origin"), PERI_STR("https://a.example")},
                                        {PERI_STR("host"), PERI_STR("other")}};
    const struct peri_str protocols[] = {PERI_STR("v2"), PERI_STR("v1")};
    opening = opening_of("ws://a");
    opening.fields = fields;
    opening.field_count = 2;
    opening.protocols = protocols;
    opening.protocol_count = 2;
    opening.deflate = &DEFLATE;
    expect_request(&opening, "GET / HTTP/1.1\r\n"
                             "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: v2, v1\r\n"
                             "Sec-WebSocket-Extensions: permessage-deflate; "
                             "client_max_window_bits\r\n"
                             "Origin: https://a.example\r\nhost: other\r\n\r\n");
}

static void our_own_server_takes_it(void **state) {
    (void)state;
    struct peri_opening opening = opening_of("ws://[::1]:8000/caf\xc3\xa9");
    struct peri_buffer out = {0};
    assert_int_equal(peri_opening_write(&out, &opening), PERI_OK);
    assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
    struct peri_request *request = read_request((const char *)out.ptr);
    struct peri_refusal refusal;
    assert_int_equal(peri_handshake_check(request, &refusal), PERI_OK);
    peri_request_unref(request);
    peri_buffer_deinit(&out);
}

static void expect_credentials(const char *url, const char *expected) {
    struct peri_opening opening = opening_of(url);
    struct peri_buffer out = {0};
    assert_int_equal(peri_opening_write(&out, &opening), PERI_OK);
    assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
    const char *found = strstr((const char *)out.ptr, "Authorization: ");
    assert_non_null(found);
    assert_memory_equal(found + 15, expected, strlen(expected));
    assert_memory_equal(found + 15 + strlen(expected), "\r\n", 2);
    peri_buffer_deinit(&out);
}

static void user_and_password_go_as_basic_credentials(void **state) {
    (void)state;
    expect_credentials("ws://Aladdin:open%20sesame@a", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    expect_credentials("ws://me@a", "Basic bWU6");
    expect_credentials("ws://a+b:%zz%@a", "Basic YStiOiV6eiU=");
    struct peri_opening opening = opening_of("ws://me:pass@a");
    const struct peri_field own = {PERI_STR("authorization"), PERI_STR("Bearer x")};
    opening.fields = &own;
    opening.field_count = 1;
    struct peri_buffer out = {0};
    assert_int_equal(peri_opening_write(&out, &opening), PERI_OK);
    assert_int_equal(peri_buffer_append(&out, "", 1), PERI_OK);
    assert_null(strstr((const char *)out.ptr, "Basic"));
    assert_non_null(strstr((const char *)out.ptr, "authorization: Bearer x\r\n"));
    peri_buffer_deinit(&out);
}

static void what_cannot_be_sent_is_refused(void **state) {
    (void)state;
    static const struct peri_field bad[] = {
        {{"Connection", 10}, {"close", 5}},
        {{"UPGRADE", 7}, {"x", 1}},
        {{"Content-Length", 14}, {"5", 1}},
        {{"Sec-WebSocket-Key", 17}, {"x", 1}},
        {{"Sec-WebSocket-Extensions", 24}, {"permessage-deflate", 18}},
        {{"A", 1}, {"b\r\nC: d", 7}},
        {{"A b", 3}, {"c", 1}},
    };
    struct peri_buffer out = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct peri_opening opening = opening_of("ws://a");
        opening.fields = &bad[i];
        opening.field_count = 1;
        assert_int_equal(peri_opening_write(&out, &opening), PERI_E_INVALID);
        assert_int_equal(out.len, 0);
    }
    struct peri_opening opening = opening_of("ws://a");
    const struct peri_str two = PERI_STR("a, b");
    opening.protocols = &two;
    opening.protocol_count = 1;
    assert_int_equal(peri_opening_write(&out, &opening), PERI_E_INVALID);
    peri_buffer_deinit(&out);
}

/// Checks the response against an opening that offered "v1" and "v2", and may be compression.
static int check(const struct peri_deflate_terms *deflate, const char *head,
                 struct peri_opening_choice *choice, char protocol[16], const char **why) {
    static const struct peri_str protocols[] = {{"v1", 2}, {"v2", 2}};
    struct peri_opening opening = opening_of("ws://a");
    opening.protocols = protocols;
    opening.protocol_count = 2;
    opening.deflate = deflate;
    struct peri_response_parser *parser = peri_response_parser_new(&RESPONSE_LIMITS);
    uint8_t bytes[1024];
    struct peri_span in = {bytes, strlen(head)};
    memcpy(bytes, head, in.len);
    const struct peri_response *response = NULL;
    assert_int_equal(peri_response_parser_feed(parser, &in, &response), PERI_OK);
    int rc = peri_opening_check(&opening, response, choice, why);
    if (rc == PERI_OK) {
        assert_true(choice->protocol.len < 16);
        memcpy(protocol, choice->protocol.ptr ? choice->protocol.ptr : "", choice->protocol.len);
        protocol[choice->protocol.len] = '\0';
    }
    peri_response_parser_free(parser);
    return rc;
}

static void expect_answer(const char *head, int expected, const char *words) {
    struct peri_opening_choice choice = {0};
    char protocol[16];
    const char *why = NULL;
    int rc = check(NULL, head, &choice, protocol, &why);
    if (rc != expected) {
        fail_msg("%s\n%s", head, why ? why : "");
    }
    if (rc == PERI_OK) {
        assert_string_equal(protocol, words);
        assert_false(choice.deflates);
    } else if (rc == PERI_E_PROTOCOL) {
        assert_non_null(strstr(why, words));
    }
}

#define PROOF "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define UPGRADED "HTTP/1.1 101 X\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n"

static void a_101_with_the_proof_is_believed(void **state) {
    (void)state;
    expect_answer(UPGRADED PROOF "\r\n", PERI_OK, "");
    expect_answer(UPGRADED PROOF "Sec-WebSocket-Protocol: v2\r\n\r\n", PERI_OK, "v2");
}

static void another_status_is_no_101(void **state) {
    (void)state;
    expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", PERI_E_INVALID, "");
}

static void a_101_that_lacks_something_is_not_believed(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"HTTP/1.0 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" PROOF "\r\n",
         "HTTP/1.1"},
        {"HTTP/1.1 101 X\r\nConnection: upgrade\r\n" PROOF "\r\n", "Upgrade"},
        {"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n" PROOF "\r\n", "Upgrade"},
        {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n" PROOF "\r\n", "Connection"},
        {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: close\r\n" PROOF "\r\n",
         "Connection"},
        {UPGRADED "\r\n", "Accept"},
        {UPGRADED PROOF PROOF "\r\n", "Accept"},
        {UPGRADED "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", "Accept"},
        {UPGRADED PROOF "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "extensions"},
        {UPGRADED PROOF "Sec-WebSocket-Protocol: v3\r\n\r\n", "subprotocol"},
        {UPGRADED PROOF "Sec-WebSocket-Protocol: V1\r\n\r\n", "subprotocol"},
        {UPGRADED PROOF "Sec-WebSocket-Protocol: v1, v2\r\n\r\n", "subprotocol"},
        {UPGRADED PROOF "Sec-WebSocket-Protocol: v1\r\nSec-WebSocket-Protocol: v1\r\n\r\n",
         "subprotocol"},
        {UPGRADED PROOF "Sec-WebSocket-Protocol:\r\n\r\n", "subprotocol"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        expect_answer(bad[i][0], PERI_E_PROTOCOL, bad[i][1]);
    }
}

#define EXTENSIONS "Sec-WebSocket-Extensions: "

static void compression_is_agreed_on_as_the_server_answers(void **state) {
    (void)state;
    struct peri_opening_choice choice = {0};
    char protocol[16];
    const char *why = NULL;
    assert_int_equal(check(&DEFLATE, UPGRADED PROOF "\r\n", &choice, protocol, &why), PERI_OK);
    assert_false(choice.deflates);
    assert_int_equal(check(&DEFLATE, UPGRADED PROOF EXTENSIONS "\r\n\r\n", &choice, protocol, &why),
                     PERI_OK);
    assert_false(choice.deflates);
    assert_int_equal(check(&DEFLATE,
                           UPGRADED PROOF EXTENSIONS
                           "permessage-deflate; server_no_context_takeover; "
                           "client_max_window_bits=10\r\nSec-WebSocket-Protocol: v1\r\n\r\n",
                           &choice, protocol, &why),
                     PERI_OK);
    assert_true(choice.deflates);
    assert_true(choice.terms.server_no_takeover && !choice.terms.client_no_takeover);
    assert_int_equal(choice.terms.client_bits, 10);
    assert_string_equal(protocol, "v1");
}

static void extensions_that_were_not_offered_are_not_believed(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {UPGRADED PROOF EXTENSIONS "permessage-bzip2\r\n\r\n", "as they were offered"},
        {UPGRADED PROOF EXTENSIONS "permessage-deflate, permessage-deflate\r\n\r\n", "as they"},
        {UPGRADED PROOF EXTENSIONS "permessage-deflate; client_max_window_bits=16\r\n\r\n",
         "as they"},
        {UPGRADED PROOF EXTENSIONS "permessage-deflate; client_max_window_bits\r\n\r\n", "as they"},
        {UPGRADED PROOF EXTENSIONS "permessage-deflate; unheard_of\r\n\r\n", "as they"},
        {UPGRADED PROOF EXTENSIONS ";\r\n\r\n", "as they"},
        {UPGRADED PROOF EXTENSIONS "permessage-deflate\r\n" EXTENSIONS "\r\n\r\n", "more than one"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct peri_opening_choice choice = {0};
        char protocol[16];
        const char *why = NULL;
        assert_int_equal(check(&DEFLATE, bad[i][0], &choice, protocol, &why), PERI_E_PROTOCOL);
        assert_non_null(strstr(why, bad[i][1]));
        assert_false(choice.deflates);
    }
}

static void out_of_memory_leaves_the_buffer_as_it_was(void **state) {
    (void)state;
    struct peri_opening opening = opening_of("ws://me:pass@a:9/b");
    opening.deflate = &DEFLATE;
    uint64_t live = peri_alloc_live();
    int rc = PERI_E_MEMORY;
    for (uint64_t nth = 1; rc != PERI_OK; nth++) {
        struct peri_buffer out = {0};
        peri_alloc_fail_from(nth);
        rc = peri_opening_write(&out, &opening);
        peri_alloc_fail_from(0);
        assert_true(rc == PERI_OK || (rc == PERI_E_MEMORY && out.len == 0));
        peri_buffer_deinit(&out);
        assert_int_equal(peri_alloc_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_written),
        cmocka_unit_test(our_own_server_takes_it),
        cmocka_unit_test(user_and_password_go_as_basic_credentials),
        cmocka_unit_test(what_cannot_be_sent_is_refused),
        cmocka_unit_test(a_101_with_the_proof_is_believed),
        cmocka_unit_test(another_status_is_no_101),
        cmocka_unit_test(a_101_that_lacks_something_is_not_believed),
        cmocka_unit_test(compression_is_agreed_on_as_the_server_answers),
        cmocka_unit_test(extensions_that_were_not_offered_are_not_believed),
        cmocka_unit_test(out_of_memory_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
