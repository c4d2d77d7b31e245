// The name that somebody probably meant.
#pragma once

#include "base/status.h"

/// How many letters must be added, removed or changed to turn one into the other, case aside.
/// @return SIZE_MAX when a text is over 64 bytes
size_t peri_distance(struct peri_str a, struct peri_str b);

/// The candidate most like a name, found by trying one after the other.
struct peri_nearest {
    const char *found; ///< borrowed from peri_nearest_try; NULL: none is like it
    struct peri_str name_;
    size_t least_;
};

/// @param name borrowed
struct peri_nearest peri_nearest(struct peri_str name);
void peri_nearest_try(struct peri_nearest *nearest, const char *candidate);
