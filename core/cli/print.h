// perigee serve --print-config
#pragma once

#include "cli/settings.h"
#include "script/host.h"

/// Appends every setting as a file for --config that says beside each line where it is from.
/// @param host its files of settings have been read
/// @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_settings_print(const struct peri_settings *settings,
                                        struct peri_host *host, struct peri_buffer *out);
