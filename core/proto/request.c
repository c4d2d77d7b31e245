// A request once it is read: its life and its fields.
#include "proto/request.h"

#include <assert.h>

#include "base/alloc.h"
#include "proto/text.h"

struct peri_request *peri_request_ref(struct peri_request *request) {
    assert(request->refs_ > 0 && request->refs_ < UINT32_MAX);
    request->refs_++;
    return request;
}

void peri_request_unref(struct peri_request *request) {
    if (!request) {
        return;
    }
    assert(request->refs_ > 0);
    if (--request->refs_ > 0) {
        return;
    }
    peri_buffer_deinit(&request->head_);
    peri_buffer_deinit(&request->body_);
    peri_free(request->fields_);
    peri_free(request);
}

bool peri_request_field(const struct peri_request *request, struct peri_str name,
                        struct peri_str *value) {
    for (size_t i = 0; i < request->field_count; i++) {
        if (peri_str_equal(request->fields[i].name, name)) {
            *value = request->fields[i].value;
            return true;
        }
    }
    return false;
}

size_t peri_request_count(const struct peri_request *request, struct peri_str name) {
    size_t count = 0;
    for (size_t i = 0; i < request->field_count; i++) {
        count += peri_str_equal(request->fields[i].name, name) ? 1 : 0;
    }
    return count;
}

bool peri_request_lists(const struct peri_request *request, struct peri_str name,
                        struct peri_str token) {
    for (size_t i = 0; i < request->field_count; i++) {
        if (!peri_str_equal(request->fields[i].name, name)) {
            continue;
        }
        struct peri_str rest = request->fields[i].value;
        struct peri_str item;
        while (peri_text_next_item(&rest, &item)) {
            if (peri_text_equal(item, token)) {
                return true;
            }
        }
    }
    return false;
}
