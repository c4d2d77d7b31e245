// Open addressing with linear probing. A taken slot becomes a tombstone unless the next one is
// empty, and a rebuild sheds the tombstones.
#include "base/map.h"

#include <assert.h>
#include <stdbool.h>

#include "base/alloc.h"

struct peri_map_slot {
    uint64_t hash;
    struct peri_str key;
    void *value; ///< NULL: empty; &deleted: a tombstone
};

enum { SMALLEST = 8 };

static char deleted;

static bool is_live(const struct peri_map_slot *slot) {
    return slot->value && slot->value != &deleted;
}

/// The cap is a power of two and a slot is always empty, so the probe ends.
static struct peri_map_slot *find(const struct peri_map *map, uint64_t hash, struct peri_str key) {
    if (map->count == 0) {
        return NULL;
    }
    size_t mask = map->cap_ - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        struct peri_map_slot *slot = &map->slots_[at];
        if (!slot->value) {
            return NULL;
        }
        if (slot->value != &deleted && slot->hash == hash && peri_str_equal(slot->key, key)) {
            return slot;
        }
    }
}

static struct peri_map_slot *find_free(struct peri_map_slot *slots, size_t cap, uint64_t hash) {
    size_t at = hash & (cap - 1);
    while (is_live(&slots[at])) {
        at = (at + 1) & (cap - 1);
    }
    return &slots[at];
}

/// Rebuilds the table for one more key, at most half full, without tombstones.
static int rebuild(struct peri_map *map) {
    size_t cap = SMALLEST;
    while (cap / 2 < map->count + 1) {
        if (cap > SIZE_MAX / 2) {
            return PERI_E_MEMORY;
        }
        cap *= 2;
    }
    struct peri_map_slot *slots = peri_calloc(cap, sizeof *slots);
    if (!slots) {
        return PERI_E_MEMORY;
    }
    for (size_t i = 0; i < map->cap_; i++) {
        if (is_live(&map->slots_[i])) {
            *find_free(slots, cap, map->slots_[i].hash) = map->slots_[i];
        }
    }
    peri_free(map->slots_);
    map->slots_ = slots;
    map->cap_ = cap;
    map->used_ = map->count;
    return PERI_OK;
}

void peri_map_deinit(struct peri_map *map) {
    peri_free(map->slots_);
    *map = (struct peri_map){0};
}

void *peri_map_get(const struct peri_map *map, struct peri_str key) {
    if (map->count == 0) {
        return NULL;
    }
    struct peri_map_slot *slot = find(map, peri_hash(key.ptr, key.len), key);
    return slot ? slot->value : NULL;
}

int peri_map_put(struct peri_map *map, struct peri_str key, void *value) {
    assert(value);
    uint64_t hash = peri_hash(key.ptr, key.len);
    struct peri_map_slot *slot = find(map, hash, key);
    if (slot) {
        slot->key = key;
        slot->value = value;
        return PERI_OK;
    }
    if (map->used_ + 1 > map->cap_ - map->cap_ / 4) {
        int rc = rebuild(map);
        if (rc != PERI_OK) {
            return rc;
        }
    }
    slot = find_free(map->slots_, map->cap_, hash);
    map->used_ += slot->value == NULL;
    map->count++;
    *slot = (struct peri_map_slot){hash, key, value};
    return PERI_OK;
}

void *peri_map_take(struct peri_map *map, struct peri_str key) {
    if (map->count == 0) {
        return NULL;
    }
    struct peri_map_slot *slot = find(map, peri_hash(key.ptr, key.len), key);
    if (!slot) {
        return NULL;
    }
    void *value = slot->value;
    size_t mask = map->cap_ - 1;
    size_t at = (size_t)(slot - map->slots_); // within the table: not negative
    *slot = (struct peri_map_slot){.value = &deleted};
    map->count--;
    if (!map->slots_[(at + 1) & mask].value) {
        // No probe runs past here, so this tombstone and those right before it say nothing.
        while (map->slots_[at].value == &deleted) {
            map->slots_[at].value = NULL;
            map->used_--;
            at = (at - 1) & mask;
        }
    }
    return value;
}

void *peri_map_next(const struct peri_map *map, size_t *cursor) {
    while (*cursor < map->cap_) {
        const struct peri_map_slot *slot = &map->slots_[(*cursor)++];
        if (is_live(slot)) {
            return slot->value;
        }
    }
    return NULL;
}
