// The queue: one run in place, the rest in a ring that exists while there is a rest.
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

/// A run that gave way leaves a hole (block NULL), never at either end.
struct peri_outbox_more {
    uint32_t head, count, cap; ///< holes included; cap is a power of two
    uint32_t holes;
    struct places *places; ///< NULL as long as looking one by one will do
    struct peri_outbox_run runs[];
};

enum { SMALLEST_RING = 4, LONG_QUEUE = 64 };

static struct peri_outbox_run *ring_at(struct peri_outbox_more *more, uint32_t index) {
    return &more->runs[(more->head + index) & (more->cap - 1)];
}

static void drop_places(struct peri_outbox_more *more) {
    peri_free(more->places);
    more->places = NULL;
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
static void note_place(struct peri_outbox_more *more, uint32_t index) {
    struct places *places = more->places;
    uint32_t place = more->head + index;
    uint64_t tag = ring_at(more, index)->tag;
    if (!places || tag < TAG_LATEST) {
        return;
    }
    uint32_t at = entry_of(places, tag);
    bool is_new = places->entries[at].tag == 0;
    if (is_new && ++places->used > places->cap / 4 * 3) {
        drop_places(more);
        return;
    }
    places->older[place & (more->cap - 1)] = is_new ? more->head - 1 : places->entries[at].newest;
    places->entries[at].tag = tag;
    places->entries[at].newest = place;
}

/// @return false without memory
static bool make_places(struct peri_outbox_more *more) {
    uint32_t cap = 2 * more->cap;
    struct places *places = peri_calloc(1, sizeof *places + cap * sizeof places->entries[0] +
                                               more->cap * sizeof places->older[0]);
    if (!places) {
        return false;
    }
    places->cap = cap;
    places->older = (uint32_t *)&places->entries[cap];
    more->places = places;
    for (uint32_t i = 0; i < more->count; i++) {
        note_place(more, i);
    }
    return true;
}

static uint32_t run_count(const struct peri_outbox *outbox) {
    if (!outbox->first_.block) {
        return 0;
    }
    return 1 + (outbox->more_ ? outbox->more_->count : 0);
}

struct peri_outbox_run *peri_outbox_at(struct peri_outbox *outbox, uint32_t index) {
    if (index >= run_count(outbox)) {
        return NULL;
    }
    return index == 0 ? &outbox->first_ : ring_at(outbox->more_, index - 1);
}

struct peri_outbox_run *peri_outbox_last(struct peri_outbox *outbox) {
    uint32_t count = run_count(outbox);
    return count ? peri_outbox_at(outbox, count - 1) : NULL;
}

int peri_outbox_peek(const struct peri_outbox *outbox, struct iovec *iov, int max) {
    uint32_t count = run_count(outbox);
    int filled = 0;
    for (uint32_t i = 0; i < count && filled < max; i++) {
        const struct peri_outbox_run *run =
            i == 0 ? &outbox->first_ : ring_at(outbox->more_, i - 1);
        if (!run->block) {
            continue;
        }
        iov[filled++] = (struct iovec){run->block->bytes + run->offset, run->length};
    }
    return filled;
}

static void free_ring(struct peri_outbox *outbox) {
    drop_places(outbox->more_);
    peri_free(outbox->more_);
    outbox->more_ = NULL;
}

/// Takes the holes off both ends; a ring without runs goes.
static void trim(struct peri_outbox *outbox) {
    struct peri_outbox_more *more = outbox->more_;
    while (more->count > 0 && !ring_at(more, 0)->block) {
        more->head++;
        more->count--;
        more->holes--;
    }
    while (more->count > 0 && !ring_at(more, more->count - 1)->block) {
        more->count--;
        more->holes--;
    }
    if (more->count == 0) {
        free_ring(outbox);
    }
}

/// Closes the holes. Places are others then.
static void compact(struct peri_outbox_more *more) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < more->count; i++) {
        if (ring_at(more, i)->block) {
            *ring_at(more, kept++) = *ring_at(more, i);
        }
    }
    more->count = kept;
    more->holes = 0;
    drop_places(more);
}

/// The run gives way.
static void make_hole(struct peri_outbox *outbox, struct peri_outbox_run *run) {
    outbox->bytes -= run->length;
    peri_block_unref(run->block);
    *run = (struct peri_outbox_run){0};
    outbox->more_->holes++;
}

static void pop_first(struct peri_outbox *outbox) {
    peri_block_unref(outbox->first_.block);
    outbox->first_ = (struct peri_outbox_run){0};
    outbox->begun_left_ = 0;
    struct peri_outbox_more *more = outbox->more_;
    if (!more) {
        return;
    }
    outbox->first_ = *ring_at(more, 0);
    more->head++;
    more->count--;
    trim(outbox);
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
    struct peri_outbox_run *run = &outbox->first_;
    const uint8_t *at = run->block->bytes + run->offset;
    const uint8_t *end = at + run->length;
    uint32_t skip = n;
    uint32_t left = outbox->begun_left_;
    if (left == 0) {
        left = frame_bytes(at, run->length);
    }
    while (skip >= left) {
        skip -= left;
        at += left;
        left = frame_bytes(at, (size_t)(end - at)); // n is less than all: at is before end
    }
    outbox->begun_left_ = skip == 0 ? 0 : (left - skip) & PERI_OUTBOX_FRAME_MAX;
    run->offset += n;
    run->length -= n;
}

void peri_outbox_consume(struct peri_outbox *outbox, size_t n) {
    assert(n <= outbox->bytes);
    uint32_t left = (uint32_t)n; // at most outbox->bytes
    outbox->bytes -= left;
    while (left > 0) {
        if (left < outbox->first_.length) {
            consume_part(outbox, left);
            return;
        }
        left -= outbox->first_.length;
        pop_first(outbox);
    }
}

void peri_outbox_deinit(struct peri_outbox *outbox) {
    while (outbox->first_.block) {
        pop_first(outbox);
    }
    *outbox = (struct peri_outbox){0};
}

/// Makes room for one more run behind the first.
static int reserve(struct peri_outbox *outbox) {
    struct peri_outbox_more *more = outbox->more_;
    if (more && more->count < more->cap) {
        return PERI_OK;
    }
    if (more && more->holes > more->cap / 4) {
        compact(more);
        return PERI_OK;
    }
    uint32_t cap = more ? 2 * more->cap : SMALLEST_RING;
    struct peri_outbox_more *bigger = peri_alloc(sizeof *bigger + cap * sizeof bigger->runs[0]);
    if (!bigger) {
        return PERI_E_MEMORY;
    }
    *bigger = (struct peri_outbox_more){.cap = cap};
    for (uint32_t i = 0; more && i < more->count; i++) {
        bigger->runs[i] = *ring_at(more, i);
    }
    if (more) {
        bigger->count = more->count;
        bigger->holes = more->holes;
        free_ring(outbox);
    }
    outbox->more_ = bigger;
    return PERI_OK;
}

bool peri_outbox_extend(struct peri_outbox *outbox, const struct peri_block *block, uint32_t offset,
                        uint32_t length, uint64_t tag) {
    struct peri_outbox_run *last = outbox->more_ ? peri_outbox_last(outbox) : &outbox->first_;
    if (last->block != block || last->tag != tag || last->offset + last->length != offset) {
        return false;
    }
    last->length += length;
    outbox->bytes += length;
    return true;
}

int peri_outbox_append(struct peri_outbox *outbox, struct peri_block *block, uint32_t offset,
                       uint32_t length, uint64_t tag) {
    bool whole = tag == TAG_ROOM || tag == TAG_DIRECT; // other runs stay one frame
    if (whole && peri_outbox_extend(outbox, block, offset, length, tag)) {
        return PERI_OK;
    }
    const struct peri_outbox_run *last = peri_outbox_last(outbox);
    struct peri_outbox_run run = {block, offset, length, tag};
    if (!last) {
        outbox->first_ = run;
    } else if (reserve(outbox) == PERI_OK) {
        *ring_at(outbox->more_, outbox->more_->count++) = run;
        note_place(outbox->more_, outbox->more_->count - 1);
    } else {
        return PERI_E_MEMORY;
    }
    peri_block_ref(block);
    outbox->bytes += length;
    return PERI_OK;
}

/// Those of the tag behind the first run, by their places. @return how many
static uint32_t remove_by_place(struct peri_outbox *outbox, uint64_t tag) {
    struct peri_outbox_more *more = outbox->more_;
    const struct places *places = more->places;
    uint32_t at = entry_of(places, tag);
    uint32_t removed = 0;
    if (places->entries[at].tag == 0) {
        return 0;
    }
    for (uint32_t place = places->entries[at].newest; place - more->head < more->count;) {
        struct peri_outbox_run *run = ring_at(more, place - more->head);
        if (run->tag != tag) {
            break; // it has given way, or is written, and so are those before it
        }
        make_hole(outbox, run);
        removed++;
        place = places->older[place & (more->cap - 1)];
    }
    return removed;
}

static uint32_t remove_one_by_one(struct peri_outbox *outbox, uint64_t tag) {
    struct peri_outbox_more *more = outbox->more_;
    uint32_t removed = 0;
    for (uint32_t i = 0; i < more->count; i++) {
        struct peri_outbox_run *run = ring_at(more, i);
        if (run->block && run->tag == tag) {
            make_hole(outbox, run);
            removed++;
        }
    }
    return removed;
}

uint32_t peri_outbox_remove(struct peri_outbox *outbox, uint64_t tag) {
    uint32_t removed = 0;
    struct peri_outbox_more *more = outbox->more_;
    if (more) {
        bool is_long = more->count >= LONG_QUEUE && tag >= TAG_LATEST;
        bool placed = is_long && (more->places || make_places(more)) && more->places;
        removed = placed ? remove_by_place(outbox, tag) : remove_one_by_one(outbox, tag);
        if (more->holes > more->count / 2) {
            compact(more);
        }
        trim(outbox);
    }
    if (outbox->first_.block && outbox->first_.tag == tag && outbox->begun_left_ == 0) {
        outbox->bytes -= outbox->first_.length;
        pop_first(outbox);
        removed++;
    }
    return removed;
}

void peri_outbox_remove_last(struct peri_outbox *outbox, uint64_t tag) {
    struct peri_outbox_more *more = outbox->more_;
    for (uint32_t i = more ? more->count : 0; i > 0; i--) {
        struct peri_outbox_run *run = ring_at(more, i - 1);
        if (run->block && run->tag == tag) {
            make_hole(outbox, run);
            if (more->holes > more->count / 2) {
                compact(more);
            }
            trim(outbox);
            return;
        }
    }
    if (outbox->first_.block && outbox->first_.tag == tag && outbox->begun_left_ == 0) {
        outbox->bytes -= outbox->first_.length;
        pop_first(outbox);
    }
}

void peri_outbox_cut(struct peri_outbox *outbox) {
    uint32_t keep = outbox->begun_left_;
    struct peri_outbox_run first = outbox->first_;
    if (keep > 0) {
        peri_block_ref(first.block);
    }
    bool blocked = outbox->blocked;
    peri_outbox_deinit(outbox);
    outbox->blocked = blocked;
    if (keep > 0) {
        first.length = keep;
        outbox->first_ = first;
        outbox->bytes = keep;
        outbox->begun_left_ = keep & PERI_OUTBOX_FRAME_MAX;
    }
}
