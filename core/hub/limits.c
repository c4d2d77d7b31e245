// The table of limits, and the reading of their values.
#include "hub/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/nearest.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)
#define DAY_MS (UINT64_C(24) * 3600 * 1000)
#define MANY UINT64_C(1000000000)

#define AT(field) offsetof(struct peri_limits, field)

// What one connection holds is counted in 32 bits: a message and an outbox are at most 1 GiB.
const struct peri_limit_spec peri_limit_specs[] = {
    {"head_bytes", PERI_LIMIT_BYTES, AT(head_bytes), 256, 16 * MIB, "8 KiB", false,
     "a request's head; over it: 431"},
    {"head_fields", PERI_LIMIT_COUNT, AT(head_fields), 1, 100000, "100", false,
     "fields in a request's head; over it: 431"},
    {"head_s", PERI_LIMIT_SECONDS, AT(head_ms), 1, DAY_MS, "10", false,
     "until a request's head is complete; over it: 408"},
    {"body_bytes", PERI_LIMIT_BYTES, AT(body_bytes), 0, GIB, "1 MiB", true,
     "a request's body; over it: 413"},
    {"body_s", PERI_LIMIT_SECONDS, AT(body_ms), 1, DAY_MS, "30", false,
     "until a request's body is complete; over it: 408"},
    {"handler_wait_s", PERI_LIMIT_SECONDS, AT(handler_wait_ms), 1, DAY_MS, "60", true,
     "how long upgrade and request may wait; over it: 504"},
    {"response_bytes", PERI_LIMIT_BYTES, AT(response_bytes), 0, GIB, "8 MiB", true,
     "the body that a request handler returns; over it: 500"},
    {"keepalive_s", PERI_LIMIT_SECONDS, AT(keepalive_ms), 1, DAY_MS, "15", false,
     "an idle HTTP connection; over it: closed"},
    {"keepalive_requests", PERI_LIMIT_COUNT, AT(keepalive_requests), 1, MANY, "1000", false,
     "requests on one HTTP connection; over it: closed"},
    {"stall_s", PERI_LIMIT_SECONDS, AT(stall_ms), 1, DAY_MS, "30", false,
     "no byte taken of what is to be sent; over it: closed, 1006"},
    {"message_bytes", PERI_LIMIT_BYTES, AT(message_bytes), 1, GIB, "1 MiB", true,
     "a message; over it: 1009"},
    {"fragments", PERI_LIMIT_COUNT, AT(fragments), 1, MANY, "1024", true,
     "frames in a message; over it: 1008"},
    {"ping_s", PERI_LIMIT_SECONDS, AT(ping_ms), 1, DAY_MS, "25", false,
     "quiet until a ping is sent"},
    {"pong_s", PERI_LIMIT_SECONDS, AT(pong_ms), 1, DAY_MS, "10", false,
     "the wait for its pong; over it: closed, 1006"},
    {"outbox_soft", PERI_LIMIT_BYTES, AT(outbox_soft), 1, GIB, "64 KiB", true,
     "what waits to be sent to a connection; over it: the slow policy"},
    {"outbox_hard", PERI_LIMIT_BYTES, AT(outbox_hard), 1, GIB, "1 MiB", true,
     "the same, never below one largest message; over it: 1013"},
    {"outbox_total", PERI_LIMIT_BYTES, AT(outbox_total), 64 * KIB, 1024 * TIB, "256 MiB", false,
     "all outboxes, shared bytes counted once; over it: the one with most queued gets 1013"},
    {"close_s", PERI_LIMIT_SECONDS, AT(close_ms), 1, DAY_MS, "2", false,
     "the close handshake; over it: the socket is closed"},
    {"connections", PERI_LIMIT_COUNT, AT(connections), 0, 1 << 24, "0", false,
     "connections (0: the descriptor limit less 10 %); over it: 503"},
    {"address_connections", PERI_LIMIT_COUNT, AT(address_connections), 0, 1 << 24, "0", false,
     "connections from one address (0: no bound); over it: 503"},
    {"address_handshakes", PERI_LIMIT_COUNT, AT(address_handshakes), 0, MANY, "0", false,
     "WebSockets asked for from one address in a second (0: no bound); over it: 503"},
    {"address_messages", PERI_LIMIT_COUNT, AT(address_messages), 0, MANY, "0", false,
     "messages from one address in a second (0: no bound); over it: 1008"},
    {"conn_rooms", PERI_LIMIT_COUNT, AT(conn_rooms), 0, 1000000, "128", true,
     "rooms that a connection is in; over it: join answers nil"},
    {"room_name_bytes", PERI_LIMIT_BYTES, AT(room_name_bytes), 0, 64 * KIB, "255", true,
     "a room's name; over it: join answers nil"},
    {"rooms", PERI_LIMIT_COUNT, AT(rooms), 0, MANY, "100000", true,
     "rooms of a script; over it: join answers nil"},
    {"timers", PERI_LIMIT_COUNT, AT(timers), 0, MANY, "10000", true,
     "timers of a script; over it: after and every answer nil"},
    {"limiter_keys", PERI_LIMIT_COUNT, AT(limiter_keys), 1, MANY, "100000", true,
     "buckets of a script's limiters; over it: the fullest is forgotten"},
    {"origins", PERI_LIMIT_TEXT, AT(origins), 0, 511, "same", false,
     "pages that may connect: same, *, or a list of origins; others: 403"},
    {"handler_warn_s", PERI_LIMIT_SECONDS, AT(handler_warn_ms), 1, DAY_MS, "0.05", true,
     "CPU of one event of a script; over it: a line in the log"},
    {"handler_stop_s", PERI_LIMIT_SECONDS, AT(handler_stop_ms), 1, DAY_MS, "0.5", true,
     "the same; over it: it is stopped, and the event lost"},
    {"script_memory", PERI_LIMIT_BYTES, AT(script_memory), MIB, 1024 * TIB, "64 MiB", true,
     "memory of a script; over it: an error in the script"},
    {"reload_wait_s", PERI_LIMIT_SECONDS, AT(reload_wait_ms), 0, DAY_MS, "5", false,
     "how long handlers that wait may finish in the generation before; over it: cut"},
    {"gone_s", PERI_LIMIT_SECONDS, AT(gone_ms), 0, DAY_MS, "10", false,
     "how long a script goes on without its file; over it: its connections are closed, 1001"},
    {"probation_s", PERI_LIMIT_SECONDS, AT(probation_ms), 0, DAY_MS, "30", false,
     "how long errors after a reload may bring the rules before back; 0: never"},
    {"probation_connections", PERI_LIMIT_COUNT, AT(probation_connections), 1, 64, "3", false,
     "on how many connections there must be errors for that"},
    {"probation_factor", PERI_LIMIT_COUNT, AT(probation_factor), 1, MANY, "5", false,
     "over how many times as many as before, an event"},
    {"deflate", PERI_LIMIT_SWITCH, AT(deflate), 0, 1, "on", false,
     "permessage-deflate: messages are compressed for clients that ask for it"},
    {"deflate_min", PERI_LIMIT_BYTES, AT(deflate_min), 0, GIB, "1 KiB", false,
     "from which size on a message is compressed"},
    {"deflate_window", PERI_LIMIT_COUNT, AT(deflate_window), 9, 15, "12", false,
     "bits of the host's windows, 12 is 4 KiB: how far back a repetition is found"},
    {"deflate_takeover", PERI_LIMIT_SWITCH, AT(deflate_takeover), 0, 1, "off", false,
     "whether a connection's messages refer to those before, with a window of its own"},
    {"deflate_memory", PERI_LIMIT_BYTES, AT(deflate_memory), 0, 1024 * TIB, "64 MiB", false,
     "memory of all compression; over it: plain"},
    {"drain_s", PERI_LIMIT_SECONDS, AT(drain_ms), 0, DAY_MS, "10", false,
     "over how long live connections get 1001 when the host stops"},
    {"drain_stop_s", PERI_LIMIT_SECONDS, AT(drain_stop_ms), 0, DAY_MS, "30", false,
     "when the host stops at the latest"},
};

const size_t peri_limit_spec_count = sizeof peri_limit_specs / sizeof peri_limit_specs[0];

static struct peri_str spec_name(const struct peri_limit_spec *spec) {
    return peri_str_of(spec->name);
}

static uint64_t *number_at(struct peri_limits *limits, const struct peri_limit_spec *spec) {
    return (uint64_t *)(void *)((char *)limits + spec->offset); // the table says it is one
}

const struct peri_limit_spec *peri_limit_find(struct peri_str name) {
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        if (peri_str_equal(spec_name(&peri_limit_specs[i]), name)) {
            return &peri_limit_specs[i];
        }
    }
    return NULL;
}

static int unknown(struct peri_str name, bool for_scripts, struct peri_buffer *error) {
    struct peri_nearest nearest = peri_nearest(name);
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        if (peri_limit_specs[i].for_scripts || !for_scripts) {
            peri_nearest_try(&nearest, peri_limit_specs[i].name);
        }
    }
    if (nearest.found) {
        return PERI_TELL(error, "unknown limit \"%.*s\": did you mean %s?", PERI_SHOWN(name),
                         nearest.found);
    }
    return PERI_TELL(error, "unknown limit \"%.*s\"", PERI_SHOWN(name));
}

static const char *form_of(enum peri_limit_kind kind) {
    switch (kind) {
    case PERI_LIMIT_COUNT: return "a whole number";
    case PERI_LIMIT_BYTES: return "a number of bytes, or one with KiB, MiB or GiB";
    case PERI_LIMIT_SECONDS: return "a number of seconds";
    case PERI_LIMIT_TEXT: return "text";
    case PERI_LIMIT_SWITCH: return "on or off";
    }
    return "";
}

static struct peri_str trim(struct peri_str text) {
    while (text.len > 0 && (*text.ptr == ' ' || *text.ptr == '\t')) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t')) {
        text.len--;
    }
    return text;
}

static bool take_digit(struct peri_str *text, unsigned *digit) {
    if (text->len == 0 || *text->ptr < '0' || *text->ptr > '9') {
        return false;
    }
    *digit = (unsigned)(*text->ptr - '0'); // 0 to 9
    text->ptr++;
    text->len--;
    return true;
}

/// What follows the digits. @return false when it is no unit of that kind
static bool take_unit(enum peri_limit_kind kind, struct peri_str text, uint64_t *unit) {
    static const struct {
        struct peri_str name;
        uint64_t bytes;
    } units[] = {{{"KiB", 3}, KIB}, {{"MiB", 3}, MIB}, {{"GiB", 3}, GIB}};
    text = trim(text);
    if (text.len == 0) {
        *unit = kind == PERI_LIMIT_SECONDS ? 1000 : 1;
        return true;
    }
    for (size_t i = 0; kind == PERI_LIMIT_BYTES && i < sizeof units / sizeof units[0]; i++) {
        if (peri_str_equal(text, units[i].name)) {
            *unit = units[i].bytes;
            return true;
        }
    }
    return false;
}

/// Reads DIGITS[.DIGITS][ UNIT] exactly; what is under the stored unit is cut off.
static bool read_number(enum peri_limit_kind kind, struct peri_str text, uint64_t *value) {
    enum { FRACTION_DIGITS = 9 };
    const uint64_t one = UINT64_C(1000000000); // 10 to the FRACTION_DIGITS
    uint64_t whole = 0, fraction = 0, unit = 0, place = one / 10;
    unsigned digit = 0;
    text = trim(text);
    if (!take_digit(&text, &digit)) {
        return false;
    }
    whole = digit;
    while (take_digit(&text, &digit)) {
        if (whole > (UINT64_MAX - digit) / 10) {
            return false;
        }
        whole = whole * 10 + digit;
    }
    if (text.len > 0 && *text.ptr == '.') {
        text.ptr++;
        text.len--;
        if (!take_digit(&text, &digit)) {
            return false;
        }
        do {
            fraction += digit * place;
            place /= 10;
        } while (take_digit(&text, &digit));
    }
    if (!take_unit(kind, text, &unit) || whole > UINT64_MAX / unit - 1) {
        return false;
    }
    if (fraction > 0 && unit == 1) {
        return false; // half a byte, half a connection
    }
    // unit is at most 2^30 and fraction below 10^9: the product fits.
    *value = whole * unit + fraction * unit / one;
    return true;
}

static bool read_switch(struct peri_str text, uint64_t *value) {
    static const char *const words[2][4] = {{"off", "no", "false", "0"},
                                            {"on", "yes", "true", "1"}};
    text = trim(text);
    for (uint64_t on = 0; on <= 1; on++) {
        for (size_t i = 0; i < 4; i++) {
            if (peri_str_equal(text, peri_str_of(words[on][i]))) {
                *value = on;
                return true;
            }
        }
    }
    return false;
}

static int bound_error(const struct peri_limit_spec *spec, struct peri_str text, bool high,
                       struct peri_buffer *error) {
    const char *word = high ? "above the most" : "below the least";
    uint64_t bound = high ? spec->max : spec->min;
    if (spec->kind == PERI_LIMIT_SECONDS) {
        return PERI_TELL(error, "limit %s: %.*s is %s, %g s", spec->name, PERI_SHOWN(text), word,
                         (double)bound / 1000);
    }
    return PERI_TELL(error, "limit %s: %.*s is %s, %llu%s", spec->name, PERI_SHOWN(text), word,
                     (unsigned long long)bound, spec->kind == PERI_LIMIT_BYTES ? " bytes" : "");
}

static int read_value(const struct peri_limit_spec *spec, struct peri_str text, uint64_t *value,
                      struct peri_buffer *error) {
    uint64_t v = 0;
    if (spec->kind == PERI_LIMIT_SWITCH ? !read_switch(text, &v)
                                        : !read_number(spec->kind, text, &v)) {
        return PERI_TELL(error, "limit %s: \"%.*s\" is not %s", spec->name, PERI_SHOWN(text),
                         form_of(spec->kind));
    }
    if (v < spec->min || v > spec->max) {
        return bound_error(spec, text, v > spec->max, error);
    }
    *value = v;
    return PERI_OK;
}

static int set_text(char *field, const struct peri_limit_spec *spec, struct peri_str text,
                    struct peri_buffer *error) {
    if (text.len > spec->max) {
        return PERI_TELL(error, "limit %s: longer than %llu bytes", spec->name,
                         (unsigned long long)spec->max);
    }
    if (text.len > 0 && memchr(text.ptr, 0, text.len)) {
        return PERI_TELL(error, "limit %s: holds a NUL", spec->name);
    }
    if (text.len > 0) {
        memcpy(field, text.ptr, text.len);
    }
    field[text.len] = '\0';
    return PERI_OK;
}

static int set(struct peri_limits *limits, const struct peri_limit_spec *spec,
               struct peri_str value, struct peri_buffer *error) {
    if (spec->kind == PERI_LIMIT_TEXT) {
        return set_text((char *)limits + spec->offset, spec, value, error);
    }
    return read_value(spec, value, number_at(limits, spec), error);
}

void peri_limits_init(struct peri_limits *limits) {
    struct peri_buffer error = {0};
    *limits = (struct peri_limits){0};
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        const struct peri_limit_spec *spec = &peri_limit_specs[i];
        int rc = set(limits, spec, peri_str_of(spec->initial), &error);
        assert(rc == PERI_OK); // the table is ours
        (void)rc;
    }
    peri_buffer_deinit(&error);
}

int peri_limits_set(struct peri_limits *limits, struct peri_str name, struct peri_str value,
                    struct peri_buffer *error) {
    const struct peri_limit_spec *spec = peri_limit_find(name);
    return spec ? set(limits, spec, value, error) : unknown(name, false, error);
}

int peri_limits_tighten(struct peri_limits *limits, struct peri_str name, struct peri_str value,
                        struct peri_buffer *error) {
    const struct peri_limit_spec *spec = peri_limit_find(name);
    if (!spec) {
        return unknown(name, true, error);
    }
    if (!spec->for_scripts) {
        return PERI_TELL(error, "limit %s is the host's: a script can't set it", spec->name);
    }
    uint64_t tighter = 0;
    int rc = read_value(spec, value, &tighter, error);
    if (rc != PERI_OK) {
        return rc;
    }
    uint64_t *present = number_at(limits, spec);
    if (tighter > *present) {
        double per = spec->kind == PERI_LIMIT_SECONDS ? 1000 : 1;
        return PERI_TELL(error, "limit %s: %.*s is above the host's, %.16g", spec->name,
                         PERI_SHOWN(value), (double)*present / per);
    }
    *present = tighter;
    return PERI_OK;
}

static int print_bytes(uint64_t bytes, struct peri_buffer *out) {
    static const struct {
        uint64_t bytes;
        const char *name;
    } units[] = {{GIB, "GiB"}, {MIB, "MiB"}, {KIB, "KiB"}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (bytes > 0 && bytes % units[i].bytes == 0) {
            return peri_buffer_printf(out, "%" PRIu64 " %s", bytes / units[i].bytes, units[i].name);
        }
    }
    return peri_buffer_printf(out, "%" PRIu64, bytes);
}

static int print_seconds(uint64_t ms, struct peri_buffer *out) {
    char fraction[8];
    int digits = snprintf(fraction, sizeof fraction, ".%03u", (unsigned)(ms % 1000));
    while (digits > 0 && (fraction[digits - 1] == '0' || fraction[digits - 1] == '.')) {
        digits--;
    }
    return peri_buffer_printf(out, "%" PRIu64 "%.*s", ms / 1000, digits, fraction);
}

int peri_limits_print(const struct peri_limits *limits, const struct peri_limit_spec *spec,
                      struct peri_buffer *out) {
    const void *at = (const char *)limits + spec->offset;
    switch (spec->kind) {
    case PERI_LIMIT_COUNT: return peri_buffer_printf(out, "%" PRIu64, *(const uint64_t *)at);
    case PERI_LIMIT_BYTES: return print_bytes(*(const uint64_t *)at, out);
    case PERI_LIMIT_SECONDS: return print_seconds(*(const uint64_t *)at, out);
    case PERI_LIMIT_TEXT: return peri_buffer_append_str(out, peri_str_of(at));
    case PERI_LIMIT_SWITCH:
        return peri_buffer_append_str(out,
                                      *(const uint64_t *)at ? PERI_STR("on") : PERI_STR("off"));
    }
    return PERI_E_INVALID; // the table has no other kind
}
