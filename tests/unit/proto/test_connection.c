// Frames to events: framing, fragments, control frames, limits, and how memory is used.
#include <malloc.h>

#include "support/connection.h"

// RFC 6455 section 5.7

static void the_rfcs_single_frame_text_is_read(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x81\x05Hello", "text Hello\n");
    EXPECT(PERI_SERVER, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "text Hello\n");
}

static void the_rfcs_fragmented_text_is_read(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x01\x03Hel\x80\x02lo", "text Hello\n");
}

static void the_rfcs_ping_and_pong_are_read(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x89\x05Hello", "ping Hello\n");
    EXPECT(PERI_SERVER, "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "pong Hello\n");
}

static void the_rfcs_256_bytes_and_64_kib_are_read(void **state) {
    (void)state;
    static uint8_t bytes[10 + 65536] = {0x82, 0x7e, 0x01, 0x00};
    memset(bytes + 4, 'x', 256);
    struct peri_connection c = CONNECTION;
    c.role = PERI_CLIENT;
    expect_of(c, bytes, 4 + 256, "binary 256 bytes, 5b9ecc8ba1f78000\n");
    static const uint8_t header[10] = {0x82, 0x7f, 0, 0, 0, 0, 0, 1};
    memcpy(bytes, header, sizeof header);
    memset(bytes + 10, 0, 65536);
    expect_of(c, bytes, sizeof bytes, "binary 65536 bytes, 0000000000000000\n");
}

static void frames_follow_each_other_in_one_read(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, true, PERI_OP_TEXT, "one");
    PUT(&wire, true, PERI_OP_PING, "p");
    PUT(&wire, true, PERI_OP_BINARY, "\x00\xff");
    PUT(&wire, true, PERI_OP_TEXT, "");
    PUT(&wire, true, PERI_OP_PONG, "");
    expect_wire(&wire, "text one\nping p\nbinary <00><ff>\ntext \npong \n");
}

static void every_length_around_the_forms_of_the_length_is_read(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537};
    static uint8_t zeros[65537];
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char expected[64];
        if (lengths[i] > 64) {
            (void)snprintf(expected, sizeof expected, "binary %zu bytes, 0000000000000000\n",
                           lengths[i]);
        } else {
            (void)snprintf(expected, sizeof expected, "binary %s\n", lengths[i] ? "<00>" : "");
        }
        for (enum peri_role to = PERI_SERVER; to <= PERI_CLIENT; to++) {
            struct wire wire = {.to = to};
            put_frame(&wire, true, PERI_OP_BINARY, zeros, lengths[i]);
            expect_wire(&wire, expected);
        }
    }
}

// Fragments

static void a_first_fragment_is_not_delivered_by_itself(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, false, PERI_OP_TEXT, "half");
    expect_wire(&wire, "");
}

static void fragments_of_any_size_make_one_message(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, false, PERI_OP_BINARY, "");
    PUT(&wire, false, PERI_OP_CONTINUATION, "a");
    PUT(&wire, false, PERI_OP_CONTINUATION, "");
    PUT(&wire, false, PERI_OP_CONTINUATION, "bcd");
    PUT(&wire, true, PERI_OP_CONTINUATION, "");
    PUT(&wire, false, PERI_OP_TEXT, "");
    PUT(&wire, true, PERI_OP_CONTINUATION, "");
    PUT(&wire, false, PERI_OP_TEXT, "");
    PUT(&wire, true, PERI_OP_CONTINUATION, "last");
    expect_wire(&wire, "binary abcd\ntext \ntext last\n");
}

static void a_ping_inside_a_message_does_not_disturb_it(void **state) {
    (void)state;
    for (enum peri_role to = PERI_SERVER; to <= PERI_CLIENT; to++) {
        struct wire wire = {.to = to};
        PUT(&wire, false, PERI_OP_TEXT, "a\xe2\x82");
        PUT(&wire, true, PERI_OP_PING, "first");
        PUT(&wire, true, PERI_OP_PING, "");
        PUT(&wire, false, PERI_OP_CONTINUATION, "\xac");
        PUT(&wire, true, PERI_OP_PONG, "\xff\xfe");
        PUT(&wire, true, PERI_OP_CONTINUATION, "b");
        PUT(&wire, true, PERI_OP_TEXT, "next");
        expect_wire(&wire, "ping first\nping \npong <ff><fe>\ntext a<e2><82><ac>b\ntext next\n");
    }
}

static void a_ping_before_the_first_byte_of_a_message_does_not_disturb_it(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, false, PERI_OP_BINARY, "");
    PUT(&wire, true, PERI_OP_PING, "ping");
    PUT(&wire, true, PERI_OP_CONTINUATION, "whole");
    expect_wire(&wire, "ping ping\nbinary whole\n");
}

static void a_continuation_of_nothing_is_1002(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x80\x01x", "fail 1002 continuation of no message\n");
    EXPECT(PERI_CLIENT, "\x81\x01x\x00\x01y", "text x\nfail 1002 continuation of no message\n");
    EXPECT(PERI_CLIENT, "\x01\x01x\x80\x01y\x80\x01z",
           "text xy\nfail 1002 continuation of no message\n");
}

static void a_message_inside_a_message_is_1002(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x01\x01x\x81\x01y", "fail 1002 message inside a message\n");
    EXPECT(PERI_CLIENT, "\x02\x00\x02\x01y", "fail 1002 message inside a message\n");
}

// What a header may not say

static void an_unmasked_frame_from_a_client_is_1002(void **state) {
    (void)state;
    EXPECT(PERI_SERVER, "\x81\x05Hello", "fail 1002 unmasked frame\n");
    EXPECT(PERI_SERVER, "\x89\x00", "fail 1002 unmasked frame\n");
}

static void a_masked_frame_from_a_server_is_1002(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
           "fail 1002 masked frame from a server\n");
}

static void a_reserved_bit_is_1002(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\xc1\x01x", "fail 1002 reserved bit set\n");
    EXPECT(PERI_CLIENT, "\xa1\x01x", "fail 1002 reserved bit set\n");
    EXPECT(PERI_CLIENT, "\x91\x01x", "fail 1002 reserved bit set\n");
    EXPECT(PERI_CLIENT, "\x81\x01x\xc9\x00", "text x\nfail 1002 reserved bit set\n");
}

static void a_reserved_opcode_is_1002(void **state) {
    (void)state;
    for (int opcode = 0; opcode < 16; opcode++) {
        bool is_reserved = (opcode > 2 && opcode < 8) || opcode > 10;
        if (is_reserved) {
            struct wire wire = {.to = PERI_SERVER};
            PUT(&wire, true, opcode, "");
            expect_wire(&wire, "fail 1002 reserved opcode\n");
            PUT(&wire, false, PERI_OP_TEXT, "x");
            PUT(&wire, true, opcode, "y");
            expect_wire(&wire, "fail 1002 reserved opcode\n");
        }
    }
}

static void a_control_frame_in_fragments_is_1002(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x09\x01x", "fail 1002 fragmented control frame\n");
    EXPECT(PERI_CLIENT, "\x0a\x01x", "fail 1002 fragmented control frame\n");
    EXPECT(PERI_CLIENT, "\x08\x00", "fail 1002 fragmented control frame\n");
}

static void a_control_frame_of_125_bytes_is_read_and_of_126_is_1002(void **state) {
    (void)state;
    static const uint8_t zeros[126];
    struct wire wire = {.to = PERI_SERVER};
    put_frame(&wire, true, PERI_OP_PING, zeros, 125);
    expect_wire(&wire, "ping 125 bytes, 0000000000000000\n");
    put_frame(&wire, true, PERI_OP_PING, zeros, 126);
    expect_wire(&wire, "fail 1002 control frame too long\n");
    EXPECT(PERI_CLIENT, "\x8a\x7f\0\0\0\0\0\x01\0\0", "fail 1002 control frame too long\n");
}

static void a_length_not_in_its_shortest_form_is_1002(void **state) {
    (void)state;
    EXPECT(PERI_CLIENT, "\x82\x7e\x00\x7d", "fail 1002 bad frame length\n");
    EXPECT(PERI_CLIENT, "\x82\x7f\0\0\0\0\0\0\xff\xff", "fail 1002 bad frame length\n");
    EXPECT(PERI_CLIENT, "\x82\x7f\x80\0\0\0\0\x01\0\0", "fail 1002 bad frame length\n");
}

static void a_wrong_first_byte_is_told_before_the_second_arrives(void **state) {
    (void)state;
    EXPECT(PERI_SERVER, "\xc1", "fail 1002 reserved bit set\n");
    EXPECT(PERI_SERVER, "\x80", "fail 1002 continuation of no message\n");
    EXPECT(PERI_SERVER, "\x81\x05", "fail 1002 unmasked frame\n");
    EXPECT(PERI_SERVER, "\x89\xfe", "fail 1002 control frame too long\n");
}

// Limits

static void a_declared_length_over_the_limit_is_1009_at_once(void **state) {
    (void)state;
    struct peri_connection c = CONNECTION;
    c.role = PERI_CLIENT;
    c.max_message_bytes = 5;
    expect_of(c, "\x82\x05Hello", 7, "binary Hello\n");
    expect_of(c, "\x82\x06", 2, "fail 1009 message too big (message_bytes)\n");
    expect_of(c, "\x82\x7f\0\0\0\0\x80\0\0\0", 10, "fail 1009 message too big (message_bytes)\n");
    expect_of(c, "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10,
              "fail 1009 message too big (message_bytes)\n");
}

static void the_limit_counts_all_fragments_of_a_message_and_no_ping(void **state) {
    (void)state;
    struct peri_connection c = CONNECTION;
    c.role = PERI_CLIENT;
    c.max_message_bytes = 5;
    expect_of(c, "\x02\x03Hel\x89\x04ping\x80\x02lo", 15, "ping ping\nbinary Hello\n");
    expect_of(c, "\x02\x03Hel\x80\x03", 7, "fail 1009 message too big (message_bytes)\n");
    expect_of(c, "\x02\x05Hello\x00\x00\x80\x01", 11,
              "fail 1009 message too big (message_bytes)\n");
    expect_of(c, "\x02\x05Hello\x80\x00\x82\x05Hello", 16, "binary Hello\nbinary Hello\n");
}

static void more_fragments_than_allowed_are_1008(void **state) {
    (void)state;
    struct peri_connection c = CONNECTION;
    c.role = PERI_CLIENT;
    c.max_fragments = 3;
    expect_of(c,
              "\x02\x01"
              "a\x00\x01"
              "b\x80\x01"
              "c\x02\x01"
              "d\x80\x00",
              14, "binary abc\nbinary d\n");
    expect_of(c,
              "\x02\x01"
              "a\x00\x00\x89\x00\x00\x00\x80\x00",
              11, "ping \nfail 1008 too many fragments (fragments)\n");
}

// Memory

static void a_claimed_length_of_two_gib_takes_one_small_block(void **state) {
    (void)state;
    struct peri_connection c = CONNECTION;
    c.role = PERI_CLIENT;
    c.max_message_bytes = UINT32_MAX;
    uint8_t header[] = {0x82, 0x7f, 0, 0, 0, 0, 0x80, 0, 0, 0};
    struct peri_span in = {header, sizeof header};
    struct peri_event ev;
    uint64_t live = peri_alloc_live();
    assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_AGAIN);
    assert_int_equal(peri_alloc_live(), live + 1);
    assert_in_range(malloc_usable_size(c.partial_), 1, 300); // where in the frame it is
    uint8_t byte = 'x';
    in = (struct peri_span){&byte, 1};
    assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_AGAIN);
    peri_connection_deinit(&c);
    assert_int_equal(peri_alloc_live(), live);
}

static void a_whole_message_is_delivered_in_place_without_allocating(void **state) {
    (void)state;
    uint8_t bytes[] = "\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x80\x37\xfa\x21\x3d";
    struct peri_connection c = CONNECTION;
    struct peri_span in = {bytes, sizeof bytes - 1};
    struct peri_event ev;
    peri_alloc_fail_from(1);
    assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_OK);
    assert_true(ev.in_input);
    assert_ptr_equal(ev.payload.ptr, bytes + 6);
    assert_int_equal(ev.before, 6);
    assert_str_equal(ev.payload, "Hello");
    assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_OK);
    assert_int_equal(ev.kind, PERI_EV_PING);
    assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_AGAIN);
    peri_alloc_fail_from(0);
}

static void a_payload_whole_in_this_read_is_in_place_though_its_header_came_before(void **state) {
    (void)state;
    uint8_t header[] = {0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d};
    uint8_t payload[] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};
    struct peri_connection c = CONNECTION;
    struct peri_event ev;
    uint64_t live = peri_alloc_live();
    for (size_t cut = 1; cut <= sizeof header; cut++) {
        uint8_t second[sizeof header + sizeof payload];
        memcpy(second, header + cut, sizeof header - cut);
        memcpy(second + sizeof header - cut, payload, sizeof payload);
        struct peri_span in = {header, cut};
        assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_AGAIN);
        in = (struct peri_span){second, sizeof header - cut + sizeof payload};
        assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_OK);
        assert_true(ev.in_input);
        assert_ptr_equal(ev.payload.ptr, second + sizeof header - cut);
        assert_str_equal(ev.payload, "Hello");
        assert_int_equal(ev.before, 0); // not all of its header is there
        assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_AGAIN);
        assert_int_equal(peri_alloc_live(), live);
    }
}

static void an_idle_connection_holds_nothing_after_a_cut_message(void **state) {
    (void)state;
    struct peri_connection c = CONNECTION;
    c.role = PERI_CLIENT;
    uint8_t bytes[] = "\x01\x03Hel\x80\x02lo";
    struct peri_span in = {bytes, sizeof bytes - 1};
    struct peri_event ev;
    uint64_t live = peri_alloc_live();
    assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_OK);
    assert_false(ev.in_input);
    assert_true(peri_alloc_live() > live);
    assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_AGAIN);
    assert_int_equal(peri_alloc_live(), live);
}

static void nothing_is_held_between_messages_however_they_were_cut(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, true, PERI_OP_TEXT, "whole");
    PUT(&wire, false, PERI_OP_TEXT, "");
    PUT(&wire, true, PERI_OP_PING, "inside");
    PUT(&wire, false, PERI_OP_CONTINUATION, "part");
    PUT(&wire, true, PERI_OP_CONTINUATION, "");
    PUT(&wire, true, PERI_OP_PONG, "");
    PUT(&wire, true, PERI_OP_BINARY, "last");
    uint64_t live = peri_alloc_live();
    for (size_t cut = 0; cut <= wire.bytes.len; cut++) {
        uint8_t bytes[256];
        struct peri_connection c = CONNECTION;
        struct peri_event ev;
        size_t events = 0;
        memcpy(bytes, wire.bytes.ptr, wire.bytes.len);
        struct peri_span parts[] = {{bytes, cut}, {bytes + cut, wire.bytes.len - cut}};
        for (size_t i = 0; i < 2; i++) {
            int rc = PERI_OK;
            while (rc == PERI_OK) {
                rc = peri_connection_next(&c, &parts[i], &ev);
                events += rc == PERI_OK;
            }
            assert_int_equal(rc, PERI_AGAIN);
        }
        assert_int_equal(events, 5);
        assert_null(c.partial_);
        assert_int_equal(peri_alloc_live(), live);
    }
    peri_buffer_deinit(&wire.bytes);
}

static void many_tiny_fragments_hold_no_more_than_their_payload(void **state) {
    (void)state;
    enum { FRAGMENTS = 100000 };
    struct peri_connection c = CONNECTION;
    c.role = PERI_CLIENT;
    c.max_fragments = FRAGMENTS + 1;
    struct peri_event ev;
    uint64_t live = peri_alloc_live();
    for (size_t i = 0; i < FRAGMENTS; i++) {
        uint8_t bytes[] = {i == 0 ? 0x02 : 0x00, 0x01, (uint8_t)i};
        struct peri_span in = {bytes, sizeof bytes};
        assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_AGAIN);
    }
    assert_int_equal(peri_alloc_live(), live + 2); // the state and one run of bytes
    uint8_t last[] = {0x80, 0x00};
    struct peri_span in = {last, sizeof last};
    assert_int_equal(peri_connection_next(&c, &in, &ev), PERI_OK);
    assert_int_equal(ev.payload.len, FRAGMENTS);
    for (size_t i = 0; i < FRAGMENTS; i++) {
        assert_int_equal((uint8_t)ev.payload.ptr[i], (uint8_t)i);
    }
    peri_connection_deinit(&c);
}

/// Feeds the bytes one by one; the nth allocation fails.
/// @return the last result; *events counts what came out
static int feed_failing(const struct peri_buffer *bytes, uint64_t nth, size_t *events) {
    struct peri_connection c = CONNECTION;
    struct peri_event ev;
    int rc = PERI_AGAIN;
    *events = 0;
    peri_alloc_fail_from(nth);
    for (size_t i = 0; i < bytes->len && rc >= 0; i++) {
        uint8_t byte = bytes->ptr[i];
        struct peri_span in = {&byte, 1};
        rc = peri_connection_next(&c, &in, &ev);
        *events += rc == PERI_OK;
    }
    peri_alloc_fail_from(0);
    struct peri_span none = {NULL, 0};
    assert_true(rc != PERI_E_MEMORY || peri_connection_next(&c, &none, &ev) == rc);
    peri_connection_deinit(&c);
    return rc;
}

static void running_out_of_memory_anywhere_is_an_error_that_stays(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    static uint8_t zeros[1000];
    PUT(&wire, true, PERI_OP_PING, "ping");
    PUT(&wire, false, PERI_OP_TEXT, "one");
    PUT(&wire, true, PERI_OP_PING, "ping");
    put_frame(&wire, true, PERI_OP_CONTINUATION, zeros, sizeof zeros);
    uint64_t live = peri_alloc_live();
    uint64_t nth = 1;
    size_t events = 0;
    for (; feed_failing(&wire.bytes, nth, &events) == PERI_E_MEMORY; nth++) {
        assert_true(events < 3);
        assert_int_equal(peri_alloc_live(), live);
    }
    assert_int_equal(events, 3);
    assert_in_range(nth, 4, 20); // several places were tried
    assert_int_equal(peri_alloc_live(), live);
    peri_buffer_deinit(&wire.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rfcs_single_frame_text_is_read),
        cmocka_unit_test(the_rfcs_fragmented_text_is_read),
        cmocka_unit_test(the_rfcs_ping_and_pong_are_read),
        cmocka_unit_test(the_rfcs_256_bytes_and_64_kib_are_read),
        cmocka_unit_test(frames_follow_each_other_in_one_read),
        cmocka_unit_test(every_length_around_the_forms_of_the_length_is_read),
        cmocka_unit_test(a_first_fragment_is_not_delivered_by_itself),
        cmocka_unit_test(fragments_of_any_size_make_one_message),
        cmocka_unit_test(a_ping_inside_a_message_does_not_disturb_it),
        cmocka_unit_test(a_ping_before_the_first_byte_of_a_message_does_not_disturb_it),
        cmocka_unit_test(a_continuation_of_nothing_is_1002),
        cmocka_unit_test(a_message_inside_a_message_is_1002),
        cmocka_unit_test(an_unmasked_frame_from_a_client_is_1002),
        cmocka_unit_test(a_masked_frame_from_a_server_is_1002),
        cmocka_unit_test(a_reserved_bit_is_1002),
        cmocka_unit_test(a_reserved_opcode_is_1002),
        cmocka_unit_test(a_control_frame_in_fragments_is_1002),
        cmocka_unit_test(a_control_frame_of_125_bytes_is_read_and_of_126_is_1002),
        cmocka_unit_test(a_length_not_in_its_shortest_form_is_1002),
        cmocka_unit_test(a_wrong_first_byte_is_told_before_the_second_arrives),
        cmocka_unit_test(a_declared_length_over_the_limit_is_1009_at_once),
        cmocka_unit_test(the_limit_counts_all_fragments_of_a_message_and_no_ping),
        cmocka_unit_test(more_fragments_than_allowed_are_1008),
        cmocka_unit_test(a_claimed_length_of_two_gib_takes_one_small_block),
        cmocka_unit_test(a_whole_message_is_delivered_in_place_without_allocating),
        cmocka_unit_test(a_payload_whole_in_this_read_is_in_place_though_its_header_came_before),
        cmocka_unit_test(an_idle_connection_holds_nothing_after_a_cut_message),
        cmocka_unit_test(nothing_is_held_between_messages_however_they_were_cut),
        cmocka_unit_test(many_tiny_fragments_hold_no_more_than_their_payload),
        cmocka_unit_test(running_out_of_memory_anywhere_is_an_error_that_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
