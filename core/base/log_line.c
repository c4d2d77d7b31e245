#include "base/log_line.h"

#include <stdio.h>

enum {
    KEY_MAX = 64,
    SLACK = 512, ///< for what follows a text that was cut: a key, quotes, a count, colours
};

const char peri_log_excerpt[] = "excerpt";
const char peri_log_place[] = "place";

enum style {
    STYLE_LOGFMT,
    STYLE_JSON,
    STYLE_PLAIN, ///< between spaces, for people: quotes and backslashes stand as they are
};

/// Bytes for a line. Texts end at `soft`, so that what closes them always fits.
struct writer {
    char *at;
    const char *soft, *hard;
};

static const char cut_mark[] = "...";

static void put(struct writer *w, const char *bytes, size_t n) {
    if (n <= (size_t)(w->hard - w->at)) {
        memcpy(w->at, bytes, n);
        w->at += n;
    }
}

static void put_text(struct writer *w, const char *text) {
    put(w, text, strlen(text));
}

static const char *level_name(enum peri_log_level level) {
    switch (level) {
    case PERI_LOG_DEBUG: return "debug";
    case PERI_LOG_INFO: return "info";
    case PERI_LOG_WARN: return "warn";
    case PERI_LOG_ERROR: return "error";
    }
    return "";
}

static const char *level_colour(enum peri_log_level level) {
    switch (level) {
    case PERI_LOG_DEBUG: return "\x1b[2m";
    case PERI_LOG_INFO: return "\x1b[36m";
    case PERI_LOG_WARN: return "\x1b[33m";
    case PERI_LOG_ERROR: return "\x1b[1;31m";
    }
    return "";
}

size_t peri_log_decode(const char *s, size_t n, uint32_t *character) {
    unsigned char first = (unsigned char)s[0];
    if (first < 0x80) {
        *character = first;
        return 1;
    }
    size_t size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (size == 0 || size > n) {
        return 0;
    }
    uint32_t c = first & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        unsigned char byte = (unsigned char)s[i];
        if ((byte & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (byte & 0x3fu);
    }
    bool overlong = (size == 3 && c < 0x800) || (size == 4 && c < 0x10000);
    if (overlong || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
        return 0;
    }
    *character = c;
    return size;
}

bool peri_log_misleads(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

/// In JSON the character is kept, as \u; elsewhere its bytes are shown. What is no UTF-8 is shown
/// in JSON too, where nothing could keep it.
static void put_escaped(struct writer *w, enum style style, const char *s, size_t size,
                        uint32_t c) {
    char text[16];
    if (size > 0 && (c == '\n' || c == '\r' || c == '\t')) {
        put_text(w, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        return;
    }
    if (size > 0 && style == STYLE_JSON) {
        (void)snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
        put_text(w, text);
        return;
    }
    for (size_t i = 0; i < (size > 0 ? size : 1); i++) {
        (void)snprintf(text, sizeof text, "%s\\x%02X", style == STYLE_JSON ? "\\" : "",
                       (unsigned)(unsigned char)s[i]);
        put_text(w, text);
    }
}

static void put_value(struct writer *w, enum style style, struct peri_str value) {
    const char *end = w->soft - w->at > PERI_LOG_VALUE_MAX ? w->at + PERI_LOG_VALUE_MAX : w->soft;
    for (size_t i = 0; i < value.len;) {
        if (w->at >= end) {
            put_text(w, cut_mark);
            return;
        }
        uint32_t c = 0;
        size_t size = peri_log_decode(value.ptr + i, value.len - i, &c);
        if (size == 0 || peri_log_misleads(c)) {
            put_escaped(w, style, value.ptr + i, size, c);
        } else {
            if (style != STYLE_PLAIN && (c == '"' || c == '\\')) {
                put_text(w, "\\");
            }
            put(w, value.ptr + i, size);
        }
        i += size > 0 ? size : 1;
    }
}

static void put_count(struct writer *w, uint64_t n) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            put_text(w, ",");
        }
        put(w, digits + i, 1);
    }
}

static void put_message(struct writer *w, enum style style, const struct peri_log_event *event) {
    put_value(w, style, event->message);
    if (event->more > 0) {
        put_text(w, " (x ");
        put_count(w, event->more);
        put_text(w, " more)");
    }
}

/// A key may come from a script: whatever could end it early becomes "_".
static char plain_key(char c) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '.' || c == '-';
    return plain ? c : '_';
}

static bool same_key(const char *a, const char *b) {
    for (size_t i = 0; i < KEY_MAX; i++) {
        if (a[i] == '\0' || b[i] == '\0') {
            return a[i] == b[i];
        }
        if (plain_key(a[i]) != plain_key(b[i])) {
            return false;
        }
    }
    return true;
}

/// Names that a line has from elsewhere are not given again: parsers take the last one.
static bool is_taken(const struct peri_log_field *fields, const struct peri_log_field *field) {
    static const char *const ours[] = {"time", "level", "msg", "more"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (same_key(field->key, ours[i])) {
            return true;
        }
    }
    for (; fields < field; fields++) {
        if (same_key(field->key, fields->key)) {
            return true;
        }
    }
    return false;
}

static void put_key(struct writer *w, const struct peri_log_field *fields,
                    const struct peri_log_field *field) {
    const char *key = field->key;
    for (size_t i = 0; i < KEY_MAX && key[i]; i++) {
        char c = plain_key(key[i]);
        put(w, &c, 1);
    }
    if (key[0] == '\0' || is_taken(fields, field)) {
        put_text(w, "_");
    }
}

static bool is_bare(struct peri_str value) {
    for (size_t i = 0; i < value.len;) {
        uint32_t c = 0;
        size_t size = peri_log_decode(value.ptr + i, value.len - i, &c);
        if (size == 0 || peri_log_misleads(c) || c == ' ' || c == '"' || c == '=' || c == '\\') {
            return false;
        }
        i += size;
    }
    return value.len > 0;
}

static void put_pair(struct writer *w, const struct peri_log_field *fields,
                     const struct peri_log_field *field) {
    put_text(w, " ");
    put_key(w, fields, field);
    const char *quote = is_bare(field->value) ? "" : "\"";
    put_text(w, "=");
    put_text(w, quote);
    put_value(w, STYLE_LOGFMT, field->value);
    put_text(w, quote);
}

/// RFC 3339, UTC, milliseconds.
static void put_time(struct writer *w, struct timespec time) {
    struct tm utc = {0};
    char text[64];
    (void)gmtime_r(&time.tv_sec, &utc);
    (void)snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", utc.tm_year + 1900,
                   utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                   time.tv_nsec / 1000000);
    put_text(w, text);
}

static void write_logfmt(struct writer *w, const struct peri_log_event *event) {
    put_text(w, "time=");
    put_time(w, event->time);
    put_text(w, " level=");
    put_text(w, level_name(event->level));
    put_text(w, " msg=\"");
    put_message(w, STYLE_LOGFMT, event);
    put_text(w, "\"");
    for (const struct peri_log_field *f = event->fields; f && f->key && w->at < w->soft; f++) {
        if (f->key != peri_log_excerpt && f->key != peri_log_place) {
            put_pair(w, event->fields, f);
        }
    }
    if (event->more > 0) {
        char text[32];
        (void)snprintf(text, sizeof text, " more=%llu", (unsigned long long)event->more);
        put_text(w, text);
    }
}

static void write_json(struct writer *w, const struct peri_log_event *event) {
    put_text(w, "{\"time\":\"");
    put_time(w, event->time);
    put_text(w, "\",\"level\":\"");
    put_text(w, level_name(event->level));
    put_text(w, "\",\"msg\":\"");
    put_message(w, STYLE_JSON, event);
    put_text(w, "\"");
    for (const struct peri_log_field *f = event->fields; f && f->key && w->at < w->soft; f++) {
        if (f->key == peri_log_excerpt || f->key == peri_log_place) {
            continue;
        }
        put_text(w, ",\"");
        put_key(w, event->fields, f);
        put_text(w, "\":\"");
        put_value(w, STYLE_JSON, f->value);
        put_text(w, "\"");
    }
    if (event->more > 0) {
        char text[32];
        (void)snprintf(text, sizeof text, ",\"more\":%llu", (unsigned long long)event->more);
        put_text(w, text);
    }
    put_text(w, "}");
}

/// Each line of it below the event's own, indented: only events begin at the margin. One that begins
/// with ">" is put between `loud` and `quiet`.
static void put_below(struct writer *w, struct peri_str text, const char *loud, const char *quiet) {
    while (text.len > 0 && w->at < w->soft) {
        const char *newline = memchr(text.ptr, '\n', text.len);
        size_t len = newline ? (size_t)(newline - text.ptr) : text.len;
        size_t indent = len > 0 && text.ptr[0] == '\t' ? 1 : 0;
        put_text(w, indent ? "\n      " : "\n    ");
        bool is_loud = len > 0 && text.ptr[0] == '>';
        put_text(w, is_loud ? loud : "");
        put_value(w, STYLE_PLAIN, peri_str(text.ptr + indent, len - indent));
        put_text(w, is_loud ? quiet : "");
        len += newline ? 1 : 0;
        text = peri_str(text.ptr + len, text.len - len);
    }
}

/// The excerpt, the hint and the traceback: what a person needs after the message, in that order.
static void put_rest(struct writer *w, const struct peri_log_field *const rest[3], bool coloured) {
    const char *loud = coloured ? "\x1b[0;1m" : "", *quiet = coloured ? "\x1b[0;2m" : "";
    if (rest[0]) {
        put_below(w, rest[0]->value, loud, quiet);
    }
    if (rest[1]) {
        put_text(w, "\n    ");
        put_text(w, loud);
        put_text(w, "hint: ");
        put_value(w, STYLE_PLAIN, rest[1]->value);
        put_text(w, quiet);
    }
    if (rest[2]) {
        put_below(w, rest[2]->value, "", "");
    }
}

static void write_short(struct writer *w, const struct peri_log_event *event, bool coloured) {
    const char *dim = coloured ? "\x1b[2m" : "", *end = coloured ? "\x1b[0m" : "";
    const struct peri_log_field *script = NULL, *handler = NULL;
    const struct peri_log_field *rest[3] = {NULL};
    for (const struct peri_log_field *f = event->fields; f && f->key; f++) {
        script = !script && strcmp(f->key, "script") == 0 ? f : script;
        handler = !handler && strcmp(f->key, "handler") == 0 ? f : handler;
        rest[0] = f->key == peri_log_excerpt ? f : rest[0];
        rest[1] = !rest[1] && strcmp(f->key, "hint") == 0 ? f : rest[1];
        rest[2] = !rest[2] && strcmp(f->key, "traceback") == 0 ? f : rest[2];
    }
    struct tm local = {0};
    char text[64];
    (void)localtime_r(&event->time.tv_sec, &local);
    (void)snprintf(text, sizeof text, "%s%02d:%02d:%02d%s %s%-5s%s ", dim, local.tm_hour,
                   local.tm_min, local.tm_sec, end, coloured ? level_colour(event->level) : "",
                   level_name(event->level), end);
    put_text(w, text);
    if (script) {
        put_value(w, STYLE_PLAIN, script->value);
        if (handler) {
            put_text(w, " ");
            put_value(w, STYLE_PLAIN, handler->value);
        }
        put_text(w, ": ");
    }
    put_message(w, STYLE_PLAIN, event);
    put_text(w, dim);
    for (const struct peri_log_field *f = event->fields; f && f->key && w->at < w->soft; f++) {
        bool shown = f->key == peri_log_place || f == script || (script && f == handler) ||
                     f == rest[0] || f == rest[1] || f == rest[2];
        if (!shown && strcmp(f->key, "generation") != 0) {
            put_pair(w, event->fields, f);
        }
    }
    put_rest(w, rest, coloured);
    put_text(w, end);
}

size_t peri_log_write_line(char out[PERI_LOG_LINE_MAX], enum peri_log_format format,
                           const struct peri_log_event *event) {
    struct writer w = {out, out + PERI_LOG_LINE_MAX - SLACK, out + PERI_LOG_LINE_MAX};
    switch (format) {
    case PERI_LOG_LOGFMT: write_logfmt(&w, event); break;
    case PERI_LOG_JSON: write_json(&w, event); break;
    case PERI_LOG_SHORT: write_short(&w, event, false); break;
    case PERI_LOG_COLOURED: write_short(&w, event, true); break;
    }
    put_text(&w, "\n");
    return (size_t)(w.at - out);
}
