// Plain data copied between two VMs and within one: what it is stays what it is, what can't be kept is
// named by its path, and neither VM is the worse for a copy that fails.
#include "script/plain.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/api.h"
#include "script/heap.h"
#include "script/host.h"
#include "script/sandbox.h"
#include "support/cmocka.h"

static struct peri_limits limits;
static struct peri_hub *hub;
static struct peri_host *host;
static struct peri_vm *old, *new;
static struct peri_move *move;
static uint64_t live_before;

// Two VMs -----------------------------------------------------------------------------------------

/// copy(value[, as]) -> peri_plain_copy of it
static int copy(lua_State *L) {
    lua_settop(L, 2);
    peri_plain_copy(L, 1, lua_isnil(L, 2) ? 0 : 2, "data");
    assert_int_equal(lua_gettop(L), 3);
    return 1;
}

static int open_all(lua_State *L) {
    peri_sandbox_open(L);
    peri_api_open(L);
    peri_vm_push(L, PERI_SLOT_WS);
    lua_setglobal(L, "ws");
    peri_conn_push(L, 0xFF00000000000001);
    lua_setglobal(L, "conn");
    lua_pushcfunction(L, copy);
    lua_setglobal(L, "copy");
    (void)lua_newuserdatauv(L, 1, 0);
    lua_setglobal(L, "thing");
    return 0;
}

static struct peri_vm *new_vm(void) {
    struct peri_vm *vm = peri_vm_new(host, hub, &limits);
    assert_non_null(vm);
    vm->script = 1;
    vm->name = vm->file = "test";
    assert_int_equal(peri_vm_protected(vm, open_all, vm), LUA_OK);
    peri_vm_enter_script(vm);
    return vm;
}

static int set_up(void **state) {
    (void)state;
    live_before = peri_alloc_live();
    peri_limits_init(&limits);
    hub = peri_hub_new(1, &limits);
    assert_non_null(hub);
    host = peri_host_new("/tmp", &limits, hub);
    assert_non_null(host);
    old = new_vm();
    new = new_vm();
    move = peri_move_new(old, new);
    assert_non_null(move);
    return 0;
}

/// Every test leaves the stacks as they were.
static int tear_down(void **state) {
    (void)state;
    assert_int_equal(lua_gettop(old->L), 0);
    assert_int_equal(lua_gettop(new->L), 0);
    peri_move_free(move);
    peri_vm_free(old);
    peri_vm_free(new);
    peri_host_free(host);
    peri_hub_free(hub);
    assert_int_equal(peri_alloc_live(), live_before);
    return 0;
}

static void run(struct peri_vm *vm, const char *code) {
    if (luaL_dostring(vm->L, code) != LUA_OK) {
        fail_msg("%s\n%s", code, lua_tostring(vm->L, -1));
    }
    lua_settop(vm->L, 0);
}

static void expect(struct peri_vm *vm, const char *expression) {
    char code[1024];
    (void)snprintf(code, sizeof code, "assert(%s)", expression);
    run(vm, code);
}

struct take {
    struct peri_move *move;
    lua_State *from;
    int index;
    enum peri_move_mode mode;
    struct peri_buffer *left;
    const char *into;
};

static int take_protected(lua_State *to) {
    const struct take *take = lua_touserdata(to, 1);
    peri_move_value(take->move, take->from, take->index, to, "state", take->mode, take->left);
    assert_int_equal(lua_gettop(to), 2);
    lua_setglobal(to, take->into);
    return 0;
}

static char message[1024];

/// Moves old's global `name` into new's global of that name. @return a Lua status; see message
static int try_take(const char *name, enum peri_move_mode mode, struct peri_buffer *left) {
    lua_getglobal(old->L, name);
    struct take take = {move, old->L, -1, mode, left, name};
    lua_pushcfunction(new->L, take_protected);
    lua_pushlightuserdata(new->L, &take);
    int status = lua_pcall(new->L, 1, 0, 0);
    message[0] = '\0';
    if (status != LUA_OK) {
        (void)snprintf(message, sizeof message, "%s", lua_tostring(new->L, -1));
        lua_pop(new->L, 1);
    }
    assert_int_equal(lua_gettop(old->L), 1);
    lua_pop(old->L, 1);
    return status;
}

static void take(const char *name) {
    if (try_take(name, PERI_MOVE_STRICT, NULL) != LUA_OK) {
        fail_msg("%s", message);
    }
}

static void expect_refused(const char *code, const char *text) {
    size_t count = peri_move_count(move);
    run(old, code);
    assert_int_equal(try_take("value", PERI_MOVE_STRICT, NULL), LUA_ERRRUN);
    assert_string_equal(message, text);
    assert_int_equal(peri_move_count(move), count);
}

static int bind_protected(lua_State *to) {
    lua_State *from = lua_touserdata(to, 1);
    lua_getglobal(to, "handed");
    peri_move_bind(move, from, -1, to, -1);
    assert_int_equal(lua_gettop(to), 2);
    return 0;
}

/// Old's global `name` becomes new's global `handed`.
static int try_bind(const char *name) {
    lua_getglobal(old->L, name);
    lua_pushcfunction(new->L, bind_protected);
    lua_pushlightuserdata(new->L, old->L);
    int status = lua_pcall(new->L, 1, 0, 0);
    lua_settop(new->L, 0);
    assert_int_equal(lua_gettop(old->L), 1);
    lua_pop(old->L, 1);
    return status;
}

// What is plain -----------------------------------------------------------------------------------

static void numbers_are_the_same_to_the_last_bit(void **state) {
    (void)state;
    run(old,
        "value = { math.maxinteger, math.mininteger, 0, -0.0, 1/0, -1/0, 0/0, 2^53, 1e308, 3, 3.0,"
        " [math.mininteger] = 'least', [2.5] = 'float' }");
    take("value");
    expect(new, "value[1] == math.maxinteger and math.type(value[1]) == 'integer'");
    expect(new, "value[2] == math.mininteger and math.type(value[2]) == 'integer'");
    expect(new, "math.type(value[3]) == 'integer' and 1 / value[4] == -1/0");
    expect(new, "value[5] == 1/0 and value[6] == -1/0 and value[7] ~= value[7]");
    expect(new, "math.type(value[8]) == 'float' and value[9] == 1e308");
    expect(new, "math.type(value[10]) == 'integer' and math.type(value[11]) == 'float'");
    expect(new, "value[math.mininteger] == 'least' and value[2.5] == 'float' and #value == 11");
}

static void values_that_are_no_tables_move_alone(void **state) {
    (void)state;
    static const char *const values[] = {"nil", "true",   "false", "7",
                                         "2.5", "'text'", "conn",  "ws.json.null"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char code[64];
        (void)snprintf(code, sizeof code, "value = %s", values[i]);
        run(old, code);
        run(new, "value = 'before'");
        take("value");
        (void)snprintf(code, sizeof code, "rawequal(value, %s)", values[i]);
        expect(new, code);
    }
    assert_int_equal(peri_move_count(move), 0);
}

static void strings_keep_every_byte(void **state) {
    (void)state;
    static const char make[] =
        "every = {} for i = 0, 255 do every[#every + 1] = string.char(i) end "
        "every = table.concat(every)";
    run(old, make);
    run(new, make);
    run(old, "value = { every, '', '\\0', ('x'):rep(1e6), ['a\\0b'] = 1, ['a'] = 2 }");
    take("value");
    expect(new, "value[1] == every and value[2] == '' and value[3] == '\\0'");
    expect(new, "value[4] == ('x'):rep(1e6) and value['a\\0b'] == 1 and value.a == 2");
}

static void conns_and_null_are_the_same_values_and_keys(void **state) {
    (void)state;
    run(old, "value = { conn, ws.json.null, [conn] = 'conn', [ws.json.null] = 'null' }");
    take("value");
    expect(new, "value[1] == conn and value[2] == ws.json.null");
    expect(new, "value[conn] == 'conn' and value[ws.json.null] == 'null'");
}

static void rooms_are_equal_and_find_their_places_as_keys(void **state) {
    (void)state;
    run(old, "value = { own = ws.room 'tea', shared = ws.shared 'tea', all = ws.all,"
             " [ws.room 'tea'] = 1, [ws.shared 'tea'] = 2, [ws.all] = 3, [ws.room ''] = 4 }");
    take("value");
    expect(new, "value.own == ws.room 'tea' and not value.own.shared and value.own.name == 'tea'");
    expect(new, "value.shared == ws.shared 'tea' and value.shared.shared");
    expect(new, "rawequal(value.all, ws.all) and tostring(value.all) == 'ws.all'");
    expect(new, "value[ws.room 'tea'] == 1 and value[ws.shared 'tea'] == 2");
    expect(new, "value[ws.all] == 3 and value[ws.room ''] == 4");
}

static void json_arrays_stay_arrays(void **state) {
    (void)state;
    run(old, "value = ws.json.array { ws.json.array {}, {} }");
    take("value");
    expect(new, "ws.json.encode(value) == '[[],{}]'");
}

static void a_circle_stays_one_and_a_table_may_be_its_own_key(void **state) {
    (void)state;
    run(old, "value = { list = {} } value.self = value value[value] = value value.list.up = value "
             "value.key = { 'k' } value[value.key] = 'by key' value[{ { 5 } }] = 'only a key'");
    take("value");
    expect(new, "value.self == value and value[value] == value and value.list.up == value");
    expect(new, "value[value.key] == 'by key' and value.key[1] == 'k'");
    run(new, "local found for k, v in pairs(value) do if v == 'only a key' then found = k end end "
             "assert(found[1][1] == 5)");
    assert_int_equal(peri_move_count(move), 5);
}

static void a_table_reached_twice_is_one_over_several_calls(void **state) {
    (void)state;
    run(old, "inner = { n = 1 } value = { inner, inner } other = { inner } inner.back = value");
    take("value");
    run(old, "inner.n = 2"); // too late: it was copied
    take("other");
    take("inner");
    expect(new, "value[1] == value[2] and other[1] == inner and value[1] == inner");
    expect(new, "inner.back == value and inner.n == 1 and other ~= value");
    assert_int_equal(peri_move_count(move), 3);
}

static void pairs_outlive_collections_of_both_vms(void **state) {
    (void)state;
    run(old, "value = { 'first' }");
    take("value");
    run(new, "first = value");
    for (int i = 0; i < 200; i++) {
        run(old, "value = nil");
        (void)lua_gc(old->L, LUA_GCCOLLECT);
        run(old, "value = { 'second' }"); // never at the address of the first
        take("value");
        (void)lua_gc(new->L, LUA_GCCOLLECT);
        expect(new, "value[1] == 'second' and value ~= first and first[1] == 'first'");
    }
    assert_int_equal(peri_move_count(move), 201);
}

// Tables that are there already -------------------------------------------------------------------

static void a_bound_table_gets_what_the_other_held(void **state) {
    (void)state;
    run(old, "score = { n = 1, list = {} } score.self = score value = { score, score.list }");
    run(new, "handed = setmetatable({ kept = true }, { __newindex = error, __index = error }) kept "
             "= handed");
    assert_int_equal(try_bind("score"), LUA_OK);
    assert_int_equal(peri_move_count(move), 0);
    take("value"); // reaches it
    take("score");
    expect(new, "rawequal(score, kept) and rawequal(value[1], kept)");
    run(new, "setmetatable(kept, nil)");
    expect(new, "kept.n == 1 and kept.self == kept and kept.list == value[2] and kept.kept");
    assert_int_equal(peri_move_count(move), 3);
}

static void a_refused_bound_table_is_bound_still(void **state) {
    (void)state;
    run(old, "value = { a = { b = print } }");
    run(new, "handed = {}");
    assert_int_equal(try_bind("value"), LUA_OK);
    expect_refused("value.a.b = print", "state.a.b can't be kept: a function");
    expect_refused("setmetatable(value, {})", "state can't be kept: a table with a metatable");
    run(old, "setmetatable(value, nil) value.a.b = 5");
    take("value");
    expect(new, "rawequal(value, handed) and value.a.b == 5");
    assert_int_equal(peri_move_count(move), 2);
}

// What can't be kept ------------------------------------------------------------------------------

static void what_cant_be_kept_is_named_by_its_path(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"value = print", "state can't be kept: a function"},
        {"value = function() end", "state can't be kept: a function"},
        {"value = { players = { 1, 2, { on_hit = print } } }",
         "state.players[3].on_hit can't be kept: a function"},
        {"value = { a = { co = coroutine.create(print) } }",
         "state.a.co can't be kept: a coroutine"},
        {"value = { thing }", "state[1] can't be kept: not plain data"},
        {"value = { x = { setmetatable({}, {}) } }",
         "state.x[1] can't be kept: a table with a metatable"},
        {"value = { [print] = 1 }", "state[function] can't be kept: a function"},
        {"value = { a = { [setmetatable({}, {})] = 1 } }",
         "state.a[table] can't be kept: a table with a metatable"},
        {"value = { [{ x = print }] = 1 }", "state[table].x can't be kept: a function"},
        {"value = { ['a b'] = { ['\"\\\\\\0\\xff'] = print } }",
         "state[\"a b\"][\"\\\"\\\\\\000\\255\"] can't be kept: a function"},
        {"value = { ['1st'] = { [''] = print } }",
         "state[\"1st\"][\"\"] can't be kept: a function"},
        {"value = { ['gr\\u{FC}n'] = print }", "state[\"gr\xC3\xBCn\"] can't be kept: a function"},
        {"value = { [2.5] = { [true] = { [-7] = print } } }",
         "state[2.5][true][-7] can't be kept: a function"},
        {"value = { [conn] = { [ws.all] = print } }",
         "state[conn][room] can't be kept: a function"},
        {"value = { [('k'):rep(100)] = print }",
         "state[\"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...\"]"
         " can't be kept: a function"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_refused(cases[i][0], cases[i][1]);
    }
}

static void long_paths_are_cut(void **state) {
    (void)state;
    run(old, "value = {} local at = value "
             "for _ = 1, 300 do at.somewhere = {} at = at.somewhere end at.x = print");
    assert_int_equal(try_take("value", PERI_MOVE_STRICT, NULL), LUA_ERRRUN);
    assert_in_range(strlen(message), 400, 512);
    assert_non_null(strstr(message, ".somewhere... can't be kept: a function"));
    assert_int_equal(strncmp(message, "state.somewhere.somewhere", 25), 0);
}

static void a_refusal_adds_nothing_to_the_map(void **state) {
    (void)state;
    run(old, "good = { 1 } take_first = { good } value = { good, { {} }, print }");
    take("take_first");
    assert_int_equal(try_take("value", PERI_MOVE_STRICT, NULL), LUA_ERRRUN);
    assert_int_equal(peri_move_count(move), 2);
    run(old, "value[3] = { 'fine' } value[2][1].late = true");
    take("value"); // all of it is copied, and good once
    expect(new, "value[1] == take_first[1] and value[2][1].late and value[3][1] == 'fine'");
    assert_int_equal(peri_move_count(move), 6);
}

static void depth_is_bounded_and_costs_no_stack(void **state) {
    (void)state;
    static const char make[] = "function list(n) local head = { n = n }"
                               " for i = n - 1, 1, -1 do head = { n = i, next = head } end"
                               " return head end "
                               "function length(at) local n = 0"
                               " while at do n = n + 1 assert(at.n == n) at = at.next end"
                               " return n end";
    run(old, make);
    run(new, make);
    run(old, "value = list(9999)");
    take("value");
    expect(new, "length(value) == 9999");
    run(old, "value = list(10000)");
    take("value");
    expect(new, "length(value) == 10000");
    static const char *const too_deep[] = {"value = list(10001)", "value = list(100000)"};
    for (int i = 0; i < 2; i++) {
        run(old, too_deep[i]);
        assert_int_equal(try_take("value", PERI_MOVE_STRICT, NULL), LUA_ERRRUN);
        assert_non_null(strstr(message, "state.next.next.next"));
        assert_non_null(strstr(message, "can't be kept: more than 10000 tables deep"));
    }
    assert_int_equal(peri_move_count(move), 19999);
    // A hundred thousand beside each other are not deep.
    run(old, "value = {} for i = 1, 1e5 do value[i] = { i } end");
    take("value");
    expect(new, "#value == 1e5 and value[1][1] == 1 and value[100000][1] == 1e5");
}

static void what_cant_be_kept_may_be_left_out(void **state) {
    (void)state;
    struct peri_buffer left = {0};
    run(old, "value = { a = 1, b = { print, 'kept', f = print }, [print] = 2 }");
    assert_int_equal(try_take("value", PERI_MOVE_LEAVE, NULL), LUA_OK);
    expect(new, "value.a == 1 and value.b[1] == nil and value.b[2] == 'kept' and not value.b.f");
    run(new, "local n = 0 for _ in pairs(value) do n = n + 1 end assert(n == 2)");

    run(old, "value = { { on = print, off = print } }");
    assert_int_equal(try_take("value", PERI_MOVE_LEAVE, &left), LUA_OK);
    assert_int_equal(peri_buffer_append(&left, "", 1), PERI_OK);
    const char *text = (const char *)left.ptr;
    assert_true(strcmp(text, "state[1].on can't be kept: a function") == 0 ||
                strcmp(text, "state[1].off can't be kept: a function") == 0); // one of them
    expect(new, "next(value[1]) == nil");
    peri_buffer_deinit(&left);

    run(old, "value = print");
    run(new, "value = 'before'");
    assert_int_equal(try_take("value", PERI_MOVE_LEAVE, &left), LUA_OK);
    assert_str_equal(peri_buffer_str(&left), "state can't be kept: a function");
    expect(new, "value == nil");
    peri_buffer_deinit(&left);

    run(old, "value = { 'plain' }");
    assert_int_equal(try_take("value", PERI_MOVE_LEAVE, &left), LUA_OK);
    assert_int_equal(left.len, 0);
}

// Memory ------------------------------------------------------------------------------------------

static const char MIXED[] =
    "value = { text = ('x'):rep(300), all = ws.all, [ws.room 'tea'] = ws.shared 'tea', conn = conn,"
    " array = ws.json.array { 1, 2 } } value.self = value "
    "for i = 1, 20 do value[i] = { i, { value } } end handed = {}";

static const char MIXED_IS_THERE[] =
    "value.text == ('x'):rep(300) and value[ws.room 'tea'] == ws.shared 'tea' and value.self == "
    "value"
    " and value[20][1] == 20 and value[20][2][1] == value and #value == 20 and value.all == ws.all";

static void a_vm_at_its_cap_can_be_moved_from(void **state) {
    (void)state;
    run(old, MIXED);
    peri_move_free(move);
    (void)lua_gc(old->L, LUA_GCCOLLECT);
    (void)lua_gc(old->L, LUA_GCSTOP);
    size_t limit = old->limit_ = old->cap_ = old->used_ / 2; // over it by far
    move = peri_move_new(old, new);
    assert_non_null(move);
    take("value");
    assert_int_equal(old->limit_, limit);
    expect(new, MIXED_IS_THERE);
    assert_int_equal(peri_move_count(move), 42);
}

static void the_new_vm_may_be_at_its_cap(void **state) {
    (void)state;
    run(old, "value = {} for i = 1, 100 do value[i] = ('x'):rep(10000) .. i end");
    (void)lua_gc(new->L, LUA_GCCOLLECT);
    new->limit_ = new->used_ + 300000;
    assert_int_equal(try_take("value", PERI_MOVE_STRICT, NULL), LUA_ERRMEM);
    assert_int_equal(peri_move_count(move), 0);
    peri_vm_enter_script(new);
    take("value");
    expect(new, "#value == 100 and value[100] == ('x'):rep(10000) .. '100'");
}

/// Each way out is tried again with memory, in the same VMs.
static void any_allocation_of_a_copy_may_fail(void **state) {
    (void)state;
    struct peri_buffer left = {0};
    uint64_t nth = 0;
    bool failed = true;
    while (failed) {
        assert_true(++nth < 5000);
        run(old, MIXED);
        run(new, MIXED);
        run(old, "value.left = print");
        (void)lua_gc(old->L, LUA_GCCOLLECT);
        (void)lua_gc(new->L, LUA_GCCOLLECT);
        size_t count = peri_move_count(move);
        peri_alloc_fail_from(nth);
        failed = try_take("value", PERI_MOVE_LEAVE, &left) != LUA_OK;
        peri_alloc_fail_from(0);
        if (failed) {
            assert_non_null(strstr(message, "not enough memory"));
            assert_int_equal(peri_move_count(move), count);
            assert_int_equal(try_take("value", PERI_MOVE_LEAVE, &left), LUA_OK);
        }
        expect(new, MIXED_IS_THERE);
        expect(old, MIXED_IS_THERE);
        assert_int_equal(peri_move_count(move), count + 42);
        peri_buffer_deinit(&left);
    }
    assert_true(PERI_HAS_SLABS || nth > 50); // else nothing was walked
}

static void any_allocation_of_a_move_or_a_bond_may_fail(void **state) {
    (void)state;
    struct peri_move *one = move;
    uint64_t walked = 0;
    move = NULL;
    for (uint64_t nth = 1; !move; nth++, walked++) {
        peri_alloc_fail_from(nth);
        move = peri_move_new(old, new);
        peri_alloc_fail_from(0);
    }
    assert_true(PERI_HAS_SLABS || walked > 2);
    peri_move_free(one);
    bool failed = true;
    for (uint64_t nth = 1; failed; nth++, walked++) {
        run(old, MIXED);
        run(new, "handed = { kept = true }");
        peri_alloc_fail_from(nth);
        failed = try_bind("value") != LUA_OK;
        peri_alloc_fail_from(0);
        if (failed) {
            assert_int_equal(try_bind("value"), LUA_OK);
        }
        take("value");
        expect(new, MIXED_IS_THERE);
        expect(new, "value == handed and value.kept");
    }
    assert_true(PERI_HAS_SLABS || walked > 4);
}

// After the move ----------------------------------------------------------------------------------

static void strip(const char *message_) {
    lua_State *L = old->L;
    assert_int_equal(luaL_loadstring(L, "local why = ... local function gone() error(why, 2) end "
                                        "return { __index = gone, __newindex = gone }"),
                     LUA_OK);
    lua_pushstring(L, message_);
    assert_int_equal(lua_pcall(L, 1, 1, 0), LUA_OK);
    peri_move_strip(move, L);
    assert_int_equal(lua_gettop(L), 0);
}

static void stripped_tables_are_empty_and_guarded_each_once(void **state) {
    (void)state;
    run(old,
        "value = { n = 1, list = ws.json.array { 1, 2, 3 } } value.self = value list = value.list "
        "later = { list, x = 1 } untouched = { 1 } refused = { { {} }, print }");
    take("value");
    assert_int_equal(try_take("refused", PERI_MOVE_STRICT, NULL), LUA_ERRRUN);
    strip("moved to generation 2");
    run(old, "assert(next(value) == nil and next(list) == nil) "
             "local ok, why = pcall(function() return value.n end) "
             "assert(not ok and why:find 'moved to generation 2', why) "
             "ok, why = pcall(function() list[1] = 1 end) "
             "assert(not ok and why:find 'moved to generation 2', why)");
    expect(old, "later.x == 1 and untouched[1] == 1 and refused[1][1]");
    expect(new, "value.n == 1 and #value.list == 3");

    take("later"); // what was stripped before is in the map still
    strip("moved again");
    run(old, "local ok, why = pcall(function() return later.x end) "
             "assert(not ok and why:find 'moved again', why) "
             "ok, why = pcall(function() return value.n end) "
             "assert(not ok and why:find 'moved to generation 2', why)");
    expect(new, "later[1] == value.list and later.x == 1");
    strip("nothing to do");
    assert_int_equal(peri_move_count(move), 3);
}

static void what_a_stripped_vm_still_holds_moves_as_before(void **state) {
    (void)state;
    run(old, "value = { n = 1 }");
    take("value");
    strip("moved");
    run(old, "holder = { value }");
    take("holder");
    expect(new, "holder[1] == value and value.n == 1");
}

// Other states ------------------------------------------------------------------------------------

static void a_coroutine_may_be_moved_from(void **state) {
    (void)state;
    lua_State *co = lua_newthread(old->L);
    for (int i = 0; i < 3; i++) {
        lua_pushinteger(co, i);
    }
    assert_int_equal(luaL_dostring(co, "return { 'of a coroutine' }"), LUA_OK);
    lua_pushinteger(co, 9);
    struct take take = {move, co, -2, PERI_MOVE_STRICT, NULL, "value"};
    lua_pushcfunction(new->L, take_protected);
    lua_pushlightuserdata(new->L, &take);
    assert_int_equal(lua_pcall(new->L, 1, 0, 0), LUA_OK);
    assert_int_equal(lua_gettop(co), 5);
    expect(new, "value[1] == 'of a coroutine'");
    lua_pop(old->L, 1);
}

/// move(value) -> its copy, by a move within the VM. upvalue: the move
static int move_within(lua_State *L) {
    lua_settop(L, 1);
    lua_pushliteral(L, "above");
    peri_move_value(lua_touserdata(L, lua_upvalueindex(1)), L, 1, L, "data", PERI_MOVE_STRICT,
                    NULL);
    assert_int_equal(lua_gettop(L), 3);
    return 1;
}

static void a_move_within_a_vm_keeps_its_map_too(void **state) {
    (void)state;
    struct peri_move *within = peri_move_new(old, old);
    assert_non_null(within);
    lua_pushlightuserdata(old->L, within);
    lua_pushcclosure(old->L, move_within, 1);
    lua_setglobal(old->L, "move");
    run(old, MIXED);
    run(old, "original = value value = move(value)");
    expect(old, MIXED_IS_THERE);
    expect(old,
           "value ~= original and move(original) == value and move { original[3] }[1] == value[3]");
    run(old, "local ok, why = pcall(move, { { x = print } }) "
             "assert(not ok and why == \"data[1].x can't be kept: a function\", why) "
             "ok, why = pcall(function() move { print } end) "
             "assert(why:find(\"^%[string.*:1: data%[1%] can't be kept: a function\"), why)");
    peri_move_free(within);
}

static void plain_copy_copies_within_the_vm_that_runs(void **state) {
    (void)state;
    run(old, MIXED);
    run(old, "original = value value = copy(value)");
    expect(old, MIXED_IS_THERE);
    expect(old, "value ~= original and value[1] ~= original[1]");
    expect(old, "copy(nil) == nil and copy(5) == 5 and copy(ws.all) == ws.all and copy 'x' == 'x'");
    run(old, "local flat = { 1, 2, a = 'b', [conn] = true } local c = copy(flat) "
             "assert(c ~= flat and #c == 2 and c.a == 'b' and c[conn])");
    expect(old, "ws.json.encode(copy { ws.json.array {} }) == '[[]]'");
    expect(old, "ws.json.encode(copy(ws.json.array {})) == '[]'");
    run(old, "local t = { n = 1, deep = { {} } } t.self = t t.deep.root = t "
             "local as = {} local c = copy(t, as) "
             "assert(c ~= as and c ~= t and c.n == 1 and c.self == as and c.deep.root == as) "
             "assert(next(as) == nil and c.deep ~= t.deep)");
    run(old, "local ok, why = pcall(copy, { deep = { on_hit = print } }) "
             "assert(not ok and why == \"data.deep.on_hit can't be kept: a function\", why) "
             "ok, why = pcall(copy, setmetatable({}, {})) "
             "assert(not ok and why == \"data can't be kept: a table with a metatable\", why) "
             "ok, why = pcall(copy, { 1, print }) "
             "assert(not ok and why == \"data[2] can't be kept: a function\", why) "
             "ok, why = pcall(copy, print) "
             "assert(not ok and why == \"data can't be kept: a function\", why)");
}

static void any_allocation_of_a_plain_copy_may_fail(void **state) {
    (void)state;
    uint64_t nth = 0;
    run(old, MIXED);
    run(old, "original = value value = nil");
    for (bool failed = true; failed;) {
        assert_true(++nth < 5000);
        assert_int_equal(luaL_loadstring(old->L, "value = copy(original)"), LUA_OK);
        peri_alloc_fail_from(nth);
        failed = lua_pcall(old->L, 0, 0, 0) != LUA_OK;
        peri_alloc_fail_from(0);
        lua_settop(old->L, 0);
    }
    expect(old, MIXED_IS_THERE);
    assert_true(PERI_HAS_SLABS || nth > 50);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(numbers_are_the_same_to_the_last_bit),
        CASE(values_that_are_no_tables_move_alone),
        CASE(strings_keep_every_byte),
        CASE(conns_and_null_are_the_same_values_and_keys),
        CASE(rooms_are_equal_and_find_their_places_as_keys),
        CASE(json_arrays_stay_arrays),
        CASE(a_circle_stays_one_and_a_table_may_be_its_own_key),
        CASE(a_table_reached_twice_is_one_over_several_calls),
        CASE(pairs_outlive_collections_of_both_vms),
        CASE(a_bound_table_gets_what_the_other_held),
        CASE(a_refused_bound_table_is_bound_still),
        CASE(what_cant_be_kept_is_named_by_its_path),
        CASE(long_paths_are_cut),
        CASE(a_refusal_adds_nothing_to_the_map),
        CASE(depth_is_bounded_and_costs_no_stack),
        CASE(what_cant_be_kept_may_be_left_out),
        CASE(a_vm_at_its_cap_can_be_moved_from),
        CASE(the_new_vm_may_be_at_its_cap),
        CASE(any_allocation_of_a_copy_may_fail),
        CASE(any_allocation_of_a_move_or_a_bond_may_fail),
        CASE(stripped_tables_are_empty_and_guarded_each_once),
        CASE(what_a_stripped_vm_still_holds_moves_as_before),
        CASE(a_coroutine_may_be_moved_from),
        CASE(a_move_within_a_vm_keeps_its_map_too),
        CASE(plain_copy_copies_within_the_vm_that_runs),
        CASE(any_allocation_of_a_plain_copy_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
