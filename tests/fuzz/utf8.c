// UTF-8 beside a decoder that is as plain as RFC 3629: whole, and in pieces.
#include "proto/utf8.h"

#include "fuzz.h"

/// RFC 3629 section 3, character by character. @return bytes, 0: there is none
static size_t character(const unsigned char *s, size_t n) {
    uint32_t c = s[0];
    size_t size = c < 0x80             ? 1
                  : (c & 0xe0) == 0xc0 ? 2
                  : (c & 0xf0) == 0xe0 ? 3
                  : (c & 0xf8) == 0xf0 ? 4
                                       : 0;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (size == 0 || size > n) {
        return 0;
    }
    c &= size == 1 ? 0x7fu : 0x7fu >> size;
    for (size_t i = 1; i < size; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (s[i] & 0x3fu);
    }
    return c < least[size] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : size;
}

static bool is_valid(struct peri_str text) {
    for (size_t i = 0; i < text.len;) {
        size_t size = character((const unsigned char *)text.ptr + i, text.len - i);
        if (size == 0) {
            return false;
        }
        i += size;
    }
    return true;
}

void fuzz_one(struct peri_str in) {
    struct fuzz_cuts cuts = fuzz_cuts(&in);
    bool expected = is_valid(in);
    char *copy = fuzz_copy(in);
    FUZZ_CHECK(peri_utf8_is_valid(copy, in.len) == expected);
    free(copy);

    struct peri_utf8 state = {0};
    struct peri_str left = in;
    struct peri_span piece;
    size_t turn = 0;
    bool valid = true;
    while (valid && fuzz_piece(&left, &cuts, &turn, &piece)) {
        valid = peri_utf8_feed(&state, piece.ptr, piece.len);
        free(piece.ptr);
    }
    FUZZ_CHECK((valid && peri_utf8_is_complete(&state)) == expected);
}
