// One script's virtual machine: its lua_State under a memory cap, and what the bindings share.
#pragma once

#include <lua.h>

#include "base/list.h"
#include "base/slabs.h"
#include "hub/hub.h"
#include "hub/room.h"
#include "script/sources.h"

struct peri_host;
struct peri_task;

/// Handlers by their place in peri_vm.handler; names in peri_handler_names.
enum peri_handler {
    PERI_ON_UPGRADE,
    PERI_ON_OPEN,
    PERI_ON_MESSAGE,
    PERI_ON_DRAIN,
    PERI_ON_CLOSE,
    PERI_ON_REQUEST,
    PERI_ON_START,
    PERI_HANDLERS,
};

extern const char *const peri_handler_names[PERI_HANDLERS];

/// Bytes that are kept of an error's message.
enum { PERI_ERROR_MAX = 512 };

/// Strings that bindings give and are given at each message: kept, so that they are pushed without
/// being made, and known by their address.
enum peri_word {
    PERI_WORD_TEXT,
    PERI_WORD_BINARY,
    PERI_WORD_OK,
    PERI_WORD_SLOW,
    PERI_WORDS,
};

enum peri_phase {
    PERI_LOADING,  ///< the file runs: only what a file may do at its top answers
    PERI_STARTING, ///< `start` runs: what it does is held until it has returned
    PERI_SERVING,
    PERI_CLOSING,
};

struct peri_vm {
    lua_State *L; ///< the main thread: never runs a script's code
    struct peri_host *host;
    struct peri_hub *hub;
    uint32_t script; ///< number in the hub, from 1
    uint32_t generation;
    lua_Integer version;
    const char *name; ///< path without ".lua"; borrowed from the script
    const char *file; ///< as in messages: "scripts/chat.lua"; borrowed
    enum peri_phase phase;
    struct peri_limits limits; ///< the host's, tightened by the script
    enum peri_slow slow;
    bool close_on_error;
    int handler[PERI_HANDLERS]; ///< registry references; LUA_NOREF when absent
    bool open_takes_req;        ///< `open` has a second parameter
    int words[PERI_WORDS];      ///< registry references too
    const char *word_at[PERI_WORDS];

    struct peri_task *task;   ///< the one that runs now; NULL outside of the door
    struct peri_list waiting; ///< tasks that wait
    struct peri_list idle;    ///< pooled tasks
    size_t idle_count;
    struct peri_list timers;
    size_t timer_count;
    struct peri_list limiters;
    size_t limiter_keys;     ///< buckets in all of them
    struct peri_list rooms;  ///< room values that hold a reference to the hub's
    uint64_t events, errors; ///< handlers that ended since it serves; those that raised
    uint64_t rest_until_ns;  ///< until then, what fails for want of memory has been paid for
    uint64_t over_since_ns;  ///< when it was last found over its cap; 0: it was not

    struct peri_sources
        sources; ///< what it runs, as it was loaded; the host's memory, not the cap's

    // What the script's table says of routes and subprotocols; all owned.
    char **routes; ///< none: the one that the file's path gives
    size_t route_count;
    struct peri_str *protocols; ///< with their bytes
    size_t protocol_count;

    struct peri_buffer json;         ///< scratch of peri_json_encode
    char last_error[PERI_ERROR_MAX]; ///< the last one logged: its message, NUL-terminated
    bool missed_module;              ///< `require` did not find one
    /// While it loads: the texts to take instead of what the files hold now; NULL: the files.
    const struct peri_sources *relives;

    // Between generations (handover.h).
    struct peri_handover *handover;   ///< what still comes from the generation before
    struct peri_probation *probation; ///< owned; NULL: it is over, or there is none
    struct peri_vm *heir;             ///< serves now, while this one's last handlers wait

    // Memory (heap.h): used_ counts Lua's own and what peri_vm_charge adds.
    size_t used_, cap_, limit_;
    bool hit_cap;      ///< an allocation was refused since the last full collection
    size_t small_max_; ///< bytes of the largest object that comes from the slabs; 0: none does
    size_t large_;     ///< bytes of all others
    size_t pace_low_, pace_high_; ///< beyond these the collector is told another pace
    struct peri_slabs slabs_;
};

/// What the host keeps beyond the cap for its own entry, error report and `close`.
enum { PERI_VM_RESERVE = 1 << 20 };

/// Fields of the registry, by address: no string is looked up.
enum peri_slot {
    PERI_SLOT_DATA,     ///< key -> conn.data
    PERI_SLOT_UPGRADES, ///< exchange -> data that upgrade gave
    PERI_SLOT_ROOMS,    ///< name -> room value, weak
    PERI_SLOT_SHARED,   ///< the same, shared rooms
    PERI_SLOT_TIMERS,   ///< id -> timer
    PERI_SLOT_BEATS,    ///< name or function -> key -> id, of `every`
    PERI_SLOT_NAMED,    ///< the script's `timers`
    PERI_SLOT_STATES,   ///< name -> {table handed out, defaults}
    PERI_SLOT_PARKED,   ///< name -> state that was declared once
    PERI_SLOT_MIGRATE,  ///< the script's `migrate`
    PERI_SLOT_HELD,     ///< what `start` did: {function, arguments..}
    PERI_SLOT_MODULES,  ///< what require has loaded
    PERI_SLOT_ARRAY,    ///< metatable that marks a JSON array
    PERI_SLOT_WS,       ///< the ws module
    PERI_SLOTS,
};

/// @return owned; NULL when out of memory. The name and file are borrowed.
PERI_MUST_CHECK struct peri_vm *peri_vm_new(struct peri_host *host, struct peri_hub *hub,
                                            const struct peri_limits *limits);

/// Ends timers and waits, then closes the state.
void peri_vm_free(struct peri_vm *vm); ///< NULL does nothing

_Static_assert(LUA_EXTRASPACE >= sizeof(uintptr_t), "an address must fit into Lua's extra space");

/// The VM of any of its coroutines. Its address is in Lua's extra space, which each gets a copy of from the main
/// thread's; the lowest bit is peri_vm_mark_task's.
static inline struct peri_vm *peri_vm_of(lua_State *L) {
    uintptr_t word = *(const uintptr_t *)lua_getextraspace(L);
    return (struct peri_vm *)(word & ~(uintptr_t)1); // NOLINT(performance-no-int-to-ptr)
}

/// Pushes a table of the registry. [-0, +1]; needs one stack slot; never raises.
void peri_vm_push(lua_State *L, enum peri_slot slot);

/// The slot's key in the registry.
const void *peri_vm_slot(enum peri_slot slot);

/// [-0, +1]; may raise
static inline const char *peri_push_str(lua_State *L, struct peri_str text) {
    return lua_pushlstring(L, text.ptr ? text.ptr : "", text.len);
}

/// Pushes one of the script's handlers, which it has. [-0, +1]
static inline void peri_vm_push_handler(lua_State *L, const struct peri_vm *vm,
                                        enum peri_handler which) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->handler[which]);
}

/// [-0, +1]; never raises
static inline void peri_vm_push_word(lua_State *L, const struct peri_vm *vm, enum peri_word word) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->words[word]);
}

/// The cap applies to what runs from here: the script's code, or (with the reserve) the host's.
static inline void peri_vm_enter_script(struct peri_vm *vm) {
    vm->limit_ = vm->cap_;
}
/// For `close`: not all of the reserve, or nothing could be entered any more to free it.
static inline void peri_vm_enter_close(struct peri_vm *vm) {
    vm->limit_ = vm->cap_ + PERI_VM_RESERVE / 2;
}
static inline void peri_vm_enter_host(struct peri_vm *vm) {
    vm->limit_ = vm->cap_ + PERI_VM_RESERVE;
}
/// For what comes from the generation before, which had the same cap.
static inline void peri_vm_enter_move(struct peri_vm *vm) {
    vm->limit_ = SIZE_MAX;
}

/// The cap becomes what vm->limits says now.
static inline void peri_vm_set_cap(struct peri_vm *vm) {
    vm->cap_ = (size_t)vm->limits.script_memory;
}

/// Marks a coroutine as a task's, which no script may resume or close.
static inline void peri_vm_mark_task(lua_State *co) {
    *(uintptr_t *)lua_getextraspace(co) |= 1;
}
static inline bool peri_vm_is_task(lua_State *co) {
    return *(const uintptr_t *)lua_getextraspace(co) & 1;
}

/// Counts bytes kept outside Lua against the cap. @return PERI_E_MEMORY when over it
PERI_MUST_CHECK int peri_vm_charge(struct peri_vm *vm, int64_t bytes);

static inline bool peri_vm_is_over(const struct peri_vm *vm) {
    return vm->used_ > vm->cap_;
}

/// Runs fn(L) under protection on the main thread, with arg as its one light userdata argument.
/// For the host's own needs, never a script's code.
/// @return a Lua status; on failure the error's text is in the log
int peri_vm_protected(struct peri_vm *vm, lua_CFunction fn, void *arg);

/// Raises for an allocation outside of Lua that failed.
_Noreturn void peri_raise_memory(lua_State *L);

/// Raises unless the VM is past loading and a handler runs. [-0, +0]
void peri_vm_check_acting(lua_State *L, struct peri_vm *vm);
