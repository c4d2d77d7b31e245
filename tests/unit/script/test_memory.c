// Out of memory at every allocation of script: each step of a scenario is run again and again, its
// nth allocation and all later ones failing, until it passes without. Whatever is lost, nothing
// leaks, nobody crashes, and the host serves the next connection.
#include <sys/stat.h>
#include <unistd.h>

#include "hub/support.h"
#include "proto/request.h"
#include "script/heap.h"
#include "script/host.h"

enum { STEPS = 18, MOST_ALLOCATIONS = 20000 };

static const char SCRIPT[] =
    "local ws = require 'ws'\n"
    "local words = require 'words'\n"
    "local score = ws.state('score', { n = 0, list = { 1, { 2 } } })\n"
    "local limiter = ws.limiter { rate = 1000, burst = 1000 }\n"
    "local play = { route = { '/play/:room', '/p/:room' }, protocols = { 'a', 'b' },\n"
    "  limits = { rooms = 100, script_memory = '32 MiB' }, timers = {}, onmessage = 1 }\n"
    "ws.after(1, 'beat', { room = 'r' })\n"
    "function play.timers.beat(data) ws.room(data.room):broadcast { beat = score.n } end\n"
    "function play.start() score.n = 1 ws.every(1, 'beat', { room = 'r' }, 'key') end\n"
    "function play.upgrade(req)\n"
    "  return { data = { name = req.query.name, of = req.headers.host },\n"
    "    headers = { ['X-Words'] = { words.one, 'two' } } }\n"
    "end\n"
    "function play.open(conn, req)\n"
    "  conn:join(conn.params.room, { info = { name = conn.data.name, path = req.path } })\n"
    "  conn:send { hello = conn }\n"
    "end\n"
    "local orders = {}\n"
    "function orders.join(conn) conn:join('q'); conn:join(ws.shared 'all', { info = { 1 } }) end\n"
    "function orders.say(conn)\n"
    "  for _, room in ipairs(conn:rooms()) do\n"
    "    room:broadcast({ from = conn, of = room:members(), who = room:presence() },\n"
    "      { except = { conn } })\n"
    "  end\n"
    "  ws.all:broadcast(('x'):rep(3000), { slow = 'latest', key = conn.id })\n"
    "end\n"
    "function orders.time(conn)\n"
    "  ws.after(0, function() conn:send 'soon' end)\n"
    "  ws.cancel(ws.every(2, 'beat', { room = 'q', deep = { { {} } } }, conn))\n"
    "  ws.after(3, 'beat', { room = 'q' })\n"
    "end\n"
    "function orders.sleep(conn) ws.sleep(0.5) conn:send(words.one) end\n"
    "function orders.leave(conn) conn:leave 'q' end\n"
    "function orders.limit(conn)\n"
    "  for i = 1, 40 do limiter:allow('key' .. i) limiter:allow(conn) end\n"
    "  ws.limiter { rate = 1 }:allow(1)\n"
    "end\n"
    "function orders.json(conn)\n"
    "  local value = ws.json.decode(ws.json.encode { a = { 1, 2, { b = ws.json.null } }, c = 'd' "
    "})\n"
    "  conn:send(value)\n"
    "end\n"
    "function orders.raise() error { 'no text' } end\n"
    "function orders.wrap(conn)\n"
    "  local co = coroutine.wrap(function(a) coroutine.yield(a) end)\n"
    "  co(1) co() pcall(error, 'x') ws.log.info('logged', { conn = conn.id }) load('return 1')()\n"
    "end\n"
    "function play.message(conn, text)\n"
    "  local order = orders[text]\n"
    "  if order then order(conn) else conn:send(text) end\n"
    "end\n"
    "function play.request(req)\n"
    "  ws.sleep(0.1)\n"
    "  return 200, { path = req.path, cookie = req.cookies.a }, { ['X-A'] = { '1', '2' } }\n"
    "end\n"
    "function play.close(conn, code) ws.room('r'):broadcast { left = conn, code = code } end\n"
    "return play\n";

static const char CONFIG[] =
    "return { limits = { timers = 50 }, scripts = { play = { greeting = { 'hi' }, n = 1 } } }\n";

static const char OPERATOR[] = "return { limits = { conn_rooms = 50 }, scripts = { play = { n = { "
                               "a = 2.5 } }, l = { 1 } } }\n";

static char dir[] = "/tmp/perigee-test-memory-XXXXXX";
static struct peri_request *request; ///< of all exchanges
static uint64_t now_ns, wake_at_ns, last_exchange, accepted;
static struct peri_host *host;
static struct peri_router *router;

static uint64_t clock_now(void *self) {
    (void)self;
    return now_ns;
}

static void clock_wake_at(void *self, uint64_t at_ns) {
    (void)self;
    wake_at_ns = at_ns;
}

static int note_accept(void *self, uint64_t exchange, const struct peri_acceptance *acceptance) {
    (void)self;
    (void)acceptance;
    accepted = exchange;
    return PERI_OK;
}

static int note_respond(void *self, uint64_t exchange, const struct peri_reply *reply) {
    (void)self;
    (void)exchange;
    assert_in_range(reply->status, 200, 599);
    return PERI_OK;
}

static void write_file(const char *name, const char *text) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int write_folder(void **state) {
    (void)state;
    char lib[128];
    assert_non_null(mkdtemp(dir));
    (void)snprintf(lib, sizeof lib, "%s/lib", dir);
    assert_int_equal(mkdir(lib, 0700), 0);
    write_file("play.lua", SCRIPT);
    write_file("lib/words.lua", "return { one = 'one' }\n");
    write_file("perigee.lua", CONFIG);
    write_file("lib/operator.lua", OPERATOR);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"play.lua",    "lib/words.lua", "lib/operator.lua",
                                        "perigee.lua", "lib",           ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(remove(path), 0);
    }
    return 0;
}

static struct peri_request *read_request(void) {
    const struct peri_request_limits limits = {8192, 100, 8192};
    uint8_t text[] = "GET /play/r?name=Ann HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\n\r\n";
    struct peri_span in = {text, sizeof text - 1};
    struct peri_request *read = NULL;
    struct peri_request_parser *parser = peri_request_parser_new(&limits);
    assert_non_null(parser);
    assert_int_equal(peri_request_parser_feed(parser, &in, &read), PERI_OK);
    peri_request_parser_free(parser);
    return read;
}

static void begin(void) {
    memset(&world, 0, sizeof world);
    peri_log_set_sink(quiet_sink, NULL);
    world.live_before = peri_alloc_live();
    peri_limits_init(&world.limits);
    now_ns = 1;
    wake_at_ns = UINT64_MAX;
    const struct peri_ports ports = {
        .self = &world,
        .now_ns = clock_now,
        .wake_at = clock_wake_at,
        .accept = note_accept,
        .respond = note_respond,
        .decline = fake_decline,
        .flush = fake_flush,
        .write = fake_write,
        .input_wanted = fake_input_wanted,
        .ended = fake_ended,
        .turn_soon = fake_turn_soon,
    };
    request = read_request();
    world.hub = peri_hub_new(7, &world.limits);
    router = peri_router_new();
    assert_non_null(world.hub);
    assert_non_null(router);
    peri_hub_set_ports(world.hub, &ports);
}

static const struct peri_policy *policy(void) {
    return peri_hub_policy(world.hub);
}

static int set_limit(void *arg, const struct peri_config_value *value, struct peri_buffer *error) {
    (void)arg;
    return peri_limits_set(&world.limits, value->name, value->items[0], error);
}

static int count_line(void *arg, int depth, struct peri_str code, const char *where) {
    (void)depth;
    (void)code;
    *(int *)arg += where != NULL;
    return PERI_OK;
}

/// Both files of settings read, and what they come to printed.
static bool try_configure(struct peri_buffer *error) {
    char path[128];
    int lines = 0;
    (void)snprintf(path, sizeof path, "%s/lib/operator.lua", dir);
    bool done =
        peri_host_configure(host, PERI_CONFIG_OPERATOR, path, set_limit, NULL, error) == PERI_OK &&
        peri_host_configure(host, PERI_CONFIG_FOLDER, NULL, set_limit, NULL, error) == PERI_OK &&
        peri_host_print_sections(host, count_line, &lines) == PERI_OK;
    assert_true(!done || lines > 2);
    return done;
}

/// @return false when the host or the script could not be loaded
static bool try_load(void) {
    struct peri_buffer error = {0};
    host = peri_host_new(dir, &world.limits, world.hub);
    bool done = host && try_configure(&error);
    if (host) {
        peri_hub_set_policy(world.hub, peri_host_policy(host));
    }
    done = done && peri_host_load(host, router, &error) == PERI_OK;
    peri_buffer_deinit(&error);
    return done && policy()->admits(policy()->self, 1);
}

/// An upgrade and what follows a 101. @return the peer, or NOBODY
static size_t try_join_in(void) {
    uint32_t script;
    struct peri_params *params = NULL;
    if (peri_router_match(router, PERI_STR("/play/r"), &script, &params) != PERI_OK) {
        return NOBODY;
    }
    uint64_t exchange = ++last_exchange;
    accepted = 0;
    policy()->upgrade(policy()->self, script, exchange, request, params, PERI_STR("::1"));
    size_t at = world.peer_count;
    struct peer *peer = &world.peers[at];
    *peer = (struct peer){.window = SIZE_MAX, .script = script};
    const struct peri_opening opening = {
        .script = script,
        .transport = peer,
        .exchange = exchange,
        .request = request,
        .params = params,
        .protocol = PERI_STR("a"),
        .remote = PERI_STR("::1"),
    };
    if (accepted != exchange || peri_hub_open(world.hub, &opening, &peer->key) != PERI_OK) {
        if (accepted == exchange) {
            policy()->abandon(policy()->self, script, exchange);
        }
        peri_params_unref(params);
        return NOBODY;
    }
    world.peer_count++;
    return at;
}

static void try_receive(size_t peer, const char *text) {
    if (peer < world.peer_count && conn_of(peer)) {
        (void)receive(peer, text); // it may have ended
    }
}

/// As a loop does it: time goes on, alarms are due, then a turn.
static void pass(uint64_t ms) {
    now_ns += ms * 1000000;
    if (wake_at_ns <= now_ns) {
        wake_at_ns = UINT64_MAX;
        policy()->wake(policy()->self);
    }
    for (int i = 0; i < 5; i++) {
        (void)peri_hub_turn(world.hub);
    }
}

static void ask(const char *order) {
    try_receive(0, order);
    pass(0);
}

/// An operator looks in.
static void look_in(const char *code) {
    struct peri_buffer out = {0};
    int status = policy()->eval(policy()->self, PERI_STR("play"), peri_str_of(code), &out);
    assert_true(status == PERI_OK || status == PERI_E_MEMORY || status == PERI_E_INVALID);
    assert_true(status != PERI_OK || out.len > 100);
    peri_buffer_deinit(&out);
}

static void measure(void) {
    struct peri_script_status status;
    policy()->measure(policy()->self, true);
    ask("json");
    size_t cursor = 0;
    assert_true(policy()->status(policy()->self, &cursor, &status));
    assert_true(peri_str_equal(status.name, PERI_STR("play")));
    assert_false(policy()->status(policy()->self, &cursor, &status));
    policy()->measure(policy()->self, false);
}

static void take_step(size_t at) {
    uint32_t script;
    static const char *const batch[] = {"sleep", "after", "raise", "say"};
    switch (at) {
    case 0:
    case 1: (void)try_join_in(); break;
    case 2: ask("join"); break;
    case 3: ask("say"); break;
    case 4: ask("time"); break;
    case 5: ask("limit"); break;
    case 6: ask("json"); break;
    case 7: ask("wrap"); break;
    case 8: ask("raise"); break;
    case 9:
        if (conn_of(0)) {
            (void)receive_n(0, batch, 4);
        }
        break;
    case 10: pass(600); break;
    case 11: ask("leave"); break;
    case 12: {
        struct peri_params *params = NULL;
        if (peri_router_match(router, PERI_STR("/p/x"), &script, &params) == PERI_OK) {
            policy()->request(policy()->self, script, ++last_exchange, request, params,
                              PERI_STR("::1"));
        }
        peri_params_unref(params);
        pass(200);
        break;
    }
    case 13: pass(5000); break; // every timer
    case 14:
        end_by(0, PERI_END_PEER, 1000, "bye");
        pass(0);
        break;
    case 15: peri_host_cut_waits(host); break;
    case 16:
        look_in("_G, score, ws.room 'r', { ('key'):rep(20), [{}] = score }, limiter, orders");
        look_in("error { }");
        break;
    case 17: measure(); break;
    default: break;
    }
}

/// The next connection comes in, is heard and answered.
static void check_usable(void) {
    pass(0);
    size_t peer = try_join_in();
    assert_int_not_equal(peer, NOBODY);
    pass(0);
    assert_true(peri_conn_is_connected(conn_of(peer)));
    forget_wire(peer);
    (void)receive(peer, "still here");
    pass(0);
    expect_wire(peer, "T:still here ");
}

static void finish(void) {
    for (size_t i = 0; i < world.peer_count; i++) {
        peri_hub_detach(world.hub, world.peers[i].key);
    }
    if (host) {
        peri_host_cut_waits(host);
        pass(0);
    }
    assert_int_equal(peri_hub_count(world.hub), 0);
    for (size_t i = 0; i < world.peer_count; i++) {
        free(world.peers[i].wire.ptr);
    }
    peri_host_free(host);
    peri_hub_free(world.hub);
    peri_router_free(router);
    peri_request_unref(request);
    assert_int_equal(peri_alloc_live(), world.live_before);
    free(world.log.ptr);
}

/// Whether an allocation has failed, or the very next one would. Switches failing off.
static bool has_failed(void) {
    void *block = peri_alloc(1);
    peri_free(block);
    peri_alloc_fail_from(0);
    return block == NULL;
}

static void loading_may_fail_at_any_allocation(void **state) {
    (void)state;
    bool failed = true;
    uint64_t nth = 0;
    while (failed) {
        begin();
        peri_alloc_fail_from(++nth);
        bool loaded = try_load();
        failed = has_failed();
        assert_true(nth < MOST_ALLOCATIONS);
        assert_true(loaded || failed);
        if (loaded) {
            check_usable();
        }
        finish();
    }
    assert_true(nth > (PERI_HAS_SLABS ? 100 : 500)); // else nothing was walked
}

static void any_step_may_fail_at_any_allocation(void **state) {
    (void)state;
    uint64_t walked = 0;
    for (size_t failing = 0; failing < STEPS; failing++) {
        bool failed = true;
        for (uint64_t nth = 1; failed; nth++, walked++) {
            begin();
            assert_true(try_load());
            for (size_t at = 0; at < STEPS; at++) {
                peri_alloc_fail_from(at == failing ? nth : 0);
                take_step(at);
                failed = at == failing ? has_failed() : failed;
            }
            assert_true(nth < MOST_ALLOCATIONS);
            check_usable();
            finish();
        }
    }
    assert_true(walked > 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_may_fail_at_any_allocation),
        cmocka_unit_test(any_step_may_fail_at_any_allocation),
    };
    return cmocka_run_group_tests(tests, write_folder, remove_folder);
}
