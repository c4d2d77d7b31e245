// What the files of script/ share about the host: its scripts and its services.
#pragma once

#include "base/buffer.h"
#include "script/alarm.h"
#include "script/host.h"
#include "script/ids.h"
#include "script/sections.h"
#include "script/vm.h"

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
    uint32_t number;    ///< in the hub, from 1
    char *name;         ///< path in DIR without ".lua": "games/quiz"; owned
    char *path;         ///< as messages say it: "scripts/games/quiz.lua"; owned
    struct peri_vm *vm; ///< its generation; NULL when it failed to load
    char **routes;      ///< owned
    bool has_said;      ///< the routes are the script's own word; else they are a guess by its path
    size_t route_count;
    struct peri_traits traits;
    struct peri_str *protocols; ///< owned, with their bytes
    size_t protocol_count;
    struct peri_str config; ///< its section, as JSON; borrowed, empty for none
    struct peri_record record;
};

struct peri_host {
    char *dir;      ///< as the user named it
    char *real_dir; ///< resolved
    const struct peri_limits *limits;
    struct peri_hub *hub;
    struct peri_policy policy;
    struct peri_alarms *alarms;
    struct peri_ids ids;
    int64_t last_timer; ///< id given to the last timer of any script
    struct peri_script **scripts;
    size_t script_count;
    struct peri_watchdog *watchdog; ///< NULL: nobody watches
    struct peri_buffer json;        ///< scratch of peri_json_encode
    struct peri_section *sections;
    size_t section_count;
    char *config_paths[PERI_CONFIG_LAYERS]; ///< as messages say them; owned; NULL: was not read
    bool is_measuring;                      ///< how long handlers take
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

/// Loads a script: its first generation. What fails is logged, and leaves script->vm NULL.
void peri_script_load(struct peri_host *host, struct peri_script *script);

void peri_script_free_routes(char **routes, size_t count);
void peri_script_free(struct peri_script *script); ///< NULL does nothing
