// The fields of a script's table: which there are, what may be in them, and what a misspelt one was
// probably meant to be. `perigee serve` reads the table that the file returned, `perigee check` one
// made of what it can see.
#include "script/fields.h"

#include <lauxlib.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/nearest.h"
#include "proto/response.h"
#include "script/api.h"
#include "script/host_private.h"

static const char *const other_fields[] = {
    "route",    "version", "protocols", "slow",    "shard",
    "on_error", "limits",  "timers",    "migrate", NULL,
};

int peri_fields_handler(struct peri_str name) {
    for (int i = 0; i < PERI_HANDLERS; i++) {
        if (peri_str_equal(name, peri_str_of(peri_handler_names[i]))) {
            return i;
        }
    }
    return -1;
}

static bool is_known(const char *name) {
    for (int i = 0; other_fields[i]; i++) {
        if (strcmp(name, other_fields[i]) == 0) {
            return true;
        }
    }
    return peri_fields_handler(peri_str_of(name)) >= 0;
}

/// "onmessage", "on_message", "mesage", "Message": all resemble message.
static bool resembles(const char *name, const char *known) {
    struct peri_str a = peri_str_of(name);
    if (a.len > 2 && (a.ptr[0] | 32) == 'o' && (a.ptr[1] | 32) == 'n') {
        size_t skip = a.ptr[2] == '_' ? 3 : 2;
        if (peri_distance(peri_str(a.ptr + skip, a.len - skip), peri_str_of(known)) == 0) {
            return true;
        }
    }
    return peri_distance(a, peri_str_of(known)) <= (strlen(known) > 5 ? 2 : 1);
}

const char *peri_fields_meant(const char *name) {
    const char *meant = NULL;
    if (is_known(name)) {
        return NULL;
    }
    for (int i = 0; i < PERI_HANDLERS && !meant; i++) {
        meant = resembles(name, peri_handler_names[i]) ? peri_handler_names[i] : NULL;
    }
    for (int i = 0; other_fields[i] && !meant; i++) {
        meant = resembles(name, other_fields[i]) ? other_fields[i] : NULL;
    }
    return meant;
}

/// Puts the functions of the field, a table of them by name, into a table of the registry.
static void read_functions(lua_State *L, int table, const char *field, enum peri_slot slot) {
    lua_getfield(L, table, field);
    if (!lua_isnil(L, -1)) {
        if (!lua_istable(L, -1)) {
            luaL_error(L, "field '%s' must be a table of functions", field);
        }
        int functions = lua_gettop(L);
        peri_vm_push(L, slot);
        lua_pushnil(L);
        while (lua_next(L, functions)) {
            if (lua_type(L, -2) != LUA_TSTRING || !lua_isfunction(L, -1)) {
                luaL_error(L, "field '%s' must be a table of functions, by name", field);
            }
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -4);
        }
    }
    lua_settop(L, table);
}

/// Would the function on top look at a second argument?
static bool takes_two(lua_State *L) {
    lua_Debug about;
    lua_pushvalue(L, -1);
    (void)lua_getinfo(L, ">u", &about);
    return about.nparams >= 2 || about.isvararg;
}

static void read_handlers(lua_State *L, struct peri_vm *vm, int table) {
    for (int i = 0; i < PERI_HANDLERS; i++) {
        lua_getfield(L, table, peri_handler_names[i]);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            continue;
        }
        if (!lua_isfunction(L, -1)) {
            luaL_error(L, "field '%s' must be a function, not a %s", peri_handler_names[i],
                       luaL_typename(L, -1));
        }
        vm->open_takes_req |= i == PERI_ON_OPEN && takes_two(L);
        vm->handler[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    read_functions(L, table, "timers", PERI_SLOT_NAMED);
    read_functions(L, table, "migrate", PERI_SLOT_MIGRATE);
}

/// The text of a field that is one string or a list of strings, as a list on the stack. [-0, +1]
static lua_Integer push_strings(lua_State *L, int table, const char *name) {
    lua_getfield(L, table, name);
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_createtable(L, 1, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
        return 1;
    }
    if (lua_isnil(L, -1)) {
        return 0;
    }
    lua_Integer n = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0;
    for (lua_Integer i = 1; i <= n; i++) {
        if (lua_rawgeti(L, -1, i) != LUA_TSTRING) {
            n = 0;
        }
        lua_pop(L, 1);
    }
    if (n == 0) {
        luaL_error(L, "field '%s' must be a string or a list of strings", name);
    }
    return n;
}

static void read_routes(lua_State *L, struct peri_vm *vm, int table) {
    lua_Integer n = push_strings(L, table, "route");
    for (lua_Integer i = 1; i <= n; i++) {
        size_t len;
        lua_rawgeti(L, -1, i);
        const char *text = lua_tolstring(L, -1, &len);
        if (strlen(text) != len || text[0] != '/') {
            luaL_error(L, "route '%s' must begin with a /", text);
        }
        lua_pop(L, 1);
    }
    if (n == 0) {
        return;
    }
    char **routes = peri_calloc((size_t)n, sizeof *routes);
    if (!routes) {
        peri_raise_memory(L);
    }
    size_t count = 0;
    for (; count < (size_t)n; count++) {
        lua_rawgeti(L, -1, (lua_Integer)count + 1);
        routes[count] = peri_text_copy(peri_str_of(lua_tostring(L, -1)));
        lua_pop(L, 1);
        if (!routes[count]) {
            peri_script_free_routes(routes, count);
            peri_raise_memory(L);
        }
    }
    peri_script_free_routes(vm->routes, vm->route_count); // of another table, for `check`
    vm->routes = routes;
    vm->route_count = count;
}

static bool is_token(struct peri_str text) {
    return peri_field_is_valid(text, PERI_STR(""));
}

static void read_protocols(lua_State *L, struct peri_vm *vm, int table) {
    lua_Integer n = push_strings(L, table, "protocols");
    size_t bytes = 0;
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        struct peri_str text;
        text.ptr = lua_tolstring(L, -1, &text.len);
        if (!is_token(text)) {
            luaL_error(L, "protocol '%s' is no token (RFC 6455 section 4.1)", text.ptr);
        }
        bytes += text.len;
        lua_pop(L, 1);
    }
    if (n == 0) {
        return;
    }
    struct peri_str *list = peri_alloc((size_t)n * sizeof *list + bytes);
    if (!list) {
        peri_raise_memory(L);
    }
    char *at = (char *)(list + n);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        memcpy(at, text, len);
        list[i - 1] = peri_str(at, len);
        at += len;
        lua_pop(L, 1);
    }
    peri_free(vm->protocols);
    vm->protocols = list;
    vm->protocol_count = (size_t)n;
}

/// Takes the limit whose name and value are on top.
static void read_limit(lua_State *L, struct peri_vm *vm) {
    struct peri_str name, value;
    if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1)) {
        luaL_error(L, "'limits' must be a table of names and values");
    }
    name.ptr = lua_tolstring(L, -2, &name.len);
    value.ptr = luaL_tolstring(L, -1, &value.len);
    struct peri_buffer error = {0};
    int status = peri_limits_tighten(&vm->limits, name, value, &error);
    char why[256]; // a raise must not leak the buffer
    snprintf(why, sizeof why, "%.*s", (int)error.len, error.ptr ? (char *)error.ptr : "");
    peri_buffer_deinit(&error);
    if (status != PERI_OK) {
        luaL_error(L, "limits: %s", why);
    }
    lua_pop(L, 1);
}

/// The script's own limits, tighter than the host's.
static void read_limits(lua_State *L, struct peri_vm *vm, int table) {
    lua_getfield(L, table, "limits");
    if (!lua_isnil(L, -1)) {
        int limits = lua_gettop(L);
        if (!lua_istable(L, limits)) {
            luaL_error(L, "'limits' must be a table of names and values");
        }
        for (lua_pushnil(L); lua_next(L, limits); lua_pop(L, 1)) {
            read_limit(L, vm);
        }
        peri_vm_set_cap(vm);
    }
    lua_pop(L, 1);
}

/// @return which of the words the field holds, -1: there is no such field
static int check_word(lua_State *L, int table, const char *name, const char *const words[]) {
    lua_getfield(L, table, name);
    if (lua_isnil(L, -1)) {
        return -1;
    }
    const char *value = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    for (int i = 0; words[i]; i++) {
        if (strcmp(value, words[i]) == 0) {
            return i;
        }
    }
    luaL_error(L, "field '%s' can't be '%s'", name, luaL_tolstring(L, -1, NULL));
    return -1;
}

static void read_settings(lua_State *L, struct peri_vm *vm, int table) {
    static const char *const on_error[] = {"close", NULL};
    int slow = check_word(L, table, "slow", peri_slow_names);
    vm->slow = slow >= 0 ? (enum peri_slow)slow : vm->slow;
    vm->close_on_error = check_word(L, table, "on_error", on_error) >= 0;
    lua_getfield(L, table, "version");
    if (!lua_isnil(L, -1)) {
        if (!lua_isinteger(L, -1)) {
            luaL_error(L, "field 'version' must be an integer");
        }
        vm->version = lua_tointeger(L, -1);
    }
    peri_vm_push(L, PERI_SLOT_WS);
    lua_getfield(L, -1, "script");
    lua_pushinteger(L, vm->version);
    lua_setfield(L, -2, "version");
    lua_settop(L, table);
}

void peri_fields_read(lua_State *L, struct peri_vm *vm, int table) {
    read_routes(L, vm, table);
    read_settings(L, vm, table);
    read_limits(L, vm, table);
    read_handlers(L, vm, table);
    read_protocols(L, vm, table);
    lua_settop(L, table);
}
