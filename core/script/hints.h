// What to do about the mistakes that everybody makes.
#pragma once

#include <stdbool.h>

#include "base/status.h"

struct peri_vm;

enum { PERI_HINT_MAX = 256 };

/// Whether the line may matter for this message: to find it costs time in a long file.
bool peri_hint_wants_line(struct peri_str message);

/// Writes a hint for an error.
/// @param message without its place
/// @param line    of the source that it is about; may be empty
/// @return its bytes; 0: there is none. Never raises, and takes no memory that it needs.
size_t peri_hint_write(const struct peri_vm *vm, struct peri_str message, struct peri_str line,
                       char out[PERI_HINT_MAX]);
