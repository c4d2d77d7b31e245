// ws.log: a script's own lines in the host's log.
#include <lauxlib.h>

#include "base/log.h"
#include "script/api.h"
#include "script/guard.h"
#include "script/host_private.h"

enum { FIELDS_MAX = 16 };

/// Reads the fields at index 2, in no order; their texts stay on the stack.
static size_t check_fields(lua_State *L, struct peri_log_field *fields, size_t n) {
    luaL_checktype(L, 2, LUA_TTABLE);
    peri_guard_check(L, 2);
    luaL_checkstack(L, 2 * FIELDS_MAX + 4, NULL);
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        int value = lua_gettop(L);
        if (lua_type(L, value - 1) != LUA_TSTRING || n == FIELDS_MAX) {
            luaL_error(L, "log: fields are a table of at most 14 names and values");
        }
        fields[n].key = lua_tostring(L, value - 1);
        fields[n].value.ptr = luaL_tolstring(L, value, &fields[n].value.len);
        n++;
        lua_remove(L, value);        // stack: key, text
        lua_pushvalue(L, value - 1); // stack: key, text, key
    }
    return n;
}

static int write_line(lua_State *L, enum peri_log_level level) {
    const struct peri_vm *vm = peri_vm_of(L);
    struct peri_str text;
    text.ptr = luaL_checklstring(L, 1, &text.len);
    if (level < peri_log_level()) {
        return 0;
    }
    struct peri_log_field fields[FIELDS_MAX + 1];
    size_t n = 0;
    fields[n++] = (struct peri_log_field){"script", peri_str_of(vm->name)};
    struct peri_str generation;
    lua_settop(L, 2);
    lua_pushinteger(L, vm->generation);
    generation.ptr = lua_tolstring(L, 3, &generation.len);
    fields[n++] = (struct peri_log_field){"generation", generation};
    if (!lua_isnil(L, 2)) {
        n = check_fields(L, fields, n);
    }
    fields[n] = (struct peri_log_field){0};
    peri_log_say(level, text, fields);
    return 0;
}

/// ws.log.debug(text[, fields])
static int log_debug(lua_State *L) {
    return write_line(L, PERI_LOG_DEBUG);
}

/// ws.log.info(text[, fields])
static int log_info(lua_State *L) {
    return write_line(L, PERI_LOG_INFO);
}

/// ws.log.warn(text[, fields])
static int log_warn(lua_State *L) {
    return write_line(L, PERI_LOG_WARN);
}

/// ws.log.error(text[, fields])
static int log_error(lua_State *L) {
    return write_line(L, PERI_LOG_ERROR);
}

static const luaL_Reg functions[] = {
    {"debug", log_debug}, {"info", log_info}, {"warn", log_warn},
    {"error", log_error}, {NULL, NULL},
};

void peri_log_open(lua_State *L) {
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, "log");
}
