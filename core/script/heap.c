// Where a VM's memory comes from, what its cap refuses, and when its garbage is collected.
#include "script/heap.h"

#include <string.h>

#include "base/alloc.h"

/// What plain memory may take beyond the limit. lauxlib's buffers ask for it without collecting
/// garbage first; the next object, which comes soon, does collect.
enum { PLAIN_SLACK = 256 * 1024 };

void peri_heap_init(struct peri_vm *vm, bool has_slabs) {
    peri_slabs_init(&vm->slabs_);
    vm->small_max_ = has_slabs ? PERI_SLAB_BLOCK_MAX : 0;
}

void peri_heap_deinit(struct peri_vm *vm) {
    peri_slabs_deinit(&vm->slabs_);
}

// The cap ---------------------------------------------------------------------------------------

static size_t add(size_t a, size_t b) {
    return a < SIZE_MAX - b ? a + b : SIZE_MAX;
}

static bool fits(const struct peri_vm *vm, size_t more, size_t slack) {
    size_t limit = add(vm->limit_, slack);
    return vm->used_ < limit && more <= limit - vm->used_;
}

/// A script that keeps a few objects in each of many slabs holds more than it uses. Half as much again
/// as it may use is the end of that. @return false: more bytes of the heap would be over it
static bool holds_little(struct peri_vm *vm, size_t more) {
    size_t most = add(vm->limit_, vm->limit_ / 2 + PLAIN_SLACK);
    size_t held = peri_slabs_bytes(&vm->slabs_) + vm->large_;
    if (held < most && more <= most - held) {
        return true;
    }
    peri_slabs_trim(&vm->slabs_);
    held = peri_slabs_bytes(&vm->slabs_) + vm->large_;
    return held < most && more <= most - held;
}

int peri_vm_charge(struct peri_vm *vm, int64_t bytes) {
    if (bytes <= 0) {
        vm->used_ -= (size_t)-bytes;
        return PERI_OK;
    }
    if ((size_t)bytes > vm->cap_ || vm->used_ > vm->cap_ - (size_t)bytes) {
        lua_gc(vm->L, LUA_GCCOLLECT);
        if ((size_t)bytes > vm->cap_ || vm->used_ > vm->cap_ - (size_t)bytes) {
            vm->hit_cap = true;
            return PERI_E_MEMORY;
        }
    }
    vm->used_ += (size_t)bytes;
    return PERI_OK;
}

// When garbage is collected ---------------------------------------------------------------------

// Lua's own pace is a cycle each time the heap has doubled. In a small script that is all the time,
// and in one that keeps more than half of what it may, never: the cap comes first, and with it a whole
// collection at once. So the collector is told how much more there may be until it begins and how hard
// it works then, each time the heap has become another.

enum {
    LEAST_GARBAGE = 1024 * 1024, ///< bytes between two cycles, where the cap is far
    PAUSE_MAX = 1000,            ///< percent; what Lua takes
    EFFORT_MIN = 16,             ///< objects and slots that are looked at, for 16 bytes of garbage
    EFFORT_MAX = 512,
    LEAST_CHANGE = 16 * 1024, ///< bytes, after which the pace is set anew
    STEP_LOG2 = 12,           ///< bytes of garbage from step to step, at the least effort
};

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/// Until three quarters of the room before the cap are used, garbage waits at most. A cycle looks at
/// an object or a slot for each 16 bytes of the heap, about: it has to end within an eighth of that room.
__attribute__((cold, noinline)) static void set_pace(struct peri_vm *vm) {
    size_t used = vm->used_, room = vm->cap_ > used ? vm->cap_ - used : 0;
    size_t garbage = smaller(larger(used, LEAST_GARBAGE), room / 4 * 3);
    size_t pause = smaller(100 + garbage / (used / 100 + 1), PAUSE_MAX);
    size_t effort = smaller(larger(8 * (used / (room + 1)), EFFORT_MIN), EFFORT_MAX);
    int step = STEP_LOG2;
    for (size_t e = EFFORT_MIN; e < effort; e *= 2) {
        step--;
    }
    vm->pace_low_ = used - smaller(used / 4, larger(room / 8, LEAST_CHANGE));
    vm->pace_high_ = add(used, larger(smaller(used / 2, room / 8), LEAST_CHANGE));
    if (vm->L) {
        (void)lua_gc(vm->L, LUA_GCINC, (int)pause, (int)effort, step); // sets numbers, no more
    }
}

void peri_heap_leave(struct peri_vm *vm) {
    vm->pace_low_ = 0;
    vm->pace_high_ = SIZE_MAX;
}

// The allocator ---------------------------------------------------------------------------------

static bool is_small(const struct peri_vm *vm, size_t size) {
    return size <= vm->small_max_;
}

/// No slab of the class has a free block.
__attribute__((cold, noinline)) static void *take_of_new_slab(struct peri_vm *vm, size_t size) {
    if (!holds_little(vm, vm->slabs_.spare_count_ > 0 ? 0 : PERI_SLAB_BYTES)) {
        vm->hit_cap = true;
        return NULL;
    }
    return peri_slabs_grow(&vm->slabs_, size) == PERI_OK ? peri_slabs_take(&vm->slabs_, size)
                                                         : NULL;
}

static void *take(struct peri_vm *vm, size_t size) {
    if (is_small(vm, size)) {
        void *block = peri_slabs_take(&vm->slabs_, size);
        return block ? block : take_of_new_slab(vm, size);
    }
    if (!holds_little(vm, size)) {
        vm->hit_cap = true;
        return NULL;
    }
    void *block = peri_alloc(size);
    vm->large_ += block ? size : 0;
    return block;
}

static void give(struct peri_vm *vm, void *block, size_t size) {
    if (is_small(vm, size)) {
        peri_slabs_give(&vm->slabs_, block);
    } else {
        peri_free(block);
        vm->large_ -= size;
    }
}

/// @return NULL: the block stands. Lua 5.4 lets a block refuse to shrink, too.
static void *change(struct peri_vm *vm, void *block, size_t old_size, size_t new_size) {
    bool was_small = is_small(vm, old_size), becomes_small = is_small(vm, new_size);
    if (was_small && becomes_small && peri_slabs_class(old_size) == peri_slabs_class(new_size)) {
        return block;
    }
    if (was_small || becomes_small) {
        void *moved = take(vm, new_size);
        if (moved) {
            memcpy(moved, block, old_size < new_size ? old_size : new_size);
            give(vm, block, old_size);
        }
        return moved;
    }
    if (new_size > old_size && !holds_little(vm, new_size - old_size)) {
        vm->hit_cap = true;
        return NULL;
    }
    void *moved = peri_realloc(block, new_size);
    if (!moved) {
        if (new_size > old_size) {
            return NULL;
        }
        moved = block;
    }
    vm->large_ += new_size - old_size;
    return moved;
}

void *peri_heap_allocate(void *ud, void *ptr, size_t old_size, size_t new_size) {
    struct peri_vm *vm = ud;
    if (new_size == 0) {
        if (ptr) {
            give(vm, ptr, old_size);
            vm->used_ -= old_size;
            if (__builtin_expect(vm->used_ < vm->pace_low_, 0)) {
                set_pace(vm);
            }
        }
        return NULL;
    }
    // Without a block, old_size is what kind of object is made, 0 for plain memory.
    size_t slack = ptr || old_size == 0 ? PLAIN_SLACK : 0;
    if (!ptr) {
        old_size = 0;
    }
    if (new_size > old_size && !fits(vm, new_size - old_size, slack)) {
        vm->hit_cap = true;
        return NULL;
    }
    void *block = ptr ? change(vm, ptr, old_size, new_size) : take(vm, new_size);
    if (block) {
        vm->used_ += new_size - old_size;
        if (__builtin_expect(vm->used_ > vm->pace_high_, 0)) {
            set_pace(vm);
        }
    }
    return block;
}
