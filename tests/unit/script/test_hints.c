// What is said about the mistakes that everybody makes, and what is better left unsaid.
#include "script/hints.h"

#include <lauxlib.h>

#include "base/alloc.h"
#include "script/api.h"
#include "script/host_private.h"
#include "script/sandbox.h"
#include "support/cmocka.h"

static struct peri_limits limits;
static struct peri_hub *hub;
static struct peri_host *host;
static struct peri_vm *vm;

static void hint(const char *message, const char *line, const char *expected) {
    char out[PERI_HINT_MAX];
    size_t len = peri_hint_write(vm, peri_str_of(message), peri_str_of(line), out);
    assert_true(len < sizeof out);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(out, expected, len);
    assert_int_equal(lua_gettop(vm->L), 0);
}

static void a_dot_for_a_colon(void **state) {
    (void)state;
    hint("bad argument #1 to 'send' (conn expected, got string)", "  conn.send(text)",
         "conn.send(...): call it with a colon, conn:send(...)");
    hint("bad argument #1 to 'broadcast' (perigee.room expected, got string)",
         "ws.all.broadcast 'x'",
         "ws.all.broadcast(...): call it with a colon, ws.all:broadcast(...)");
    hint("bad argument #1 to 'count' (perigee.room expected, got no value)", "ws.room('x').count()",
         "room.count(...): call it with a colon, room:count(...)");
    hint("bad argument #1 to 'send' (conn expected, got string)", "f.sender(text)", "");
    hint("bad argument #1 to 'send' (conn expected, got string)", "", "");
    hint("bad argument #1 to 'send' (string or table expected, got nil)", "conn.send(nil)", "");
}

static void a_nil_field_of_data(void **state) {
    static const char expected[] =
        "conn.data.name is nil here: set it in upgrade or open, or test it first";
    (void)state;
    hint("attempt to index a nil value (field 'name')", "print(conn.data.name.x)", expected);
    hint("attempt to concatenate a nil value (field 'name')", "return 'x' .. conn.data.name",
         expected);
    hint("attempt to index a nil value (field 'name')", "print(conn.data.names, x.name.y)", "");
    hint("attempt to index a nil value (local 'name')", "print(conn.data.name.x)", "");
    hint("attempt to index a number value (field 'name')", "print(conn.data.name.x)", "");
}

static void a_name_that_nobody_has(void **state) {
    (void)state;
    hint("attempt to call a nil value (field 'rooom')", "ws.rooom 'x'",
         "ws has no 'rooom': did you mean ws.room?");
    hint("attempt to call a nil value (field 'broadcast')", "ws.broadcast 'x'",
         "ws has no 'broadcast': did you mean ws.all:broadcast?");
    hint("attempt to call a nil value (field 'send')", "ws.send 'x'",
         "ws has no 'send': did you mean conn:send?");
    hint("attempt to call a nil value (field 'qqqqqq')", "ws.qqqqqq 'x'", "");
    hint("attempt to call a nil value (method 'sned')", "conn:sned 'x'",
         "there is no method 'sned': did you mean 'send'?");
    hint("attempt to call a nil value (method 'frobnicate')", "conn:frobnicate()", "");
    hint("attempt to call a nil value (global 'pritn')", "pritn 'x'",
         "there is no global 'pritn': did you mean 'print'?");
    hint("attempt to index a nil value (global 'ws')", "ws.all:broadcast 'x'",
         "begin the file with local ws = require \"ws\"");
    hint("attempt to call a nil value (global 'qqqqqq')", "qqqqqq()", "");
}

static void text_that_is_not_utf_8_and_a_misspelt_handler(void **state) {
    (void)state;
    hint("text must be valid UTF-8: send other bytes as \"binary\"", "conn:send(x)",
         "any bytes go as binary: conn:send(data, \"binary\"), "
         "room:broadcast(data, { kind = \"binary\" })");
    hint("x.lua: the field 'onmessage' is not known: did you mean 'message'?", "",
         "nothing calls 'onmessage': rename it to 'message'");
    hint("x.lua: the field 'protocol' is not known: did you mean 'protocols'?", "",
         "nothing reads 'protocol': rename it to 'protocols'");
    hint("boom", "error 'boom'", "");
}

static void whatever_the_error_says_nothing_breaks(void **state) {
    static char long_name[5000];
    (void)state;
    memset(long_name, 'x', sizeof long_name - 1);
    memcpy(long_name, "a nil value (field '", 20);
    hint(long_name, "ws.x", "");
    hint("a nil value (field '')", "ws.", "");
    hint("a nil value (field 'x", "ws.x", "");
    hint("a nil value (field 'x')", ".x", "");
    hint("(conn expected bad argument #1 to 'x'", ".x.x",
         "conn.x(...): call it with a colon, conn:x(...)");
}

static void without_memory_there_is_no_hint(void **state) {
    char out[PERI_HINT_MAX];
    (void)state;
    for (uint64_t n = 1; n < 20; n++) {
        peri_alloc_fail_from(n);
        (void)peri_hint_write(vm, PERI_STR("a nil value (field 'rooom')"), PERI_STR("ws.rooom()"),
                              out);
        (void)peri_hint_write(vm, PERI_STR("a nil value (method 'sned')"), PERI_STR("c:sned()"),
                              out);
        peri_alloc_fail_from(0);
        assert_int_equal(lua_gettop(vm->L), 0);
    }
}

static int open_api(lua_State *L) {
    peri_sandbox_open(L);
    peri_api_open(L);
    return 0;
}

static int setup(void **state) {
    (void)state;
    peri_limits_init(&limits);
    hub = peri_hub_new(0, &limits);
    host = hub ? peri_host_new("/tmp", &limits, hub) : NULL;
    vm = host ? peri_vm_new(host, hub, &limits) : NULL;
    if (!vm) {
        return -1;
    }
    vm->name = vm->file = "x";
    return peri_vm_protected(vm, open_api, NULL);
}

static int teardown(void **state) {
    (void)state;
    peri_vm_free(vm);
    peri_host_free(host);
    peri_hub_free(hub);
    return peri_alloc_live() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dot_for_a_colon),
        cmocka_unit_test(a_nil_field_of_data),
        cmocka_unit_test(a_name_that_nobody_has),
        cmocka_unit_test(text_that_is_not_utf_8_and_a_misspelt_handler),
        cmocka_unit_test(whatever_the_error_says_nothing_breaks),
        cmocka_unit_test(without_memory_there_is_no_hint),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
