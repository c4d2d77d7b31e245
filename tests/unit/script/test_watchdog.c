// The watchdog, started by hand: threads that enter Lua, of which those that take too long are stopped,
// and no others. The whole of it, in a host, is in tests/lua/test_watchdog.py.
#include <pthread.h>
#include <stdatomic.h>

#include <lauxlib.h>

#include "hub/support.h"
#include "script/host_private.h"
#include "script/sandbox.h"
#include "script/watchdog.h"

// The thread sanitizer holds signals back until a call that it knows, such as for memory.
#ifdef __SANITIZE_THREAD__
#define SPIN "while true do local _ = {} end "
#else
#define SPIN "while true do end "
#endif

enum { THREADS = 4, ROUNDS = 5 };

static struct peri_limits limits;
static struct peri_watchdog *dog;

static struct peri_vm *open_vm(void) {
    struct peri_vm *vm = peri_vm_new(NULL, NULL, &limits);
    assert_non_null(vm);
    vm->name = "test";
    vm->file = "test.lua";
    return vm;
}

struct run {
    const char *code;
    bool opened, ended;
};

static int open_libraries(lua_State *L) {
    peri_sandbox_open(L);
    return 0;
}

static int run_code(lua_State *L) {
    struct run *run = lua_touserdata(L, 1);
    if (peri_sandbox_load(L, peri_str_of(run->code), "=test") != LUA_OK) {
        return lua_error(L);
    }
    lua_call(L, 0, 0);
    run->ended = true;
    return 0;
}

/// @return whether the code ran to its end
static bool ends(struct peri_vm *vm, const char *code) {
    struct run run = {.code = code};
    lua_getglobal(vm->L, "pcall");
    run.opened = !lua_isnil(vm->L, -1);
    lua_pop(vm->L, 1);
    if (!run.opened && peri_vm_protected(vm, open_libraries, NULL) != LUA_OK) {
        return false;
    }
    int status = peri_vm_protected(vm, run_code, &run);
    assert_int_equal(run.ended, status == LUA_OK);
    return run.ended;
}

static void log_to_world(void *arg, struct peri_str line) {
    (void)arg;
    add_uncounted(&world.log, line.ptr, line.len);
    add_uncounted(&world.log, "", 1);
}

static bool was_said(const char *words) {
    return world.log.len > 0 && memmem(world.log.ptr, world.log.len, words, strlen(words)) != NULL;
}

static int start_dog(void **state) {
    (void)state;
    memset(&world, 0, sizeof world);
    peri_log_set_sink(log_to_world, NULL);
    peri_limits_init(&limits);
    limits.handler_warn_ms = 10;
    limits.handler_stop_ms = 40;
    dog = peri_watchdog_new(&limits);
    return dog ? 0 : -1;
}

static int stop_dog(void **state) {
    (void)state;
    peri_watchdog_free(dog);
    peri_log_set_sink(quiet_sink, NULL);
    free(world.log.ptr);
    return 0;
}

static void what_is_on_time_ends(void **state) {
    (void)state;
    struct peri_vm *vm = open_vm();
    peri_watchdog_join(dog);
    for (int i = 0; i < 100; i++) {
        assert_true(ends(vm, "local n = 0 for i = 1, 100 do n = n + i end"));
    }
    peri_watchdog_leave(dog);
    peri_vm_free(vm);
    assert_false(was_said("handler_"));
}

static void what_does_not_end_is_stopped_and_the_next_entry_is_not(void **state) {
    (void)state;
    static const char *const codes[] = {
        SPIN,
        "while true do pcall(function() " SPIN " end) end",
        "xpcall(function() " SPIN " end, function() " SPIN " end)",
        "xpcall(error, function() " SPIN " end)",
        "coroutine.wrap(function() " SPIN " end)()",
        "while true do pcall(coroutine.wrap(function() local _ <close> = setmetatable({}, { "
        "__close = "
        "function() " SPIN " end }) " SPIN " end)) end",
        "local co = coroutine.create(function() while true do coroutine.yield({}) end end)\n"
        "while true do coroutine.resume(co) end",
        "local t = {} for i = 1, 1000 do t[i] = i end\n"
        "while true do pcall(table.sort, t, function(a, b) local _ = {} return b < a end) end",
    };
    struct peri_vm *vm = open_vm();
    peri_watchdog_join(dog);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_false(ends(vm, codes[i]));
        assert_true(was_said("test:1: stopped: handler_stop_s is 0.04"));
        assert_true(ends(vm, "return 1"));
    }
    peri_watchdog_leave(dog);
    peri_vm_free(vm);
}

static void a_coroutine_that_waited_meanwhile_goes_on_later(void **state) {
    (void)state;
    struct peri_vm *vm = open_vm();
    peri_watchdog_join(dog);
    assert_true(ends(vm, "co = coroutine.create(function()\n"
                         "  local n = 0 while true do n = n + 1 coroutine.yield(n) end end)"));
    // It is resumed all the time, so as a rule the hook is set on it, or on who resumes it.
    for (int i = 0; i < ROUNDS; i++) {
        assert_false(ends(vm, "while true do assert(coroutine.resume(co, {})) end"));
        assert_true(ends(vm, "if coroutine.status(co) == 'suspended' then\n"
                             "  local ok, n = coroutine.resume(co) assert(ok and n > 1)\n"
                             "else assert(not coroutine.resume(co))\n"
                             "  co = coroutine.create(function() local n = 1\n"
                             "    while true do n = n + 1 coroutine.yield(n) end end) end"));
    }
    peri_watchdog_leave(dog);
    peri_vm_free(vm);
}

static void what_takes_long_and_ends_is_said(void **state) {
    (void)state;
    struct peri_vm *vm = open_vm();
    limits.handler_stop_ms = 100000;
    vm->limits.handler_stop_ms = 100000;
    peri_watchdog_join(dog);
    assert_true(ends(vm, "local t = os.clock() while os.clock() - t < 0.1 do local _ = {} end"));
    peri_watchdog_leave(dog);
    peri_vm_free(vm);
    assert_true(was_said("over handler_warn_s"));
}

static void who_joins_twice_is_watched_until_the_second_leave(void **state) {
    (void)state;
    struct peri_vm *vm = open_vm();
    peri_watchdog_join(dog);
    peri_watchdog_join(dog);
    peri_watchdog_leave(dog);
    assert_false(ends(vm, SPIN));
    peri_watchdog_leave(dog);
    peri_vm_free(vm);
}

struct worker {
    pthread_t thread;
    int number, stopped, ended;
};

/// Every second one never ends by itself. Threads come and go while they are looked at.
static void *work(void *arg) {
    struct worker *worker = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct peri_vm *vm = open_vm();
        peri_watchdog_join(dog);
        bool ended = ends(vm, worker->number % 2 ? SPIN : "for i = 1, 1000 do local _ = {} end");
        peri_watchdog_leave(dog);
        worker->ended += ended;
        worker->stopped += !ended;
        peri_vm_free(vm);
    }
    return NULL;
}

static void quiet(void *arg, struct peri_str line) {
    (void)arg;
    (void)line;
}

static void of_several_threads_those_are_stopped_that_do_not_end(void **state) {
    (void)state;
    struct worker workers[THREADS] = {0};
    peri_log_set_sink(quiet, NULL);
    for (int i = 0; i < THREADS; i++) {
        workers[i].number = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].stopped, i % 2 ? ROUNDS : 0);
        assert_int_equal(workers[i].ended, i % 2 ? 0 : ROUNDS);
    }
}

static void nobody_is_watched_without_one(void **state) {
    (void)state;
    struct peri_vm *vm = open_vm(); // and this thread has not joined
    assert_true(ends(vm, "local t = os.clock() while os.clock() - t < 0.2 do local _ = {} end"));
    peri_vm_free(vm);
    assert_false(was_said("handler_"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_on_time_ends, start_dog, stop_dog),
        cmocka_unit_test_setup_teardown(what_does_not_end_is_stopped_and_the_next_entry_is_not,
                                        start_dog, stop_dog),
        cmocka_unit_test_setup_teardown(a_coroutine_that_waited_meanwhile_goes_on_later, start_dog,
                                        stop_dog),
        cmocka_unit_test_setup_teardown(what_takes_long_and_ends_is_said, start_dog, stop_dog),
        cmocka_unit_test_setup_teardown(who_joins_twice_is_watched_until_the_second_leave,
                                        start_dog, stop_dog),
        cmocka_unit_test_setup_teardown(of_several_threads_those_are_stopped_that_do_not_end,
                                        start_dog, stop_dog),
        cmocka_unit_test_setup_teardown(nobody_is_watched_without_one, start_dog, stop_dog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
