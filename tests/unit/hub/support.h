// A hub with fake ports and a fake policy. A peer is a socket that takes what its window lets it
// take and keeps what it took; policy writes down what it is asked to run.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/log.h"
#include "hub/room.h"

enum { PEERS = 64, SCRIPTS = 4, NOBODY = PEERS };

struct peer {
    peri_key key;
    struct peri_inflater *inflater; ///< reads what is compressed; NULL: nothing may be
    struct peri_buffer wire;        ///< what the socket took
    size_t window;                  ///< what it takes before it blocks
    bool dead;                      ///< its socket has failed, as is found by writing
    unsigned flushes, writes, wanted;
    unsigned ended; ///< ports.ended: how often
    bool handshake;
    uint32_t script;
};

enum event { EVENT_OPEN, EVENT_MESSAGE, EVENT_DRAIN, EVENT_CLOSE };

struct world {
    struct peri_limits limits;
    struct peri_limits script_limits[SCRIPTS];
    struct peri_traits traits[SCRIPTS];
    struct peri_hub *hub;
    struct peer peers[PEERS + 1]; ///< the last is NOBODY
    size_t peer_count;
    struct peri_deflater *deflater; ///< of the next connection
    struct peri_buffer log;
    int64_t charged[SCRIPTS];
    int64_t charge_cap; ///< for each script
    unsigned turns_asked, flushes, batches;
    size_t flushed; ///< connections in the last flush
    bool in_policy;
    uint64_t live_before;

    /// What asking policy for traits or a charge may bring about: a collection in a VM.
    void (*collect)(struct world *w);

    /// What a handler does; NULL: returns at once.
    enum peri_answer (*handler)(struct world *w, size_t peer, enum event event,
                                struct peri_str data);
};

static struct world world; // of the test that runs

static inline size_t peer_of(const struct world *w, peri_key key) {
    for (size_t i = w->peer_count; i > 0; i--) {
        if (w->peers[i - 1].key == key) {
            return i - 1;
        }
    }
    return NOBODY;
}

static inline struct peri_conn *conn_of(size_t peer) {
    return peri_hub_conn(world.hub, world.peers[peer].key);
}

/// Appends to what is the test's own: it is not counted, and does not fail when the hub's memory does.
static inline void add_uncounted(struct peri_buffer *buffer, const void *bytes, size_t n) {
    uint8_t *ptr = realloc(buffer->ptr, buffer->len + n + 1);
    assert_non_null(ptr);
    if (n > 0) {
        memcpy(ptr + buffer->len, bytes, n);
    }
    buffer->ptr = ptr;
    buffer->len += n;
    ptr[buffer->len] = '\0';
}

static inline void note(const char *format, ...) {
    char line[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    add_uncounted(&world.log, line, (size_t)n);
}

// Ports.

static inline uint64_t fake_now(void *self) {
    (void)self;
    return 0;
}

static inline void fake_wake_at(void *self, uint64_t at_ns) {
    (void)self;
    (void)at_ns;
}

static inline int fake_accept(void *self, uint64_t exchange,
                              const struct peri_acceptance *acceptance) {
    (void)self;
    (void)exchange;
    (void)acceptance;
    return PERI_E_CLOSED;
}

static inline int fake_respond(void *self, uint64_t exchange, const struct peri_reply *reply) {
    (void)self;
    (void)exchange;
    (void)reply;
    return PERI_E_CLOSED;
}

static inline int fake_decline(void *self, uint64_t exchange) {
    (void)self;
    (void)exchange;
    return PERI_E_CLOSED;
}

/// @return how much the socket took
static inline size_t take_bytes(struct peer *peer, const struct iovec *iov, int n) {
    size_t taken = 0;
    if (peer->dead) {
        peri_hub_lost(world.hub, peer->key);
        for (int i = 0; i < n; i++) {
            taken += iov[i].iov_len;
        }
        return taken;
    }
    for (int i = 0; i < n; i++) {
        size_t part = iov[i].iov_len < peer->window ? iov[i].iov_len : peer->window;
        add_uncounted(&peer->wire, iov[i].iov_base, part);
        peer->window -= part;
        taken += part;
        if (part < iov[i].iov_len) {
            break;
        }
    }
    return taken;
}

/// As net does it: writes until the outbox is empty or the socket blocks.
static inline void write_out(struct world *w, struct peri_conn *conn) {
    struct peer *peer = peri_conn_transport(conn);
    struct peri_outbox *outbox = peri_conn_outbox(conn);
    struct iovec iov[64];
    bool blocked = false;
    while (!blocked && !peri_outbox_is_empty(outbox)) {
        int n = peri_outbox_peek(outbox, iov, 64);
        size_t offered = 0;
        for (int i = 0; i < n; i++) {
            offered += iov[i].iov_len;
        }
        size_t taken = take_bytes(peer, iov, n);
        blocked = taken < offered;
        peri_hub_written(w->hub, conn, taken, blocked);
    }
}

static inline void fake_flush(void *self, struct peri_conn *const *conns, size_t n) {
    struct world *w = self;
    w->flushes++;
    w->flushed = n;
    for (size_t i = 0; i < n; i++) {
        struct peer *peer = peri_conn_transport(conns[i]);
        assert_non_null(peer);
        assert_false(peri_conn_outbox(conns[i])->blocked);
        peer->flushes++;
        write_out(w, conns[i]);
    }
}

static inline size_t fake_write(void *self, void *transport, const struct iovec *iov, int n) {
    (void)self;
    struct peer *peer = transport;
    peer->writes++;
    return take_bytes(peer, iov, n);
}

static inline void fake_input_wanted(void *self, void *transport) {
    (void)self;
    ((struct peer *)transport)->wanted++;
}

static inline void fake_ended(void *self, void *transport, bool handshake) {
    (void)self;
    struct peer *peer = transport;
    peer->ended++;
    peer->handshake = handshake;
}

static inline void fake_turn_soon(void *self) {
    ((struct world *)self)->turns_asked++;
}

// Policy.

static inline const struct peri_traits *fake_traits(void *self, uint32_t script) {
    struct world *w = self;
    assert_in_range(script, 1, SCRIPTS - 1);
    if (w->collect) {
        w->collect(w);
    }
    return &w->traits[script];
}

static inline enum peri_answer run(struct world *w, peri_key key, enum event event,
                                   struct peri_str data) {
    size_t peer = peer_of(w, key);
    assert_int_not_equal(peer, NOBODY);
    assert_false(w->in_policy); // one call at a time
    w->in_policy = true;
    enum peri_answer answer = w->handler ? w->handler(w, peer, event, data) : PERI_DONE;
    w->in_policy = false;
    return answer;
}

static inline enum peri_answer fake_open(void *self, peri_key key, uint64_t exchange,
                                         struct peri_request *request) {
    (void)exchange;
    (void)request;
    struct world *w = self;
    w->peers[w->peer_count - 1].key = key; // the one that is opening
    note("open:%zu ", peer_of(w, key));
    return run(w, key, EVENT_OPEN, (struct peri_str){0});
}

static inline enum peri_answer
fake_messages(void *self, peri_key key, const struct peri_event *events, size_t n, size_t *taken) {
    struct world *w = self;
    enum peri_answer answer = PERI_DONE;
    size_t at = 0;
    w->batches++;
    assert_true(n > 0);
    while (at < n && answer == PERI_DONE) {
        struct peri_str data = events[at++].payload;
        int shown = data.len > 40 ? 40 : (int)data.len;
        note("msg:%zu:%.*s ", peer_of(w, key), shown, data.len ? data.ptr : "");
        answer = run(w, key, EVENT_MESSAGE, data);
        struct peri_conn *conn = peri_hub_conn(w->hub, key);
        if (!conn || !peri_conn_is_connected(conn)) {
            break;
        }
    }
    *taken = at;
    return answer;
}

static inline enum peri_answer fake_drain(void *self, peri_key key, uint64_t missed) {
    note("drain:%zu:%llu ", peer_of(self, key), (unsigned long long)missed);
    return run(self, key, EVENT_DRAIN, (struct peri_str){0});
}

static inline enum peri_answer fake_close(void *self, peri_key key, int code,
                                          struct peri_str reason) {
    note("close:%zu:%d:%.*s ", peer_of(self, key), code, (int)reason.len,
         reason.len ? reason.ptr : "");
    return run(self, key, EVENT_CLOSE, reason);
}

static inline void fake_forget(void *self, peri_key key) {
    struct world *w = self;
    assert_false(w->in_policy);
    note("forget:%zu ", peer_of(self, key));
}

static inline int fake_charge(void *self, uint32_t script, int64_t bytes) {
    struct world *w = self;
    assert_in_range(script, 1, SCRIPTS - 1);
    if (w->collect && bytes > 0) {
        w->collect(w);
    }
    if (bytes > 0 && w->charged[script] + bytes > w->charge_cap) {
        return PERI_E_MEMORY;
    }
    w->charged[script] += bytes;
    assert_true(w->charged[script] >= 0);
    return PERI_OK;
}

static inline void fake_wake(void *self) {
    (void)self;
}

// The world.

static inline void quiet_sink(void *arg, struct peri_str line) {
    (void)arg;
    (void)line;
}

static inline int set_up(void **state) {
    (void)state;
    peri_log_set_sink(quiet_sink, NULL);
    memset(&world, 0, sizeof world);
    world.live_before = peri_alloc_live();
    world.charge_cap = INT64_MAX;
    peri_limits_init(&world.limits);
    for (size_t i = 0; i < SCRIPTS; i++) {
        world.script_limits[i] = world.limits;
        world.traits[i] = (struct peri_traits){
            .has_open = true,
            .has_message = true,
            .has_drain = true,
            .has_close = true,
            .limits = &world.script_limits[i],
        };
    }
    const struct peri_ports ports = {
        .self = &world,
        .now_ns = fake_now,
        .wake_at = fake_wake_at,
        .accept = fake_accept,
        .respond = fake_respond,
        .decline = fake_decline,
        .flush = fake_flush,
        .write = fake_write,
        .input_wanted = fake_input_wanted,
        .ended = fake_ended,
        .turn_soon = fake_turn_soon,
    };
    const struct peri_policy policy = {
        .self = &world,
        .traits = fake_traits,
        .open = fake_open,
        .messages = fake_messages,
        .drain = fake_drain,
        .close = fake_close,
        .forget = fake_forget,
        .charge = fake_charge,
        .wake = fake_wake,
    };
    world.hub = peri_hub_new(7, &world.limits);
    assert_non_null(world.hub);
    peri_hub_set_ports(world.hub, &ports);
    peri_hub_set_policy(world.hub, &policy);
    return 0;
}

static inline void forget_log(void) {
    world.log.len = 0;
    add_uncounted(&world.log, "", 0);
}

static inline const char *log_text(void) {
    add_uncounted(&world.log, "", 0);
    return (const char *)world.log.ptr;
}

/// Turns until nothing is left to do.
static inline void turns(void) {
    unsigned n = 0;
    while (peri_hub_turn(world.hub)) {
        assert_true(++n < 10000);
    }
}

static inline int tear_down(void **state) {
    (void)state;
    world.handler = NULL;
    for (size_t i = 0; i < world.peer_count; i++) {
        peri_hub_resume(world.hub, world.peers[i].key);
        peri_hub_detach(world.hub, world.peers[i].key);
    }
    turns();
    int rc = peri_hub_count(world.hub) == 0 ? 0 : -1;
    for (size_t i = 0; i < world.peer_count; i++) {
        free(world.peers[i].wire.ptr);
    }
    peri_hub_free(world.hub);
    free(world.log.ptr);
    for (size_t i = 0; i < SCRIPTS; i++) {
        rc |= world.charged[i] == 0 ? 0 : -1;
    }
    return rc == 0 && peri_alloc_live() == world.live_before ? 0 : -1;
}

/// @return the peer's number, or NOBODY when out of memory
static inline size_t try_connect(uint32_t script) {
    assert_true(world.peer_count < PEERS);
    size_t at = world.peer_count++;
    struct peer *peer = &world.peers[at];
    *peer = (struct peer){.window = SIZE_MAX, .script = script};
    struct peri_opening opening = {
        .script = script,
        .transport = peer,
        .exchange = at,
        .remote = PERI_STR("127.0.0.1"),
        .deflater = world.deflater,
    };
    peri_key key = 0;
    int rc = peri_hub_open(world.hub, &opening, &key);
    if (rc != PERI_OK) {
        assert_int_equal(rc, PERI_E_MEMORY);
        assert_int_equal(key, 0);
        world.peer_count--;
        return NOBODY;
    }
    assert_true(peer->key == key);
    return at;
}

static inline size_t connect_to(uint32_t script) {
    size_t peer = try_connect(script);
    assert_int_not_equal(peer, NOBODY);
    return peer;
}

static inline struct peri_outgoing text_of(struct peri_str text) {
    return (struct peri_outgoing){PERI_OP_TEXT, text, 0};
}

static inline int send_str(size_t peer, struct peri_str text) {
    struct peri_outgoing out = text_of(text);
    struct peri_conn *conn = conn_of(peer);
    return conn ? peri_conn_send(world.hub, conn, &out, false) : PERI_E_CLOSED;
}

static inline int send_text(size_t peer, const char *text) {
    return send_str(peer, peri_str_of(text));
}

/// Bytes to send where only their number matters; the first one marks them.
static inline struct peri_str filler(char mark, size_t n) {
    static char bytes[4 * 1024 * 1024];
    assert_true(n <= sizeof bytes);
    memset(bytes, '.', n);
    if (n > 0) {
        bytes[0] = mark;
    }
    return peri_str(bytes, n);
}

static inline int join_as(size_t peer, uint32_t owner, const char *name, const char *info) {
    const char *why = NULL;
    struct peri_conn *conn = conn_of(peer);
    if (!conn) {
        return PERI_E_CLOSED;
    }
    return peri_room_join(world.hub, conn, owner, peri_str_of(name), peri_str_of(info), &why);
}

static inline void join(size_t peer, const char *name) {
    assert_int_equal(join_as(peer, world.peers[peer].script, name, NULL), PERI_OK);
}

static inline struct peri_room *room_of(const char *name) {
    return peri_room_find(world.hub, 1, peri_str_of(name));
}

static inline int leave(size_t peer, const char *name) {
    struct peri_room *room = room_of(name);
    struct peri_conn *conn = conn_of(peer);
    return room && conn ? peri_room_leave(world.hub, conn, room) : PERI_E_CLOSED;
}

/// @return members addressed
static inline size_t broadcast_str(struct peri_room *room, struct peri_str text,
                                   enum peri_slow slow, const char *key) {
    struct peri_broadcast b = {.out = text_of(text), .slow = slow, .key = peri_str_of(key)};
    size_t addressed = NOBODY;
    if (!room) {
        return 0; // nobody is in it
    }
    assert_int_equal(peri_room_broadcast(world.hub, room, &b, &addressed), PERI_OK);
    return addressed;
}

static inline size_t broadcast(const char *name, const char *text) {
    return broadcast_str(room_of(name), peri_str_of(text), PERI_SLOW_CLOSE, NULL);
}

static inline size_t broadcast_but(const char *name, const char *text, size_t except) {
    struct peri_broadcast b = {
        .out = text_of(peri_str_of(text)), .except = &world.peers[except].key, .except_count = 1};
    size_t addressed = NOBODY;
    assert_int_equal(peri_room_broadcast(world.hub, room_of(name), &b, &addressed), PERI_OK);
    return addressed;
}

static inline int receive_n(size_t peer, const char *const *texts, size_t n) {
    struct peri_event events[BUFSIZ];
    assert_true(n <= BUFSIZ);
    for (size_t i = 0; i < n; i++) {
        events[i] = (struct peri_event){.kind = PERI_EV_TEXT, .payload = peri_str_of(texts[i])};
    }
    return peri_hub_messages(world.hub, world.peers[peer].key, events, n);
}

static inline int receive(size_t peer, const char *text) {
    return receive_n(peer, &text, 1);
}

static inline size_t input_room(size_t peer) {
    return peri_hub_input_room(world.hub, world.peers[peer].key);
}

static inline void end_by(size_t peer, enum peri_end how, int code, const char *reason) {
    peri_hub_end(world.hub, world.peers[peer].key, how, code, peri_str_of(reason));
}

/// The socket takes n bytes more, and says so.
static inline void open_window(size_t peer, size_t n) {
    struct peri_conn *conn = peri_hub_attached(world.hub, world.peers[peer].key);
    assert_non_null(conn);
    world.peers[peer].window = n;
    write_out(&world, conn);
}

static inline size_t queued(size_t peer) {
    return peri_conn_outbox(peri_hub_attached(world.hub, world.peers[peer].key))->bytes;
}

static inline bool is_blocked(size_t peer) {
    return peri_conn_outbox(peri_hub_attached(world.hub, world.peers[peer].key))->blocked;
}

static inline void expect_log(const char *wanted) {
    assert_string_equal(log_text(), wanted);
    forget_log();
}

/// Writes out the frames that a socket took: "T:text" "B:bytes" "C:code:reason" "P:ping" "O:pong",
/// an incomplete one as "...", at most 40 bytes of each, and the length if there are more.
static inline void describe_wire(const struct peri_buffer *wire, char *out, size_t cap) {
    size_t at = 0, n = 0;
    out[0] = '\0';
    while (at < wire->len) {
        struct peri_frame frame;
        int rc = peri_frame_decode(&frame, wire->ptr + at, wire->len - at);
        assert_true(rc == PERI_OK || rc == PERI_AGAIN);
        if (rc == PERI_AGAIN || frame.length > wire->len - at - frame.header_bytes) {
            (void)snprintf(out + n, cap - n, "...");
            return;
        }
        assert_true(frame.fin && !frame.masked && frame.rsv == 0);
        const char *payload = (const char *)wire->ptr + at + frame.header_bytes;
        int length = frame.length > 40 ? 1 : (int)frame.length;
        char kind = frame.opcode == PERI_OP_TEXT     ? 'T'
                    : frame.opcode == PERI_OP_BINARY ? 'B'
                    : frame.opcode == PERI_OP_PING   ? 'P'
                    : frame.opcode == PERI_OP_PONG   ? 'O'
                                                     : 'C';
        if (kind == 'C' && length >= 2) {
            n += (size_t)snprintf(out + n, cap - n, "C:%d:%.*s ",
                                  (uint8_t)payload[0] << 8 | (uint8_t)payload[1], length - 2,
                                  payload + 2);
        } else if (frame.length > 40) {
            n += (size_t)snprintf(out + n, cap - n, "%c:%c*%llu ", kind, payload[0],
                                  (unsigned long long)frame.length);
        } else {
            n += (size_t)snprintf(out + n, cap - n, "%c:%.*s ", kind, length, payload);
        }
        assert_true(n < cap);
        at += frame.header_bytes + (size_t)frame.length;
    }
}

static inline void expect_wire(size_t peer, const char *wanted) {
    static char got[65536];
    describe_wire(&world.peers[peer].wire, got, sizeof got);
    assert_string_equal(got, wanted);
}

static inline void forget_wire(size_t peer) {
    world.peers[peer].wire.len = 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
