#include "base/log_repeats.h"

#include "base/hash.h"

enum {
    WINDOW_MS = 1000,
    KEPT_MESSAGE = 200,
    KEPT_VALUE = 100,
};

/// What tells one event of the host from another. All else differs from peer to peer (the
/// connection, the address, the path), and who floods the log picks it.
static bool identifies(const char *key, enum peri_log_kind kind) {
    static const char *const keys[] = {"script", "generation", "handler", "status",
                                       "limit",  "slow",       "code",    "why"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return kind == PERI_LOG_SAID_SO;
}

static uint64_t fold(uint64_t a, uint64_t b) {
    const uint64_t pair[2] = {a, b};
    return peri_hash(pair, sizeof pair);
}

/// Fields count in any order: a script's table has none.
static uint64_t hash_of(const struct peri_log_event *event, enum peri_log_kind kind) {
    struct peri_str what = event->message;
    for (const struct peri_log_field *f = event->fields; f && f->key; f++) {
        what = f->key == peri_log_place ? f->value : what;
    }
    uint64_t hash =
        fold(peri_hash(what.ptr, what.len), (uint64_t)event->level << 1 | (uint64_t)kind);
    for (const struct peri_log_field *f = event->fields; f && f->key; f++) {
        if (identifies(f->key, kind)) {
            hash += fold(peri_hash(f->key, strlen(f->key)), peri_hash(f->value.ptr, f->value.len));
        }
    }
    return hash;
}

static bool is_over(const struct peri_log_repeat *repeat, uint64_t now_ms) {
    return now_ms - repeat->began_ms >= WINDOW_MS;
}

/// The line's own place, else one that nothing is lost of; NULL: all of them hold something.
static struct peri_log_repeat *find(struct peri_log_repeats *repeats, uint64_t hash) {
    struct peri_log_repeat *oldest = NULL;
    for (size_t i = 0; i < PERI_LOG_REPEATS_KNOWN; i++) {
        struct peri_log_repeat *at = &repeats->known[i];
        if (at->seen > 0 && at->hash == hash) {
            return at;
        }
        if (at->held == 0 && (!oldest || at->began_ms < oldest->began_ms)) {
            oldest = at;
        }
    }
    return oldest;
}

/// At most `most` bytes of a text, ending with a whole character and "..." where it is cut.
static struct peri_str keep(struct peri_log_repeat *repeat, size_t *used, struct peri_str text,
                            size_t most) {
    static const char mark[] = "...";
    char *to = repeat->text + *used;
    size_t len = text.len;
    if (len > most) {
        len = most - (sizeof mark - 1);
        for (size_t i = 0; i < 3 && len > 0 && ((uint8_t)text.ptr[len] & 0xc0) == 0x80; i++) {
            len--;
        }
        memcpy(to + len, mark, sizeof mark - 1);
    }
    if (len > 0) {
        memcpy(to, text.ptr, len);
    }
    len += len < text.len ? sizeof mark - 1 : 0;
    *used += len;
    return peri_str(to, len);
}

static void begin(struct peri_log_repeat *repeat, const struct peri_log_event *event,
                  enum peri_log_kind kind) {
    size_t used = 0, n = 0;
    repeat->level = event->level;
    repeat->message = keep(repeat, &used, event->message, KEPT_MESSAGE);
    for (const struct peri_log_field *f = event->fields; f && f->key; f++) {
        size_t key_bytes = strlen(f->key) + 1;
        size_t room = sizeof repeat->text - used;
        if (n == PERI_LOG_REPEAT_FIELDS || !identifies(f->key, kind) || key_bytes > room ||
            room - key_bytes < KEPT_VALUE) {
            continue;
        }
        repeat->fields[n].key = repeat->text + used;
        memcpy(repeat->text + used, f->key, key_bytes);
        used += key_bytes;
        repeat->fields[n++].value = keep(repeat, &used, f->value, KEPT_VALUE);
    }
    repeat->fields[n] = (struct peri_log_field){0};
}

bool peri_log_repeats_pass(struct peri_log_repeats *repeats, const struct peri_log_event *event,
                           enum peri_log_kind kind, uint64_t now_ms) {
    uint64_t hash = hash_of(event, kind);
    struct peri_log_repeat *repeat = find(repeats, hash);
    if (!repeat) {
        return true; // better too many than one that nobody hears of
    }
    if (repeat->seen == 0 || repeat->hash != hash || is_over(repeat, now_ms)) {
        repeat->hash = hash;
        repeat->began_ms = now_ms;
        repeat->seen = 0;
    }
    repeat->seen++;
    if (repeat->seen <= (uint64_t)(kind == PERI_LOG_HAPPENED ? PERI_LOG_REPEATS : PERI_LOG_SAID)) {
        return true;
    }
    if (repeat->held++ == 0) {
        begin(repeat, event, kind); // only now: most lines never get here
        repeats->holding++;
    }
    return false;
}

bool peri_log_repeats_due(struct peri_log_repeats *repeats, uint64_t now_ms,
                          struct peri_log_event *event) {
    for (size_t i = 0; repeats->holding > 0 && i < PERI_LOG_REPEATS_KNOWN; i++) {
        struct peri_log_repeat *at = &repeats->known[i];
        if (at->held > 0 && (now_ms == UINT64_MAX || is_over(at, now_ms))) {
            *event = (struct peri_log_event){
                .level = at->level, .message = at->message, .fields = at->fields, .more = at->held};
            at->held = at->seen = 0;
            repeats->holding--;
            return true;
        }
    }
    return false;
}
