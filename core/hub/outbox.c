// The queue: the only run in place, or a ring of all as long as there are several.
#include "hub/outbox.h"

#include <assert.h>

#include "base/alloc.h"
#include "hub/internal.h"

/// Where the runs of a tag are, so that one that gives way is found in a long queue too. A place is
/// a run's running number: the ring's head plus its index, modulo 2^32.
struct places {
    uint32_t cap, used; ///< of the entries; cap is a power of two
    uint32_t *older;    ///< for each slot of the ring: the place of the tag's run before
    struct {
        uint64_t tag; ///< 0: free
        uint32_t newest;
    } entries[];
};

/// Never empty. A run that gave way leaves a hole (block NULL), never at either end.
struct peri_outbox_ring {
    uint32_t head, count, cap; ///< holes included; cap is a power of two
    uint32_t holes;
    struct places *places; ///< NULL as long as looking one by one will do
    struct peri_outbox_run runs[];
};

enum { SMALLEST_RING = 4, LONG_QUEUE = 64 };

static bool is_ring(const struct peri_outbox *outbox) {
    return outbox->tag_ == TAG_SEVERAL;
}

static struct peri_outbox_run *ring_at(struct peri_outbox_ring *ring, uint32_t index) {
    return &ring->runs[(ring->head + index) & (ring->cap - 1)];
}

static struct peri_outbox_run only_run(const struct peri_outbox *outbox) {
    return (struct peri_outbox_run){outbox->runs_.only, outbox->offset_, outbox->bytes,
                                    outbox->tag_};
}

/// There is no other run.
static void put_only(struct peri_outbox *outbox, const struct peri_outbox_run *run) {
    outbox->runs_.only = run->block;
    outbox->tag_ = run->tag;
    outbox->offset_ = run->offset;
    outbox->bytes = run->length;
}

static void drop_places(struct peri_outbox_ring *ring) {
    peri_free(ring->places);
    ring->places = NULL;
}

/// The entry of a tag, or the free one where it belongs. Tags are hashes already.
static uint32_t entry_of(const struct places *places, uint64_t tag) {
    uint32_t at = (uint32_t)tag & (places->cap - 1);
    while (places->entries[at].tag != 0 && places->entries[at].tag != tag) {
        at = (at + 1) & (places->cap - 1);
    }
    return at;
}

/// Notes the run at an index, which is the newest of its tag. A table that is nearly full of tags
/// that are gone is dropped; it is made anew when it is wanted.
static void note_place(struct peri_outbox_ring *ring, uint32_t index) {
    struct places *places = ring->places;
    uint32_t place = ring->head + index;
    uint64_t tag = ring_at(ring, index)->tag;
    if (!places || tag < TAG_LATEST) {
        return;
    }
    uint32_t at = entry_of(places, tag);
    bool is_new = places->entries[at].tag == 0;
    if (is_new && ++places->used > places->cap / 4 * 3) {
        drop_places(ring);
        return;
    }
    places->older[place & (ring->cap - 1)] = is_new ? ring->head - 1 : places->entries[at].newest;
    places->entries[at].tag = tag;
    places->entries[at].newest = place;
}

/// @return false without memory
static bool make_places(struct peri_outbox_ring *ring) {
    uint32_t cap = 2 * ring->cap;
    struct places *places = peri_calloc(1, sizeof *places + cap * sizeof places->entries[0] +
                                               ring->cap * sizeof places->older[0]);
    if (!places) {
        return false;
    }
    places->cap = cap;
    places->older = (uint32_t *)&places->entries[cap];
    ring->places = places;
    for (uint32_t i = 0; i < ring->count; i++) {
        note_place(ring, i);
    }
    return true;
}

static uint32_t run_count(const struct peri_outbox *outbox) {
    if (!outbox->runs_.only) {
        return 0;
    }
    return is_ring(outbox) ? outbox->runs_.ring->count : 1;
}

bool peri_outbox_at(const struct peri_outbox *outbox, uint32_t index, struct peri_outbox_run *run) {
    if (index >= run_count(outbox)) {
        return false;
    }
    *run = is_ring(outbox) ? *ring_at(outbox->runs_.ring, index) : only_run(outbox);
    return true;
}

bool peri_outbox_last(const struct peri_outbox *outbox, struct peri_outbox_run *run) {
    uint32_t count = run_count(outbox);
    return count > 0 && peri_outbox_at(outbox, count - 1, run);
}

void peri_outbox_move(struct peri_outbox *outbox, uint32_t index, struct peri_block *block,
                      uint32_t offset) {
    peri_block_ref(block);
    if (is_ring(outbox)) {
        struct peri_outbox_run *run = ring_at(outbox->runs_.ring, index);
        peri_block_unref(run->block);
        run->block = block;
        run->offset = offset;
    } else {
        peri_block_unref(outbox->runs_.only);
        outbox->runs_.only = block;
        outbox->offset_ = offset;
    }
}

int peri_outbox_peek(const struct peri_outbox *outbox, struct iovec *iov, int max) {
    if (!is_ring(outbox)) {
        const struct peri_block *block = outbox->runs_.only;
        if (!block || max == 0) {
            return 0;
        }
        iov[0] =
            (struct iovec){(uint8_t *)(uintptr_t)block->bytes + outbox->offset_, outbox->bytes};
        return 1;
    }
    struct peri_outbox_ring *ring = outbox->runs_.ring;
    int filled = 0;
    for (uint32_t i = 0; i < ring->count && filled < max; i++) {
        const struct peri_outbox_run *run = ring_at(ring, i);
        if (run->block) {
            iov[filled++] = (struct iovec){run->block->bytes + run->offset, run->length};
        }
    }
    return filled;
}

/// Takes the holes off both ends; a ring without runs goes.
static void trim(struct peri_outbox *outbox) {
    struct peri_outbox_ring *ring = outbox->runs_.ring;
    while (ring->count > 0 && !ring_at(ring, 0)->block) {
        ring->head++;
        ring->count--;
        ring->holes--;
    }
    while (ring->count > 0 && !ring_at(ring, ring->count - 1)->block) {
        ring->count--;
        ring->holes--;
    }
    if (ring->count == 0) {
        drop_places(ring);
        peri_free(ring);
        put_only(outbox, &(struct peri_outbox_run){0});
    }
}

/// Closes the holes. Places are others then.
static void compact(struct peri_outbox_ring *ring) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ring->count; i++) {
        if (ring_at(ring, i)->block) {
            *ring_at(ring, kept++) = *ring_at(ring, i);
        }
    }
    ring->count = kept;
    ring->holes = 0;
    drop_places(ring);
}

/// The run gives way.
static void make_hole(struct peri_outbox *outbox, struct peri_outbox_run *run) {
    outbox->bytes -= run->length;
    peri_block_unref(run->block);
    *run = (struct peri_outbox_run){0};
    outbox->runs_.ring->holes++;
}

/// After holes were made.
static void tidy(struct peri_outbox *outbox) {
    struct peri_outbox_ring *ring = outbox->runs_.ring;
    if (ring->holes > ring->count / 2) {
        compact(ring);
    }
    trim(outbox);
}

static void pop_first(struct peri_outbox *outbox) {
    outbox->begun_left_ = 0;
    if (is_ring(outbox)) {
        make_hole(outbox, ring_at(outbox->runs_.ring, 0));
        trim(outbox);
    } else {
        peri_block_unref(outbox->runs_.only);
        put_only(outbox, &(struct peri_outbox_run){0});
    }
}

/// The whole length of the frame at the start of the bytes. We encoded it, so it is one.
static uint32_t frame_bytes(const uint8_t *bytes, size_t n) {
    struct peri_frame frame;
    int rc = peri_frame_decode(&frame, bytes, n);
    assert(rc == PERI_OK);
    (void)rc;
    return (uint32_t)(frame.header_bytes + frame.length); // a run is at most 2^32 long
}

/// Drops n bytes, less than all, of the first run, and notes how much is left of the frame in
/// which that ends.
static void consume_part(struct peri_outbox *outbox, uint32_t n) {
    struct peri_outbox_run first = {0};
    (void)peri_outbox_at(outbox, 0, &first); // there is one, longer than n
    const uint8_t *at = first.block->bytes + first.offset;
    const uint8_t *end = at + first.length;
    uint32_t skip = n;
    uint32_t left = outbox->begun_left_;
    if (left == 0) {
        left = frame_bytes(at, first.length);
    }
    while (skip >= left) {
        skip -= left;
        at += left;
        left = frame_bytes(at, (size_t)(end - at)); // n is less than all: at is before end
    }
    outbox->begun_left_ = skip == 0 ? 0 : (left - skip) & PERI_OUTBOX_FRAME_MAX;
    outbox->bytes -= n;
    if (is_ring(outbox)) {
        ring_at(outbox->runs_.ring, 0)->offset += n;
        ring_at(outbox->runs_.ring, 0)->length -= n;
    } else {
        outbox->offset_ += n;
    }
}

static uint32_t first_length(const struct peri_outbox *outbox) {
    return is_ring(outbox) ? ring_at(outbox->runs_.ring, 0)->length : outbox->bytes;
}

void peri_outbox_consume(struct peri_outbox *outbox, size_t n) {
    assert(n <= outbox->bytes);
    uint32_t left = (uint32_t)n; // at most outbox->bytes
    while (left > 0) {
        uint32_t length = first_length(outbox);
        if (left < length) {
            consume_part(outbox, left);
            return;
        }
        left -= length;
        pop_first(outbox);
    }
}

void peri_outbox_deinit(struct peri_outbox *outbox) {
    while (outbox->runs_.only) {
        pop_first(outbox);
    }
    outbox->blocked = false;
}

/// Makes a ring with what is queued, in place of a smaller one.
/// @param ring NULL: there is one run so far
static int grow(struct peri_outbox *outbox, struct peri_outbox_ring *ring) {
    uint32_t cap = ring ? 2 * ring->cap : SMALLEST_RING;
    struct peri_outbox_ring *bigger = peri_alloc(sizeof *bigger + cap * sizeof bigger->runs[0]);
    if (!bigger) {
        return PERI_E_MEMORY;
    }
    *bigger = (struct peri_outbox_ring){.cap = cap, .count = 1};
    if (!ring) {
        bigger->runs[0] = only_run(outbox);
    } else {
        bigger->count = ring->count;
        bigger->holes = ring->holes;
        for (uint32_t i = 0; i < ring->count; i++) {
            bigger->runs[i] = *ring_at(ring, i);
        }
        drop_places(ring);
        peri_free(ring);
    }
    outbox->runs_.ring = bigger;
    outbox->tag_ = TAG_SEVERAL;
    return PERI_OK;
}

/// Makes room for one more run behind others.
static int reserve(struct peri_outbox *outbox) {
    struct peri_outbox_ring *ring = is_ring(outbox) ? outbox->runs_.ring : NULL;
    if (ring && ring->count < ring->cap) {
        return PERI_OK;
    }
    if (ring && ring->holes > ring->cap / 4) {
        compact(ring);
        return PERI_OK;
    }
    return grow(outbox, ring);
}

bool peri_outbox_extend(struct peri_outbox *outbox, const struct peri_block *block, uint32_t offset,
                        uint32_t length, uint64_t tag) {
    if (outbox->tag_ == tag && outbox->runs_.only == block &&
        outbox->offset_ + outbox->bytes == offset) {
        outbox->bytes += length;
        return true;
    }
    if (!is_ring(outbox)) {
        return false;
    }
    struct peri_outbox_ring *ring = outbox->runs_.ring;
    struct peri_outbox_run *last = ring_at(ring, ring->count - 1);
    if (last->block != block || last->tag != tag || last->offset + last->length != offset) {
        return false;
    }
    last->length += length;
    outbox->bytes += length;
    return true;
}

int peri_outbox_append(struct peri_outbox *outbox, struct peri_block *block, uint32_t offset,
                       uint32_t length, uint64_t tag) {
    const struct peri_outbox_run run = {block, offset, length, tag};
    if (!outbox->runs_.only) {
        peri_block_ref(block);
        put_only(outbox, &run);
        return PERI_OK;
    }
    bool whole = tag == TAG_ROOM || tag == TAG_DIRECT; // other runs stay one frame
    if (whole && peri_outbox_extend(outbox, block, offset, length, tag)) {
        return PERI_OK;
    }
    if (reserve(outbox) != PERI_OK) {
        return PERI_E_MEMORY;
    }
    struct peri_outbox_ring *ring = outbox->runs_.ring;
    *ring_at(ring, ring->count++) = run;
    note_place(ring, ring->count - 1);
    peri_block_ref(block);
    outbox->bytes += length;
    return PERI_OK;
}

/// How many runs at the front may not be removed: one that is begun.
static uint32_t begun(const struct peri_outbox *outbox) {
    return outbox->begun_left_ > 0 ? 1 : 0;
}

/// Those of the tag, by their places. @return how many
static uint32_t remove_by_place(struct peri_outbox *outbox, uint64_t tag) {
    struct peri_outbox_ring *ring = outbox->runs_.ring;
    const struct places *places = ring->places;
    uint32_t at = entry_of(places, tag);
    uint32_t removed = 0;
    if (places->entries[at].tag == 0) {
        return 0;
    }
    for (uint32_t place = places->entries[at].newest; place - ring->head < ring->count;) {
        uint32_t index = place - ring->head;
        struct peri_outbox_run *run = ring_at(ring, index);
        if (run->tag != tag || index < begun(outbox)) {
            break; // it has given way, or is written, and so are those before it
        }
        make_hole(outbox, run);
        removed++;
        place = places->older[place & (ring->cap - 1)];
    }
    return removed;
}

static uint32_t remove_one_by_one(struct peri_outbox *outbox, uint64_t tag) {
    struct peri_outbox_ring *ring = outbox->runs_.ring;
    uint32_t removed = 0;
    for (uint32_t i = begun(outbox); i < ring->count; i++) {
        struct peri_outbox_run *run = ring_at(ring, i);
        if (run->block && run->tag == tag) {
            make_hole(outbox, run);
            removed++;
        }
    }
    return removed;
}

/// The only run, if it is the tag's and not begun. @return how many
static uint32_t remove_only(struct peri_outbox *outbox, uint64_t tag) {
    if (!outbox->runs_.only || outbox->tag_ != tag || begun(outbox)) {
        return 0;
    }
    pop_first(outbox);
    return 1;
}

uint32_t peri_outbox_remove(struct peri_outbox *outbox, uint64_t tag) {
    if (!is_ring(outbox)) {
        return remove_only(outbox, tag);
    }
    struct peri_outbox_ring *ring = outbox->runs_.ring;
    bool is_long = ring->count >= LONG_QUEUE && tag >= TAG_LATEST;
    bool placed = is_long && (ring->places || make_places(ring)) && ring->places;
    uint32_t removed = placed ? remove_by_place(outbox, tag) : remove_one_by_one(outbox, tag);
    tidy(outbox);
    return removed;
}

void peri_outbox_remove_last(struct peri_outbox *outbox, uint64_t tag) {
    if (!is_ring(outbox)) {
        (void)remove_only(outbox, tag);
        return;
    }
    struct peri_outbox_ring *ring = outbox->runs_.ring;
    for (uint32_t i = ring->count; i > begun(outbox); i--) {
        struct peri_outbox_run *run = ring_at(ring, i - 1);
        if (run->block && run->tag == tag) {
            make_hole(outbox, run);
            tidy(outbox);
            return;
        }
    }
}

void peri_outbox_cut(struct peri_outbox *outbox) {
    struct peri_outbox_run first = {0};
    uint32_t keep = outbox->begun_left_;
    bool blocked = outbox->blocked;
    if (keep > 0 && peri_outbox_at(outbox, 0, &first)) {
        peri_block_ref(first.block);
        first.length = keep;
    }
    peri_outbox_deinit(outbox);
    put_only(outbox, &first);
    outbox->begun_left_ = keep & PERI_OUTBOX_FRAME_MAX;
    outbox->blocked = blocked;
}
