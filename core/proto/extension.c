// Reading extensions by their grammar, and the rules of permessage-deflate's four parameters.
#include "proto/extension.h"

#include "proto/text.h"

static const struct peri_str FIELD = {"sec-websocket-extensions", 24};
static const struct peri_str DEFLATE = {"permessage-deflate", 18};

// The grammar.

static void skip(struct peri_str *rest, size_t n) {
    rest->ptr += n;
    rest->len -= n;
}

static void skip_blanks(struct peri_str *rest) {
    while (rest->len > 0 && (*rest->ptr == ' ' || *rest->ptr == '\t')) {
        skip(rest, 1);
    }
}

/// Takes the character, and the blanks behind it, if it is next.
static bool take_char(struct peri_str *rest, char c) {
    if (rest->len == 0 || *rest->ptr != c) {
        return false;
    }
    skip(rest, 1);
    skip_blanks(rest);
    return true;
}

static bool take_token(struct peri_str *rest, struct peri_str *token) {
    size_t n = 0;
    while (n < rest->len && peri_text_is_token(peri_str(rest->ptr + n, 1))) {
        n++;
    }
    *token = peri_str(rest->ptr, n);
    skip(rest, n);
    skip_blanks(rest);
    return n > 0;
}

/// Takes a string in quotes, which must hold a token once it is unescaped.
static bool take_quoted(struct peri_str *rest, struct peri_str *inside) {
    size_t at = 1;
    while (at < rest->len && rest->ptr[at] != '"') {
        at += rest->ptr[at] == '\\';
        if (at == rest->len || !peri_text_is_token(peri_str(rest->ptr + at, 1))) {
            return false;
        }
        at++;
    }
    if (at >= rest->len || at == 1) {
        return false;
    }
    *inside = peri_str(rest->ptr + 1, at - 1);
    skip(rest, at + 1);
    skip_blanks(rest);
    return true;
}

static bool take_param(struct peri_str *rest, struct peri_extension_param *param) {
    *param = (struct peri_extension_param){0};
    if (!take_token(rest, &param->name)) {
        return false;
    }
    if (!take_char(rest, '=')) {
        return true;
    }
    param->has_value = true;
    return rest->len > 0 && *rest->ptr == '"' ? take_quoted(rest, &param->value)
                                              : take_token(rest, &param->value);
}

int peri_extension_next(struct peri_str *rest, struct peri_extension *extension) {
    skip_blanks(rest);
    while (take_char(rest, ',')) { // a list may have empty items. RFC 9110 section 5.6.1
    }
    if (rest->len == 0) {
        return PERI_AGAIN;
    }
    struct peri_extension found = {0};
    if (!take_token(rest, &found.name)) {
        return PERI_E_INVALID;
    }
    found.params.ptr = rest->ptr;
    while (take_char(rest, ';')) {
        struct peri_extension_param param;
        if (!take_param(rest, &param)) {
            return PERI_E_INVALID;
        }
    }
    found.params.len = (size_t)(rest->ptr - found.params.ptr); // it has moved forward
    if (rest->len > 0 && *rest->ptr != ',') {
        return PERI_E_INVALID;
    }
    *extension = found;
    return PERI_OK;
}

bool peri_extension_next_param(struct peri_str *params, struct peri_extension_param *param) {
    return take_char(params, ';') && take_param(params, param);
}

/// Walks the extensions of all fields of the name, in order. Start with a zeroed walk.
struct walk {
    size_t field;
    struct peri_str rest;
};

static int walk_next(struct walk *walk, const struct peri_field *fields, size_t n,
                     struct peri_extension *extension) {
    for (;;) {
        int rc = peri_extension_next(&walk->rest, extension);
        if (rc != PERI_AGAIN) {
            return rc;
        }
        while (walk->field < n && !peri_str_equal(fields[walk->field].name, FIELD)) {
            walk->field++;
        }
        if (walk->field == n) {
            return PERI_AGAIN;
        }
        walk->rest = fields[walk->field++].value;
    }
}

bool peri_extension_fields_are_valid(const struct peri_field *fields, size_t n) {
    struct walk walk = {0};
    struct peri_extension extension;
    int rc = PERI_OK;
    do {
        rc = walk_next(&walk, fields, n, &extension);
    } while (rc == PERI_OK);
    return rc == PERI_AGAIN;
}

// permessage-deflate.

/// Reads a window's bits: 8 to 15, in digits, without a leading zero.
/// @return 0 for anything else
static uint8_t read_bits(struct peri_str value) {
    unsigned bits = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '\\') {
            continue; // quoted: the next character stands for itself
        }
        if (!peri_text_is_digit(value.ptr[i]) || (bits == 0 && value.ptr[i] == '0')) {
            return 0;
        }
        bits = bits * 10 + (unsigned)(value.ptr[i] - '0');
        if (bits > 15) {
            return 0;
        }
    }
    return bits >= 8 ? (uint8_t)bits : 0; // at most 15
}

/// @return false when it says so a second time, or with a value
static bool take_flag(const struct peri_extension_param *param, bool *flag) {
    if (param->has_value || *flag) {
        return false;
    }
    *flag = true;
    return true;
}

/// @param without what no value means; 0: there must be one
static bool take_bits(const struct peri_extension_param *param, uint8_t without, uint8_t *bits) {
    if (*bits != 0) {
        return false;
    }
    *bits = param->has_value ? read_bits(param->value) : without;
    return *bits != 0;
}

/// Reads what is said of permessage-deflate. RFC 7692 section 7.1
/// @return false for a parameter that is unknown, repeated or has no valid value
static bool read_terms(const struct peri_extension *extension, bool is_offer,
                       struct peri_deflate_terms *terms) {
    struct peri_str params = extension->params;
    struct peri_extension_param param;
    *terms = (struct peri_deflate_terms){0};
    while (peri_extension_next_param(&params, &param)) {
        bool taken = false;
        if (peri_str_equal(param.name, PERI_STR("server_no_context_takeover"))) {
            taken = take_flag(&param, &terms->server_no_takeover);
        } else if (peri_str_equal(param.name, PERI_STR("client_no_context_takeover"))) {
            taken = take_flag(&param, &terms->client_no_takeover);
        } else if (peri_str_equal(param.name, PERI_STR("server_max_window_bits"))) {
            taken = take_bits(&param, 0, &terms->server_bits);
        } else if (peri_str_equal(param.name, PERI_STR("client_max_window_bits"))) {
            taken = take_bits(&param, is_offer ? PERI_WINDOW_MAX : 0, &terms->client_bits);
        }
        if (!taken) {
            return false;
        }
    }
    return true;
}

static uint8_t lesser(uint8_t a, uint8_t b) {
    return a < b ? a : b;
}

/// Answers an offer. @return false to decline it
static bool meet(const struct peri_deflate_terms *offer, const struct peri_deflate_wishes *wishes,
                 struct peri_deflate_terms *answer) {
    if (offer->server_bits != 0 && offer->server_bits < PERI_WINDOW_MIN) {
        return false;
    }
    *answer = (struct peri_deflate_terms){
        .server_no_takeover = offer->server_no_takeover || !wishes->server_takeover,
        .client_no_takeover = offer->client_no_takeover || !wishes->client_takeover,
        .server_bits = offer->server_bits ? lesser(offer->server_bits, wishes->window) : 0,
    };
    if (offer->client_bits && !answer->client_no_takeover) {
        answer->client_bits = lesser(offer->client_bits, wishes->window);
    }
    return true;
}

int peri_deflate_choose(const struct peri_field *fields, size_t n,
                        const struct peri_deflate_wishes *wishes,
                        struct peri_deflate_terms *terms) {
    struct walk walk = {0};
    struct peri_extension extension;
    struct peri_deflate_terms offer, chosen;
    bool found = false;
    int rc = PERI_OK;
    while ((rc = walk_next(&walk, fields, n, &extension)) == PERI_OK) {
        found = found || (peri_str_equal(extension.name, DEFLATE) &&
                          read_terms(&extension, true, &offer) && meet(&offer, wishes, &chosen));
    }
    if (rc == PERI_AGAIN && found) {
        *terms = chosen;
        return PERI_OK;
    }
    return rc;
}

int peri_deflate_print(const struct peri_deflate_terms *terms, bool is_offer,
                       struct peri_buffer *out) {
    size_t before = out->len;
    int rc = peri_buffer_append_str(out, DEFLATE);
    if (rc == PERI_OK && terms->server_no_takeover) {
        rc = peri_buffer_append_str(out, PERI_STR("; server_no_context_takeover"));
    }
    if (rc == PERI_OK && terms->client_no_takeover) {
        rc = peri_buffer_append_str(out, PERI_STR("; client_no_context_takeover"));
    }
    if (rc == PERI_OK && terms->server_bits) {
        rc = peri_buffer_printf(out, "; server_max_window_bits=%d", terms->server_bits);
    }
    if (rc == PERI_OK && terms->client_bits) {
        rc = is_offer && terms->client_bits == PERI_WINDOW_MAX
                 ? peri_buffer_append_str(out, PERI_STR("; client_max_window_bits"))
                 : peri_buffer_printf(out, "; client_max_window_bits=%d", terms->client_bits);
    }
    if (rc != PERI_OK) {
        out->len = before;
    }
    return rc;
}

/// RFC 7692 sections 7.1.1, 7.1.2: what was asked for must be granted, and a client's window may
/// be bounded only where that was offered.
static bool is_met(const struct peri_deflate_terms *offer,
                   const struct peri_deflate_terms *answer) {
    bool takeover = !offer->server_no_takeover || answer->server_no_takeover;
    bool server =
        !offer->server_bits || (answer->server_bits && answer->server_bits <= offer->server_bits);
    bool client =
        !answer->client_bits || (offer->client_bits && answer->client_bits <= offer->client_bits);
    return takeover && server && client;
}

int peri_deflate_check_answer(const struct peri_field *fields, size_t n,
                              const struct peri_deflate_terms *offer,
                              struct peri_deflate_terms *terms) {
    struct walk walk = {0};
    struct peri_extension extension;
    struct peri_deflate_terms answer;
    int rc = walk_next(&walk, fields, n, &extension);
    if (rc != PERI_OK) {
        return rc;
    }
    if (!peri_str_equal(extension.name, DEFLATE) || !read_terms(&extension, false, &answer) ||
        !is_met(offer, &answer) || walk_next(&walk, fields, n, &extension) != PERI_AGAIN) {
        return PERI_E_INVALID;
    }
    // What a client has offered binds it, whether it is repeated or not.
    answer.client_no_takeover = answer.client_no_takeover || offer->client_no_takeover;
    if (!answer.client_bits) {
        answer.client_bits = offer->client_bits;
    }
    *terms = answer;
    return PERI_OK;
}
