// Functions of the library `string` that a script, or who sends it texts, could make run for ever: those
// with patterns, on our own matcher, and rep.
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "script/match.h"
#include "script/sandbox.h"

static struct peri_str check_text(lua_State *L, int index) {
    struct peri_str text;
    text.ptr = luaL_checklstring(L, index, &text.len);
    return text;
}

/// Where to begin, from 0; beyond the length: nowhere. Negative positions count from the end.
static size_t check_start(lua_State *L, int index, size_t len) {
    lua_Integer position = luaL_optinteger(L, index, 1);
    if (position > 0) {
        return (size_t)position - 1;
    }
    lua_Integer longest = (lua_Integer)len; // a string is never that long
    return position == 0 || position < -longest ? 0 : len - (size_t)-position;
}

static bool is_plain(struct peri_str pattern) {
    static const char specials[] = "^$*+?.([%-";
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.ptr[i] && strchr(specials, pattern.ptr[i])) {
            return false;
        }
    }
    return true;
}

/// An anchor, where a pattern may have one: it is taken off.
static bool take_anchor(struct peri_str *pattern) {
    bool is_anchored = pattern->len > 0 && pattern->ptr[0] == '^';
    if (is_anchored) {
        *pattern = peri_str(pattern->ptr + 1, pattern->len - 1);
    }
    return is_anchored;
}

// find and match ----------------------------------------------------------------------------------

static int search(lua_State *L, bool find) {
    struct peri_match m;
    struct peri_str text = check_text(L, 1), pattern = check_text(L, 2);
    size_t start = check_start(L, 3, text.len);
    if (start > text.len) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || is_plain(pattern))) {
        const char *found = memmem(text.ptr + start, text.len - start, pattern.ptr, pattern.len);
        if (!found) {
            lua_pushnil(L);
            return 1;
        }
        lua_pushinteger(L, found - text.ptr + 1);
        lua_pushinteger(L, found - text.ptr + (lua_Integer)pattern.len);
        return 2;
    }
    bool is_anchored = take_anchor(&pattern);
    peri_match_init(&m, L, text, pattern);
    const char *at = text.ptr + start;
    do {
        const char *end = peri_match_at(&m, at);
        if (end && find) {
            lua_pushinteger(L, at - text.ptr + 1);
            lua_pushinteger(L, end - text.ptr);
            return 2 + peri_match_push_all(&m, false, at, end);
        }
        if (end) {
            return peri_match_push_all(&m, true, at, end);
        }
    } while (at++ < m.text_end && !is_anchored);
    lua_pushnil(L);
    return 1;
}

static int string_find(lua_State *L) {
    return search(L, true);
}

static int string_match(lua_State *L) {
    return search(L, false);
}

// gmatch ------------------------------------------------------------------------------------------

/// Upvalues of the iterator. The places are offsets in the text, the last one -1 at first.
enum { GMATCH_TEXT = 1, GMATCH_PATTERN, GMATCH_NEXT, GMATCH_LAST };

static int next_match(lua_State *L) {
    struct peri_match m;
    struct peri_str text = check_text(L, lua_upvalueindex(GMATCH_TEXT));
    struct peri_str pattern = check_text(L, lua_upvalueindex(GMATCH_PATTERN));
    size_t next = (size_t)lua_tointeger(L, lua_upvalueindex(GMATCH_NEXT));
    lua_Integer last = lua_tointeger(L, lua_upvalueindex(GMATCH_LAST));
    peri_match_init(&m, L, text, pattern);
    for (; next <= text.len; next++) {
        const char *at = text.ptr + next;
        const char *end = peri_match_at(&m, at);
        if (end && end - text.ptr != last) {
            lua_pushinteger(L, end - text.ptr);
            lua_copy(L, -1, lua_upvalueindex(GMATCH_NEXT));
            lua_replace(L, lua_upvalueindex(GMATCH_LAST));
            return peri_match_push_all(&m, true, at, end);
        }
    }
    return 0;
}

static int string_gmatch(lua_State *L) {
    struct peri_str text = check_text(L, 1);
    (void)check_text(L, 2);
    size_t start = check_start(L, 3, text.len);
    lua_settop(L, 2);
    lua_pushinteger(L, (lua_Integer)(start > text.len ? text.len + 1 : start));
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, next_match, 4);
    return 1;
}

// gsub --------------------------------------------------------------------------------------------

/// What stands at 3, a string, with its %0 to %9 filled in.
static void add_text(struct peri_match *m, luaL_Buffer *out, const char *at, const char *end) {
    lua_State *L = m->L;
    struct peri_str left;
    left.ptr = lua_tolstring(L, 3, &left.len);
    const char *sign;
    while ((sign = memchr(left.ptr, '%', left.len))) {
        luaL_addlstring(out, left.ptr, (size_t)(sign - left.ptr));
        char what = sign[1]; // the NUL behind the text, at the latest
        if (what == '%') {
            luaL_addchar(out, '%');
        } else if (what == '0') {
            luaL_addlstring(out, at, (size_t)(end - at));
        } else if (what >= '1' && what <= '9') {
            peri_match_push(m, what - '1', at, end);
            luaL_addvalue(out);
        } else {
            luaL_error(L, "invalid use of '%c' in replacement string", '%');
        }
        size_t taken = (size_t)(sign + 2 - left.ptr);
        left = peri_str(left.ptr + taken, left.len - taken);
    }
    luaL_addlstring(out, left.ptr, left.len);
}

/// @return whether something else stands there now
static bool add_replacement(struct peri_match *m, luaL_Buffer *out, const char *at,
                            const char *end) {
    lua_State *L = m->L;
    switch (lua_type(L, 3)) {
    case LUA_TFUNCTION:
        lua_pushvalue(L, 3);
        lua_call(L, peri_match_push_all(m, true, at, end), 1);
        break;
    case LUA_TTABLE:
        peri_match_push(m, 0, at, end);
        lua_gettable(L, 3);
        break;
    default: add_text(m, out, at, end); return true;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(out, at, (size_t)(end - at));
        return false;
    }
    if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    luaL_addvalue(out);
    return true;
}

static int string_gsub(lua_State *L) {
    struct peri_match m;
    struct peri_str text = check_text(L, 1), pattern = check_text(L, 2);
    int kind = lua_type(L, 3);
    lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)text.len + 1);
    luaL_argexpected(L,
                     kind == LUA_TNUMBER || kind == LUA_TSTRING || kind == LUA_TFUNCTION ||
                         kind == LUA_TTABLE,
                     3, "string/function/table");
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    bool is_anchored = take_anchor(&pattern), changed = false;
    peri_match_init(&m, L, text, pattern);
    const char *at = text.ptr, *last = NULL;
    lua_Integer count = 0;
    while (count < most) {
        const char *end = peri_match_at(&m, at);
        if (end && end != last) {
            count++;
            changed = add_replacement(&m, &out, at, end) || changed;
            at = last = end;
        } else if (at < m.text_end) {
            luaL_addchar(&out, *at);
            at++;
        } else {
            break;
        }
        if (is_anchored) {
            break;
        }
    }
    if (changed) {
        luaL_addlstring(&out, at, (size_t)(m.text_end - at));
        luaL_pushresult(&out);
    } else {
        lua_pushvalue(L, 1); // the same string, not an equal one
    }
    lua_pushinteger(L, count);
    return 2;
}

// rep ---------------------------------------------------------------------------------------------

/// Doubles what there is, so that a short text costs no loop of its own for each time.
static void fill(char *to, size_t have, size_t total) {
    while (have < total) {
        size_t more = have < total - have ? have : total - have;
        memcpy(to + have, to, more);
        have += more;
    }
}

static int string_rep(lua_State *L) {
    struct peri_str text = check_text(L, 1), between = {"", 0};
    lua_Integer times = luaL_checkinteger(L, 2);
    between.ptr = luaL_optlstring(L, 3, "", &between.len);
    size_t each = text.len + between.len; // neither is near the end of memory
    if (times <= 0 || each == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (each > LUA_MAXINTEGER / (lua_Unsigned)times) {
        return luaL_error(L, "resulting string too large");
    }
    size_t total = each * (size_t)times - between.len;
    luaL_Buffer out;
    char *to = luaL_buffinitsize(L, &out, total);
    memcpy(to, text.ptr, text.len);
    if (total > text.len) {
        memcpy(to + text.len, between.ptr, between.len);
        fill(to, each, total);
    }
    luaL_pushresultsize(&out, total);
    return 1;
}

static const luaL_Reg functions[] = {
    {"find", string_find}, {"match", string_match}, {"gmatch", string_gmatch},
    {"gsub", string_gsub}, {"rep", string_rep},     {NULL, NULL},
};

void peri_strings_open(lua_State *L) {
    lua_getglobal(L, LUA_STRLIBNAME); // where methods of strings are looked up, too
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
