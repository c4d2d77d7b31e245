// A VM's heap, of slabs and without: what is counted, what the cap refuses, and when
// garbage is collected.
#include "script/heap.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "base/alloc.h"
#include "support/cmocka.h"

enum { MIB = 1024 * 1024, PIECES = 40000 };

static struct peri_vm vm;
static uint64_t live_before;

static void make_heap(bool has_slabs, size_t cap) {
    memset(&vm, 0, sizeof vm);
    live_before = peri_alloc_live();
    vm.cap_ = cap;
    vm.limit_ = cap;
    peri_heap_init(&vm, has_slabs);
}

static void end_heap(void) {
    assert_int_equal(vm.used_, 0);
    assert_int_equal(vm.large_, 0);
    peri_heap_deinit(&vm);
    assert_int_equal(peri_alloc_live(), live_before);
}

static void make_state(bool has_slabs, size_t cap) {
    make_heap(has_slabs, cap);
    vm.L = lua_newstate(peri_heap_allocate, &vm);
    assert_non_null(vm.L);
    luaL_openlibs(vm.L);
}

static void end_state(void) {
    peri_heap_leave(&vm);
    lua_close(vm.L);
    vm.L = NULL;
    end_heap();
}

static int run(const char *code) {
    int status = luaL_loadstring(vm.L, code);
    return status == LUA_OK ? lua_pcall(vm.L, 0, 0, 0) : status;
}

static bool is_counted_right(void) {
    size_t kib = (size_t)lua_gc(vm.L, LUA_GCCOUNT), rest = (size_t)lua_gc(vm.L, LUA_GCCOUNTB);
    return vm.used_ == kib * 1024 + rest;
}

static const char KINDS[] =
    "local keep = {}\n"
    "for i = 1, 3000 do\n"
    "  local s = ('x'):rep(i)\n"
    "  keep[i] = { s, n = i, f = function() return s end,\n"
    "    co = i % 100 == 0 and coroutine.wrap(function() end) or nil }\n"
    "  if i % 7 == 0 then keep[i - 5] = nil end\n"
    "end\n"
    "local joined = {}\n"
    "for i, piece in pairs(keep) do joined[#joined + 1] = piece[1]:sub(-9) end\n"
    "assert(#table.concat(joined) > 20000)\n";

static void what_is_used_is_what_lua_counts(void **state) {
    make_state(*(bool *)*state, 64 * MIB);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(run(KINDS), LUA_OK);
        assert_true(is_counted_right());
        (void)lua_gc(vm.L, LUA_GCCOLLECT);
        assert_true(is_counted_right());
    }
    assert_true(vm.used_ < MIB);
    end_state();
}

static void over_the_cap_is_an_error_and_garbage_is_not(void **state) {
    make_state(*(bool *)*state, 2 * MIB);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(run("local t = {} for i = 1, math.huge do t[i] = { i } end"), LUA_ERRMEM);
        assert_true(vm.hit_cap);
        assert_true(vm.used_ <= 2 * MIB + MIB / 4);
        lua_settop(vm.L, 0);
        vm.hit_cap = false;
        assert_int_equal(run("local s = 'x' for i = 1, 100000 do s = { i, i .. 'y' } end"), LUA_OK);
        assert_true(is_counted_right());
    }
    end_state();
}

static void any_allocation_may_fail(void **state) {
    bool has_slabs = *(bool *)*state, failed = true;
    uint64_t nth = 0;
    while (failed) {
        make_state(has_slabs, 64 * MIB);
        peri_alloc_fail_from(++nth);
        int status =
            run("local t = {} for i = 1, 200 do t[i] = ('x'):rep(i * 3) end\n"
                "for i = 1, 200 do t[i] = nil end t.a = table.concat({ 1, 2 }, 'x')\n"
                "load('local a, b, c = 1, 2, 3 return function() return a + b + c end')()");
        peri_alloc_fail_from(0);
        failed = status != LUA_OK;
        assert_true(!failed || status == LUA_ERRMEM || status == LUA_ERRRUN);
        assert_true(is_counted_right());
        assert_int_equal(run("return 1"), LUA_OK);
        end_state();
    }
    assert_true(nth > (has_slabs ? 5 : 100));
}

static void a_block_keeps_its_bytes_through_any_size(void **state) {
    static const size_t sizes[] = {1, 16, 17, 500, 512, 513, 9000, 513, 512, 100, 3000, 40, 8, 7};
    make_heap(*(bool *)*state, MIB);
    size_t size = 0;
    unsigned char *block = NULL;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        block = peri_heap_allocate(&vm, block, size, sizes[i]);
        assert_non_null(block);
        for (size_t byte = 0; byte < size && byte < sizes[i]; byte++) {
            assert_int_equal(block[byte], byte % 251);
        }
        size = sizes[i];
        for (size_t byte = 0; byte < size; byte++) {
            block[byte] = (unsigned char)(byte % 251);
        }
        assert_int_equal(vm.used_, size);
    }
    assert_null(peri_heap_allocate(&vm, block, size, 0));
    end_heap();
}

static void a_block_that_cannot_shrink_stands(void **state) {
    make_heap(*(bool *)*state, MIB);
    unsigned char *block = peri_heap_allocate(&vm, NULL, 0, 600);
    assert_non_null(block);
    memset(block, 7, 600);
    peri_alloc_fail_from(1);
    void *moved = peri_heap_allocate(&vm, block, 600, 40);
    peri_alloc_fail_from(0);
    size_t size = moved ? 40 : 600;
    assert_true(!moved || moved == block);
    assert_int_equal(vm.used_, size);
    assert_int_equal(block[39], 7);
    assert_null(peri_heap_allocate(&vm, block, size, 0));
    end_heap();
}

/// Fills the heap with one size after the other, and keeps of each a block in every slab: what is
/// used stays small, and no slab empties.
static void what_is_held_is_bounded_whatever_is_kept(void **state) {
    bool has_slabs = *(bool *)*state;
    static void *pieces[PIECES];
    static struct {
        void *at;
        size_t size;
    } kept[PIECES];
    size_t kept_count = 0, refused = 0;
    make_heap(has_slabs, MIB);
    for (size_t size = 32; size <= 512; size += 96) {
        size_t count = 0;
        while (count < PIECES &&
               (pieces[count] = peri_heap_allocate(&vm, NULL, LUA_TTABLE, size)) != NULL) {
            count++;
        }
        refused += vm.used_ < MIB - 512;
        assert_true(peri_slabs_bytes(&vm.slabs_) + vm.large_ <= 2 * MIB);
        for (size_t i = 0; i < count; i++) {
            if (i % (PERI_SLAB_BYTES / size) == 0 && kept_count < PIECES) {
                kept[kept_count].at = pieces[i];
                kept[kept_count++].size = size;
            } else {
                assert_null(peri_heap_allocate(&vm, pieces[i], size, 0));
            }
        }
    }
    assert_true(has_slabs ? refused > 0 : refused == 0);
    // What is large is refused as well, then.
    void *large = peri_heap_allocate(&vm, NULL, LUA_TSTRING, MIB / 2);
    assert_true(has_slabs ? large == NULL : large != NULL);
    (void)peri_heap_allocate(&vm, large, MIB / 2, 0);
    for (size_t i = 0; i < kept_count; i++) {
        (void)peri_heap_allocate(&vm, kept[i].at, kept[i].size, 0);
    }
    assert_true(peri_slabs_bytes(&vm.slabs_) <= MIB + 32 * PERI_SLAB_BYTES);
    end_heap();
}

// When garbage is collected -----------------------------------------------------------------------

/// Counts cycles: a finalizer in each that makes the next one's.
static const char COUNTING[] =
    "cycles = 0\n"
    "local function watch() setmetatable({}, { __gc = function() cycles = cycles + 1 watch() end "
    "}) end\n"
    "watch()\n"
    "function fill(kib) while collectgarbage 'count' < kib do kept[#kept + 1] = { #kept, {} } end "
    "end\n"
    "function churn(kib) for i = 1, kib do local s = ('x'):rep(500) .. i .. 'y' end end\n"
    "kept = {}\n";

static lua_Integer number(const char *code) {
    assert_int_equal(run(code), LUA_OK);
    assert_int_equal(lua_getglobal(vm.L, "result"), LUA_TNUMBER);
    lua_Integer result = lua_tointeger(vm.L, -1);
    lua_pop(vm.L, 1);
    return result;
}

static void a_small_heap_waits_for_garbage(void **state) {
    make_state(*(bool *)*state, 64 * MIB);
    assert_int_equal(run(COUNTING), LUA_OK);
    assert_int_equal(run("fill(150)"), LUA_OK);
    (void)lua_gc(vm.L, LUA_GCCOLLECT);
    // Some 20 MiB. Lua by itself has 130 cycles of it.
    assert_in_range(number("cycles = 0 churn(20000) result = cycles"), 10, 40);
    // The same once it was large: the pace becomes what it was.
    assert_int_equal(run("fill(30000) kept = {}"), LUA_OK);
    (void)lua_gc(vm.L, LUA_GCCOLLECT);
    assert_int_equal(run("fill(150)"), LUA_OK);
    assert_in_range(number("cycles = 0 churn(20000) result = cycles"), 10, 40);
    end_state();
}

static void a_cycle_ends_before_the_cap(void **state) {
    make_state(*(bool *)*state, 16 * MIB);
    assert_int_equal(run(COUNTING), LUA_OK);
    static const char *const fills[] = {"fill(4 * 1024)", "fill(9 * 1024)", "fill(15 * 1024)"};
    for (size_t i = 0; i < sizeof fills / sizeof fills[0]; i++) {
        assert_int_equal(run(fills[i]), LUA_OK);
        vm.hit_cap = false;
        // Small things that replace what was kept, and large ones.
        assert_int_equal(run("for i = 1, 300000 do kept[i % 2000] = { i, { i } } end\n"
                             "churn(60000) for i = 1, 2000 do ('x'):rep(30000) end"),
                         LUA_OK);
        assert_false(vm.hit_cap);
        lua_settop(vm.L, 0);
    }
    assert_true(number("result = cycles") > 10);
    end_state();
}

static bool slabs = true, none = false;

#define IN_BOTH(test) \
    {#test " (slabs)", test, NULL, NULL, &slabs}, { \
        #test " (malloc)", test, NULL, NULL, &none \
    }

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_BOTH(what_is_used_is_what_lua_counts),
        IN_BOTH(over_the_cap_is_an_error_and_garbage_is_not),
        IN_BOTH(any_allocation_may_fail),
        IN_BOTH(a_block_keeps_its_bytes_through_any_size),
        IN_BOTH(a_block_that_cannot_shrink_stands),
        IN_BOTH(what_is_held_is_bounded_whatever_is_kept),
        IN_BOTH(a_small_heap_waits_for_garbage),
        IN_BOTH(a_cycle_ends_before_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
