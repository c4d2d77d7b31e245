// Reload: a script's next generation is loaded on another thread, swapped in between two turns, and
// taken back if it fails its probation.
#pragma once

#include "base/buffer.h"
#include "hub/policy.h"
#include "hub/ports.h"
#include "script/alarm.h"
#include "script/sources.h"

struct peri_host;
struct peri_script;
struct peri_vault;
struct peri_vm;

enum { PERI_RELOAD_WHY_MAX = 640 };

/// Part of a script.
struct peri_reloader {
    bool wanted;     ///< a load is to begin once nothing is under way any more
    bool asked;      ///< it is by a command: also where no file has changed
    bool takes_back; ///< it is of `good`
    bool holds;      ///< events wait until it is back
    bool loading;    ///< on another thread
    struct peri_work work;
    struct peri_vm *candidate;       ///< that is loading; owned
    bool loaded;                     ///< it has succeeded
    const struct peri_sources *from; ///< what it is loaded from; NULL: the files
    bool was_asked;                  ///< of what is loading, as `asked`
    struct peri_sources good;        ///< what to go back to; empty: nothing
    struct peri_sources bad;         ///< taken back: not tried again
    struct peri_sources tried;       ///< of the candidate that failed last
    bool has_failed;                 ///< the last candidate did
    bool missed_module;              ///< ... since `require` did not find one
    struct peri_vault *vault;        ///< what was migrated at the last swap; NULL: nothing
    struct peri_vault *spent;        ///< what a revert takes from, until its handover ends
    struct peri_alarm judge;         ///< the end of probation, or its verdict
    uint64_t gone_ns;                ///< since when one of its files is missing; 0: none is

    // What became of the last one.
    enum peri_reload outcome;
    char why[PERI_RELOAD_WHY_MAX];
    uint64_t at_ns;
};

/// Loads the script anew, now or as soon as what is under way has ended.
/// @param asked by a command: also where no file has changed
void peri_reload_want(struct peri_script *script, bool asked);

/// The generation on probation has failed it. May be called in the midst of a handler.
void peri_reload_take_back(struct peri_script *script);

/// A handover of the script has ended.
void peri_reload_moved(struct peri_script *script);

/// The script's file is gone for good: its routes go, its connections are closed, its timers end.
void peri_reload_remove(struct peri_script *script);

/// Events wait no longer, whatever comes of what is under way.
void peri_reload_let_go(struct peri_script *script);

/// Nothing may be loading.
void peri_reloader_deinit(struct peri_script *script);

/// policy.reload
int peri_host_reload(void *self, struct peri_str name, struct peri_buffer *error);
