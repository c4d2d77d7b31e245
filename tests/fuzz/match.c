// Our pattern matcher side by side with Lua's own: find, match, gmatch and gsub give the same values and
// the same errors, but for patterns that take ours too many steps.
//
// The input: how, where to begin, and three lines: the text, the pattern, what to put in its place.
#include "fuzz.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "script/sandbox.h"

/// Lua's own may take for ever on what ours refuses, so it is asked second, and only if ours answered.
/// Where they differ it returns how.
static const char COMPARE[] =
    "local own, theirs, how, pattern, text, with, init = ...\n"
    "local function all(of, matches)\n"
    "  local list = {}\n"
    "  for a, b, c in of.gmatch(text, pattern, init) do\n"
    "    list[#list + 1] = table.concat({ tostring(a), tostring(b), tostring(c) }, '\\0')\n"
    "    if #list > 4 then break end\n"
    "  end\n"
    "  return table.concat(list, '\\1')\n"
    "end\n"
    "local used = {}\n"
    "local function note(...)\n"
    "  used[#used + 1] = select('#', ...) .. ':' .. tostring((...))\n"
    "  return #used % 3 ~= 0 and with\n"
    "end\n"
    "local ways = {\n"
    "  function(of) return of.find(text, pattern, init) end,\n"
    "  function(of) return of.match(text, pattern, init) end,\n"
    "  all,\n"
    "  function(of) return of.gsub(text, pattern, with) end,\n"
    "  function(of) return of.gsub(text, pattern, with, init) end,\n"
    "  function(of) used = {} return of.gsub(text, pattern, note), table.concat(used, '\\0') end,\n"
    "  function(of) return of.gsub(text, pattern, { a = 1, b = false, [1] = 'x', [''] = with }) "
    "end,\n"
    "  function(of) return of.find(text, pattern, init, true) end,\n"
    "  function(of) return of.gsub(text, pattern, how > 127 and tostring or table.pack) end,\n"
    "  function(of) return of.rep(pattern, init, with) end,\n"
    "}\n"
    "local way = ways[how % #ways + 1]\n"
    "local ours = table.pack(pcall(way, own))\n"
    "if not ours[1] and tostring(ours[2]):find('takes too long', 1, true) then return end\n"
    "local luas = table.pack(pcall(way, theirs))\n"
    "if ours.n ~= luas.n then return how % #ways, 'n', ours.n, luas.n, ours[2], luas[2] end\n"
    "for i = 1, ours.n do\n"
    "  if ours[i] ~= luas[i] or math.type(ours[i]) ~= math.type(luas[i]) then\n"
    "    return how % #ways, i, ours[i], luas[i]\n"
    "  end\n"
    "end\n";

/// Lua's string functions as the table on top; those of ours in the globals.
static void open_both(lua_State *L) {
    luaL_openlibs(L);
    lua_newtable(L); // a copy, before ours take their places
    lua_getglobal(L, LUA_STRLIBNAME);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -6);
    }
    lua_pop(L, 1);
    peri_strings_open(L);
}

/// Lua's own takes time that grows with the text by a power.
enum { TEXT_MAX = 40 };

static void push_line(lua_State *L, struct peri_str *in, size_t most) {
    struct peri_str line = fuzz_line(in);
    lua_pushlstring(L, line.len > 0 ? line.ptr : "", line.len < most ? line.len : most);
}

void fuzz_one(struct peri_str input) {
    static lua_State *L;
    if (!L) {
        L = luaL_newstate();
        FUZZ_CHECK(L);
        open_both(L);
        FUZZ_CHECK(luaL_loadstring(L, COMPARE) == LUA_OK);
    }
    int theirs = 1, compare = 2;
    lua_pushvalue(L, compare);
    lua_getglobal(L, LUA_STRLIBNAME);
    lua_pushvalue(L, theirs);
    lua_pushinteger(L, fuzz_byte(&input));
    int start = (int8_t)fuzz_byte(&input);
    push_line(L, &input, TEXT_MAX);
    push_line(L, &input, SIZE_MAX);
    lua_insert(L, -2); // pattern, text
    push_line(L, &input, SIZE_MAX);
    lua_pushinteger(L, start);
    FUZZ_CHECK(lua_pcall(L, 7, LUA_MULTRET, 0) == LUA_OK);
    if (lua_gettop(L) > compare) {
        for (int i = compare + 1; i <= lua_gettop(L); i++) {
            (void)fprintf(stderr, "%s\n", luaL_tolstring(L, i, NULL));
            lua_pop(L, 1);
        }
    }
    FUZZ_CHECK(lua_gettop(L) == compare);
}
