// Each rule of `perigee check`: what it is for is found, in its place, and what only looks like it is
// not.
#include "script/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "support/cmocka.h"

static char dir[] = "/tmp/perigee-test-check-XXXXXX";
static char written[16][128];
static size_t written_count;
static struct peri_limits limits;

static void write_file(const char *name, const char *text) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    memcpy(written[written_count++], path, sizeof path);
}

static void remove_files(void) {
    while (written_count > 0) {
        (void)unlink(written[--written_count]);
    }
}

/// What serve would take: limits.
static int set(void *arg, const struct peri_config_value *value, struct peri_buffer *error) {
    struct peri_limits *into = arg;
    return value->is_limit ? peri_limits_set(into, value->name, value->items[0], error)
                           : PERI_E_INVALID;
}

static char found[4096];

/// What is wrong in the files, as "FILE:LINE:COLUMN RULE" for each, one a line.
static int check_files(void) {
    struct peri_check check;
    struct peri_buffer error = {0};
    struct peri_hub *hub = peri_hub_new(0, &limits);
    struct peri_host *host = hub ? peri_host_new(dir, &limits, hub) : NULL;
    int status = PERI_E_MEMORY;
    size_t used = 0;
    found[0] = '\0';
    if (host) {
        status = peri_check_folder(host, set, &limits, &check, &error);
        for (size_t i = 0; status == PERI_OK && i < check.count; i++) {
            const struct peri_finding *f = &check.findings[i];
            int len = snprintf(found + used, sizeof found - used, "%s%s:%u:%u %s", used ? "\n" : "",
                               f->file + strlen(dir) + 1, (unsigned)f->line, (unsigned)f->column,
                               f->rule);
            used += (size_t)len;
            assert_true(used < sizeof found);
        }
        peri_check_free(&check);
    }
    peri_host_free(host);
    peri_hub_free(hub);
    peri_buffer_deinit(&error);
    return status;
}

/// Runs it on one script.
static const char *check_script(const char *text) {
    write_file("s.lua", text);
    assert_int_equal(check_files(), PERI_OK);
    remove_files();
    return found;
}

struct example {
    const char *text, *expected; ///< expected: "LINE:COLUMN RULE"; "": nothing
};

static void try(const struct example *examples, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char text[1024], expected[128];
        (void)snprintf(text, sizeof text, "local ws = require 'ws'\n%s", examples[i].text);
        (void)snprintf(expected, sizeof expected, "%s%s", examples[i].expected[0] ? "s.lua:" : "",
                       examples[i].expected);
        if (strcmp(check_script(text), expected) != 0) {
            fail_msg("of\n%s\nexpected: %s\nfound: %s", text, expected, found);
        }
    }
}

#define TRY(...) \
    do { \
        static const struct example examples_[] = {__VA_ARGS__}; \
        try(examples_, sizeof examples_ / sizeof examples_[0]); \
    } while (0)

#define OPEN(body) "return { open = function(conn, req)\n" body "\nend }"

static void what_does_not_compile_is_where_lua_says(void **state) {
    (void)state;
    TRY({"return {\n  a = 1\n  b = 2\n}", "4:3 syntax"}, {"x = = 1", "2:5 syntax"},
        {"return function(", "2:17 syntax"}, {"goto nowhere", "2:1 syntax"},
        {"local a <const> = 1; a = 2; return {}", "2:1 syntax"},
        {"\nreturn { a = 'x\n}", "3:14 syntax"}, {"return {}", ""});
}

static void a_global_that_nobody_sets_is_found(void **state) {
    (void)state;
    TRY({"pritn(1) return {}", "2:1 unknown-global"},
        {"local x = { y = foo } return {}", "2:17 unknown-global"},
        {"io.open 'x' return {}", "2:1 unknown-global"},
        {"print(math.pi, _G, _VERSION, string.rep, _ENV) return {}", ""},
        {"local unpack = table.unpack or unpack return {}", "2:32 unknown-global"},
        {"local unpack = unpack or table.unpack return {}", ""},
        {"if jit then print(jit.version) end return {}", ""},
        {"print(type(foo), foo == nil, not foo) return {}", ""},
        {"_G.foo = 1 print(foo) return {}", ""}, {"rawset(_G, 'foo', 1) print(foo) return {}", ""},
        {"for name in pairs {} do _G[name] = 1 end print(foo) return {}", ""},
        {"setmetatable(_G, {}) print(foo) return {}", ""},
        {"local _ENV = { a = 1 } x = a y = b return {}", ""},
        {"local function f(_ENV) return a end f {} return {}", ""},
        {"print(foo) -- check: ignore\nreturn {}", ""});
}

static void a_new_global_is_a_warning_where_it_is_made(void **state) {
    (void)state;
    TRY({"count = 0 return {}", "2:1 global-assignment"},
        {"function f() end f() return {}", "2:10 global-assignment"},
        {"local count count = 0 return {}", ""}, {"local t = {} t.count = 0 return {}", ""});
}

static void a_library_has_what_the_sandbox_left_in_it(void **state) {
    (void)state;
    TRY({"local s = string.dump return {}", "2:18 unknown-field"},
        {"local s = os.execute return {}", "2:14 unknown-field"},
        {"local s = table.inser return {}", "2:17 unknown-field"},
        {"local s = os.time return {}", ""},
        {"function string.trim(s) return s end string.trim 'x' return {}", ""},
        {"local s = string[1] local string = {} s = string.nothing return {}", ""});
}

static void ws_has_only_its_own_fields(void **state) {
    (void)state;
    TRY({OPEN("ws.brodcast 'x'"), "3:4 unknown-field"},
        {OPEN("ws.log.warning 'x'"), "3:8 unknown-field"},
        {OPEN("ws.json.encod {}"), "3:9 unknown-field"},
        {OPEN("local x = ws['brodcast']"), "3:14 unknown-field"},
        {OPEN("require('ws').foo()"), "3:15 unknown-field"},
        {OPEN("if ws.http then ws.http.get 'x' end"), ""},
        {OPEN("assert(ws.http, 'too old').get 'x'"), ""},
        {OPEN("print(ws.config.x, ws.script.name, ws.json.null, ws.now())"), ""},
        {"function ws.mine() end ws.mine() return {}", ""}, {"ws = {} ws.foo() return {}", ""},
        {"local function f(ws) ws.foo() end f {} return {}", ""});
}

static void conns_rooms_and_reqs_have_only_their_own_fields(void **state) {
    (void)state;
    TRY({OPEN("conn:sned 'x'"), "3:6 unknown-method"}, {OPEN("conn.nmae = 1"), "3:6 unknown-field"},
        {OPEN("print(conn.nmae)"), "3:12 unknown-field"},
        {OPEN("ws.all:brodcast 'x'"), "3:8 unknown-method"},
        {OPEN("ws.room 'x':sned 'y'"), "3:13 unknown-method"},
        {OPEN("local room = ws.shared('x')\nroom:brodcast 'y'"), "4:6 unknown-method"},
        {OPEN("print(req.querry)"), "3:11 unknown-field"},
        {OPEN("conn:id()"), "3:6 unknown-method"}, {OPEN("ws.all.x = 1"), "3:8 unknown-field"},
        {OPEN("req.user = 1"), "3:5 unknown-field"},
        {OPEN("conn.data = {} conn.data.x = conn.rtt conn:join(ws.all.name)"), ""},
        {OPEN("print(req.query.anything, req:bearer(), ws.all.shared)"), ""},
        {OPEN("conn = {} conn:sned()"), ""},
        {OPEN("local room = ws.room('x') room = {} room:sned()"), ""},
        {"local function helper(conn) conn:sned() end helper {} return {}", ""},
        {"local s = {} function s.close(conn) conn:sned() end return s", "2:42 unknown-method"},
        {"local function close(conn) conn:sned() end return { close = close }",
         "2:33 unknown-method"},
        {"local l = ws.limiter { rate = 1 } return { message = function(c) l:alow(c) end }",
         "2:68 unknown-method"});
}

static void a_dot_for_a_colon_is_found(void **state) {
    (void)state;
    TRY({OPEN("conn.send('x')"), "3:6 dot-call"}, {OPEN("conn.send(req)"), "3:6 dot-call"},
        {OPEN("conn.close()"), "3:6 dot-call"}, {OPEN("ws.all.broadcast('x', {})"), "3:8 dot-call"},
        {OPEN("ws.room('a').count()"), "3:14 dot-call"}, {OPEN("req.bearer()"), "3:5 dot-call"},
        {OPEN("conn.send(conn, 'x') conn.close(conn)"), ""},
        {OPEN("ws.all.broadcast(ws.all, 'x')"), ""}, {OPEN("conn.send(table.unpack {})"), ""},
        {OPEN("pcall(conn.send, conn, 'x')"), ""}, {OPEN("conn.data.send('x')"), ""});
}

static void a_colon_for_a_dot_is_found(void **state) {
    (void)state;
    TRY({OPEN("ws:sleep(1)"), "3:4 colon-call"}, {OPEN("ws.log:info 'x'"), "3:8 colon-call"},
        {OPEN("ws.json:encode {}"), "3:9 colon-call"}, {OPEN("ws:now()"), ""});
}

static void arguments_that_must_raise_are_found(void **state) {
    (void)state;
    TRY({OPEN("ws.sleep(61)"), "3:10 bad-argument"}, {OPEN("ws.sleep(-1)"), "3:10 bad-argument"},
        {OPEN("ws.sleep()"), "3:4 bad-argument"},
        {OPEN("ws.sleep(60) ws.sleep('1') ws.sleep(n and 61)"), ""},
        {OPEN("local n = 2 * 31\nws.sleep(n)"), "4:10 bad-argument"},
        {OPEN("local n = 2 * 31\nn = 1\nws.sleep(n)"), ""},
        {OPEN("ws.every(0.0001, print)"), "3:10 bad-argument"},
        {OPEN("ws.every(0.001, print)"), ""}, {OPEN("ws.after(0, {})"), "3:13 bad-argument"},
        {OPEN("ws.after(1)"), "3:4 bad-argument"}, {OPEN("ws.after(...)"), "3:10 syntax"},
        {OPEN("ws.after(table.unpack {})"), ""}, {OPEN("ws.room(1)"), "3:9 bad-argument"},
        {OPEN("ws.room()"), "3:4 bad-argument"}, {OPEN("conn:close(1005)"), "3:12 bad-argument"},
        {OPEN("conn:close(4000, 'x') conn:close()"), ""},
        {OPEN("ws.all:close(999)"), "3:14 bad-argument"},
        {OPEN("conn:send(1)"), "3:11 bad-argument"}, {OPEN("conn:send()"), "3:6 bad-argument"},
        {OPEN("conn:send('x', 'bin')"), "3:16 bad-argument"},
        {OPEN("conn:send({}, 'binary') conn:send(tostring(1))"), ""},
        {OPEN("ws.all:broadcast('x', { excpt = conn })"), "3:25 bad-argument"},
        {OPEN("ws.all:broadcast('x', { slow = 'wait' })"), "3:32 bad-argument"},
        {OPEN("ws.all:broadcast('x', { except = conn, slow = 'latest', key = 'k' })"), ""});
    TRY({"local l = ws.limiter { per = 1 } return {}", "2:14 bad-argument"},
        {"local l = ws.limiter { rate = 0 } return {}", "2:24 bad-argument"},
        {"local o = { per = 1 } o.rate = 1 local l = ws.limiter(o) return {}", ""},
        {"return { upgrade = function() ws.reject(200) end }", "2:41 bad-argument"},
        {"return { upgrade = function() ws.reject(403, 'x') end }", ""});
}

static void a_timer_must_have_a_name_that_the_script_has(void **state) {
    (void)state;
    TRY({"ws.every(1, 'beat') return {}", "2:13 bad-argument"},
        {"ws.every(1, 'beat') return { timers = { beat = print } }", ""},
        {"ws.every(1, 'beats') return { timers = { beat = print } }", "2:13 bad-argument"},
        {"local s = { timers = {} } function s.timers.beat() end ws.every(1, 'beat') return s", ""},
        {"local timers = {} function timers.beat() end ws.every(1, 'b') return { timers = timers }",
         "2:58 bad-argument"},
        {"local timers = {} for _, n in ipairs { 'b' } do timers[n] = print end ws.every(1, 'b')\n"
         "return { timers = timers }",
         ""},
        {"local timers = {} require 'ws'.log.info('x', timers) ws.every(1, 'b') return { timers = "
         "timers }",
         ""},
        {"ws.every(1, 'b') return setmetatable({}, {})", ""});
}

static void what_does_not_answer_there_is_found(void **state) {
    (void)state;
    TRY({"ws.all:broadcast 'x' return {}", "2:8 misplaced"},
        {"ws.sleep(1) return {}", "2:4 misplaced"},
        {"if true then ws.room('x'):count() end return {}", "2:27 misplaced"},
        {"local f = function() ws.all:broadcast 'x' end return { start = f }", ""},
        {"return { start = function() ws.sleep(1) end }", "2:32 misplaced"},
        {"return { start = function() ws.after(1, function() ws.sleep(1) end) end }", ""},
        {"return { open = function() ws.sleep(1) end }", ""},
        {"return { open = function() ws.state('x') end }", "2:31 misplaced"},
        {"local x = ws.state('x', {}) return {}", ""},
        {"return { open = function() ws.reject(403) end }", "2:31 misplaced"});
}

static void the_fields_of_the_table_hold_what_they_may(void **state) {
    (void)state;
    TRY({"return { onmessage = print }", "2:10 misspelt-field"},
        {"local s = {} function s.mesage() end return s", "2:25 misspelt-field"},
        {"return { message = 'x' }", "2:10 bad-field"}, {"return { helper = 'x', MAX = 1 }", ""},
        {"return { slow = 'wait' }", "2:10 bad-field"}, {"return { slow = 'drop' }", ""},
        {"return { on_error = 'stop' }", "2:10 bad-field"},
        {"return { version = '1' }", "2:10 bad-field"},
        {"return { route = 'x' }", "2:10 bad-field"},
        {"return { route = { '/x', 'y' } }", "2:10 bad-field"},
        {"return { route = { '/x', '/y/:z' } }", ""},
        {"return { route = '/' .. 'x' .. ws.script.name }", ""},
        {"return { protocols = 'a b' }", "2:10 bad-field"},
        {"return { protocols = { 'a', 'b.2' } }", ""},
        {"return { limits = { message_byte = 1 } }", "2:21 bad-field"},
        {"return { limits = { port = 1 } }", "2:21 bad-field"},
        {"return { limits = { head_bytes = 1000 } }", "2:21 bad-field"},
        {"return { limits = { message_bytes = 64 * 1024, rooms = 10 } }", ""},
        {"return { limits = { message_bytes = '64 KB' } }", "2:21 bad-field"},
        {"return { timers = { beat = 'x' } }", "2:21 bad-field"},
        {"return { timers = 1 }", "2:10 bad-field"},
        {"local s = {} s.version = 1.5 return s", "2:16 bad-field"},
        {"local v = 2 return { version = v, slow = ws.script.name }", ""});
}

static void a_script_returns_a_table(void **state) {
    (void)state;
    TRY({"local s = {}", "2:12 no-table"}, {"return 'x'", "2:1 no-table"},
        {"return", "2:1 no-table"}, {"do return {} end", ""},
        {"local function make() return {} end return make()", ""});
}

static void modules_are_looked_for_where_require_does(void **state) {
    (void)state;
    write_file("_beside.lua", "return {}");
    write_file("lib/mod.lua",
               "local b = require '_beside' local n = require 'none' X = 1 return {}");
    write_file(
        "a.lua",
        "require 'mod' require '_beside' print(X)\nrequire 'modd' pcall(require, 'x') return {}");
    write_file("b.lua",
               "require('../a') require 'lib.mod' local require = print require 'x' return {}");
    assert_int_equal(check_files(), PERI_OK);
    assert_string_equal(found, "a.lua:2:9 no-module\nb.lua:1:9 no-module\n"
                               "lib/mod.lua:1:47 no-module\nlib/mod.lua:1:54 global-assignment");
    remove_files();
}

static void two_scripts_on_one_route_are_found(void **state) {
    (void)state;
    write_file("a.lua", "return { route = { '/x/:one', '/y' } }");
    write_file("b.lua", "return {\n  route = '/x/:two',\n}");
    write_file("c.lua", "return { route = '/' .. tostring(1) }");
    write_file("y.lua", "return {}");
    assert_int_equal(check_files(), PERI_OK);
    assert_string_equal(found, "b.lua:2:3 route\ny.lua:1:1 route");
    remove_files();
}

static void the_configuration_is_read_too(void **state) {
    (void)state;
    write_file("a.lua", "return {}");
    write_file("perigee.lua", "return {\n  limit = {},\n  limits = { romos = 1, rooms = 10 },\n"
                              "  scripts = { a = {}, b = {} },\n}");
    assert_int_equal(check_files(), PERI_OK);
    assert_string_equal(found, "perigee.lua:2:3 config\nperigee.lua:3:14 config\n"
                               "perigee.lua:4:23 config");
    remove_files();
}

static void what_is_for_editors_and_clients_is_not_read(void **state) {
    (void)state;
    write_file("meta/ws.lua", "= 1");
    write_file("public/x.lua", "= 1");
    write_file("a_test.lua", "describe 'x'");
    write_file(".hidden.lua", "= 1");
    assert_int_equal(check_files(), PERI_OK);
    assert_string_equal(found, "");
    remove_files();
}

static void out_of_memory_is_an_error_at_each_allocation(void **state) {
    int status = PERI_E_MEMORY;
    (void)state;
    write_file("lib/mod.lua", "x = 1 return {}");
    write_file(
        "a.lua",
        "local ws = require 'ws' local m = require 'mo' local s = { route = '/x', limits = "
        "{ rooms = 1, x = 2 }, onopen = 1 } function s.open(c) c.send('x') foo() end return s");
    write_file("b.lua", "return { route = '/x' ");
    write_file("perigee.lua", "return { limits = { a = 1 } }");
    assert_int_equal(check_files(), PERI_OK);
    char *expected = strdup(found);
    assert_non_null(strstr(expected, "a.lua:1:43 no-module"));
    for (uint64_t n = 1; status != PERI_OK; n += n < 300 ? 1 : 7) {
        peri_alloc_fail_from(n);
        status = check_files();
        peri_alloc_fail_from(0);
        assert_true(status == PERI_OK || status == PERI_E_MEMORY);
        assert_true(n < 50000);
    }
    assert_string_equal(found, expected); // nothing was lost without a word
    free(expected);
    remove_files();
}

static int setup(void **state) {
    char path[128];
    static const char *const folders[] = {"lib", "meta", "public"};
    (void)state;
    peri_limits_init(&limits);
    if (!mkdtemp(dir)) {
        return -1;
    }
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        if (mkdir(path, 0700) != 0) {
            return -1;
        }
    }
    return 0;
}

static int teardown(void **state) {
    char path[128];
    static const char *const folders[] = {"lib", "meta", "public"};
    (void)state;
    remove_files();
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        (void)rmdir(path);
    }
    (void)rmdir(dir);
    return peri_alloc_live() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_compile_is_where_lua_says),
        cmocka_unit_test(a_global_that_nobody_sets_is_found),
        cmocka_unit_test(a_new_global_is_a_warning_where_it_is_made),
        cmocka_unit_test(a_library_has_what_the_sandbox_left_in_it),
        cmocka_unit_test(ws_has_only_its_own_fields),
        cmocka_unit_test(conns_rooms_and_reqs_have_only_their_own_fields),
        cmocka_unit_test(a_dot_for_a_colon_is_found),
        cmocka_unit_test(a_colon_for_a_dot_is_found),
        cmocka_unit_test(arguments_that_must_raise_are_found),
        cmocka_unit_test(a_timer_must_have_a_name_that_the_script_has),
        cmocka_unit_test(what_does_not_answer_there_is_found),
        cmocka_unit_test(the_fields_of_the_table_hold_what_they_may),
        cmocka_unit_test(a_script_returns_a_table),
        cmocka_unit_test(modules_are_looked_for_where_require_does),
        cmocka_unit_test(two_scripts_on_one_route_are_found),
        cmocka_unit_test(the_configuration_is_read_too),
        cmocka_unit_test(what_is_for_editors_and_clients_is_not_read),
        cmocka_unit_test(out_of_memory_is_an_error_at_each_allocation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
