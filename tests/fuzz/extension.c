// Sec-WebSocket-Extensions, from both sides. The fields are read a second time here, by the letter
// of RFC 7692: a server must take the first offer that it can meet and answer within it, and a
// client must believe that answer, and no other one that is outside of what it offered.
#include "proto/extension.h"

#include "fuzz.h"
#include "proto/text.h"

enum { FIELDS_MAX = 8 };

struct fields {
    struct peri_field at[FIELDS_MAX];
    size_t count;
};

static struct peri_field field_of(struct peri_str value) {
    return (struct peri_field){PERI_STR("sec-websocket-extensions"), value};
}

/// A field a line, each in a block of its own; one that begins with '-' is of another name.
static void take_fields(struct fields *fields, struct peri_str in) {
    fields->count = 0;
    while (in.len > 0 && fields->count < FIELDS_MAX) {
        struct peri_str line = fuzz_line(&in);
        struct peri_field *field = &fields->at[fields->count++];
        *field = field_of(peri_str(fuzz_copy(line), line.len));
        if (line.len > 0 && line.ptr[0] == '-') {
            field->name = PERI_STR("sec-websocket-protocol");
        }
    }
}

static void free_fields(const struct fields *fields) {
    for (size_t i = 0; i < fields->count; i++) {
        free((char *)(uintptr_t)fields->at[i].value.ptr); // of fuzz_copy
    }
}

// By the letter ------------------------------------------------------------------------------

enum name { SERVER_NO_TAKEOVER, CLIENT_NO_TAKEOVER, SERVER_BITS, CLIENT_BITS, NAMES };

static const struct peri_str names[NAMES] = {
    {"server_no_context_takeover", 26},
    {"client_no_context_takeover", 26},
    {"server_max_window_bits", 22},
    {"client_max_window_bits", 22},
};

/// 8 to 15, quoted or not, each character escaped or not. @return 0 for anything else
static unsigned bits_of(struct peri_str value) {
    static const char *const all[] = {"8", "9", "10", "11", "12", "13", "14", "15"};
    char plain[4];
    size_t n = 0;
    for (size_t i = 0; i < value.len && n < sizeof plain - 1; i++) {
        if (value.ptr[i] != '\\') {
            plain[n++] = value.ptr[i];
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        if (peri_str_equal(peri_str(plain, n), peri_str_of(all[i]))) {
            return 8 + i;
        }
    }
    return 0;
}

/// @return false where no one could mean that. RFC 7692 section 7.1
static bool read_terms(const struct peri_extension *extension, bool is_offer,
                       struct peri_deflate_terms *terms) {
    bool has[NAMES] = {false};
    unsigned bits[NAMES] = {0};
    struct peri_str params = extension->params;
    struct peri_extension_param param;
    bool good = peri_str_equal(extension->name, PERI_STR("permessage-deflate"));
    while (peri_extension_next_param(&params, &param)) {
        FUZZ_CHECK(peri_text_is_token(param.name) && (param.has_value || param.value.len == 0));
        size_t name = 0;
        while (name < NAMES && !peri_str_equal(param.name, names[name])) {
            name++;
        }
        if (name == NAMES || has[name]) {
            good = false;
            continue;
        }
        has[name] = true;
        bits[name] = param.has_value ? bits_of(param.value) : 0;
        bool may_lack = name < SERVER_BITS || (name == CLIENT_BITS && is_offer);
        good = good && (param.has_value ? name >= SERVER_BITS && bits[name] != 0 : may_lack);
    }
    FUZZ_CHECK(params.len == 0);
    unsigned client_bits = bits[CLIENT_BITS] ? bits[CLIENT_BITS] : PERI_WINDOW_MAX;
    *terms = (struct peri_deflate_terms){
        .server_no_takeover = has[SERVER_NO_TAKEOVER],
        .client_no_takeover = has[CLIENT_NO_TAKEOVER],
        .server_bits = (uint8_t)bits[SERVER_BITS], // 15 at most, as is the client's
        .client_bits = has[CLIENT_BITS] ? (uint8_t)client_bits : 0,
    };
    return good;
}

static bool terms_equal(const struct peri_deflate_terms *a, const struct peri_deflate_terms *b) {
    return a->server_no_takeover == b->server_no_takeover &&
           a->client_no_takeover == b->client_no_takeover && a->server_bits == b->server_bits &&
           a->client_bits == b->client_bits;
}

/// What a server may answer to an offer. RFC 7692 sections 7.1.1, 7.1.2
static bool is_within(const struct peri_deflate_terms *answer,
                      const struct peri_deflate_terms *offer) {
    if (offer->server_no_takeover && !answer->server_no_takeover) {
        return false;
    }
    if (offer->server_bits &&
        (answer->server_bits == 0 || answer->server_bits > offer->server_bits)) {
        return false;
    }
    return answer->client_bits == 0 ||
           (offer->client_bits != 0 && answer->client_bits <= offer->client_bits);
}

/// Walks all extensions of the fields. @return false where one is not of the grammar
static bool walk(const struct fields *fields,
                 bool (*visit)(const struct peri_extension *extension, void *arg), void *arg) {
    for (size_t i = 0; i < fields->count; i++) {
        struct peri_str rest = fields->at[i].value;
        struct peri_extension extension;
        int rc = PERI_AGAIN;
        if (fields->at[i].name.len != 24) {
            continue; // of another name
        }
        while ((rc = peri_extension_next(&rest, &extension)) == PERI_OK) {
            FUZZ_CHECK(peri_text_is_token(extension.name));
            if (!visit(&extension, arg)) {
                return true;
            }
        }
        if (rc != PERI_AGAIN) {
            FUZZ_CHECK(rc == PERI_E_INVALID);
            return false;
        }
        FUZZ_CHECK(rest.len == 0);
    }
    return true;
}

static bool visit_all(const struct peri_extension *extension, void *arg) {
    struct peri_deflate_terms terms;
    (void)arg;
    (void)read_terms(extension, true, &terms);
    return true;
}

/// The fields as one, with commas. RFC 6455 section 9.1
static struct peri_field join(const struct fields *fields, struct fuzz_seen *text) {
    for (size_t i = 0; i < fields->count; i++) {
        if (fields->at[i].name.len == 24) {
            fuzz_note(text, ",", 1);
            fuzz_note(text, fields->at[i].value.ptr, fields->at[i].value.len);
        }
    }
    return field_of(peri_str((const char *)text->ptr, text->len));
}

static void print(const struct peri_deflate_terms *terms, bool is_offer, uint8_t failing,
                  struct peri_buffer *out) {
    FUZZ_CHECK(peri_buffer_append_str(out, PERI_STR("x-before; n=1,")) == PERI_OK);
    size_t before = out->len;
    peri_alloc_fail_from(failing);
    int rc = peri_deflate_print(terms, is_offer, out);
    peri_alloc_fail_from(0);
    if (rc != PERI_OK) {
        FUZZ_CHECK(rc == PERI_E_MEMORY && failing > 0 && out->len == before);
        FUZZ_CHECK(peri_deflate_print(terms, is_offer, out) == PERI_OK);
    }
    memmove(out->ptr, out->ptr + before, out->len - before);
    out->len -= before;
}

// The server ---------------------------------------------------------------------------------

struct found {
    bool any;
    struct peri_deflate_terms offer; ///< the first one that can be met
};

static bool find_offer(const struct peri_extension *extension, void *arg) {
    struct found *found = arg;
    found->any = read_terms(extension, true, &found->offer) && found->offer.server_bits != 8;
    return !found->any;
}

static void check_chosen(const struct peri_deflate_terms *chosen,
                         const struct peri_deflate_terms *offer,
                         const struct peri_deflate_wishes *wishes, uint8_t failing) {
    FUZZ_CHECK(is_within(chosen, offer));
    FUZZ_CHECK(wishes->server_takeover || chosen->server_no_takeover);
    FUZZ_CHECK(wishes->client_takeover || chosen->client_no_takeover);
    FUZZ_CHECK(!offer->client_no_takeover || chosen->client_no_takeover);
    FUZZ_CHECK(chosen->server_bits == 0 ||
               (chosen->server_bits >= PERI_WINDOW_MIN && chosen->server_bits <= wishes->window));
    FUZZ_CHECK(chosen->client_bits <= wishes->window);
    // A client's context costs no more than what is wished for, where the client lets itself be told.
    FUZZ_CHECK(chosen->client_no_takeover || !offer->client_bits || chosen->client_bits >= 8);

    struct peri_buffer text = {0};
    print(chosen, false, failing, &text);
    struct peri_field answer = field_of(peri_buffer_str(&text));
    struct peri_deflate_terms both = {0};
    FUZZ_CHECK(peri_extension_fields_are_valid(&answer, 1));
    FUZZ_CHECK(peri_deflate_check_answer(&answer, 1, offer, &both) == PERI_OK);
    FUZZ_CHECK(both.server_no_takeover == chosen->server_no_takeover);
    FUZZ_CHECK(both.server_bits == chosen->server_bits);
    FUZZ_CHECK(both.client_no_takeover == chosen->client_no_takeover); // no offer is forgotten
    FUZZ_CHECK(chosen->client_bits ? both.client_bits == chosen->client_bits
                                   : both.client_bits == offer->client_bits);
    peri_buffer_deinit(&text);
}

static void choose(const struct fields *fields, const struct peri_deflate_wishes *wishes,
                   uint8_t failing) {
    struct peri_deflate_terms chosen = {0}, again = {0};
    struct found found = {0};
    bool valid = walk(fields, visit_all, NULL);
    struct fuzz_seen text = {0};
    struct peri_field joined = join(fields, &text);
    FUZZ_CHECK(peri_extension_fields_are_valid(fields->at, fields->count) == valid);
    FUZZ_CHECK(peri_extension_fields_are_valid(&joined, 1) == valid);
    int rc = peri_deflate_choose(fields->at, fields->count, wishes, &chosen);
    FUZZ_CHECK(peri_deflate_choose(&joined, 1, wishes, &again) == rc);
    FUZZ_CHECK(terms_equal(&chosen, &again));
    FUZZ_CHECK((rc == PERI_E_INVALID) == !valid);
    (void)walk(fields, find_offer, &found);
    FUZZ_CHECK(!valid || rc == (found.any ? PERI_OK : PERI_AGAIN));
    if (rc == PERI_OK) {
        check_chosen(&chosen, &found.offer, wishes, failing);
    }
    free(text.ptr);
}

// The client ---------------------------------------------------------------------------------

struct answers {
    size_t count;
    bool good; ///< the first one is of permessage-deflate, and says nothing that is not allowed
    struct peri_deflate_terms first;
};

static bool find_answer(const struct peri_extension *extension, void *arg) {
    struct answers *answers = arg;
    if (answers->count++ == 0) {
        answers->good = read_terms(extension, false, &answers->first);
    }
    return true;
}

static void check_answer(const struct fields *fields, const struct peri_deflate_terms *offer,
                         uint8_t failing) {
    struct answers answers = {0};
    struct peri_deflate_terms both = {0};
    int rc = peri_deflate_check_answer(fields->at, fields->count, offer, &both);
    bool valid = walk(fields, find_answer, &answers);
    if (!valid || answers.count > 1) {
        FUZZ_CHECK(rc == PERI_E_INVALID);
    } else if (answers.count == 0) {
        FUZZ_CHECK(rc == PERI_AGAIN);
    } else {
        FUZZ_CHECK((rc == PERI_OK) == (answers.good && is_within(&answers.first, offer)));
        FUZZ_CHECK(rc == PERI_OK || rc == PERI_E_INVALID);
    }
    if (rc != PERI_OK) {
        return;
    }
    FUZZ_CHECK(both.server_no_takeover == answers.first.server_no_takeover);
    FUZZ_CHECK(both.server_bits == answers.first.server_bits);
    FUZZ_CHECK(both.client_no_takeover ==
               (answers.first.client_no_takeover || offer->client_no_takeover));
    FUZZ_CHECK(answers.first.client_bits ? both.client_bits == answers.first.client_bits
                                         : both.client_bits == offer->client_bits);

    // Said again, it means the same.
    struct peri_buffer text = {0};
    struct peri_deflate_terms again = {0};
    print(&both, false, failing, &text);
    struct peri_field answer = field_of(peri_buffer_str(&text));
    FUZZ_CHECK(peri_deflate_check_answer(&answer, 1, offer, &again) == PERI_OK);
    FUZZ_CHECK(terms_equal(&both, &again));
    peri_buffer_deinit(&text);
}

/// What a client offers, a server reads as that.
static void check_offer(const struct peri_deflate_terms *offer, uint8_t failing) {
    const struct peri_deflate_wishes all = {PERI_WINDOW_MAX, true, true};
    struct peri_deflate_terms chosen = {0};
    struct found found = {0};
    struct peri_buffer text = {0};
    print(offer, true, failing, &text);
    struct fields fields = {{field_of(peri_buffer_str(&text))}, 1};
    FUZZ_CHECK(walk(&fields, visit_all, NULL));
    (void)walk(&fields, find_offer, &found);
    int rc = peri_deflate_choose(fields.at, 1, &all, &chosen);
    if (offer->server_bits == 8) {
        FUZZ_CHECK(rc == PERI_AGAIN);
    } else {
        FUZZ_CHECK(rc == PERI_OK && terms_equal(&found.offer, offer));
        check_chosen(&chosen, offer, &all, failing);
    }
    peri_buffer_deinit(&text);
}

/// 8 to 15, or 0 for half of the bytes.
static uint8_t take_bits(struct peri_str *in) {
    uint8_t byte = fuzz_byte(in);
    return byte & 8 ? (uint8_t)(8 + byte % 8) : 0;
}

/// The input: a byte of options, which allocation fails, a byte for each window that is wished for or
/// offered, then a field a line.
void fuzz_one(struct peri_str in) {
    struct fields fields;
    uint8_t options = fuzz_byte(&in);
    uint8_t failing = fuzz_byte(&in);
    if (options & 1) {
        struct peri_deflate_terms offer = {
            .server_no_takeover = options & 2,
            .client_no_takeover = options & 4,
            .server_bits = take_bits(&in),
            .client_bits = take_bits(&in),
        };
        take_fields(&fields, in);
        check_offer(&offer, failing);
        check_answer(&fields, &offer, failing);
    } else {
        const struct peri_deflate_wishes wishes = {
            .window = (uint8_t)(PERI_WINDOW_MIN + fuzz_byte(&in) % 7),
            .server_takeover = options & 2,
            .client_takeover = options & 4,
        };
        take_fields(&fields, in);
        choose(&fields, &wishes, failing);
    }
    free_fields(&fields);
}
