// The frame and connection state machine. The input picks role, limits, compression and pieces; the
// events, errors included, must not depend on the pieces.
#include "proto/connection.h"
#include "proto/utf8.h"

#include "fuzz.h"
#include "proto/deflate.h"

static bool is_utf8(struct peri_str text) {
    return peri_utf8_is_valid(text.ptr, text.len);
}

static void check_event(const struct peri_connection *c, const struct peri_event *ev) {
    switch (ev->kind) {
    case PERI_EV_TEXT: FUZZ_CHECK(is_utf8(ev->payload)); // fallthrough
    case PERI_EV_BINARY: FUZZ_CHECK(ev->payload.len <= c->max_message_bytes); break;
    case PERI_EV_PING:
    case PERI_EV_PONG: FUZZ_CHECK(ev->payload.len <= PERI_CONTROL_MAX); break;
    case PERI_EV_CLOSE:
        FUZZ_CHECK(ev->payload.len <= PERI_CONTROL_MAX - 2 && is_utf8(ev->payload));
        FUZZ_CHECK(ev->close_code == 1005 || peri_close_code_is_valid(ev->close_code));
        break;
    }
}

static void check_error(const struct peri_connection *c) {
    FUZZ_CHECK(c->error_text && c->error_text[0]);
    FUZZ_CHECK(c->error_code == 1002 || c->error_code == 1007 || c->error_code == 1008 ||
               c->error_code == 1009);
}

static void note_event(struct fuzz_seen *seen, const struct peri_event *ev) {
    fuzz_note_number(seen, ev->kind);
    fuzz_note_number(seen, ev->kind == PERI_EV_CLOSE ? ev->close_code : 0);
    fuzz_note_str(seen, ev->payload);
}

enum deflate { PLAIN, DEFLATE_SHARED, DEFLATE_OWN };

struct setting {
    struct peri_connection connection; ///< without its decompressor
    enum deflate deflate;
};

/// A window of 15 bits: see peri_inflater_new, and deflate.c for the others.
static struct peri_inflater *get_inflater(struct peri_deflate_pool *pool, enum deflate how) {
    switch (how) {
    case PLAIN: return NULL;
    case DEFLATE_SHARED: return peri_inflater_shared(pool);
    case DEFLATE_OWN: return peri_inflater_new(pool, PERI_WINDOW_MAX);
    }
    return NULL;
}

static void run(const struct setting *setting, struct peri_str bytes, const struct fuzz_cuts *cuts,
                struct fuzz_seen *seen) {
    struct peri_deflate_budget budget = {.max_bytes = 1 << 20};
    struct peri_deflate_pool pool = {.budget = &budget};
    struct peri_connection c = setting->connection;
    c.inflater = get_inflater(&pool, setting->deflate);
    int rc = PERI_AGAIN;
    size_t turn = 0;
    struct peri_span piece;
    while (rc == PERI_AGAIN && fuzz_piece(&bytes, cuts, &turn, &piece)) {
        struct peri_span in = piece;
        struct peri_event ev;
        while ((rc = peri_connection_next(&c, &in, &ev)) == PERI_OK) {
            check_event(&c, &ev);
            note_event(seen, &ev);
        }
        FUZZ_CHECK(in.ptr + in.len == piece.ptr + piece.len);
        FUZZ_CHECK(rc != PERI_AGAIN || in.len == 0);
        if (rc != PERI_AGAIN) {
            FUZZ_CHECK(peri_connection_next(&c, &in, &ev) == rc); // stays as it is
        }
        free(piece.ptr);
    }
    if (rc == PERI_E_PROTOCOL) {
        check_error(&c);
        fuzz_note_number(seen, c.error_code);
        fuzz_note_str(seen, peri_str_of(c.error_text));
    }
    fuzz_note_number(seen, (uint64_t)rc);
    peri_connection_deinit(&c);
    peri_deflate_pool_deinit(&pool);
    FUZZ_CHECK(budget.used_ == 0);
}

/// The input: a byte of options, where they say so the message cap, the most fragments and which
/// allocation fails, the pieces, then what comes from the peer.
void fuzz_one(struct peri_str in) {
    uint8_t options = fuzz_byte(&in);
    struct setting setting = {
        .connection.role = options & 1 ? PERI_CLIENT : PERI_SERVER,
        .connection.max_message_bytes = options & 2 ? fuzz_number(&in) : 1 << 20,
        .connection.max_fragments = options & 4 ? fuzz_byte(&in) + 1u : 1024,
        .deflate = !(options & 16) ? PLAIN
                   : options & 32  ? DEFLATE_OWN
                                   : DEFLATE_SHARED,
    };
    uint8_t failing = options & 8 ? fuzz_byte(&in) : 0;
    struct fuzz_cuts cuts = fuzz_cuts(&in);
    struct fuzz_seen whole = {0}, pieces = {0};
    run(&setting, in, &fuzz_whole, &whole);
    run(&setting, in, &cuts, &pieces);
    fuzz_same(&whole, &pieces);
    if (failing > 0) {
        struct fuzz_seen rest = {0};
        peri_alloc_fail_from(failing);
        run(&setting, in, &cuts, &rest);
        free(rest.ptr);
    }
}
