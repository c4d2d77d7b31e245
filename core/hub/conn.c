// The registry of connections, and how they end.
#include <assert.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/prefetch.h"
#include "hub/internal.h"

enum { FIRST_SLOTS = 64, MOST_SLOTS = 1 << 24 };

/// Where a free slot's word has none to follow.
#define NO_SLOT UINT32_C(0x7fffffff)

_Static_assert(sizeof(struct peri_conn) <= 112, "with an IPv4 address it takes two cache lines");

static peri_key key_of(const struct peri_hub *hub, uint32_t slot, uint32_t serial) {
    return (uint64_t)serial << 32 | (uint64_t)hub->worker << 24 | slot;
}

static uint32_t slot_of(peri_key key) {
    return (uint32_t)key & (MOST_SLOTS - 1);
}

static uint64_t free_word(uint32_t serial, uint32_t next) {
    return (uint64_t)serial << 32 | next << 1 | 1;
}

static uint32_t serial_of(uint64_t word) {
    return (uint32_t)(word >> 32);
}

static uint32_t next_of(uint64_t word) {
    return (uint32_t)word >> 1;
}

struct peri_conn *peri_hub_find(const struct peri_hub *hub, peri_key key) {
    uint32_t slot = slot_of(key);
    struct peri_conn *conn = slot < hub->slot_count ? peri_hub_in_slot(hub, slot) : NULL;
    return conn && conn->key == key ? conn : NULL;
}

struct peri_conn *peri_hub_conn(const struct peri_hub *hub, peri_key key) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    return conn && conn->stage < STAGE_GONE ? conn : NULL;
}

struct peri_conn *peri_hub_attached(const struct peri_hub *hub, peri_key key) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    return conn && conn->transport ? conn : NULL;
}

size_t peri_hub_count(const struct peri_hub *hub) {
    return hub->conn_count;
}

// Free slots are used in turn, oldest first, so that a serial comes around as late as can be.

static void put_free(struct peri_hub *hub, uint32_t slot, uint32_t serial) {
    hub->slots[slot].word = free_word(serial, NO_SLOT);
    if (hub->free_first == NO_SLOT) {
        hub->free_first = slot;
    } else {
        uint64_t *last = &hub->slots[hub->free_last].word;
        *last = free_word(serial_of(*last), slot);
    }
    hub->free_last = slot;
}

/// @return the key of who takes the first free one
static peri_key take_free(struct peri_hub *hub, struct peri_conn *conn) {
    uint32_t slot = hub->free_first;
    uint64_t word = hub->slots[slot].word;
    uint32_t serial = serial_of(word) + 1;
    hub->free_first = next_of(word);
    hub->slots[slot].word = (uintptr_t)conn;
    return key_of(hub, slot, serial ? serial : 1);
}

static int reserve_slot(struct peri_hub *hub) {
    if (hub->slot_count > 0 && hub->free_first != NO_SLOT) {
        return PERI_OK;
    }
    uint32_t count = hub->slot_count ? 2 * hub->slot_count : FIRST_SLOTS;
    if (count > MOST_SLOTS) {
        return PERI_E_MEMORY;
    }
    struct peri_slot *slots = peri_realloc(hub->slots, count * sizeof *slots);
    if (!slots) {
        return PERI_E_MEMORY;
    }
    hub->slots = slots;
    hub->free_first = NO_SLOT;
    for (uint32_t i = hub->slot_count; i < count; i++) {
        put_free(hub, i, 0);
    }
    hub->slot_count = count;
    return PERI_OK;
}

/// Room in the dirty list for one more connection.
static int reserve_dirty(struct peri_hub *hub) {
    if (hub->conn_count < hub->dirty_cap) {
        return PERI_OK;
    }
    uint32_t cap = hub->dirty_cap ? 2 * hub->dirty_cap : FIRST_SLOTS;
    struct peri_conn **dirty = peri_realloc(hub->dirty, cap * sizeof(struct peri_conn *));
    if (!dirty) {
        return PERI_E_MEMORY;
    }
    hub->dirty = dirty;
    hub->dirty_cap = cap;
    return PERI_OK;
}

static size_t bytes_of(struct peri_str protocol, struct peri_str remote) {
    return sizeof(struct peri_conn) + protocol.len + remote.len;
}

static struct peri_conn *make(struct peri_hub *hub, const struct peri_opening *opening) {
    struct peri_str protocol = opening->protocol, remote = opening->remote;
    if (remote.len > UINT8_MAX || protocol.len >= 1U << 24) {
        return NULL; // never: an address, and a token of a head of 16 MiB at most
    }
    struct peri_conn *conn = peri_slabs_alloc(&hub->small, bytes_of(protocol, remote));
    if (!conn) {
        return NULL;
    }
    *conn = (struct peri_conn){
        .transport = opening->transport,
        .script = opening->script,
        .deflater = opening->deflater,
        .protocol_len = protocol.len & 0xffffff, // checked above
        .remote_len = remote.len & 0xff,
    };
    if (protocol.len > 0) {
        memcpy(conn->text, protocol.ptr, protocol.len);
    }
    if (remote.len > 0) {
        memcpy(conn->text + protocol.len, remote.ptr, remote.len);
    }
    return conn;
}

/// @param conn NULL does nothing
static void free_memory(struct peri_hub *hub, struct peri_conn *conn) {
    if (conn) {
        size_t bytes = bytes_of(peri_conn_protocol(conn), peri_conn_remote(conn));
        peri_slabs_free(&hub->small, conn, bytes);
    }
}

int peri_hub_open(struct peri_hub *hub, const struct peri_opening *opening, peri_key *key) {
    assert(!hub->calling);
    if (reserve_slot(hub) != PERI_OK || reserve_dirty(hub) != PERI_OK) {
        return PERI_E_MEMORY;
    }
    struct peri_conn *conn = make(hub, opening);
    if (!conn || peri_room_enter_all(hub, conn) != PERI_OK) {
        free_memory(hub, conn);
        return PERI_E_MEMORY;
    }
    conn->key = take_free(hub, conn);
    conn->params = opening->params;
    hub->conn_count++;
    *key = conn->key;
    hub->calling = true;
    conn->busy = hub->policy.open(hub->policy.self, conn->key, opening->exchange,
                                  opening->request) == PERI_BUSY;
    hub->calling = false;
    return PERI_OK;
}

bool peri_conn_say_close(struct peri_hub *hub, struct peri_conn *conn, struct peri_str reason) {
    uint8_t payload[PERI_CONTROL_MAX];
    size_t n = peri_close_payload(payload, conn->code == 1005 ? 0 : conn->code, reason);
    conn->said_close =
        peri_conn_queue_control(hub, conn, PERI_OP_CLOSE, peri_str((const char *)payload, n));
    return conn->said_close;
}

/// From here on it is not connected: it has left its rooms, and nothing more is sent to it.
static void disconnect(struct peri_hub *hub, struct peri_conn *conn) {
    conn->stage = STAGE_QUIET;
    conn->paused = false;
    peri_deflater_free(conn->deflater);
    conn->deflater = NULL;
    peri_room_leave_all(hub, conn);
}

/// The rest of an end: what is said to the peer, to net, and to `close`.
static void finish(struct peri_hub *hub, struct peri_conn *conn, enum peri_end how, int code,
                   struct peri_str reason) {
    bool said = false;
    conn->stage = STAGE_ENDED;
    conn->code = (uint16_t)code; // a close code
    peri_inbox_keep_reason(conn, reason);
    if (how != PERI_END_LOST && conn->transport) {
        struct peri_str none = {0};
        said = peri_conn_say_close(hub, conn, how == PERI_END_PEER ? none : reason);
    }
    peri_hub_mark_ready(hub, conn);
    if (conn->transport) {
        hub->ports.ended(hub->ports.self, conn->transport, said && how == PERI_END_HOST);
        peri_inbox_reopen(hub, conn);
    }
}

/// @return false when settling found the connection over a limit: it ended with 1013 instead
static bool end(struct peri_hub *hub, struct peri_conn *conn, enum peri_end how, int code,
                struct peri_str reason) {
    if (conn->stage == STAGE_OPEN) {
        peri_settle(hub, conn);
        if (conn->stage != STAGE_OPEN) {
            return false;
        }
        disconnect(hub, conn);
    }
    finish(hub, conn, how, code, reason);
    return true;
}

void peri_conn_overrun(struct peri_hub *hub, struct peri_conn *conn, const char *limit) {
    const struct peri_log_field fields[] = {
        {"limit", peri_str_of(limit)}, {"remote", peri_conn_remote(conn)}, {NULL, {0}}};
    peri_log_fields(PERI_LOG_INFO, PERI_STR("connection ended with 1013: too slow"), fields);
    peri_settle_skip(hub, conn);
    disconnect(hub, conn);
    finish(hub, conn, PERI_END_HOST, 1013, PERI_STR("too slow"));
}

int peri_conn_close(struct peri_hub *hub, struct peri_conn *conn, int code,
                    struct peri_str reason) {
    if (conn->stage != STAGE_OPEN || !end(hub, conn, PERI_END_HOST, code, reason)) {
        return PERI_E_CLOSED;
    }
    conn->dropping = true;
    if (!conn->delivering) {
        peri_inbox_drop(conn);
    }
    return PERI_OK;
}

void peri_hub_end(struct peri_hub *hub, peri_key key, enum peri_end how, int code,
                  struct peri_str reason) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    if (conn && conn->stage <= STAGE_QUIET) {
        (void)end(hub, conn, how, how == PERI_END_LOST ? 1006 : code, reason);
    }
}

void peri_hub_gone_quiet(struct peri_hub *hub, peri_key key) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    if (!conn || conn->stage != STAGE_OPEN) {
        return;
    }
    peri_settle(hub, conn);
    if (conn->stage != STAGE_OPEN) {
        return;
    }
    disconnect(hub, conn);
    peri_inbox_reopen(hub, conn);
}

void peri_hub_lost(struct peri_hub *hub, peri_key key) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    if (conn && conn->stage == STAGE_OPEN) {
        conn->code = 1006;
    }
}

void peri_hub_detach(struct peri_hub *hub, peri_key key) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    if (!conn || !conn->transport) {
        return;
    }
    conn->transport = NULL;
    peri_outbox_deinit(&conn->outbox);
    if (conn->stage == STAGE_OPEN) {
        peri_settle_skip(hub, conn);
        disconnect(hub, conn);
    }
    if (conn->stage == STAGE_QUIET) {
        finish(hub, conn, PERI_END_LOST, 1006, (struct peri_str){0});
    }
    if (peri_inbox_is_due(conn)) {
        peri_hub_mark_ready(hub, conn);
    }
}

/// Policy has forgotten it, or never will be asked again.
static void let_go(struct peri_hub *hub, struct peri_conn *conn) {
    peri_room_unlist(hub, conn);
    peri_inbox_drop(conn);
    peri_params_unref(conn->params);
    conn->params = NULL;
}

void peri_conn_run_close(struct peri_hub *hub, struct peri_conn *conn) {
    const struct peri_policy *policy = &hub->policy;
    hub->calling = true;
    if (conn->stage == STAGE_ENDED) {
        conn->stage = STAGE_CLOSING;
        conn->busy = policy->traits(policy->self, conn->script)->has_close &&
                     policy->close(policy->self, conn->key, conn->code, peri_inbox_reason(conn)) ==
                         PERI_BUSY;
    }
    if (!conn->busy) {
        policy->forget(policy->self, conn->key);
        conn->stage = STAGE_GONE;
    }
    hub->calling = false;
    if (conn->stage == STAGE_GONE) {
        let_go(hub, conn);
    }
}

void peri_conn_free(struct peri_hub *hub, struct peri_conn *conn) {
    if (conn->stage < STAGE_QUIET) {
        disconnect(hub, conn);
    }
    conn->stage = STAGE_DEAD;
    let_go(hub, conn);
    peri_outbox_deinit(&conn->outbox);
    put_free(hub, slot_of(conn->key), (uint32_t)(conn->key >> 32));
    hub->conn_count--;
    free_memory(hub, conn);
}

struct peri_outbox *peri_conn_outbox(struct peri_conn *conn) {
    return &conn->outbox;
}

void *peri_conn_transport(const struct peri_conn *conn) {
    return conn->transport;
}

void peri_hub_prefetch(const struct peri_hub *hub, peri_key key) {
    uint32_t slot = slot_of(key);
    if (slot < hub->slot_count) {
        peri_conn_prefetch(peri_hub_in_slot(hub, slot));
    }
}

void peri_conn_prefetch(const struct peri_conn *conn) {
    peri_prefetch(conn, offsetof(struct peri_conn, key));
}

peri_key peri_conn_key(const struct peri_conn *conn) {
    return conn->key;
}

struct peri_conn *peri_hub_next_conn(const struct peri_hub *hub, uint32_t *cursor) {
    while (*cursor < hub->slot_count) {
        struct peri_conn *conn = peri_hub_in_slot(hub, (*cursor)++);
        if (conn && conn->stage < STAGE_GONE) {
            return conn;
        }
    }
    return NULL;
}

bool peri_conn_is_busy(const struct peri_conn *conn) {
    return conn->busy;
}

bool peri_conn_is_connected(const struct peri_conn *conn) {
    return conn->stage == STAGE_OPEN;
}

uint32_t peri_conn_script(const struct peri_conn *conn) {
    return conn->script;
}

struct peri_params *peri_conn_params(const struct peri_conn *conn) {
    return conn->params;
}

struct peri_str peri_conn_protocol(const struct peri_conn *conn) {
    return peri_str(conn->text, conn->protocol_len);
}

struct peri_str peri_conn_remote(const struct peri_conn *conn) {
    return peri_str(conn->text + conn->protocol_len, conn->remote_len);
}

uint64_t peri_conn_buffered(const struct peri_conn *conn) {
    return conn->outbox.bytes;
}

uint32_t peri_conn_rtt_us(const struct peri_conn *conn) {
    return conn->rtt_us;
}

void peri_hub_set_rtt(struct peri_hub *hub, peri_key key, uint32_t microseconds) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    if (conn) {
        conn->rtt_us = microseconds;
    }
}
