// URLs as `perigee connect` takes them, and the request that it makes of one: it must be a handshake
// that the host takes. A Location, resolved against it, must be a URL again or be refused.
#include "fuzz.h"
#include "proto/handshake.h"
#include "proto/opening.h"

static bool is_plain(struct peri_str text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] == 0x7f) { // char is signed: beyond ASCII too
            return false;
        }
    }
    return true;
}

static void check_request(struct peri_str text) {
    const struct peri_request_limits limits = {1 << 20, 200, 0};
    struct peri_request_parser *parser = peri_request_parser_new(&limits);
    FUZZ_CHECK(parser);
    uint8_t *copy = (uint8_t *)fuzz_copy(text);
    struct peri_span in = {copy, text.len};
    struct peri_request *request;
    struct peri_refusal refusal;
    FUZZ_CHECK(peri_request_parser_feed(parser, &in, &request) == PERI_OK && in.len == 0);
    FUZZ_CHECK(peri_handshake_check(request, &refusal) == PERI_OK);
    peri_request_unref(request);
    peri_request_parser_free(parser);
    free(copy);
}

/// @param extra a name and a value that the user gives with --header
static void open_with(const struct peri_ws_url *url, struct peri_str name, struct peri_str value) {
    const struct peri_field field = {name, value};
    struct peri_opening opening = {.url = *url, .fields = &field};
    static const uint8_t nonce[PERI_OPENING_NONCE_BYTES] = {1, 2, 3};
    peri_opening_set_key(&opening, nonce);
    // Host may be given, and then is the user's affair.
    opening.field_count = peri_opening_may_add(name) && name.len != 4;
    struct peri_buffer out = {0};
    int rc = peri_opening_write(&out, &opening);
    if (rc == PERI_OK) {
        check_request(peri_buffer_str(&out));
    } else {
        FUZZ_CHECK(rc == PERI_E_INVALID && opening.field_count > 0 && out.len == 0);
    }
    peri_buffer_deinit(&out);
}

static void check_parts(const struct peri_ws_url *url) {
    struct peri_buffer host = {0}, target = {0};
    FUZZ_CHECK(url->host.len > 0 && url->port > 0);
    FUZZ_CHECK(peri_ws_url_same_host(url, url));
    FUZZ_CHECK(peri_ws_url_write_host(&host, url) == PERI_OK);
    FUZZ_CHECK(peri_ws_url_write_target(&target, url) == PERI_OK);
    FUZZ_CHECK(is_plain(peri_buffer_str(&host)) && is_plain(peri_buffer_str(&target)));
    FUZZ_CHECK(target.len > 0 && target.ptr[0] == '/');
    peri_buffer_deinit(&host);
    peri_buffer_deinit(&target);
}

static void follow(const struct peri_ws_url *base, struct peri_str location) {
    struct peri_buffer whole = {0};
    struct peri_ws_url next;
    const char *why = NULL;
    FUZZ_CHECK(peri_ws_url_resolve(&whole, base, location) == PERI_OK);
    if (peri_ws_url_parse(&next, peri_buffer_str(&whole), &why) == PERI_OK) {
        check_parts(&next);
        // What is relative stays on the host, with or without a query.
        if (location.len == 0 || location.ptr[0] == '?') {
            FUZZ_CHECK(peri_ws_url_same_host(base, &next));
        }
    } else {
        FUZZ_CHECK(why);
    }
    peri_buffer_deinit(&whole);
}

/// The input: a URL on a line, a Location on a line, a name and a value of a field on a line each.
void fuzz_one(struct peri_str in) {
    struct peri_str line = fuzz_line(&in), location = fuzz_line(&in), name = fuzz_line(&in);
    struct peri_str value = fuzz_line(&in);
    char *copy = fuzz_copy(line), *location_copy = fuzz_copy(location);
    struct peri_ws_url url;
    const char *why = NULL;
    if (peri_ws_url_parse(&url, peri_str(copy, line.len), &why) == PERI_OK) {
        check_parts(&url);
        open_with(&url, name, value);
        follow(&url, peri_str(location_copy, location.len));
    } else {
        FUZZ_CHECK(why && why[0]);
    }
    free(copy);
    free(location_copy);
}
