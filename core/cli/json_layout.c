// A scanner that knows JSON's grammar, and a writer that goes over the tokens of what has passed it.
#include "cli/json_layout.h"

#include "proto/text.h"

enum { DEPTH_MAX = 100, STEP = 2 };

struct scanner {
    const char *at, *end;
    int depth;
};

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct scanner *s) {
    while (s->at < s->end && is_space(*s->at)) {
        s->at++;
    }
}

static bool take(struct scanner *s, char c) {
    if (s->at == s->end || *s->at != c) {
        return false;
    }
    s->at++;
    return true;
}

static bool take_word(struct scanner *s, struct peri_str word) {
    if ((size_t)(s->end - s->at) < word.len || memcmp(s->at, word.ptr, word.len) != 0) {
        return false;
    }
    s->at += word.len;
    return true;
}

static bool take_digits(struct scanner *s) {
    const char *from = s->at;
    while (s->at < s->end && peri_text_is_digit(*s->at)) {
        s->at++;
    }
    return s->at > from;
}

static bool take_number(struct scanner *s) {
    (void)take(s, '-');
    if (!take(s, '0') && !take_digits(s)) {
        return false;
    }
    if (take(s, '.') && !take_digits(s)) {
        return false;
    }
    if (take(s, 'e') || take(s, 'E')) {
        (void)(take(s, '+') || take(s, '-'));
        return take_digits(s);
    }
    return true;
}

/// Behind a backslash.
static bool take_escape(struct scanner *s) {
    if (s->at == s->end) {
        return false;
    }
    char c = *s->at++;
    if (c != 'u') {
        return c != '\0' && strchr("\"\\/bfnrt", c);
    }
    for (int i = 0; i < 4; i++) {
        if (s->at == s->end || peri_text_hex(*s->at) < 0) {
            return false;
        }
        s->at++;
    }
    return true;
}

static bool take_string(struct scanner *s) {
    if (!take(s, '"')) {
        return false;
    }
    while (s->at < s->end) {
        char c = *s->at++;
        if (c == '"') {
            return true;
        }
        if ((unsigned char)c < ' ' || (c == '\\' && !take_escape(s))) {
            return false;
        }
    }
    return false;
}

static bool take_value(struct scanner *s);

/// Behind the opening bracket, up to the closing one.
static bool take_members(struct scanner *s, bool is_object) {
    char close = is_object ? '}' : ']';
    skip_space(s);
    if (take(s, close)) {
        return true;
    }
    do {
        skip_space(s);
        if (is_object) {
            if (!take_string(s)) {
                return false;
            }
            skip_space(s);
            if (!take(s, ':')) {
                return false;
            }
        }
        if (!take_value(s)) {
            return false;
        }
        skip_space(s);
    } while (take(s, ','));
    return take(s, close);
}

/// Calls itself, DEPTH_MAX deep at most.
static bool take_value(struct scanner *s) {
    skip_space(s);
    if (s->at == s->end) {
        return false;
    }
    switch (*s->at) {
    case '{':
    case '[': {
        bool is_object = *s->at++ == '{';
        bool taken = ++s->depth <= DEPTH_MAX && take_members(s, is_object);
        s->depth--;
        return taken;
    }
    case '"': return take_string(s);
    case 't': return take_word(s, PERI_STR("true"));
    case 'f': return take_word(s, PERI_STR("false"));
    case 'n': return take_word(s, PERI_STR("null"));
    default: return take_number(s);
    }
}

bool peri_json_is_valid(struct peri_str text) {
    struct scanner s = {.at = text.ptr, .end = text.ptr + text.len};
    if (text.len == 0 || !take_value(&s)) {
        return false;
    }
    skip_space(&s);
    return s.at == s.end;
}

// Writing

struct layout {
    struct peri_buffer *out;
    size_t indent, columns;
    size_t column; ///< where the next token goes, roughly: a byte is a column
    int depth;
    uint8_t is_flat[DEPTH_MAX + 1]; ///< whether the container of that depth is on one line
};

/// The token at s->at: a bracket, a comma, a colon, a string or a word.
static struct peri_str next_token(struct scanner *s) {
    const char *from = s->at;
    if (*s->at == '"') {
        (void)take_string(s);
    } else if (strchr("{}[],:", *s->at)) {
        s->at++;
    } else {
        while (s->at < s->end && !is_space(*s->at) && !strchr("{}[],:", *s->at)) {
            s->at++;
        }
    }
    struct peri_str token = {from, (size_t)(s->at - from)}; // at goes forward
    skip_space(s);
    return token;
}

static bool is_one_of(struct peri_str token, const char *characters) {
    return token.len == 1 && strchr(characters, token.ptr[0]);
}

/// Does the container whose bracket was taken fit into `room` columns on one line?
static bool fits(struct scanner ahead, size_t room) {
    size_t used = 1;
    for (int depth = 1; depth > 0 && used <= room;) {
        struct peri_str token = next_token(&ahead);
        used += token.len + (is_one_of(token, ",:") ? 1 : 0);
        depth += is_one_of(token, "{[") ? 1 : is_one_of(token, "}]") ? -1 : 0;
    }
    return used <= room;
}

static int write(struct layout *l, struct peri_str text) {
    l->column += text.len;
    return peri_buffer_append_str(l->out, text);
}

static int break_line(struct layout *l) {
    size_t n = l->indent + STEP * (size_t)l->depth; // not negative in valid JSON
    int rc = peri_buffer_reserve(l->out, n + 1);
    if (rc == PERI_OK) {
        l->out->ptr[l->out->len] = '\n';
        memset(l->out->ptr + l->out->len + 1, ' ', n);
        l->out->len += n + 1;
        l->column = n;
    }
    return rc;
}

static int write_opening(struct layout *l, struct scanner *s, struct peri_str token) {
    bool is_empty = *s->at == '}' || *s->at == ']';
    size_t room = l->columns > l->column ? l->columns - l->column : 0;
    bool flat = is_empty || l->is_flat[l->depth] || fits(*s, room);
    int rc = write(l, token);
    l->is_flat[++l->depth] = flat;
    return rc == PERI_OK && !flat ? break_line(l) : rc;
}

static int write_token(struct layout *l, struct scanner *s, struct peri_str token) {
    if (is_one_of(token, "{[")) {
        return write_opening(l, s, token);
    }
    bool flat = l->is_flat[l->depth];
    if (is_one_of(token, "}]")) {
        l->depth--;
        int rc = flat ? PERI_OK : break_line(l);
        return rc == PERI_OK ? write(l, token) : rc;
    }
    int rc = write(l, token);
    if (rc == PERI_OK && is_one_of(token, ",") && !flat) {
        return break_line(l);
    }
    return rc == PERI_OK && is_one_of(token, ",:") ? write(l, PERI_STR(" ")) : rc;
}

int peri_json_layout(struct peri_buffer *out, struct peri_str text, size_t indent, size_t columns) {
    struct layout l = {.out = out, .indent = indent, .columns = columns, .column = indent};
    struct scanner s = {.at = text.ptr, .end = text.ptr + text.len};
    int rc = PERI_OK;
    size_t before = out->len;
    skip_space(&s);
    while (s.at < s.end && rc == PERI_OK) {
        rc = write_token(&l, &s, next_token(&s));
    }
    if (rc != PERI_OK) {
        out->len = before;
    }
    return rc;
}
