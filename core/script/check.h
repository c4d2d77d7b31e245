// Reads every script and module of a folder for what is wrong in it, and runs nothing.
#pragma once

#include "script/host.h"

enum peri_severity {
    PERI_SEVERITY_WARNING, ///< probably not what was meant
    PERI_SEVERITY_ERROR,   ///< does not load, or raises when it is reached
};

/// Something that is wrong. All of it is borrowed until peri_check_free.
struct peri_finding {
    const char *file; ///< as messages say it: "scripts/chat.lua"
    uint32_t line;    ///< from 1
    uint32_t column;  ///< in bytes, from 1
    enum peri_severity severity;
    const char *rule;       ///< a word for it, as "unknown-global"
    const char *message;    ///< any bytes that a source may hold
    struct peri_str source; ///< the line, without its end
};

struct peri_check {
    const struct peri_finding *findings; ///< in the order of files and places
    size_t count;
    size_t files; ///< that were read
    struct peri_check_run *run_;
};

/// Reads the host's folder; peri_host_load is not called before or after.
/// @param set   takes what DIR/perigee.lua sets, as for peri_host_configure
/// @param check to be given to peri_check_free, whatever this returns
/// @param error on failure: appended with one line for the user
/// @return PERI_OK, findings or not; PERI_E_SYSTEM: DIR cannot be read; PERI_E_MEMORY
PERI_MUST_CHECK int peri_check_folder(struct peri_host *host, peri_config_set *set, void *arg,
                                      struct peri_check *check, struct peri_buffer *error);
void peri_check_free(struct peri_check *check);
