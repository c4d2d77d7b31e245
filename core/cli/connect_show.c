// What a person at a terminal sees: time, direction, and text that can't do the terminal harm.
#include <stdio.h>

#include "cli/connect.h"
#include "cli/json_layout.h"
#include "proto/utf8.h"

enum {
    PREFIX_COLUMNS = 11,       ///< "12:34:56 < "
    LAID_OUT_MAX = 256 * 1024, ///< JSON over that is shown as it came
    DUMPED_MAX = 4096,         ///< binary over that is cut
    DUMP_ROW = 16,
};

// Text

/// Takes a character off; a byte where it is not UTF-8.
static uint32_t next_character(struct peri_str *rest) {
    const uint8_t *at = (const uint8_t *)rest->ptr;
    size_t n = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (n > rest->len || !peri_utf8_is_valid(at, n)) {
        n = 1;
    }
    uint32_t character = n == 1 ? at[0] : at[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        character = character << 6 | (at[i] & 0x3fu);
    }
    rest->ptr += n;
    rest->len -= n;
    return character;
}

/// C0, DEL and C1 drive a terminal; the others turn the direction of text, or end lines.
static bool is_harmful(uint32_t c) {
    return (c < ' ' && c != '\t') || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e ||
           c == 0x200f || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static int escape(struct peri_buffer *out, uint32_t c) {
    switch (c) {
    case '\r': return peri_buffer_append(out, "\\r", 2);
    case '\0': return peri_buffer_append(out, "\\0", 2);
    default: return peri_buffer_printf(out, c < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)c);
    }
}

int connect_show_text(struct peri_buffer *out, struct peri_str text, size_t indent) {
    int rc = PERI_OK;
    while (text.len > 0 && rc == PERI_OK) {
        const char *from = text.ptr;
        uint32_t c = next_character(&text);
        if (c == '\n') {
            rc = peri_buffer_printf(out, "\n%*s", (int)indent, "");
        } else if (is_harmful(c) || (c >= 0x80 && text.ptr - from == 1)) {
            rc = escape(out, c);
        } else {
            rc = peri_buffer_append(out, from, (size_t)(text.ptr - from)); // it went forward
        }
    }
    return rc;
}

static bool is_layable(struct peri_str text) {
    size_t i = 0;
    while (i < text.len && strchr(" \t\r\n", text.ptr[i] ? text.ptr[i] : 'x')) {
        i++;
    }
    return text.len <= LAID_OUT_MAX && i < text.len && (text.ptr[i] == '{' || text.ptr[i] == '[') &&
           peri_json_is_valid(text);
}

/// Laying out adds line feeds where none was escaped, so it goes first: what a string of the JSON
/// holds has no line feed of its own.
static int show_json(struct peri_buffer *out, const struct connect_look *look,
                     struct peri_str text) {
    struct peri_buffer laid = {0};
    int rc = peri_json_layout(&laid, text, PREFIX_COLUMNS, look->columns);
    if (rc == PERI_OK) {
        rc = connect_show_text(out, peri_buffer_str(&laid), 0);
    }
    peri_buffer_deinit(&laid);
    return rc;
}

// Binary

static int show_row(struct peri_buffer *out, size_t at, const uint8_t *bytes, size_t n) {
    char text[DUMP_ROW + 1] = {0};
    int rc = peri_buffer_printf(out, "%04zx ", at);
    for (size_t i = 0; i < DUMP_ROW && rc == PERI_OK; i++) {
        const char *gap = i == DUMP_ROW / 2 ? " " : "";
        rc = i < n ? peri_buffer_printf(out, "%s %02x", gap, bytes[i])
                   : peri_buffer_printf(out, "%s   ", gap);
        text[i] = '\0';
        if (i < n) {
            text[i] = bytes[i] >= ' ' && bytes[i] < 0x7f ? (char)bytes[i] : '.';
        }
    }
    return rc == PERI_OK ? peri_buffer_printf(out, "  |%s|", text) : rc;
}

static int show_dump(struct peri_buffer *out, struct peri_str payload) {
    int rc =
        peri_buffer_printf(out, "binary, %zu byte%s", payload.len, payload.len == 1 ? "" : "s");
    size_t shown = payload.len < DUMPED_MAX ? payload.len : DUMPED_MAX;
    for (size_t at = 0; at < shown && rc == PERI_OK; at += DUMP_ROW) {
        size_t n = shown - at < DUMP_ROW ? shown - at : DUMP_ROW;
        rc = peri_buffer_append(out, "\n  ", 3); // so that a row has 76 columns
        if (rc == PERI_OK) {
            rc = show_row(out, at, (const uint8_t *)payload.ptr + at, n);
        }
    }
    if (rc == PERI_OK && shown < payload.len) {
        rc = peri_buffer_printf(out, "\n  ... and %zu bytes more", payload.len - shown);
    }
    return rc;
}

// Lines

static int show_prefix(struct peri_buffer *out, const struct connect_look *look,
                       enum connect_direction direction, time_t at) {
    static const char signs[] = {'<', '>', '*'}; // as in the enum
    struct tm local = {0};
    (void)localtime_r(&at, &local);
    return peri_buffer_printf(out, "%s%02d:%02d:%02d %c%s ", look->colour ? "\x1b[2m" : "",
                              local.tm_hour, local.tm_min, local.tm_sec, signs[direction],
                              look->colour ? "\x1b[0m" : "");
}

int connect_show(struct peri_buffer *out, const struct connect_look *look,
                 enum connect_direction direction, bool binary, struct peri_str payload,
                 time_t at) {
    size_t before = out->len;
    int rc = show_prefix(out, look, direction, at);
    if (rc == PERI_OK) {
        rc = binary ? show_dump(out, payload)
             : direction == CONNECT_IN && is_layable(payload)
                 ? show_json(out, look, payload)
                 : connect_show_text(out, payload, PREFIX_COLUMNS);
    }
    if (rc == PERI_OK) {
        rc = peri_buffer_append(out, "\n", 1);
    }
    if (rc != PERI_OK) {
        out->len = before;
    }
    return rc;
}

// https://www.iana.org/assignments/websocket, RFC 6455 section 7.4
const char *connect_close_words(int code) {
    switch (code) {
    case 1000: return "normal";
    case 1001: return "going away: the host stops, or the page was left";
    case 1002: return "protocol error";
    case 1003: return "a kind of data it does not take";
    case 1004: return "reserved";
    case 1005: return "no code given";
    case 1006: return "the connection was lost";
    case 1007: return "data that is not what it claims, such as text that is not UTF-8";
    case 1008: return "against its policy";
    case 1009: return "message too big";
    case 1010: return "an extension it needs was not offered";
    case 1011: return "an error of its own";
    case 1012: return "it restarts";
    case 1013: return "try again later";
    case 1014: return "a gateway got a bad answer";
    case 1015: return "TLS failed";
    default: break;
    }
    if (code >= 1000 && code < 3000) {
        return "reserved for the protocol";
    }
    if (code >= 3000 && code < 4000) {
        return "registered by a library or framework";
    }
    return code >= 4000 && code < 5000 ? "the application's own" : "no valid code";
}
