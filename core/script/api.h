// The script API: what a script's `ws`, conns, rooms and reqs are made of. One file a Lua type;
// this is what they share.
#pragma once

#include <lua.h>

#include "script/door.h"

struct peri_handover_report;
struct peri_move;

/// Makes all types and the `ws` module. May raise; for peri_vm_protected.
void peri_api_open(lua_State *L);

// Each makes its type, or adds its functions to the `ws` table on top. [-0, +0]; may raise.
void peri_conn_open(lua_State *L);
void peri_room_open(lua_State *L);
void peri_req_open(lua_State *L);
void peri_json_open(lua_State *L);
void peri_log_open(lua_State *L);
void peri_timer_open(lua_State *L);
void peri_limiter_open(lua_State *L);
void peri_state_open(lua_State *L);

// Connections: light userdata that carry the key. 0 is json.null.

_Static_assert(sizeof(void *) >= sizeof(peri_key), "a key must fit into a light userdata");

static inline void peri_conn_push(lua_State *L, peri_key key) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)key); // NOLINT(performance-no-int-to-ptr)
}

/// @return the key; 0 when the value is no conn
static inline peri_key peri_conn_at(lua_State *L, int index) {
    return lua_islightuserdata(L, index) ? (peri_key)(uintptr_t)lua_touserdata(L, index) : 0;
}

/// Pushes the params of a route as a table, empty for NULL. [-0, +1]; may raise
void peri_params_push(lua_State *L, const struct peri_params *params);

/// A message as a script gives it: the string or table at `index`, the kind (or nothing) at
/// kind_index. A table becomes JSON in the host's scratch buffer. Raises on anything else, on text
/// that is not UTF-8 and on another kind.
/// @param out payload: borrowed from the string or the scratch buffer
/// @return PERI_OK; PERI_E_LIMIT: as JSON it would be larger than any outbox
PERI_MUST_CHECK int peri_outgoing_check(lua_State *L, struct peri_vm *vm, int index, int kind_index,
                                        struct peri_outgoing *out);

/// Pushes what was checked as two strings: payload and kind. [-0, +2]; may raise
void peri_outgoing_push(lua_State *L, const struct peri_outgoing *out);

/// Reads an optional close code at `index` (default 1000) and reason at index + 1. Raises on codes
/// that may not be sent, and on a reason over 123 bytes or not UTF-8.
int peri_close_check(lua_State *L, int index, struct peri_str *reason);

/// Pushes the value for a room. [-0, +1]; may raise
void peri_room_push(lua_State *L, struct peri_vm *vm, const struct peri_room *room);

/// True when the value is a room. Never raises.
bool peri_room_is(lua_State *L, int index);

/// Raises on what peri_room_do_join would raise on. [-0, +0]
void peri_room_check_join(lua_State *L, struct peri_vm *vm, int index, int options);

/// Pushes in `to` the value that is equal to the room value at `index` of `from`, which may be
/// another VM's. [from -0 +0, to -0 +1]; needs 2 free slots of `from`; may raise in `to` only
void peri_room_copy(lua_State *from, int index, lua_State *to);

/// Joins the connection to the room value or name at `index`: conn:join. Leaves the result.
int peri_room_do_join(lua_State *L, struct peri_vm *vm, peri_key key, int index, int options);
int peri_room_do_leave(lua_State *L, struct peri_vm *vm, peri_key key, int index);

/// Pushes a new req for the task and remembers it in task->req. [-0, +1]; may raise
void peri_req_push(lua_State *L, struct peri_task *task);

/// The handler has ended: reading its req, if it has one, raises from now on. Never raises.
void peri_req_end(struct peri_task *task);

// JSON.

/// Encodes the value at `index` into *out (emptied before). Raises on what JSON can't hold, naming
/// its path.
/// @return PERI_OK; PERI_E_LIMIT: the text would be over max_bytes
PERI_MUST_CHECK int peri_json_encode(lua_State *L, struct peri_vm *vm, int index, size_t max_bytes,
                                     struct peri_buffer *out);

/// As peri_json_encode; raises on text over max_bytes too.
void peri_json_check(lua_State *L, struct peri_vm *vm, int index, size_t max_bytes,
                     struct peri_buffer *out);

/// For yyjson: our own heap.
struct yyjson_alc;
extern const struct yyjson_alc peri_json_allocator;

/// Decodes text. [-0, +1 or +2: nil, message]; may raise for want of memory
/// @return values pushed
int peri_json_decode(lua_State *L, struct peri_str text);

// What arguments may be, for the bindings and for `perigee check`.

/// One wait, in seconds.
enum { PERI_SLEEP_MAX_S = 60 };

/// The shortest period, and a delay that is far enough for anybody and near enough to add to a
/// clock.
#define PERI_EVERY_MIN_S 0.001
#define PERI_DELAY_MAX_S 1e9

/// Of room:broadcast. Ends with NULL.
extern const char *const peri_broadcast_options[];

/// By enum peri_slow. Ends with NULL.
extern const char *const peri_slow_names[];

// Rooms, timers and state at the turns of a VM's life.

/// Gives back the hub's rooms that the VM's values hold: afterwards the VM may be closed by another
/// thread.
void peri_rooms_release(struct peri_vm *vm);

/// Raises when a timer recorded while loading names none of the script's `timers`.
void peri_timers_check(lua_State *L, struct peri_vm *vm);

/// Takes over copies of the named timers of the generation before. What was recorded while loading
/// and is the same beat takes its time. May raise, and then nothing has changed there.
void peri_timers_adopt(lua_State *L, struct peri_vm *vm, struct peri_vm *before,
                       struct peri_move *move, struct peri_handover_report *report);

/// The adopted timers are this VM's from now on, and those of the VM before end. A handler of theirs
/// that waits there goes on. Never raises.
void peri_timers_hand_over(struct peri_vm *before, struct peri_vm *vm);

/// Arms the timers that are not armed yet: adopted ones at their time, the others' counts from now.
void peri_timers_begin(struct peri_vm *vm);

/// Forgets all timers of a VM.
void peri_timers_end(struct peri_vm *vm);

/// Brings the state of another VM over: what is declared here and has not come yet is filled, what
/// is not declared is parked. Raises on what can't be kept, by its path, and for want of memory.
void peri_state_bring(lua_State *L, struct peri_vm *before, struct peri_move *move);

/// The tables that ws.state handed out may be touched from now on; keys that are missing get their
/// defaults. May raise.
void peri_state_fill(lua_State *L);

/// Pushes a list of {name, table, function, version}: the states that came from another VM, have a
/// migration, and were last declared by another version than this. [-0, +1]; may raise
/// @return how many
size_t peri_state_migrations(lua_State *L, lua_Integer version);

/// Puts what is in one table into another, instead of what is there. [-0, +0]; may raise
void peri_state_replace(lua_State *L, int table, int with);
