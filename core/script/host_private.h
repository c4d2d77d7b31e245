// What the files of script/ share about the host: its scripts and its services.
#pragma once

#include <stdatomic.h>

#include "base/buffer.h"
#include "script/alarm.h"
#include "script/host.h"
#include "script/ids.h"
#include "script/reload.h"
#include "script/sections.h"
#include "script/vm.h"

struct peri_watcher;
struct peri_timing;

/// What operators hear of a script, over all its generations (inspect.c).
struct peri_record {
    uint64_t messages, errors;
    char last_error[512]; ///< its first line
    size_t last_error_len;
    uint64_t error_at_ns;
    struct peri_timing *timing; ///< of its handlers; NULL: nothing was measured; owned
};

/// One file of DIR that answers at a route.
struct peri_script {
    struct peri_host *host;
    uint32_t number;     ///< in the hub, from 1; never given to another one
    char *name;          ///< path in DIR without ".lua": "games/quiz"; owned
    char *path;          ///< as messages say it: "scripts/games/quiz.lua"; owned
    struct peri_vm *vm;  ///< the generation that serves; NULL when none does
    uint32_t generation; ///< number of the newest that has served
    char **routes;       ///< owned
    size_t route_count;
    bool has_said; ///< the routes are the script's own word; else they are a guess by its path
    struct peri_traits traits;
    struct peri_str config; ///< its section, as JSON; borrowed, empty for none
    struct peri_record record;
    int64_t charged; ///< bytes in the hub: they are each generation's in turn
    bool is_gone;    ///< its file is, for good: no route leads here
    struct peri_reloader reloader;
};

struct peri_host {
    char *dir;    ///< as the user named it
    bool trusted; ///< scripts may reach out of their VM
    const struct peri_limits *limits;
    struct peri_hub *hub;
    struct peri_router *router; ///< from peri_host_load on; borrowed
    struct peri_policy policy;
    struct peri_alarms *alarms;
    struct peri_ids ids;
    atomic_int_least64_t last_timer; ///< id given to the last timer that has no name
    struct peri_script **scripts;
    size_t script_count;
    struct peri_watchdog *watchdog; ///< NULL: nobody watches
    struct peri_section *sections;
    size_t section_count;
    char *config_paths[PERI_CONFIG_LAYERS]; ///< as messages say them; owned; NULL: was not read
    struct peri_watcher *watcher;           ///< of files that change
    bool is_measuring;                      ///< how long handlers take
    bool stopping;                          ///< no more reloads, and waits are cut
};

static inline struct peri_alarms *peri_host_alarms(struct peri_host *host) {
    return host->alarms;
}

static inline const struct peri_ids *peri_host_ids(const struct peri_host *host) {
    return &host->ids;
}

// inspect.c

/// Fills in what operators ask.
void peri_host_set_inspection(struct peri_policy *policy);

/// An event of a script that serves was lost to an error.
void peri_record_error(const struct peri_vm *vm, struct peri_str text);

/// Before and after the door enters a VM. @return when that was; 0: nobody measures
static inline uint64_t peri_timing_begin(const struct peri_vm *vm) {
    // By phase first: a generation that is loaded elsewhere looks at nothing of the host's.
    return vm->phase == PERI_SERVING && vm->host->is_measuring ? peri_alarms_now(vm->host->alarms)
                                                               : 0;
}
void peri_timing_end(const struct peri_vm *vm, uint64_t began_ns, size_t handlers);

/// Fills in the handlers' dispatch.
void peri_host_set_policy(struct peri_host *host);

/// Finds the scripts in DIR: adds one to host->scripts for each, sorted by name, with the route
/// that its path gives.
PERI_MUST_CHECK int peri_folder_scan(struct peri_host *host, struct peri_buffer *error);

/// Takes the path in DIR of a script that was found.
/// @return PERI_OK, or a status that ends the walk
typedef int peri_folder_found(void *arg, const char *relative);

/// Walks the files of DIR that are scripts, in no order. Any thread may.
/// @return PERI_OK; PERI_E_SYSTEM: a folder can't be read; PERI_E_MEMORY; or what `found` returned
PERI_MUST_CHECK int peri_folder_walk(const char *dir, peri_folder_found *found, void *arg,
                                     struct peri_buffer *error);

/// Adds a script to the host, behind the others.
/// @return PERI_OK; PERI_E_MEMORY
PERI_MUST_CHECK int peri_host_add_script(struct peri_host *host, const char *relative);

/// @return owned, NUL-terminated; NULL without memory
PERI_MUST_CHECK char *peri_text_copy(struct peri_str text);

/// Reads a whole file. @return PERI_OK, PERI_E_SYSTEM (errno), PERI_E_LIMIT, PERI_E_MEMORY
PERI_MUST_CHECK int peri_folder_read(const char *path, struct peri_buffer *out);

/// Why peri_folder_read failed, in words; errno as it left it.
const char *peri_folder_why(int status);

/// Adds the routes of a script. @return and error: as peri_host_load
PERI_MUST_CHECK int peri_host_add_routes(const struct peri_host *host,
                                         const struct peri_script *script,
                                         struct peri_router *router, struct peri_buffer *error);

/// Makes the host's routes anew, of all scripts that are not gone.
/// @param script with `vm`: as if this script's were those of this VM, which has loaded; NULL: as
///               they are
/// @return and error: as peri_host_load; the routes stay as they were unless PERI_OK
PERI_MUST_CHECK int peri_host_route(struct peri_host *host, const struct peri_script *script,
                                    const struct peri_vm *vm, struct peri_buffer *error);

/// The routes that the VM's table named become the script's; where it named none, those stay.
void peri_script_take_routes(struct peri_script *script, struct peri_vm *vm);

/// Loads a script at the host's start: its first generation. What fails is logged, and leaves
/// script->vm NULL.
void peri_script_load(struct peri_script *script);

void peri_script_free_routes(char **routes, size_t count);
void peri_script_free(struct peri_script *script); ///< NULL does nothing
