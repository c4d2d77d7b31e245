// The parser of `perigee check` beside Lua's own: what Lua compiles, it parses, and nothing is worse
// than an error. Every node stands in the text.
#include "script/syntax.h"

#include <lauxlib.h>

#include "fuzz.h"

static bool lua_takes(struct peri_str text) {
    lua_State *L = luaL_newstate();
    FUZZ_CHECK(L);
    int status = luaL_loadbufferx(L, text.ptr, text.len, "=x", "t");
    lua_close(L);
    return status == LUA_OK;
}

static void check_nodes(const struct peri_node *node, size_t len) {
    for (; node; node = node->next) {
        FUZZ_CHECK(node->at <= len);
        check_nodes(node->a, len);
        check_nodes(node->b, len);
        check_nodes(node->c, len);
    }
}

void fuzz_one(struct peri_str in) {
    uint8_t failing = fuzz_byte(&in);
    char *copy = fuzz_copy(in);
    struct peri_str text = peri_str(copy, in.len);
    struct peri_arena arena = {0};
    struct peri_node *chunk = NULL;
    int status = peri_syntax_parse(text, &arena, &chunk);
    FUZZ_CHECK((status == PERI_OK) == (chunk != NULL));
    FUZZ_CHECK(status == PERI_OK || !lua_takes(text));
    check_nodes(chunk, text.len);
    peri_arena_free(&arena);
    if (failing > 0) {
        arena = (struct peri_arena){0};
        peri_alloc_fail_from(failing);
        status = peri_syntax_parse(text, &arena, &chunk);
        peri_arena_free(&arena);
    }
    free(copy);
}
