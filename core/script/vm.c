// A VM's life, and the tables its bindings share.
#include "script/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/api.h"
#include "script/door.h"
#include "script/heap.h"
#include "script/host_private.h"

const char *const peri_handler_names[PERI_HANDLERS] = {
    "upgrade", "open", "message", "drain", "close", "request", "start",
};

static char slots[PERI_SLOTS];

void peri_vm_push(lua_State *L, enum peri_slot slot) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &slots[slot]);
}

const void *peri_vm_slot(enum peri_slot slot) {
    return &slots[slot];
}

/// Only an error outside of every protection comes here: a bug of the host's.
static int panic(lua_State *L) {
    const char *text = lua_tostring(L, -1);
    peri_log(PERI_LOG_ERROR, "unprotected error in a VM: %s", text ? text : "(no text)");
    abort();
}

/// Has the first references lie in the registry's array, where a look-up is one comparison: a table moves
/// its integers there when it grows.
static void make_room_for_references(lua_State *L) {
    enum { FIRST = 64 };
    int references[FIRST];
    for (int i = 0; i < FIRST; i++) {
        lua_pushboolean(L, 1);
        references[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    for (int i = FIRST; i > 0; i--) {
        luaL_unref(L, LUA_REGISTRYINDEX, references[i - 1]); // the first one is given out first
    }
}

static void keep_words(lua_State *L, struct peri_vm *vm) {
    static const char *const words[PERI_WORDS] = {"text", "binary", "ok", "slow"};
    for (int i = 0; i < PERI_WORDS; i++) {
        vm->word_at[i] = lua_pushstring(L, words[i]);
        vm->words[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
}

static int make_tables(lua_State *L) {
    make_room_for_references(L);
    for (int slot = 0; slot < PERI_SLOTS; slot++) {
        lua_newtable(L);
        if (slot == PERI_SLOT_ROOMS || slot == PERI_SLOT_SHARED) {
            lua_createtable(L, 0, 1);
            lua_pushliteral(L, "v");
            lua_setfield(L, -2, "__mode");
            lua_setmetatable(L, -2);
        }
        lua_rawsetp(L, LUA_REGISTRYINDEX, &slots[slot]);
    }
    struct peri_vm *vm = lua_touserdata(L, 1);
    keep_words(L, vm);
    return 0;
}

struct peri_vm *peri_vm_new(struct peri_host *host, struct peri_hub *hub,
                            const struct peri_limits *limits) {
    struct peri_vm *vm = peri_calloc(1, sizeof *vm);
    if (!vm) {
        return NULL;
    }
    vm->host = host;
    vm->hub = hub;
    vm->limits = *limits;
    peri_vm_set_cap(vm);
    peri_heap_init(vm, PERI_HAS_SLABS);
    vm->version = 1;
    vm->generation = 1;
    peri_vm_enter_host(vm);
    peri_list_init(&vm->waiting);
    peri_list_init(&vm->idle);
    peri_list_init(&vm->timers);
    peri_list_init(&vm->limiters);
    peri_list_init(&vm->rooms);
    for (int i = 0; i < PERI_HANDLERS; i++) {
        vm->handler[i] = LUA_NOREF;
    }
    vm->L = lua_newstate(peri_heap_allocate, vm);
    if (!vm->L) {
        goto fail;
    }
    lua_atpanic(vm->L, panic);
    *(uintptr_t *)lua_getextraspace(vm->L) = (uintptr_t)vm;
    if (peri_vm_protected(vm, make_tables, vm) != LUA_OK) {
        goto fail;
    }
    return vm;
fail:
    peri_vm_free(vm);
    return NULL;
}

void peri_vm_free(struct peri_vm *vm) {
    if (!vm) {
        return;
    }
    if (vm->L) {
        vm->phase = PERI_CLOSING;
        peri_door_cut_waits(vm);
        peri_timers_end(vm);
        peri_door_close(vm);
        peri_heap_leave(vm);
        lua_close(vm->L);
    }
    peri_heap_deinit(vm);
    peri_sources_free(&vm->sources);
    peri_script_free_routes(vm->routes, vm->route_count);
    peri_free(vm->protocols);
    peri_buffer_deinit(&vm->json);
    peri_free(vm->probation);
    peri_free(vm);
}

int peri_vm_protected(struct peri_vm *vm, lua_CFunction fn, void *arg) {
    lua_State *L = vm->L;
    peri_vm_enter_host(vm);
    lua_pushcfunction(L, fn); // a light C function: allocates nothing
    lua_pushlightuserdata(L, arg);
    struct peri_watch_outer outer = peri_watch_enter(vm, L);
    int status = lua_pcall(L, 1, 0, 0);
    if (peri_watch_exit(outer) != PERI_WATCH_ON_TIME) {
        if (!peri_watch_is_stopping() || status == LUA_OK) {
            peri_log(PERI_LOG_WARN, "%s: it took long, over handler_warn_s: %.3f s of CPU",
                     vm->file ? vm->file : "a new VM", peri_watch_took());
        } // a stop has become an error, with the place in its text
        peri_watch_forgive();
    }
    if (status != LUA_OK) {
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "(no text)";
        peri_log(PERI_LOG_ERROR, "%s: %s", vm->file ? vm->file : "a new VM", text);
        (void)snprintf(vm->last_error, sizeof vm->last_error, "%s", text);
        lua_pop(L, 1);
    }
    return status;
}

_Noreturn void peri_raise_memory(lua_State *L) {
    luaL_error(L, "not enough memory");
    abort(); // luaL_error does not return, whatever its type says
}

void peri_vm_check_acting(lua_State *L, struct peri_vm *vm) {
    if (vm->phase == PERI_LOADING) {
        luaL_error(L, "not while loading: use start");
    }
    if (!vm->task) {
        luaL_error(L, "not outside of a handler");
    }
}
