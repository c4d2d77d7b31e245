// A host in a process of its own: a folder, a hub and ports that stand for net. Sockets take all, the
// clock goes when it is told to.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "hub/room.h"
#include "script/host.h"

enum { WORLD_PEERS = 8 };

struct world_peer {
    peri_key key;
    size_t window; ///< what its socket takes before it blocks
    bool dead;     ///< its socket has failed, as is found by writing
};

struct world {
    struct peri_limits limits;
    struct peri_hub *hub;
    struct peri_router *router;
    struct peri_host *host;
    uint64_t now_ns, wake_at_ns;
    uint64_t exchange, accepted; ///< the last one, and the last that policy accepted
    struct world_peer peers[WORLD_PEERS];
    size_t peer_count;
};

static struct world world;

/// The folder of this process, made once and removed at its end.
static char world_dir[64];

static inline void world_remove(void) {
    static const char *const names[] = {"perigee.lua", "other.lua", "play.lua", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", world_dir, names[i]);
        (void)remove(path);
    }
}

static inline const char *world_path(const char *name) {
    static char path[128];
    if (!world_dir[0]) {
        const char *memory = "/dev/shm/perigee-fuzz-XXXXXX", *disk = "/tmp/perigee-fuzz-XXXXXX";
        (void)snprintf(world_dir, sizeof world_dir, "%s",
                       access("/dev/shm", W_OK) == 0 ? memory : disk);
        FUZZ_CHECK(mkdtemp(world_dir));
        FUZZ_CHECK(atexit(world_remove) == 0);
    }
    (void)snprintf(path, sizeof path, "%s/%s", world_dir, name);
    return path;
}

static inline void world_write(const char *name, struct peri_str text) {
    FILE *file = fopen(world_path(name), "wb");
    FUZZ_CHECK(file);
    FUZZ_CHECK(fwrite(text.ptr ? text.ptr : "", 1, text.len, file) == text.len);
    FUZZ_CHECK(fclose(file) == 0);
}

static inline void world_unlink(const char *name) {
    (void)unlink(world_path(name)); // it need not be there
}

static inline uint64_t world_now(void *self) {
    (void)self;
    return world.now_ns;
}

static inline void world_wake_at(void *self, uint64_t at_ns) {
    (void)self;
    world.wake_at_ns = at_ns;
}

static inline int world_accept(void *self, uint64_t exchange,
                               const struct peri_acceptance *acceptance) {
    (void)self;
    for (size_t i = 0; i < acceptance->field_count; i++) {
        FUZZ_CHECK(memchr(acceptance->fields[i].value.ptr, '\n', acceptance->fields[i].value.len) ==
                   NULL);
    }
    world.accepted = exchange;
    return PERI_OK;
}

static inline int world_respond(void *self, uint64_t exchange, const struct peri_reply *reply) {
    (void)self;
    (void)exchange;
    FUZZ_CHECK(reply->status >= 200 && reply->status <= 599);
    return PERI_OK;
}

static inline int world_decline(void *self, uint64_t exchange) {
    (void)self;
    (void)exchange;
    return PERI_OK;
}

/// Reads what it takes, so that a sanitizer sees what is no longer there.
static inline size_t world_take(struct world_peer *peer, const struct iovec *iov, int n) {
    volatile uint8_t sum = 0;
    size_t taken = 0;
    if (peer->dead) {
        peri_hub_lost(world.hub, peer->key);
        for (int i = 0; i < n; i++) {
            taken += iov[i].iov_len;
        }
        return taken;
    }
    for (int i = 0; i < n && peer->window > 0; i++) {
        size_t part = iov[i].iov_len < peer->window ? iov[i].iov_len : peer->window;
        for (size_t j = 0; j < part; j++) {
            sum = (uint8_t)(sum + ((const uint8_t *)iov[i].iov_base)[j]);
        }
        peer->window -= part;
        taken += part;
        if (part < iov[i].iov_len) {
            break;
        }
    }
    return taken;
}

static inline void world_write_out(struct peri_conn *conn) {
    struct peri_outbox *outbox = peri_conn_outbox(conn);
    struct iovec iov[64];
    bool blocked = false;
    while (!blocked && !peri_outbox_is_empty(outbox)) {
        int n = peri_outbox_peek(outbox, iov, 64);
        size_t offered = 0;
        for (int i = 0; i < n; i++) {
            offered += iov[i].iov_len;
        }
        size_t taken = world_take(peri_conn_transport(conn), iov, n);
        blocked = taken < offered;
        peri_hub_written(world.hub, conn, taken, blocked);
    }
}

static inline void world_flush(void *self, struct peri_conn *const *conns, size_t n) {
    (void)self;
    for (size_t i = 0; i < n; i++) {
        world_write_out(conns[i]);
    }
}

static inline size_t world_write_now(void *self, void *transport, const struct iovec *iov, int n) {
    (void)self;
    return world_take(transport, iov, n);
}

static inline void world_input_wanted(void *self, void *transport) {
    (void)self;
    (void)transport;
}

static inline void world_ended(void *self, void *transport, bool handshake) {
    (void)self;
    (void)transport;
    (void)handshake;
}

static inline void world_turn_soon(void *self) {
    (void)self;
}

/// Makes hub, router and host, with limits that an input is over before it takes long.
static inline void world_begin(void) {
    (void)world_path("");
    memset(&world, 0, sizeof world);
    world.now_ns = 1;
    world.wake_at_ns = UINT64_MAX;
    peri_limits_init(&world.limits);
    world.limits.script_memory = 4 << 20;
    world.limits.outbox_soft = 1 << 14;
    world.limits.outbox_hard = 1 << 16;
    world.limits.message_bytes = 1 << 16;
    world.limits.rooms = 8;
    world.limits.conn_rooms = 4;
    world.limits.timers = 8;
    world.limits.limiter_keys = 8;
    const struct peri_ports ports = {
        .self = &world,
        .now_ns = world_now,
        .wake_at = world_wake_at,
        .accept = world_accept,
        .respond = world_respond,
        .decline = world_decline,
        .flush = world_flush,
        .write = world_write_now,
        .input_wanted = world_input_wanted,
        .ended = world_ended,
        .turn_soon = world_turn_soon,
    };
    world.hub = peri_hub_new(1, &world.limits);
    world.router = peri_router_new();
    FUZZ_CHECK(world.hub && world.router);
    peri_hub_set_ports(world.hub, &ports);
    world.host = peri_host_new(world_dir, &world.limits, world.hub);
    FUZZ_CHECK(world.host);
    peri_hub_set_policy(world.hub, peri_host_policy(world.host));
}

/// Time goes on, what is due runs, then turns until nothing is left to do, or for long enough.
static inline void world_pass(uint64_t ms) {
    world.now_ns += ms * 1000000;
    if (world.wake_at_ns <= world.now_ns) {
        world.wake_at_ns = UINT64_MAX;
        peri_host_policy(world.host)->wake(peri_host_policy(world.host)->self);
    }
    for (int i = 0; i < 20 && peri_hub_turn(world.hub); i++) {
    }
}

static inline void world_end(void) {
    peri_alloc_fail_from(0);
    for (size_t i = 0; i < world.peer_count; i++) {
        peri_hub_detach(world.hub, world.peers[i].key);
    }
    peri_host_cut_waits(world.host);
    for (int i = 0; peri_hub_count(world.hub) > 0; i++) {
        FUZZ_CHECK(i < 1000);
        peri_host_cut_waits(world.host); // a `close` may wait too
        world_pass(0);
    }
    peri_host_free(world.host);
    // Nobody is in a room, and no value names it: it has gone.
    FUZZ_CHECK(!peri_room_find(world.hub, 1, PERI_STR("room")));
    FUZZ_CHECK(!peri_room_find(world.hub, PERI_SHARED, PERI_STR("room")));
    peri_hub_free(world.hub);
    peri_router_free(world.router);
}
