// `conn`: a value, not an object. A light userdata that carries the connection's key, so that two
// handles of one connection are equal and holding one costs nothing.
#include <lauxlib.h>

#include "base/alloc.h"
#include "proto/utf8.h"
#include "script/api.h"
#include "script/data.h"
#include "script/hold.h"
#include "script/host_private.h"

enum field {
    FIELD_ID = 1,
    FIELD_DATA,
    FIELD_PARAMS,
    FIELD_PROTOCOL,
    FIELD_REMOTE,
    FIELD_CONNECTED,
    FIELD_BUFFERED,
    FIELD_RTT,
};

static peri_key check_conn(lua_State *L) {
    peri_key key = peri_conn_at(L, 1);
    if (!key) {
        luaL_typeerror(L, 1, "conn");
    }
    return key;
}

/// What a script may know of a connection.
struct view {
    struct peri_conn *conn; ///< NULL when gone for good
    bool connected;
    bool is_mine;  ///< of this script
    bool at_close; ///< seen from its own `close`
    bool outlived; ///< seen from a handler of its own that its end did not stop
};

static struct view view_of(const struct peri_vm *vm, peri_key key) {
    struct view view = {.conn = peri_hub_conn(vm->hub, key)};
    if (view.conn) {
        view.connected = peri_conn_is_connected(view.conn);
        view.is_mine = peri_conn_script(view.conn) == vm->script;
        bool own_event = vm->task && vm->task->key == key;
        view.at_close = own_event && vm->task->entry->is_close;
        view.outlived = own_event && vm->task->outlives;
    }
    return view;
}

static int push_closed(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "closed");
    return 2;
}

void peri_params_push(lua_State *L, const struct peri_params *params) {
    lua_createtable(L, 0, params ? (int)params->count : 0);
    for (size_t i = 0; params && i < params->count; i++) {
        peri_push_str(L, params->at[i].name);
        peri_push_str(L, params->at[i].value);
        lua_rawset(L, -3);
    }
}

static void push_id(lua_State *L, const struct peri_vm *vm, peri_key key) {
    char id[PERI_ID_BYTES];
    peri_id_write(peri_host_ids(vm->host), key, id);
    lua_pushlstring(L, id, sizeof id);
}

static int push_field(lua_State *L, struct peri_vm *vm, peri_key key, enum field field) {
    struct view view = view_of(vm, key);
    bool at_last = view.connected || view.at_close || view.outlived;
    switch (field) {
    case FIELD_ID: push_id(L, vm, key); return 1;
    case FIELD_CONNECTED: lua_pushboolean(L, view.connected); return 1;
    case FIELD_REMOTE:
        if (at_last) {
            peri_push_str(L, peri_conn_remote(view.conn));
            return 1;
        }
        break;
    case FIELD_DATA:
        if (at_last && view.is_mine) {
            peri_data_push(L, vm, key);
            return 1;
        }
        break;
    case FIELD_PARAMS:
        if (at_last && view.is_mine) {
            peri_params_push(L, peri_conn_params(view.conn));
            return 1;
        }
        break;
    case FIELD_PROTOCOL:
        if (view.connected && view.is_mine && peri_conn_protocol(view.conn).len) {
            peri_push_str(L, peri_conn_protocol(view.conn));
            return 1;
        }
        break;
    case FIELD_BUFFERED:
        if (view.connected && view.is_mine) {
            lua_pushinteger(L, (lua_Integer)peri_conn_buffered(view.conn));
            return 1;
        }
        break;
    case FIELD_RTT:
        if (view.connected && view.is_mine && peri_conn_rtt_us(view.conn)) {
            lua_pushnumber(L, peri_conn_rtt_us(view.conn) / 1e6);
            return 1;
        }
        break;
    }
    lua_pushnil(L);
    return 1;
}

/// upvalue: name -> method, or the number of a field
static int conn_index(lua_State *L) {
    lua_settop(L, 2); // who has the metatable may call it with anything
    int kind = lua_rawget(L, lua_upvalueindex(1));
    if (kind == LUA_TFUNCTION) {
        return 1;
    }
    struct peri_vm *vm = peri_vm_of(L);
    peri_key key = peri_conn_at(L, 1);
    if (kind != LUA_TNUMBER || !key) {
        lua_pushnil(L);
        return 1;
    }
    peri_vm_check_acting(L, vm);
    return push_field(L, vm, key, (enum field)lua_tointeger(L, -1));
}

static int conn_newindex(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_key key = check_conn(L);
    const char *name = luaL_checkstring(L, 2);
    if (strcmp(name, "data") != 0) {
        return luaL_error(L, "conn.%s can't be set: keep your own fields in conn.data", name);
    }
    if (!lua_istable(L, 3)) {
        return luaL_error(L, "conn.data must be a table, not a %s", luaL_typename(L, 3));
    }
    struct view view = view_of(vm, key);
    if (!view.is_mine || !(view.connected || view.at_close || view.outlived)) {
        return luaL_error(L, "conn.data can't be set: the connection %s",
                          view.conn && !view.is_mine ? "belongs to another script" : "is closed");
    }
    lua_settop(L, 3);
    peri_data_set(L, vm, key);
    return 0;
}

/// By the address of the word, which is the same for all that are equal; else by its letters.
static enum peri_opcode check_kind(lua_State *L, const struct peri_vm *vm, int index) {
    if (lua_isnoneornil(L, index)) {
        return PERI_OP_TEXT;
    }
    const char *kind = luaL_checkstring(L, index);
    bool is_text = kind == vm->word_at[PERI_WORD_TEXT];
    if (!is_text && kind != vm->word_at[PERI_WORD_BINARY]) {
        is_text = strcmp(kind, "text") == 0;
        if (!is_text && strcmp(kind, "binary") != 0) {
            luaL_error(L, "kind is \"text\" or \"binary\", not \"%s\"", kind);
        }
    }
    return is_text ? PERI_OP_TEXT : PERI_OP_BINARY;
}

/// The handler's own message? Text of that is valid, and the host has it where its event is.
/// @return false: it may be text that is none
static bool was_heard(const struct peri_vm *vm, struct peri_outgoing *out) {
    const struct peri_task *task = vm->task;
    if (!task || task->heard.ptr != out->payload.ptr || task->heard.len != out->payload.len) {
        return false;
    }
    if (!task->waited) {
        const struct peri_event *event = &task->events[task->at - 1];
        out->payload = event->payload;
        out->before = event->before;
    }
    return task->heard_text;
}

int peri_outgoing_check(lua_State *L, struct peri_vm *vm, int index, int kind_index,
                        struct peri_outgoing *out) {
    *out = (struct peri_outgoing){.opcode = check_kind(L, vm, kind_index)};
    int type = lua_type(L, index);
    if (type == LUA_TTABLE) {
        // Our own JSON is UTF-8: it was checked string by string.
        int status =
            peri_json_encode(L, vm, index, (size_t)peri_limits_outbox_hard(&vm->limits), &vm->json);
        out->payload = peri_buffer_str(&vm->json);
        return status;
    }
    if (type != LUA_TSTRING) {
        luaL_typeerror(L, index, "string or table");
    }
    out->payload.ptr = lua_tolstring(L, index, &out->payload.len);
    if (!was_heard(vm, out) && out->opcode == PERI_OP_TEXT &&
        !peri_utf8_is_valid(out->payload.ptr, out->payload.len)) {
        luaL_error(L, "text must be valid UTF-8: send other bytes as \"binary\"");
    }
    return PERI_OK;
}

void peri_outgoing_push(lua_State *L, const struct peri_outgoing *out) {
    peri_push_str(L, out->payload);
    lua_pushstring(L, out->opcode == PERI_OP_BINARY ? "binary" : "text");
}

int peri_close_check(lua_State *L, int index, struct peri_str *reason) {
    lua_Integer code = luaL_optinteger(L, index, 1000);
    reason->ptr = luaL_optlstring(L, index + 1, "", &reason->len);
    if (code < 1000 || code > 4999 || !peri_close_code_is_valid((int)code)) {
        luaL_error(L, "close code %I may not be sent: 1000-1003, 1007-1014, 3000-4999 may", code);
    }
    if (reason->len > PERI_CONTROL_MAX - 2) {
        luaL_error(L, "a close reason has at most 123 bytes, not %I", (lua_Integer)reason->len);
    }
    if (!peri_utf8_is_valid(reason->ptr, reason->len)) {
        luaL_error(L, "a close reason must be valid UTF-8");
    }
    return (int)code;
}

/// conn:send(data[, kind]) -> "ok" | "slow", or nil, "closed" | "too large"
static int conn_send(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_key key = check_conn(L);
    peri_vm_check_acting(L, vm);
    struct peri_outgoing out;
    int status = peri_outgoing_check(L, vm, 2, 3, &out);
    struct peri_conn *conn = peri_hub_conn(vm->hub, key);
    if (!conn || !peri_conn_is_connected(conn)) {
        return push_closed(L);
    }
    if (status == PERI_OK && peri_is_holding(vm)) {
        peri_conn_push(L, key);
        peri_outgoing_push(L, &out);
        peri_hold(L, conn_send, 3);
        lua_pushliteral(L, "ok");
        return 1;
    }
    if (status == PERI_OK) {
        status = peri_conn_send(vm->hub, conn, &out, vm->task->key == key);
    }
    switch (status) {
    case PERI_OK: peri_vm_push_word(L, vm, PERI_WORD_OK); return 1;
    case PERI_AGAIN: peri_vm_push_word(L, vm, PERI_WORD_SLOW); return 1;
    case PERI_E_LIMIT:
        lua_pushnil(L);
        lua_pushliteral(L, "too large");
        return 2;
    case PERI_E_MEMORY: peri_raise_memory(L);
    default: return push_closed(L);
    }
}

/// conn:close([code[, reason]]) -> true, or nil, "closed"
static int conn_close(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_key key = check_conn(L);
    peri_vm_check_acting(L, vm);
    struct peri_str reason;
    int code = peri_close_check(L, 2, &reason);
    struct peri_conn *conn = peri_hub_conn(vm->hub, key);
    if (conn && peri_conn_is_connected(conn) && peri_is_holding(vm)) {
        lua_settop(L, 3);
        peri_hold(L, conn_close, 3);
        lua_pushboolean(L, 1);
        return 1;
    }
    if (!conn || peri_conn_close(vm->hub, conn, code, reason) != PERI_OK) {
        return push_closed(L);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/// A connection of this script that may act on rooms, or NULL.
static struct peri_conn *acting_conn(lua_State *L, struct peri_vm *vm, peri_key key) {
    peri_vm_check_acting(L, vm);
    struct view view = view_of(vm, key);
    if (view.conn && !view.is_mine) {
        luaL_error(L, "a connection of another script only answers id, remote, connected, send "
                      "and close");
    }
    return view.connected ? view.conn : NULL;
}

/// conn:join(room[, {info=}]) -> true, or nil, message
static int conn_join(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_key key = check_conn(L);
    if (!acting_conn(L, vm, key)) {
        return push_closed(L);
    }
    if (peri_is_holding(vm)) {
        peri_room_check_join(L, vm, 2, 3);
        lua_settop(L, 3);
        peri_hold(L, conn_join, 3);
        lua_pushboolean(L, 1);
        return 1;
    }
    return peri_room_do_join(L, vm, key, 2, 3);
}

/// conn:leave(room) -> true, or nil, message
static int conn_leave(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_key key = check_conn(L);
    if (!acting_conn(L, vm, key)) {
        return push_closed(L);
    }
    if (peri_is_holding(vm)) {
        lua_settop(L, 2);
        peri_hold(L, conn_leave, 2);
        lua_pushboolean(L, 1);
        return 1;
    }
    return peri_room_do_leave(L, vm, key, 2);
}

/// conn:rooms() -> a list of room values, in the order of the joins, `all` left out
static int conn_rooms(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_key key = check_conn(L);
    peri_vm_check_acting(L, vm);
    struct view view = view_of(vm, key);
    lua_newtable(L);
    if (!view.conn || !view.is_mine || !(view.connected || view.at_close)) {
        return 1;
    }
    void *cursor = NULL;
    lua_Integer n = 0;
    for (struct peri_room *room; (room = peri_conn_next_room(view.conn, &cursor));) {
        peri_room_push(L, vm, room);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

static int conn_tostring(lua_State *L) {
    peri_key key = peri_conn_at(L, 1);
    if (!key) {
        lua_pushliteral(L, "null");
        return 1;
    }
    lua_pushliteral(L, "conn ");
    push_id(L, peri_vm_of(L), key);
    lua_concat(L, 2);
    return 1;
}

/// ws.conn(id) -> a live connection of this script, or nil
static int ws_conn(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    struct peri_str id;
    id.ptr = luaL_checklstring(L, 1, &id.len);
    peri_vm_check_acting(L, vm);
    peri_key key = peri_id_read(peri_host_ids(vm->host), id);
    struct view view = view_of(vm, key);
    if (!key || !view.connected || !view.is_mine) {
        lua_pushnil(L);
        return 1;
    }
    peri_conn_push(L, key);
    return 1;
}

static const luaL_Reg methods[] = {
    {"send", conn_send},   {"close", conn_close}, {"join", conn_join},
    {"leave", conn_leave}, {"rooms", conn_rooms}, {NULL, NULL},
};

static const struct {
    const char *name;
    enum field field;
} fields[] = {
    {"id", FIELD_ID},
    {"data", FIELD_DATA},
    {"params", FIELD_PARAMS},
    {"protocol", FIELD_PROTOCOL},
    {"remote", FIELD_REMOTE},
    {"connected", FIELD_CONNECTED},
    {"buffered", FIELD_BUFFERED},
    {"rtt", FIELD_RTT},
};

static const luaL_Reg metamethods[] = {
    {"__newindex", conn_newindex},
    {"__tostring", conn_tostring},
    {NULL, NULL},
};

static const luaL_Reg ws_functions[] = {
    {"conn", ws_conn},
    {NULL, NULL},
};

void peri_conn_open(lua_State *L) {
    luaL_setfuncs(L, ws_functions, 0);

    peri_conn_push(L, 0);
    lua_newtable(L);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        lua_pushinteger(L, fields[i].field);
        lua_setfield(L, -2, fields[i].name);
    }
    lua_pushcclosure(L, conn_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushliteral(L, "conn");
    lua_setfield(L, -2, "__name");
    lua_setmetatable(L, -2); // of all light userdata
    lua_pop(L, 1);
}
