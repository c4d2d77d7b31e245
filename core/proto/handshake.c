// What a client must say to become a WebSocket, and the proof that it was understood.
#include "proto/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "proto/extension.h"
#include "proto/origin.h"
#include "proto/response.h"
#include "proto/text.h"

enum { KEY_CHARS = 24, SHA1_BYTES = 20 };

static const struct peri_str HOST = {"host", 4};
static const struct peri_str UPGRADE = {"upgrade", 7};
static const struct peri_str WEBSOCKET = {"websocket", 9};
static const struct peri_str KEY = {"sec-websocket-key", 17};
static const struct peri_str VERSION = {"sec-websocket-version", 21};
static const struct peri_str PROTOCOL = {"sec-websocket-protocol", 22};
static const struct peri_str ORIGIN = {"origin", 6};

bool peri_handshake_is_upgrade(const struct peri_request *request) {
    return peri_request_lists(request, UPGRADE, WEBSOCKET) ||
           peri_request_count(request, KEY) > 0 || peri_request_count(request, VERSION) > 0;
}

/// The field's value if there is exactly one of that name, else the empty string.
static struct peri_str only_value(const struct peri_request *request, struct peri_str name) {
    struct peri_str value = {0};
    if (peri_request_count(request, name) == 1) {
        (void)peri_request_field(request, name, &value);
    }
    return value;
}

static int base64_digit(char c) {
    char lower = peri_text_lower(c);
    if (lower >= 'a' && lower <= 'z') {
        return c - (c == lower ? 'a' - 26 : 'A');
    }
    if (peri_text_is_digit(c)) {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/// True for 16 bytes in base64: 22 digits, of which the last holds only two bits, and "==".
static bool is_key(struct peri_str key) {
    if (key.len != KEY_CHARS || key.ptr[22] != '=' || key.ptr[23] != '=') {
        return false;
    }
    for (size_t i = 0; i < 22; i++) {
        if (base64_digit(key.ptr[i]) < 0) {
            return false;
        }
    }
    return (base64_digit(key.ptr[21]) & 0xf) == 0;
}

/// True when every subprotocol that is offered is a token. Nothing between two commas is nothing.
static bool protocols_are_tokens(const struct peri_request *request) {
    for (size_t i = 0; i < request->field_count; i++) {
        struct peri_str rest = request->fields[i].value;
        struct peri_str item;
        if (!peri_str_equal(request->fields[i].name, PROTOCOL)) {
            continue;
        }
        while (peri_text_next_item(&rest, &item)) {
            if (!peri_text_is_token(item)) {
                return false;
            }
        }
    }
    return true;
}

static int refuse(struct peri_refusal *refusal, int status, const char *why) {
    *refusal = (struct peri_refusal){.status = status, .why = why};
    return PERI_E_INVALID;
}

int peri_handshake_check(const struct peri_request *request, struct peri_refusal *refusal) {
    if (!peri_str_equal(request->method, PERI_STR("GET"))) {
        (void)refuse(refusal, 405, "a WebSocket opens with GET");
        refusal->field = (struct peri_field){PERI_STR("Allow"), PERI_STR("GET")};
        return PERI_E_INVALID;
    }
    if (request->http_major != 1 || request->http_minor < 1) {
        return refuse(refusal, 400, "a WebSocket opens with HTTP/1.1");
    }
    if (only_value(request, HOST).len == 0) {
        return refuse(refusal, 400, "no Host");
    }
    if (!peri_request_lists(request, UPGRADE, WEBSOCKET)) {
        return refuse(refusal, 400, "Upgrade does not list websocket");
    }
    if (!peri_request_lists(request, PERI_STR("connection"), UPGRADE)) {
        return refuse(refusal, 400, "Connection does not list upgrade");
    }
    if (!peri_str_equal(only_value(request, VERSION), PERI_STR("13"))) {
        (void)refuse(refusal, 426, "WebSocket version 13 is spoken here");
        refusal->field = (struct peri_field){PERI_STR("Sec-WebSocket-Version"), PERI_STR("13")};
        return PERI_E_INVALID;
    }
    if (!is_key(only_value(request, KEY))) {
        return refuse(refusal, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
    }
    if (!protocols_are_tokens(request)) {
        return refuse(refusal, 400, "Sec-WebSocket-Protocol is no list of names");
    }
    if (!peri_extension_fields_are_valid(request->fields, request->field_count)) {
        return refuse(refusal, 400, "Sec-WebSocket-Extensions is malformed");
    }
    return PERI_OK;
}

/// Takes the next word of a list separated by spaces or commas.
static bool next_word(struct peri_str *rest, struct peri_str *word) {
    size_t from = 0;
    while (from < rest->len && (rest->ptr[from] == ' ' || rest->ptr[from] == ',')) {
        from++;
    }
    size_t to = from;
    while (to < rest->len && rest->ptr[to] != ' ' && rest->ptr[to] != ',') {
        to++;
    }
    *word = peri_str(rest->ptr + from, to - from);
    *rest = peri_str(rest->ptr + to, rest->len - to);
    return word->len > 0;
}

bool peri_handshake_origin_allowed(const struct peri_request *request, struct peri_str origins) {
    size_t count = peri_request_count(request, ORIGIN);
    struct peri_str origin = only_value(request, ORIGIN);
    struct peri_str word;
    if (count == 0) {
        return true;
    }
    while (origins.len > 0 && next_word(&origins, &word)) {
        bool allowed = peri_str_equal(word, PERI_STR("*")) ||
                       (peri_str_equal(word, PERI_STR("same"))
                            ? peri_origin_is_host(origin, only_value(request, HOST))
                            : peri_origin_equal(origin, word));
        if (allowed) {
            return true;
        }
    }
    return false;
}

/// The cursor counts bytes of all values of Sec-WebSocket-Protocol, as if each were followed by a
/// comma.
bool peri_handshake_next_protocol(const struct peri_request *request, size_t *cursor,
                                  struct peri_str *protocol) {
    size_t before = 0;
    for (size_t i = 0; i < request->field_count; i++) {
        struct peri_str rest = request->fields[i].value;
        if (!peri_str_equal(request->fields[i].name, PROTOCOL)) {
            continue;
        }
        size_t after = before + rest.len + 1;
        if (*cursor < after) {
            rest.ptr += *cursor - before;
            rest.len -= *cursor - before;
            struct peri_str item;
            while (peri_text_next_item(&rest, &item)) {
                if (peri_text_is_token(item)) {
                    *cursor = after - 1 - rest.len;
                    *protocol = item;
                    return true;
                }
            }
            *cursor = after;
        }
        before = after;
    }
    return false;
}

bool peri_handshake_offers(const struct peri_request *request, struct peri_str protocol) {
    size_t cursor = 0;
    struct peri_str offered;
    while (peri_handshake_next_protocol(request, &cursor, &offered)) {
        if (peri_str_equal(offered, protocol)) {
            return true;
        }
    }
    return false;
}

static EVP_MD *fetched; ///< SHA-1, or NULL

static void drop_sha1(void) {
    EVP_MD_free(fetched);
}

static void fetch_sha1(void) {
    fetched = EVP_MD_fetch(NULL, "SHA1", NULL);
    if (fetched && OPENSSL_atexit(drop_sha1) != 1) {
        drop_sha1();
        fetched = NULL;
    }
}

/// Fetched once: EVP_sha1 alone is looked up again by each digest, under locks.
static const EVP_MD *sha1(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, fetch_sha1);
    return fetched ? fetched : EVP_sha1();
}

int peri_handshake_proof(char out[PERI_HANDSHAKE_PROOF_BYTES + 1], struct peri_str key) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[KEY_CHARS + sizeof guid - 1];
    unsigned char digest[SHA1_BYTES];
    if (key.len != KEY_CHARS) {
        return PERI_E_INVALID;
    }
    memcpy(text, key.ptr, KEY_CHARS);
    memcpy(text + KEY_CHARS, guid, sizeof guid - 1);
    if (EVP_Digest(text, sizeof text, digest, NULL, sha1(), NULL) != 1) {
        return PERI_E_MEMORY;
    }
    (void)EVP_EncodeBlock((unsigned char *)out, digest, SHA1_BYTES);
    return PERI_OK;
}

static int write_accept(struct peri_buffer *out, struct peri_str key, struct peri_str protocol) {
    char proof[PERI_HANDSHAKE_PROOF_BYTES + 1];
    int rc = peri_handshake_proof(proof, key);
    if (rc == PERI_OK) {
        rc = peri_response_begin(out, 101);
    }
    if (rc == PERI_OK) {
        rc = peri_buffer_append_str(out, PERI_STR("Upgrade: websocket\r\nConnection: Upgrade\r\n"));
    }
    if (rc == PERI_OK) {
        rc = peri_response_field(out, PERI_STR("Sec-WebSocket-Accept"), peri_str_of(proof));
    }
    if (rc == PERI_OK && protocol.len > 0) {
        rc = peri_response_field(out, PERI_STR("Sec-WebSocket-Protocol"), protocol);
    }
    return rc;
}

int peri_handshake_accept(struct peri_buffer *out, const struct peri_request *request,
                          struct peri_str protocol) {
    if (protocol.len > 0 && !peri_handshake_offers(request, protocol)) {
        return PERI_E_INVALID;
    }
    size_t before = out->len;
    int rc = write_accept(out, only_value(request, KEY), protocol);
    if (rc != PERI_OK) {
        out->len = before;
    }
    return rc;
}
