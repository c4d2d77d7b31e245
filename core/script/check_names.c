// The names that the API and the sandbox have, taken from a VM, so that they can't differ from what
// a script will find.
#include "script/check_private.h"
#include "script/names.h"

const char *peri_check_kind_name(enum peri_kind kind) {
    static const char *const names[PERI_KINDS] = {
        [PERI_KIND_WS] = "ws",      [PERI_KIND_ROOM] = "room",       [PERI_KIND_CONN] = "conn",
        [PERI_KIND_REQ] = "req",    [PERI_KIND_LIMITER] = "limiter", [PERI_KIND_JSON] = "ws.json",
        [PERI_KIND_LOG] = "ws.log",
    };
    return names[kind] ? names[kind] : "";
}

static int index_of(const struct peri_check_run *run, enum peri_kind kind) {
    return run->api + (int)kind;
}

/// Adds plain fields that a type's own code answers, and no table holds. [-0, +0]
static void add_fields(lua_State *L, const char *const *names) {
    for (; *names; names++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, *names);
    }
}

/// Copies the table on top, which is the host's own. [-1, +1]
static void copy(lua_State *L) {
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, -3)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_remove(L, -2);
}

/// Pushes a copy of a type's names, and the fields beside them. [-0, +1]
static void open_type(lua_State *L, enum peri_names which, const char *const *others) {
    peri_names_push(L, which);
    copy(L);
    add_fields(L, others);
}

void peri_check_names_open(lua_State *L, struct peri_check_run *run) {
    static const char *const none[] = {NULL};
    static const char *const room[] = {"name", "shared", NULL};
    static const char *const req[] = {"method", "path",   "headers", "cookies", "query",
                                      "params", "remote", "body",    NULL};
    run->api = lua_gettop(L) + 1;
    peri_names_push(L, PERI_NAMES_GLOBALS);
    peri_names_push(L, PERI_NAMES_WS);
    open_type(L, PERI_NAMES_ROOM, room);
    open_type(L, PERI_NAMES_CONN, none);
    open_type(L, PERI_NAMES_REQ, req);
    open_type(L, PERI_NAMES_LIMITER, none);
    lua_newtable(L); // loading a script gives it its section of perigee.lua
    lua_setfield(L, index_of(run, PERI_KIND_WS), "config");
    lua_getfield(L, index_of(run, PERI_KIND_WS), "json");
    lua_getfield(L, index_of(run, PERI_KIND_WS), "log");
}

static bool has(lua_State *L, int table, struct peri_str name) {
    lua_pushlstring(L, name.ptr, name.len);
    bool found = lua_rawget(L, table) != LUA_TNIL;
    lua_pop(L, 1);
    return found;
}

bool peri_check_has(const struct peri_check_run *run, enum peri_kind kind, struct peri_str name) {
    return has(run->vm->L, index_of(run, kind), name);
}

bool peri_check_is_method(const struct peri_check_run *run, enum peri_kind kind,
                          struct peri_str name) {
    lua_State *L = run->vm->L;
    lua_pushlstring(L, name.ptr, name.len);
    bool found = lua_rawget(L, index_of(run, kind)) == LUA_TFUNCTION;
    lua_pop(L, 1);
    return found;
}

const char *peri_check_nearest(const struct peri_check_run *run, enum peri_kind kind,
                               struct peri_str name) {
    return peri_names_nearest(run->vm->L, index_of(run, kind), name, false);
}

/// Pushes the library of that name, if there is one. [-0, +1 when true]
static bool push_library(const struct peri_check_run *run, struct peri_str library) {
    lua_State *L = run->vm->L;
    lua_pushlstring(L, library.ptr, library.len);
    if (lua_rawget(L, index_of(run, PERI_KIND_NONE)) == LUA_TTABLE &&
        !lua_rawequal(L, -1, index_of(run, PERI_KIND_NONE))) { // not _G itself
        return true;
    }
    lua_pop(L, 1);
    return false;
}

bool peri_check_library_has(const struct peri_check_run *run, struct peri_str library,
                            struct peri_str name) {
    lua_State *L = run->vm->L;
    if (!push_library(run, library)) {
        return true;
    }
    bool found = has(L, lua_gettop(L), name);
    lua_pop(L, 1);
    return found;
}

const char *peri_check_library_nearest(const struct peri_check_run *run, struct peri_str library,
                                       struct peri_str name) {
    lua_State *L = run->vm->L;
    if (!push_library(run, library)) {
        return NULL;
    }
    const char *found = peri_names_nearest(L, lua_gettop(L), name, false);
    lua_pop(L, 1);
    return found;
}

bool peri_check_acts(enum peri_kind kind, struct peri_str name) {
    static const char *const ws[] = {"conn", "cancel", "sleep", "reject"};
    static const char *const room[] = {"broadcast", "count", "members", "presence", "close"};
    const char *const *names = kind == PERI_KIND_WS ? ws : room;
    size_t count = kind == PERI_KIND_WS     ? sizeof ws / sizeof ws[0]
                   : kind == PERI_KIND_ROOM ? sizeof room / sizeof room[0]
                                            : 0;
    for (size_t i = 0; i < count; i++) {
        if (peri_str_equal(name, peri_str_of(names[i]))) {
            return true;
        }
    }
    return false;
}
