#include "script/data.h"

#include <lauxlib.h>

#include "base/log.h"
#include "script/api.h"
#include "script/handover.h"
#include "script/probation.h"
#include "script/report.h"

/// Pushes an entry of a table of the registry. Never raises. [-0, +1]
static bool push_by_key(lua_State *L, enum peri_slot slot, peri_key key) {
    peri_vm_push(L, slot);
    peri_conn_push(L, key);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    return !lua_isnil(L, -1);
}

static bool has_data(const struct peri_vm *vm, peri_key key) {
    bool found = push_by_key(vm->L, PERI_SLOT_DATA, key);
    lua_pop(vm->L, 1);
    return found;
}

/// [-1, +0]
static void set(lua_State *L, peri_key key) {
    peri_vm_push(L, PERI_SLOT_DATA);
    peri_conn_push(L, key);
    lua_rotate(L, -3, -1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/// A handler that waited may not touch what another generation has by now.
static void check_still_here(lua_State *L, const struct peri_vm *vm, peri_key key) {
    if (vm->heir && has_data(vm->heir, key)) {
        luaL_error(L, "conn.data has moved to generation %d while this handler waited",
                   (int)vm->heir->generation);
    }
}

// Bringing over -------------------------------------------------------------------------------

static void tell_left(const struct peri_vm *vm, struct peri_handover *handover) {
    if (handover->left.len > 0 && !handover->told_left) {
        handover->told_left = true;
        peri_report_vm(vm, PERI_LOG_WARN, peri_buffer_str(&handover->left));
    }
    peri_buffer_clear(&handover->left, 0);
}

/// The call of migrate.conn has raised, or gave what is no table: the value on top says why.
/// [-1, +1: the data, empty]
static void start_empty(lua_State *L, struct peri_vm *vm, peri_key key) {
    if (peri_door_is_unwinding(vm)) { // it was stopped, and so is the event for which it ran
        lua_newtable(L);
        set(L, key);
        lua_error(L);
    }
    peri_vm_enter_host(vm);
    vm->events++; // as good as one: those whose data it is may be silent
    peri_probation_note(vm, vm->task ? vm->task->key : 0);
    if (lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushliteral(L, "migrate.conn must return a table");
    }
    struct peri_str text;
    text.ptr = lua_tolstring(L, -1, &text.len);
    if (vm->task) {
        peri_report(vm->task, text);
    }
    lua_pop(L, 1);
    lua_newtable(L);
}

/// The data on top, of another version, becomes what migrate.conn makes of it. [-1, +1]
static void migrate(lua_State *L, struct peri_vm *vm, peri_key key) {
    struct peri_handover *handover = vm->handover;
    int data = lua_gettop(L);
    if (handover->into_vault &&
        peri_vault_keep_data(handover->into_vault, L, data, key) != PERI_OK) {
        peri_report_vm(vm, PERI_LOG_WARN,
                       PERI_STR("out of memory: a revert will not find this conn.data again"));
    }
    lua_pushvalue(L, data);
    set(L, key); // for migrate.conn itself, should it look
    size_t limit = vm->limit_;
    lua_pushcfunction(L, peri_report_traceback);
    peri_vm_push(L, PERI_SLOT_MIGRATE);
    lua_getfield(L, -1, "conn");
    lua_remove(L, -2);
    lua_pushvalue(L, data);
    lua_pushinteger(L, handover->elder->version);
    peri_vm_enter_script(vm);
    int status = lua_pcall(L, 2, 1, data + 1);
    vm->limit_ = limit;
    if (status != LUA_OK || !lua_istable(L, -1)) {
        start_empty(L, vm, key);
        vm->limit_ = limit;
    }
    lua_replace(L, data);
    lua_settop(L, data);
}

/// Pushes what the generation before, or the vault, has for a key. [L -0, +1]; raises for want of
/// memory. @return false: nothing, and nothing is pushed
static bool bring(lua_State *L, struct peri_vm *vm, enum peri_slot slot, peri_key key) {
    struct peri_handover *handover = vm->handover;
    lua_State *from = NULL;
    struct peri_move *move = handover->move;
    if (handover->from_vault) {
        from = handover->from_vault->vm->L;
        move = handover->vault_move;
        lua_settop(from, 0);
        if (!lua_checkstack(from, LUA_MINSTACK) || !push_by_key(from, slot, key)) {
            from = NULL;
        }
    }
    if (!from) {
        from = handover->elder->L;
        move = handover->move;
        lua_settop(from, 0);
        if (!lua_checkstack(from, LUA_MINSTACK) || !push_by_key(from, slot, key)) {
            return false;
        }
    }
    size_t limit = vm->limit_;
    peri_vm_enter_move(vm);
    peri_move_value(move, from, 1, L, "conn.data", PERI_MOVE_LEAVE, &handover->left);
    vm->limit_ = limit;
    lua_settop(from, 0);
    peri_handover_guard(handover);
    tell_left(vm, handover);
    if (handover->migrates_data && move == handover->move) {
        migrate(L, vm, key);
    }
    return true;
}

static int bring_prepare(lua_State *L, struct peri_task *task) {
    if (bring(L, task->vm, PERI_SLOT_DATA, task->key)) {
        set(L, task->key);
    }
    return -1;
}

static const struct peri_entry bring_entry = {.name = "migrate", .prepare = bring_prepare};

void peri_data_bring(struct peri_vm *vm, peri_key key) {
    const struct peri_handover *handover = vm->handover;
    if (has_data(vm, key) || (!has_data(handover->elder, key) &&
                              !(handover->from_vault && has_data(handover->from_vault->vm, key)))) {
        return;
    }
    struct peri_task *task = peri_door_task(vm, &bring_entry);
    if (task) {
        task->key = key;
        task->can_wait = false;
        (void)peri_door_enter(task);
    }
}

// conn.data ------------------------------------------------------------------------------------

void peri_data_push(lua_State *L, struct peri_vm *vm, peri_key key) {
    check_still_here(L, vm, key);
    if (push_by_key(L, PERI_SLOT_DATA, key)) {
        return;
    }
    lua_pop(L, 1);
    if (!vm->handover || !bring(L, vm, PERI_SLOT_DATA, key)) {
        lua_newtable(L);
    }
    lua_pushvalue(L, -1);
    set(L, key);
}

void peri_data_set(lua_State *L, struct peri_vm *vm, peri_key key) {
    check_still_here(L, vm, key);
    set(L, key);
}

/// Setting a field to nil that is there, or is not, allocates nothing and so can't raise.
static void forget(const struct peri_vm *vm, peri_key key) {
    lua_pushnil(vm->L);
    set(vm->L, key);
}

void peri_data_forget(struct peri_vm *vm, peri_key key) {
    forget(vm, key);
    if (vm->handover) {
        forget(vm->handover->elder, key);
        if (vm->handover->from_vault) {
            forget(vm->handover->from_vault->vm, key);
        }
    }
}

// What `upgrade` gave --------------------------------------------------------------------------

/// Pushes and forgets it. [-0, +1]; never raises
static bool take(lua_State *L, uint64_t exchange) {
    peri_vm_push(L, PERI_SLOT_UPGRADES);
    lua_rawgeti(L, -1, (lua_Integer)exchange);
    lua_pushnil(L);
    lua_rawseti(L, -3, (lua_Integer)exchange);
    lua_remove(L, -2);
    return !lua_isnil(L, -1);
}

static bool has_upgrade(const struct peri_vm *vm, uint64_t exchange) {
    peri_vm_push(vm->L, PERI_SLOT_UPGRADES);
    bool found = lua_rawgeti(vm->L, -1, (lua_Integer)exchange) != LUA_TNIL;
    lua_pop(vm->L, 2);
    return found;
}

bool peri_data_has_upgrade(const struct peri_vm *vm, uint64_t exchange) {
    return has_upgrade(vm, exchange) ||
           (vm->handover && has_upgrade(vm->handover->elder, exchange));
}

struct opened {
    peri_key key;
    uint64_t exchange;
};

/// In the generation before: what its `upgrade` gave becomes conn.data there.
static int take_there(lua_State *L) {
    const struct opened *opened = lua_touserdata(L, 1);
    if (take(L, opened->exchange)) {
        set(L, opened->key);
    }
    return 0;
}

void peri_data_take_upgrade(lua_State *L, struct peri_vm *vm, peri_key key, uint64_t exchange) {
    if (take(L, exchange)) {
        set(L, key);
        return;
    }
    lua_pop(L, 1);
    // Another generation's comes over at its first touch, as all conn.data does.
    if (vm->handover && has_upgrade(vm->handover->elder, exchange)) {
        struct opened opened = {key, exchange};
        (void)peri_vm_protected(vm->handover->elder, take_there, &opened); // logged
    }
}

void peri_data_abandon(struct peri_vm *vm, uint64_t exchange) {
    (void)take(vm->L, exchange);
    lua_pop(vm->L, 1);
    if (vm->handover) {
        (void)take(vm->handover->elder->L, exchange);
        lua_pop(vm->handover->elder->L, 1);
    }
}
