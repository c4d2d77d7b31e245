// The words behind `perigee serve`.
#pragma once

#include "cli/settings.h"

struct peri_serve_options {
    const char *dir;   ///< borrowed from argv
    bool print_config; ///< in place of serving
    bool help;
};

/// Reads them; settings among them go to *settings.
/// @return PERI_OK; PERI_E_INVALID or PERI_E_MEMORY, after saying what is wrong
PERI_MUST_CHECK int peri_serve_options_read(struct peri_serve_options *options,
                                            struct peri_settings *settings, int argc, char **argv);

/// perigee serve --help
void peri_serve_help(void);
