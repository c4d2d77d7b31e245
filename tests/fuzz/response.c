// HTTP responses, as `perigee connect` reads them, and whether it believes a 101.
#include "proto/response_parser.h"

#include "fuzz.h"
#include "proto/opening.h"
#include "proto/response.h"
#include "proto/text.h"

static void check_response(const struct peri_response *response,
                           const struct peri_response_limits *limits) {
    FUZZ_CHECK(response->status == 101 || (response->status >= 200 && response->status <= 999));
    FUZZ_CHECK(response->field_count <= limits->head_fields);
    FUZZ_CHECK(response->body.len <= limits->body_bytes);
    for (size_t i = 0; i < response->field_count; i++) {
        const struct peri_field *field = &response->fields[i];
        FUZZ_CHECK(peri_field_is_valid(field->name, field->value));
    }
}

/// The key of RFC 6455's example: a corpus can hold the right answer.
static void check_opening(const struct peri_response *response,
                          const struct peri_deflate_terms *deflate) {
    const struct peri_str offered[] = {PERI_STR("chat"), PERI_STR("superchat")};
    struct peri_opening opening = {.key = "dGhlIHNhbXBsZSBub25jZQ==",
                                   .protocols = offered,
                                   .protocol_count = 2,
                                   .deflate = deflate};
    struct peri_opening_choice choice = {0};
    const char *why = NULL;
    int rc = peri_opening_check(&opening, response, &choice, &why);
    if (rc == PERI_OK) {
        FUZZ_CHECK(response->status == 101);
        FUZZ_CHECK(choice.protocol.len == 0 || peri_str_equal(choice.protocol, offered[0]) ||
                   peri_str_equal(choice.protocol, offered[1]));
        FUZZ_CHECK(!choice.deflates || deflate);
        FUZZ_CHECK(choice.terms.client_bits <= PERI_WINDOW_MAX);
        FUZZ_CHECK(choice.terms.server_bits <= PERI_WINDOW_MAX);
    }
    FUZZ_CHECK(rc != PERI_E_PROTOCOL || (why && response->status == 101));
    FUZZ_CHECK(rc != PERI_E_INVALID || response->status != 101);
}

static void note_response(struct fuzz_seen *seen, const struct peri_response *response) {
    fuzz_note_number(seen, (uint64_t)response->status);
    fuzz_note_number(seen, response->http_minor * 2u + response->body_is_cut);
    fuzz_note_str(seen, response->reason);
    for (size_t i = 0; i < response->field_count; i++) {
        fuzz_note_str(seen, response->fields[i].name);
        fuzz_note_str(seen, response->fields[i].value);
    }
    fuzz_note_str(seen, response->body);
}

static void read_one(struct peri_response_parser *parser, const struct peri_response_limits *limits,
                     struct peri_str bytes, const struct fuzz_cuts *cuts, struct fuzz_seen *seen) {
    const struct peri_response *response = NULL;
    int rc = PERI_AGAIN;
    size_t turn = 0;
    struct peri_span piece;
    while (rc == PERI_AGAIN && fuzz_piece(&bytes, cuts, &turn, &piece)) {
        struct peri_span in = piece;
        rc = peri_response_parser_feed(parser, &in, &response);
        FUZZ_CHECK(rc != PERI_AGAIN || in.len == 0);
        FUZZ_CHECK(rc == PERI_AGAIN || peri_response_parser_feed(parser, &in, &response) == rc);
        if (rc == PERI_OK && response->status == 101) {
            fuzz_note_number(seen, in.len + bytes.len); // frames
        }
        free(piece.ptr);
    }
    if (rc == PERI_AGAIN) {
        rc = peri_response_parser_end(parser, &response);
        FUZZ_CHECK(rc != PERI_AGAIN);
    }
    fuzz_note_number(seen, (uint64_t)rc);
    if (rc == PERI_OK) {
        check_response(response, limits);
        check_opening(response, NULL);
        check_opening(response, &(struct peri_deflate_terms){.client_bits = PERI_WINDOW_MAX});
        check_opening(response,
                      &(struct peri_deflate_terms){.server_no_takeover = true, .server_bits = 10});
        note_response(seen, response);
    } else if (rc == PERI_E_INVALID) {
        fuzz_note_str(seen, peri_str_of(peri_response_parser_why(parser)));
    }
}

static struct fuzz_seen run(const struct peri_response_limits *limits, struct peri_str bytes,
                            const struct fuzz_cuts *cuts) {
    struct fuzz_seen seen = {0};
    struct peri_response_parser *parser = peri_response_parser_new(limits);
    if (parser) {
        read_one(parser, limits, bytes, cuts, &seen);
    }
    peri_response_parser_free(parser);
    return seen;
}

void fuzz_one(struct peri_str in) {
    uint8_t options = fuzz_byte(&in);
    struct peri_response_limits limits = {8192, 100, 1024};
    if (options & 1) {
        uint32_t head_bytes = fuzz_number(&in), head_fields = fuzz_byte(&in);
        limits = (struct peri_response_limits){head_bytes, head_fields, fuzz_byte(&in)};
    }
    uint8_t failing = options & 2 ? fuzz_byte(&in) : 0;
    struct fuzz_cuts cuts = fuzz_cuts(&in);
    struct fuzz_seen whole = run(&limits, in, &fuzz_whole), pieces = run(&limits, in, &cuts);
    fuzz_same(&whole, &pieces);
    if (failing > 0) {
        peri_alloc_fail_from(failing);
        struct fuzz_seen rest = run(&limits, in, &cuts);
        free(rest.ptr);
    }
}
