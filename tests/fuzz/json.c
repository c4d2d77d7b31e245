// JSON both ways inside a VM: what is decoded can be encoded, and means the same again.
#include <lauxlib.h>

#include "script/api.h"
#include "script/host_private.h"
#include "world.h"

/// Equal but for identity. [-0, +0]
static bool is_same(lua_State *L, int a, int b) {
    luaL_checkstack(L, 8, NULL);
    if (!lua_istable(L, a) || !lua_istable(L, b)) {
        return lua_rawequal(L, a, b) && lua_isinteger(L, a) == lua_isinteger(L, b);
    }
    bool marked_a = lua_getmetatable(L, a), marked_b = lua_getmetatable(L, b);
    bool same = marked_a == marked_b && (!marked_a || lua_rawequal(L, -1, -2));
    lua_pop(L, marked_a + marked_b);
    size_t keys = 0;
    for (lua_pushnil(L); same && lua_next(L, a); lua_pop(L, 1)) {
        int value = lua_gettop(L);
        lua_pushvalue(L, value - 1);
        lua_rawget(L, b);
        same = is_same(L, value, value + 1);
        lua_settop(L, value);
        keys++;
    }
    if (!same) {
        return false;
    }
    for (lua_pushnil(L); lua_next(L, b); lua_pop(L, 1)) {
        keys--;
    }
    return keys == 0;
}

struct round {
    struct peri_vm *vm;
    struct peri_str text;
    struct peri_buffer out;
};

static int go_round(lua_State *L) {
    struct round *round = lua_touserdata(L, 1);
    peri_vm_push(L, PERI_SLOT_WS);
    peri_json_open(L);
    lua_settop(L, 1);
    if (peri_json_decode(L, round->text) != 1) {
        FUZZ_CHECK(lua_gettop(L) == 3 && lua_isnil(L, 2) && lua_isstring(L, 3));
        return 0;
    }
    FUZZ_CHECK(lua_gettop(L) == 2);
    FUZZ_CHECK(peri_json_encode(L, round->vm, 2, SIZE_MAX, &round->out) == PERI_OK);
    FUZZ_CHECK(lua_gettop(L) == 2);
    FUZZ_CHECK(peri_json_decode(L, peri_buffer_str(&round->out)) == 1);
    FUZZ_CHECK(is_same(L, 2, 3));
    // No larger than it may be: the bound holds to the byte.
    size_t bytes = round->out.len;
    FUZZ_CHECK(peri_json_encode(L, round->vm, 3, bytes, &round->out) == PERI_OK);
    FUZZ_CHECK(bytes == round->out.len);
    FUZZ_CHECK(peri_json_encode(L, round->vm, 3, bytes - 1, &round->out) == PERI_E_LIMIT);
    return 0;
}

/// The input: JSON. Behind a byte of 1, which begins none: from which allocation on they fail.
void fuzz_one(struct peri_str in) {
    uint8_t failing = 0;
    if (in.len > 0 && in.ptr[0] == 1) {
        (void)fuzz_byte(&in);
        failing = fuzz_byte(&in);
    }
    world_begin();
    world.limits.script_memory = 64 << 20;
    char *copy = fuzz_copy(in);
    struct round round = {.text = peri_str(copy, in.len)};
    round.vm = peri_vm_new(world.host, world.hub, &world.limits);
    FUZZ_CHECK(round.vm);
    peri_alloc_fail_from(failing);
    int rc = peri_vm_protected(round.vm, go_round, &round);
    FUZZ_CHECK(rc == LUA_OK || failing > 0);
    peri_alloc_fail_from(0);
    peri_vm_free(round.vm);
    peri_buffer_deinit(&round.out);
    free(copy);
    world_end();
}
