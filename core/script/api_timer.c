// Timers and waiting, as scripts have them: after, every, cancel and sleep.
#include <lauxlib.h>
#include <math.h>

#include "base/hash.h"
#include "script/api.h"
#include "script/host_private.h"
#include "script/plain.h"
#include "script/report.h"
#include "script/timer.h"

static uint64_t check_delay(lua_State *L, int index, double min_s, const char *what) {
    double seconds = luaL_checknumber(L, index);
    if (!(seconds >= min_s) || !(seconds <= PERI_DELAY_MAX_S)) {
        luaL_error(L, "%s: from %f to %f seconds", what, min_s, PERI_DELAY_MAX_S);
    }
    return (uint64_t)llround(seconds * 1e9);
}

/// A timer of a script's `every` has the same id in each generation: what its name and key give.
static lua_Integer beat_id(lua_State *L) {
    struct {
        uint64_t name, key;
    } both = {0};
    struct peri_str text;
    text.ptr = lua_tolstring(L, 2, &text.len);
    both.name = peri_hash(text.ptr, text.len);
    switch (lua_type(L, 4)) {
    case LUA_TSTRING:
        text.ptr = lua_tolstring(L, 4, &text.len);
        both.key = peri_hash(text.ptr, text.len);
        break;
    case LUA_TNUMBER: {
        lua_Number number = lua_tonumber(L, 4); // integers that are equal as such are equal keys
        both.key = peri_hash(&number, sizeof number) ^ (uint64_t)lua_tointeger(L, 4);
        break;
    }
    default: both.key = peri_conn_at(L, 4); break; // 0 for the one without a key
    }
    uint64_t id = peri_hash(&both, sizeof both);
    // Above all that are counted, and exact as a JSON number.
    return (lua_Integer)((id & ((1ull << 52) - 1)) | 1ull << 52);
}

/// The name of one of the script's `timers`, or a function.
static void check_call(lua_State *L, struct peri_vm *vm, int index) {
    if (lua_isfunction(L, index)) {
        return;
    }
    luaL_argexpected(L, lua_type(L, index) == LUA_TSTRING, index, "name or function");
    if (vm->phase == PERI_LOADING) {
        return; // the table is not there yet: looked at before the timer begins
    }
    peri_vm_push(L, PERI_SLOT_NAMED);
    lua_pushvalue(L, index);
    if (lua_rawget(L, -2) != LUA_TFUNCTION) {
        luaL_error(L, "no timer '%s': name one of the script's timers", lua_tostring(L, index));
    }
    lua_pop(L, 2);
}

/// Makes a timer of the call at 2 and the data at 3. Nothing but the stack knows it yet. [-0, +1]
static struct peri_timer *push_timer(lua_State *L, struct peri_vm *vm, uint64_t delay_ns) {
    struct peri_timer *timer = peri_timer_new(L, vm, delay_ns);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, PERI_TIMER_CALL);
    peri_plain_copy(L, 3, 0, "timer data");
    lua_setiuservalue(L, -2, PERI_TIMER_DATA);
    timer->id = atomic_fetch_add_explicit(&vm->host->last_timer, 1, memory_order_relaxed) + 1;
    return timer;
}

static bool is_full(const struct peri_vm *vm) {
    return vm->timer_count >= vm->limits.timers;
}

static int push_full(lua_State *L, const struct peri_vm *vm) {
    lua_pushfstring(L, "timers: a script has at most %I", (lua_Integer)vm->limits.timers);
    return peri_report_refusal(L, vm);
}

/// Handed into the VM that serves now.
struct forwarded {
    struct peri_move *move; ///< of the arguments
    lua_State *from;
    int count; ///< of arguments
    const char *name;
    lua_Integer id;
    char why[PERI_ERROR_MAX]; ///< instead of an id: "" for an id
    bool raises;              ///< why is an error, else what is returned beside nil
};

static int call_forwarded(lua_State *L) {
    struct forwarded *forwarded = lua_touserdata(L, 1);
    luaL_checkstack(L, forwarded->count + LUA_MINSTACK, NULL);
    peri_vm_push(L, PERI_SLOT_WS);
    lua_getfield(L, -1, forwarded->name);
    for (int i = 1; i <= forwarded->count; i++) {
        peri_move_value(forwarded->move, forwarded->from, i, L, "timer data", PERI_MOVE_STRICT,
                        NULL);
    }
    lua_call(L, forwarded->count, 2);
    if (lua_isinteger(L, -2)) {
        forwarded->id = lua_tointeger(L, -2);
    } else {
        (void)snprintf(forwarded->why, sizeof forwarded->why, "%s", luaL_tolstring(L, -1, NULL));
    }
    return 0;
}

/// A handler that waits in a generation of old has its timers in the one that serves now: so they
/// outlive it.
static int forward(lua_State *L, struct peri_vm *vm, const char *name) {
    struct forwarded forwarded = {.from = L, .count = lua_gettop(L), .name = name};
    if (lua_isfunction(L, 2)) {
        return luaL_error(L,
                          "generation %d serves by now: a function would end with this one, name "
                          "one of the script's timers",
                          (int)vm->heir->generation);
    }
    lua_State *heir = vm->heir->L; // at rest
    forwarded.move = peri_move_new(vm, vm->heir);
    if (!forwarded.move) {
        peri_raise_memory(L);
    }
    peri_vm_enter_host(vm->heir);
    lua_pushcfunction(heir, call_forwarded);
    lua_pushlightuserdata(heir, &forwarded);
    if (lua_pcall(heir, 1, 0, 0) != LUA_OK) {
        const char *why = lua_tostring(heir, -1);
        (void)snprintf(forwarded.why, sizeof forwarded.why, "%s", why ? why : "(no text)");
        forwarded.raises = true;
    }
    lua_settop(heir, 0);
    peri_move_free(forwarded.move);
    if (forwarded.raises) {
        return luaL_error(L, "%s", forwarded.why);
    }
    if (forwarded.why[0] != '\0') {
        lua_pushnil(L);
        lua_pushstring(L, forwarded.why);
        return 2;
    }
    lua_pushinteger(L, forwarded.id);
    return 1;
}

/// ws.after(seconds, name | fn[, data]) -> id, or nil, message
static int ws_after(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    if (vm->heir) {
        return forward(L, vm, "after");
    }
    uint64_t delay_ns = check_delay(L, 1, 0, "after");
    check_call(L, vm, 2);
    lua_settop(L, 3);
    if (is_full(vm)) {
        return push_full(L, vm);
    }
    struct peri_timer *timer = push_timer(L, vm, delay_ns);
    peri_timer_list(L, timer);
    peri_timer_begin(timer);
    lua_pushinteger(L, timer->id);
    return 1;
}

/// The beat of the same name (or function) at 2 and key at 4, pushed; nil when there is none.
/// [-0, +1]
static struct peri_timer *find_beat(lua_State *L) {
    int top = lua_gettop(L);
    peri_vm_push(L, PERI_SLOT_BEATS);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) == LUA_TTABLE) {
        lua_pushvalue(L, 4);
        lua_rawget(L, -2);
    }
    lua_Integer id = lua_tointeger(L, -1); // 0: there is none
    lua_settop(L, top);
    peri_vm_push(L, PERI_SLOT_TIMERS);
    lua_rawgeti(L, -1, id);
    lua_replace(L, top + 1);
    return lua_touserdata(L, top + 1);
}

/// ws.every(seconds, name | fn[, data[, key]]) -> id, or nil, message
static int ws_every(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    if (vm->heir) {
        return forward(L, vm, "every");
    }
    uint64_t period_ns = check_delay(L, 1, PERI_EVERY_MIN_S, "every");
    check_call(L, vm, 2);
    lua_settop(L, 4);
    if (lua_isnil(L, 4)) {
        lua_pushboolean(L, 0); // the key of those without one
        lua_replace(L, 4);
    } else {
        luaL_argexpected(L, lua_isstring(L, 4) || peri_conn_at(L, 4), 4, "string, number or conn");
        luaL_argcheck(L, lua_compare(L, 4, 4, LUA_OPEQ), 4, "not a number");
    }
    struct peri_timer *timer = find_beat(L);
    if (timer) {
        peri_plain_copy(L, 3, 0, "timer data");
        lua_setiuservalue(L, -2, PERI_TIMER_DATA);
        if (timer->delay_ns != period_ns || timer->cancelled) { // its handler may still run
            timer->cancelled = false;
            timer->delay_ns = period_ns;
            peri_alarms_clear(peri_host_alarms(vm->host), &timer->alarm);
            peri_timer_begin(timer);
        }
        lua_pushinteger(L, timer->id);
        return 1;
    }
    if (is_full(vm)) {
        return push_full(L, vm);
    }
    timer = push_timer(L, vm, period_ns);
    if (lua_type(L, 2) == LUA_TSTRING) {
        timer->id = beat_id(L);
    }
    timer->repeats = true; // from here its end forgets its beat too
    lua_pushvalue(L, 4);
    lua_setiuservalue(L, -2, PERI_TIMER_KEY);
    peri_timer_note_beat(L, timer->id);
    peri_timer_list(L, timer);
    peri_timer_begin(timer);
    lua_pushinteger(L, timer->id);
    return 1;
}

/// Ends a timer. Never raises. @return false: there is none of this id (any more)
static bool cancel(const struct peri_vm *vm, lua_Integer id) {
    lua_State *L = vm->L; // at rest
    peri_vm_push(L, PERI_SLOT_TIMERS);
    lua_rawgeti(L, -1, id);
    struct peri_timer *timer = lua_touserdata(L, -1);
    bool found = timer && !timer->cancelled && !(timer->busy && !timer->repeats);
    if (found && timer->busy) { // its handler runs or waits: that goes on, and ends it
        timer->cancelled = true;
        peri_alarms_clear(peri_host_alarms(vm->host), &timer->alarm);
    } else if (found) {
        peri_timer_forget(L, timer, -1);
    }
    lua_pop(L, 2);
    return found;
}

/// ws.cancel(id) -> true, or nil when there is no such timer (any more)
static int ws_cancel(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_vm_check_acting(L, vm);
    lua_Integer id = luaL_checkinteger(L, 1);
    if (cancel(vm->heir ? vm->heir : vm, id)) {
        lua_pushboolean(L, 1);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int slept(lua_State *L, int status, lua_KContext context) {
    (void)status;
    (void)context;
    struct peri_vm *vm = peri_vm_of(L);
    if (peri_door_is_unwinding(vm)) {
        return peri_door_unwind(L, vm, vm->task->unwind);
    }
    return 0;
}

/// ws.sleep(seconds): waits
static int ws_sleep(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    peri_vm_check_acting(L, vm);
    double seconds = luaL_checknumber(L, 1);
    if (!(seconds >= 0) || !(seconds <= PERI_SLEEP_MAX_S)) {
        return luaL_error(L, "sleep: from 0 to %d seconds", PERI_SLEEP_MAX_S);
    }
    uint64_t now_ns = peri_alarms_now(peri_host_alarms(vm->host));
    return peri_door_wait(L, vm, now_ns + (uint64_t)llround(seconds * 1e9), slept);
}

static const luaL_Reg ws_functions[] = {
    {"after", ws_after}, {"every", ws_every}, {"cancel", ws_cancel},
    {"sleep", ws_sleep}, {NULL, NULL},
};

void peri_timer_open(lua_State *L) {
    luaL_setfuncs(L, ws_functions, 0);
}
