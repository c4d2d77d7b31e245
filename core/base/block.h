// A refcounted, append-only run of bytes of fixed capacity: what outboxes share. Written bytes
// never change or move, so a reference to a range stays valid while the block grows.
#pragma once

#include "base/status.h"

/// Bytes held by a set of blocks, each counted once however many references it has.
struct peri_block_account {
    uint64_t bytes;
};

struct peri_block {
    uint32_t refs_;
    uint32_t len; ///< bytes written
    uint32_t cap;
    struct peri_block_account *account_;
    uint8_t bytes[];
};

/// @param cap      capacity in bytes, at most UINT32_MAX - sizeof(struct peri_block)
/// @param account  charged with the block's size until it is freed; outlives it; may be NULL
/// @return shared(1 ref); NULL when out of memory or cap is too large
PERI_MUST_CHECK struct peri_block *peri_block_new(size_t cap, struct peri_block_account *account);

struct peri_block *peri_block_ref(struct peri_block *block);

/// @param block NULL does nothing
void peri_block_unref(struct peri_block *block);

/// True when the caller's reference is the only one: the block may be emptied and used again.
static inline int peri_block_is_sole(const struct peri_block *block) {
    return block->refs_ == 1;
}
