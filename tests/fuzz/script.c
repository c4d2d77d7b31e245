// The script boundary: a script that is built from the input calls the API with odd arguments, in odd
// places, while connections come and go and allocations fail. Nothing crashes, nothing leaks.
//
// The input is read twice, half of it as the script, the other half as what happens.
#include "base/buffer.h"
#include "proto/request.h"
#include "world.h"

// The script ---------------------------------------------------------------------------------

struct writer {
    struct peri_str in;
    struct peri_buffer text;
};

static void put(struct writer *w, const char *text) {
    FUZZ_CHECK(peri_buffer_append_str(&w->text, peri_str_of(text)) == PERI_OK);
}

static const char *pick(struct writer *w, const char *const *from, size_t n) {
    return from[fuzz_byte(&w->in) % n];
}

#define PICK(w, from) pick(w, from, sizeof(from) / sizeof(from)[0])

/// A string of the input's own bytes.
static void put_string(struct writer *w) {
    struct peri_str bytes = fuzz_bytes(&w->in, fuzz_byte(&w->in) % 16);
    put(w, "\"");
    for (size_t i = 0; i < bytes.len; i++) {
        FUZZ_CHECK(peri_buffer_printf(&w->text, "\\%03u", (unsigned)(uint8_t)bytes.ptr[i]) ==
                   PERI_OK);
    }
    put(w, "\"");
}

static const char *const values[] = {
    "nil",
    "true",
    "false",
    "0",
    "-1",
    "1",
    "2.5",
    "0/0",
    "1/0",
    "-1/0",
    "1e308",
    "math.maxinteger",
    "math.mininteger",
    "1000",
    "1001",
    "1005",
    "3000",
    "4999",
    "200",
    "403",
    "500",
    "'1'",
    "''",
    "'a'",
    "'room'",
    "'text'",
    "'binary'",
    "'close'",
    "'drop'",
    "'latest'",
    "'beat'",
    "'a\\0b'",
    "'\\xff\\xfe'",
    "'\\xe2\\x82'",
    "'x\\r\\ny: z'",
    "('x'):rep(200)",
    "('x'):rep(70000)",
    "{}",
    "{1, 2, 3}",
    "{a = 1}",
    "{{{{}}}}",
    "{kind = 'binary'}",
    "{slow = 'latest', key = 'k'}",
    "{slow = 'drop'}",
    "{except = conn}",
    "{except = {conn, ws.conn(''), 1}}",
    "{info = {1, 'a'}}",
    "{info = ('x'):rep(2000)}",
    "{data = {1}, protocol = 'p', headers = {a = 'b', ['X-C'] = {'d', 1}}}",
    "{rate = 1, burst = 2, per = 3}",
    "{rate = 1e9}",
    "{rate = -1}",
    "{[{}] = {}}",
    "setmetatable({}, {__index = error})",
    "setmetatable({}, {__tostring = error, __name = 1})",
    "setmetatable({}, {__call = print, __close = print})",
    "setmetatable({}, {__eq = error})",
    "setmetatable({}, {__pairs = error, __metatable = false})",
    "cycle",
    "print",
    "error",
    "function(...) return ... end",
    "function() error({}) end",
    "function() ws.sleep(0.1) end",
    "coroutine.create(print)",
    "coroutine.running()",
    "conn",
    "other",
    "ws",
    "ws.all",
    "ws.room('room')",
    "ws.room('')",
    "ws.shared('room')",
    "ws.json",
    "ws.json.null",
    "ws.json.array{}",
    "ws.json.array{1, {}}",
    "ws.config",
    "ws.script",
    "req",
    "saved",
    "_G",
    "_ENV",
    "state",
    "limiter",
    "req and req.headers",
    "req and req.query",
    "conn and conn.data",
    "conn and conn.params",
    "conn and conn.id",
    "conn and conn:rooms()",
    "ws.all:members()",
    "ws.all:presence()",
    "string.rep",
    "string",
    "'{\"a\":[1,null,\"b\"]}'",
};

static const char *const callees[] = {
    "conn:send",
    "conn:close",
    "conn:join",
    "conn:leave",
    "conn:rooms",
    "conn.send",
    "conn.join",
    "conn.leave",
    "conn.close",
    "other:send",
    "other:close",
    "other:join",
    "other:leave",
    "ws.all:broadcast",
    "ws.all:count",
    "ws.all:members",
    "ws.all:presence",
    "ws.all:close",
    "ws.all.broadcast",
    "ws.room",
    "ws.shared",
    "ws.room('room'):broadcast",
    "ws.room('room'):members",
    "ws.room('room'):presence",
    "ws.room('room'):close",
    "ws.room('room'):count",
    "ws.shared('room'):broadcast",
    "ws.shared('room'):close",
    "ws.shared('room'):presence",
    "ws.conn",
    "ws.state",
    "ws.after",
    "ws.every",
    "ws.cancel",
    "ws.sleep",
    "ws.now",
    "ws.monotonic",
    "ws.reject",
    "ws.json.encode",
    "ws.json.decode",
    "ws.json.array",
    "ws.log.debug",
    "ws.log.info",
    "ws.log.warn",
    "ws.log.error",
    "print",
    "ws.limiter",
    "limiter:allow",
    "limiter.allow",
    "req:bearer",
    "req.bearer",
    "require",
    "load",
    "tostring",
    "tonumber",
    "pcall",
    "xpcall",
    "error",
    "assert",
    "select",
    "next",
    "pairs",
    "ipairs",
    "rawget",
    "rawset",
    "rawequal",
    "rawlen",
    "type",
    "setmetatable",
    "getmetatable",
    "collectgarbage",
    "coroutine.wrap",
    "coroutine.create",
    "coroutine.resume",
    "coroutine.close",
    "coroutine.status",
    "coroutine.yield",
    "coroutine.isyieldable",
    "string.rep",
    "string.format",
    "string.byte",
    "string.sub",
    "string.char",
    "string.pack",
    "string.unpack",
    "table.concat",
    "table.unpack",
    "table.pack",
    "utf8.char",
    "utf8.codepoint",
    "utf8.len",
    "os.time",
    "os.date",
    "os.clock",
    "debug.traceback",
    "math.tointeger",
    "saved",
};

static const char *const targets[] = {
    "saved", "conn.data", "conn.data.x",    "conn.x",  "state.x",       "state[1]",
    "ws.x",  "ws.all.x",  "ws.config",      "req.x",   "req.headers.x", "other",
    "_G.x",  "cycle[1]",  "ws.json.null.x", "limiter",
};

static void put_call(struct writer *w, int depth);

static void put_value(struct writer *w, int depth) {
    uint8_t kind = fuzz_byte(&w->in);
    if (kind < 24) {
        put_string(w);
    } else if (kind < 40 && depth < 3) {
        put_call(w, depth + 1);
    } else if (kind < 52 && depth < 3) {
        put(w, "{[");
        put_value(w, depth + 1);
        put(w, " or 1] = ");
        put_value(w, depth + 1);
        put(w, "}");
    } else {
        put(w, PICK(w, values));
    }
}

static void put_call(struct writer *w, int depth) {
    put(w, PICK(w, callees));
    put(w, "(");
    for (size_t i = 0, n = fuzz_byte(&w->in) % 4; i < n; i++) {
        put(w, i > 0 ? ", " : "");
        put_value(w, depth);
    }
    put(w, ")");
}

static void put_statement(struct writer *w) {
    static const struct {
        const char *before, *after;
    } forms[] = {
        {"pcall(function() saved = ", " end)\n"},
        {"pcall(function() return ", " end)\n"},
        {"saved = select(2, xpcall(function() return ", " end, function(e) return e end))\n"},
        {"pcall(coroutine.wrap(function() coroutine.yield(", ") end))\n"},
        {"pcall(function() for _ = 1, 3 do local _ = ", " end end)\n"},
        {"ws.after(0, function() local _ = ", " end)\n"},
        {"ws.after(0.1, function(data) saved = data, ", " end, saved)\n"},
        {"pcall(function() ws.sleep(0.05) saved = ", " end)\n"},
        {"local _ <close> = setmetatable({}, {__close = function() local _ = ", " end})\n"},
        {"local _ = ", "\n"},
    };
    size_t form = fuzz_byte(&w->in) % (sizeof forms / sizeof forms[0] + 2);
    if (form < sizeof forms / sizeof forms[0]) {
        put(w, forms[form].before);
        put_call(w, 0);
        put(w, forms[form].after);
    } else {
        put(w, "pcall(function() ");
        put(w, PICK(w, targets));
        put(w, " = ");
        put_value(w, 0);
        put(w, " end)\n");
    }
}

static void put_function(struct writer *w, const char *head) {
    put(w, head);
    for (size_t i = 0, n = fuzz_byte(&w->in) % 8; i < n; i++) {
        put_statement(w);
    }
    if (fuzz_byte(&w->in) % 4 == 3) {
        put(w, "do return ");
        put_value(w, 0);
        put(w, ", ");
        put_value(w, 0);
        put(w, ", saved end\n");
    }
    put(w, "end\n");
}

static void write_script(struct peri_str in) {
    static const char *const heads[] = {
        "function play.start(from) ",
        "function play.upgrade(req_) req = req_ ",
        "function play.open(conn_, req_) other, conn, req = conn, conn_, req_ ",
        "function play.message(conn_, data, kind) conn = conn_ ",
        "function play.drain(conn_, missed) conn = conn_ ",
        "function play.close(conn_, code, reason) conn = conn_ ",
        "function play.request(req_) req = req_ ",
        "function play.timers.beat(data) saved = data ",
    };
    struct writer w = {.in = in};
    put(&w, "local ws = require 'ws'\n"
            "local conn, other, req, saved\n"
            "local cycle = {} cycle[1] = cycle\n"
            "local state = ws.state('state', {n = 0, cycle = cycle})\n"
            "local limiter = ws.limiter{rate = 2, burst = 3}\n"
            "local play = {timers = {}, protocols = {'p', 'q'}}\n");
    uint8_t present = fuzz_byte(&w.in);
    for (size_t i = fuzz_byte(&w.in) % 4; i > 2; i--) {
        put_statement(&w);
    }
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        if (!(present & 1u << i)) {
            put_function(&w, heads[i]);
        }
    }
    put(&w, "return play\n");
    world_write("play.lua", peri_buffer_str(&w.text));
    if (getenv("FUZZ_SHOW")) {
        (void)fprintf(stderr, "%.*s", (int)w.text.len, w.text.ptr);
    }
    peri_buffer_deinit(&w.text);
}

// What happens -------------------------------------------------------------------------------

static struct peri_request *request;

static struct peri_request *read_request(void) {
    static const char text[] = "POST /play?a=b&c=%ff HTTP/1.1\r\nHost: h\r\nCookie: a=b; c\r\n"
                               "Authorization: Bearer t\r\nX-A: 1\r\nX-A: 2\r\n"
                               "Sec-WebSocket-Protocol: q, p\r\nContent-Length: 3\r\n\r\nabc";
    const struct peri_request_limits limits = {8192, 100, 8192};
    char *copy = fuzz_copy(peri_str_of(text));
    struct peri_span in = {(uint8_t *)copy, sizeof text - 1};
    struct peri_request *read = NULL;
    struct peri_request_parser *parser = peri_request_parser_new(&limits);
    FUZZ_CHECK(parser);
    FUZZ_CHECK(peri_request_parser_feed(parser, &in, &read) == PERI_OK);
    peri_request_parser_free(parser);
    free(copy);
    return read;
}

static const struct peri_policy *policy(void) {
    return peri_host_policy(world.host);
}

static bool is_up(void) {
    return policy()->admits(policy()->self, 1);
}

/// An upgrade and, if it is accepted at once, the connection. One that waits is not waited for: it
/// may be answered when nobody asks any more.
static void connect_peer(size_t window) {
    const struct peri_traits *traits = policy()->traits(policy()->self, 1);
    uint64_t exchange = ++world.exchange;
    if (world.peer_count == WORLD_PEERS || !is_up()) {
        return;
    }
    if (traits->has_upgrade) {
        policy()->upgrade(policy()->self, 1, exchange, request, NULL, PERI_STR("::1"));
        if (world.accepted != exchange) {
            return;
        }
    }
    struct world_peer *peer = &world.peers[world.peer_count];
    peer->window = window;
    const struct peri_opening opening = {
        .script = 1,
        .transport = peer,
        .exchange = exchange,
        .request = request,
        .protocol = PERI_STR("q"),
        .remote = PERI_STR("::1"),
    };
    if (peri_hub_open(world.hub, &opening, &peer->key) == PERI_OK) {
        world.peer_count++;
    } else {
        policy()->abandon(policy()->self, 1, exchange);
    }
}

/// A read batch of up to four messages.
static void receive(peri_key key, struct peri_str *in) {
    struct peri_event events[4] = {0};
    size_t room = peri_hub_attached(world.hub, key) ? peri_hub_input_room(world.hub, key) : 0;
    size_t n = fuzz_byte(in) % 4 + 1u;
    n = n < room ? n : room;
    for (size_t i = 0; i < n; i++) {
        events[i].kind = fuzz_byte(in) % 2 ? PERI_EV_BINARY : PERI_EV_TEXT;
        events[i].payload =
            events[i].kind == PERI_EV_TEXT ? PERI_STR("text") : fuzz_bytes(in, fuzz_byte(in) % 32);
    }
    if (n > 0) {
        PERI_IGNORE(peri_hub_messages(world.hub, key, events, n)); // it may have ended
    }
}

static void widen(struct world_peer *peer, size_t window) {
    struct peri_conn *conn = peri_hub_attached(world.hub, peer->key);
    peer->window = window;
    if (conn) {
        world_write_out(conn);
    }
}

static void take_step(struct peri_str *in) {
    uint8_t step = fuzz_byte(in);
    struct world_peer *peer = &world.peers[world.peer_count ? step / 16 % world.peer_count : 0];
    if (step % 16 != 0 && step % 16 < 8 && world.peer_count == 0) {
        connect_peer(1000);
        return;
    }
    switch (step % 16) {
    case 0: connect_peer(step < 128 ? SIZE_MAX / 2 : step); break;
    case 1:
    case 2:
    case 3: receive(peer->key, in); break;
    case 4: peri_hub_end(world.hub, peer->key, PERI_END_PEER, 1000, PERI_STR("bye")); break;
    case 5: peri_hub_end(world.hub, peer->key, PERI_END_LOST, 1006, PERI_STR("")); break;
    case 6: widen(peer, SIZE_MAX / 2); break;
    case 7: peri_hub_gone_quiet(world.hub, peer->key); break;
    case 8:
        if (policy()->traits(policy()->self, 1)->has_request && is_up()) {
            policy()->request(policy()->self, 1, ++world.exchange, request, NULL, PERI_STR("::1"));
        }
        break;
    case 9: peri_alloc_fail_from(fuzz_byte(in)); break;
    case 10: peri_alloc_fail_from(0); break;
    case 11: world_pass(fuzz_number(in)); break;
    case 12: peer->dead = world.peer_count > 0; break;
    default: world_pass(step); break;
    }
}

void fuzz_one(struct peri_str in) {
    enum { STEPS_MAX = 48 };
    struct peri_buffer error = {0};
    struct peri_str script = fuzz_bytes(&in, in.len / 4 * 3);
    request = read_request();
    world_begin();
    write_script(script);
    uint8_t failing = fuzz_byte(&in);
    peri_alloc_fail_from(failing < 128 ? 0 : (failing - 127u) * 8u);
    int rc = peri_host_load(world.host, world.router, &error);
    peri_alloc_fail_from(0);
    if (rc == PERI_OK) {
        for (int i = 0; i < STEPS_MAX && in.len > 0; i++) {
            take_step(&in);
        }
        world_pass(100);
    }
    peri_buffer_deinit(&error);
    world_end();
    peri_request_unref(request);
}
