// Small blocks for one owner (a VM, a hub, a server), by size class, out of slabs. Taking and giving
// back cost a few instructions, touch nothing but the block and its slab, and depend on no thread. A
// slab that is empty serves any class, and goes back to the heap when there are enough of those.
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/status.h"

enum {
    PERI_SLAB_BYTES = 4096,    ///< of a slab and of its alignment: its blocks find it by a mask
    PERI_SLAB_STEP = 16,       ///< from class to class
    PERI_SLAB_BLOCK_MAX = 512, ///< bytes; what is larger is the heap's
    PERI_SLAB_CLASSES = PERI_SLAB_BLOCK_MAX / PERI_SLAB_STEP,
};

/// Builds whose heap is watched for errors have none: the watcher sees each block.
#ifdef PERIGEE_WATCHED_HEAP
enum { PERI_HAS_SLABS = false };
#else
enum { PERI_HAS_SLABS = true };
#endif

/// The beginning of each slab; its blocks follow.
struct peri_slab {
    struct peri_list link; ///< among those of its class that have a free block, or the spare ones
    void *free;            ///< the first free block, which begins with the address of the next
    uint32_t used;         ///< blocks
    uint32_t block_bytes;
};

struct peri_slabs {
    struct peri_list open_[PERI_SLAB_CLASSES]; ///< with a free block each
    struct peri_list spare_;                   ///< empty, of no class
    size_t spare_count_;
    size_t count; ///< all, in use and spare
};

void peri_slabs_init(struct peri_slabs *slabs);

/// All blocks have been given back.
void peri_slabs_deinit(struct peri_slabs *slabs);

/// Makes a slab for blocks of a size, out of a spare one if there is one.
/// @return PERI_E_MEMORY: the heap has none
PERI_MUST_CHECK int peri_slabs_grow(struct peri_slabs *slabs, size_t size);

/// Gives the spare slabs back to the heap.
void peri_slabs_trim(struct peri_slabs *slabs);

/// Bytes that all slabs take of the heap.
static inline size_t peri_slabs_bytes(const struct peri_slabs *slabs) {
    return slabs->count * PERI_SLAB_BYTES;
}

/// A slab is not full any more, or it is empty: what peri_slabs_give leaves to be done.
void peri_slabs_sort(struct peri_slabs *slabs, struct peri_slab *slab, bool was_full);

static inline size_t peri_slabs_class(size_t size) {
    assert(size > 0 && size <= PERI_SLAB_BLOCK_MAX);
    return (size - 1) / PERI_SLAB_STEP;
}

/// @param size 1 to PERI_SLAB_BLOCK_MAX
/// @return a block aligned to 16; NULL: none is left of its class, see peri_slabs_grow
static inline void *peri_slabs_take(struct peri_slabs *slabs, size_t size) {
    struct peri_list *open = &slabs->open_[peri_slabs_class(size)];
    if (__builtin_expect(peri_list_is_empty(open), 0)) {
        return NULL;
    }
    struct peri_slab *slab = PERI_CONTAINER(open->next, struct peri_slab, link);
    void *block = slab->free;
    slab->free = *(void **)block;
    slab->used++;
    if (__builtin_expect(!slab->free, 0)) {
        peri_list_remove(&slab->link);
    }
    return block;
}

/// @param block from peri_slabs_take of the same slabs
static inline void peri_slabs_give(struct peri_slabs *slabs, void *block) {
    struct peri_slab *slab =
        (struct peri_slab *)((uintptr_t)block & ~(uintptr_t)(PERI_SLAB_BYTES - 1));
    bool was_full = slab->free == NULL;
    assert(slab->used > 0 && ((uintptr_t)block - sizeof *slab) % PERI_SLAB_STEP == 0);
    *(void **)block = slab->free;
    slab->free = block;
    slab->used--;
    if (__builtin_expect(was_full || slab->used == 0, 0)) {
        peri_slabs_sort(slabs, slab, was_full);
    }
}

/// As peri_alloc, of what has slabs. @param size any, but 0
PERI_MUST_CHECK void *peri_slabs_alloc(struct peri_slabs *slabs, size_t size);

/// @param block from peri_slabs_alloc of the same slabs; NULL does nothing
/// @param size  as it was asked for
void peri_slabs_free(struct peri_slabs *slabs, void *block, size_t size);
