// Functions of the library `table` that a script could make run for ever, by a range or a `__len` that
// says anything: they take no more elements than a table of the script could hold, and ask the watchdog
// in between. `pack` and `unpack` are Lua's: the stack bounds them.
#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>

#include "script/sandbox.h"
#include "script/watchdog.h"

enum {
    ELEMENT_BYTES = 8, ///< no table takes less for one
    LEAST_ELEMENTS = 1 << 20,
    LOOK_EVERY = 1024,
};

/// Of strings that one sort compares.
static const uint64_t SORT_BYTES = UINT64_C(4) << 30;

static lua_Unsigned most_elements(lua_State *L) {
    lua_Unsigned most = peri_vm_of(L)->cap_ / ELEMENT_BYTES;
    return most > LEAST_ELEMENTS ? most : LEAST_ELEMENTS;
}

static void check_count(lua_State *L, lua_Unsigned count, const char *what) {
    if (count > most_elements(L)) {
        luaL_error(L, "table.%s: too many elements: a table of this script holds at most %I", what,
                   (lua_Integer)most_elements(L));
    }
}

static void look_up(lua_State *L, lua_Integer i) {
    if (i % LOOK_EVERY == 0) {
        peri_watch_poll(L);
    }
}

// What may stand for a table ------------------------------------------------------------------------

enum { READS = 1, WRITES = 2, MEASURES = 4 };

static bool has_field(lua_State *L, const char *name) {
    lua_pushstring(L, name);
    bool has = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

/// A table, or what has the metamethods for it.
static void check_table(lua_State *L, int index, unsigned needs) {
    if (lua_type(L, index) == LUA_TTABLE) {
        return;
    }
    if (!lua_getmetatable(L, index) || ((needs & READS) && !has_field(L, "__index")) ||
        ((needs & WRITES) && !has_field(L, "__newindex")) ||
        ((needs & MEASURES) && !has_field(L, "__len"))) {
        luaL_checktype(L, index, LUA_TTABLE);
    }
    lua_pop(L, 1);
}

static lua_Integer check_length(lua_State *L, unsigned needs) {
    check_table(L, 1, needs | MEASURES);
    return luaL_len(L, 1);
}

// insert, remove, move, concat ----------------------------------------------------------------------

/// t[to] = t[from], a number of times, upwards or downwards.
static void shift(lua_State *L, int target, lua_Integer from, lua_Integer to, lua_Integer count,
                  int step) {
    for (lua_Integer i = 0; i < count; i++) {
        look_up(L, i);
        lua_geti(L, 1, from + i * step);
        lua_seti(L, target, to + i * step);
    }
}

static int table_insert(lua_State *L) {
    // Adding to the largest integer goes round, as Lua's does.
    lua_Integer end = (lua_Integer)((lua_Unsigned)check_length(L, READS | WRITES) + 1);
    lua_Integer position = end;
    switch (lua_gettop(L)) {
    case 2: break;
    case 3:
        position = luaL_checkinteger(L, 2);
        luaL_argcheck(L, (lua_Unsigned)position - 1u < (lua_Unsigned)end, 2,
                      "position out of bounds");
        check_count(L, (lua_Unsigned)end - (lua_Unsigned)position, "insert");
        shift(L, 1, end - 1, end, end - position, -1);
        break;
    default: return luaL_error(L, "wrong number of arguments to 'insert'");
    }
    lua_seti(L, 1, position);
    return 0;
}

static int table_remove(lua_State *L) {
    lua_Integer size = check_length(L, READS | WRITES);
    lua_Integer position = luaL_optinteger(L, 2, size);
    if (position != size) {
        luaL_argcheck(L, (lua_Unsigned)position - 1u <= (lua_Unsigned)size, 2,
                      "position out of bounds");
    }
    lua_geti(L, 1, position);
    if (position < size) {
        check_count(L, (lua_Unsigned)size - (lua_Unsigned)position, "remove");
        shift(L, 1, position + 1, position, size - position, 1);
        position = size;
    }
    lua_pushnil(L);
    lua_seti(L, 1, position);
    return 1;
}

static int table_move(lua_State *L) {
    lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3);
    lua_Integer to = luaL_checkinteger(L, 4);
    int target = lua_isnoneornil(L, 5) ? 1 : 5;
    check_table(L, 1, READS);
    check_table(L, target, WRITES);
    if (last >= first) {
        luaL_argcheck(L, first > 0 || last < LUA_MAXINTEGER + first, 3,
                      "too many elements to move");
        lua_Integer count = last - first + 1;
        luaL_argcheck(L, to <= LUA_MAXINTEGER - count + 1, 4, "destination wrap around");
        check_count(L, (lua_Unsigned)count, "move");
        bool overlaps = to > first && to <= last && (target == 1 || lua_compare(L, 1, 5, LUA_OPEQ));
        if (overlaps) { // from the end, or it would read what it has written
            shift(L, target, last, to + count - 1, count, -1);
        } else {
            shift(L, target, first, to, count, 1);
        }
    }
    lua_pushvalue(L, target);
    return 1;
}

static int table_concat(lua_State *L) {
    luaL_Buffer out;
    size_t len;
    lua_Integer last = check_length(L, READS);
    const char *between = luaL_optlstring(L, 2, "", &len);
    lua_Integer first = luaL_optinteger(L, 3, 1);
    last = luaL_optinteger(L, 4, last);
    luaL_buffinit(L, &out);
    for (lua_Unsigned done = 0; first <= last; done++) {
        look_up(L, (lua_Integer)done);
        check_count(L, done, "concat");
        lua_geti(L, 1, first);
        if (!lua_isstring(L, -1)) {
            return luaL_error(L, "invalid value (%s) at index %I in table for 'concat'",
                              luaL_typename(L, -1), first);
        }
        luaL_addvalue(&out);
        if (first == last) {
            break; // adding to the largest integer would go round
        }
        luaL_addlstring(&out, between, len);
        first++;
    }
    luaL_pushresult(&out);
    return 1;
}

// sort ----------------------------------------------------------------------------------------------

// A heap sort that goes down to a leaf before it looks where the element belongs. It compares about as
// often as Lua's quick sort, but never more often than n log n, whatever the order function says.

struct sort {
    lua_State *L;
    uint64_t bytes; ///< of strings that were compared
};

/// Whether the value at index a goes before that at b; both above what is called.
static bool is_less(struct sort *sort, int a, int b) {
    lua_State *L = sort->L;
    peri_watch_poll(L);
    if (lua_isnil(L, 2)) {
        if (lua_type(L, a) == LUA_TSTRING && lua_type(L, b) == LUA_TSTRING) {
            lua_Unsigned len = lua_rawlen(L, a), other = lua_rawlen(L, b);
            sort->bytes += len < other ? len : other;
            if (sort->bytes > SORT_BYTES) {
                luaL_error(L, "table.sort: too much to compare: over %d GiB of strings",
                           (int)(SORT_BYTES >> 30));
            }
        }
        return lua_compare(L, a, b, LUA_OPLT);
    }
    a = lua_absindex(L, a);
    b = lua_absindex(L, b);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, a);
    lua_pushvalue(L, b);
    lua_call(L, 2, 1);
    bool less = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return less;
}

/// The leaf that is reached from `root` by always going to the larger child.
static lua_Integer find_leaf(struct sort *sort, lua_Integer root, lua_Integer count) {
    lua_State *L = sort->L;
    lua_Integer at = root;
    while (at <= (count - 1) / 2) {
        lua_geti(L, 1, 2 * at);
        lua_geti(L, 1, 2 * at + 1);
        at = 2 * at + (is_less(sort, -2, -1) ? 1 : 0);
        lua_pop(L, 2);
    }
    return at <= count / 2 ? 2 * at : at;
}

/// Puts the value on top, that at `root`, where it belongs in the heap below. [-1, +0]
static void sift(struct sort *sort, lua_Integer root, lua_Integer count) {
    lua_State *L = sort->L;
    lua_Integer at = find_leaf(sort, root, count);
    for (; at > root; at /= 2) {
        lua_geti(L, 1, at);
        bool less = is_less(sort, -1, -2);
        lua_pop(L, 1);
        if (!less) {
            break;
        }
    }
    for (; at > root; at /= 2) { // what was on the way moves up
        lua_geti(L, 1, at);
        lua_insert(L, -2);
        lua_seti(L, 1, at);
    }
    lua_seti(L, 1, root);
}

static int table_sort(lua_State *L) {
    struct sort sort = {.L = L};
    lua_Integer count = check_length(L, READS | WRITES);
    if (count < 2) {
        return 0;
    }
    luaL_argcheck(L, count < INT_MAX, 1, "array too big");
    check_count(L, (lua_Unsigned)count, "sort");
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TFUNCTION);
    }
    lua_settop(L, 2);
    for (lua_Integer root = count / 2; root >= 1; root--) {
        lua_geti(L, 1, root);
        sift(&sort, root, count);
    }
    for (; count > 1; count--) {
        lua_geti(L, 1, count);
        lua_geti(L, 1, 1);
        lua_seti(L, 1, count);
        lua_pushvalue(L, -1);
        lua_seti(L, 1, 1); // nothing is lost where the order function raises
        sift(&sort, 1, count - 1);
    }
    return 0;
}

static const luaL_Reg functions[] = {
    {"insert", table_insert}, {"remove", table_remove}, {"move", table_move},
    {"concat", table_concat}, {"sort", table_sort},     {NULL, NULL},
};

void peri_tables_open(lua_State *L) {
    lua_getglobal(L, LUA_TABLIBNAME);
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
