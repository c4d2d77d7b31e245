// Refcounted blocks of bytes.
#include "base/block.h"

#include <assert.h>

#include "base/alloc.h"

struct peri_block *peri_block_new(size_t cap, struct peri_block_account *account) {
    if (cap > UINT32_MAX - sizeof(struct peri_block)) {
        return NULL;
    }
    struct peri_block *block = peri_alloc(sizeof *block + cap);
    if (!block) {
        return NULL;
    }
    block->refs_ = 1;
    block->len = 0;
    block->cap = (uint32_t)cap; // checked above
    block->account_ = account;
    if (account) {
        account->bytes += sizeof *block + cap;
    }
    return block;
}

struct peri_block *peri_block_ref(struct peri_block *block) {
    assert(block->refs_ > 0 && block->refs_ < UINT32_MAX);
    block->refs_++;
    return block;
}

void peri_block_unref(struct peri_block *block) {
    if (!block) {
        return;
    }
    assert(block->refs_ > 0);
    if (--block->refs_ > 0) {
        return;
    }
    if (block->account_) {
        block->account_->bytes -= sizeof *block + block->cap;
    }
    peri_free(block);
}
