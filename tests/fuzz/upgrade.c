// The opening handshake as a server checks it: the request, its Origin, its subprotocols. What the
// server answers to what it accepts, a client must believe.
#include "fuzz.h"
#include "proto/handshake.h"
#include "proto/opening.h"
#include "proto/origin.h"
#include "proto/response.h"
#include "proto/text.h"

enum { PROTOCOLS_MAX = 64 };

static struct peri_request *read_request(struct peri_str text) {
    const struct peri_request_limits limits = {1 << 16, 200, 1 << 16};
    struct peri_request *request = NULL;
    char *copy = fuzz_copy(text);
    struct peri_span in = {(uint8_t *)copy, text.len};
    struct peri_request_parser *parser = peri_request_parser_new(&limits);
    FUZZ_CHECK(parser);
    if (peri_request_parser_feed(parser, &in, &request) != PERI_OK) {
        request = NULL;
    }
    peri_request_parser_free(parser);
    free(copy);
    return request;
}

static size_t read_protocols(const struct peri_request *request,
                             struct peri_str protocols[PROTOCOLS_MAX]) {
    size_t cursor = 0, count = 0;
    struct peri_str protocol;
    while (peri_handshake_next_protocol(request, &cursor, &protocol)) {
        FUZZ_CHECK(peri_text_is_token(protocol));
        FUZZ_CHECK(peri_handshake_offers(request, protocol));
        if (count < PROTOCOLS_MAX) {
            protocols[count++] = protocol;
        }
    }
    return count;
}

static void check_refusal(const struct peri_refusal *refusal) {
    FUZZ_CHECK(refusal->status == 400 || refusal->status == 405 || refusal->status == 426);
    FUZZ_CHECK(refusal->why && refusal->why[0]);
    FUZZ_CHECK(refusal->field.name.len == 0 ||
               peri_field_is_valid(refusal->field.name, refusal->field.value));
}

/// The client that could have sent the request reads the 101.
static void check_answer(const struct peri_request *request, struct peri_str answer,
                         const struct peri_str *protocols, size_t count, struct peri_str chosen) {
    const struct peri_response_limits limits = {1 << 16, 200, 1024};
    struct peri_opening opening = {.protocols = protocols, .protocol_count = count};
    struct peri_str key;
    FUZZ_CHECK(peri_request_field(request, PERI_STR("sec-websocket-key"), &key));
    FUZZ_CHECK(key.len == PERI_OPENING_KEY_CHARS);
    memcpy(opening.key, key.ptr, key.len);

    struct peri_response_parser *parser = peri_response_parser_new(&limits);
    FUZZ_CHECK(parser);
    struct peri_span in = {(uint8_t *)fuzz_copy(answer), answer.len};
    uint8_t *copy = in.ptr;
    const struct peri_response *response;
    struct peri_opening_choice choice = {0};
    const char *why = NULL;
    FUZZ_CHECK(peri_response_parser_feed(parser, &in, &response) == PERI_OK && in.len == 0);
    FUZZ_CHECK(peri_opening_check(&opening, response, &choice, &why) == PERI_OK);
    FUZZ_CHECK(peri_str_equal(choice.protocol, chosen) && !choice.deflates);
    peri_response_parser_free(parser);
    free(copy);
}

static void accept(const struct peri_request *request, uint8_t choice) {
    struct peri_str protocols[PROTOCOLS_MAX], chosen = {0};
    size_t count = read_protocols(request, protocols);
    if (choice < count) {
        chosen = protocols[choice];
    }
    struct peri_buffer out = {0};
    FUZZ_CHECK(peri_handshake_accept(&out, request, chosen) == PERI_OK);
    FUZZ_CHECK(peri_response_end(&out) == PERI_OK);
    check_answer(request, peri_buffer_str(&out), protocols, count, chosen);
    peri_buffer_deinit(&out);
}

/// The input: a byte, allowed origins on a line, an origin on a line, the request.
void fuzz_one(struct peri_str in) {
    uint8_t choice = fuzz_byte(&in);
    struct peri_str origins = fuzz_line(&in), origin = fuzz_line(&in);
    FUZZ_CHECK(peri_origin_equal(origins, origin) == peri_origin_equal(origin, origins));
    (void)peri_origin_is_host(origins, origin);
    struct peri_request *request = read_request(in);
    if (!request) {
        return;
    }
    struct peri_refusal refusal = {0};
    struct peri_str sent;
    int rc = peri_handshake_check(request, &refusal);
    bool has_origin = peri_request_field(request, PERI_STR("origin"), &sent);
    bool allowed = peri_handshake_origin_allowed(request, origins);
    FUZZ_CHECK(has_origin || allowed);
    FUZZ_CHECK(peri_handshake_origin_allowed(request, PERI_STR("*")));
    if (rc == PERI_OK) {
        FUZZ_CHECK(peri_handshake_is_upgrade(request));
        accept(request, choice);
    } else {
        FUZZ_CHECK(rc == PERI_E_INVALID);
        check_refusal(&refusal);
    }
    peri_request_unref(request);
}
