// Patterns mean what they mean in Lua's own library: each expression gives the same there and here, and
// what is written beside it. What takes too many steps is refused, here only.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <lauxlib.h>
#include <lualib.h>

#include "script/sandbox.h"

static const struct {
    const char *expression, *gives;
} rows[] = {
    // plain and positions
    {"('hello world'):find('o w')", "5 7"},
    {"('hello'):find('')", "1 0"},
    {"('hello'):find('', 6)", "6 5"},
    {"('hello'):find('', 7)", "nil"},
    {"('hello'):match('', 7)", "nil"},
    {"('hello'):gmatch('', 7)()", ""},
    {"('hello'):find('l', -2)", "4 4"},
    {"('hello'):find('h', -99)", "1 1"},
    {"('hello'):find('h', 0)", "1 1"},
    {"('a.b'):find('.', 2, true)", "2 2"},
    {"('a.b'):find('a.b', 1, true)", "1 3"},
    {"('a\\0b'):find('\\0')", "2 2"},
    {"('a\\0b'):find('%z')", "2 2"},
    {"string.find(12345, 34)", "3 4"},
    // classes and sets
    {"('THE (quick) fox'):find('%((%a+)%)')", "5 11 quick"},
    {"('x1 y'):gsub('%W', '_')", "x1_y 1"},
    {"('a-b]c^'):gsub('[]^-]', '.')", "a.b.c. 3"},
    {"('a-b'):gsub('[%a-]', '.')", "... 3"},
    {"('a-b'):gsub('[a-]', '.')", "..b 2"},
    {"('abcz'):gsub('[^a-c]', '.')", "abc. 1"},
    {"('\\200x'):find('[\\128-\\255]')", "1 1"},
    {"('tab\\t'):find('%c%C?')", "4 4"},
    {"('%d'):find('%%d')", "1 2"},
    // how often
    {"('aaab'):match('a*')", "aaa"},
    {"('aaab'):match('a-b')", "aaab"},
    {"('aaab'):match('a-')", ""},
    {"('aaab'):match('^a?ab')", "nil"},
    {"('b'):match('a+')", "nil"},
    {"('aab'):match('a+ab')", "aab"},
    {"('xyz'):match('x?x?y')", "xy"},
    {"('  trim me '):match('^%s*(.-)%s*$')", "trim me"},
    {"('a,b,,c'):gsub(',*', ';')", ";a;b;c; 4"},
    // anchors
    {"('abab'):gsub('^ab', 'x')", "xab 1"},
    {"('a$b'):find('a$b')", "1 3"},
    {"('a^b'):find('a^b')", "1 3"},
    {"('ab'):find('b$')", "2 2"},
    {"('^a'):gmatch('^a')()", "^a"},
    {"('ab'):find('^b', 2)", "2 2"},
    // captures, positions, balance, frontier, again
    {"('key = value'):match('^(%w+)%s*=%s*(%w+)$')", "key value"},
    {"('hello'):match('()ll()')", "3 5"},
    {"('hello'):find('(l)(l)')", "3 4 l l"},
    {"('x(a(b)c)d'):match('%b()')", "(a(b)c)"},
    {"('((a)'):match('%b()')", "(a)"},
    {"('THE (quick) fox'):gsub('%f[%a]%a+', 'w')", "w (w) w 3"},
    {"('aXb'):find('%f[%z]')", "4 3"},
    {"('say \"a\" now'):match('([\"\\'])(.-)%1')", "\" a"},
    {"('abab'):match('^(ab)%1$')", "ab"},
    {"('aa'):match('()%1')", "nil"},
    {"('a(b'):match('((a)(.)(b))')", "a(b a ( b"},
    // gmatch
    {"('one two'):gmatch('%a+')()", "one"},
    {"all(('k=v, a=b'):gmatch('(%w)=(%w)'))", "k/v a/b"},
    {"all(('abc'):gmatch('()'))", "1 2 3 4"},
    {"all(('abc'):gmatch('%a-', 2))", "  "},
    {"all(('a1b2'):gmatch('%d', -1))", "2"},
    // gsub
    {"('hello'):gsub('l', {l = 'L'})", "heLLo 2"},
    {"('hello'):gsub('l', {})", "hello 2"},
    {"('hello'):gsub('(h)(e)', '%2%1%0%%')", "ehhe%llo 1"},
    {"('hello'):gsub('', '-')", "-h-e-l-l-o- 6"},
    {"('hello'):gsub('l', 'x', 1)", "hexlo 1"},
    {"('hello'):gsub('l', 'x', 0)", "hello 0"},
    {"('hello'):gsub('l', 'x', -1)", "hello 0"},
    {"('abc'):gsub('%w', function(c) return c == 'b' and 7 end)", "a7c 3"},
    {"('abc'):gsub('()', '%1')", "1a2b3c4 4"},
    {"('abc'):gsub('b', 5)", "a5c 1"},
    {"('abc'):gsub('%w', '%1')", "abc 3"},
    // rep
    {"('ab'):rep(3, '-')", "ab-ab-ab"},
    {"('ab'):rep(1, '-')", "ab"},
    {"('ab'):rep(0)", ""},
    {"('ab'):rep(-5)", ""},
    {"(''):rep(3, ',')", ",,"},
    // errors
    {"('x'):match('%')", "malformed pattern (ends with '%')"},
    {"('y'):match('x%')", "nil"}, // said only where it is reached
    {"('x'):match('x%')", "malformed pattern (ends with '%')"},
    {"('x'):match('[a')", "malformed pattern (missing ']')"},
    {"('x'):match('[]')", "malformed pattern (missing ']')"},
    {"('x'):match('[^]')", "malformed pattern (missing ']')"},
    {"('x'):match('[a%')", "malformed pattern (missing ']')"},
    {"('x'):match('%f')", "missing '[' after '%f' in pattern"},
    {"('x'):match('%b')", "malformed pattern (missing arguments to '%b')"},
    {"('x'):match('%bx')", "malformed pattern (missing arguments to '%b')"},
    {"('x'):match('(x')", "unfinished capture"},
    {"('x'):match('x)')", "invalid pattern capture"},
    {"('x'):match('%1')", "invalid capture index %1"},
    {"('x'):match('(%1)')", "invalid capture index %1"},
    {"('x'):match('%0')", "invalid capture index %0"},
    {"('x'):gsub('x', '%2')", "invalid capture index %2"},
    {"('x'):gsub('x', '%x')", "invalid use of '%' in replacement string"},
    {"('x'):gsub('x', '%')", "invalid use of '%' in replacement string"},
    {"('x'):gsub('x', function() return {} end)", "invalid replacement value (a table)"},
    {"('x'):gsub('x', {x = print})", "invalid replacement value (a function)"},
    {"('x'):match(('()'):rep(33))", "too many captures"},
    {"('x'):rep(40):match(('(x)'):rep(32)) ~= nil", "true"},
    {"#('x'):rep(300):match(('x?'):rep(198))", "198"},
    {"('x'):rep(300):match(('x?'):rep(200))", "pattern too complex"},
    {"#('x'):rep(300):match(('x'):rep(300))", "300"},
    {"('x'):rep(1 << 62, 'y')", "resulting string too large"},
    {"string.find('a')", "bad argument #2 to 'find' (string expected, got no value)"},
    {"string.gsub('a', 'b')",
     "bad argument #3 to 'gsub' (string/function/table expected, got no value)"},
    {"string.find({}, 'a')", "bad argument #1 to 'find' (string expected, got table)"},
    {"string.find('a', 'a', 'x')", "bad argument #3 to 'find' (number expected, got string)"},
};

static const char AROUND[] =
    "local function all(...)\n"
    "  local list = {}\n"
    "  for a, b in ... do list[#list + 1] = tostring(a) .. (b and '/' .. tostring(b) or '') end\n"
    "  return table.concat(list, ' ')\n"
    "end\n"
    "local got = table.pack(pcall(function() local r = table.pack(%s) return table.unpack(r, 1, "
    "r.n) "
    "end))\n"
    "if not got[1] then return (got[2]:gsub('^.-:%%d+: ', '')) end\n"
    "for i = 2, got.n do got[i] = tostring(got[i]) end\n"
    "return table.concat(got, ' ', 2, got.n)\n";

static void expect(lua_State *L, const char *expression, const char *gives, const char *whose) {
    char code[2048];
    (void)snprintf(code, sizeof code, AROUND, expression);
    if (luaL_dostring(L, code) != LUA_OK || strcmp(lua_tostring(L, -1), gives) != 0) {
        fail_msg("%s, %s: %s", expression, whose, lua_tostring(L, -1));
    }
    lua_settop(L, 0);
}

static void each_pattern_means_what_it_means_in_lua(void **state) {
    (void)state;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect(L, rows[i].expression, rows[i].gives, "Lua's");
    }
    peri_strings_open(L);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect(L, rows[i].expression, rows[i].gives, "ours");
    }
    lua_close(L);
}

static void what_takes_too_many_steps_is_refused(void **state) {
    (void)state;
    static const char *const expressions[] = {
        "('x'):rep(40000):find(('.-'):rep(6) .. 'b')",
        "('x'):rep(40000):match(('x*'):rep(4) .. 'b')",
        "('x'):rep(40000):gmatch(('.-'):rep(6) .. 'b')()",
        "('x'):rep(40000):gsub(('x?'):rep(30) .. ('x'):rep(30) .. 'b', '')",
        "('('):rep(40000):find('%b()')",
        "('x'):rep(40000):find('(x*)%1b')",
    };
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    peri_strings_open(L);
    for (size_t i = 0; i < sizeof expressions / sizeof expressions[0]; i++) {
        expect(L, expressions[i], "pattern takes too long: over 10000000 steps for this text",
               "ours");
    }
    lua_close(L);
}

static void long_texts_are_no_reason(void **state) {
    (void)state;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    peri_strings_open(L);
    expect(L, "#('some words '):rep(200000):gsub('%w+', '%0!')", "2600000", "ours");
    expect(L, "select(2, ('a,b;'):rep(500000):gsub('[^,;]*', ''))", "1000001", "ours");
    expect(L, "#('x'):rep(4 << 20):match('^%s*(.-)%s*$')", "4194304", "ours");
    expect(L, "('x'):rep(4 << 20):find('y')", "nil", "ours");
    expect(L, "('a'):rep(1 << 20):find(('a'):rep(1 << 19) .. 'b', 1, true)", "nil", "ours");
    expect(L, "#string.rep('', 1 << 62)", "0", "ours");
    lua_close(L);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_pattern_means_what_it_means_in_lua),
        cmocka_unit_test(what_takes_too_many_steps_is_refused),
        cmocka_unit_test(long_texts_are_no_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
