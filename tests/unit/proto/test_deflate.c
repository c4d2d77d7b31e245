// Messages through zlib and back: every window, contexts, the cap, the budget, and no memory.
#include "proto/deflate.h"

#include <zlib.h>

#include "support/feeding.h"

enum { MIB = 1 << 20 };

static struct peri_deflate_budget budget;
static struct peri_deflate_pool pool;
static uint64_t live;

static int set_up(void **state) {
    (void)state;
    live = peri_alloc_live();
    budget = (struct peri_deflate_budget){.max_bytes = 64 * MIB};
    pool = (struct peri_deflate_pool){.budget = &budget};
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    peri_deflate_pool_deinit(&pool);
    return budget.used_ == 0 && peri_alloc_live() == live ? 0 : -1;
}

static int take(struct peri_inflater *inflater, struct peri_str payload, size_t max_bytes,
                struct peri_buffer *out) {
    out->len = 0;
    return peri_inflater_take(inflater, payload, true, true, max_bytes, out);
}

/// Words that repeat near and far, as messages do.
static struct peri_str words(char *bytes, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = (char)('a' + (seed >> 16) % 8);
    }
    return peri_str(bytes, n);
}

static void every_window_goes_both_ways(void **state) {
    (void)state;
    static char bytes[100000];
    struct peri_buffer out = {0}, back = {0};
    for (unsigned bits = PERI_WINDOW_MIN; bits <= PERI_WINDOW_MAX; bits++) {
        for (int own = 0; own <= 1; own++) {
            struct peri_deflater *deflater =
                own ? peri_deflater_new(&pool, bits) : peri_deflater_shared(&pool, bits);
            // What stays within the window that was agreed on is read with no more than that.
            struct peri_inflater *inflater = peri_inflater_new(&pool, bits);
            assert_non_null(deflater);
            assert_non_null(inflater);
            assert_int_equal(peri_deflater_bits(deflater), bits);
            for (size_t n = 100; n <= sizeof bytes; n *= 10) {
                struct peri_str message = words(bytes, n, bits);
                assert_true(peri_deflater_message(deflater, message, &out));
                assert_true(out.len < n);
                assert_int_equal(take(inflater, peri_buffer_str(&out), MIB, &back), PERI_OK);
                assert_true(peri_str_equal(peri_buffer_str(&back), message));
            }
            peri_inflater_free(inflater);
            peri_deflater_free(deflater);
        }
    }
    peri_buffer_deinit(&out);
    peri_buffer_deinit(&back);
}

static void a_context_makes_the_same_message_shorter_and_a_shared_one_does_not(void **state) {
    (void)state;
    struct peri_str message = PERI_STR("the quick brown fox jumps over the lazy dog, and again: "
                                       "the quick brown fox");
    struct peri_buffer first = {0}, second = {0};
    struct peri_deflater *own = peri_deflater_new(&pool, 12);
    assert_true(peri_deflater_message(own, message, &first));
    assert_true(peri_deflater_message(own, message, &second));
    assert_true(second.len < first.len / 4);
    struct peri_buffer back = {0};
    struct peri_inflater *inflater = peri_inflater_new(&pool, 12);
    assert_int_equal(take(inflater, peri_buffer_str(&first), MIB, &back), PERI_OK);
    assert_int_equal(take(inflater, peri_buffer_str(&second), MIB, &back), PERI_OK);
    assert_true(peri_str_equal(peri_buffer_str(&back), message));
    // Without the context there is nothing that it could refer to.
    assert_int_equal(take(peri_inflater_shared(&pool), peri_buffer_str(&second), MIB, &back),
                     PERI_E_INVALID);

    struct peri_deflater *shared = peri_deflater_shared(&pool, 12);
    assert_true(peri_deflater_message(shared, message, &second));
    assert_true(peri_str_equal(peri_buffer_str(&first), peri_buffer_str(&second))); // as its first
    assert_int_equal(take(peri_inflater_shared(&pool), peri_buffer_str(&second), MIB, &back),
                     PERI_OK);
    peri_deflater_free(own);
    peri_inflater_free(inflater);
    peri_buffer_deinit(&first);
    peri_buffer_deinit(&second);
    peri_buffer_deinit(&back);
}

static void what_gets_no_shorter_is_forgotten_by_the_context(void **state) {
    (void)state;
    struct peri_deflater *own = peri_deflater_new(&pool, 15);
    struct peri_inflater *inflater = peri_inflater_new(&pool, 15);
    struct peri_buffer out = {0}, back = {0};
    char noise[4096];
    unsigned seed = 7;
    for (size_t i = 0; i < sizeof noise; i++) {
        seed = seed * 1103515245 + 12345;
        noise[i] = (char)(seed >> 16 & 0xff);
    }
    struct peri_str text = PERI_STR("la la la la la la la la la la la la la la la la");
    for (size_t n = 0; n <= sizeof noise; n = n ? 4 * n : 1) {
        assert_false(peri_deflater_message(own, peri_str(noise, n), &out));
        assert_true(peri_deflater_message(own, text, &out)); // must not refer to the noise
        assert_int_equal(take(inflater, peri_buffer_str(&out), MIB, &back), PERI_OK);
        assert_true(peri_str_equal(peri_buffer_str(&back), text));
        if (n >= 256) { // nor where it repeats it
            char twice[2 * 128];
            memcpy(twice, noise, 128);
            memcpy(twice + 128, noise, 128);
            assert_false(peri_deflater_message(own, peri_str(noise, n), &out));
            assert_true(peri_deflater_message(own, peri_str(twice, sizeof twice), &out));
            assert_int_equal(take(inflater, peri_buffer_str(&out), MIB, &back), PERI_OK);
            assert_true(peri_str_equal(peri_buffer_str(&back), peri_str(twice, sizeof twice)));
            peri_deflater_reset(own);
        }
    }
    peri_deflater_reset(own);
    assert_true(peri_deflater_message(own, text, &out));
    assert_int_equal(take(peri_inflater_shared(&pool), peri_buffer_str(&out), MIB, &back), PERI_OK);
    peri_deflater_free(own);
    peri_inflater_free(inflater);
    peri_buffer_deinit(&out);
    peri_buffer_deinit(&back);
}

static void a_bomb_stops_at_the_cap(void **state) {
    (void)state;
    // 64 MiB of zeros in 64 KiB, as no compressor of ours would be asked for.
    static uint8_t bomb[128 * 1024];
    static uint8_t zeros[MIB];
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = bomb;
    z.avail_out = sizeof bomb;
    for (int i = 0; i < 64; i++) {
        z.next_in = zeros;
        z.avail_in = sizeof zeros;
        assert_int_equal(deflate(&z, Z_NO_FLUSH), Z_OK);
    }
    assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
    size_t n = sizeof bomb - z.avail_out - 4;
    assert_int_equal(deflateEnd(&z), Z_DATA_ERROR); // in use
    struct peri_buffer out = {0};
    for (size_t cap = 1; cap <= MIB; cap *= 32) {
        assert_int_equal(take(peri_inflater_shared(&pool), peri_str((char *)bomb, n), cap, &out),
                         PERI_E_LIMIT);
        assert_int_equal(out.len, cap);
        assert_true(out.cap <= cap);
        peri_buffer_deinit(&out);
    }
}

static void a_message_of_just_the_cap_passes(void **state) {
    (void)state;
    static char bytes[5000];
    struct peri_buffer out = {0}, back = {0};
    memset(bytes, 'x', sizeof bytes);
    for (size_t n = 20; n <= sizeof bytes; n++) {
        assert_true(
            peri_deflater_message(peri_deflater_shared(&pool, 15), peri_str(bytes, n), &out));
        assert_int_equal(take(peri_inflater_shared(&pool), peri_buffer_str(&out), n, &back),
                         PERI_OK);
        assert_int_equal(back.len, n);
        peri_buffer_deinit(&back);
        assert_int_equal(take(peri_inflater_shared(&pool), peri_buffer_str(&out), n - 1, &back),
                         PERI_E_LIMIT);
        peri_buffer_deinit(&back);
    }
    peri_buffer_deinit(&out);
}

static void what_is_cut_short_or_damaged_is_invalid_and_harms_no_later_message(void **state) {
    (void)state;
    static char bytes[2000];
    struct peri_str message = words(bytes, sizeof bytes, 3);
    struct peri_buffer out = {0}, back = {0};
    struct peri_inflater *inflater = peri_inflater_shared(&pool);
    assert_true(peri_deflater_message(peri_deflater_shared(&pool, 15), message, &out));
    for (size_t n = 1; n < out.len; n++) {
        int rc = take(inflater, peri_str((char *)out.ptr, n), MIB, &back);
        assert_true(rc == PERI_E_INVALID || back.len < message.len);
    }
    static const char *const bad[] = {"\x06", "\xff\xff\xff\xff", "hello"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(take(inflater, peri_str_of(bad[i]), MIB, &back), PERI_E_INVALID);
    }
    assert_int_equal(take(inflater, peri_buffer_str(&out), MIB, &back), PERI_OK);
    assert_true(peri_str_equal(peri_buffer_str(&back), message));
    peri_buffer_deinit(&out);
    peri_buffer_deinit(&back);
}

static void a_stored_block_that_lacks_as_much_as_the_tail_has_is_cut_short(void **state) {
    (void)state;
    // Whether the tail fills a buffer or not: found by fuzzing where it just does.
    for (size_t n = 5; n <= 600; n++) {
        uint8_t block[1024] = {0, n & 0xff, (uint8_t)(n >> 8), ~n & 0xff, (uint8_t)(~n >> 8)};
        memset(block + 5, 'x', n);
        struct peri_buffer back = {0};
        struct peri_str message = peri_str((char *)block, 5 + n - 4);
        assert_int_equal(take(peri_inflater_shared(&pool), message, MIB, &back), PERI_E_INVALID);
        assert_int_equal(back.len, n - 4);
        assert_int_equal(take(peri_inflater_shared(&pool), message, n - 4, &back), PERI_E_INVALID);
        message.len += 4 + 1; // the whole block, and the header of an empty one
        assert_int_equal(take(peri_inflater_shared(&pool), message, n, &back), PERI_OK);
        assert_int_equal(back.len, n);
        peri_buffer_deinit(&back);
    }
}

static void the_empty_block_at_the_end_may_be_a_last_one(void **state) {
    (void)state;
    // "Hello" in a fixed block, then one that says it is the last: RFC 7692 section 7.2.1 has its
    // four bytes taken off as any other empty block's.
    struct peri_str message = PERI_STR("\xf2\x48\xcd\xc9\xc9\x07\x04");
    struct peri_inflater *own = peri_inflater_new(&pool, 15);
    struct peri_buffer back = {0};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(take(own, message, MIB, &back), PERI_OK);
        assert_true(peri_str_equal(peri_buffer_str(&back), PERI_STR("Hello")));
        assert_int_equal(take(own, PERI_STR("\x01"), MIB, &back), PERI_OK);
        assert_int_equal(back.len, 0);
        assert_int_equal(take(peri_inflater_shared(&pool), message, MIB, &back), PERI_OK);
        assert_true(peri_str_equal(peri_buffer_str(&back), PERI_STR("Hello")));
    }
    // It refers to the context, which a last block leaves as it is: the RFC's second "Hello".
    assert_int_equal(take(own, PERI_STR("\xf2\x00\x11\x00\x00"), MIB, &back), PERI_OK);
    assert_true(peri_str_equal(peri_buffer_str(&back), PERI_STR("Hello")));
    peri_inflater_free(own);
    peri_buffer_deinit(&back);
}

// The budget.

static void memory_is_counted_as_it_is_used(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    struct peri_deflater *own = peri_deflater_new(&pool, 12);
    assert_int_equal(budget.used_, 0);
    assert_true(peri_deflater_is_ready(own));
    assert_in_range(budget.used_, 32 * 1024, 44 * 1024);
    uint64_t one = budget.used_;
    peri_deflater_free(own);
    assert_int_equal(budget.used_, 0);
    // Reserved, and what zlib takes is within.
    struct peri_inflater *inflater = peri_inflater_new(&pool, 12);
    assert_int_equal(budget.used_, 12 * 1024);
    peri_inflater_free(inflater);
    assert_int_equal(budget.used_, 0);
    assert_true(peri_deflater_message(peri_deflater_shared(&pool, 12),
                                      PERI_STR("aaaaaaaaaaaaaaaaaaa"), &out));
    assert_int_equal(budget.used_, one);
    peri_buffer_deinit(&out);
}

static size_t asked; // of zlib

static voidpf count_alloc(voidpf opaque, uInt items, uInt size) {
    (void)opaque;
    asked += (size_t)items * size;
    return calloc(items, size);
}

static void count_free(voidpf opaque, voidpf block) {
    (void)opaque;
    free(block);
}

static void what_is_reserved_for_a_decompressor_is_enough(void **state) {
    (void)state;
    static char bytes[70000];
    static Bytef back[70000];
    struct peri_buffer out = {0};
    for (unsigned bits = PERI_WINDOW_MIN; bits <= PERI_WINDOW_MAX; bits++) {
        assert_true(peri_deflater_message(peri_deflater_shared(&pool, bits),
                                          words(bytes, sizeof bytes, 1), &out));
        z_stream z = {.zalloc = count_alloc, .zfree = count_free};
        asked = sizeof z;
        assert_int_equal(inflateInit2(&z, -(int)bits), Z_OK);
        z.next_in = out.ptr;
        z.avail_in = (uInt)out.len;
        z.next_out = back;
        z.avail_out = sizeof back;
        assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
        assert_int_equal(inflateEnd(&z), Z_OK);
        uint64_t before = budget.used_;
        struct peri_inflater *inflater = peri_inflater_new(&pool, bits);
        assert_true(asked <= budget.used_ - before);
        peri_inflater_free(inflater);
    }
    peri_buffer_deinit(&out);
}

static void contexts_leave_a_quarter_to_what_is_shared(void **state) {
    (void)state;
    enum { MOST = 64 };
    struct peri_deflater *own[MOST];
    struct peri_inflater *inflaters[MOST];
    struct peri_buffer out = {0};
    size_t n = 0, m = 0;
    budget.max_bytes = MIB;
    while (n < MOST && (own[n] = peri_deflater_new(&pool, 12)) && peri_deflater_is_ready(own[n])) {
        n++;
    }
    assert_in_range(n, 15, 20);
    assert_null(own[n]);
    assert_true(budget.used_ <= MIB / 4 * 3);
    while (m < MOST && (inflaters[m] = peri_inflater_new(&pool, 9))) {
        m++;
    }
    assert_true(m < 6);
    assert_true(budget.used_ <= MIB / 4 * 3);
    assert_non_null(peri_inflater_shared(&pool));
    assert_true(peri_deflater_message(peri_deflater_shared(&pool, 12),
                                      PERI_STR("aaaaaaaaaaaaaaaaaaa"), &out));
    assert_true(budget.used_ <= MIB);
    while (n > 0) {
        peri_deflater_free(own[--n]);
    }
    while (m > 0) {
        peri_inflater_free(inflaters[--m]);
    }
    peri_buffer_deinit(&out);
}

static void over_the_budget_nothing_is_compressed(void **state) {
    (void)state;
    struct peri_buffer out = {0};
    struct peri_deflater *own = peri_deflater_new(&pool, 12);
    budget.max_bytes = 8 * 1024;
    assert_null(peri_deflater_new(&pool, 9));
    assert_null(peri_inflater_new(&pool, 9));
    assert_null(peri_inflater_shared(&pool));
    assert_false(peri_deflater_is_ready(own));
    assert_false(peri_deflater_message(own, PERI_STR("aaaaaaaaaaaaaaaaaaaaaaaaaaa"), &out));
    assert_false(peri_deflater_message(peri_deflater_shared(&pool, 12),
                                       PERI_STR("aaaaaaaaaaaaaaaaaaaaaaaaaaa"), &out));
    budget.max_bytes = MIB;
    assert_true(peri_deflater_message(own, PERI_STR("aaaaaaaaaaaaaaaaaaaaaaaaaaa"), &out));
    peri_deflater_free(own);
    peri_buffer_deinit(&out);
}

// No memory.

/// Goes once each way. @return false when some of it had no memory
static bool round_trip(bool own) {
    struct peri_str message =
        PERI_STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    struct peri_deflater *deflater =
        own ? peri_deflater_new(&pool, 9) : peri_deflater_shared(&pool, 9);
    struct peri_inflater *inflater =
        own ? peri_inflater_new(&pool, 9) : peri_inflater_shared(&pool);
    struct peri_buffer out = {0}, back = {0};
    bool done = deflater && inflater && peri_deflater_message(deflater, message, &out);
    if (done) {
        int rc = take(inflater, peri_buffer_str(&out), MIB, &back);
        assert_true(rc == PERI_OK || rc == PERI_E_MEMORY);
        done = rc == PERI_OK;
        assert_true(!done || peri_str_equal(peri_buffer_str(&back), message));
    }
    peri_deflater_free(deflater);
    peri_inflater_free(inflater);
    peri_buffer_deinit(&out);
    peri_buffer_deinit(&back);
    return done;
}

static void without_memory_it_fails_and_leaves_nothing(void **state) {
    (void)state;
    for (int own = 0; own <= 1; own++) {
        uint64_t nth = 0;
        bool done = false;
        while (!done) {
            peri_alloc_fail_from(++nth);
            done = round_trip(own);
            peri_alloc_fail_from(0);
            peri_deflate_pool_deinit(&pool);
            assert_int_equal(budget.used_, 0);
            assert_int_equal(peri_alloc_live(), live);
        }
        assert_in_range(nth, 12, 40);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_window_goes_both_ways),
        TEST(a_context_makes_the_same_message_shorter_and_a_shared_one_does_not),
        TEST(what_gets_no_shorter_is_forgotten_by_the_context),
        TEST(a_bomb_stops_at_the_cap),
        TEST(a_message_of_just_the_cap_passes),
        TEST(what_is_cut_short_or_damaged_is_invalid_and_harms_no_later_message),
        TEST(a_stored_block_that_lacks_as_much_as_the_tail_has_is_cut_short),
        TEST(the_empty_block_at_the_end_may_be_a_last_one),
        TEST(memory_is_counted_as_it_is_used),
        TEST(what_is_reserved_for_a_decompressor_is_enough),
        TEST(contexts_leave_a_quarter_to_what_is_shared),
        TEST(over_the_budget_nothing_is_compressed),
        TEST(without_memory_it_fails_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
