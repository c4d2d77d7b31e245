#include "hub/internal.h"
#include "support.h"

static struct peri_outbox outbox;
static struct peri_block *blocks[2];

static int outbox_set_up(void **state) {
    (void)state;
    world.live_before = peri_alloc_live();
    outbox = (struct peri_outbox){0};
    for (size_t i = 0; i < 2; i++) {
        blocks[i] = peri_block_new(4096, NULL);
        assert_non_null(blocks[i]);
    }
    return 0;
}

static int outbox_tear_down(void **state) {
    (void)state;
    peri_outbox_deinit(&outbox);
    assert_int_equal(outbox.bytes, 0);
    peri_block_unref(blocks[0]);
    peri_block_unref(blocks[1]);
    return peri_alloc_live() == world.live_before ? 0 : -1;
}

/// Writes a frame of that payload into a block and appends it.
static void add(size_t block, const char *text, uint64_t tag) {
    struct peri_block *b = blocks[block];
    uint32_t offset = b->len;
    size_t n = strlen(text);
    b->len += (uint32_t)peri_frame_encode(b->bytes + b->len, true, 0, PERI_OP_TEXT, n, NULL);
    memcpy(b->bytes + b->len, text, n);
    b->len += (uint32_t)n;
    assert_int_equal(peri_outbox_append(&outbox, b, offset, b->len - offset, tag), PERI_OK);
}

static int runs(void) {
    struct iovec iov[64];
    return peri_outbox_peek(&outbox, iov, 64);
}

/// All that is queued, by peek.
static void expect_queue(const char *wanted) {
    struct iovec iov[64];
    struct peri_buffer bytes = {0};
    char got[1024];
    int n = peri_outbox_peek(&outbox, iov, 64);
    for (int i = 0; i < n; i++) {
        assert_int_equal(peri_buffer_append(&bytes, iov[i].iov_base, iov[i].iov_len), PERI_OK);
    }
    assert_int_equal(bytes.len, outbox.bytes);
    describe_wire(&bytes, got, sizeof got);
    assert_string_equal(got, wanted);
    peri_buffer_deinit(&bytes);
}

static void test_adjacent_runs_of_one_kind_become_one(void **state) {
    (void)state;
    add(0, "a", TAG_DIRECT);
    add(0, "b", TAG_DIRECT);
    assert_int_equal(runs(), 1);
    add(0, "c", TAG_ROOM);
    assert_int_equal(runs(), 2);
    add(1, "d", TAG_ROOM);
    assert_int_equal(runs(), 3);
    add(1, "e", TAG_ROOM);
    assert_int_equal(runs(), 3);
    expect_queue("T:a T:b T:c T:d T:e ");
}

static void test_frames_that_may_give_way_are_runs_of_their_own(void **state) {
    (void)state;
    add(0, "a", TAG_LATEST);
    add(0, "b", TAG_LATEST);
    add(0, "c", TAG_PONG);
    add(0, "d", TAG_PONG);
    assert_int_equal(runs(), 4);
}

static void test_one_run_allocates_nothing(void **state) {
    (void)state;
    peri_alloc_fail_from(1);
    add(0, "a", TAG_DIRECT);
    add(0, "b", TAG_DIRECT);
    peri_outbox_consume(&outbox, outbox.bytes);
    peri_alloc_fail_from(0);
    assert_true(peri_outbox_is_empty(&outbox));
}

static void test_the_ring_grows_in_order_and_goes_when_it_is_empty(void **state) {
    (void)state;
    char text[16], wanted[512] = "";
    size_t n = 0;
    uint64_t live = peri_alloc_live();
    for (int i = 0; i < 40; i++) {
        snprintf(text, sizeof text, "%d", i);
        add((size_t)i % 2, text, TAG_ROOM);
        if (i % 3 == 0) {
            struct peri_outbox_run first;
            assert_true(peri_outbox_at(&outbox, 0, &first));
            peri_outbox_consume(&outbox, first.length);
        }
    }
    for (int i = 14; i < 40; i++) {
        n += (size_t)snprintf(wanted + n, sizeof wanted - n, "T:%d ", i);
    }
    expect_queue(wanted);
    struct iovec iov[3];
    assert_int_equal(peri_outbox_peek(&outbox, iov, 3), 3);
    peri_outbox_consume(&outbox, outbox.bytes);
    assert_int_equal(peri_alloc_live(), live);
    assert_true(peri_block_is_sole(blocks[0]));
}

static void test_consuming_at_any_byte_knows_the_frame_begun(void **state) {
    (void)state;
    // Frames of 3, 5 and 2 bytes in one run, then one of 4 in another.
    static const uint32_t left[] = {0, 2, 1, 0, 4, 3, 2, 1, 0, 1, 0, 3, 2, 1, 0};
    for (size_t first = 0; first <= 14; first++) {
        for (size_t second = 0; first + second <= 14; second++) {
            add(0, "a", TAG_DIRECT);
            add(0, "bcd", TAG_DIRECT);
            add(0, "", TAG_DIRECT);
            add(1, "ef", TAG_DIRECT);
            peri_outbox_consume(&outbox, first);
            assert_int_equal(outbox.begun_left_, left[first]);
            peri_outbox_consume(&outbox, second);
            assert_int_equal(outbox.begun_left_, left[first + second]);
            assert_int_equal(outbox.bytes, 14 - first - second);
            peri_outbox_cut(&outbox);
            assert_int_equal(outbox.bytes, left[first + second]);
            peri_outbox_consume(&outbox, outbox.bytes);
            blocks[0]->len = blocks[1]->len = 0;
        }
    }
}

static void test_long_frames_are_known_too(void **state) {
    (void)state;
    static char long_text[300];
    memset(long_text, 'x', sizeof long_text - 1);
    add(0, long_text, TAG_DIRECT); // 4 + 299
    add(0, "end", TAG_DIRECT);
    peri_outbox_consume(&outbox, 1);
    assert_int_equal(outbox.begun_left_, 302);
    peri_outbox_consume(&outbox, 303);
    assert_int_equal(outbox.begun_left_, 4);
}

static void test_removing_takes_every_run_of_the_tag_but_one_begun(void **state) {
    (void)state;
    add(0, "a", 77);
    add(0, "b", TAG_ROOM);
    add(0, "c", 77);
    add(0, "d", 78);
    add(0, "e", 77);
    assert_int_equal(peri_outbox_remove(&outbox, 77), 3);
    expect_queue("T:b T:d ");
    assert_int_equal(peri_outbox_remove(&outbox, 77), 0);
    peri_outbox_consume(&outbox, outbox.bytes);

    add(0, "f", 77);
    add(0, "g", 77);
    peri_outbox_consume(&outbox, 1);
    assert_int_equal(peri_outbox_remove(&outbox, 77), 1);
    assert_int_equal(outbox.bytes, 2);
    peri_outbox_consume(&outbox, 2);
    add(0, "h", 77);
    assert_int_equal(peri_outbox_remove(&outbox, 77), 1);
    assert_true(peri_outbox_is_empty(&outbox));
}

static void test_removing_the_last_of_a_tag_leaves_the_rest_and_what_is_begun(void **state) {
    (void)state;
    add(0, "a", 77);
    add(0, "b", TAG_ROOM);
    add(0, "c", 78);
    add(0, "d", TAG_ROOM);
    add(0, "e", 77);
    add(0, "f", TAG_DIRECT);
    peri_outbox_remove_last(&outbox, 78);
    peri_outbox_remove_last(&outbox, 78);
    peri_outbox_consume(&outbox, 1);
    peri_outbox_remove_last(&outbox, 77); // the second
    peri_outbox_remove_last(&outbox, 77); // the first is begun
    assert_int_equal(outbox.bytes, 2 + 3 + 3 + 3);
    peri_outbox_consume(&outbox, 2);
    expect_queue("T:b T:d T:f ");
    peri_outbox_consume(&outbox, outbox.bytes);

    add(0, "g", 77);
    peri_outbox_remove_last(&outbox, 77);
    assert_true(peri_outbox_is_empty(&outbox));
}

/// A queue as it should be: ids of 6-byte frames, of which `begun` bytes of the first are written.
struct naive {
    struct {
        uint32_t id;
        uint64_t tag;
    } at[4096];
    size_t count;
    uint32_t begun;
};

static uint32_t naive_remove(struct naive *naive, uint64_t tag) {
    size_t kept = 0;
    for (size_t i = 0; i < naive->count; i++) {
        if (naive->at[i].tag != tag || (i == 0 && naive->begun > 0)) {
            naive->at[kept++] = naive->at[i];
        }
    }
    uint32_t removed = (uint32_t)(naive->count - kept);
    naive->count = kept;
    return removed;
}

static void add_numbered(struct naive *naive, uint32_t id, uint64_t tag) {
    struct peri_block *block = peri_block_new(6, NULL);
    assert_non_null(block);
    block->len = 6;
    (void)peri_frame_encode(block->bytes, true, 0, PERI_OP_BINARY, 4, NULL);
    memcpy(block->bytes + 2, &id, 4);
    assert_int_equal(peri_outbox_append(&outbox, block, 0, 6, tag), PERI_OK);
    peri_block_unref(block);
    naive->at[naive->count].id = id;
    naive->at[naive->count++].tag = tag;
}

static void consume_some(struct naive *naive, uint32_t bytes) {
    bytes = bytes < outbox.bytes ? bytes : outbox.bytes;
    peri_outbox_consume(&outbox, bytes);
    size_t done = (naive->begun + bytes) / 6;
    naive->begun = (naive->begun + bytes) % 6;
    naive->count -= done;
    memmove(naive->at, naive->at + done, naive->count * sizeof naive->at[0]);
}

static void expect_naive(const struct naive *naive) {
    static struct iovec iov[4096];
    assert_int_equal(outbox.bytes, naive->count * 6 - naive->begun);
    int n = peri_outbox_peek(&outbox, iov, 4096);
    assert_int_equal(n, naive->count);
    for (int i = naive->begun > 0; i < n; i++) {
        uint32_t id;
        memcpy(&id, (const uint8_t *)iov[i].iov_base + 2, 4);
        assert_int_equal(id, naive->at[i].id);
    }
}

static void test_a_long_queue_with_many_tags_is_as_a_naive_one(void **state) {
    (void)state;
    static struct naive naive;
    static const uint32_t tags[] = {3, 40, 400, 3000};
    uint64_t seed = 11;
    for (size_t round = 0; round < 4; round++) {
        naive.count = naive.begun = 0;
        for (uint32_t id = 0; id < 30000; id++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            uint32_t dice = (uint32_t)(seed >> 33) % 100;
            uint64_t tag = TAG_LATEST + (seed >> 40) % tags[round] * 7919;
            if (dice < 60 && naive.count < 3000) {
                add_numbered(&naive, id, dice < 6 ? TAG_DIRECT : dice < 8 ? TAG_PONG : tag);
            } else if (dice < 90) {
                tag = dice < 62 ? TAG_PONG : tag;
                assert_int_equal(peri_outbox_remove(&outbox, tag), naive_remove(&naive, tag));
            } else {
                consume_some(&naive, (uint32_t)(seed >> 50) % 30);
            }
            if (id % 101 == 0) {
                expect_naive(&naive);
            }
        }
        expect_naive(&naive);
        peri_outbox_consume(&outbox, outbox.bytes);
    }
}

static void test_without_memory_nothing_is_appended(void **state) {
    (void)state;
    add(0, "a", TAG_DIRECT);
    peri_alloc_fail_from(1);
    int rc = peri_outbox_append(&outbox, blocks[1], 0, 3, TAG_DIRECT);
    peri_alloc_fail_from(0);
    assert_int_equal(rc, PERI_E_MEMORY);
    assert_true(peri_block_is_sole(blocks[1]));
    expect_queue("T:a ");
}

#define OUTBOX_TEST(name) cmocka_unit_test_setup_teardown(name, outbox_set_up, outbox_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        OUTBOX_TEST(test_adjacent_runs_of_one_kind_become_one),
        OUTBOX_TEST(test_frames_that_may_give_way_are_runs_of_their_own),
        OUTBOX_TEST(test_one_run_allocates_nothing),
        OUTBOX_TEST(test_the_ring_grows_in_order_and_goes_when_it_is_empty),
        OUTBOX_TEST(test_consuming_at_any_byte_knows_the_frame_begun),
        OUTBOX_TEST(test_long_frames_are_known_too),
        OUTBOX_TEST(test_removing_takes_every_run_of_the_tag_but_one_begun),
        OUTBOX_TEST(test_removing_the_last_of_a_tag_leaves_the_rest_and_what_is_begun),
        OUTBOX_TEST(test_a_long_queue_with_many_tags_is_as_a_naive_one),
        OUTBOX_TEST(test_without_memory_nothing_is_appended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
