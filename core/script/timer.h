// A timer: a userdata, found by its id in the registry, and an alarm while it is armed. What a script
// does with them is api_timer.c's; what becomes of them at the turns of a VM's life is in api.h.
#pragma once

#include "script/alarm.h"
#include "script/vm.h"

/// User values of a timer.
enum { PERI_TIMER_CALL = 1, PERI_TIMER_DATA, PERI_TIMER_KEY };

struct peri_timer {
    struct peri_list link; ///< in the VM's timers
    struct peri_vm *vm;
    struct peri_alarm alarm;
    lua_Integer id;
    uint64_t delay_ns; ///< until the first time, and between beats
    uint64_t due_ns;   ///< of one taken over: when it fires first; 0: its delay from when it begins
    struct peri_timer *before; ///< whose it takes over, until it has; NULL
    struct peri_timer *heir;   ///< took this one over while its handler waits; NULL
    bool repeats;
    bool busy;        ///< its handler waits
    bool cancelled;   ///< while busy
    uint64_t skipped; ///< beats that fell due meanwhile
};

/// Makes one without id and user values, which nothing but the stack knows yet. [-0, +1]; may raise
struct peri_timer *peri_timer_new(lua_State *L, struct peri_vm *vm, uint64_t delay_ns);

/// Puts the timer on top among the script's, as the last step that may raise. [-0, +0]
void peri_timer_list(lua_State *L, struct peri_timer *timer);

/// Notes whose beat this is. stack: the name at 2, the key at 4. [-0, +0]; may raise
void peri_timer_note_beat(lua_State *L, lua_Integer id);

/// Its delay counts from now, if the VM serves. Never raises.
void peri_timer_begin(struct peri_timer *timer);

/// Takes the timer off everything but the stack; what is left is garbage. [-0, +0]; never raises
/// @param index where it is on the stack
void peri_timer_forget(lua_State *L, struct peri_timer *timer, int index);
