// HTTP requests, head and body: one after the other on a connection. The input picks limits and
// pieces; what is read, and how it is refused, must not depend on the pieces.
#include "proto/request.h"

#include "fuzz.h"
#include "proto/text.h"
#include "proto/url.h"

static bool holds(struct peri_str text, const char *bytes, size_t n) {
    for (size_t i = 0; i < text.len; i++) {
        if (memchr(bytes, text.ptr[i], n)) {
            return true;
        }
    }
    return false;
}

#define HOLDS(text, literal) holds(text, literal, sizeof(literal) - 1)

/// The query and the path's segments, decoded as a script would get them.
static void decode(const struct peri_request *request) {
    struct peri_buffer out = {0};
    struct peri_str name, value, path = request->path;
    size_t cursor = 0;
    while (peri_form_next(request->query, &cursor, &name, &value)) {
        PERI_IGNORE(peri_form_decode(&out, name)); // a failing allocation: nothing to compare
        PERI_IGNORE(peri_form_decode(&out, value));
    }
    peri_buffer_clear(&out, 0);
    if (peri_url_decode_segment(&out, path) == PERI_OK) {
        FUZZ_CHECK(out.len <= path.len && !memchr(out.ptr, 0, out.len));
    }
    peri_buffer_deinit(&out);
}

static void check_request(const struct peri_request *request,
                          const struct peri_request_limits *limits) {
    FUZZ_CHECK(peri_text_is_token(request->method));
    FUZZ_CHECK(request->path.len > 0 &&
               (request->path.ptr[0] == '/' || request->path.ptr[0] == '*'));
    FUZZ_CHECK(!HOLDS(request->path, "?\0\r\n ") && !HOLDS(request->query, "\0\r\n "));
    FUZZ_CHECK(request->body.len <= limits->body_bytes);
    FUZZ_CHECK(request->field_count <= limits->head_fields);
    FUZZ_CHECK(peri_request_count(request, PERI_STR("host")) <= 1);
    for (size_t i = 0; i < request->field_count; i++) {
        struct peri_str name = request->fields[i].name;
        FUZZ_CHECK(peri_text_is_token(name));
        FUZZ_CHECK(!HOLDS(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
        FUZZ_CHECK(!HOLDS(request->fields[i].value, "\0\r\n"));
    }
    decode(request);
}

static void note_request(struct fuzz_seen *seen, const struct peri_request *request) {
    fuzz_note_str(seen, request->method);
    fuzz_note_str(seen, request->target);
    fuzz_note_str(seen, request->path);
    fuzz_note_str(seen, request->query);
    fuzz_note_number(seen, request->http_minor * 2u + request->keep_alive);
    for (size_t i = 0; i < request->field_count; i++) {
        fuzz_note_str(seen, request->fields[i].name);
        fuzz_note_str(seen, request->fields[i].value);
    }
    fuzz_note_str(seen, request->body);
}

struct reading {
    struct peri_request_limits limits;
    bool pokes;          ///< asks about what is not whole yet, and tightens the limit of a body
    uint32_t body_bytes; ///< to what
};

/// What a session asks while a request comes in. It changes what comes out.
static int poke(const struct reading *reading, struct peri_request_parser *parser) {
    if (peri_request_parser_stage(parser) != PERI_REQUEST_BODY) {
        return PERI_AGAIN;
    }
    const struct peri_request *head = peri_request_parser_head(parser);
    FUZZ_CHECK(head && peri_text_is_token(head->method));
    (void)peri_request_parser_wants_continue(parser);
    int rc = peri_request_parser_limit_body(parser, reading->body_bytes);
    return rc == PERI_OK ? PERI_AGAIN : rc;
}

static void read_all(const struct reading *reading, struct peri_request_parser *parser,
                     struct peri_str bytes, const struct fuzz_cuts *cuts, struct fuzz_seen *seen) {
    int rc = PERI_AGAIN;
    bool is_http = true;
    size_t turn = 0;
    struct peri_span piece;
    while (rc == PERI_AGAIN && is_http && fuzz_piece(&bytes, cuts, &turn, &piece)) {
        struct peri_span in = piece;
        struct peri_request *request;
        while (is_http && (rc = peri_request_parser_feed(parser, &in, &request)) == PERI_OK) {
            check_request(request, &reading->limits);
            note_request(seen, request);
            is_http = !peri_request_lists(request, PERI_STR("upgrade"), PERI_STR("websocket"));
            peri_request_unref(request);
        }
        if (!is_http) {
            fuzz_note_number(seen, in.len + bytes.len); // the next protocol's
        } else if (rc == PERI_AGAIN) {
            FUZZ_CHECK(in.len == 0);
            rc = reading->pokes ? poke(reading, parser) : rc;
        } else {
            FUZZ_CHECK(peri_request_parser_feed(parser, &in, &request) == rc); // stays as it is
        }
        free(piece.ptr);
    }
    fuzz_note_number(seen, (uint64_t)rc);
    if (rc == PERI_E_INVALID) {
        const char *why = NULL;
        int status = peri_request_parser_status(parser, &why);
        FUZZ_CHECK(status == 400 || status == 413 || status == 431 || status == 501 ||
                   status == 505);
        fuzz_note_number(seen, (uint64_t)status);
        if (status != 431) { // what is over two limits is over the one that is seen first
            fuzz_note_str(seen, peri_str_of(why));
        }
    }
}

static struct fuzz_seen run(const struct reading *reading, struct peri_str bytes,
                            const struct fuzz_cuts *cuts) {
    struct fuzz_seen seen = {0};
    struct peri_request_parser *parser = peri_request_parser_new(&reading->limits);
    if (parser) {
        read_all(reading, parser, bytes, cuts, &seen);
    }
    peri_request_parser_free(parser);
    return seen;
}

void fuzz_one(struct peri_str in) {
    uint8_t options = fuzz_byte(&in);
    struct reading reading = {{8192, 100, 1 << 20}, .pokes = false};
    if (options & 1) {
        uint32_t head_bytes = fuzz_number(&in), head_fields = fuzz_byte(&in);
        reading.limits = (struct peri_request_limits){head_bytes, head_fields, fuzz_number(&in)};
    }
    reading.body_bytes = options & 2 ? fuzz_number(&in) : 0;
    uint8_t failing = options & 4 ? fuzz_byte(&in) : 0;
    struct fuzz_cuts cuts = fuzz_cuts(&in);
    struct fuzz_seen whole = run(&reading, in, &fuzz_whole), pieces = run(&reading, in, &cuts);
    fuzz_same(&whole, &pieces);
    if (options & 6) {
        reading.pokes = (options & 2) != 0;
        peri_alloc_fail_from(failing);
        struct fuzz_seen poked = run(&reading, in, &cuts);
        free(poked.ptr);
    }
}
