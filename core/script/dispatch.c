// The policy: what the hub calls, and the entries by which the handlers of a connection run.
#include <lauxlib.h>

#include "base/log.h"
#include "script/api.h"
#include "script/data.h"
#include "script/host_private.h"
#include "script/reload.h"
#include "script/reply.h"
#include "script/watcher.h"

static struct peri_script *script_of(const struct peri_host *host, uint32_t number) {
    return host->scripts[number - 1];
}

static struct peri_vm *vm_of(const struct peri_host *host, peri_key key) {
    const struct peri_conn *conn = peri_hub_conn(host->hub, key);
    return conn ? script_of(host, peri_conn_script(conn))->vm : NULL;
}

/// Ends a connection whose handler failed it.
static void close_1011(struct peri_task *task) {
    struct peri_conn *conn = peri_hub_conn(task->vm->hub, task->key);
    if (conn) {
        PERI_IGNORE(peri_conn_close(task->vm->hub, conn, 1011, PERI_STR("")));
    }
}

// Exchanges -----------------------------------------------------------------------------------

static const struct peri_traits *host_traits(void *self, uint32_t number) {
    return &script_of(self, number)->traits;
}

/// How long a script that was over its cap is taken to be so still: a collection is dear.
static const uint64_t OVER_NS = 1000000000;

/// A script over its memory cap after a full collection takes nothing new until it is under.
static bool host_admits(void *self, uint32_t number) {
    struct peri_host *host = self;
    const struct peri_script *script = script_of(host, number);
    struct peri_vm *vm = script->is_gone ? NULL : script->vm;
    uint64_t now_ns = peri_alarms_now(host->alarms);
    if (!vm || !peri_vm_is_over(vm)) {
        return vm && now_ns >= vm->rest_until_ns;
    }
    if (vm->over_since_ns != 0 && now_ns - vm->over_since_ns < OVER_NS) {
        return false;
    }
    lua_gc(vm->L, LUA_GCCOLLECT);
    vm->over_since_ns = peri_vm_is_over(vm) ? now_ns : 0;
    if (vm->over_since_ns != 0) {
        peri_log(PERI_LOG_WARN, "%s: over script_memory: new connections and requests get 503",
                 script->path);
    }
    return vm->over_since_ns == 0;
}

static void run_exchange(struct peri_host *host, const struct peri_entry *entry, uint32_t script,
                         uint64_t exchange, struct peri_request *request,
                         struct peri_params *params, struct peri_str remote) {
    struct peri_vm *vm = script_of(host, script)->vm;
    struct peri_task *task = vm ? peri_door_task(vm, entry) : NULL;
    if (!task) {
        peri_reply_status(host->hub, exchange, 503);
        return;
    }
    task->exchange = exchange;
    task->request = request;
    task->params = params;
    task->text = remote;
    (void)peri_door_enter(task);
}

static void host_upgrade(void *self, uint32_t script, uint64_t exchange,
                         struct peri_request *request, struct peri_params *params,
                         struct peri_str remote) {
    run_exchange(self, &peri_upgrade_entry, script, exchange, request, params, remote);
}

static void host_request(void *self, uint32_t script, uint64_t exchange,
                         struct peri_request *request, struct peri_params *params,
                         struct peri_str remote) {
    run_exchange(self, &peri_request_entry, script, exchange, request, params, remote);
}

// open ----------------------------------------------------------------------------------------

static int open_prepare(lua_State *L, struct peri_task *task) {
    peri_data_take_upgrade(L, task->vm, task->key, task->exchange);
    if (task->vm->handler[PERI_ON_OPEN] == LUA_NOREF) {
        return -1;
    }
    peri_vm_push_handler(L, task->vm, PERI_ON_OPEN);
    peri_conn_push(L, task->key);
    if (!task->vm->open_takes_req) {
        return 1;
    }
    peri_req_push(L, task);
    return 2;
}

static const struct peri_entry open_entry = {
    .name = "open",
    .prepare = open_prepare,
    .raised = close_1011,
};

static void host_abandon(void *self, uint32_t script, uint64_t exchange) {
    struct peri_vm *vm = script_of(self, script)->vm;
    if (vm) {
        peri_data_abandon(vm, exchange);
    }
}

static enum peri_answer host_open(void *self, peri_key key, uint64_t exchange,
                                  struct peri_request *request) {
    struct peri_host *host = self;
    struct peri_vm *vm = vm_of(host, key);
    if (!vm || (vm->handler[PERI_ON_OPEN] == LUA_NOREF && !peri_data_has_upgrade(vm, exchange))) {
        return PERI_DONE;
    }
    struct peri_task *task = peri_door_task(vm, &open_entry);
    if (!task) {
        PERI_IGNORE(peri_conn_close(host->hub, peri_hub_conn(host->hub, key), 1011, PERI_STR("")));
        return PERI_DONE;
    }
    const struct peri_conn *conn = peri_hub_conn(host->hub, key);
    task->key = key;
    task->exchange = exchange;
    task->request = request;
    task->params = peri_conn_params(conn);
    task->text = peri_conn_remote(conn);
    return peri_door_enter(task);
}

// message -------------------------------------------------------------------------------------

/// Bytes of a message from which on it costs less to know it again than to check it again.
enum { HEARD_LEAST = 512 };

/// One message of the batch. A connection that its script has closed gets no more, and one that is held
/// the rest later.
static int message_prepare(lua_State *L, struct peri_task *task) {
    const struct peri_event *event = &task->events[task->at - 1];
    if (task->at > 1) {
        const struct peri_conn *conn = peri_hub_conn(task->vm->hub, task->key);
        if (!conn || !peri_conn_is_connected(conn) ||
            script_of(task->vm->host, task->vm->script)->traits.held) {
            task->at--; // not begun
            return -1;
        }
    }
    bool is_text = event->kind == PERI_EV_TEXT;
    bool is_heard = event->payload.len >= HEARD_LEAST;
    if (is_heard) {
        // It stays below the function, so that nothing else can come to lie at its address meanwhile.
        task->heard = peri_str(peri_push_str(L, event->payload), event->payload.len);
        task->heard_text = is_text;
    }
    peri_vm_push_handler(L, task->vm, PERI_ON_MESSAGE);
    peri_conn_push(L, task->key);
    if (is_heard) {
        lua_pushvalue(L, -3);
    } else {
        peri_push_str(L, event->payload);
    }
    peri_vm_push_word(L, task->vm, is_text ? PERI_WORD_TEXT : PERI_WORD_BINARY);
    return 3;
}

static void message_raised(struct peri_task *task) {
    if (task->vm->close_on_error) {
        close_1011(task);
    }
}

static const struct peri_entry message_entry = {
    .name = "message",
    .prepare = message_prepare,
    .raised = message_raised,
};

static enum peri_answer host_messages(void *self, peri_key key, const struct peri_event *events,
                                      size_t n, size_t *taken) {
    struct peri_vm *vm = vm_of(self, key);
    *taken = n;
    if (!vm) {
        return PERI_DONE;
    }
    struct peri_task *task = peri_door_task(vm, &message_entry);
    if (!task) {
        return PERI_DONE;
    }
    task->key = key;
    task->outlives = !peri_conn_is_connected(peri_hub_conn(vm->hub, key));
    task->events = events;
    task->count = n;
    task->taken = taken;
    enum peri_answer answer = peri_door_enter(task);
    script_of(self, vm->script)->record.messages += *taken;
    return answer;
}

// drain and close -----------------------------------------------------------------------------

static int drain_prepare(lua_State *L, struct peri_task *task) {
    peri_vm_push_handler(L, task->vm, PERI_ON_DRAIN);
    peri_conn_push(L, task->key);
    lua_pushinteger(L, task->number);
    return 2;
}

static const struct peri_entry drain_entry = {.name = "drain", .prepare = drain_prepare};

static int close_prepare(lua_State *L, struct peri_task *task) {
    peri_vm_push_handler(L, task->vm, PERI_ON_CLOSE);
    peri_conn_push(L, task->key);
    lua_pushinteger(L, task->number);
    peri_push_str(L, task->text);
    return 3;
}

static const struct peri_entry close_entry = {
    .name = "close",
    .is_close = true,
    .prepare = close_prepare,
};

static enum peri_answer run_event(struct peri_host *host, peri_key key,
                                  const struct peri_entry *entry, lua_Integer number,
                                  struct peri_str text) {
    struct peri_vm *vm = vm_of(host, key);
    struct peri_task *task = vm ? peri_door_task(vm, entry) : NULL;
    if (!task) {
        return PERI_DONE;
    }
    task->key = key;
    task->number = number;
    task->text = text;
    return peri_door_enter(task);
}

static enum peri_answer host_drain(void *self, peri_key key, uint64_t missed) {
    return run_event(self, key, &drain_entry, (lua_Integer)missed, (struct peri_str){0});
}

static enum peri_answer host_close(void *self, peri_key key, int code, struct peri_str reason) {
    return run_event(self, key, &close_entry, code, reason);
}

static void host_forget(void *self, peri_key key) {
    struct peri_vm *vm = vm_of(self, key);
    if (vm) {
        peri_data_forget(vm, key);
    }
}

static int host_charge(void *self, uint32_t number, int64_t bytes) {
    const struct peri_host *host = self;
    if (number == PERI_SHARED || number > host->script_count) {
        return PERI_OK;
    }
    struct peri_script *script = script_of(host, number);
    int status = script->vm ? peri_vm_charge(script->vm, bytes) : PERI_OK;
    script->charged += status == PERI_OK ? bytes : 0;
    return status;
}

static void host_wake(void *self) {
    peri_alarms_run(((struct peri_host *)self)->alarms);
}

void peri_host_set_policy(struct peri_host *host) {
    host->policy = (struct peri_policy){
        .self = host,
        .traits = host_traits,
        .admits = host_admits,
        .abandon = host_abandon,
        .upgrade = host_upgrade,
        .request = host_request,
        .open = host_open,
        .messages = host_messages,
        .drain = host_drain,
        .close = host_close,
        .forget = host_forget,
        .charge = host_charge,
        .wake = host_wake,
        .files_changed = peri_host_files_changed,
        .reload = peri_host_reload,
    };
    peri_host_set_inspection(&host->policy);
}
