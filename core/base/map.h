// A hash map from byte strings to pointers. Seeded, so that peers who choose keys cannot choose
// collisions (SipHash-1-3, one random key a process).
#pragma once

#include "base/hash.h"
#include "base/status.h"

struct peri_map_slot;

/// Zero-initialised is empty. Keys are borrowed: they belong to the values and must stay where
/// they are, unchanged, while in the map.
struct peri_map {
    struct peri_map_slot *slots_;
    size_t cap_;
    size_t used_; ///< live and deleted
    size_t count;
};

/// Frees the table; keys and values are the caller's.
void peri_map_deinit(struct peri_map *map);

/// @return borrowed; NULL when absent
void *peri_map_get(const struct peri_map *map, struct peri_str key);

/// Adds or replaces (key and value).
/// @param value not NULL
/// @return PERI_OK or PERI_E_MEMORY (the map is unchanged)
PERI_MUST_CHECK int peri_map_put(struct peri_map *map, struct peri_str key, void *value);

/// @return the value that was there, the caller's now; NULL when absent
void *peri_map_take(struct peri_map *map, struct peri_str key);

/// Walks the map in no order: start with *cursor = 0; NULL at the end. The entry just returned
/// may be taken during the walk; nothing else may change.
void *peri_map_next(const struct peri_map *map, size_t *cursor);
