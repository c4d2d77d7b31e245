// Reads requests with llhttp, which calls back with where their pieces are. The head is kept as it
// came and the pieces are noted as offsets in it, since the buffer moves while it grows. llhttp is
// paused at the end of the head and of the request, which is how their ends are known.
#include "proto/request.h"

#include <assert.h>
#include <llhttp.h>

#include "base/alloc.h"
#include "base/list.h"
#include "proto/text.h"

/// Bytes of the head.
struct range {
    size_t at, n;
};

struct raw_field {
    struct range name, value;
};

struct peri_request_parser {
    struct peri_request_limits limits;
    enum peri_request_stage stage;
    int error;  ///< PERI_OK, PERI_E_INVALID or PERI_E_MEMORY
    int status; ///< of PERI_E_INVALID
    const char *why;
    bool head_is_whole, is_whole, expects_continue, in_field;
    uint32_t field_count; ///< trailers included
    uint32_t body_bytes;  ///< of the present request, at most
    size_t gap;           ///< bytes of a body since the last that was content
    const char *gap_from; ///< where in the input the gap goes on
    const char *from;     ///< where in the input the part of the head begins that is not kept yet
    struct range target, version;
    struct peri_buffer raw_fields; ///< of struct raw_field
    struct peri_request *request;  ///< being read; NULL while idle
    llhttp_t http;
};

static struct peri_request_parser *parser_of(llhttp_t *http) {
    return PERI_CONTAINER(http, struct peri_request_parser, http);
}

/// Notes the first error. @return what makes llhttp stop
static int refuse(struct peri_request_parser *parser, int status, const char *why) {
    if (parser->error == PERI_OK) {
        parser->error = PERI_E_INVALID;
        parser->status = status;
        parser->why = why;
    }
    return HPE_USER;
}

static int refuse_memory(struct peri_request_parser *parser) {
    if (parser->error == PERI_OK) {
        parser->error = PERI_E_MEMORY;
    }
    return HPE_USER;
}

// The head, piece by piece

/// Adds a piece that llhttp found to what it found of the same before.
static int extend(struct peri_request_parser *parser, struct range *range, const char *at,
                  size_t n) {
    size_t offset = parser->request->head_.len + (size_t)(at - parser->from); // at is not before
    if (range->n == 0) {
        range->at = offset;
    }
    if (range->at + range->n != offset) {
        return refuse(parser, 400, "malformed request"); // folded: not one piece
    }
    range->n += n;
    return 0;
}

static struct raw_field *last_field(struct peri_request_parser *parser) {
    size_t count = parser->raw_fields.len / sizeof(struct raw_field);
    assert(count > 0);
    // The buffer comes from malloc and holds nothing else: aligned.
    return (struct raw_field *)(void *)parser->raw_fields.ptr + (count - 1);
}

static int begin_field(struct peri_request_parser *parser) {
    parser->in_field = true;
    if (parser->stage == PERI_REQUEST_BODY) {
        return 0; // a trailer: counted, not kept
    }
    struct raw_field field = {0};
    return peri_buffer_append(&parser->raw_fields, &field, sizeof field) == PERI_OK
               ? 0
               : refuse_memory(parser);
}

static int on_url(llhttp_t *http, const char *at, size_t n) {
    struct peri_request_parser *parser = parser_of(http);
    return extend(parser, &parser->target, at, n);
}

static int on_version(llhttp_t *http, const char *at, size_t n) {
    struct peri_request_parser *parser = parser_of(http);
    return extend(parser, &parser->version, at, n);
}

static int on_version_complete(llhttp_t *http) {
    return llhttp_get_http_major(http) == 1
               ? 0
               : refuse(parser_of(http), 505, "HTTP/1.1 is spoken here");
}

static int on_name(llhttp_t *http, const char *at, size_t n) {
    struct peri_request_parser *parser = parser_of(http);
    int rc = parser->in_field ? 0 : begin_field(parser);
    if (rc != 0 || parser->stage == PERI_REQUEST_BODY) {
        return rc;
    }
    return extend(parser, &last_field(parser)->name, at, n);
}

/// Counted here, not at the name's first piece: llhttp does not give a piece with a fault in it, so the
/// same head would be refused for this or for that, as it happened to be cut.
static int on_name_complete(llhttp_t *http) {
    struct peri_request_parser *parser = parser_of(http);
    if (parser->field_count >= parser->limits.head_fields) {
        return refuse(parser, 431, "too many fields (head_fields)");
    }
    parser->field_count++;
    return 0;
}

static int on_value(llhttp_t *http, const char *at, size_t n) {
    struct peri_request_parser *parser = parser_of(http);
    if (parser->stage == PERI_REQUEST_BODY) {
        return 0;
    }
    return extend(parser, &last_field(parser)->value, at, n);
}

static int on_value_complete(llhttp_t *http) {
    parser_of(http)->in_field = false;
    return 0;
}

static int on_headers_complete(llhttp_t *http) {
    parser_of(http)->head_is_whole = true;
    return HPE_PAUSED;
}

// The head, whole

static struct peri_str text_of(const struct peri_request *request, struct range range) {
    return peri_str((const char *)request->head_.ptr + range.at, range.n);
}

/// One space between method, target and version; and the protocol is HTTP, for llhttp knows others
/// too. RFC 9112 section 3
static int check_request_line(struct peri_request_parser *parser) {
    static const struct peri_str between = {" HTTP/", 6};
    struct peri_request *request = parser->request;
    size_t method_bytes = strlen(llhttp_method_name((llhttp_method_t)parser->http.method));
    size_t target_end = parser->target.at + parser->target.n;
    request->method = peri_str((const char *)request->head_.ptr, method_bytes);
    if (parser->target.n == 0 || parser->target.at != method_bytes + 1 || parser->version.n == 0 ||
        parser->version.at != target_end + between.len ||
        memcmp(request->head_.ptr + target_end, between.ptr, between.len) != 0) {
        return refuse(parser, 400, "bad request line");
    }
    request->target = text_of(request, parser->target);
    request->http_major = llhttp_get_http_major(&parser->http);
    request->http_minor = llhttp_get_http_minor(&parser->http);
    return parser->http.method == HTTP_CONNECT ? refuse(parser, 501, "CONNECT is not served") : 0;
}

static int make_fields(struct peri_request_parser *parser) {
    struct peri_request *request = parser->request;
    size_t count = parser->raw_fields.len / sizeof(struct raw_field);
    struct peri_field *fields = peri_calloc(count, sizeof *fields);
    if (!fields) {
        return refuse_memory(parser);
    }
    for (size_t i = 0; i < count; i++) {
        struct raw_field raw;
        memcpy(&raw, parser->raw_fields.ptr + i * sizeof raw, sizeof raw);
        char *name = (char *)request->head_.ptr + raw.name.at;
        for (size_t k = 0; k < raw.name.n; k++) {
            name[k] = peri_text_lower(name[k]);
        }
        fields[i].name = text_of(request, raw.name);
        fields[i].value = peri_text_trim(text_of(request, raw.value));
    }
    request->fields_ = fields;
    request->fields = fields;
    request->field_count = count;
    peri_buffer_clear(&parser->raw_fields, 0);
    return 0;
}

/// Cuts the origin off an absolute-form target. RFC 9112 section 3.2.2
static bool skip_origin(struct peri_str *target) {
    static const struct peri_str schemes[] = {
        {"http://", 7}, {"https://", 8}, {"ws://", 5}, {"wss://", 6}};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t n = schemes[i].len;
        if (target->len > n && peri_text_equal(peri_str(target->ptr, n), schemes[i])) {
            size_t at = n;
            while (at < target->len && target->ptr[at] != '/' && target->ptr[at] != '?') {
                at++;
            }
            *target = peri_str(target->ptr + at, target->len - at);
            return at > n;
        }
    }
    return false;
}

/// RFC 9112 section 3.2
static int split_target(struct peri_request_parser *parser) {
    struct peri_request *request = parser->request;
    struct peri_str rest = request->target;
    if (memchr(rest.ptr, '#', rest.len)) {
        return refuse(parser, 400, "fragment in the target");
    }
    if (peri_str_equal(rest, PERI_STR("*"))) {
        request->path = rest;
        return peri_str_equal(request->method, PERI_STR("OPTIONS"))
                   ? 0
                   : refuse(parser, 400, "target * is for OPTIONS");
    }
    if (rest.ptr[0] != '/' && !skip_origin(&rest)) {
        return refuse(parser, 400, "bad target");
    }
    const char *mark = rest.len ? memchr(rest.ptr, '?', rest.len) : NULL;
    size_t path_bytes = mark ? (size_t)(mark - rest.ptr) : rest.len; // within the target
    request->path = path_bytes ? peri_str(rest.ptr, path_bytes) : PERI_STR("/");
    if (mark) {
        request->query = peri_str(mark + 1, rest.len - path_bytes - 1);
    }
    return 0;
}

/// One Host with HTTP/1.1, and at most one ever. RFC 9112 section 3.2
static int check_host(struct peri_request_parser *parser) {
    struct peri_request *request = parser->request;
    struct peri_str host = {0};
    size_t count = peri_request_count(request, PERI_STR("host"));
    if (count > 1 || (count == 0 && request->http_minor > 0)) {
        return refuse(parser, 400, count ? "more than one Host" : "no Host");
    }
    (void)peri_request_field(request, PERI_STR("host"), &host);
    for (size_t i = 0; i < host.len; i++) {
        if (host.ptr[i] <= ' ' || strchr("/\\?#@,\"<>", host.ptr[i])) {
            return refuse(parser, 400, "bad Host"); // bytes from 0x80 up are negative
        }
    }
    return 0;
}

/// Only chunked, once, frames a body beside Content-Length. RFC 9112 section 6.1
static int check_transfer_encoding(struct peri_request_parser *parser) {
    static const struct peri_str name = {"transfer-encoding", 17};
    const struct peri_request *request = parser->request;
    size_t count = peri_request_count(request, name);
    if (count == 0) {
        return 0;
    }
    struct peri_str rest = {0};
    struct peri_str coding = {0};
    (void)peri_request_field(request, name, &rest);
    if (count > 1 || request->http_minor == 0 ||
        peri_request_count(request, PERI_STR("content-length")) > 0 ||
        !peri_text_next_item(&rest, &coding)) {
        return refuse(parser, 400, "ambiguous body length");
    }
    bool is_chunked = peri_text_equal(coding, PERI_STR("chunked"));
    bool has_more = peri_text_next_item(&rest, &coding);
    if (!is_chunked) {
        return refuse(parser, 501, "unknown transfer coding");
    }
    return has_more ? refuse(parser, 400, "ambiguous body length") : 0;
}

static int check_body_length(struct peri_request_parser *parser) {
    bool declared = parser->http.flags & F_CONTENT_LENGTH;
    if (declared && parser->http.content_length > parser->body_bytes) {
        return refuse(parser, 413, "body too large (body_bytes)");
    }
    return 0;
}

/// @return 0, or not: refused
static int finish_head(struct peri_request_parser *parser) {
    static int (*const steps[])(struct peri_request_parser *) = {
        check_request_line,      make_fields,       split_target, check_host,
        check_transfer_encoding, check_body_length,
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        int rc = steps[i](parser);
        if (rc != 0) {
            return rc;
        }
    }
    const struct peri_request *request = parser->request;
    parser->expects_continue =
        request->http_minor > 0 &&
        peri_request_lists(request, PERI_STR("expect"), PERI_STR("100-continue"));
    parser->stage = PERI_REQUEST_BODY;
    return 0;
}

// The body

/// Counts the bytes before at that were no content.
static int count_gap(struct peri_request_parser *parser, const char *at) {
    parser->gap += (size_t)(at - parser->gap_from); // llhttp goes forwards
    parser->gap_from = at;
    if (parser->gap > parser->limits.head_bytes) {
        return refuse(parser, 431, "too much between chunks, or too long trailers (head_bytes)");
    }
    return 0;
}

static int on_body(llhttp_t *http, const char *at, size_t n) {
    struct peri_request_parser *parser = parser_of(http);
    struct peri_request *request = parser->request;
    int rc = count_gap(parser, at);
    if (rc != 0) {
        return rc;
    }
    if (n > parser->body_bytes - request->body_.len) {
        return refuse(parser, 413, "body too large (body_bytes)");
    }
    if (peri_buffer_append(&request->body_, at, n) != PERI_OK) {
        return refuse_memory(parser);
    }
    parser->gap = 0;
    parser->gap_from = at + n;
    return 0;
}

static int on_message_complete(llhttp_t *http) {
    struct peri_request_parser *parser = parser_of(http);
    parser->request->keep_alive = llhttp_should_keep_alive(http);
    parser->is_whole = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t SETTINGS = {
    .on_url = on_url,
    .on_version = on_version,
    .on_version_complete = on_version_complete,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

// Feeding

static int begin_request(struct peri_request_parser *parser) {
    parser->request = peri_calloc(1, sizeof *parser->request);
    if (!parser->request) {
        return PERI_E_MEMORY;
    }
    parser->request->refs_ = 1;
    parser->head_is_whole = parser->is_whole = false;
    parser->expects_continue = parser->in_field = false;
    parser->field_count = 0;
    parser->body_bytes = parser->limits.body_bytes;
    parser->gap = 0;
    parser->target = parser->version = (struct range){0};
    llhttp_init(&parser->http, HTTP_REQUEST, &SETTINGS);
    llhttp_set_lenient_version(&parser->http, 1); // so that we can tell 505 from 400
    parser->stage = PERI_REQUEST_HEAD;
    return PERI_OK;
}

/// Turns what stopped llhttp into our error.
static void refuse_syntax(struct peri_request_parser *parser, llhttp_errno_t reason) {
    if (reason == HPE_PAUSED_H2_UPGRADE) {
        (void)refuse(parser, 505, "HTTP/1.1 is spoken here");
    } else {
        (void)refuse(parser, 400, "malformed request");
    }
}

/// Keeps a part of the head that llhttp went through.
static void keep_head(struct peri_request_parser *parser, size_t n) {
    struct peri_buffer *head = &parser->request->head_;
    if (peri_buffer_append(head, parser->from, n) != PERI_OK) {
        (void)refuse_memory(parser);
    } else if (parser->head_is_whole) {
        (void)finish_head(parser);
    } else if (head->len == parser->limits.head_bytes) {
        (void)refuse(parser, 431, "head too large (head_bytes)");
    }
}

/// Gives llhttp what may be looked at: never more of a head than is allowed.
static void execute(struct peri_request_parser *parser, struct peri_span *in) {
    bool in_head = parser->stage == PERI_REQUEST_HEAD;
    size_t room = in_head ? parser->limits.head_bytes - parser->request->head_.len : in->len;
    size_t n = in->len < room ? in->len : room;
    parser->from = parser->gap_from = (const char *)in->ptr;

    llhttp_errno_t reason = llhttp_execute(&parser->http, parser->from, n);
    if (reason == HPE_PAUSED) {
        n = (size_t)(llhttp_get_error_pos(&parser->http) - parser->from); // within the n
        llhttp_resume(&parser->http);
    } else if (reason != HPE_OK) {
        const char *at = llhttp_get_error_pos(&parser->http);
        if (!in_head && at && parser->error == PERI_OK) {
            (void)count_gap(parser, at); // what is before the fault counts, as if it had come alone
        }
        refuse_syntax(parser, reason);
        return;
    }
    if (in_head) {
        keep_head(parser, n);
    } else {
        (void)count_gap(parser, parser->from + n);
    }
    in->ptr += n;
    in->len -= n;
}

static struct peri_request *take_request(struct peri_request_parser *parser) {
    struct peri_request *request = parser->request;
    parser->request = NULL;
    parser->stage = PERI_REQUEST_IDLE;
    parser->expects_continue = false;
    request->body = peri_buffer_str(&request->body_);
    return request;
}

/// Empty lines before a request are none of it. RFC 9112 section 2.2
static void skip_empty_lines(struct peri_span *in) {
    while (in->len > 0 && (in->ptr[0] == '\r' || in->ptr[0] == '\n')) {
        in->ptr++;
        in->len--;
    }
}

struct peri_request_parser *peri_request_parser_new(const struct peri_request_limits *limits) {
    struct peri_request_parser *parser = peri_calloc(1, sizeof *parser);
    if (parser) {
        parser->limits = *limits;
    }
    return parser;
}

int peri_request_parser_feed(struct peri_request_parser *parser, struct peri_span *in,
                             struct peri_request **request) {
    if (parser->error != PERI_OK) {
        return parser->error;
    }
    if (parser->stage == PERI_REQUEST_IDLE) {
        skip_empty_lines(in);
        if (in->len > 0 && begin_request(parser) != PERI_OK) {
            (void)refuse_memory(parser);
        }
    }
    while (in->len > 0 && parser->error == PERI_OK && !parser->is_whole) {
        bool was_head = parser->stage == PERI_REQUEST_HEAD;
        execute(parser, in);
        bool head_ended = was_head && parser->stage == PERI_REQUEST_BODY;
        if (head_ended && in->len == 0 && parser->error == PERI_OK) {
            execute(parser, in); // without a body the request ends here, on no byte
        }
    }
    if (parser->error != PERI_OK) {
        return parser->error;
    }
    if (parser->stage == PERI_REQUEST_IDLE || !parser->is_whole) {
        return PERI_AGAIN;
    }
    *request = take_request(parser);
    return PERI_OK;
}

int peri_request_parser_status(const struct peri_request_parser *parser, const char **why) {
    if (why) {
        *why = parser->why;
    }
    return parser->status;
}

enum peri_request_stage peri_request_parser_stage(const struct peri_request_parser *parser) {
    return parser->stage;
}

const struct peri_request *peri_request_parser_head(const struct peri_request_parser *parser) {
    return parser->stage == PERI_REQUEST_BODY && parser->error == PERI_OK ? parser->request : NULL;
}

int peri_request_parser_limit_body(struct peri_request_parser *parser, uint64_t bytes) {
    assert(parser->stage == PERI_REQUEST_BODY);
    if (parser->error == PERI_OK && bytes < parser->body_bytes) {
        size_t had = parser->request->body_.len; // at most body_bytes
        parser->body_bytes = (uint32_t)(bytes > had ? bytes : had);
        if (bytes < had || check_body_length(parser) != 0) {
            (void)refuse(parser, 413, "body too large (body_bytes)");
        }
    }
    return parser->error;
}

bool peri_request_parser_wants_continue(struct peri_request_parser *parser) {
    bool wants = parser->stage == PERI_REQUEST_BODY && parser->error == PERI_OK &&
                 parser->expects_continue && parser->request->body_.len == 0;
    parser->expects_continue = parser->expects_continue && !wants;
    return wants;
}

void peri_request_parser_free(struct peri_request_parser *parser) {
    if (!parser) {
        return;
    }
    peri_buffer_deinit(&parser->raw_fields);
    peri_request_unref(parser->request);
    peri_free(parser);
}
