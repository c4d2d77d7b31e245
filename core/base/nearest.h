// The name that somebody probably meant.
#pragma once

#include "base/status.h"

/// How many letters must be added, removed or changed to turn one into the other, case aside.
/// @return SIZE_MAX when a text is over 64 bytes
size_t peri_distance(struct peri_str a, struct peri_str b);
