// JSON as both sides of the control socket write it.
#pragma once

#include <stdbool.h>
#include <yyjson.h>

#include "base/buffer.h"
#include "hub/policy.h"

/// Our own heap.
extern const yyjson_alc peri_admin_heap;

/// By enum peri_reload.
extern const char *const peri_admin_outcomes[PERI_RELOAD_GONE + 1];

/// @return owned; NULL when out of memory. Its root is an empty object.
PERI_MUST_CHECK yyjson_mut_doc *peri_admin_object(void);

/// Adds a text, copied; what is no UTF-8 in it becomes U+FFFD. @return false without memory
PERI_MUST_CHECK bool peri_admin_add_text(yyjson_mut_doc *doc, yyjson_mut_val *object,
                                         const char *key, struct peri_str text);

/// Appends the document as a line, and frees it.
/// @param complete false: memory ran out while it was made
/// @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_admin_finish(yyjson_mut_doc *doc, bool complete, struct peri_buffer *out);

/// @return owned; NULL for what is no JSON, or no object
PERI_MUST_CHECK yyjson_doc *peri_admin_parse(struct peri_str line);

static inline struct peri_str peri_admin_text_of(yyjson_val *value) {
    const char *text = yyjson_get_str(value);
    return peri_str(text, text ? yyjson_get_len(value) : 0);
}
