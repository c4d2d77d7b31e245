// From one generation to the next: declared state and timers at the swap, conn.data at its first
// touch or in slices, and the end of the generation before, once its last handlers have run.
#pragma once

#include "base/buffer.h"
#include "script/alarm.h"
#include "script/plain.h"
#include "script/vault.h"

struct peri_script;

struct peri_handover {
    struct peri_script *script;
    struct peri_vm *vm;     ///< serves now; owned by the script
    struct peri_vm *elder;  ///< the generation before; owned
    struct peri_move *move; ///< from elder to vm; owned
    /// What was migrated, as it was before: it goes before what elder has. Borrowed, NULL for none.
    struct peri_vault *from_vault;
    struct peri_move *vault_move; ///< from there to vm; owned
    /// Gets what is migrated, as it was before. Borrowed, NULL where nothing is.
    struct peri_vault *into_vault;
    bool is_revert;     ///< back to the last good generation: what it had is not migrated
    bool migrates_data; ///< vm has another version, and a migrate.conn
    struct peri_alarm slice;
    uint64_t cut_ns;         ///< handlers that wait then are cut
    uint32_t cursor;         ///< over the hub's connections
    bool skipped;            ///< some, whose handlers wait
    bool swept;              ///< all data has come
    bool told_left;          ///< that something in conn.data could not be kept was logged
    int guard_ref;           ///< in elder: the metatable of what has moved
    struct peri_buffer left; ///< scratch
};

/// What it took.
struct peri_handover_report {
    size_t tables;      ///< of state and timers
    unsigned timers;    ///< taken over
    unsigned functions; ///< timers that were functions: they end
    unsigned names;     ///< timers of a name that is no more
};

/// Lets a loaded VM serve as the script's next generation: brings state and timers over, migrates,
/// runs `start`, and swaps. Between two turns, and no handover may be under way.
/// @param vm    taken over on success
/// @param from  of a revert: what was migrated since; NULL
/// @param into  gets what is migrated now, as it was; NULL where nobody asks
/// @return false: it failed, which is logged, vm->last_error says why, and the script goes on as it
///         was
PERI_MUST_CHECK bool peri_handover_begin(struct peri_script *script, struct peri_vm *vm,
                                         struct peri_vault *from, struct peri_vault *into,
                                         struct peri_handover_report *report);

/// Whether one is under way.
bool peri_handover_lasts(const struct peri_script *script);

/// Ends it here and now: waiting handlers of the generation before are cut.
void peri_handover_finish(struct peri_script *script);

/// Empties what has moved from the generation before, where a handler of it waits. Never raises.
void peri_handover_guard(struct peri_handover *handover);
