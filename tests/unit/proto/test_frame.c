// Frame headers both ways, masking, close codes and payloads.
#include <stdlib.h>

#include "proto/frame.h"
#include "proto/utf8.h"
#include "support/cmocka.h"

static void every_header_reads_back_as_it_was_written(void **state) {
    (void)state;
    static const uint64_t lengths[] = {0,     1,     125,     126,        127,      65535,
                                       65536, 65537, 1 << 24, UINT32_MAX, INT64_MAX};
    static const uint8_t key[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (unsigned bits = 0; bits < 1u << 9; bits++) { // fin, masked, rsv, opcode
            uint8_t bytes[PERI_FRAME_HEADER_MAX];
            uint8_t rsv = bits >> 2 & 7;
            enum peri_opcode opcode = (enum peri_opcode)(bits >> 5);
            size_t n =
                peri_frame_encode(bytes, bits & 1, rsv, opcode, lengths[i], bits & 2 ? key : NULL);
            struct peri_frame frame;
            for (size_t part = 0; part < n; part++) {
                assert_int_equal(peri_frame_decode(&frame, bytes, part), PERI_AGAIN);
            }
            assert_int_equal(peri_frame_decode(&frame, bytes, n), PERI_OK);
            assert_int_equal(frame.fin, bits & 1);
            assert_int_equal(frame.rsv, rsv);
            assert_int_equal(frame.opcode, opcode);
            assert_int_equal(frame.length, lengths[i]);
            assert_int_equal(frame.masked, (bits & 2) != 0);
            assert_int_equal(frame.header_bytes, n);
            assert_memory_equal(frame.key, bits & 2 ? key : (const uint8_t[4]){0}, 4);
        }
    }
}

static void lengths_take_their_shortest_form(void **state) {
    (void)state;
    uint8_t bytes[PERI_FRAME_HEADER_MAX];
    assert_int_equal(peri_frame_encode(bytes, true, 0, PERI_OP_TEXT, 125, NULL), 2);
    assert_memory_equal(bytes, "\x81\x7d", 2);
    assert_int_equal(peri_frame_encode(bytes, true, 0, PERI_OP_BINARY, 126, NULL), 4);
    assert_memory_equal(bytes, "\x82\x7e\x00\x7e", 4);
    assert_int_equal(peri_frame_encode(bytes, false, 4, PERI_OP_TEXT, 65536, NULL), 10);
    assert_memory_equal(bytes, "\x41\x7f\0\0\0\0\0\x01\0\0", 10);
}

static void a_longer_form_than_needed_is_refused_once_the_length_is_there(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\x82\x7e\x00\x00", 4},
        {"\x82\x7e\x00\x7d", 4},
        {"\x82\xfe\x00\x7d", 4}, // before its masking key has come
        {"\x82\x7f\0\0\0\0\0\0\0\x01", 10},
        {"\x82\x7f\0\0\0\0\0\0\xff\xff", 10},
        {"\x82\x7f\x80\0\0\0\0\0\0\0", 10},
        {"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const uint8_t *bytes = (const uint8_t *)bad[i].bytes;
        struct peri_frame frame;
        assert_int_equal(peri_frame_decode(&frame, bytes, bad[i].n - 1), PERI_AGAIN);
        assert_int_equal(peri_frame_decode(&frame, bytes, bad[i].n), PERI_E_PROTOCOL);
    }
}

static void masking_is_right_at_any_alignment_length_and_offset(void **state) {
    (void)state;
    static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    for (size_t align = 0; align < 9; align++) {
        for (size_t n = 0; n < 150; n++) {
            for (uint64_t offset = 0; offset < 9; offset++) {
                uint8_t *block = malloc(align + n + 1); // a sanitizer guards its end
                assert_non_null(block);
                for (size_t i = 0; i < align + n + 1; i++) {
                    block[i] = (uint8_t)(i * 7);
                }
                peri_mask(block + align, n, key, offset);
                for (size_t i = 0; i < n; i++) {
                    assert_int_equal(block[align + i],
                                     (uint8_t)((align + i) * 7) ^ key[(offset + i) % 4]);
                }
                assert_int_equal(block[align + n], (uint8_t)((align + n) * 7)); // not one more
                free(block);
            }
        }
    }
}

static void masking_tells_whether_all_that_comes_of_it_is_ascii(void **state) {
    (void)state;
    static const uint8_t key[4] = {0x80, 0xfa, 0x21, 0xbd};
    for (size_t n = 0; n < 150; n++) {
        for (size_t other = 0; other <= n; other++) { // n: none
            uint8_t *block = malloc(n + 1);
            assert_non_null(block);
            memset(block, 'a', n);
            if (other < n) {
                block[other] = 0x80;
            }
            peri_mask(block, n, key, 3);
            assert_int_equal(peri_mask(block, n, key, 3), other == n);
            free(block);
        }
    }
}

static void masking_in_pieces_equals_masking_at_once(void **state) {
    (void)state;
    static const uint8_t key[4] = {0xde, 0xad, 0xbe, 0xef};
    uint8_t whole[100] = {0};
    peri_mask(whole, sizeof whole, key, 0);
    for (size_t cut = 0; cut <= sizeof whole; cut++) {
        uint8_t pieces[100] = {0};
        peri_mask(pieces, cut, key, 0);
        peri_mask(pieces + cut, sizeof pieces - cut, key, cut);
        assert_memory_equal(pieces, whole, sizeof whole);
    }
}

static void close_codes_are_those_of_the_registry(void **state) {
    (void)state;
    size_t count = 0;
    for (int code = -1; code <= 70000; code++) {
        count += peri_close_code_is_valid(code);
    }
    assert_int_equal(count, 4 + 8 + 2000);
    static const int invalid[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535};
    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++) {
        assert_false(peri_close_code_is_valid(invalid[i]));
    }
    assert_true(peri_close_code_is_valid(1000) && peri_close_code_is_valid(1003));
    assert_true(peri_close_code_is_valid(1007) && peri_close_code_is_valid(1014));
    assert_true(peri_close_code_is_valid(3000) && peri_close_code_is_valid(4999));
}

static void a_close_payload_holds_code_and_reason(void **state) {
    (void)state;
    uint8_t out[PERI_CONTROL_MAX];
    assert_int_equal(peri_close_payload(out, 0, PERI_STR("not written")), 0);
    assert_int_equal(peri_close_payload(out, 1000, (struct peri_str){0}), 2);
    assert_memory_equal(out, "\x03\xe8", 2);
    assert_int_equal(peri_close_payload(out, 4001, PERI_STR("bye")), 5);
    assert_memory_equal(out,
                        "\x0f\xa1"
                        "bye",
                        5);
}

static void a_long_reason_is_cut_at_the_edge_of_a_character(void **state) {
    (void)state;
    static const uint8_t moon[4] = {0xf0, 0x9f, 0x8c, 0x99};
    for (size_t before = 0; before < 8; before++) {
        char reason[200];
        memset(reason, 'x', sizeof reason);
        for (size_t at = before; at + 4 <= sizeof reason; at += 4) {
            memcpy(reason + at, moon, 4);
        }
        uint8_t out[PERI_CONTROL_MAX];
        size_t n = peri_close_payload(out, 1000, peri_str(reason, sizeof reason));
        assert_in_range(n, 2 + 120, 2 + 123);
        assert_int_equal((n - 2 - before) % 4, 0);
        assert_memory_equal(out + 2, reason, n - 2);
        assert_true(peri_utf8_is_valid(out + 2, n - 2));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_header_reads_back_as_it_was_written),
        cmocka_unit_test(lengths_take_their_shortest_form),
        cmocka_unit_test(a_longer_form_than_needed_is_refused_once_the_length_is_there),
        cmocka_unit_test(masking_is_right_at_any_alignment_length_and_offset),
        cmocka_unit_test(masking_tells_whether_all_that_comes_of_it_is_ascii),
        cmocka_unit_test(masking_in_pieces_equals_masking_at_once),
        cmocka_unit_test(close_codes_are_those_of_the_registry),
        cmocka_unit_test(a_close_payload_holds_code_and_reason),
        cmocka_unit_test(a_long_reason_is_cut_at_the_edge_of_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
