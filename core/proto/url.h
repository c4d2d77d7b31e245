// Percent-decoding of paths and forms. RFC 3986 section 2.1, WHATWG URL (urlencoded)
#pragma once

#include <stdbool.h>

#include "base/buffer.h"

/// Appends one path segment, decoded.
/// @return PERI_OK; PERI_E_INVALID for a broken escape, %2F, %00 or bad UTF-8; PERI_E_MEMORY
PERI_MUST_CHECK int peri_url_decode_segment(struct peri_buffer *out, struct peri_str segment);

/// Appends one name or value of a form, decoded: "+" is a space, a broken escape stands as it
/// is, bad UTF-8 is kept.
PERI_MUST_CHECK int peri_form_decode(struct peri_buffer *out, struct peri_str text);

/// The next name=value of a query, raw: start with *cursor = 0. Empty ones are skipped.
/// @return false at the end
bool peri_form_next(struct peri_str query, size_t *cursor, struct peri_str *name,
                    struct peri_str *value);
