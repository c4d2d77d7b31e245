// HTTP/1.1 response heads. RFC 9112
#pragma once

#include <stdbool.h>

#include "base/buffer.h"

/// "Not Found" for 404; "" for a code without a name
const char *peri_status_text(int status);

/// Begins a head: status line and Date.
PERI_MUST_CHECK int peri_response_begin(struct peri_buffer *out, int status);

/// @return PERI_E_INVALID when it is none: see peri_field_is_valid
PERI_MUST_CHECK int peri_response_field(struct peri_buffer *out, struct peri_str name,
                                        struct peri_str value);

/// The empty line.
PERI_MUST_CHECK int peri_response_end(struct peri_buffer *out);

/// True when the name is a token and the value has no control character but the tab: a peer may refuse
/// others, those that end a line aside. RFC 9110 section 5.5
bool peri_field_is_valid(struct peri_str name, struct peri_str value);
