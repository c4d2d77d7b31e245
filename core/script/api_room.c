// Rooms as values: the same name gives the same value while anyone holds it, and an equal one
// always. A value remembers the hub's room once there is one.
#include <lauxlib.h>

#include "base/alloc.h"
#include "script/api.h"
#include "script/guard.h"
#include "script/hold.h"
#include "script/host_private.h"
#include "script/report.h"

static const char TYPE[] = "perigee.room";

/// A userdata; its user value is the name.
struct value {
    struct peri_list link; ///< in the VM's, while it has a room
    uint32_t owner;        ///< the script's number, or PERI_SHARED
    bool is_all;
    struct peri_room *room; ///< shared(ref); NULL as long as nobody has joined
};

static struct value *check_value(lua_State *L, int index) {
    return luaL_checkudata(L, index, TYPE);
}

bool peri_room_is(lua_State *L, int index) {
    bool is = false;
    if (lua_type(L, index) == LUA_TUSERDATA && lua_getmetatable(L, index)) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, TYPE); // by address: luaL_testudata may make a string
        is = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    return is;
}

static struct peri_str name_of(lua_State *L, int index) {
    struct peri_str name;
    lua_getiuservalue(L, index, 1);
    name.ptr = lua_tolstring(L, -1, &name.len);
    lua_pop(L, 1); // the user value keeps it
    return name;
}

/// The hub's room, found once; NULL while there is none.
static struct peri_room *resolve(lua_State *L, struct peri_vm *vm, struct value *value, int index) {
    if (!value->room) {
        struct peri_room *room = value->is_all
                                     ? peri_room_all(vm->hub, value->owner)
                                     : peri_room_find(vm->hub, value->owner, name_of(L, index));
        if (room) {
            value->room = peri_room_ref(room);
            peri_list_push(&vm->rooms, &value->link);
        }
    }
    return value->room;
}

/// ws.all is one value too: in the cache it is at `true`, since rooms may have any name.
static void push_value(lua_State *L, uint32_t owner, struct peri_str name, bool is_all) {
    peri_vm_push(L, owner == PERI_SHARED ? PERI_SLOT_SHARED : PERI_SLOT_ROOMS);
    peri_push_str(L, name);
    if (is_all) {
        lua_pushboolean(L, 1);
    } else {
        lua_pushvalue(L, -1);
    }
    lua_pushvalue(L, -1); // stack: cache, name, key, key
    if (lua_rawget(L, -4) == LUA_TNIL) {
        lua_pop(L, 1);
        struct value *value = lua_newuserdatauv(L, sizeof *value, 1);
        *value = (struct value){.owner = owner, .is_all = is_all};
        peri_list_init(&value->link);
        luaL_setmetatable(L, TYPE);
        lua_pushvalue(L, -3);
        lua_setiuservalue(L, -2, 1);
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -6);
    }
    lua_replace(L, -4);
    lua_pop(L, 2);
}

void peri_room_push(lua_State *L, struct peri_vm *vm, const struct peri_room *room) {
    (void)vm;
    push_value(L, peri_room_owner(room), peri_room_name(room), false);
}

void peri_room_copy(lua_State *from, int index, lua_State *to) {
    const struct value *value = lua_touserdata(from, index);
    push_value(to, value->owner, name_of(from, index), value->is_all);
}

static void release(struct peri_vm *vm, struct value *value) {
    if (value->room) {
        peri_list_remove(&value->link);
        peri_room_unref(vm->hub, value->room);
        value->room = NULL;
    }
}

static int room_gc(lua_State *L) {
    release(peri_vm_of(L), lua_touserdata(L, 1));
    return 0;
}

void peri_rooms_release(struct peri_vm *vm) {
    while (!peri_list_is_empty(&vm->rooms)) {
        release(vm, PERI_CONTAINER(vm->rooms.next, struct value, link));
    }
}

// Joining and leaving -----------------------------------------------------------------------

/// The info option as JSON in the host's scratch buffer.
static struct peri_str check_info(lua_State *L, struct peri_vm *vm, int options) {
    if (lua_isnoneornil(L, options)) {
        return (struct peri_str){0};
    }
    luaL_checktype(L, options, LUA_TTABLE);
    lua_getfield(L, options, "info");
    struct peri_str info = {0};
    if (!lua_isnil(L, -1)) {
        peri_json_check(L, vm, lua_gettop(L), PERI_INFO_MAX, &vm->json);
        info = peri_buffer_str(&vm->json);
    }
    lua_pop(L, 1);
    return info;
}

void peri_room_check_join(lua_State *L, struct peri_vm *vm, int index, int options) {
    if (peri_room_is(L, index)) {
        const struct value *value = lua_touserdata(L, index);
        luaL_argcheck(L, !value->is_all, index, "every connection is in ws.all");
    } else {
        luaL_argexpected(L, lua_type(L, index) == LUA_TSTRING, index, "room or name");
    }
    (void)check_info(L, vm, options);
}

int peri_room_do_join(lua_State *L, struct peri_vm *vm, peri_key key, int index, int options) {
    uint32_t owner = vm->script;
    struct peri_str name;
    if (peri_room_is(L, index)) {
        const struct value *value = lua_touserdata(L, index);
        luaL_argcheck(L, !value->is_all, index, "every connection is in ws.all");
        owner = value->owner;
        name = name_of(L, index);
    } else {
        luaL_argexpected(L, lua_type(L, index) == LUA_TSTRING, index, "room or name");
        name.ptr = lua_tolstring(L, index, &name.len);
    }
    struct peri_str info = check_info(L, vm, options);
    const char *why = "";
    struct peri_conn *conn = peri_hub_conn(vm->hub, key);
    switch (conn ? peri_room_join(vm->hub, conn, owner, name, info, &why) : PERI_E_CLOSED) {
    case PERI_OK: lua_pushboolean(L, 1); return 1;
    case PERI_E_LIMIT: lua_pushstring(L, why); return peri_report_refusal(L, vm);
    case PERI_E_MEMORY: peri_raise_memory(L);
    default:
        lua_pushnil(L);
        lua_pushliteral(L, "closed");
        return 2;
    }
}

int peri_room_do_leave(lua_State *L, struct peri_vm *vm, peri_key key, int index) {
    struct peri_room *room;
    if (peri_room_is(L, index)) {
        struct value *value = lua_touserdata(L, index);
        luaL_argcheck(L, !value->is_all, index, "a connection is in ws.all until it ends");
        room = resolve(L, vm, value, index);
    } else {
        luaL_argexpected(L, lua_type(L, index) == LUA_TSTRING, index, "room or name");
        struct peri_str name;
        name.ptr = lua_tolstring(L, index, &name.len);
        room = peri_room_find(vm->hub, vm->script, name);
    }
    struct peri_conn *conn = peri_hub_conn(vm->hub, key);
    if (room && conn && peri_room_leave(vm->hub, conn, room) == PERI_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushliteral(L, "not a member");
    return 2;
}

// Broadcast ---------------------------------------------------------------------------------

const char *const peri_slow_names[] = {"close", "drop", "latest", NULL};
const char *const peri_broadcast_options[] = {"except", "kind", "slow", "key", NULL};

static enum peri_slow check_slow(lua_State *L, const struct peri_vm *vm, int index) {
    if (lua_isnil(L, index)) {
        return vm->slow;
    }
    const char *slow = luaL_tolstring(L, index, NULL);
    for (int i = 0; peri_slow_names[i]; i++) {
        if (strcmp(slow, peri_slow_names[i]) == 0) {
            return (enum peri_slow)i;
        }
    }
    return (enum peri_slow)luaL_error(L, "slow is \"close\", \"drop\" or \"latest\", not \"%s\"",
                                      slow);
}

static peri_key check_member(lua_State *L, int index) {
    peri_key key = peri_conn_at(L, index);
    if (!key) {
        luaL_error(L, "except: a conn or a list of conns expected, got %s",
                   luaL_typename(L, index));
    }
    return key;
}

/// Reads `except` at the top of the stack. A list lives in a userdata that stays on the stack.
static void check_except(lua_State *L, struct peri_broadcast *broadcast, peri_key *single) {
    if (lua_isnil(L, -1)) {
        return;
    }
    if (!lua_istable(L, -1)) {
        *single = check_member(L, -1);
        broadcast->except = single;
        broadcast->except_count = 1;
        return;
    }
    peri_guard_check(L, lua_gettop(L));
    lua_Unsigned n = lua_rawlen(L, -1);
    peri_key *keys = lua_newuserdatauv(L, (n ? n : 1) * sizeof *keys, 0);
    for (lua_Unsigned i = 0; i < n; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        keys[i] = check_member(L, -1);
        lua_pop(L, 1);
    }
    broadcast->except = keys;
    broadcast->except_count = n;
}

static void check_options(lua_State *L, const struct peri_vm *vm, struct peri_broadcast *broadcast,
                          peri_key *single) {
    peri_guard_check(L, 3);
    lua_pushnil(L);
    while (lua_next(L, 3)) {
        lua_pop(L, 1);
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
        int i = 0;
        while (peri_broadcast_options[i] && strcmp(peri_broadcast_options[i], name) != 0) {
            i++;
        }
        if (!peri_broadcast_options[i]) {
            luaL_error(L, "broadcast has no option '%s': except, kind, slow, key", name);
        }
    }
    lua_getfield(L, 3, "slow");
    broadcast->slow = check_slow(L, vm, lua_gettop(L));
    lua_getfield(L, 3, "key");
    if (!lua_isnil(L, -1)) {
        luaL_argexpected(L, lua_type(L, -1) == LUA_TSTRING, 3, "key = string");
        broadcast->key.ptr = lua_tolstring(L, -1, &broadcast->key.len);
    }
    lua_getfield(L, 3, "except");
    check_except(L, broadcast, single);
}

/// stack: .. options at 3 .., room, payload, kind. Held with its own copy of the options.
static int hold_broadcast(lua_State *L, lua_CFunction binding, const struct peri_room *room) {
    int top = lua_gettop(L);
    lua_newtable(L);
    if (lua_istable(L, 3)) {
        for (int i = 0; peri_broadcast_options[i]; i++) {
            lua_getfield(L, 3, peri_broadcast_options[i]);
            lua_setfield(L, -2, peri_broadcast_options[i]);
        }
    }
    lua_pushvalue(L, top);
    lua_setfield(L, -2, "kind");
    lua_replace(L, top);
    peri_hold(L, binding, 3);
    lua_pushinteger(L, room ? (lua_Integer)peri_room_count(room) : 0);
    return 1;
}

/// room:broadcast(data[, {except=, kind=, slow=, key=}]) -> members addressed, or nil, "too large"
static int room_broadcast(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    struct value *value = check_value(L, 1);
    peri_vm_check_acting(L, vm);
    struct peri_broadcast broadcast = {.slow = vm->slow};
    peri_key single = 0;
    bool has_options = !lua_isnoneornil(L, 3);
    lua_settop(L, 3);
    if (has_options) {
        luaL_checktype(L, 3, LUA_TTABLE);
        lua_getfield(L, 3, "kind"); // at 4
        check_options(L, vm, &broadcast, &single);
    } else {
        lua_pushnil(L);
    }
    int status = peri_outgoing_check(L, vm, 2, 4, &broadcast.out);
    struct peri_room *room = resolve(L, vm, value, 1);
    size_t addressed = 0;
    if (status == PERI_OK && peri_is_holding(vm)) {
        lua_pushvalue(L, 1);
        peri_outgoing_push(L, &broadcast.out);
        return hold_broadcast(L, room_broadcast, room);
    }
    switch (status != PERI_OK ? status
            : room            ? peri_room_broadcast(vm->hub, room, &broadcast, &addressed)
                              : PERI_OK) {
    case PERI_OK: lua_pushinteger(L, (lua_Integer)addressed); return 1;
    case PERI_E_LIMIT:
        lua_pushnil(L);
        lua_pushliteral(L, "too large");
        return 2;
    default: peri_raise_memory(L);
    }
}

// Members -----------------------------------------------------------------------------------

static struct peri_room *acting_room(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    struct value *value = check_value(L, 1);
    peri_vm_check_acting(L, vm);
    return resolve(L, vm, value, 1);
}

/// room:count() -> how many members
static int room_count(lua_State *L) {
    const struct peri_room *room = acting_room(L);
    lua_pushinteger(L, room ? (lua_Integer)peri_room_count(room) : 0);
    return 1;
}

/// room:members() -> a new list of conns, in the order of the joins
static int room_members(lua_State *L) {
    const struct peri_room *room = acting_room(L);
    lua_createtable(L, room ? (int)peri_room_count(room) : 0, 0);
    size_t cursor = 0;
    lua_Integer n = 0;
    // The table has room for all: nothing here allocates, so nothing collects and leaves a room.
    for (peri_key key; room && (key = peri_room_next(room, &cursor, NULL));) {
        peri_conn_push(L, key);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/// room:presence() -> a list of {id=, info=}, in the same order
static int room_presence(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    const struct peri_room *room = acting_room(L);
    lua_createtable(L, room ? (int)peri_room_count(room) : 0, 0);
    size_t cursor = 0;
    lua_Integer n = 0;
    struct peri_str info;
    for (peri_key key; room && (key = peri_room_next(room, &cursor, &info));) {
        char id[PERI_ID_BYTES];
        lua_createtable(L, 0, 2);
        peri_id_write(peri_host_ids(vm->host), key, id);
        lua_pushlstring(L, id, sizeof id);
        lua_setfield(L, -2, "id");
        int record = lua_gettop(L);
        if (info.len && peri_json_decode(L, info) == 1) {
            lua_setfield(L, record, "info");
        }
        lua_settop(L, record);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/// room:close([code[, reason]]) -> how many were closed
static int room_close(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    struct peri_room *room = acting_room(L);
    struct peri_str reason;
    int code = peri_close_check(L, 2, &reason);
    if (peri_is_holding(vm)) {
        lua_settop(L, 3);
        peri_hold(L, room_close, 3);
        lua_pushinteger(L, room ? (lua_Integer)peri_room_count(room) : 0);
        return 1;
    }
    size_t count = room ? peri_room_close(vm->hub, room, code, reason) : 0;
    lua_pushinteger(L, (lua_Integer)count);
    return 1;
}

/// upvalue: the methods
static int room_index(lua_State *L) {
    const struct value *value = check_value(L, 1);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
        return 1;
    }
    const char *name = luaL_checkstring(L, 2);
    if (strcmp(name, "name") == 0) {
        lua_getiuservalue(L, 1, 1);
    } else if (strcmp(name, "shared") == 0) {
        lua_pushboolean(L, value->owner == PERI_SHARED);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int room_eq(lua_State *L) {
    const struct value *a = luaL_testudata(L, 1, TYPE), *b = luaL_testudata(L, 2, TYPE);
    lua_pushboolean(L, a && b && a->owner == b->owner && a->is_all == b->is_all &&
                           peri_str_equal(name_of(L, 1), name_of(L, 2)));
    return 1;
}

static int room_tostring(lua_State *L) {
    const struct value *value = check_value(L, 1);
    if (value->is_all) {
        lua_pushliteral(L, "ws.all");
    } else {
        lua_pushstring(L, value->owner == PERI_SHARED ? "shared room " : "room ");
        lua_getiuservalue(L, 1, 1);
        lua_concat(L, 2);
    }
    return 1;
}

static int push_named(lua_State *L, uint32_t owner) {
    luaL_argexpected(L, lua_type(L, 1) == LUA_TSTRING, 1, "string");
    struct peri_str name;
    name.ptr = lua_tolstring(L, 1, &name.len);
    push_value(L, owner, name, false);
    return 1;
}

/// ws.room(name) -> the script's own room of that name
static int ws_room(lua_State *L) {
    return push_named(L, peri_vm_of(L)->script);
}

/// ws.shared(name) -> the whole host's room of that name
static int ws_shared(lua_State *L) {
    return push_named(L, PERI_SHARED);
}

static const luaL_Reg methods[] = {
    {"broadcast", room_broadcast}, {"count", room_count}, {"members", room_members},
    {"presence", room_presence},   {"close", room_close}, {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", room_gc},
    {"__eq", room_eq},
    {"__tostring", room_tostring},
    {NULL, NULL},
};

static const luaL_Reg ws_functions[] = {
    {"room", ws_room},
    {"shared", ws_shared},
    {NULL, NULL},
};

void peri_room_open(lua_State *L) {
    luaL_setfuncs(L, ws_functions, 0);

    luaL_newmetatable(L, TYPE);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, room_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushliteral(L, "room");
    lua_setfield(L, -2, "__name");
    lua_rawsetp(L, LUA_REGISTRYINDEX, TYPE);

    push_value(L, peri_vm_of(L)->script, PERI_STR(""), true);
    lua_setfield(L, -2, "all");
}
