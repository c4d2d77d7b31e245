// Requests: what is read, what is refused and with which status, and the bounds.
#include "support/request.h"

#define HOST "Host: x\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST
#define POST "POST / HTTP/1.1\r\n" HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define CHUNKED_SEEN "POST / 1.1 keep|host=x|transfer-encoding=chunked|"
#define EXPECT(text, expected) expect_requests(LIMITS, PERI_STR(text), expected)
#define MALFORMED "400 malformed request\n"

static void a_request_is_read(void **state) {
    (void)state;
    EXPECT(
        "GET /a/b?c=d&e HTTP/1.1\r\nHost: x:8000\r\nX-Case: Kept \t\r\nEmpty:\r\nEmpty: \r\n\r\n",
        "GET /a/b?c=d&e 1.1 keep|host=x:8000|x-case=Kept|empty=|empty=|\n");
    EXPECT("POST /%20?? HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\n\r\nHello",
           "POST /%20?? 1.1 keep|host=[::1]|content-length=5|Hello\n");
    EXPECT(GET "A: caf\xc3\xa9\r\n\r\n", "GET / 1.1 keep|host=x|a=caf\xc3\xa9|\n");
}

static void requests_follow_each_other(void **state) {
    (void)state;
    EXPECT(GET "\r\n" POST "Content-Length: 2\r\n\r\nab\r\n" CHUNKED "1\r\nc\r\n0\r\n\r\n" GET
               "\r\n",
           "GET / 1.1 keep|host=x|\nPOST / 1.1 keep|host=x|content-length=2|ab\n" CHUNKED_SEEN
           "c\nGET / 1.1 keep|host=x|\n");
}

static void empty_lines_before_a_request_are_skipped(void **state) {
    (void)state;
    EXPECT("\r\n\r\n" GET "\r\n", "GET / 1.1 keep|host=x|\n");
}

static void keep_alive_follows_version_and_connection(void **state) {
    (void)state;
    EXPECT(GET "Connection: close\r\n\r\n" GET "\r\n",
           "GET / 1.1|host=x|connection=close|\nGET / 1.1 keep|host=x|\n");
    EXPECT("GET / HTTP/1.0\r\n\r\n", "GET / 1.0|\n");
    EXPECT("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
           "GET / 1.0 keep|connection=Keep-Alive|\n");
}

static void what_follows_an_upgrade_is_left(void **state) {
    (void)state;
    EXPECT(GET "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x80GET",
           "GET / 1.1 keep|host=x|connection=Upgrade|upgrade=websocket|\n\x81\x80GET");
    EXPECT(GET "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc\x81\x80",
           "GET / 1.1 keep|host=x|connection=Upgrade|upgrade=websocket|content-length=3|abc\n"
           "\x81\x80");
}

static void an_upgrade_to_something_else_is_plain_http(void **state) {
    (void)state;
    EXPECT(POST "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc" GET "\r\n",
           "POST / 1.1 keep|host=x|connection=Upgrade|upgrade=h2c|content-length=3|abc\n"
           "GET / 1.1 keep|host=x|\n");
    EXPECT(GET "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" GET "\r\n",
           "GET / 1.1 keep|host=x|connection=Upgrade|upgrade=h2c|\nGET / 1.1 keep|host=x|\n");
}

static void the_target_may_be_absolute(void **state) {
    (void)state;
    EXPECT("GET http://h:80/a?b HTTP/1.1\r\n" HOST "\r\n", "GET /a?b 1.1 keep|host=x|\n");
    EXPECT("GET WSS://h HTTP/1.1\r\n" HOST "\r\n", "GET / 1.1 keep|host=x|\n");
    EXPECT("GET https://h?a/b HTTP/1.1\r\n" HOST "\r\n", "GET /?a/b 1.1 keep|host=x|\n");
    EXPECT("GET http:///a HTTP/1.1\r\n" HOST "\r\n", "400 bad target\n");
    EXPECT("GET ftp://h/a HTTP/1.1\r\n" HOST "\r\n", "400 bad target\n");
}

static void a_strange_target_is_400(void **state) {
    (void)state;
    EXPECT("OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "OPTIONS * 1.1 keep|host=x|\n");
    EXPECT("GET * HTTP/1.1\r\n" HOST "\r\n", "400 target * is for OPTIONS\n");
    EXPECT("GET /a#b HTTP/1.1\r\n" HOST "\r\n", "400 fragment in the target\n");
    EXPECT("GET a HTTP/1.1\r\n" HOST "\r\n", MALFORMED);
    EXPECT("GET /a\tb HTTP/1.1\r\n" HOST "\r\n", MALFORMED);
    EXPECT("GET /a\0b HTTP/1.1\r\n" HOST "\r\n", MALFORMED);
    EXPECT("GET /a\x7f HTTP/1.1\r\n" HOST "\r\n", MALFORMED);
    EXPECT("GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n", MALFORMED);
}

static void a_bad_request_line_is_400(void **state) {
    (void)state;
    EXPECT("FOO / HTTP/1.1\r\n" HOST "\r\n", MALFORMED);
    EXPECT("get / HTTP/1.1\r\n" HOST "\r\n", MALFORMED);
    EXPECT("GET / http/1.1\r\n" HOST "\r\n", MALFORMED);
    EXPECT("GET / HTTP/1.10\r\n" HOST "\r\n", MALFORMED);
    EXPECT("GET / HTTP/1.1 \r\n" HOST "\r\n", MALFORMED);
    EXPECT("GET  / HTTP/1.1\r\n" HOST "\r\n", "400 bad request line\n");
    EXPECT("GET /  HTTP/1.1\r\n" HOST "\r\n", "400 bad request line\n");
    EXPECT("GET /\r\n\r\n", "400 bad request line\n");
    EXPECT("\x16\x03\x01\x02\x00\x01", MALFORMED); // TLS
    EXPECT("HTTP/1.1 200 OK\r\n\r\n", MALFORMED);
}

static void other_protocols_that_llhttp_knows_are_400(void **state) {
    (void)state;
    EXPECT("GET / RTSP/1.0\r\n" HOST "\r\n", "400 bad request line\n");
    EXPECT("DESCRIBE / RTSP/1.0\r\n" HOST "\r\n", "400 bad request line\n");
    EXPECT("SOURCE / ICE/1.0\r\n" HOST "\r\n", "400 bad request line\n");
}

static void another_major_version_is_505(void **state) {
    (void)state;
    EXPECT("GET / HTTP/2.0\r\n" HOST "\r\n", "505 HTTP/1.1 is spoken here\n");
    EXPECT("GET / HTTP/0.9\r\n" HOST "\r\n", "505 HTTP/1.1 is spoken here\n");
    EXPECT("GET / HTTP/3.0\r\n" HOST "\r\n", "505 HTTP/1.1 is spoken here\n");
    EXPECT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP/1.1 is spoken here\n");
    EXPECT("GET / HTTP/1.2\r\n" HOST "\r\n", "GET / 1.2 keep|host=x|\n");
}

static void connect_is_501_and_opens_no_tunnel(void **state) {
    (void)state;
    EXPECT("CONNECT x:443 HTTP/1.1\r\n" HOST "\r\n\x16\x03", "501 CONNECT is not served\n");
}

static void there_is_one_host(void **state) {
    (void)state;
    EXPECT("GET / HTTP/1.1\r\n\r\n", "400 no Host\n");
    EXPECT(GET HOST "\r\n", "400 more than one Host\n");
    EXPECT("GET / HTTP/1.0\r\n" HOST HOST "\r\n", "400 more than one Host\n");
    EXPECT("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400 bad Host\n");
    EXPECT("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400 bad Host\n");
    EXPECT("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 bad Host\n");
    EXPECT("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 bad Host\n");
    EXPECT("GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", "400 bad Host\n");
    EXPECT("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / 1.1 keep|host=|\n");
}

// Smuggling

static void lines_end_with_crlf_only(void **state) {
    (void)state;
    EXPECT("GET / HTTP/1.1\nHost: x\r\n\r\n", MALFORMED);
    EXPECT("GET / HTTP/1.1\r\nHost: x\n\r\n", MALFORMED);
    EXPECT(GET "\n", MALFORMED);
    EXPECT(GET "A: b\rC: d\r\n\r\n", MALFORMED);
    EXPECT(GET "A: b\r\r\n\r\n", MALFORMED);
    EXPECT(CHUNKED "3\nabc\r\n0\r\n\r\n", MALFORMED);
    EXPECT(CHUNKED "3;a\nabc\r\n0\r\n\r\n", MALFORMED);
    EXPECT(CHUNKED "3\r\nabc\n0\r\n\r\n", MALFORMED);
}

static void folded_and_broken_fields_are_400(void **state) {
    (void)state;
    EXPECT(GET "A: b\r\n c\r\n\r\n", MALFORMED);
    EXPECT(GET "A: b\r\n\tc\r\n\r\n", MALFORMED);
    EXPECT(GET "A:\r\n b\r\n\r\n", MALFORMED);
    EXPECT("GET / HTTP/1.1\r\n Host: x\r\n\r\n", MALFORMED);
    EXPECT(GET "A : b\r\n\r\n", MALFORMED);
    EXPECT(GET "A\r\n\r\n", MALFORMED);
    EXPECT(GET ": b\r\n\r\n", MALFORMED);
    EXPECT(GET "A(: b\r\n\r\n", MALFORMED);
    EXPECT(GET "A\0: b\r\n\r\n", MALFORMED);
    EXPECT(GET "A: b\0c\r\n\r\n", MALFORMED);
    EXPECT(GET "A: b\x01\r\n\r\n", MALFORMED);
    EXPECT(GET "A: b\x1b[2J\r\n\r\n", MALFORMED);
    EXPECT(GET "A: b\x7f\r\n\r\n", MALFORMED);
}

static void a_body_has_one_length(void **state) {
    (void)state;
    EXPECT(POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", MALFORMED);
    EXPECT(POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", MALFORMED);
    EXPECT(POST "Content-Length: 3, 3\r\n\r\nabc", MALFORMED);
    EXPECT(POST "Content-Length: +3\r\n\r\nabc", MALFORMED);
    EXPECT(POST "Content-Length: -3\r\n\r\nabc", MALFORMED);
    EXPECT(POST "Content-Length: 3 3\r\n\r\nabc", MALFORMED);
    EXPECT(POST "Content-Length: 0x3\r\n\r\nabc", MALFORMED);
    EXPECT(POST "Content-Length:\r\n\r\nabc", MALFORMED);
    EXPECT(POST "Content-Length: 99999999999999999999\r\n\r\nabc", MALFORMED);
    EXPECT(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", MALFORMED);
    EXPECT(POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", MALFORMED);
    EXPECT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           "400 ambiguous body length\n");
}

static void a_transfer_coding_other_than_chunked_is_501_or_400(void **state) {
    (void)state;
    EXPECT(POST "Transfer-Encoding: gzip\r\n\r\n", "501 unknown transfer coding\n");
    EXPECT(POST "Transfer-Encoding: gzip, chunked\r\n\r\n", "501 unknown transfer coding\n");
    EXPECT(POST "Transfer-Encoding: xchunked\r\n\r\n", "501 unknown transfer coding\n");
    EXPECT(POST "Transfer-Encoding: \"chunked\"\r\n\r\n", "501 unknown transfer coding\n");
    EXPECT(POST "Transfer-Encoding: identity\r\n\r\n", "501 unknown transfer coding\n");
    EXPECT(POST "Transfer-Encoding: chunked, gzip\r\n\r\n", MALFORMED);
    EXPECT(POST "Transfer-Encoding: chunked, chunked\r\n\r\n", MALFORMED);
    EXPECT(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", MALFORMED);
    EXPECT(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", MALFORMED);
    EXPECT(POST "Transfer-Encoding: \vchunked\r\n\r\n", MALFORMED);
    EXPECT(POST "Transfer-Encoding:\r\n\r\n", "400 ambiguous body length\n");
}

static void chunks_make_a_body(void **state) {
    (void)state;
    EXPECT(POST "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\r\n",
           "POST / 1.1 keep|host=x|transfer-encoding=Chunked|abc0123456789\n");
    EXPECT(CHUNKED "3;a=b;c=\"d\"\r\nabc\r\n0\r\nTrailer: dropped\r\nEmpty:\r\n\r\n" GET "\r\n",
           CHUNKED_SEEN "abc\nGET / 1.1 keep|host=x|\n");
}

static void a_broken_chunk_is_400(void **state) {
    (void)state;
    EXPECT(CHUNKED "3 \r\nabc\r\n0\r\n\r\n", MALFORMED);
    EXPECT(CHUNKED "0x3\r\nabc\r\n0\r\n\r\n", MALFORMED);
    EXPECT(CHUNKED "-3\r\nabc\r\n0\r\n\r\n", MALFORMED);
    EXPECT(CHUNKED "\r\nabc\r\n0\r\n\r\n", MALFORMED);
    EXPECT(CHUNKED "3\r\nabcd\r\n0\r\n\r\n", MALFORMED);
    EXPECT(CHUNKED "fffffffffffffffff\r\nabc\r\n0\r\n\r\n", MALFORMED);
    EXPECT(CHUNKED "0\r\nT: v\r\n w\r\n\r\n", MALFORMED);
    EXPECT(CHUNKED "0\r\nContent-Length: 5\r\n\r\nhello", MALFORMED);
}

// Bounds

/// A request with a field of n bytes, `count` times.
static struct peri_buffer padded(const char *before, const char *name, size_t n, size_t count,
                                 const char *after) {
    struct peri_buffer text = {0};
    int rc = peri_buffer_printf(&text, "%s", before);
    for (size_t i = 0; i < count && rc == PERI_OK; i++) {
        rc = peri_buffer_printf(&text, "%s%0*d\r\n", name, (int)n, 0);
    }
    assert_int_equal(rc, PERI_OK);
    assert_int_equal(peri_buffer_printf(&text, "%s", after), PERI_OK);
    return text;
}

static void check_padded(struct peri_request_limits limits, struct peri_buffer text,
                         const char *expected) {
    expect_requests(limits, peri_buffer_str(&text), expected);
    peri_buffer_deinit(&text);
}

static void a_head_at_the_limit_is_read_and_over_it_is_431(void **state) {
    (void)state;
    struct peri_request_limits limits = LIMITS;
    limits.head_bytes = sizeof(GET "\r\n") - 1;
    expect_requests(limits, PERI_STR(GET "\r\n" GET "\r\n"),
                    "GET / 1.1 keep|host=x|\nGET / 1.1 keep|host=x|\n");
    limits.head_bytes--;
    expect_requests(limits, PERI_STR(GET "\r\n"), "431 head too large (head_bytes)\n");
    limits.head_bytes = 0;
    expect_requests(limits, PERI_STR(GET "\r\n"), "431 head too large (head_bytes)\n");
    limits.head_bytes = 100; // the request line counts, and white space that llhttp drops
    check_padded(limits, padded("GET /", "", 100, 1, ""), "431 head too large (head_bytes)\n");
    expect_requests(limits,
                    PERI_STR(GET "A:                                                      "
                                 "                                                   x"),
                    "431 head too large (head_bytes)\n");
}

static void a_body_is_not_counted_as_head(void **state) {
    (void)state;
    struct peri_request_limits limits = LIMITS;
    limits.head_bytes = sizeof(POST "Content-Length: 900\r\n\r\n") - 1;
    check_padded(limits, padded(POST "Content-Length: 900\r\n\r\n", "", 898, 1, ""),
                 "POST / 1.1 keep|host=x|content-length=900|900 bytes\n");
}

static void more_fields_than_allowed_are_431(void **state) {
    (void)state;
    struct peri_request_limits limits = LIMITS;
    limits.head_fields = 3;
    check_padded(limits, padded(GET, "a: ", 1, 2, "\r\n"), "GET / 1.1 keep|host=x|a=0|a=0|\n");
    check_padded(limits, padded(GET, "a: ", 1, 3, "\r\n"), "431 too many fields (head_fields)\n");
    check_padded(limits, padded(CHUNKED "0\r\n", "a: ", 1, 1, "\r\n"), CHUNKED_SEEN "\n");
    check_padded(limits, padded(CHUNKED "0\r\n", "a: ", 1, 2, "\r\n"),
                 "431 too many fields (head_fields)\n");
}

static void a_fault_behind_too_much_between_chunks_was_431_or_400_as_it_was_cut(void **state) {
    (void)state;
    static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct peri_request_limits limits = LIMITS;
    struct peri_buffer text = {0};
    limits.head_bytes = sizeof head - 1;
    assert_int_equal(peri_buffer_printf(&text, "%s3;x=%0100d\x01\r\n", head, 0), PERI_OK);
    expect_requests(limits, peri_buffer_str(&text),
                    "431 too much between chunks, or too long trailers (head_bytes)\n");
    limits.head_bytes += 100;
    expect_requests(limits, peri_buffer_str(&text), "400 malformed request\n");
    peri_buffer_deinit(&text);
}

static void a_broken_name_over_the_limit_was_431_or_400_as_it_was_cut(void **state) {
    (void)state;
    struct peri_request_limits limits = LIMITS;
    limits.head_fields = 1;
    expect_requests(limits, PERI_STR("GET / HTTP/1.1\r\nHost: a\r\nab\x01: c\r\n\r\n"),
                    "400 malformed request\n");
    expect_requests(limits, PERI_STR("GET / HTTP/1.1\r\nHost: a\r\nab: c\r\n\r\n"),
                    "431 too many fields (head_fields)\n");
}

static void trailers_chunk_extensions_and_zeros_are_bounded(void **state) {
    (void)state;
    struct peri_request_limits limits = LIMITS;
    limits.head_bytes = 200;
    const char *refused = "431 too much between chunks, or too long trailers (head_bytes)\n";
    check_padded(limits, padded(CHUNKED "0\r\n", "a: ", 50, 3, "\r\n"), CHUNKED_SEEN "\n");
    check_padded(limits, padded(CHUNKED "0\r\n", "a: ", 50, 4, "\r\n"), refused);
    check_padded(limits, padded(CHUNKED "3;", "", 150, 1, "abc\r\n0\r\n\r\n"),
                 CHUNKED_SEEN "abc\n");
    check_padded(limits, padded(CHUNKED "3;", "", 250, 1, "abc\r\n0\r\n\r\n"), refused);
    check_padded(limits, padded(CHUNKED, "", 250, 1, "\r\n"), refused);
    // each by itself: a body may come in any number of chunks
    check_padded(limits,
                 padded(CHUNKED "3;", "", 150, 1,
                        "abc\r\n0\r\na: 0123456789\r\n"
                        "b: 0123456789012345678901234567890123456789\r\n\r\n"),
                 CHUNKED_SEEN "abc\n");
}

static void a_body_over_the_limit_is_413(void **state) {
    (void)state;
    struct peri_request_limits limits = LIMITS;
    limits.body_bytes = 5;
    expect_requests(limits, PERI_STR(POST "Content-Length: 5\r\n\r\nHello"),
                    "POST / 1.1 keep|host=x|content-length=5|Hello\n");
    // Declared: before a byte of it came. In chunks: with the first byte too many.
    expect_requests(limits, PERI_STR(POST "Content-Length: 6\r\n\r\n"),
                    "413 body too large (body_bytes)\n");
    expect_requests(limits, PERI_STR(CHUNKED "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
                    CHUNKED_SEEN "abcde\n");
    expect_requests(limits, PERI_STR(CHUNKED "3\r\nabc\r\nff\r\ndef"),
                    "413 body too large (body_bytes)\n");
}

/// Feeds a head, tightens the limit, feeds the rest. @return what the parser said last
static int read_limited(struct peri_request_parser *parser, const char *head, uint64_t bytes,
                        const char *rest) {
    char text[128];
    struct peri_request *request = NULL;
    struct peri_span in = {(uint8_t *)text, strlen(head)};
    memcpy(text, head, strlen(head) + 1);
    assert_int_equal(peri_request_parser_feed(parser, &in, &request), PERI_AGAIN);
    assert_str_equal(peri_request_parser_head(parser)->path, "/");
    int rc = peri_request_parser_limit_body(parser, bytes);
    if (rc != PERI_OK) {
        assert_null(peri_request_parser_head(parser));
        assert_int_equal(peri_request_parser_feed(parser, &in, &request), rc);
        return rc;
    }
    in = (struct peri_span){(uint8_t *)text, strlen(rest)};
    memcpy(text, rest, strlen(rest) + 1);
    rc = peri_request_parser_feed(parser, &in, &request);
    peri_request_unref(rc == PERI_OK ? request : NULL);
    return rc;
}

static void a_limit_tightened_behind_the_head_counts_for_that_body_only(void **state) {
    (void)state;
    static const struct {
        const char *head;
        uint64_t bytes;
        const char *rest;
        int rc;
    } cases[] = {
        {POST "Content-Length: 5\r\n\r\n", 5, "Hello", PERI_OK},
        {POST "Content-Length: 5\r\n\r\n", 4, "", PERI_E_INVALID}, // before a byte of it
        {POST "Content-Length: 5\r\n\r\n", UINT64_MAX, "Hello", PERI_OK},
        {POST "Content-Length: 5\r\n\r\nHel", 2, "", PERI_E_INVALID},
        {CHUNKED "3\r\nabc\r\n", 3, "0\r\n\r\n", PERI_OK},
        {CHUNKED "3\r\nabc\r\n", 3, "1\r\nd", PERI_E_INVALID},
        {CHUNKED "3\r\nabc\r\n", 2, "", PERI_E_INVALID}, // too much came already
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peri_request_parser *parser = peri_request_parser_new(&LIMITS);
        assert_non_null(parser);
        int rc = read_limited(parser, cases[i].head, cases[i].bytes, cases[i].rest);
        assert_int_equal(rc, cases[i].rc);
        if (rc == PERI_OK) { // the next one has the parser's own limit
            rc = read_limited(parser, POST "Content-Length: 6\r\n\r\n", 6, "Hello!");
            assert_int_equal(rc, PERI_OK);
        } else {
            assert_int_equal(peri_request_parser_status(parser, NULL), 413);
        }
        peri_request_parser_free(parser);
    }
}

static void a_declared_length_allocates_nothing(void **state) {
    (void)state;
    struct peri_request_limits limits = LIMITS;
    limits.body_bytes = UINT32_MAX;
    struct peri_request_parser *parser = peri_request_parser_new(&limits);
    assert_non_null(parser);
    char text[] = POST "Content-Length: 4000000000\r\n\r\n";
    struct peri_span in = {(uint8_t *)text, sizeof text - 1};
    struct peri_request *request;
    uint64_t live = peri_alloc_live();
    assert_int_equal(peri_request_parser_feed(parser, &in, &request), PERI_AGAIN);
    assert_int_equal(peri_alloc_live(), live + 3); // the request, its head and its fields
    peri_request_parser_free(parser);
}

// The parser from outside

static void the_stage_tells_how_far_a_request_is(void **state) {
    (void)state;
    struct peri_request_parser *parser = peri_request_parser_new(&LIMITS);
    assert_non_null(parser);
    static const struct {
        const char *text;
        enum peri_request_stage stage;
        bool wants_continue;
        int rc;
    } steps[] = {
        {"\r\n", PERI_REQUEST_IDLE, false, PERI_AGAIN},
        {"P", PERI_REQUEST_HEAD, false, PERI_AGAIN},
        {"UT / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n",
         PERI_REQUEST_HEAD, false, PERI_AGAIN},
        {"\r\n", PERI_REQUEST_BODY, true, PERI_AGAIN},
        {"a", PERI_REQUEST_BODY, false, PERI_AGAIN},
        {"b", PERI_REQUEST_IDLE, false, PERI_OK},
        {"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nb",
         PERI_REQUEST_IDLE, false, PERI_OK}, // it did not wait
        {"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", PERI_REQUEST_BODY, false,
         PERI_AGAIN},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        char text[200];
        size_t n = strlen(steps[i].text);
        memcpy(text, steps[i].text, n);
        struct peri_span in = {(uint8_t *)text, n};
        struct peri_request *request = NULL;
        assert_int_equal(peri_request_parser_feed(parser, &in, &request), steps[i].rc);
        peri_request_unref(request);
        assert_int_equal(peri_request_parser_stage(parser), steps[i].stage);
        assert_int_equal(peri_request_parser_wants_continue(parser), steps[i].wants_continue);
        assert_false(peri_request_parser_wants_continue(parser)); // once
    }
    peri_request_parser_free(parser);
}

static void a_request_outlives_its_parser_and_its_input(void **state) {
    (void)state;
    uint64_t live = peri_alloc_live();
    struct peri_request *request = read_request(POST "A: b\r\nContent-Length: 2\r\n\r\nhi");
    struct peri_request *second = peri_request_ref(request);
    peri_request_unref(request);
    struct peri_str value = {0};
    assert_true(peri_request_field(second, PERI_STR("a"), &value));
    assert_str_equal(value, "b");
    assert_str_equal(second->method, "POST");
    assert_str_equal(second->target, "/");
    assert_str_equal(second->body, "hi");
    peri_request_unref(second);
    peri_request_unref(NULL);
    peri_request_parser_free(NULL);
    assert_int_equal(peri_alloc_live(), live);
}

static void running_out_of_memory_anywhere_is_an_error(void **state) {
    (void)state;
    static const char text[] = GET "Long: 0123456789012345678901234567890123456789\r\n\r\n" CHUNKED
                                   "3\r\nabc\r\n0\r\nT: v\r\n\r\n";
    uint64_t live = peri_alloc_live();
    size_t requests = 0;
    uint64_t nth = 1;
    for (int rc = PERI_E_MEMORY; rc == PERI_E_MEMORY; nth++) {
        peri_alloc_fail_from(nth);
        struct peri_request_parser *parser = peri_request_parser_new(&LIMITS);
        requests = 0;
        rc = parser ? PERI_AGAIN : PERI_E_MEMORY;
        for (size_t i = 0; parser && i < sizeof text - 1 && rc >= 0; i++) {
            uint8_t byte = (uint8_t)text[i];
            struct peri_span in = {&byte, 1};
            struct peri_request *request = NULL;
            rc = peri_request_parser_feed(parser, &in, &request);
            requests += rc == PERI_OK;
            peri_request_unref(request);
        }
        peri_alloc_fail_from(0);
        peri_request_parser_free(parser);
        assert_int_equal(peri_alloc_live(), live);
    }
    assert_int_equal(requests, 2);
    assert_in_range(nth, 8, 40); // several places were tried
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read),
        cmocka_unit_test(requests_follow_each_other),
        cmocka_unit_test(empty_lines_before_a_request_are_skipped),
        cmocka_unit_test(keep_alive_follows_version_and_connection),
        cmocka_unit_test(what_follows_an_upgrade_is_left),
        cmocka_unit_test(an_upgrade_to_something_else_is_plain_http),
        cmocka_unit_test(the_target_may_be_absolute),
        cmocka_unit_test(a_strange_target_is_400),
        cmocka_unit_test(a_bad_request_line_is_400),
        cmocka_unit_test(other_protocols_that_llhttp_knows_are_400),
        cmocka_unit_test(another_major_version_is_505),
        cmocka_unit_test(connect_is_501_and_opens_no_tunnel),
        cmocka_unit_test(there_is_one_host),
        cmocka_unit_test(lines_end_with_crlf_only),
        cmocka_unit_test(folded_and_broken_fields_are_400),
        cmocka_unit_test(a_body_has_one_length),
        cmocka_unit_test(a_transfer_coding_other_than_chunked_is_501_or_400),
        cmocka_unit_test(chunks_make_a_body),
        cmocka_unit_test(a_broken_chunk_is_400),
        cmocka_unit_test(a_head_at_the_limit_is_read_and_over_it_is_431),
        cmocka_unit_test(a_body_is_not_counted_as_head),
        cmocka_unit_test(more_fields_than_allowed_are_431),
        cmocka_unit_test(a_fault_behind_too_much_between_chunks_was_431_or_400_as_it_was_cut),
        cmocka_unit_test(a_broken_name_over_the_limit_was_431_or_400_as_it_was_cut),
        cmocka_unit_test(trailers_chunk_extensions_and_zeros_are_bounded),
        cmocka_unit_test(a_body_over_the_limit_is_413),
        cmocka_unit_test(a_limit_tightened_behind_the_head_counts_for_that_body_only),
        cmocka_unit_test(a_declared_length_allocates_nothing),
        cmocka_unit_test(the_stage_tells_how_far_a_request_is),
        cmocka_unit_test(a_request_outlives_its_parser_and_its_input),
        cmocka_unit_test(running_out_of_memory_anywhere_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
