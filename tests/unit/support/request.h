// Requests from text, and as text.
#pragma once

#include "proto/request.h"
#include "support/feeding.h"

static const struct peri_request_limits LIMITS = {
    .head_bytes = 8192, .head_fields = 100, .body_bytes = 1 << 20};

static inline void write_str(struct peri_buffer *seen, const char *before, struct peri_str text) {
    assert_int_equal(peri_buffer_printf(seen, "%s", before), PERI_OK);
    assert_int_equal(peri_buffer_append_str(seen, text), PERI_OK);
}

static inline void write_request(struct peri_buffer *seen, const struct peri_request *request) {
    write_str(seen, "", request->method);
    write_str(seen, " ", request->path);
    write_str(seen, request->query.len ? "?" : "", request->query);
    assert_int_equal(peri_buffer_printf(seen, " %d.%d%s", request->http_major, request->http_minor,
                                        request->keep_alive ? " keep" : ""),
                     PERI_OK);
    for (size_t i = 0; i < request->field_count; i++) {
        write_str(seen, "|", request->fields[i].name);
        write_str(seen, "=", request->fields[i].value);
    }
    if (request->body.len <= 64) {
        write_str(seen, "|", request->body);
    } else {
        assert_int_equal(peri_buffer_printf(seen, "|%zu bytes", request->body.len), PERI_OK);
    }
    write_str(seen, "\n", (struct peri_str){0});
}

/// A feeding_run; arg is the struct peri_request_limits. What follows an upgrade request is no
/// longer parsed.
static inline void run_requests(const struct feeding *feeding, void *arg,
                                struct peri_buffer *seen) {
    struct peri_request_parser *parser = peri_request_parser_new(arg);
    assert_non_null(parser);
    int rc = PERI_AGAIN;
    bool is_http = true;
    size_t at = 0;
    size_t n = 0;
    for (uint8_t *piece; rc == PERI_AGAIN && (piece = feeding_next(feeding, &at, &n));) {
        struct peri_span in = {piece, n};
        struct peri_request *request;
        while (is_http && (rc = peri_request_parser_feed(parser, &in, &request)) == PERI_OK) {
            write_request(seen, request);
            is_http = !peri_request_lists(request, PERI_STR("upgrade"), PERI_STR("websocket"));
            peri_request_unref(request);
        }
        if (!is_http) {
            write_str(seen, "", peri_str((const char *)in.ptr, in.len));
            rc = PERI_AGAIN;
        } else if (rc == PERI_AGAIN) {
            assert_int_equal(in.len, 0);
        } else {
            assert_int_equal(peri_request_parser_feed(parser, &in, &request), rc);
        }
        free(piece);
    }
    const char *why = NULL;
    if (rc == PERI_E_INVALID) {
        int status = peri_request_parser_status(parser, &why);
        assert_int_equal(peri_buffer_printf(seen, "%d %s\n", status, why), PERI_OK);
    }
    peri_request_parser_free(parser);
}

/// Feeds the text in all ways.
static inline void expect_requests(struct peri_request_limits limits, struct peri_str text,
                                   const char *expected) {
    feeding_check_all(text.ptr, text.len, run_requests, &limits, expected);
}

/// Reads one request.
/// @return shared(ref)
static inline struct peri_request *read_request(const char *text) {
    struct peri_request_parser *parser = peri_request_parser_new(&LIMITS);
    assert_non_null(parser);
    struct peri_str source = peri_str_of(text);
    uint8_t *copy = malloc(source.len);
    assert_non_null(copy);
    memcpy(copy, source.ptr, source.len);
    struct peri_span in = {copy, source.len};
    struct peri_request *request = NULL;
    assert_int_equal(peri_request_parser_feed(parser, &in, &request), PERI_OK);
    assert_int_equal(in.len, 0);
    free(copy);
    peri_request_parser_free(parser);
    return request;
}
