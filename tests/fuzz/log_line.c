// Events as lines of the log: whatever a peer or a script puts into one, it stays one line (one and
// indented ones in the short formats), no control character gets out, and JSON is JSON.
#include "base/log_line.h"

#include <yyjson.h>

#include "fuzz.h"

enum { FIELDS_MAX = 6 };

/// Colours are ours: ESC [ digits and semicolons m. @return its bytes; 0: it is none
static size_t colour_at(const char *s, size_t n) {
    size_t i = 2;
    if (n < 3 || s[0] != '\x1b' || s[1] != '[') {
        return 0;
    }
    while (i < n && (s[i] == ';' || (s[i] >= '0' && s[i] <= '9'))) {
        i++;
    }
    return i < n && s[i] == 'm' ? i + 1 : 0;
}

/// What a reader does not see, or sees elsewhere: controls, ends of lines, turns of the direction.
static bool misleads(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

/// Nothing in it that a reader does not see, and no line that begins as an event's would.
static void check_line(struct peri_str line, enum peri_log_format format) {
    bool one_line = format == PERI_LOG_LOGFMT || format == PERI_LOG_JSON;
    FUZZ_CHECK(line.len > 0 && line.ptr[line.len - 1] == '\n');
    for (size_t i = 0; i + 1 < line.len;) {
        const char *at = line.ptr + i;
        size_t left = line.len - i, colour = colour_at(at, left);
        uint32_t c = 0;
        if (format == PERI_LOG_COLOURED && colour > 0) {
            i += colour;
        } else if (at[0] == '\n') {
            FUZZ_CHECK(!one_line);
            FUZZ_CHECK(left > 4 && memcmp(at + 1, "    ", 4) == 0);
            i++;
        } else {
            size_t size = peri_log_decode(at, left, &c);
            FUZZ_CHECK(size > 0 && !misleads(c));
            i += size;
        }
    }
}

static void check_json(struct peri_str line) {
    yyjson_doc *doc = yyjson_read(line.ptr, line.len, 0);
    FUZZ_CHECK(doc && yyjson_is_obj(yyjson_doc_get_root(doc)));
    yyjson_doc_free(doc);
}

/// The input: level and format, repeats, then texts, each behind its length: the message, and keys and
/// values.
void fuzz_one(struct peri_str in) {
    static const char *const keys[] = {"traceback", "hint", "script", "handler", "msg"};
    uint8_t options = fuzz_byte(&in);
    struct peri_log_event event = {
        .level = (enum peri_log_level)(options & 3),
        .time = {(time_t)fuzz_number(&in) * 65536, fuzz_number(&in)},
        .more = options & 4 ? fuzz_number(&in) : 0,
    };
    struct peri_log_field fields[FIELDS_MAX + 1] = {0};
    char *copies[FIELDS_MAX] = {0};
    event.message = fuzz_bytes(&in, fuzz_number(&in));
    for (size_t i = 0; i < FIELDS_MAX && in.len > 0; i++) {
        uint8_t key = fuzz_byte(&in);
        struct peri_str name = key < 128 ? (struct peri_str){0} : fuzz_bytes(&in, key - 128u);
        copies[i] = fuzz_text(name);
        fields[i].key = key >= 128 ? copies[i]
                        : key == 9 ? peri_log_excerpt
                                   : keys[key % (sizeof keys / sizeof keys[0])];
        fields[i].value = fuzz_bytes(&in, fuzz_number(&in));
    }
    event.fields = fields;
    for (int format = PERI_LOG_LOGFMT; format <= PERI_LOG_COLOURED; format++) {
        char *out = malloc(PERI_LOG_LINE_MAX);
        FUZZ_CHECK(out);
        size_t n = peri_log_write_line(out, (enum peri_log_format)format, &event);
        FUZZ_CHECK(n <= PERI_LOG_LINE_MAX);
        check_line(peri_str(out, n), (enum peri_log_format)format);
        if (format == PERI_LOG_JSON) {
            check_json(peri_str(out, n));
        }
        free(out);
    }
    for (size_t i = 0; i < FIELDS_MAX; i++) {
        free(copies[i]);
    }
}
