// Compressed messages among frames: the RFC's examples, fragments, control frames, contexts, text,
// and what is not allowed. Each is fed whole, cut at every byte, and byte by byte.
#include "proto/deflate.h"
#include "support/connection.h"

enum { RSV1 = 0x40, RSV2 = 0x20 };

struct setting {
    struct peri_connection start;
    bool own;
};

/// A feeding_run: each feeding has a decompressor that remembers nothing of the one before.
static void run_deflated(const struct feeding *feeding, void *arg, struct peri_buffer *seen) {
    const struct setting *setting = arg;
    struct peri_deflate_budget budget = {.max_bytes = 1 << 20};
    struct peri_deflate_pool pool = {.budget = &budget};
    struct peri_connection c = setting->start;
    c.inflater = setting->own ? peri_inflater_new(&pool, 15) : peri_inflater_shared(&pool);
    assert_non_null(c.inflater);
    run_connection(feeding, &c, seen);
    peri_deflate_pool_deinit(&pool);
    assert_int_equal(budget.used_, 0);
}

static void expect_way(struct wire *wire, bool own, uint32_t max_bytes, const char *expected) {
    struct setting setting = {.start = CONNECTION, .own = own};
    setting.start.role = wire->to;
    setting.start.max_message_bytes = max_bytes;
    feeding_check_all(wire->bytes.ptr, wire->bytes.len, run_deflated, &setting, expected);
}

/// With a context and without one the same is expected.
static void expect_both(struct wire *wire, const char *expected) {
    expect_way(wire, false, 1 << 20, expected);
    expect_way(wire, true, 1 << 20, expected);
    peri_buffer_deinit(&wire->bytes);
}

#define HELLO "\xf2\x48\xcd\xc9\xc9\x07\x00"

// RFC 7692 section 7.2.3

static void the_rfcs_hello_is_read(void **state) {
    (void)state;
    for (enum peri_role to = PERI_SERVER; to <= PERI_CLIENT; to++) {
        struct wire wire = {.to = to};
        PUT(&wire, true, RSV1 | PERI_OP_TEXT, HELLO);
        expect_both(&wire, "text Hello\n");
    }
}

static void the_rfcs_fragmented_hello_is_read(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, false, RSV1 | PERI_OP_TEXT, "\xf2\x48\xcd");
    PUT(&wire, true, PERI_OP_CONTINUATION, "\xc9\xc9\x07\x00");
    expect_both(&wire, "text Hello\n");
}

static void the_rfcs_second_hello_refers_to_the_first(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, HELLO);
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, "\xf2\x00\x11\x00\x00");
    expect_way(&wire, true, 1 << 20, "text Hello\ntext Hello\n");
    expect_way(&wire, false, 1 << 20, "text Hello\nfail 1007 message is not deflated\n");
    peri_buffer_deinit(&wire.bytes);
}

static void the_rfcs_other_blocks_are_read(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, "\x00\x05\x00\xfa\xffHello\x00");    // stored
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"); // a last block
    PUT(&wire, true, RSV1 | PERI_OP_TEXT,
        "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"); // two blocks
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, "\x00");               // empty
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, HELLO);
    expect_both(&wire, "text Hello\ntext Hello\ntext Hello\ntext \ntext Hello\n");
}

static void a_context_outlives_a_last_block(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00");
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, "\xf2\x00\x11\x00\x00");
    expect_way(&wire, true, 1 << 20, "text Hello\ntext Hello\n");
    peri_buffer_deinit(&wire.bytes);
}

/// Some compressors leave out what only closes a block that is closed.
static void an_empty_payload_is_an_empty_message(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, true, RSV1 | PERI_OP_BINARY, "");
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, HELLO);
    PUT(&wire, false, RSV1 | PERI_OP_BINARY, "");
    PUT(&wire, true, PERI_OP_CONTINUATION, "");
    PUT(&wire, false, RSV1 | PERI_OP_TEXT, HELLO); // ends in an empty fragment
    PUT(&wire, true, PERI_OP_CONTINUATION, "");
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, "\xf3\x48\xcd\xc9\xc9\x07\x00"); // ends in a last block
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, HELLO);
    expect_both(&wire, "binary \ntext Hello\nbinary \ntext Hello\ntext Hello\ntext Hello\n");
}

// Among other frames

static void plain_messages_and_control_frames_come_in_between(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, true, PERI_OP_TEXT, "plain");
    PUT(&wire, false, RSV1 | PERI_OP_TEXT, "\xf2\x48");
    PUT(&wire, true, PERI_OP_PING, "1");
    PUT(&wire, false, PERI_OP_CONTINUATION, "\xcd\xc9");
    PUT(&wire, true, PERI_OP_PONG, "2");
    PUT(&wire, true, PERI_OP_CONTINUATION, "\xc9\x07\x00");
    PUT(&wire, false, PERI_OP_BINARY, "pl");
    PUT(&wire, true, PERI_OP_CONTINUATION, "ain");
    PUT(&wire, true, RSV1 | PERI_OP_BINARY, HELLO);
    PUT(&wire, true, PERI_OP_CLOSE, "\x03\xe8");
    expect_both(&wire, "text plain\nping 1\npong 2\ntext Hello\nbinary plain\nbinary Hello\n"
                       "close 1000 \nclosed\n");
}

static void the_bit_stands_only_on_the_first_frame_of_a_data_message(void **state) {
    (void)state;
    static const int refused[] = {RSV1 | PERI_OP_PING,
                                  RSV1 | PERI_OP_PONG,
                                  RSV1 | PERI_OP_CLOSE,
                                  RSV1 | PERI_OP_CONTINUATION,
                                  RSV2 | PERI_OP_TEXT,
                                  RSV1 | RSV2 | PERI_OP_TEXT,
                                  RSV1 | 3 /* reserved */};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct wire wire = {.to = PERI_SERVER};
        PUT(&wire, true, refused[i], HELLO);
        expect_both(&wire, "fail 1002 reserved bit set\n");
    }
    struct wire wire = {.to = PERI_SERVER};
    PUT(&wire, false, RSV1 | PERI_OP_TEXT, "\xf2\x48\xcd");
    PUT(&wire, true, RSV1 | PERI_OP_CONTINUATION, "\xc9\xc9\x07\x00");
    expect_both(&wire, "fail 1002 reserved bit set\n");
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, HELLO); // nothing was agreed on
    struct peri_connection plain = CONNECTION;
    expect_of(plain, wire.bytes.ptr, wire.bytes.len, "fail 1002 reserved bit set\n");
    peri_buffer_deinit(&wire.bytes);
}

// What comes out

static void put_deflated(struct wire *wire, int opcode, const char *text, size_t piece) {
    struct peri_deflate_budget budget = {.max_bytes = 1 << 20};
    struct peri_deflate_pool pool = {.budget = &budget};
    struct peri_buffer out = {0};
    assert_true(peri_deflater_message(peri_deflater_shared(&pool, 15), peri_str_of(text), &out));
    for (size_t at = 0; at < out.len; at += piece) {
        size_t n = out.len - at < piece ? out.len - at : piece;
        put_frame(wire, at + n == out.len, at ? PERI_OP_CONTINUATION : RSV1 | opcode, out.ptr + at,
                  n);
    }
    peri_buffer_deinit(&out);
    peri_deflate_pool_deinit(&pool);
}

#define TEN(text) text text text text text text text text text text

static void text_is_checked_as_it_comes_out(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    put_deflated(&wire, PERI_OP_TEXT, "\xc3\xa4" TEN("\xe2\x82\xac"), 3);
    expect_both(&wire, "text <c3><a4>" TEN("<e2><82><ac>") "\n");
    put_deflated(&wire, PERI_OP_BINARY, TEN("\xff\xfe"), 100);
    expect_both(&wire, "binary " TEN("<ff><fe>") "\n");
    put_deflated(&wire, PERI_OP_TEXT, TEN("aaaa") "\xff" TEN("bbbb"), 4);
    expect_both(&wire, "fail 1007 text is not UTF-8\n");
    put_deflated(&wire, PERI_OP_TEXT, TEN("aaaa") "\xe2\x82", 100);
    expect_both(&wire, "fail 1007 text ends inside a character\n");
    // Bad text before what is not deflated: the first fault is told, however it was cut.
    PUT(&wire, true, RSV1 | PERI_OP_TEXT, "\x00\x02\x00\xfd\xff\xff\xff\x07");
    expect_both(&wire, "fail 1007 text is not UTF-8\n");
}

static void what_is_not_deflated_is_1007(void **state) {
    (void)state;
    static const char *const bad[] = {"Hello", "\x06", "\xf2\x48\xcd", "\xff\xff\xff\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct wire wire = {.to = PERI_SERVER};
        put_frame(&wire, true, RSV1 | PERI_OP_BINARY, bad[i], strlen(bad[i]));
        expect_both(&wire, "fail 1007 message is not deflated\n");
    }
}

static void a_bomb_is_1009_at_the_cap(void **state) {
    (void)state;
    static char zeros[100001];
    memset(zeros, '0', sizeof zeros - 1);
    struct wire wire = {.to = PERI_SERVER};
    put_deflated(&wire, PERI_OP_TEXT, zeros, 16);
    put_deflated(&wire, PERI_OP_TEXT, TEN("more"), 100);
    for (int own = 0; own <= 1; own++) {
        expect_way(&wire, own, 100000,
                   "text 100000 bytes, 2681b5693a8fe000\ntext " TEN("more") "\n");
        expect_way(&wire, own, 99999, "fail 1009 message too big (message_bytes)\n");
        expect_way(&wire, own, 1, "fail 1009 message too big (message_bytes)\n");
    }
    peri_buffer_deinit(&wire.bytes);
}

/// 1,280 bytes may come in for 1 that may come out.
static void what_comes_in_is_bounded_too(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    static const char nothing[] = "\x00\x00\x00\xff\xff"; // an empty stored block
    for (int i = 0; i < 300; i++) {
        put_frame(&wire, false, i ? PERI_OP_CONTINUATION : RSV1 | PERI_OP_BINARY, nothing, 5);
    }
    expect_way(&wire, true, 1, "fail 1009 message too big (message_bytes)\n");
    expect_way(&wire, false, 1, "fail 1009 message too big (message_bytes)\n");
    peri_buffer_deinit(&wire.bytes);
    static char noise[4096];
    put_frame(&wire, true, RSV1 | PERI_OP_BINARY, noise, sizeof noise); // told by its length
    expect_way(&wire, false, 1000, "fail 1009 message too big (message_bytes)\n");
    peri_buffer_deinit(&wire.bytes);
}

static void fragments_are_counted_as_ever(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    struct setting setting = {.start = CONNECTION};
    put_deflated(&wire, PERI_OP_TEXT, TEN("abcd"), 1);
    setting.start.max_fragments = 3;
    feeding_check_all(wire.bytes.ptr, wire.bytes.len, run_deflated, &setting,
                      "fail 1008 too many fragments (fragments)\n");
    peri_buffer_deinit(&wire.bytes);
}

// Memory

/// Reads two messages in two cuts. @return what the last call said
static int read_two(bool own, const struct wire *wire) {
    struct peri_deflate_budget budget = {.max_bytes = 1 << 20};
    struct peri_deflate_pool pool = {.budget = &budget};
    struct peri_connection c = CONNECTION;
    uint8_t bytes[256];
    int rc = PERI_E_MEMORY;
    memcpy(bytes, wire->bytes.ptr, wire->bytes.len);
    c.inflater = own ? peri_inflater_new(&pool, 9) : peri_inflater_shared(&pool);
    if (c.inflater) {
        struct peri_span cuts[] = {{bytes, 12}, {bytes + 12, wire->bytes.len - 12}};
        struct peri_event ev;
        for (size_t i = 0; i < 2; i++) {
            while ((rc = peri_connection_next(&c, &cuts[i], &ev)) == PERI_OK) {
                assert_int_equal(ev.kind, PERI_EV_TEXT);
            }
            if (rc != PERI_AGAIN) {
                assert_int_equal(c.error_code, 1011);
                break;
            }
        }
    }
    peri_connection_deinit(&c);
    peri_deflate_pool_deinit(&pool);
    return rc;
}

static void without_memory_the_connection_fails_and_leaves_nothing(void **state) {
    (void)state;
    struct wire wire = {.to = PERI_SERVER};
    put_deflated(&wire, PERI_OP_TEXT, TEN("abcd") TEN("efgh"), 5);
    put_deflated(&wire, PERI_OP_TEXT, TEN("abcd"), 100);
    uint64_t live = peri_alloc_live();
    for (int own = 0; own <= 1; own++) {
        uint64_t nth = 0;
        int rc = PERI_E_MEMORY;
        while (rc == PERI_E_MEMORY) {
            peri_alloc_fail_from(++nth);
            rc = read_two(own, &wire);
            peri_alloc_fail_from(0);
            assert_int_equal(peri_alloc_live(), live);
        }
        assert_int_equal(rc, PERI_AGAIN);
        assert_in_range(nth, 6, 20);
    }
    peri_buffer_deinit(&wire.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rfcs_hello_is_read),
        cmocka_unit_test(the_rfcs_fragmented_hello_is_read),
        cmocka_unit_test(the_rfcs_second_hello_refers_to_the_first),
        cmocka_unit_test(the_rfcs_other_blocks_are_read),
        cmocka_unit_test(a_context_outlives_a_last_block),
        cmocka_unit_test(an_empty_payload_is_an_empty_message),
        cmocka_unit_test(plain_messages_and_control_frames_come_in_between),
        cmocka_unit_test(the_bit_stands_only_on_the_first_frame_of_a_data_message),
        cmocka_unit_test(text_is_checked_as_it_comes_out),
        cmocka_unit_test(what_is_not_deflated_is_1007),
        cmocka_unit_test(a_bomb_is_1009_at_the_cap),
        cmocka_unit_test(what_comes_in_is_bounded_too),
        cmocka_unit_test(fragments_are_counted_as_ever),
        cmocka_unit_test(without_memory_the_connection_fails_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
