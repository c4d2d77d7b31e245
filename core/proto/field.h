// The fields of an HTTP head, whichever side sent it. RFC 9110 section 5
#pragma once

#include <stdbool.h>

#include "base/status.h"

struct peri_field {
    struct peri_str name;  ///< in lower case, where it was read
    struct peri_str value; ///< without the white space around it
};

/// The value of the first field of that name (lower case). @return false when absent
bool peri_fields_get(const struct peri_field *fields, size_t n, struct peri_str name,
                     struct peri_str *value);

/// How many fields have that name (lower case).
size_t peri_fields_count(const struct peri_field *fields, size_t n, struct peri_str name);

/// True when any field of that name lists the token (case-insensitive). RFC 9110 section 5.6.1
bool peri_fields_list(const struct peri_field *fields, size_t n, struct peri_str name,
                      struct peri_str token);
