// Events on their way to policy: messages that wait for a handler, `drain`, and what stops the
// reading of more.
#include <assert.h>

#include "base/alloc.h"
#include "hub/internal.h"

/// What was left of one read batch: one allocation, its payloads behind the events.
struct chunk {
    struct chunk *next;
    uint32_t count, at; ///< events before `at` have run
    struct peri_event events[];
};

struct peri_inbox {
    struct chunk *first, *last;
    uint64_t bytes;       ///< of payload
    uint32_t count;       ///< messages
    uint32_t drain_after; ///< messages that come before a drain that is due
    uint8_t reason_len;
    char reason[PERI_CONTROL_MAX - 2];
};

static uint32_t pending(const struct peri_conn *conn) {
    return conn->inbox ? conn->inbox->count : 0;
}

/// True when a message may run at once.
static bool is_idle(const struct peri_conn *conn) {
    return !conn->busy && pending(conn) == 0 && !conn->drain_due;
}

static struct peri_inbox *need_inbox(struct peri_conn *conn) {
    if (!conn->inbox) {
        conn->inbox = peri_calloc(1, sizeof *conn->inbox);
    }
    return conn->inbox;
}

static void free_if_empty(struct peri_conn *conn) {
    if (conn->inbox && conn->inbox->count == 0 && conn->inbox->reason_len == 0) {
        peri_free(conn->inbox);
        conn->inbox = NULL;
    }
}

void peri_inbox_drop(struct peri_conn *conn) {
    struct peri_inbox *inbox = conn->inbox;
    conn->drain_due = false;
    if (!inbox) {
        return;
    }
    while (inbox->first) {
        struct chunk *chunk = inbox->first;
        inbox->first = chunk->next;
        peri_free(chunk);
    }
    inbox->last = NULL;
    inbox->count = 0;
    inbox->bytes = 0;
    if (conn->stage >= STAGE_GONE) {
        inbox->reason_len = 0;
    }
    free_if_empty(conn);
}

void peri_inbox_keep_reason(struct peri_conn *conn, struct peri_str reason) {
    if (reason.len == 0 || !need_inbox(conn)) {
        return;
    }
    struct peri_inbox *inbox = conn->inbox;
    size_t n = reason.len < sizeof inbox->reason ? reason.len : sizeof inbox->reason;
    memcpy(inbox->reason, reason.ptr, n);
    inbox->reason_len = (uint8_t)n; // at most 123
}

struct peri_str peri_inbox_reason(const struct peri_conn *conn) {
    return conn->inbox ? peri_str(conn->inbox->reason, conn->inbox->reason_len)
                       : (struct peri_str){0};
}

/// Copies messages to run later. @return PERI_OK or PERI_E_MEMORY (none is kept)
static int keep(struct peri_conn *conn, const struct peri_event *events, size_t n) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += events[i].payload.len;
    }
    struct peri_inbox *inbox = need_inbox(conn);
    struct chunk *chunk =
        inbox ? peri_alloc(sizeof *chunk + n * sizeof chunk->events[0] + bytes) : NULL;
    if (!chunk) {
        free_if_empty(conn);
        return PERI_E_MEMORY;
    }
    *chunk = (struct chunk){.count = (uint32_t)n}; // a read batch
    char *to = (char *)&chunk->events[n];
    for (size_t i = 0; i < n; i++) {
        struct peri_str payload = events[i].payload;
        if (payload.len > 0) {
            memcpy(to, payload.ptr, payload.len);
        }
        chunk->events[i] = events[i];
        chunk->events[i].in_input = false;
        chunk->events[i].before = 0;
        chunk->events[i].payload.ptr = to;
        to += payload.len;
    }
    if (inbox->last) {
        inbox->last->next = chunk;
    } else {
        inbox->first = chunk;
    }
    inbox->last = chunk;
    inbox->count += chunk->count;
    inbox->bytes += bytes;
    return PERI_OK;
}

/// Drops the first n messages: they have run.
static void remove_first(struct peri_conn *conn, size_t n) {
    struct peri_inbox *inbox = conn->inbox;
    inbox->count -= (uint32_t)n; // n is at most that
    if (conn->drain_due) {
        inbox->drain_after -= (uint32_t)n; // nor was more than that given to policy
    }
    while (n > 0) {
        struct chunk *chunk = inbox->first;
        assert(chunk);
        inbox->bytes -= chunk->events[chunk->at++].payload.len;
        n--;
        if (chunk->at == chunk->count) {
            inbox->first = chunk->next;
            if (!inbox->first) {
                inbox->last = NULL;
            }
            peri_free(chunk);
        }
    }
    free_if_empty(conn);
}

/// Has policy run messages. @return how many were run or begun
static size_t call(struct peri_hub *hub, struct peri_conn *conn, const struct peri_event *events,
                   size_t n) {
    size_t taken = n;
    hub->calling = true;
    conn->busy = hub->policy.messages(hub->policy.self, conn->key, events, n, &taken) == PERI_BUSY;
    hub->calling = false;
    assert(taken >= 1 && taken <= n);
    return taken;
}

static const struct peri_traits *traits_of(const struct peri_hub *hub,
                                           const struct peri_conn *conn) {
    return hub->policy.traits(hub->policy.self, conn->script);
}

/// Runs a batch of what is pending, up to a drain that is due.
static void run_pending(struct peri_hub *hub, struct peri_conn *conn) {
    struct peri_event batch[BATCH];
    struct peri_inbox *inbox = conn->inbox;
    size_t most = BATCH, n = 0;
    if (conn->drain_due && inbox->drain_after < most) {
        most = inbox->drain_after;
    }
    for (const struct chunk *chunk = inbox->first; chunk && n < most; chunk = chunk->next) {
        for (uint32_t i = chunk->at; i < chunk->count && n < most; i++) {
            batch[n++] = chunk->events[i];
        }
    }
    conn->delivering = true;
    size_t taken = call(hub, conn, batch, n);
    conn->delivering = false;
    if (conn->dropping) {
        peri_inbox_drop(conn);
    } else {
        remove_first(conn, taken);
    }
}

static void run_drain(struct peri_hub *hub, struct peri_conn *conn) {
    uint32_t missed = conn->outbox.missed;
    conn->outbox.missed = 0;
    conn->drain_due = false;
    hub->calling = true;
    conn->busy = hub->policy.drain(hub->policy.self, conn->key, missed) == PERI_BUSY;
    hub->calling = false;
}

static bool is_held(const struct peri_hub *hub, const struct peri_conn *conn) {
    return traits_of(hub, conn)->held;
}

bool peri_inbox_is_due(const struct peri_conn *conn) {
    if (conn->busy) {
        return false;
    }
    switch ((enum peri_stage)conn->stage) {
    case STAGE_OPEN:
    case STAGE_QUIET: return !is_idle(conn);
    case STAGE_ENDED:
    case STAGE_CLOSING: return true;
    case STAGE_GONE: return !conn->transport;
    case STAGE_DEAD: return false;
    }
    return false;
}

void peri_inbox_run(struct peri_hub *hub, struct peri_conn *conn) {
    if (!peri_inbox_is_due(conn)) {
        return;
    }
    if (conn->stage == STAGE_GONE) {
        conn->stage = STAGE_DEAD;
        conn->next = hub->dead;
        hub->dead = conn;
        return;
    }
    if (is_held(hub, conn)) {
        return; // until peri_hub_release
    }
    bool drain_first = conn->drain_due && (!conn->inbox || conn->inbox->drain_after == 0);
    if (drain_first) {
        run_drain(hub, conn);
    } else if (pending(conn) > 0 && traits_of(hub, conn)->has_message) {
        run_pending(hub, conn);
    } else if (pending(conn) > 0) {
        remove_first(conn, conn->drain_due ? conn->inbox->drain_after : pending(conn));
    } else {
        peri_conn_run_close(hub, conn);
    }
    peri_inbox_reopen(hub, conn);
    if (peri_inbox_is_due(conn)) {
        peri_hub_mark_ready(hub, conn);
    }
}

void peri_inbox_add_drain(struct peri_hub *hub, struct peri_conn *conn) {
    if (!conn->drain_due && traits_of(hub, conn)->has_drain) {
        conn->drain_due = true;
        if (conn->inbox) {
            conn->inbox->drain_after = conn->inbox->count;
        }
        peri_hub_mark_ready(hub, conn);
    }
}

void peri_hub_resume(struct peri_hub *hub, peri_key key) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    if (!conn || !conn->busy) {
        return;
    }
    conn->busy = false;
    if (peri_inbox_is_due(conn)) {
        peri_hub_mark_ready(hub, conn);
    }
    peri_inbox_reopen(hub, conn);
}

static size_t input_room(const struct peri_hub *hub, const struct peri_conn *conn) {
    if (conn->stage > STAGE_QUIET) {
        return BATCH; // dropped, on the way to the peer's Close frame
    }
    if (conn->paused || pending(conn) >= INBOX_MESSAGES ||
        (conn->inbox && conn->inbox->bytes >= INBOX_BYTES)) {
        return 0;
    }
    return is_idle(conn) && !is_held(hub, conn) ? BATCH : 1;
}

size_t peri_hub_input_room(const struct peri_hub *hub, peri_key key) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    if (!conn) {
        return 0;
    }
    size_t room = input_room(hub, conn);
    conn->starved = room == 0;
    return room;
}

void peri_inbox_reopen(struct peri_hub *hub, struct peri_conn *conn) {
    if (conn->starved && conn->transport && input_room(hub, conn) > 0) {
        conn->starved = false;
        hub->ports.input_wanted(hub->ports.self, conn->transport);
    }
}

int peri_hub_messages(struct peri_hub *hub, peri_key key, const struct peri_event *events,
                      size_t n) {
    struct peri_conn *conn = peri_hub_find(hub, key);
    if (!conn || conn->stage > STAGE_QUIET) {
        return PERI_E_CLOSED;
    }
    if (!traits_of(hub, conn)->has_message) {
        return PERI_OK;
    }
    size_t at = 0;
    // An end by the host in the midst of them does not cut them off: they came before it.
    while (at < n && is_idle(conn) && !is_held(hub, conn) && !conn->dropping && !hub->calling) {
        at += call(hub, conn, events + at, n - at);
    }
    if (at < n && !conn->dropping && keep(conn, events + at, n - at) != PERI_OK) {
        peri_hub_end(hub, key, PERI_END_HOST, 1011, PERI_STR("out of memory"));
    }
    if (peri_inbox_is_due(conn)) {
        peri_hub_mark_ready(hub, conn);
    }
    return conn->stage > STAGE_QUIET ? PERI_E_CLOSED : PERI_OK;
}

void peri_hub_release(struct peri_hub *hub, uint32_t script) {
    for (uint32_t i = 0; i < hub->slot_count; i++) {
        struct peri_conn *conn = peri_hub_in_slot(hub, i);
        if (conn && conn->script == script) {
            if (peri_inbox_is_due(conn)) {
                peri_hub_mark_ready(hub, conn);
            }
            peri_inbox_reopen(hub, conn);
        }
    }
}
