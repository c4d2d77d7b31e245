// Responses as text, fed in all ways.
#pragma once

#include "proto/response_parser.h"
#include "support/feeding.h"

static const struct peri_response_limits RESPONSE_LIMITS = {
    .head_bytes = 1024, .head_fields = 10, .body_bytes = 64};

static inline void write_response(struct peri_buffer *seen, const struct peri_response *response) {
    assert_int_equal(peri_buffer_printf(seen, "%d.%d %d %.*s", response->http_major,
                                        response->http_minor, response->status,
                                        (int)response->reason.len, response->reason.ptr),
                     PERI_OK);
    for (size_t i = 0; i < response->field_count; i++) {
        const struct peri_field *field = &response->fields[i];
        assert_int_equal(peri_buffer_printf(seen, "|%.*s=%.*s", (int)field->name.len,
                                            field->name.ptr, (int)field->value.len,
                                            field->value.ptr),
                         PERI_OK);
    }
    assert_int_equal(peri_buffer_printf(seen, "|%.*s%s\n", (int)response->body.len,
                                        response->body.len ? response->body.ptr : "",
                                        response->body_is_cut ? "..." : ""),
                     PERI_OK);
}

/// A feeding_run; arg is the struct peri_response_limits. What is left behind the response is
/// written after it; a response that is not whole by then ends with the connection.
static inline void run_response(const struct feeding *feeding, void *arg,
                                struct peri_buffer *seen) {
    struct peri_response_parser *parser = peri_response_parser_new(arg);
    assert_non_null(parser);
    const struct peri_response *response = NULL;
    int rc = PERI_AGAIN;
    size_t at = 0;
    size_t n = 0;
    for (uint8_t *piece; (piece = feeding_next(feeding, &at, &n));) {
        struct peri_span in = {piece, n};
        int before = rc;
        rc = peri_response_parser_feed(parser, &in, &response);
        assert_true(before == PERI_AGAIN || rc == before); // stays as it is
        if (rc == PERI_OK && before != PERI_OK) {
            write_response(seen, response);
        }
        if (rc == PERI_OK && !response->body_is_cut) { // else nobody knows where the next begins
            assert_int_equal(peri_buffer_append(seen, in.ptr, in.len), PERI_OK);
        }
        assert_true(rc != PERI_AGAIN || in.len == 0);
        free(piece);
    }
    if (rc == PERI_AGAIN) {
        rc = peri_response_parser_end(parser, &response);
        assert_int_not_equal(rc, PERI_AGAIN);
        assert_int_equal(peri_buffer_printf(seen, "end: "), PERI_OK);
        if (rc == PERI_OK) {
            write_response(seen, response);
        }
    }
    if (rc == PERI_E_INVALID) {
        assert_int_equal(peri_buffer_printf(seen, "%s\n", peri_response_parser_why(parser)),
                         PERI_OK);
    }
    peri_response_parser_free(parser);
}
