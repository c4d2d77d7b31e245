// Files that were built into the program (CMakeLists.txt lists them): the JS client, and what
// `perigee new` writes.
#pragma once

#include "base/status.h"

struct peri_builtin {
    const char *name; ///< "client/perigee.js", "feed/public/index.html"
    struct peri_str content;
};

/// By name. Generated.
extern const struct peri_builtin peri_builtins[];
extern const size_t peri_builtin_count;

/// The content of the one of that name, which there is.
struct peri_str peri_builtin(const char *name);
