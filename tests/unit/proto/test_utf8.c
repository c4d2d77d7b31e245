// UTF-8 against what encoding every code point gives.
#include <stdlib.h>

#include "proto/utf8.h"
#include "support/cmocka.h"

/// Which sequences of up to three bytes begin the encoding of a code point, and which are one.
struct reference {
    bool begins1[1 << 8], begins2[1 << 16], begins3[1 << 24];
    bool is1[1 << 8], is2[1 << 16], is3[1 << 24];
};

static size_t encode(uint32_t c, uint8_t out[4]) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i > 1; i--) {
        out[i - 1] = (uint8_t)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (uint8_t)((0xf00u >> n & 0xff) | c);
    return n;
}

static struct reference *make_reference(void) {
    struct reference *r = calloc(1, sizeof *r);
    assert_non_null(r);
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (c >= 0xd800 && c <= 0xdfff) {
            continue;
        }
        uint8_t b[4] = {0};
        size_t n = encode(c, b);
        r->begins1[b[0]] = n > 1;
        r->is1[b[0]] = n == 1;
        if (n >= 2) {
            r->begins2[b[0] << 8 | b[1]] = n > 2;
            r->is2[b[0] << 8 | b[1]] = n == 2;
        }
        if (n >= 3) {
            r->begins3[b[0] << 16 | b[1] << 8 | b[2]] = n > 3;
            r->is3[b[0] << 16 | b[1] << 8 | b[2]] = n == 3;
        }
    }
    return r;
}

/// Feeds one more byte to a copy of the state.
/// @return true when it is accepted: then what is expected of its completeness must hold too
static bool accepts(const struct peri_utf8 *before, unsigned byte, bool begins, bool is,
                    struct peri_utf8 *after) {
    uint8_t one = (uint8_t)byte;
    *after = *before;
    bool accepted = peri_utf8_feed(after, &one, 1);
    if (accepted != (begins || is) || (accepted && peri_utf8_is_complete(after) != is)) {
        fail_msg("byte %02x: accepted %d, begins %d, is %d", byte, accepted, begins, is);
    }
    return accepted;
}

static void every_sequence_of_up_to_four_bytes_is_judged_at_its_first_wrong_byte(void **state) {
    (void)state;
    struct reference *r = make_reference();
    size_t count[5] = {0};
    struct peri_utf8 s0 = {0}, s1, s2, s3, s4;
    for (unsigned b1 = 0; b1 < 256; b1++) {
        if (!accepts(&s0, b1, r->begins1[b1], r->is1[b1], &s1) || r->is1[b1]) {
            count[1] += r->is1[b1];
            continue;
        }
        for (unsigned b2 = 0; b2 < 256; b2++) {
            unsigned at2 = b1 << 8 | b2;
            if (!accepts(&s1, b2, r->begins2[at2], r->is2[at2], &s2) || r->is2[at2]) {
                count[2] += r->is2[at2];
                continue;
            }
            for (unsigned b3 = 0; b3 < 256; b3++) {
                unsigned at3 = at2 << 8 | b3;
                if (!accepts(&s2, b3, r->begins3[at3], r->is3[at3], &s3) || r->is3[at3]) {
                    count[3] += r->is3[at3];
                    continue;
                }
                for (unsigned b4 = 0; b4 < 256; b4++) {
                    count[4] += accepts(&s3, b4, false, (b4 & 0xc0) == 0x80, &s4);
                }
            }
        }
    }
    assert_int_equal(count[1], 0x80);
    assert_int_equal(count[2], 0x800 - 0x80);
    assert_int_equal(count[3], 0x10000 - 0x800 - 0x800); // less the surrogates
    assert_int_equal(count[4], 0x110000 - 0x10000);
    free(r);
}

/// What is taken at once against what is taken byte by byte, for which the test above speaks.
static void a_sequence_in_the_midst_of_a_text_is_judged_as_byte_by_byte(void **state) {
    (void)state;
    static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    size_t valid = 0;
    for (unsigned b1 = 0x80; b1 < 256; b1++) {
        for (unsigned b2 = 0; b2 < 256; b2++) {
            for (size_t i = 0; i < sizeof edges * sizeof edges; i++) {
                const uint8_t text[] = {'a',
                                        (uint8_t)b1,
                                        (uint8_t)b2,
                                        edges[i / sizeof edges],
                                        edges[i % sizeof edges],
                                        'b',
                                        'c',
                                        'd',
                                        'e'};
                struct peri_utf8 utf8 = {0};
                bool expected = true;
                for (size_t at = 0; at < sizeof text && expected; at++) {
                    expected = peri_utf8_feed(&utf8, text + at, 1);
                }
                assert_int_equal(peri_utf8_is_valid(text, sizeof text), expected);
                valid += expected;
            }
        }
    }
    assert_int_not_equal(valid, 0);
}

static void every_code_point_is_valid_whole_and_cut_anywhere(void **state) {
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        uint8_t bytes[4];
        size_t n = encode(c, bytes);
        bool is_surrogate = c >= 0xd800 && c <= 0xdfff;
        assert_int_equal(peri_utf8_is_valid(bytes, n), !is_surrogate);
        for (size_t cut = 1; cut < n && !is_surrogate; cut++) {
            struct peri_utf8 utf8 = {0};
            assert_true(peri_utf8_feed(&utf8, bytes, cut));
            assert_false(peri_utf8_is_complete(&utf8));
            assert_true(peri_utf8_feed(&utf8, bytes + cut, n - cut));
            assert_true(peri_utf8_is_complete(&utf8));
        }
    }
}

static void a_bad_byte_is_found_at_any_place_in_ascii(void **state) {
    (void)state;
    for (size_t n = 1; n < 100; n++) {
        for (size_t at = 0; at < n; at++) {
            uint8_t *bytes = malloc(n);
            assert_non_null(bytes);
            memset(bytes, 'a', n);
            assert_true(peri_utf8_is_valid(bytes, n));
            bytes[at] = 0xff;
            assert_false(peri_utf8_is_valid(bytes, n));
            bytes[at] = 0xc3; // then an "a", or the end
            assert_false(peri_utf8_is_valid(bytes, n));
            if (at + 1 < n) {
                bytes[at + 1] = 0xa9;
                assert_true(peri_utf8_is_valid(bytes, n));
            }
            free(bytes);
        }
    }
}

static void the_verdict_does_not_depend_on_cuts(void **state) {
    (void)state;
    static const uint8_t parts[] = {'a', 'b', 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x8c, 0x99};
    uint64_t random = 88172645463325252u;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[40];
        for (size_t i = 0; i < sizeof bytes; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // mostly in order, so that long runs are valid
            bytes[i] = parts[(random & 31) ? i % sizeof parts : random % 997 % sizeof parts];
        }
        bool whole = peri_utf8_is_valid(bytes, sizeof bytes);
        struct peri_utf8 utf8 = {0};
        bool by_bytes = true;
        for (size_t i = 0; i < sizeof bytes && by_bytes; i++) {
            by_bytes = peri_utf8_feed(&utf8, bytes + i, 1);
        }
        assert_int_equal(whole, by_bytes && peri_utf8_is_complete(&utf8));
    }
}

static void nothing_is_valid(void **state) {
    (void)state;
    struct peri_utf8 utf8 = {0};
    assert_true(peri_utf8_is_valid(NULL, 0));
    assert_true(peri_utf8_feed(&utf8, NULL, 0));
    assert_true(peri_utf8_is_complete(&utf8));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sequence_of_up_to_four_bytes_is_judged_at_its_first_wrong_byte),
        cmocka_unit_test(a_sequence_in_the_midst_of_a_text_is_judged_as_byte_by_byte),
        cmocka_unit_test(every_code_point_is_valid_whole_and_cut_anywhere),
        cmocka_unit_test(a_bad_byte_is_found_at_any_place_in_ascii),
        cmocka_unit_test(the_verdict_does_not_depend_on_cuts),
        cmocka_unit_test(nothing_is_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
