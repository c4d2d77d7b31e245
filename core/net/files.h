// Files of a public folder: how a URL path finds one, and what is said about it. No way out of the
// folder: no "..", no dotfiles, no links, regular files only.
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "base/status.h"

enum { PERI_FILE_TAG_MAX = 56, PERI_FILE_DATE_MAX = 32 };

/// A version of a file's content, as far as the file system tells.
struct peri_file_mark {
    struct timespec modified;
    uint64_t size;
};

struct peri_file {
    int fd; ///< the caller's, to be closed
    struct peri_file_mark mark;
    struct peri_str content_type;  ///< static
    char tag[PERI_FILE_TAG_MAX];   ///< an entity tag, quoted; NUL-terminated
    char date[PERI_FILE_DATE_MAX]; ///< of the last change, as HTTP writes it; NUL-terminated
    bool compressed;               ///< it is the one with .gz behind its name
    bool varies;                   ///< there is one with .gz, and one without
};

/// Finds the file for a raw URL path, decoded segment by segment.
/// @param dir  the public folder; looked up anew each time, so that it may be replaced
/// @param gzip take FILE.gz instead where it lies beside FILE and is not older
/// @return PERI_OK; PERI_AGAIN: no such file; PERI_E_EXISTS: a folder with an index.html, but the
///         path lacks the trailing slash: redirect to it; PERI_E_SYSTEM: found and not readable;
///         PERI_E_MEMORY: no memory or descriptor is left
PERI_MUST_CHECK int peri_file_open(struct peri_file *file, const char *dir, struct peri_str path,
                                   bool gzip);

/// True while the file is as it was when it was opened.
bool peri_file_is_unchanged(int fd, const struct peri_file_mark *mark);

/// By the name's extension; application/octet-stream for an unknown one. Static.
struct peri_str peri_file_content_type(struct peri_str name);
