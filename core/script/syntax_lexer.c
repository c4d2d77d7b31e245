// The tokens of Lua 5.4 (manual, section 3.1), and the arena that their texts live in.
#include <stdlib.h>

#include "base/alloc.h"
#include "script/syntax.h"

// The arena ----------------------------------------------------------------------------------

enum { BLOCK_BYTES = 32 * 1024 };

struct peri_arena_block {
    struct peri_arena_block *next;
    size_t size;
    max_align_t bytes[];
};

void *peri_arena_take(struct peri_arena *arena, size_t size) {
    const size_t unit = sizeof(max_align_t);
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size = (size + unit - 1) / unit * unit;
    if (!arena->blocks || size > arena->blocks->size - arena->used) {
        size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        struct peri_arena_block *block = peri_calloc(1, sizeof *block + room);
        if (!block) {
            return NULL;
        }
        block->size = room;
        block->next = arena->blocks;
        arena->blocks = block;
        arena->used = 0;
    }
    void *taken = (char *)arena->blocks->bytes + arena->used;
    arena->used += size;
    return taken;
}

void peri_arena_free(struct peri_arena *arena) {
    while (arena->blocks) {
        struct peri_arena_block *block = arena->blocks;
        arena->blocks = block->next;
        peri_free(block);
    }
    arena->used = 0;
}

// Characters ---------------------------------------------------------------------------------

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

static bool is_name_start(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/// The value of a hexadecimal digit; -1: it is none.
static int hex_value(int c) {
    if (is_digit(c)) {
        return c - '0';
    }
    int low = c | 32;
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

/// The character n behind the next one; -1 at the end.
static int peek(const struct peri_lexer *lexer, size_t n) {
    return n < lexer->source.len - lexer->next ? (unsigned char)lexer->source.ptr[lexer->next + n]
                                               : -1;
}

static void fail(struct peri_lexer *lexer, int status) {
    lexer->status = status;
    lexer->token = PERI_TOKEN_END;
}

/// "[[" or "[==[" at the next character, or its end. @return the number of "=", -1: there is none
static int long_bracket(const struct peri_lexer *lexer, char bracket) {
    size_t n = 1;
    if (peek(lexer, 0) != bracket) {
        return -1;
    }
    while (peek(lexer, n) == '=' && n < 1 << 20) {
        n++;
    }
    return peek(lexer, n) == bracket ? (int)n - 1 : -1;
}

/// Reads a long string or comment whose opening bracket is next.
static bool take_long(struct peri_lexer *lexer, int level, struct peri_str *text) {
    lexer->next += (size_t)level + 2;
    if (peek(lexer, 0) == '\r' || peek(lexer, 0) == '\n') {
        int first = peek(lexer, 0), second = peek(lexer, 1);
        lexer->next += (second == '\r' || second == '\n') && second != first ? 2 : 1;
    }
    size_t begin = lexer->next;
    for (; lexer->next < lexer->source.len; lexer->next++) {
        if (long_bracket(lexer, ']') == level) {
            *text = peri_str(lexer->source.ptr + begin, lexer->next - begin);
            lexer->next += (size_t)level + 2;
            return true;
        }
    }
    return false;
}

/// Steps over spaces and comments.
static void skip_blank(struct peri_lexer *lexer) {
    for (;;) {
        int c = peek(lexer, 0);
        if (c == ' ' || (c >= '\t' && c <= '\r')) {
            lexer->next++;
        } else if (c == '-' && peek(lexer, 1) == '-') {
            struct peri_str ignored;
            lexer->next += 2;
            int level = long_bracket(lexer, '[');
            if (level >= 0) {
                if (!take_long(lexer, level, &ignored)) {
                    fail(lexer, PERI_E_INVALID);
                    return;
                }
                continue;
            }
            while (peek(lexer, 0) >= 0 && peek(lexer, 0) != '\n' && peek(lexer, 0) != '\r') {
                lexer->next++;
            }
        } else {
            return;
        }
    }
}

// Strings ------------------------------------------------------------------------------------

/// \u{XXX}, up to 2^31 as Lua has it. @return the bytes written, 0: it is broken
static size_t put_utf8(struct peri_lexer *lexer, char *out) {
    uint64_t c = 0;
    size_t digits = 0;
    if (peek(lexer, 0) != '{') {
        return 0;
    }
    for (lexer->next++; hex_value(peek(lexer, 0)) >= 0; lexer->next++, digits++) {
        c = c * 16 + (unsigned)hex_value(peek(lexer, 0));
        if (c > 0x7fffffff) {
            return 0;
        }
    }
    if (digits == 0 || peek(lexer, 0) != '}') {
        return 0;
    }
    lexer->next++;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t size = c < 0x800 ? 2 : c < 0x10000 ? 3 : c < 0x200000 ? 4 : c < 0x4000000 ? 5 : 6;
    for (size_t i = size; i-- > 1;) {
        out[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (char)((0xff00u >> size & 0xff) | c);
    return size;
}

/// What follows a backslash. @return the bytes written (0 for \z and the like), SIZE_MAX: broken
static size_t put_escape(struct peri_lexer *lexer, char *out) {
    static const char letters[] = "abfnrtv", meant[] = "\a\b\f\n\r\t\v";
    int c = peek(lexer, 0);
    const char *letter = c > 0 ? strchr(letters, c) : NULL;
    if (c < 0) {
        return SIZE_MAX;
    }
    lexer->next++;
    if (letter) {
        *out = meant[letter - letters];
        return 1;
    }
    if (c == '\n' || c == '\r') {
        int second = peek(lexer, 0);
        lexer->next += (second == '\n' || second == '\r') && second != c ? 1 : 0;
        *out = '\n';
        return 1;
    }
    if (c == '\\' || c == '"' || c == '\'') {
        *out = (char)c;
        return 1;
    }
    if (c == 'z') {
        while (peek(lexer, 0) == ' ' || (peek(lexer, 0) >= '\t' && peek(lexer, 0) <= '\r')) {
            lexer->next++;
        }
        return 0;
    }
    if (c == 'x') {
        int high = hex_value(peek(lexer, 0)), low = hex_value(peek(lexer, 1));
        if (high < 0 || low < 0) {
            return SIZE_MAX;
        }
        lexer->next += 2;
        *out = (char)(high * 16 + low);
        return 1;
    }
    if (c == 'u') {
        size_t size = put_utf8(lexer, out);
        return size > 0 ? size : SIZE_MAX;
    }
    if (is_digit(c)) {
        int value = c - '0';
        for (int i = 0; i < 2 && is_digit(peek(lexer, 0)); i++) {
            value = value * 10 + peek(lexer, 0) - '0';
            lexer->next++;
        }
        *out = (char)value;
        return value < 256 ? 1 : SIZE_MAX;
    }
    return SIZE_MAX;
}

/// The length of a quoted string's source from its first quote on, 0: it has no end.
static size_t quoted_length(const struct peri_lexer *lexer, int quote) {
    size_t n = 1;
    for (int c; (c = peek(lexer, n)) != quote; n++) {
        if (c < 0) {
            return 0;
        }
        n += c == '\\' ? 1 : 0;
    }
    return n + 1;
}

static void take_quoted(struct peri_lexer *lexer, int quote) {
    size_t length = quoted_length(lexer, quote);
    if (length == 0) {
        fail(lexer, PERI_E_INVALID);
        return;
    }
    const char *from = lexer->source.ptr + lexer->next + 1;
    size_t end = lexer->next + length - 1;
    lexer->token = PERI_TOKEN_STRING;
    if (!memchr(from, '\\', length - 2)) {
        lexer->text = peri_str(from, length - 2);
        lexer->next = end + 1;
        return;
    }
    char *out = peri_arena_take(lexer->arena, length); // an escape is never shorter than its bytes
    if (!out) {
        fail(lexer, PERI_E_MEMORY);
        return;
    }
    size_t n = 0;
    for (lexer->next++; lexer->next < end;) {
        int c = peek(lexer, 0);
        lexer->next++;
        if (c != '\\') {
            out[n++] = (char)c;
            continue;
        }
        size_t size = put_escape(lexer, out + n);
        if (size == SIZE_MAX) {
            fail(lexer, PERI_E_INVALID);
            return;
        }
        n += size;
    }
    lexer->text = peri_str(out, n);
    lexer->next = end + 1;
}

// Numbers ------------------------------------------------------------------------------------

static void read_value(struct peri_lexer *lexer, const char *text, size_t len, bool is_hex) {
    bool whole = true;
    uint64_t value = 0;
    for (size_t i = is_hex ? 2 : 0; i < len && whole; i++) {
        int digit = hex_value(text[i]);
        whole = digit >= 0 && (is_hex || digit < 10);
        if (!is_hex && whole && value > (INT64_MAX - (unsigned)digit) / UINT64_C(10)) {
            whole = false; // too large: a float
        }
        value = value * (is_hex ? 16 : 10) + (whole ? (unsigned)digit : 0);
    }
    char *end;
    lexer->is_integer = whole;
    lexer->integer = (int64_t)value; // a hexadecimal one wraps around, as Lua's does
    lexer->number = whole ? (double)lexer->integer : strtod(text, &end);
}

/// As Lua does: whatever looks like a part of a number, then it is read.
static void take_number(struct peri_lexer *lexer) {
    char text[256];
    size_t len = 0;
    bool is_hex = peek(lexer, 0) == '0' && (peek(lexer, 1) | 32) == 'x' && peek(lexer, 1) > 0;
    int exponent = is_hex ? 'p' : 'e';
    for (int c; (c = peek(lexer, 0)) >= 0;) {
        bool sign = false;
        if ((c | 32) == exponent && !(is_hex && len < 2)) {
            sign = peek(lexer, 1) == '+' || peek(lexer, 1) == '-';
        } else if (hex_value(c) < 0 && c != '.' && !(is_hex && len == 1)) {
            break;
        }
        for (int i = 0; i < (sign ? 2 : 1); i++) {
            if (len < sizeof text - 1) {
                text[len++] = (char)peek(lexer, 0);
            }
            lexer->next++;
        }
    }
    text[len] = '\0';
    lexer->token = PERI_TOKEN_NUMBER;
    read_value(lexer, text, len, is_hex);
    if (is_name_start(peek(lexer, 0))) {
        fail(lexer, PERI_E_INVALID);
    }
}

// Words and signs ----------------------------------------------------------------------------

static void take_word(struct peri_lexer *lexer) {
    static const char *const words[] = {
        "and",      "break",  "do",   "else", "elseif", "end",   "false", "for",
        "function", "goto",   "if",   "in",   "local",  "nil",   "not",   "or",
        "repeat",   "return", "then", "true", "until",  "while",
    };
    _Static_assert(sizeof words / sizeof words[0] == PERI_TOKENS - PERI_TOKEN_AND, "the keywords");
    size_t n = 0;
    while (is_name_start(peek(lexer, n)) || is_digit(peek(lexer, n))) {
        n++;
    }
    lexer->text = peri_str(lexer->source.ptr + lexer->next, n);
    lexer->next += n;
    lexer->token = PERI_TOKEN_NAME;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (peri_str_equal(lexer->text, peri_str_of(words[i]))) {
            lexer->token = PERI_TOKEN_AND + (int)i;
        }
    }
}

static void take_sign(struct peri_lexer *lexer) {
    static const struct {
        char text[4];
        int token;
    } signs[] = {
        {"...", PERI_TOKEN_DOTS},   {"..", PERI_TOKEN_CONCAT}, {"==", PERI_TOKEN_EQ},
        {"~=", PERI_TOKEN_NE},      {"<=", PERI_TOKEN_LE},     {">=", PERI_TOKEN_GE},
        {"<<", PERI_TOKEN_SHL},     {">>", PERI_TOKEN_SHR},    {"//", PERI_TOKEN_IDIV},
        {"::", PERI_TOKEN_DBCOLON},
    };
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        size_t n = strlen(signs[i].text);
        if (n <= lexer->source.len - lexer->next &&
            memcmp(lexer->source.ptr + lexer->next, signs[i].text, n) == 0) {
            lexer->token = signs[i].token;
            lexer->next += n;
            return;
        }
    }
    int c = peek(lexer, 0);
    lexer->token = c > 0 && strchr("+-*/%^#&~|<>=(){}[];:,.", c) ? c : PERI_TOKEN_BROKEN;
    lexer->next++;
}

void peri_lexer_next(struct peri_lexer *lexer) {
    if (lexer->status != PERI_OK) {
        lexer->token = PERI_TOKEN_END;
        return;
    }
    skip_blank(lexer);
    lexer->at = (uint32_t)lexer->next; // under 2 GiB
    int c = peek(lexer, 0), level;
    if (c < 0 || lexer->status != PERI_OK) {
        lexer->token = PERI_TOKEN_END;
    } else if (is_name_start(c)) {
        take_word(lexer);
    } else if (is_digit(c) || (c == '.' && is_digit(peek(lexer, 1)))) {
        take_number(lexer);
    } else if (c == '"' || c == '\'') {
        take_quoted(lexer, c);
    } else if ((level = long_bracket(lexer, '[')) >= 0) {
        lexer->token = PERI_TOKEN_STRING;
        if (!take_long(lexer, level, &lexer->text)) {
            fail(lexer, PERI_E_INVALID);
        }
    } else {
        take_sign(lexer);
    }
}
