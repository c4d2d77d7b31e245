// One look at the folder of scripts: a digest of the files that matter, and the places where that
// may change. Looks at nothing but names and marks: no file is read.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/buffer.h"

enum {
    PERI_SURVEY_FOLDERS = 4096, ///< gone into at most
    PERI_SURVEY_PLACES = 4096,  ///< noted at most
    PERI_SURVEY_DEPTH = 32,     ///< as scripts are looked for
};

/// A folder of the system in which something may happen that matters.
struct peri_place {
    struct peri_str key; ///< both texts below, NUL between them
    const char *path;    ///< of the folder
    const char *name;    ///< in it, the only one that matters; "": every name of a script or folder
    dev_t device;        ///< of the folder that the path leads to now
    ino_t inode;
};

/// Zero-initialised owns nothing.
struct peri_survey {
    /// Of every *.lua file: where it is, which one, how large, when written. Another digest: another
    /// file, or what is in one may be other.
    uint64_t digest;
    size_t place_count;
    bool is_cut;  ///< there are more folders: what changes in them is not seen
    bool is_full; ///< there are more places
    struct peri_buffer places_, texts_;
    size_t folders_, links_;
};

void peri_survey_deinit(struct peri_survey *survey);

/// Looks. A folder that can't be read, or is not there, is an empty one. `public` and names that
/// begin with "." are left out. Takes as long as the file system does: not for a loop's thread while
/// the loop runs.
/// @param survey what it held is replaced; on failure it holds nothing of use
/// @param dir    as the user has named it: what each link on its way leads to may change
/// @return PERI_OK; PERI_E_MEMORY; PERI_E_SYSTEM: descriptors or memory of the system ran out
PERI_MUST_CHECK int peri_survey_take(struct peri_survey *survey, const char *dir);

/// @param i below place_count
/// @return borrowed until the survey is taken again
struct peri_place peri_survey_place(const struct peri_survey *survey, size_t i);

/// Whether a name is one of those that are left out.
bool peri_survey_skips(const char *name);

/// Whether a name is a script's or a module's, by its end.
bool peri_survey_is_lua(const char *name);
