// The opening handshake: every check with its answer, Origin, subprotocols, and the 101.
#include "proto/handshake.h"
#include "proto/response.h"
#include "support/request.h"

#define LINE "GET /ws HTTP/1.1\r\n"
#define HOST "Host: x\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define GOOD LINE HOST UPGRADE CONNECTION KEY VERSION

static void expect_accepted(const char *text) {
    struct peri_request *request = read_request(text);
    struct peri_refusal refusal = {0};
    assert_true(peri_handshake_is_upgrade(request));
    assert_int_equal(peri_handshake_check(request, &refusal), PERI_OK);
    assert_int_equal(refusal.status, 0); // untouched
    peri_request_unref(request);
}

static void expect_refused(const char *text, int status, const char *name, const char *value) {
    struct peri_request *request = read_request(text);
    struct peri_refusal refusal = {0};
    assert_true(peri_handshake_is_upgrade(request));
    assert_int_equal(peri_handshake_check(request, &refusal), PERI_E_INVALID);
    assert_int_equal(refusal.status, status);
    assert_non_null(refusal.why);
    assert_true(peri_str_equal(refusal.field.name, peri_str_of(name)));
    assert_true(peri_str_equal(refusal.field.value, peri_str_of(value)));
    peri_request_unref(request);
}

static void a_browsers_handshake_is_accepted(void **state) {
    (void)state;
    expect_accepted(GOOD "\r\n");
    expect_accepted(
        "GET /ws HTTP/1.1\r\nHost: localhost:8000\r\nConnection: keep-alive, Upgrade\r\n"
        "Pragma: no-cache\r\nUpgrade: WebSocket\r\nOrigin: http://localhost:8000\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    expect_accepted(LINE HOST "Upgrade: h2c, websocket\r\nConnection: x\r\nConnection: upgrade\r\n"
                              "Sec-WebSocket-Key:  /////////////////////w== \r\n" VERSION "\r\n");
}

static void a_request_without_any_sign_of_it_is_plain_http(void **state) {
    (void)state;
    struct peri_request *request = read_request(LINE HOST CONNECTION "Upgrade: h2c\r\n\r\n");
    assert_false(peri_handshake_is_upgrade(request));
    peri_request_unref(request);
}

static void another_method_is_405_with_allow(void **state) {
    (void)state;
    expect_refused("POST / HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY VERSION "\r\n", 405, "Allow",
                   "GET");
    expect_refused("HEAD / HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY VERSION "\r\n", 405, "Allow",
                   "GET");
}

static void http_1_0_is_400(void **state) {
    (void)state;
    expect_refused("GET / HTTP/1.0\r\n" HOST UPGRADE CONNECTION KEY VERSION "\r\n", 400, "", "");
}

static void an_empty_host_is_400(void **state) {
    (void)state;
    expect_refused(LINE "Host:\r\n" UPGRADE CONNECTION KEY VERSION "\r\n", 400, "", "");
}

static void upgrade_and_connection_must_list_what_they_must(void **state) {
    (void)state;
    expect_refused(LINE HOST CONNECTION KEY VERSION "\r\n", 400, "", "");
    expect_refused(LINE HOST "Upgrade: websockets\r\n" CONNECTION KEY VERSION "\r\n", 400, "", "");
    expect_refused(LINE HOST UPGRADE KEY VERSION "\r\n", 400, "", "");
    expect_refused(LINE HOST UPGRADE "Connection: keep-alive\r\n" KEY VERSION "\r\n", 400, "", "");
}

static void another_version_is_426_with_ours(void **state) {
    (void)state;
    static const char *const versions[] = {
        "",
        "Sec-WebSocket-Version: 8\r\n",
        "Sec-WebSocket-Version: 013\r\n",
        "Sec-WebSocket-Version: 13, 8\r\n",
        "Sec-WebSocket-Version:\r\n",
        VERSION VERSION,
        VERSION "Sec-WebSocket-Version: 8\r\n",
    };
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        char text[400];
        (void)snprintf(text, sizeof text, "%s%s\r\n", LINE HOST UPGRADE CONNECTION KEY,
                       versions[i]);
        expect_refused(text, 426, "Sec-WebSocket-Version", "13");
    }
}

static void a_key_that_is_not_16_bytes_in_base64_is_400(void **state) {
    (void)state;
    static const char *const keys[] = {
        "",
        "Sec-WebSocket-Key:\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n",   // a character short
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ===\r\n", // one too many
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n",  // 18 bytes
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\r\n",  // 17 bytes
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n",  // bits after the last byte
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ-==\r\n",  // no base64 digit
        "Sec-WebSocket-Key: dGhl IHNhbXBsZSBub25jQ==\r\n",
        "Sec-WebSocket-Key: ========================\r\n",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char text[400];
        (void)snprintf(text, sizeof text, "%s%s\r\n", LINE HOST UPGRADE CONNECTION VERSION,
                       keys[i]);
        expect_refused(text, 400, "", "");
    }
    expect_refused(GOOD KEY "\r\n", 400, "", ""); // two of them
}

// Origin

static bool is_allowed(const char *host, const char *origin, const char *origins) {
    char text[400];
    (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n%s%s\r\n\r\n", host,
                   origin ? "Origin: " : "X: ", origin ? origin : "");
    struct peri_request *request = read_request(text);
    bool allowed = peri_handshake_origin_allowed(request, peri_str_of(origins));
    peri_request_unref(request);
    return allowed;
}

static void a_client_without_origin_is_no_browser_and_may_connect(void **state) {
    (void)state;
    assert_true(is_allowed("x", NULL, "same"));
    assert_true(is_allowed("x", NULL, ""));
}

static void a_page_of_the_same_host_may_connect(void **state) {
    (void)state;
    assert_true(is_allowed("x:8000", "http://x:8000", "same"));
    assert_true(is_allowed("X.example", "https://x.EXAMPLE", "same"));
    assert_true(is_allowed("x:80", "http://x", "same"));
    assert_true(is_allowed("x", "http://x:80", "same"));
    assert_true(is_allowed("x:443", "https://x", "same"));
    assert_true(is_allowed("[::1]:8000", "http://[::1]:8000", "same"));
    assert_true(is_allowed("[::1]", "http://[::1]:80", "same"));
}

static void a_page_of_another_host_may_not(void **state) {
    (void)state;
    assert_false(is_allowed("x:8000", "http://x", "same"));
    assert_false(is_allowed("x:8000", "http://x:8001", "same"));
    assert_false(is_allowed("x", "http://y", "same"));
    assert_false(is_allowed("x", "http://x.y", "same"));
    assert_false(is_allowed("x.y", "http://x", "same"));
    assert_false(is_allowed("x:80", "https://x", "same"));
    assert_false(is_allowed("[::1]", "http://[::2]", "same"));
    assert_false(is_allowed("x", "null", "same"));
    assert_false(is_allowed("null", "null", "same"));
    assert_false(is_allowed("x", "", "same"));
    assert_false(is_allowed("x", "x", "same"));
    assert_false(is_allowed("x", "http://x/", "same"));
    assert_false(is_allowed("x", "http://y@x", "same"));
    assert_false(is_allowed("x", "http://x:99999", "same"));
    assert_false(is_allowed("x:99999", "http://x:99999", "same"));
    assert_false(is_allowed("x", "http://x:", "same"));
    assert_false(is_allowed("x", "http://x http://y", "same"));
    assert_false(is_allowed("x", "http://x\r\nOrigin: http://y", "same"));
}

static void a_list_of_origins_is_obeyed(void **state) {
    (void)state;
    const char *list = "https://a.example, http://b:8000 same";
    assert_true(is_allowed("x", "https://a.example", list));
    assert_true(is_allowed("x", "HTTPS://A.example:443", list));
    assert_true(is_allowed("x", "http://b:8000", list));
    assert_true(is_allowed("x", "http://x", list));
    assert_false(is_allowed("x", "http://a.example", list));
    assert_false(is_allowed("x", "https://b:8000", list));
    assert_false(is_allowed("x", "null", list));
    assert_false(is_allowed("x", "http://x", "https://a.example"));
    assert_false(is_allowed("x", "http://x", ""));
    assert_true(is_allowed("x", "http://anyone", "*"));
    assert_true(is_allowed("x", "null", "http://b,*"));
    assert_true(is_allowed("x", "null", "null"));
}

// Subprotocols and the 101

static void a_subprotocol_that_is_no_token_is_400(void **state) {
    (void)state;
    static const char *const bad[] = {"a b", "a;b", "\"a\"", "a, b/c", "good, \x80", "a=b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[400];
        (void)snprintf(text, sizeof text,
                       GOOD "Sec-WebSocket-Protocol: good\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
                       bad[i]);
        expect_refused(text, 400, "", "");
    }
    expect_accepted(GOOD "Sec-WebSocket-Protocol: a, , b!#$\r\nSec-WebSocket-Protocol:\r\n\r\n");
}

static void subprotocols_come_in_the_clients_order(void **state) {
    (void)state;
    struct peri_request *request =
        read_request(LINE HOST "Sec-WebSocket-Protocol: chat.v2, chat.v1\r\nOther: x\r\n"
                               "Sec-WebSocket-Protocol:\r\n"
                               "Sec-WebSocket-Protocol: ,no token,last , chat.v2\r\n\r\n");
    static const char *const expected[] = {"chat.v2", "chat.v1", "last", "chat.v2"};
    size_t cursor = 0;
    struct peri_str protocol = {0};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(peri_handshake_next_protocol(request, &cursor, &protocol));
        assert_true(peri_str_equal(protocol, peri_str_of(expected[i])));
    }
    assert_false(peri_handshake_next_protocol(request, &cursor, &protocol));
    assert_false(peri_handshake_next_protocol(request, &cursor, &protocol));
    assert_true(peri_handshake_offers(request, PERI_STR("last")));
    assert_false(peri_handshake_offers(request, PERI_STR("Last")));
    assert_false(peri_handshake_offers(request, PERI_STR("no token")));
    assert_false(peri_handshake_offers(request, PERI_STR("")));
    peri_request_unref(request);
}

static void malformed_extensions_are_400_and_unknown_ones_are_not(void **state) {
    (void)state;
    expect_refused(GOOD "Sec-WebSocket-Extensions: permessage-deflate;\r\n\r\n", 400, "", "");
    expect_refused(GOOD "Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b=\r\n\r\n", 400,
                   "", "");
    expect_accepted(GOOD "Sec-WebSocket-Extensions: x-unknown; y=\"z\", other\r\n\r\n");
    expect_accepted(GOOD "Sec-WebSocket-Extensions:\r\n\r\n");
}

static void the_rfcs_sample_key_gets_the_rfcs_answer(void **state) {
    (void)state;
    char proof[PERI_HANDSHAKE_PROOF_BYTES + 1];
    assert_int_equal(peri_handshake_proof(proof, PERI_STR("dGhlIHNhbXBsZSBub25jZQ==")), PERI_OK);
    assert_string_equal(proof, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/// The text without its Date.
static void expect_response(struct peri_buffer *out, const char *first, const char *rest) {
    assert_int_equal(peri_buffer_append(out, "", 1), PERI_OK);
    const char *text = (const char *)out->ptr;
    assert_memory_equal(text, first, strlen(first));
    const char *after = strstr(text, " GMT\r\n");
    assert_non_null(after);
    assert_string_equal(after + 6, rest);
    peri_buffer_deinit(out);
}

static void the_101_names_one_subprotocol_or_none(void **state) {
    (void)state;
    struct peri_request *request = read_request(LINE HOST UPGRADE CONNECTION KEY VERSION
                                                "Sec-WebSocket-Protocol: chat.v2, chat.v1\r\n\r\n");
    struct peri_buffer out = {0};
    assert_int_equal(peri_handshake_accept(&out, request, PERI_STR("chat.v1")), PERI_OK);
    assert_int_equal(peri_response_field(&out, PERI_STR("X-More"), PERI_STR("1")), PERI_OK);
    assert_int_equal(peri_response_end(&out), PERI_OK);
    expect_response(&out, "HTTP/1.1 101 Switching Protocols\r\nDate: ",
                    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                    "Sec-WebSocket-Protocol: chat.v1\r\nX-More: 1\r\n\r\n");
    assert_int_equal(peri_handshake_accept(&out, request, (struct peri_str){0}), PERI_OK);
    expect_response(&out, "HTTP/1.1 101 Switching Protocols\r\nDate: ",
                    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    assert_int_equal(peri_handshake_accept(&out, request, PERI_STR("chat.v3")), PERI_E_INVALID);
    assert_int_equal(out.len, 0);
    peri_request_unref(request);
}

static void running_out_of_memory_leaves_the_buffer_as_it_was(void **state) {
    (void)state;
    struct peri_request *request = read_request(
        GOOD "Sec-WebSocket-Protocol: 0123456789012345678901234567890123456789\r\n\r\n");
    struct peri_str protocol = {0};
    assert_true(peri_request_field(request, PERI_STR("sec-websocket-protocol"), &protocol));
    uint64_t live = peri_alloc_live();
    uint64_t nth = 1;
    for (int rc = PERI_E_MEMORY; rc == PERI_E_MEMORY; nth++) {
        struct peri_buffer out = {0};
        assert_int_equal(peri_buffer_append(&out, "before", 6), PERI_OK);
        peri_alloc_fail_from(nth);
        rc = peri_handshake_accept(&out, request, protocol);
        peri_alloc_fail_from(0);
        assert_int_equal(rc, rc == PERI_OK ? PERI_OK : PERI_E_MEMORY);
        assert_true(rc == PERI_OK || out.len == 6);
        assert_memory_equal(out.ptr, "before", 6);
        peri_buffer_deinit(&out);
        assert_int_equal(peri_alloc_live(), live);
    }
    assert_in_range(nth, 3, 10);
    peri_request_unref(request);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_browsers_handshake_is_accepted),
        cmocka_unit_test(a_request_without_any_sign_of_it_is_plain_http),
        cmocka_unit_test(another_method_is_405_with_allow),
        cmocka_unit_test(http_1_0_is_400),
        cmocka_unit_test(an_empty_host_is_400),
        cmocka_unit_test(upgrade_and_connection_must_list_what_they_must),
        cmocka_unit_test(another_version_is_426_with_ours),
        cmocka_unit_test(a_key_that_is_not_16_bytes_in_base64_is_400),
        cmocka_unit_test(malformed_extensions_are_400_and_unknown_ones_are_not),
        cmocka_unit_test(a_client_without_origin_is_no_browser_and_may_connect),
        cmocka_unit_test(a_page_of_the_same_host_may_connect),
        cmocka_unit_test(a_page_of_another_host_may_not),
        cmocka_unit_test(a_list_of_origins_is_obeyed),
        cmocka_unit_test(a_subprotocol_that_is_no_token_is_400),
        cmocka_unit_test(subprotocols_come_in_the_clients_order),
        cmocka_unit_test(the_rfcs_sample_key_gets_the_rfcs_answer),
        cmocka_unit_test(the_101_names_one_subprotocol_or_none),
        cmocka_unit_test(running_out_of_memory_leaves_the_buffer_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
