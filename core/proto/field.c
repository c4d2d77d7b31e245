// Looking for a field.
#include "proto/field.h"

#include "proto/text.h"

bool peri_fields_get(const struct peri_field *fields, size_t n, struct peri_str name,
                     struct peri_str *value) {
    for (size_t i = 0; i < n; i++) {
        if (peri_str_equal(fields[i].name, name)) {
            *value = fields[i].value;
            return true;
        }
    }
    return false;
}

size_t peri_fields_count(const struct peri_field *fields, size_t n, struct peri_str name) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += (size_t)peri_str_equal(fields[i].name, name); // 0 or 1
    }
    return count;
}

bool peri_fields_list(const struct peri_field *fields, size_t n, struct peri_str name,
                      struct peri_str token) {
    for (size_t i = 0; i < n; i++) {
        struct peri_str rest = fields[i].value;
        struct peri_str item;
        if (!peri_str_equal(fields[i].name, name)) {
            continue;
        }
        while (peri_text_next_item(&rest, &item)) {
            if (peri_text_equal(item, token)) {
                return true;
            }
        }
    }
    return false;
}
