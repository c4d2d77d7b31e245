// The matcher. A pattern has no alternatives and no groups, only single characters that may be there
// once or often. So matching goes forward through the pattern, and keeps a list of what it may try
// otherwise: at most one entry for each place of the pattern, and no recursion.
//
// Which patterns mean what, and every message, are Lua 5.4's: tests/fuzz/match.c compares the two.
#include "script/match.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "script/watchdog.h"

/// For any text, and for each byte of it.
enum { STEPS = 10000000, STEPS_PER_BYTE = 16, LOOK_EVERY = 4096 };

enum { ESCAPE = '%' };

static unsigned char byte_of(char c) {
    return (unsigned char)c;
}

void peri_match_init(struct peri_match *m, lua_State *L, struct peri_str text,
                     struct peri_str pattern) {
    m->L = L;
    m->text = text.ptr;
    m->text_end = text.ptr + text.len;
    m->pattern = pattern.ptr;
    m->pattern_end = pattern.ptr + pattern.len;
    m->steps_left = STEPS + STEPS_PER_BYTE * (int64_t)text.len; // a string is no longer than memory
    m->next_look = m->steps_left - LOOK_EVERY;
    m->level = 0;
    m->try_count = 0;
}

/// @param number for a %d in the text
_Noreturn static void refuse(const struct peri_match *m, const char *text, int number) {
    luaL_error(m->L, text, number);
    abort(); // luaL_error does not return, whatever its type says
}

static void look_up(struct peri_match *m) {
    peri_watch_poll(m->L);
    if (m->steps_left <= 0) {
        refuse(m, "pattern takes too long: over %d steps for this text", STEPS);
    }
    m->next_look = m->steps_left > LOOK_EVERY ? m->steps_left - LOOK_EVERY : 0;
}

static inline void spend(struct peri_match *m, size_t steps) {
    m->steps_left -= (int64_t)steps; // no more than the text has bytes
    if (m->steps_left <= m->next_look) {
        look_up(m);
    }
}

// Single characters -------------------------------------------------------------------------------

static bool is_of_class(int c, int class) {
    bool is;
    switch (tolower(class)) {
    case 'a': is = isalpha(c); break;
    case 'c': is = iscntrl(c); break;
    case 'd': is = isdigit(c); break;
    case 'g': is = isgraph(c); break;
    case 'l': is = islower(c); break;
    case 'p': is = ispunct(c); break;
    case 's': is = isspace(c); break;
    case 'u': is = isupper(c); break;
    case 'w': is = isalnum(c); break;
    case 'x': is = isxdigit(c); break;
    case 'z': is = c == 0; break; // of Lua 5.1, and still there
    default: return class == c;
    }
    return is != (isupper(class) != 0);
}

/// Whether a set [...] has c. `last` is its closing bracket.
static bool is_of_set(int c, const char *set, const char *last) {
    bool found = true; // what it means to be found
    const char *at = set + 1;
    if (*at == '^') {
        found = false;
        at++;
    }
    while (at < last) {
        if (*at == ESCAPE) {
            if (is_of_class(c, byte_of(at[1]))) {
                return found;
            }
            at += 2;
        } else if (at[1] == '-' && at + 2 < last) {
            if (byte_of(at[0]) <= c && c <= byte_of(at[2])) {
                return found;
            }
            at += 3;
        } else if (byte_of(*at++) == c) {
            return found;
        }
    }
    return !found;
}

/// The end of the single character that begins at `item`: of `a`, `.`, `%a` or `[...]`.
static const char *end_of_item(const struct peri_match *m, const char *item) {
    const char *at = item + 1;
    if (*item == ESCAPE) {
        if (at == m->pattern_end) {
            refuse(m, "malformed pattern (ends with '%%')", 0);
        }
        return at + 1;
    }
    if (*item != '[') {
        return at;
    }
    if (*at == '^') {
        at++;
    }
    do { // a ] that comes first is one of the set
        if (at == m->pattern_end) {
            refuse(m, "malformed pattern (missing ']')", 0);
        }
        bool escapes = *at++ == ESCAPE;
        if (escapes && at < m->pattern_end) {
            at++;
        }
    } while (*at != ']');
    return at + 1;
}

static inline bool fits(const struct peri_match *m, const char *at, const char *item,
                        const char *item_end) {
    if (at >= m->text_end) {
        return false;
    }
    int c = byte_of(*at);
    switch (*item) {
    case '.': return true;
    case ESCAPE: return is_of_class(c, byte_of(item[1]));
    case '[': return is_of_set(c, item, item_end - 1);
    default: return byte_of(*item) == c;
    }
}

// What may be undone ------------------------------------------------------------------------------

static void keep(struct peri_match *m, struct peri_try try) {
    if (m->try_count == PERI_TRIES_MAX) {
        refuse(m, "pattern too complex", 0);
    }
    m->tries[m->try_count++] = try;
}

/// The last choice that leaves one is made differently.
/// @return false when there is none: no match
static bool retry(struct peri_match *m, const char **at, const char **pattern) {
    while (m->try_count > 0) {
        struct peri_try *last = &m->tries[m->try_count - 1];
        spend(m, 1);
        *pattern = last->item_end;
        switch (last->kind) {
        case PERI_TRY_WITHOUT:
            *at = last->at;
            m->try_count--;
            return true;
        case PERI_TRY_FEWER:
            if (last->count > 0) {
                *at = last->at + --last->count;
                return true;
            }
            break;
        case PERI_TRY_MORE:
            if (fits(m, last->at, last->item, last->item_end - 1)) {
                *at = ++last->at;
                return true;
            }
            break;
        case PERI_TRY_OPENED: m->level--; break;
        case PERI_TRY_CLOSED: m->capture[last->count].len = PERI_CAPTURE_OPEN; break;
        }
        m->try_count--;
    }
    return false;
}

// Items that are no single characters -------------------------------------------------------------

static void open_capture(struct peri_match *m, const char *at, ptrdiff_t len) {
    if (m->level >= PERI_CAPTURES_MAX) {
        refuse(m, "too many captures", 0);
    }
    m->capture[m->level].at = at;
    m->capture[m->level].len = len;
    m->level++;
    keep(m, (struct peri_try){.kind = PERI_TRY_OPENED});
}

static void close_capture(struct peri_match *m, const char *at) {
    int number = m->level - 1;
    while (number >= 0 && m->capture[number].len != PERI_CAPTURE_OPEN) {
        number--;
    }
    if (number < 0) {
        refuse(m, "invalid pattern capture", 0);
    }
    m->capture[number].len = at - m->capture[number].at;
    keep(m, (struct peri_try){.kind = PERI_TRY_CLOSED, .count = (size_t)number});
}

/// %b: from one character to the other that balances it.
static bool match_balance(struct peri_match *m, const char **at, const char *two) {
    if (two >= m->pattern_end - 1) {
        refuse(m, "malformed pattern (missing arguments to '%%b')", 0);
    }
    if (*at >= m->text_end || **at != two[0]) {
        return false;
    }
    size_t depth = 1;
    for (const char *next = *at + 1; next < m->text_end; next++) {
        spend(m, 1);
        if (*next == two[1]) {
            if (--depth == 0) {
                *at = next + 1;
                return true;
            }
        } else if (*next == two[0]) {
            depth++;
        }
    }
    return false;
}

/// %f: here a set begins to fit. Before and behind the text is a NUL.
static bool match_frontier(const struct peri_match *m, const char *at, const char *set,
                           const char **set_end) {
    if (*set != '[') {
        refuse(m, "missing '[' after '%%f' in pattern", 0);
    }
    *set_end = end_of_item(m, set);
    int before = at == m->text ? 0 : byte_of(at[-1]);
    int here = byte_of(*at);
    return !is_of_set(before, set, *set_end - 1) && is_of_set(here, set, *set_end - 1);
}

/// %1: what a capture has got, once more.
static bool match_again(struct peri_match *m, const char **at, int number) {
    if (number < 0 || number >= m->level || m->capture[number].len == PERI_CAPTURE_OPEN) {
        refuse(m, "invalid capture index %%%d", number + 1);
    }
    ptrdiff_t len = m->capture[number].len;
    if (len < 0 || len > m->text_end - *at) { // a position is no text
        return false;
    }
    spend(m, (size_t)len / 16);
    if (memcmp(m->capture[number].at, *at, (size_t)len) != 0) {
        return false;
    }
    *at += len;
    return true;
}

// Forward -----------------------------------------------------------------------------------------

/// A single character and how often it may be there.
static bool match_item(struct peri_match *m, const char **at, const char **pattern) {
    const char *item = *pattern;
    const char *end = end_of_item(m, item);
    char often = *end;
    bool here = fits(m, *at, item, end);
    size_t least = often == '+' ? 1 : 0;
    switch (often) {
    case '?':
        *pattern = end + 1;
        if (here) {
            keep(m, (struct peri_try){PERI_TRY_WITHOUT, item, end + 1, *at, 0});
            *at += 1;
        }
        return true;
    case '-':
        *pattern = end + 1;
        if (here) {
            keep(m, (struct peri_try){PERI_TRY_MORE, item, end + 1, *at, 0});
        }
        return true;
    case '+':
    case '*':
        *pattern = end + 1;
        if (here) {
            size_t count = 1;
            while (fits(m, *at + count, item, end)) {
                count++;
                spend(m, 1);
            }
            keep(m, (struct peri_try){PERI_TRY_FEWER, item, end + 1, *at + least, count - least});
            *at += count;
        }
        return here || least == 0;
    default:
        *pattern = end;
        *at += here ? 1 : 0;
        return here;
    }
}

/// One step through the pattern. @return false: it does not match there
static bool match_next(struct peri_match *m, const char **at, const char **pattern) {
    const char *p = *pattern;
    switch (*p) {
    case '(':
        if (p[1] == ')') {
            *pattern = p + 2;
            open_capture(m, *at, PERI_CAPTURE_POSITION);
        } else {
            *pattern = p + 1;
            open_capture(m, *at, PERI_CAPTURE_OPEN);
        }
        return true;
    case ')':
        *pattern = p + 1;
        close_capture(m, *at);
        return true;
    case '$':
        if (p + 1 == m->pattern_end) {
            *pattern = p + 1;
            return *at == m->text_end;
        }
        break;
    case ESCAPE:
        if (p[1] == 'b') {
            *pattern = p + 4;
            return match_balance(m, at, p + 2);
        }
        if (p[1] == 'f') {
            return match_frontier(m, *at, p + 2, pattern);
        }
        if (isdigit(byte_of(p[1]))) {
            *pattern = p + 2;
            return match_again(m, at, p[1] - '1');
        }
        break;
    default: break;
    }
    return match_item(m, at, pattern);
}

const char *peri_match_at(struct peri_match *m, const char *at) {
    const char *pattern = m->pattern;
    m->level = 0;
    m->try_count = 0;
    while (pattern != m->pattern_end) {
        spend(m, 1);
        if (!match_next(m, &at, &pattern) && !retry(m, &at, &pattern)) {
            return NULL;
        }
    }
    return at;
}

// What it has captured ----------------------------------------------------------------------------

void peri_match_push(const struct peri_match *m, int number, const char *at, const char *end) {
    if (number >= m->level) {
        if (number != 0) {
            refuse(m, "invalid capture index %%%d", number + 1);
        }
        lua_pushlstring(m->L, at, (size_t)(end - at));
        return;
    }
    ptrdiff_t len = m->capture[number].len;
    if (len == PERI_CAPTURE_OPEN) {
        refuse(m, "unfinished capture", 0);
    } else if (len == PERI_CAPTURE_POSITION) {
        lua_pushinteger(m->L, m->capture[number].at - m->text + 1);
    } else {
        lua_pushlstring(m->L, m->capture[number].at, (size_t)len);
    }
}

int peri_match_push_all(const struct peri_match *m, bool whole, const char *at, const char *end) {
    int count = m->level == 0 && whole ? 1 : m->level;
    luaL_checkstack(m->L, count, "too many captures");
    for (int i = 0; i < count; i++) {
        peri_match_push(m, i, at, end);
    }
    return count;
}
