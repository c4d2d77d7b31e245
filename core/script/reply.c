#include "script/reply.h"

#include <lauxlib.h>

#include "base/log.h"
#include "proto/handshake.h"
#include "proto/response.h"
#include "script/api.h"
#include "script/guard.h"
#include "script/host_private.h"
#include "script/report.h"

enum { HEADERS_MAX = 100 };

void peri_reply_status(struct peri_hub *hub, uint64_t exchange, int status) {
    const struct peri_ports *ports = peri_hub_ports(hub);
    struct peri_reply reply = {.status = status,
                               .content_type = PERI_STR("text/plain; charset=utf-8")};
    reply.body = peri_str_of(peri_status_text(status));
    (void)ports->respond(ports->self, exchange, &reply); // gone: the answer is dropped
}

/// Reads a table of headers at `index` into an array on the stack, whose strings the table keeps.
/// [-0, +1 (the array) and what it refers to]
static const struct peri_field *check_headers(lua_State *L, int index, size_t *count) {
    *count = 0;
    if (lua_isnoneornil(L, index)) {
        return NULL;
    }
    index = lua_absindex(L, index);
    luaL_argexpected(L, lua_istable(L, index), index, "table of headers");
    peri_guard_check(L, index);
    struct peri_field *fields = lua_newuserdatauv(L, HEADERS_MAX * sizeof *fields, 0);
    lua_newtable(L); // keeps the texts of numbers and names
    int keep = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int value = lua_gettop(L);
        bool is_list = lua_istable(L, value);
        peri_guard_check(L, value);
        lua_Integer n = is_list ? (lua_Integer)lua_rawlen(L, value) : 1;
        for (lua_Integer i = 1; i <= n; i++) {
            if (is_list) {
                lua_rawgeti(L, value, i);
            } else {
                lua_pushvalue(L, value);
            }
            if (lua_type(L, value - 1) != LUA_TSTRING || !lua_isstring(L, -1)) {
                luaL_error(L, "headers: a name and a string, or a list of strings, expected");
            }
            if (*count == HEADERS_MAX) {
                luaL_error(L, "headers: at most %d", HEADERS_MAX);
            }
            struct peri_field *field = &fields[(*count)++];
            field->name.ptr = lua_tolstring(L, value - 1, &field->name.len);
            field->value.ptr = lua_tolstring(L, -1, &field->value.len);
            if (!peri_field_is_valid(field->name, field->value)) {
                luaL_error(L,
                           "header '%s': the name must be a token, the value without CR, LF, NUL "
                           "or another control character",
                           field->name.ptr);
            }
            lua_rawseti(L, keep, (lua_Integer)*count);
        }
        lua_settop(L, value - 1);
    }
    return fields;
}

/// status[, body[, headers]] at `index` and on. Raises on misuse.
static void check_reply(lua_State *L, struct peri_vm *vm, int index, int min_status,
                        struct peri_reply *reply) {
    lua_settop(L, index + 2);
    int fits = 0;
    lua_Integer status = lua_tointegerx(L, index, &fits);
    if (!fits || status < min_status || status > 599) {
        luaL_error(L, "a status from %d to 599 expected, got %s", min_status,
                   luaL_tolstring(L, index, NULL));
    }
    *reply = (struct peri_reply){.status = (int)status};
    size_t count = 0;
    reply->fields = check_headers(L, index + 2, &count);
    reply->field_count = count;
    int body = index + 1;
    size_t max_bytes = (size_t)vm->limits.response_bytes;
    if (lua_istable(L, body)) {
        peri_json_check(L, vm, body, max_bytes, &vm->json);
        reply->body = peri_buffer_str(&vm->json);
        reply->content_type = PERI_STR("application/json");
    } else if (!lua_isnil(L, body)) {
        if (!lua_isstring(L, body)) {
            luaL_error(L, "a body is a string or a table, not a %s", luaL_typename(L, body));
        }
        reply->body.ptr = lua_tolstring(L, body, &reply->body.len);
        reply->content_type = PERI_STR("text/plain; charset=utf-8");
    }
    if (reply->body.len > max_bytes) {
        luaL_error(L, "a body of %I bytes: over response_bytes, %I", (lua_Integer)reply->body.len,
                   (lua_Integer)max_bytes);
    }
}

static void respond(struct peri_vm *vm, uint64_t exchange, const struct peri_reply *reply) {
    const struct peri_ports *ports = peri_hub_ports(vm->hub);
    (void)ports->respond(ports->self, exchange, reply); // gone: the answer is dropped
}

/// ws.reject(status[, body[, headers]]): ends an upgrade handler
static int ws_reject(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_vm_check_acting(L, vm);
    if (!vm->task || vm->task->entry != &peri_upgrade_entry) {
        return luaL_error(L, "reject answers an upgrade: call it in upgrade");
    }
    struct peri_reply reply;
    check_reply(L, vm, 1, 300, &reply);
    respond(vm, vm->task->exchange, &reply);
    return peri_door_unwind(L, vm, PERI_UNWIND_REJECT);
}

static void reply_500(struct peri_task *task) {
    peri_reply_status(task->vm->hub, task->exchange, 500);
}

// upgrade -------------------------------------------------------------------------------------

static int upgrade_prepare(lua_State *L, struct peri_task *task) {
    peri_vm_push_handler(L, task->vm, PERI_ON_UPGRADE);
    peri_req_push(L, task);
    return 1;
}

/// Keeps the data for `open`, then has net answer 101.
static void accept(lua_State *L, struct peri_task *task, int data,
                   const struct peri_acceptance *acceptance) {
    const struct peri_ports *ports = peri_hub_ports(task->vm->hub);
    peri_vm_push(L, PERI_SLOT_UPGRADES);
    int upgrades = lua_gettop(L);
    if (data) {
        lua_pushvalue(L, data);
        lua_rawseti(L, upgrades, (lua_Integer)task->exchange);
    }
    if (ports->accept(ports->self, task->exchange, acceptance) != PERI_OK && data) {
        lua_pushnil(L);
        lua_rawseti(L, upgrades, (lua_Integer)task->exchange);
    }
}

/// A table {data=, protocol=, headers=} at 2.
static void accept_table(lua_State *L, struct peri_task *task) {
    struct peri_acceptance acceptance = {0};
    lua_settop(L, 2);
    lua_getfield(L, 2, "data"); // at 3
    if (!lua_isnil(L, 3) && !lua_istable(L, 3)) {
        luaL_error(L, "upgrade: data must be a table, not a %s", luaL_typename(L, 3));
    }
    lua_getfield(L, 2, "protocol"); // at 4
    if (!lua_isnil(L, 4)) {
        if (lua_type(L, 4) != LUA_TSTRING) {
            luaL_error(L, "upgrade: protocol must be a string, not a %s", luaL_typename(L, 4));
        }
        acceptance.protocol.ptr = lua_tolstring(L, 4, &acceptance.protocol.len);
        if (!task->request || !peri_handshake_offers(task->request, acceptance.protocol)) {
            luaL_error(L, "upgrade: the client did not offer the protocol '%s'",
                       acceptance.protocol.ptr);
        }
    }
    lua_getfield(L, 2, "headers"); // at 5
    acceptance.fields = check_headers(L, 5, &acceptance.field_count);
    accept(L, task, lua_isnil(L, 3) ? 0 : 3, &acceptance);
}

/// Anything but an accepting answer is none: it fails closed.
static void upgrade_returned(lua_State *L, struct peri_task *task) {
    if (lua_gettop(L) > 3) {
        lua_settop(L, 3); // more values than these mean nothing, and would fill the stack
    }
    if (lua_gettop(L) < 2 || (lua_isboolean(L, 2) && lua_toboolean(L, 2))) {
        const struct peri_acceptance plain = {0};
        accept(L, task, 0, &plain);
        return;
    }
    if (lua_istable(L, 2)) {
        accept_table(L, task);
        return;
    }
    if (!lua_toboolean(L, 2)) {
        if (!lua_isnoneornil(L, 3)) {
            size_t len;
            const char *why = luaL_tolstring(L, 3, &len);
            peri_report_task(task, PERI_LOG_INFO, peri_str(why, len));
        }
        peri_reply_status(task->vm->hub, task->exchange, 403);
        return;
    }
    luaL_error(L, "upgrade: nothing, true, false, nil or a table expected, got a %s",
               luaL_typename(L, 2));
}

const struct peri_entry peri_upgrade_entry = {
    .name = "upgrade",
    .results = LUA_MULTRET,
    .prepare = upgrade_prepare,
    .returned = upgrade_returned,
    .raised = reply_500,
};

// request -------------------------------------------------------------------------------------

static int request_prepare(lua_State *L, struct peri_task *task) {
    peri_vm_push_handler(L, task->vm, PERI_ON_REQUEST);
    peri_req_push(L, task);
    return 1;
}

static void request_returned(lua_State *L, struct peri_task *task) {
    struct peri_vm *vm = task->vm;
    if (lua_isnoneornil(L, 2)) {
        const struct peri_ports *ports = peri_hub_ports(vm->hub);
        (void)ports->decline(ports->self, task->exchange);
        return;
    }
    struct peri_reply reply;
    check_reply(L, vm, 2, 200, &reply);
    respond(vm, task->exchange, &reply);
}

const struct peri_entry peri_request_entry = {
    .name = "request",
    .results = LUA_MULTRET,
    .prepare = request_prepare,
    .returned = request_returned,
    .raised = reply_500,
};

static const luaL_Reg ws_functions[] = {
    {"reject", ws_reject},
    {NULL, NULL},
};

void peri_reply_open(lua_State *L) {
    luaL_setfuncs(L, ws_functions, 0);
}
