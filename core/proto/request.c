// A request once it is read: its life and its fields.
#include "proto/request.h"

#include <assert.h>

#include "base/alloc.h"

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
    return peri_fields_get(request->fields, request->field_count, name, value);
}

size_t peri_request_count(const struct peri_request *request, struct peri_str name) {
    return peri_fields_count(request->fields, request->field_count, name);
}

bool peri_request_lists(const struct peri_request *request, struct peri_str name,
                        struct peri_str token) {
    return peri_fields_list(request->fields, request->field_count, name, token);
}
