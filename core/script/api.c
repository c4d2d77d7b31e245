// The `ws` module: what is not a type of its own, and its assembly.
#include "script/api.h"

#include <lauxlib.h>
#include <time.h>

#include "script/host_private.h"
#include "script/modules.h"
#include "script/reply.h"

/// ws.now() -> seconds since 1970, UTC
static int ws_now(lua_State *L) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

/// ws.monotonic() -> seconds since some time in the past; never goes back
static int ws_monotonic(lua_State *L) {
    const struct peri_vm *vm = peri_vm_of(L);
    lua_pushnumber(L, (lua_Number)peri_alarms_now(peri_host_alarms(vm->host)) / 1e9);
    return 1;
}

static const luaL_Reg functions[] = {
    {"now", ws_now},
    {"monotonic", ws_monotonic},
    {NULL, NULL},
};

void peri_api_open(lua_State *L) {
    const struct peri_vm *vm = peri_vm_of(L);
    peri_vm_push(L, PERI_SLOT_WS);
    luaL_setfuncs(L, functions, 0);
    peri_conn_open(L);
    peri_room_open(L);
    peri_req_open(L);
    peri_json_open(L);
    peri_log_open(L);
    peri_timer_open(L);
    peri_limiter_open(L);
    peri_state_open(L);
    peri_reply_open(L);

    lua_createtable(L, 0, 3);
    lua_pushstring(L, vm->name);
    lua_setfield(L, -2, "name");
    lua_pushinteger(L, vm->generation);
    lua_setfield(L, -2, "generation");
    lua_pushinteger(L, vm->version);
    lua_setfield(L, -2, "version");
    lua_setfield(L, -2, "script");
    lua_pop(L, 1);

    peri_modules_open(L);
}
