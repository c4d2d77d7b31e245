#include "proto/proxy_header.h"

#include "support/feeding.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

/// A feeding_run: writes down what was found, and what was left.
static void run_header(const struct feeding *feeding, void *arg, struct peri_buffer *seen) {
    (void)arg;
    struct peri_proxy_header header = {0};
    struct peri_ip source = {0};
    char text[PERI_IP_TEXT];
    int rc = PERI_AGAIN;
    size_t at = 0, n = 0;
    for (uint8_t *piece; (piece = feeding_next(feeding, &at, &n));) {
        struct peri_span in = {piece, n};
        if (rc == PERI_AGAIN) {
            rc = peri_proxy_header_feed(&header, &in, &source);
            assert_true(rc != PERI_AGAIN || in.len == 0);
            peri_ip_print(text, &source);
            const char *said = rc == PERI_E_INVALID            ? "no header"
                               : rc == PERI_AGAIN              ? ""
                               : source.family == PERI_IP_NONE ? "nobody|"
                                                               : text;
            assert_int_equal(
                peri_buffer_printf(seen, "%s%s", said, rc == PERI_OK && source.family ? "|" : ""),
                PERI_OK);
        }
        if (rc == PERI_OK) {
            assert_int_equal(peri_buffer_append(seen, in.ptr, in.len), PERI_OK);
        }
        free(piece);
    }
}

static void expect(const void *bytes, size_t n, const char *wanted) {
    feeding_check_all(bytes, n, run_header, NULL, wanted);
}

#define EXPECT(literal, wanted) expect(literal, sizeof(literal) - 1, wanted)

// Version 1

static void a_line_names_the_client_and_what_follows_is_left(void **state) {
    (void)state;
    EXPECT("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET /", "192.0.2.1|GET /");
    EXPECT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255|");
    EXPECT("PROXY TCP4 192.0.2.1 192.0.2.2 0 0\r\n\r\n", "192.0.2.1|\r\n");
    EXPECT("PROXY TCP6 2001:db8::1 ::1 1 2\r\nx", "2001:db8::1|x");
    EXPECT("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\nx", "192.0.2.1|x");
    EXPECT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff|");
    EXPECT("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nPROXY TCP4 3.3.3.3 4.4.4.4 5 6\r\n",
           "1.1.1.1|PROXY TCP4 3.3.3.3 4.4.4.4 5 6\r\n"); // one counts
}

static void an_unknown_client_is_nobody(void **state) {
    (void)state;
    EXPECT("PROXY UNKNOWN\r\nGET /", "nobody|GET /");
    EXPECT("PROXY UNKNOWN ffff:: rubbish \t 99999999\r\nGET /", "nobody|GET /");
    EXPECT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\nx",
           "nobody|x"); // 107 bytes, the longest that there is
}

static void a_malformed_line_is_no_header(void **state) {
    (void)state;
    static const char *const lines[] = {
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
        "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 000001 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 0x1 2\r\n",
        "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP4 ::ffff:1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP6 ::1 2.2.2.2 1 2\r\n",
        "PROXY TCP6 [::1] [::1] 1 2\r\n",
        "PROXY TCP6 fe80::1%lo ::1 1 2\r\n",
        "PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rx",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n",
        "PROXY UNKNOWN \n\r\n",
        "PROXY\t",
        "PROXy ",
        "proxy ",
        "GET / HTTP/1.1\r\n",
        "\r\nPROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        " PROXY",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        expect(lines[i], strlen(lines[i]), "no header");
    }
    EXPECT("PROXY TCP4 1.1.1.1\0 2.2.2.2 1 2\r\n", "no header");
    EXPECT("\0", "no header");
}

static void a_line_without_an_end_is_not_read_past_its_longest(void **state) {
    (void)state;
    char line[160];
    (void)snprintf(line, sizeof line, "PROXY UNKNOWN %0100d", 0);
    expect(line, PERI_PROXY_V1_MAX - 1, ""); // it may still come
    expect(line, PERI_PROXY_V1_MAX, "no header");
    (void)snprintf(line, sizeof line, "PROXY UNKNOWN %091d\r\n", 0);
    expect(line, PERI_PROXY_V1_MAX, "nobody|");
    (void)snprintf(line, sizeof line, "PROXY UNKNOWN %092d\r\n", 0);
    expect(line, PERI_PROXY_V1_MAX + 1, "no header");
}

// Version 2

static void binary_names_the_client_and_what_follows_is_left(void **state) {
    (void)state;
    EXPECT(SIGNATURE "\x21\x11\0\x0c"
                     "\xc0\0\x02\x01"
                     "\x0a\0\0\x01"
                     "\xdc\x04\x01\xbb"
                     "GET /",
           "192.0.2.1|GET /");
    EXPECT(SIGNATURE "\x21\x21\0\x24"
                     "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                     "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
                     "\xdc\x04\x01\xbb"
                     "x",
           "2001:db8::1|x");
    EXPECT(SIGNATURE "\x21\x21\0\x24"
                     "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01"
                     "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
                     "\xdc\x04\x01\xbb",
           "192.0.2.1|");
}

static void a_socket_of_the_file_system_is_called_so(void **state) {
    (void)state;
    uint8_t bytes[PERI_PROXY_V2_MAX + 1] = SIGNATURE "\x21\x31\0\xd8/run/x";
    bytes[PERI_PROXY_V2_MAX] = 'y';
    expect(bytes, sizeof bytes, "unix|y");
    bytes[15] = 0xd7; // a byte too short
    expect(bytes, sizeof bytes, "no header");
}

static void what_is_local_or_no_stream_is_nobody(void **state) {
    (void)state;
    EXPECT(SIGNATURE "\x20\0\0\0GET /", "nobody|GET /");
    EXPECT(SIGNATURE "\x20\x11\0\x0c"
                     "aaaabbbbccdd"
                     "x",
           "nobody|x"); // LOCAL
    EXPECT(SIGNATURE "\x20\xff\0\x03"
                     "abc"
                     "x",
           "nobody|x");
    EXPECT(SIGNATURE "\x21\0\0\0x", "nobody|x");
    EXPECT(SIGNATURE "\x21\0\0\x03"
                     "abc"
                     "x",
           "nobody|x");
    EXPECT(SIGNATURE "\x21\x12\0\x0c"
                     "aaaabbbbccdd"
                     "x",
           "nobody|x"); // UDP
}

static void what_follows_the_addresses_is_skipped(void **state) {
    (void)state;
    EXPECT(SIGNATURE "\x21\x11\0\x15"
                     "\xc0\0\x02\x01"
                     "\x0a\0\0\x01"
                     "\xdc\x04\x01\xbb"
                     "\x02\0\x06"
                     "a.test"
                     "GET /",
           "192.0.2.1|GET /");
    EXPECT(SIGNATURE "\x21\x11\0\x0e"
                     "\xc0\0\x02\x01"
                     "\x0a\0\0\x01"
                     "\xdc\x04\x01\xbb"
                     "\xff\xff"
                     "x", // malformed ones too: they are not looked at
           "192.0.2.1|x");

    enum { ALL = 16 + 65535 };
    uint8_t *long_one = calloc(1, ALL + 1);
    assert_non_null(long_one);
    static const uint8_t head[] = SIGNATURE "\x21\x11\xff\xff\xc0\0\x02\x01";
    memcpy(long_one, head, sizeof head - 1);
    long_one[ALL] = 'x';
    expect(long_one, ALL + 1, "192.0.2.1|x");
    expect(long_one, ALL - 1, "");
    free(long_one);
}

static void a_malformed_head_is_no_header(void **state) {
    (void)state;
    EXPECT(SIGNATURE "\x11\x11\0\x0c", "no header"); // version 1
    EXPECT(SIGNATURE "\x31\x11\0\x0c", "no header");
    EXPECT(SIGNATURE "\x22\x11\0\x0c", "no header"); // an unknown command
    EXPECT(SIGNATURE "\x21\x41\0\xff", "no header"); // an unknown family
    EXPECT(SIGNATURE "\x21\x13\0\x0c", "no header");
    EXPECT(SIGNATURE "\x21\x10\0\x0c", "no header"); // the one without the other
    EXPECT(SIGNATURE "\x21\x01\0\x0c", "no header");
    EXPECT(SIGNATURE "\x21\x11\0\x0b", "no header"); // no room for the addresses
    EXPECT(SIGNATURE "\x21\x21\0\x23", "no header");
    EXPECT("\r\n\r\n\0\r\nQUIT\r", "no header");
    EXPECT("\r\n\r\n\r", "no header");
    EXPECT("\n", "no header");
}

static void every_part_of_a_header_asks_for_more(void **state) {
    (void)state;
    static const char v1[] = "PROXY TCP6 2001:db8::1 ::1 1 2\r\n";
    static const char v2[] = SIGNATURE "\x21\x11\0\x0c"
                                       "aaaabbbbccdd";
    for (size_t n = 1; n < sizeof v1 - 1; n++) {
        expect(v1, n, "");
    }
    for (size_t n = 1; n < sizeof v2 - 1; n++) {
        expect(v2, n, "");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_names_the_client_and_what_follows_is_left),
        cmocka_unit_test(an_unknown_client_is_nobody),
        cmocka_unit_test(a_malformed_line_is_no_header),
        cmocka_unit_test(a_line_without_an_end_is_not_read_past_its_longest),
        cmocka_unit_test(binary_names_the_client_and_what_follows_is_left),
        cmocka_unit_test(a_socket_of_the_file_system_is_called_so),
        cmocka_unit_test(what_is_local_or_no_stream_is_nobody),
        cmocka_unit_test(what_follows_the_addresses_is_skipped),
        cmocka_unit_test(a_malformed_head_is_no_header),
        cmocka_unit_test(every_part_of_a_header_asks_for_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
