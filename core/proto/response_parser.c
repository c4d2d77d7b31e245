// Reads a response with llhttp, which calls back with pieces. They are put together in one buffer;
// where each is in it is noted as an offset, since the buffer moves while it grows.
#include "proto/response_parser.h"

#include <llhttp.h>

#include "base/alloc.h"
#include "base/list.h"
#include "proto/text.h"

struct range {
    size_t at, n;
};

struct raw_field {
    struct range name, value;
};

struct peri_response_parser {
    struct peri_response_limits limits;
    int error; ///< PERI_OK, PERI_E_INVALID or PERI_E_MEMORY
    const char *why;
    bool is_reading, head_is_whole, in_field;
    bool is_whole; ///< for good: nothing more is taken
    size_t head_bytes;
    struct range reason;
    struct raw_field field;        ///< being read
    struct peri_buffer text;       ///< reason, names and values, one behind the other
    struct peri_buffer raw_fields; ///< of struct raw_field
    struct peri_buffer body;
    struct peri_field *fields;
    struct peri_response response;
    llhttp_t http;
};

static const char not_http[] = "it is not HTTP";

static struct peri_response_parser *parser_of(llhttp_t *http) {
    return PERI_CONTAINER(http, struct peri_response_parser, http);
}

/// Notes the first error. @return what makes llhttp stop
static int refuse(struct peri_response_parser *parser, const char *why) {
    if (parser->error == PERI_OK) {
        parser->error = PERI_E_INVALID;
        parser->why = why;
    }
    return HPE_USER;
}

static int refuse_memory(struct peri_response_parser *parser) {
    if (parser->error == PERI_OK) {
        parser->error = PERI_E_MEMORY;
        parser->why = "out of memory";
    }
    return HPE_USER;
}

// The head

static int extend(struct peri_response_parser *parser, struct range *range, const char *at,
                  size_t n) {
    if (range->n == 0) {
        range->at = parser->text.len;
    }
    range->n += n;
    return peri_buffer_append(&parser->text, at, n) == PERI_OK ? 0 : refuse_memory(parser);
}

static int on_status(llhttp_t *http, const char *at, size_t n) {
    struct peri_response_parser *parser = parser_of(http);
    return extend(parser, &parser->reason, at, n);
}

static int on_name(llhttp_t *http, const char *at, size_t n) {
    struct peri_response_parser *parser = parser_of(http);
    if (parser->head_is_whole) {
        return 0; // a trailer
    }
    if (!parser->in_field) {
        parser->in_field = true;
        parser->field = (struct raw_field){0};
    }
    return extend(parser, &parser->field.name, at, n);
}

/// Here, not at the name's first piece, as in request_parser.c.
static int on_name_complete(llhttp_t *http) {
    struct peri_response_parser *parser = parser_of(http);
    size_t before = parser->raw_fields.len / sizeof parser->field;
    return parser->head_is_whole || before < parser->limits.head_fields
               ? 0
               : refuse(parser, "its head has too many fields");
}

static int on_value(llhttp_t *http, const char *at, size_t n) {
    struct peri_response_parser *parser = parser_of(http);
    return parser->head_is_whole ? 0 : extend(parser, &parser->field.value, at, n);
}

static int on_value_complete(llhttp_t *http) {
    struct peri_response_parser *parser = parser_of(http);
    parser->in_field = false;
    if (parser->head_is_whole ||
        peri_buffer_append(&parser->raw_fields, &parser->field, sizeof parser->field) == PERI_OK) {
        return 0;
    }
    return refuse_memory(parser);
}

static int on_headers_complete(llhttp_t *http) {
    parser_of(http)->head_is_whole = true;
    return HPE_PAUSED;
}

static struct peri_str text_of(const struct peri_response_parser *parser, struct range range) {
    return range.n > 0 ? peri_str((const char *)parser->text.ptr + range.at, range.n)
                       : PERI_STR("");
}

static int make_fields(struct peri_response_parser *parser) {
    size_t count = parser->raw_fields.len / sizeof(struct raw_field);
    parser->fields = peri_calloc(count, sizeof *parser->fields);
    if (!parser->fields) {
        return refuse_memory(parser);
    }
    for (size_t i = 0; i < count; i++) {
        struct raw_field raw;
        memcpy(&raw, parser->raw_fields.ptr + i * sizeof raw, sizeof raw);
        for (size_t k = 0; k < raw.name.n; k++) {
            char *c = (char *)parser->text.ptr + raw.name.at + k;
            *c = peri_text_lower(*c);
        }
        parser->fields[i].name = text_of(parser, raw.name);
        parser->fields[i].value = peri_text_trim(text_of(parser, raw.value));
    }
    parser->response.fields = parser->fields;
    parser->response.field_count = count;
    return 0;
}

static void finish_head(struct peri_response_parser *parser) {
    struct peri_response *response = &parser->response;
    response->status = llhttp_get_status_code(&parser->http);
    response->http_major = llhttp_get_http_major(&parser->http);
    response->http_minor = llhttp_get_http_minor(&parser->http);
    response->reason = peri_text_trim(text_of(parser, parser->reason));
    if (response->status < 100) {
        (void)refuse(parser, "its status is none");
    } else if (make_fields(parser) == 0) {
        parser->is_whole = response->status == 101;
    }
}

// The body

static int on_body(llhttp_t *http, const char *at, size_t n) {
    struct peri_response_parser *parser = parser_of(http);
    size_t room = parser->limits.body_bytes - parser->body.len;
    if (parser->response.status < 200) {
        return refuse(parser, not_http); // an interim one has no body. RFC 9110 section 15.2
    }
    parser->response.body_is_cut = n > room;
    if (peri_buffer_append(&parser->body, at, n < room ? n : room) != PERI_OK) {
        return refuse_memory(parser);
    }
    parser->is_whole = n > room;
    return parser->is_whole ? HPE_PAUSED : 0;
}

static int on_message_complete(llhttp_t *http) {
    struct peri_response_parser *parser = parser_of(http);
    if (parser->response.status < 200) {
        parser->is_reading = false; // an interim one; the one that counts follows
    } else {
        parser->is_whole = true;
    }
    return HPE_PAUSED;
}

static const llhttp_settings_t SETTINGS = {
    .on_status = on_status,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

// Feeding

static void begin_response(struct peri_response_parser *parser) {
    parser->is_reading = true;
    parser->head_is_whole = parser->in_field = false;
    parser->reason = (struct range){0};
    parser->text.len = parser->raw_fields.len = 0;
    peri_free(parser->fields);
    parser->fields = NULL;
    parser->response = (struct peri_response){0};
    llhttp_init(&parser->http, HTTP_RESPONSE, &SETTINGS);
}

/// Gives llhttp what may be looked at: never more of a head than is allowed.
static void execute(struct peri_response_parser *parser, struct peri_span *in) {
    bool in_head = !parser->head_is_whole;
    size_t room = in_head ? parser->limits.head_bytes - parser->head_bytes : in->len;
    size_t n = in->len < room ? in->len : room;
    const char *from = (const char *)in->ptr;
    llhttp_errno_t reason = llhttp_execute(&parser->http, from, n);
    if (reason == HPE_PAUSED) {
        const char *at = llhttp_get_error_pos(&parser->http);
        n = at ? (size_t)(at - from) : n; // within the n
        llhttp_resume(&parser->http);
    } else if (reason != HPE_OK && !in_head && parser->error == PERI_OK &&
               parser->response.status >= 200) {
        parser->response.body_is_cut = parser->is_whole = true; // the head says enough
    } else if (reason != HPE_OK) {
        (void)refuse(parser, not_http);
        return;
    }
    in->ptr += n;
    in->len -= n;
    if (in_head) {
        parser->head_bytes += n;
        if (parser->head_is_whole) {
            finish_head(parser);
        } else if (parser->head_bytes == parser->limits.head_bytes) {
            (void)refuse(parser, "its head is too large");
        }
    }
}

static int answer(struct peri_response_parser *parser, const struct peri_response **response) {
    if (parser->error != PERI_OK) {
        return parser->error;
    }
    if (!parser->is_whole) {
        return PERI_AGAIN;
    }
    parser->response.body = peri_buffer_str(&parser->body);
    *response = &parser->response;
    return PERI_OK;
}

struct peri_response_parser *peri_response_parser_new(const struct peri_response_limits *limits) {
    struct peri_response_parser *parser = peri_calloc(1, sizeof *parser);
    if (parser) {
        parser->limits = *limits;
    }
    return parser;
}

int peri_response_parser_feed(struct peri_response_parser *parser, struct peri_span *in,
                              const struct peri_response **response) {
    while (in->len > 0 && parser->error == PERI_OK && !parser->is_whole) {
        if (!parser->is_reading) {
            begin_response(parser);
        }
        bool was_head = !parser->head_is_whole;
        execute(parser, in);
        bool head_ended = was_head && parser->head_is_whole && !parser->is_whole;
        if (head_ended && in->len == 0 && parser->error == PERI_OK) {
            execute(parser, in); // without a body the response ends here, on no byte
        }
    }
    return answer(parser, response);
}

int peri_response_parser_end(struct peri_response_parser *parser,
                             const struct peri_response **response) {
    if (parser->error == PERI_OK && !parser->is_whole) {
        if (!parser->is_reading || !parser->head_is_whole || parser->response.status < 200) {
            (void)refuse(parser, parser->head_bytes == 0 ? "it closed without an answer"
                                                         : "it closed in the midst of its head");
        } else {
            parser->response.body_is_cut = llhttp_message_needs_eof(&parser->http) == 0;
            parser->is_whole = true;
        }
    }
    return answer(parser, response);
}

const char *peri_response_parser_why(const struct peri_response_parser *parser) {
    return parser->why;
}

void peri_response_parser_free(struct peri_response_parser *parser) {
    if (!parser) {
        return;
    }
    peri_buffer_deinit(&parser->text);
    peri_buffer_deinit(&parser->raw_fields);
    peri_buffer_deinit(&parser->body);
    peri_free(parser->fields);
    peri_free(parser);
}
