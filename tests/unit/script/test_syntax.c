// The parser of `perigee check` beside Lua's own: what Lua takes, it takes, and whatever else comes,
// nothing worse than an error happens.
#include "script/syntax.h"

#include <glob.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "support/cmocka.h"

static struct peri_arena arena;
static lua_State *lua;

static const struct peri_node *parse(const char *text, int expected) {
    struct peri_node *chunk = NULL;
    peri_arena_free(&arena);
    assert_int_equal(peri_syntax_parse(peri_str_of(text), &arena, &chunk), expected);
    return chunk;
}

/// What the first `return` of a text gives.
static const struct peri_node *value_of(const char *text) {
    const struct peri_node *at = parse(text, PERI_OK)->c;
    while (at->kind != PERI_NODE_RETURN) {
        at = at->next;
    }
    return at->b;
}

static void same_as_lua(struct peri_str text) {
    struct peri_node *chunk = NULL;
    peri_arena_free(&arena);
    int status = peri_syntax_parse(text, &arena, &chunk);
    bool lua_takes = luaL_loadbufferx(lua, text.ptr, text.len, "=x", "t") == LUA_OK;
    lua_pop(lua, 1);
    if (lua_takes && status != PERI_OK) {
        fail_msg("Lua takes this: %.*s", (int)text.len, text.ptr);
    }
    assert_true((status == PERI_OK) == (chunk != NULL));
}

static struct peri_str read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    static char text[1 << 16];
    size_t len = fread(text, 1, sizeof text, file);
    assert_true(feof(file));
    (void)fclose(file);
    return peri_str(text, len);
}

// What each kind of node is -----------------------------------------------------------------------

static void literals_have_the_values_that_lua_gives_them(void **state) {
    static const char *const texts[] = {
        "1",
        "0",
        "0x10",
        "0xffffffffffffffff",
        "9223372036854775807",
        "9223372036854775808",
        "1.5",
        "1e3",
        "1E-3",
        "0x1p4",
        "0x.8",
        ".5",
        "3.",
        "0xA.8p1",
        "1e400",
        "'a'",
        "\"a\\n\\t\\\\\"",
        "'\\65\\066\\0'",
        "'\\x41\\u{48}\\u{7FF}\\u{20AC}\\u{10FFFF}'",
        "'\\u{7FFFFFFF}'",
        "'a\\z   \n  b'",
        "'a\\\nb'",
        "[[long]]",
        "[==[\n]]x]=]]==]",
        "[[\r\n\r\n]]",
        "'\\a\\b\\f\\r\\v\\'\\\"'",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "return %s", texts[i]);
        const struct peri_node *value = value_of(text);
        assert_int_equal(luaL_dostring(lua, text), LUA_OK);
        size_t len;
        if (lua_type(lua, -1) == LUA_TSTRING) {
            const char *expected = lua_tolstring(lua, -1, &len);
            assert_int_equal(value->kind, PERI_NODE_STRING);
            // Lua makes of "\r\n" in a long string one "\n": no name holds any.
            if (!strchr(texts[i], '\r')) {
                assert_int_equal(value->text.len, len);
                assert_memory_equal(value->text.ptr, expected, len);
            }
        } else {
            assert_int_equal(value->kind, PERI_NODE_NUMBER);
            assert_int_equal(value->is_integer, lua_isinteger(lua, -1));
            assert_true(value->number == lua_tonumber(lua, -1));
            assert_true(!value->is_integer || value->integer == lua_tointeger(lua, -1));
        }
        lua_pop(lua, 1);
    }
}

static void operators_bind_as_in_lua(void **state) {
    (void)state;
    const struct peri_node *e = value_of("return a or b and c == d .. e .. f + g * -h ^ i");
    assert_int_equal(e->op, PERI_TOKEN_OR);
    e = e->b; // b and ...
    assert_int_equal(e->op, PERI_TOKEN_AND);
    e = e->b; // c == ...
    assert_int_equal(e->op, PERI_TOKEN_EQ);
    e = e->b; // d .. (e .. (f + ...))
    assert_int_equal(e->op, PERI_TOKEN_CONCAT);
    assert_int_equal(e->a->kind, PERI_NODE_NAME);
    e = e->b->b;
    assert_int_equal(e->op, '+');
    e = e->b->b; // -(h ^ i)
    assert_int_equal(e->kind, PERI_NODE_UNARY);
    assert_int_equal(e->a->op, '^');
    e = value_of("return 1 - 2 - 3");
    assert_int_equal(e->a->op, '-'); // from the left
}

static void names_mean_the_nearest_local_in_scope(void **state) {
    (void)state;
    const struct peri_node *e =
        value_of("local a = 1; local a = a; do local a = 2 end return a, b");
    assert_non_null(e->local);
    assert_int_equal(e->local->value->kind, PERI_NODE_NAME); // the second
    assert_int_equal(e->local->value->local->value->kind, PERI_NODE_NUMBER);
    assert_null(e->next->local);
    e = value_of("for i = 1, 2 do end for k, v in x do end local function f() end return i, k, f");
    assert_null(e->local);
    assert_null(e->next->local);
    assert_non_null(e->next->next->local);
    e = value_of("return function(a, ...) repeat local b until b return a, b end");
    const struct peri_node *loop = e->c;
    assert_non_null(loop->a->local); // the condition sees the body's
    assert_non_null(loop->next->b->local);
    assert_null(loop->next->b->next->local);
}

static void a_local_that_is_assigned_is_known_as_such(void **state) {
    (void)state;
    assert_false(value_of("local a = 1 return a")->local->assigned);
    assert_true(value_of("local a = 1 a = 2 return a")->local->assigned);
    assert_true(value_of("local a function a() end return a")->local->assigned);
    assert_true(
        value_of("local a, b = 1 local function f() b, a = 1 end return a")->local->assigned);
    assert_false(value_of("local a = {} a.b = 1 return a")->local->assigned);
    assert_null(value_of("local a, b = f() return b")->local->value);
    assert_null(value_of("local a, b = f() return a")->local->value);
}

static void methods_calls_and_tables_keep_their_parts_and_places(void **state) {
    (void)state;
    const struct peri_node *e = value_of("return a.b:c { 1, d = 2, [3] = 4 } 'x'");
    assert_int_equal(e->kind, PERI_NODE_CALL);
    assert_int_equal(e->b->kind, PERI_NODE_STRING);
    assert_int_equal(e->a->kind, PERI_NODE_METHOD);
    assert_int_equal(e->a->at, 11);
    assert_true(peri_str_equal(e->a->text, PERI_STR("c")));
    assert_int_equal(e->a->a->kind, PERI_NODE_INDEX);
    assert_int_equal(e->a->a->at, 9);
    const struct peri_node *item = e->a->b->b;
    assert_null(item->a);
    assert_true(peri_str_equal(item->next->a->text, PERI_STR("d")));
    assert_int_equal(item->next->next->a->integer, 3);
}

// What is no Lua ----------------------------------------------------------------------------------

static void what_is_no_lua_is_refused(void **state) {
    static const char *const texts[] = {"return return",
                                        "x",
                                        "x = ",
                                        "f(",
                                        "'open",
                                        "[[open",
                                        "--[[open",
                                        "1x",
                                        "a.b.1",
                                        "if",
                                        "= 1",
                                        "local 1",
                                        "f() = 1",
                                        "'\\q'",
                                        "return 1x",
                                        "'\\400'",
                                        "goto 1",
                                        "\"\\u{80000000}\"",
                                        "@",
                                        "x = }",
                                        "for a do end"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        (void)parse(texts[i], PERI_E_INVALID);
    }
}

static void fill(char *text, size_t n, const char *open) {
    text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        (void)strcat(text, open);
    }
}

static void deep_nesting_is_refused_and_long_chains_are_not(void **state) {
    static char text[1 << 16];
    static const char *const nested[] = {"x=(", "x={", "do ", "x=-", "x=a^"};
    (void)state;
    fill(text, 4000, "(");
    memmove(text + 7, text, 4001);
    memcpy(text, "return ", 7);
    (void)parse(text, PERI_E_LIMIT);
    for (size_t i = 0; i < sizeof nested / sizeof nested[0]; i++) {
        fill(text, 4000, nested[i]);
        struct peri_node *chunk;
        peri_arena_free(&arena);
        assert_int_not_equal(peri_syntax_parse(peri_str_of(text), &arena, &chunk), PERI_OK);
    }
    (void)strcpy(text, "return a");
    fill(text + 8, 5000, ".b()");
    (void)parse(text, PERI_OK);
    (void)strcpy(text, "return 1");
    fill(text + 8, 9000, "+1");
    (void)parse(text, PERI_OK);
}

// Whatever comes ----------------------------------------------------------------------------------

static size_t
    stride; ///< between the prefixes that are tried: all of what ships, some of the tests'

static void with_each_script(void (*use)(struct peri_str text)) {
    static const char *const patterns[] = {"scripts/*.lua", "scripts/lib/*.lua",
                                           "tests/lua/scripts/*.lua"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        stride = i < 2 ? 1 : 31;
        glob_t found;
        assert_int_equal(glob(patterns[i], 0, NULL, &found), 0);
        for (size_t j = 0; j < found.gl_pathc; j++) {
            use(read_file(found.gl_pathv[j]));
        }
        globfree(&found);
    }
}

static void take_whole(struct peri_str text) {
    struct peri_node *chunk;
    peri_arena_free(&arena);
    assert_int_equal(peri_syntax_parse(text, &arena, &chunk), PERI_OK);
}

static void every_script_is_taken(void **state) {
    (void)state;
    with_each_script(take_whole);
}

static void take_prefixes(struct peri_str text) {
    for (size_t n = 0; n <= text.len; n += stride) {
        char *copy = malloc(n + 1); // its own block: a read past the end is seen
        assert_non_null(copy);
        memcpy(copy, text.ptr, n);
        same_as_lua(peri_str(copy, n));
        free(copy);
    }
}

static void every_prefix_is_taken_where_lua_takes_it(void **state) {
    (void)state;
    with_each_script(take_prefixes);
}

static uint32_t random_state;

static uint32_t random_below(size_t n) {
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % (uint32_t)n;
}

static void take_mutations(struct peri_str text) {
    static const char *const parts[] = {"end",
                                        "(",
                                        ")",
                                        "{",
                                        "}",
                                        "[[",
                                        "]]",
                                        "'",
                                        "\"",
                                        "\\",
                                        "--",
                                        "\n",
                                        "0x",
                                        "..",
                                        "::",
                                        "function",
                                        "local a <const>",
                                        "=",
                                        "repeat",
                                        "until",
                                        ":",
                                        ",",
                                        "\0",
                                        "\xff",
                                        "if",
                                        "then"};
    char *copy = malloc(text.len + 32);
    assert_non_null(copy);
    for (int i = 0; i < 60 && text.len > 0; i++) {
        const char *part = parts[random_below(sizeof parts / sizeof parts[0])];
        size_t at = random_below(text.len), cut = random_below(text.len - at > 16 ? 16 : 1);
        size_t len = strlen(part);
        memcpy(copy, text.ptr, at);
        memcpy(copy + at, part, len);
        memcpy(copy + at + len, text.ptr + at + cut, text.len - at - cut);
        same_as_lua(peri_str(copy, text.len + len - cut));
    }
    free(copy);
}

static void whatever_is_put_into_a_script_it_is_taken_where_lua_takes_it(void **state) {
    (void)state;
    random_state = 5;
    with_each_script(take_mutations);
}

static void out_of_memory_is_an_error_at_each_allocation(void **state) {
    static char text[20000];
    int status = PERI_E_MEMORY;
    (void)state;
    for (size_t used = 0; used < sizeof text - 200;) {
        used +=
            (size_t)snprintf(text + used, sizeof text - used,
                             "local a, b = f'\\n', {x = 1; 2} for i = 1, 2 do a.b[i] = not c end "
                             "function a.c:d(e, ...) goto x ::x:: end ");
    }
    for (uint64_t n = 1; status == PERI_E_MEMORY; n++) {
        struct peri_node *chunk = NULL;
        peri_alloc_fail_from(n);
        status = peri_syntax_parse(peri_str_of(text), &arena, &chunk);
        peri_alloc_fail_from(0);
        peri_arena_free(&arena);
        assert_true(n < 1000);
    }
    assert_int_equal(status, PERI_OK);
}

static int setup(void **state) {
    (void)state;
    lua = luaL_newstate();
    return lua ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    lua_close(lua);
    peri_arena_free(&arena);
    return peri_alloc_live() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_have_the_values_that_lua_gives_them),
        cmocka_unit_test(operators_bind_as_in_lua),
        cmocka_unit_test(names_mean_the_nearest_local_in_scope),
        cmocka_unit_test(a_local_that_is_assigned_is_known_as_such),
        cmocka_unit_test(methods_calls_and_tables_keep_their_parts_and_places),
        cmocka_unit_test(what_is_no_lua_is_refused),
        cmocka_unit_test(deep_nesting_is_refused_and_long_chains_are_not),
        cmocka_unit_test(every_script_is_taken),
        cmocka_unit_test(every_prefix_is_taken_where_lua_takes_it),
        cmocka_unit_test(whatever_is_put_into_a_script_it_is_taken_where_lua_takes_it),
        cmocka_unit_test(out_of_memory_is_an_error_at_each_allocation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
