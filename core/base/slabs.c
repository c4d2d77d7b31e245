// Slabs are made, found empty, kept for the next class and given back.
#include "base/slabs.h"

#include "base/alloc.h"
#include "base/prefetch.h"

/// What malloc puts before a block, so that slabs lie side by side in its memory.
enum { HEAP_HEADER = 16 };

/// Empty slabs that are kept: as much as a script leaves as garbage between two collections.
enum { SPARE_MAX = 1024 * 1024 / PERI_SLAB_BYTES };

_Static_assert(sizeof(struct peri_slab) % PERI_SLAB_STEP == 0, "blocks would not be aligned");

void peri_slabs_init(struct peri_slabs *slabs) {
    *slabs = (struct peri_slabs){0};
    for (size_t i = 0; i < PERI_SLAB_CLASSES; i++) {
        peri_list_init(&slabs->open_[i]);
    }
    peri_list_init(&slabs->spare_);
}

void peri_slabs_deinit(struct peri_slabs *slabs) {
    for (size_t i = 0; i < PERI_SLAB_CLASSES; i++) {
        struct peri_list *open = &slabs->open_[i];
        if (!peri_list_is_empty(open)) { // the last one of its class stays there, empty
            struct peri_slab *slab = PERI_CONTAINER(open->next, struct peri_slab, link);
            assert(slab->used == 0);
            peri_list_remove(&slab->link);
            peri_free(slab);
            slabs->count--;
        }
    }
    peri_slabs_trim(slabs);
    assert(slabs->count == 0);
}

/// Threads the slab's blocks together, in the order of their addresses. Those of whole cache lines begin
/// with one.
static void divide(struct peri_slab *slab, size_t block_bytes) {
    size_t aligned = block_bytes & -block_bytes; // the largest power of two in it
    size_t end = PERI_SLAB_BYTES - HEAP_HEADER;
    end -= end % (aligned < PERI_CACHE_LINE ? aligned : PERI_CACHE_LINE);
    char *at = (char *)slab + end;
    slab->free = NULL;
    slab->used = 0;
    slab->block_bytes = (uint32_t)block_bytes;
    for (size_t count = (end - sizeof *slab) / block_bytes; count > 0; count--) {
        at -= block_bytes;
        *(void **)at = slab->free;
        slab->free = at;
    }
}

int peri_slabs_grow(struct peri_slabs *slabs, size_t size) {
    size_t class = peri_slabs_class(size);
    struct peri_slab *slab;
    if (!peri_list_is_empty(&slabs->spare_)) {
        slab =
            PERI_CONTAINER(slabs->spare_.prev, struct peri_slab, link); // the latest is in caches
        peri_list_remove(&slab->link);
        slabs->spare_count_--;
    } else {
        slab = peri_alloc_aligned(PERI_SLAB_BYTES, PERI_SLAB_BYTES - HEAP_HEADER);
        if (!slab) {
            return PERI_E_MEMORY;
        }
        slabs->count++;
    }
    divide(slab, (class + 1) * PERI_SLAB_STEP);
    peri_list_push(&slabs->open_[class], &slab->link);
    return PERI_OK;
}

void peri_slabs_trim(struct peri_slabs *slabs) {
    while (!peri_list_is_empty(&slabs->spare_)) {
        struct peri_slab *slab = PERI_CONTAINER(slabs->spare_.next, struct peri_slab, link);
        peri_list_remove(&slab->link);
        peri_free(slab);
        slabs->count--;
    }
    slabs->spare_count_ = 0;
}

void peri_slabs_sort(struct peri_slabs *slabs, struct peri_slab *slab, bool was_full) {
    struct peri_list *open = &slabs->open_[slab->block_bytes / PERI_SLAB_STEP - 1];
    if (was_full) {
        peri_list_push(open, &slab->link);
    }
    if (slab->used > 0 || (open->next == &slab->link && open->prev == &slab->link)) {
        return; // the only one of its class stays, or a block taken and given would make it each time
    }
    peri_list_remove(&slab->link);
    if (slabs->spare_count_ < SPARE_MAX) {
        peri_list_push(&slabs->spare_, &slab->link);
        slabs->spare_count_++;
    } else {
        peri_free(slab);
        slabs->count--;
    }
}

void *peri_slabs_alloc(struct peri_slabs *slabs, size_t size) {
    if (!PERI_HAS_SLABS || size > PERI_SLAB_BLOCK_MAX) {
        return peri_alloc(size);
    }
    void *block = peri_slabs_take(slabs, size);
    if (!block && peri_slabs_grow(slabs, size) == PERI_OK) {
        block = peri_slabs_take(slabs, size);
    }
    return block;
}

void peri_slabs_free(struct peri_slabs *slabs, void *block, size_t size) {
    if (!PERI_HAS_SLABS || size > PERI_SLAB_BLOCK_MAX) {
        peri_free(block);
    } else if (block) {
        peri_slabs_give(slabs, block);
    }
}
