// What text and Close frames carry: UTF-8 across frames and reads, close codes and reasons.
#include "support/connection.h"

// Text. RFC 6455 section 8.1

static void characters_may_be_cut_by_frames_and_reads(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, true, PERI_OP_TEXT, "\xce\xba\xe2\x82\xac\xf0\x9f\x8c\x99");
    PUT(&wire, false, PERI_OP_TEXT, "\xf0");
    PUT(&wire, false, PERI_OP_CONTINUATION, "\x9f");
    PUT(&wire, false, PERI_OP_CONTINUATION, "");
    PUT(&wire, true, PERI_OP_CONTINUATION, "\x8c\x99");
    expect_wire(&wire, "text <ce><ba><e2><82><ac><f0><9f><8c><99>\n"
                       "text <f0><9f><8c><99>\n");
}

static void a_bad_byte_is_1007_before_the_message_ends(void **state) {
    (void)state;
    // 20 bytes are declared and the frame is not even the last: 3 bytes are enough.
    EXPECT(PERI_CLIENT,
           "\x01\x14"
           "ab\xff",
           "fail 1007 text is not UTF-8\n");
    EXPECT(PERI_CLIENT,
           "\x01\x02"
           "ab\x00\x14\xc0",
           "fail 1007 text is not UTF-8\n");
    EXPECT(PERI_CLIENT, "\x01\x14\xf4\x90", "fail 1007 text is not UTF-8\n");
    EXPECT(PERI_CLIENT, "\x01\x01\xed\x00\x14\xa0", "fail 1007 text is not UTF-8\n");
    EXPECT(PERI_CLIENT,
           "\x01\x01\xe2\x89\x02hi\x00\x14"
           "a",
           "ping hi\nfail 1007 text is not UTF-8\n");
}

static void a_character_cut_by_the_end_of_the_message_is_1007(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT,
           "\x81\x02"
           "a\xce",
           "fail 1007 text ends inside a character\n");
    EXPECT(PERI_CLIENT, "\x01\x03\xf0\x9f\x8c\x80\x00", "fail 1007 text ends inside a character\n");
}

static void a_cut_character_does_not_leak_into_the_next_message(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x02\x01\xce\x80\x00\x81\x01x", "binary <ce>\ntext x\n");
}

static void binary_may_hold_any_bytes(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x02\x02\xff\xfe\x80\x02\xc0\x80", "binary <ff><fe><c0><80>\n");
}

// Close. RFC 6455 sections 5.5.1, 7.4

static void close_is_read_with_and_without_code_and_reason(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x88\x00", "close 1005 \nclosed\n");
    EXPECT(PERI_CLIENT, "\x88\x02\x03\xe8", "close 1000 \nclosed\n");
    EXPECT(PERI_CLIENT,
           "\x88\x05\x03\xe9"
           "bye",
           "close 1001 bye\nclosed\n");
    EXPECT(PERI_SERVER, "\x88\x82\x37\xfa\x21\x3d\x34\x12", "close 1000 \nclosed\n");
}

static void a_close_reason_may_fill_the_frame(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    uint8_t payload[PERI_CONTROL_MAX] = {0x0f, 0xa0};
    memset(payload + 2, 'x', sizeof payload - 2);
    put_frame(&wire, true, PERI_OP_CLOSE, payload, sizeof payload);
    expect_wire(&wire, "close 4000 123 bytes, 3ad7115c70e54d78\nclosed\n");
}

static void nothing_is_read_after_close(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x88\x00\x81\x01x\xff\xff", "close 1005 \nclosed\n");
}

static void close_inside_a_message_ends_it(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT,
           "\x01\x03"
           "abc\x88\x02\x03\xe8\x80\x01"
           "d",
           "close 1000 \nclosed\n");
}

static void a_close_code_of_one_byte_is_1002(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x88\x01", "fail 1002 close code cut short\n");
    EXPECT(PERI_SERVER, "\x88\x81", "fail 1002 close code cut short\n");
}

static void an_invalid_close_code_is_1002_and_a_valid_one_is_delivered(void **state) {
    (void)state;
    static const int probes[] = {0,    1,    999,  1000, 1003, 1004, 1005, 1006, 1007, 1011, 1014,
                                 1015, 1016, 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535};
    for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++) {
        int code = probes[i];
        uint8_t bytes[] = {0x88, 0x02, (uint8_t)(code >> 8), (uint8_t)(code & 0xff)};
        char expected[64] = "fail 1002 invalid close code\n";
        bool valid = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                     (code >= 3000 && code <= 4999);
        if (valid) {
            (void)snprintf(expected, sizeof expected, "close %d \nclosed\n", code);
        }
        struct peri_connection c = CONNECTION;
        c.role = PERI_CLIENT;
        expect_of(c, bytes, sizeof bytes, expected);
    }
}

static void a_close_reason_that_is_not_utf8_is_1007(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x88\x03\x03\xe8\xff", "fail 1007 close reason is not UTF-8\n");
    EXPECT(PERI_CLIENT, "\x88\x04\x03\xe8\xe2\x82", "fail 1007 close reason is not UTF-8\n");
}

static void a_failed_connection_holds_nothing(void **state) {
    (void)state;
    struct peri_connection c = CONNECTION;
    c.role = PERI_CLIENT;
    uint8_t bytes[] = "\x01\x03"
                      "abc\x00\x03\xff";
    struct peri_span in = {bytes, sizeof bytes - 1};
    struct peri_event ev;
    uint64_t live = peri_alloc_live();
    assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_E_PROTOCOL);
    assert_int_equal(c.error_code, 1007);
    assert_int_equal(peri_alloc_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_may_be_cut_by_frames_and_reads),
        cmocka_unit_test(a_bad_byte_is_1007_before_the_message_ends),
        cmocka_unit_test(a_character_cut_by_the_end_of_the_message_is_1007),
        cmocka_unit_test(a_cut_character_does_not_leak_into_the_next_message),
        cmocka_unit_test(binary_may_hold_any_bytes),
        cmocka_unit_test(close_is_read_with_and_without_code_and_reason),
        cmocka_unit_test(a_close_reason_may_fill_the_frame),
        cmocka_unit_test(nothing_is_read_after_close),
        cmocka_unit_test(close_inside_a_message_ends_it),
        cmocka_unit_test(a_close_code_of_one_byte_is_1002),
        cmocka_unit_test(an_invalid_close_code_is_1002_and_a_valid_one_is_delivered),
        cmocka_unit_test(a_close_reason_that_is_not_utf8_is_1007),
        cmocka_unit_test(a_failed_connection_holds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
