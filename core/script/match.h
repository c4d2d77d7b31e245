// Lua's patterns, matched in a bounded number of steps.
#pragma once

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    PERI_CAPTURES_MAX = 32, ///< as LUA_MAXCAPTURES
    PERI_TRIES_MAX =
        199, ///< choices not decided and captures begun or ended; as Lua's depth of calls
};

/// A choice that may be made differently, or a step to undo, when what follows does not match.
struct peri_try {
    enum peri_try_kind {
        PERI_TRY_WITHOUT, ///< `?`: go on without the character
        PERI_TRY_FEWER,   ///< `*`, `+`: give one back
        PERI_TRY_MORE,    ///< `-`: take one more
        PERI_TRY_OPENED,  ///< a capture was begun
        PERI_TRY_CLOSED,  ///< capture number `count` was ended
    } kind;
    const char *item, *item_end; ///< in the pattern: the single character, and what is behind it
    const char *at;              ///< in the text
    size_t count;                ///< of characters taken from `at`
};

/// One text and one pattern. Borrowed both; a NUL stands behind each, as behind all strings of Lua.
struct peri_match {
    lua_State *L;
    const char *text, *text_end, *pattern, *pattern_end;
    int64_t steps_left, next_look; ///< all that is left, and at which number of it to look up
    int level;                     ///< captures begun
    struct {
        const char *at;
        ptrdiff_t len; ///< or PERI_CAPTURE_OPEN, PERI_CAPTURE_POSITION
    } capture[PERI_CAPTURES_MAX];
    int try_count;
    struct peri_try tries[PERI_TRIES_MAX];
};

enum { PERI_CAPTURE_OPEN = -1, PERI_CAPTURE_POSITION = -2 };

/// Begins a search, of as many matches as the steps are enough for. Steps grow with the text: who looks
/// at each byte a few times never runs out of them.
void peri_match_init(struct peri_match *m, lua_State *L, struct peri_str text,
                     struct peri_str pattern);

/// Matches the pattern at this place of the text. Raises on a malformed pattern once what is wrong in it
/// is reached, when the steps are used up, and when the watchdog stops the script.
/// @return the end of the match; NULL: it does not match there
const char *peri_match_at(struct peri_match *m, const char *at);

/// Pushes a capture of a match from `at` to `end`; number 0 is all of it where there are none.
/// [-0, +1]; raises when there is no such capture, or when it is not ended
void peri_match_push(const struct peri_match *m, int number, const char *at, const char *end);

/// Pushes all captures; with `whole` all of the match where there are none. [-0, +n]
int peri_match_push_all(const struct peri_match *m, bool whole, const char *at, const char *end);
