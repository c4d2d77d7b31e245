// The link of `perigee connect`, without a socket: what it queues, and what it makes of what comes.
#include "cli/connect.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "support/cmocka.h"

enum { RSV1 = 4 };

static struct connect_link link = {.wire = {.fd = -1}}; // its buffer is large for a stack

static void let_go(void) {
    connect_link_deinit(&link);
    link = (struct connect_link){.wire = {.fd = -1}};
}

static int end(void **state) {
    (void)state;
    let_go();
    return 0;
}

/// @param terms  NULL: no compression was agreed on
static int init(const struct peri_deflate_terms *terms) {
    struct connect_opened opened = {.wire = {.fd = -1}, .deflates = terms};
    if (terms) {
        opened.terms = *terms;
    }
    return connect_link_init(&link, &opened);
}

static void init_ok(const struct peri_deflate_terms *terms) {
    assert_int_equal(init(terms), PERI_OK);
}

static void send(enum peri_opcode opcode, struct peri_str payload) {
    assert_int_equal(connect_link_send(&link, opcode, payload), PERI_OK);
}

/// The next frame that is queued, unmasked in place. It is then as sent.
static struct peri_frame take_frame(struct peri_str *payload) {
    struct peri_frame frame;
    uint8_t *at = link.out.ptr + link.out_sent;
    assert_int_equal(peri_frame_decode(&frame, at, connect_link_waiting(&link)), PERI_OK);
    assert_true(frame.masked && frame.fin);
    assert_true(frame.header_bytes + frame.length <= connect_link_waiting(&link));
    peri_mask(at + frame.header_bytes, (size_t)frame.length, frame.key, 0);
    link.out_sent += frame.header_bytes + (size_t)frame.length;
    *payload = peri_str((char *)at + frame.header_bytes, (size_t)frame.length);
    return frame;
}

static void expect_frame(enum peri_opcode opcode, struct peri_str expected) {
    struct peri_str payload;
    struct peri_frame frame = take_frame(&payload);
    assert_int_equal(frame.opcode, opcode);
    assert_int_equal(frame.rsv, 0);
    assert_true(peri_str_equal(payload, expected));
}

/// Some text without repetitions, so that only a context makes much of it.
static struct peri_str text_of(char *bytes, size_t n) {
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        bytes[i] = (char)('a' + (x >> 24) % 16);
    }
    return peri_str(bytes, n);
}

/// What a host has for its side of a connection.
struct host {
    struct peri_deflate_budget budget;
    struct peri_deflate_pool pool;
    struct peri_inflater *inflater;
    struct peri_deflater *deflater;
    struct peri_buffer bytes;
};

static void host_begin(struct host *host, unsigned client_bits, unsigned server_bits) {
    *host = (struct host){.budget = {.max_bytes = 1 << 20}};
    host->pool.budget = &host->budget;
    host->inflater = peri_inflater_new(&host->pool, client_bits);
    host->deflater = peri_deflater_new(&host->pool, server_bits);
    assert_non_null(host->inflater);
    assert_non_null(host->deflater);
}

static void host_end(struct host *host) {
    peri_inflater_free(host->inflater);
    peri_deflater_free(host->deflater);
    peri_deflate_pool_deinit(&host->pool);
    peri_buffer_deinit(&host->bytes);
}

/// The next frame is compressed and holds that. @return its payload's bytes
static size_t expect_deflated(struct host *host, struct peri_str expected) {
    struct peri_str payload;
    struct peri_frame frame = take_frame(&payload);
    assert_int_equal(frame.opcode, PERI_OP_TEXT);
    assert_int_equal(frame.rsv, RSV1);
    host->bytes.len = 0;
    assert_int_equal(peri_inflater_take(host->inflater, payload, true, true, 1 << 20, &host->bytes),
                     PERI_OK);
    assert_true(peri_str_equal(peri_buffer_str(&host->bytes), expected));
    return payload.len;
}

/// Puts a frame from the host where the link reads.
static void hear(struct peri_buffer *bytes, uint8_t rsv, enum peri_opcode opcode,
                 struct peri_str payload) {
    uint8_t header[PERI_FRAME_HEADER_MAX];
    size_t n = peri_frame_encode(header, true, rsv, opcode, payload.len, NULL);
    assert_int_equal(peri_buffer_append(bytes, header, n), PERI_OK);
    assert_int_equal(peri_buffer_append_str(bytes, payload), PERI_OK);
    link.input = (struct peri_span){bytes->ptr, bytes->len};
}

static void what_was_not_agreed_on_is_not_used(void **state) {
    (void)state;
    char bytes[1000];
    struct peri_str text = peri_str(memset(bytes, 'x', sizeof bytes), sizeof bytes);
    init_ok(NULL);
    send(PERI_OP_TEXT, text);
    expect_frame(PERI_OP_TEXT, text);
    assert_int_equal(connect_link_waiting(&link), 0);
}

static void only_messages_that_gain_by_it_are_compressed(void **state) {
    (void)state;
    char bytes[256];
    struct host host;
    struct peri_str same = peri_str(memset(bytes, 'x', sizeof bytes), sizeof bytes);
    struct peri_str below = peri_str(bytes, DEFLATE_MIN_BYTES - 1);
    struct peri_str ping = peri_str(bytes, PERI_CONTROL_MAX);
    uint8_t all[256];
    for (size_t i = 0; i < sizeof all; i++) {
        all[i] = (uint8_t)i;
    }
    struct peri_str hardly = peri_str((const char *)all, sizeof all);
    host_begin(&host, 15, 15);
    init_ok(&(struct peri_deflate_terms){0});
    send(PERI_OP_TEXT, below);
    expect_frame(PERI_OP_TEXT, below);
    send(PERI_OP_PING, ping);
    expect_frame(PERI_OP_PING, ping);
    send(PERI_OP_BINARY, hardly);
    expect_frame(PERI_OP_BINARY, hardly);
    send(PERI_OP_TEXT, peri_str(bytes, DEFLATE_MIN_BYTES));
    assert_true(expect_deflated(&host, peri_str(bytes, DEFLATE_MIN_BYTES)) < 16);
    send(PERI_OP_TEXT, same);
    assert_true(expect_deflated(&host, same) < 16);
    host_end(&host);
}

static void our_context_lasts_as_was_agreed(void **state) {
    (void)state;
    char bytes[1000];
    struct peri_str text = text_of(bytes, sizeof bytes);
    for (int keeps = 0; keeps <= 1; keeps++) {
        struct host host;
        host_begin(&host, 15, 15);
        init_ok(&(struct peri_deflate_terms){.client_no_takeover = !keeps});
        send(PERI_OP_TEXT, text);
        send(PERI_OP_TEXT, text);
        size_t first = expect_deflated(&host, text), second = expect_deflated(&host, text);
        assert_true(keeps ? second < first / 4 : second == first);
        let_go();
        host_end(&host);
    }
}

static void our_window_is_as_was_agreed(void **state) {
    (void)state;
    char bytes[3000];
    struct peri_str text = text_of(bytes, 1000);
    memcpy(bytes + 1000, bytes, 1000);
    memcpy(bytes + 2000, bytes, 1000);
    text.len =
        3000; // repeats what is further away than 2^9, which the host's window would not hold
    struct host host;
    host_begin(&host, 9, 15);
    init_ok(&(struct peri_deflate_terms){.client_bits = 9});
    send(PERI_OP_TEXT, text);
    assert_true(expect_deflated(&host, text) > 1000);
    host_end(&host);
}

static void a_window_that_zlib_cannot_have_leaves_all_uncompressed(void **state) {
    (void)state;
    char bytes[1000];
    struct peri_str text = peri_str(memset(bytes, 'x', sizeof bytes), sizeof bytes);
    init_ok(&(struct peri_deflate_terms){.client_bits = 8});
    send(PERI_OP_TEXT, text);
    expect_frame(PERI_OP_TEXT, text);
    assert_non_null(link.ws.inflater);
}

static void what_comes_compressed_is_read(void **state) {
    (void)state;
    char bytes[1000];
    struct peri_str text = text_of(bytes, sizeof bytes);
    for (int keeps = 0; keeps <= 1; keeps++) {
        struct host host;
        struct peri_buffer out = {0}, deflated = {0};
        struct peri_event ev;
        host_begin(&host, 15, 10);
        init_ok(&(struct peri_deflate_terms){.server_no_takeover = !keeps, .server_bits = 10});
        for (int i = 0; i < 2; i++) {
            assert_true(peri_deflater_message(host.deflater, text, &deflated));
            hear(&out, RSV1, PERI_OP_TEXT, peri_buffer_str(&deflated));
            if (!keeps) {
                peri_deflater_reset(host.deflater);
            }
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(connect_link_next(&link, &ev), PERI_OK);
            assert_int_equal(ev.kind, PERI_EV_TEXT);
            assert_true(peri_str_equal(ev.payload, text));
        }
        assert_int_equal(connect_link_next(&link, &ev), PERI_AGAIN);
        let_go();
        peri_buffer_deinit(&out);
        peri_buffer_deinit(&deflated);
        host_end(&host);
    }
}

static void a_bomb_from_the_host_is_1009_at_the_cap(void **state) {
    (void)state;
    size_t n = MESSAGE_MAX + 1;
    char *zeros = calloc(1, n);
    struct host host;
    struct peri_buffer out = {0}, deflated = {0};
    struct peri_event ev;
    assert_non_null(zeros);
    for (int keeps = 0; keeps <= 1; keeps++) {
        host_begin(&host, 15, 15);
        init_ok(&(struct peri_deflate_terms){.server_no_takeover = !keeps});
        assert_true(peri_deflater_message(host.deflater, peri_str(zeros, n), &deflated));
        out.len = 0;
        hear(&out, RSV1, PERI_OP_BINARY, peri_buffer_str(&deflated));
        assert_int_equal(connect_link_next(&link, &ev), PERI_E_PROTOCOL);
        assert_int_equal(link.ws.error_code, 1009);
        let_go();
        host_end(&host);
    }
    peri_buffer_deinit(&out);
    peri_buffer_deinit(&deflated);
    free(zeros);
}

static void each_ping_is_answered_in_its_place(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    struct peri_event ev;
    init_ok(NULL);
    hear(&out, 0, PERI_OP_PING, PERI_STR("one"));
    hear(&out, 0, PERI_OP_TEXT, PERI_STR("text"));
    hear(&out, 0, PERI_OP_PING, PERI_STR(""));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(connect_link_next(&link, &ev), PERI_OK);
        if (ev.kind == PERI_EV_TEXT) {
            send(PERI_OP_TEXT, ev.payload);
        }
    }
    expect_frame(PERI_OP_PONG, PERI_STR("one"));
    expect_frame(PERI_OP_TEXT, PERI_STR("text"));
    expect_frame(PERI_OP_PONG, PERI_STR(""));
    assert_int_equal(connect_link_waiting(&link), 0);
    peri_buffer_deinit(&out);
}

static void a_peer_that_only_pings_is_answered_the_last_one(void **state) {
    (void)state;
    static char full[LINK_FULL_BYTES];
    struct peri_buffer out = {0};
    struct peri_event ev;
    struct peri_str payload;
    init_ok(NULL);
    send(PERI_OP_BINARY, peri_str(full, sizeof full));
    size_t before = connect_link_waiting(&link);
    hear(&out, 0, PERI_OP_PING, PERI_STR("one"));
    hear(&out, 0, PERI_OP_PING, PERI_STR("two"));
    assert_int_equal(connect_link_next(&link, &ev), PERI_OK);
    assert_int_equal(connect_link_next(&link, &ev), PERI_OK);
    assert_int_equal(connect_link_waiting(&link), before);
    (void)take_frame(&payload);
    hear(&out, 0, PERI_OP_PONG, PERI_STR(""));
    assert_int_equal(connect_link_flush(&link), PERI_E_SYSTEM); // there is no socket
    expect_frame(PERI_OP_PONG, PERI_STR("two"));
    assert_int_equal(connect_link_waiting(&link), 0);
    peri_buffer_deinit(&out);
}

static void nothing_follows_a_close_frame(void **state) {
    (void)state;
    init_ok(&(struct peri_deflate_terms){0});
    assert_int_equal(connect_link_close(&link, 1000, PERI_STR("")), PERI_OK);
    size_t n = connect_link_waiting(&link);
    send(PERI_OP_TEXT, PERI_STR("late"));
    assert_int_equal(connect_link_close(&link, 1001, PERI_STR("")), PERI_OK);
    assert_int_equal(connect_link_waiting(&link), n);
}

static void out_of_memory_is_told(void **state) {
    (void)state;
    char bytes[1000];
    struct peri_str text = peri_str(memset(bytes, 'x', sizeof bytes), sizeof bytes);
    uint64_t live = peri_alloc_live();
    int rc = PERI_E_MEMORY;
    for (uint64_t nth = 1; rc != PERI_OK; nth++) {
        peri_alloc_fail_from(nth);
        rc = init(&(struct peri_deflate_terms){0});
        if (rc == PERI_OK) {
            rc = connect_link_send(&link, PERI_OP_TEXT, text);
        }
        peri_alloc_fail_from(0);
        assert_true(rc == PERI_OK || rc == PERI_E_MEMORY);
        let_go();
        assert_int_equal(peri_alloc_live(), live);
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_was_not_agreed_on_is_not_used),
        TEST(only_messages_that_gain_by_it_are_compressed),
        TEST(our_context_lasts_as_was_agreed),
        TEST(our_window_is_as_was_agreed),
        TEST(a_window_that_zlib_cannot_have_leaves_all_uncompressed),
        TEST(what_comes_compressed_is_read),
        TEST(a_bomb_from_the_host_is_1009_at_the_cap),
        TEST(each_ping_is_answered_in_its_place),
        TEST(a_peer_that_only_pings_is_answered_the_last_one),
        TEST(nothing_follows_a_close_frame),
        TEST(out_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
