// What a client says to become a WebSocket, and whether the answer is to be believed.
#include "proto/opening.h"

#include <openssl/evp.h>

#include "base/alloc.h"
#include "proto/handshake.h"
#include "proto/response.h"
#include "proto/text.h"
#include "proto/url.h"

static const struct peri_str HOST = {"Host", 4};
static const struct peri_str AUTHORIZATION = {"Authorization", 13};

void peri_opening_set_key(struct peri_opening *opening,
                          const uint8_t nonce[PERI_OPENING_NONCE_BYTES]) {
    (void)EVP_EncodeBlock((unsigned char *)opening->key, nonce, PERI_OPENING_NONCE_BYTES);
}

bool peri_opening_may_add(struct peri_str name) {
    static const struct peri_str ours[] = {
        {"upgrade", 7},
        {"connection", 10},
        {"content-length", 14},
        {"transfer-encoding", 17},
        {"expect", 6},
        {"sec-websocket-key", 17},
        {"sec-websocket-version", 21},
        {"sec-websocket-protocol", 22},
        {"sec-websocket-extensions", 24},
    };
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (peri_text_equal(name, ours[i])) {
            return false;
        }
    }
    return true;
}

static bool has_field(const struct peri_opening *opening, struct peri_str name) {
    for (size_t i = 0; i < opening->field_count; i++) {
        if (peri_text_equal(opening->fields[i].name, name)) {
            return true;
        }
    }
    return false;
}

static int write_host(struct peri_buffer *out, const struct peri_opening *opening) {
    if (has_field(opening, HOST)) {
        return PERI_OK;
    }
    struct peri_buffer host = {0};
    int rc = peri_ws_url_write_host(&host, &opening->url);
    if (rc == PERI_OK) {
        rc = peri_response_field(out, HOST, peri_buffer_str(&host));
    }
    peri_buffer_deinit(&host);
    return rc;
}

/// Decodes the escapes of a user or password. Not as in a form: "+" is itself.
static int append_unescaped(struct peri_buffer *out, struct peri_str text) {
    int rc = PERI_OK;
    for (size_t i = 0; i < text.len && rc == PERI_OK; i++) {
        bool is_escape = text.ptr[i] == '%' && text.len - i >= 3 &&
                         peri_text_hex(text.ptr[i + 1]) >= 0 && peri_text_hex(text.ptr[i + 2]) >= 0;
        struct peri_str piece = peri_str(text.ptr + i, is_escape ? 3 : 1);
        rc = is_escape ? peri_form_decode(out, piece) : peri_buffer_append_str(out, piece);
        i += piece.len - 1;
    }
    return rc;
}

/// RFC 7617
static int write_credentials(struct peri_buffer *out, const struct peri_opening *opening) {
    static const struct peri_str scheme = {"Basic ", 6};
    if (!opening->url.has_user_info || has_field(opening, AUTHORIZATION)) {
        return PERI_OK;
    }
    struct peri_buffer plain = {0};
    struct peri_buffer value = {0};
    int rc = append_unescaped(&plain, opening->url.user_info);
    if (rc == PERI_OK && !memchr(opening->url.user_info.ptr, ':', opening->url.user_info.len)) {
        rc = peri_buffer_append(&plain, ":", 1); // no password
    }
    if (rc == PERI_OK) {
        rc = plain.len <= INT32_MAX / 2 ? peri_buffer_append_str(&value, scheme) : PERI_E_INVALID;
    }
    if (rc == PERI_OK) {
        rc = peri_buffer_reserve(&value, (plain.len + 2) / 3 * 4 + 1);
    }
    if (rc == PERI_OK) {
        int n = EVP_EncodeBlock(value.ptr + value.len, plain.ptr, (int)plain.len); // was checked
        value.len += (size_t)n;
        rc = peri_response_field(out, AUTHORIZATION, peri_buffer_str(&value));
    }
    peri_buffer_deinit(&plain);
    peri_buffer_deinit(&value);
    return rc;
}

static int write_protocols(struct peri_buffer *out, const struct peri_opening *opening) {
    int rc = opening->protocol_count > 0
                 ? peri_buffer_append_str(out, PERI_STR("Sec-WebSocket-Protocol: "))
                 : PERI_OK;
    for (size_t i = 0; i < opening->protocol_count && rc == PERI_OK; i++) {
        if (!peri_text_is_token(opening->protocols[i])) {
            return PERI_E_INVALID;
        }
        rc = i > 0 ? peri_buffer_append(out, ", ", 2) : PERI_OK;
        if (rc == PERI_OK) {
            rc = peri_buffer_append_str(out, opening->protocols[i]);
        }
    }
    return rc == PERI_OK && opening->protocol_count > 0 ? peri_buffer_append(out, "\r\n", 2) : rc;
}

static int write_extensions(struct peri_buffer *out, const struct peri_opening *opening) {
    if (!opening->deflate) {
        return PERI_OK;
    }
    int rc = peri_buffer_append_str(out, PERI_STR("Sec-WebSocket-Extensions: "));
    if (rc == PERI_OK) {
        rc = peri_deflate_print(opening->deflate, true, out);
    }
    return rc == PERI_OK ? peri_buffer_append(out, "\r\n", 2) : rc;
}

static int write_fields(struct peri_buffer *out, const struct peri_opening *opening) {
    int rc = PERI_OK;
    for (size_t i = 0; i < opening->field_count && rc == PERI_OK; i++) {
        const struct peri_field *field = &opening->fields[i];
        rc = peri_opening_may_add(field->name) ? peri_response_field(out, field->name, field->value)
                                               : PERI_E_INVALID;
    }
    return rc;
}

static int write_request(struct peri_buffer *out, const struct peri_opening *opening) {
    int rc = peri_buffer_append(out, "GET ", 4);
    if (rc == PERI_OK) {
        rc = peri_ws_url_write_target(out, &opening->url);
    }
    if (rc == PERI_OK) {
        rc = peri_buffer_append_str(out, PERI_STR(" HTTP/1.1\r\n"));
    }
    if (rc == PERI_OK) {
        rc = write_host(out, opening);
    }
    if (rc == PERI_OK) {
        rc = peri_buffer_printf(out,
                                "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n",
                                opening->key);
    }
    if (rc == PERI_OK) {
        rc = write_protocols(out, opening);
    }
    if (rc == PERI_OK) {
        rc = write_extensions(out, opening);
    }
    if (rc == PERI_OK) {
        rc = write_credentials(out, opening);
    }
    if (rc == PERI_OK) {
        rc = write_fields(out, opening);
    }
    return rc == PERI_OK ? peri_buffer_append(out, "\r\n", 2) : rc;
}

int peri_opening_write(struct peri_buffer *out, const struct peri_opening *opening) {
    size_t before = out->len;
    int rc = write_request(out, opening);
    if (rc != PERI_OK) {
        out->len = before;
    }
    return rc;
}

// The answer

static int refuse(const char **why, const char *text) {
    *why = text;
    return PERI_E_PROTOCOL;
}

/// The value if there is exactly one field of that name, else the empty string.
static struct peri_str only_value(const struct peri_response *response, struct peri_str name) {
    struct peri_str value = {0};
    if (peri_fields_count(response->fields, response->field_count, name) == 1) {
        (void)peri_fields_get(response->fields, response->field_count, name, &value);
    }
    return value;
}

static int choose_protocol(const struct peri_opening *opening, const struct peri_response *response,
                           struct peri_str *protocol, const char **why) {
    static const struct peri_str name = {"sec-websocket-protocol", 22};
    struct peri_str chosen = only_value(response, name);
    if (peri_fields_count(response->fields, response->field_count, name) == 0) {
        return PERI_OK;
    }
    for (size_t i = 0; i < opening->protocol_count; i++) {
        if (peri_str_equal(opening->protocols[i], chosen)) {
            *protocol = chosen;
            return PERI_OK;
        }
    }
    return refuse(why, "it chose a subprotocol that was not offered");
}

static int choose_extensions(const struct peri_opening *opening,
                             const struct peri_response *response,
                             struct peri_opening_choice *choice, const char **why) {
    const struct peri_field *fields = response->fields;
    size_t n = response->field_count;
    size_t count = peri_fields_count(fields, n, PERI_STR("sec-websocket-extensions"));
    if (count == 0) {
        return PERI_OK;
    }
    if (!opening->deflate) {
        return refuse(why, "it uses extensions, and none was offered");
    }
    if (count > 1) { // RFC 6455 section 11.3.2
        return refuse(why, "it has more than one Sec-WebSocket-Extensions");
    }
    switch (peri_deflate_check_answer(fields, n, opening->deflate, &choice->terms)) {
    case PERI_OK: choice->deflates = true; return PERI_OK;
    case PERI_AGAIN: return PERI_OK; // an empty list
    default: return refuse(why, "its extensions are not as they were offered");
    }
}

int peri_opening_check(const struct peri_opening *opening, const struct peri_response *response,
                       struct peri_opening_choice *choice, const char **why) {
    const struct peri_field *fields = response->fields;
    size_t n = response->field_count;
    char proof[PERI_HANDSHAKE_PROOF_BYTES + 1];
    if (response->status != 101) {
        return PERI_E_INVALID;
    }
    if (response->http_major != 1 || response->http_minor < 1) {
        return refuse(why, "a 101 is of HTTP/1.1");
    }
    if (!peri_text_equal(only_value(response, PERI_STR("upgrade")), PERI_STR("websocket"))) {
        return refuse(why, "its Upgrade is not websocket");
    }
    if (!peri_fields_list(fields, n, PERI_STR("connection"), PERI_STR("upgrade"))) {
        return refuse(why, "its Connection does not list upgrade");
    }
    int rc = peri_handshake_proof(proof, peri_str_of(opening->key));
    if (rc != PERI_OK) {
        return rc;
    }
    if (!peri_str_equal(only_value(response, PERI_STR("sec-websocket-accept")),
                        peri_str_of(proof))) {
        return refuse(why, "its Sec-WebSocket-Accept does not prove that it read our key");
    }
    struct peri_opening_choice chosen = {0};
    rc = choose_extensions(opening, response, &chosen, why);
    if (rc == PERI_OK) {
        rc = choose_protocol(opening, response, &chosen.protocol, why);
    }
    if (rc == PERI_OK) {
        *choice = chosen;
    }
    return rc;
}
