// JSON laid out for a reader. Nothing is decoded: the text's own tokens get other white space.
#pragma once

#include <stdbool.h>

#include "base/buffer.h"

/// True when the text is one JSON value and nested no deeper than is laid out. RFC 8259
bool peri_json_is_valid(struct peri_str text);

/// Appends a valid value: what fits is on one line, else each member on its own, two spaces deeper.
/// @param indent   spaces that lines but the first begin with
/// @param columns  that a line should fit in
PERI_MUST_CHECK int peri_json_layout(struct peri_buffer *out, struct peri_str text, size_t indent,
                                     size_t columns);
