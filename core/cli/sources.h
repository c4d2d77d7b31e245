// Where settings are read from, but for flags: files and the environment.
#pragma once

#include "cli/settings.h"
#include "script/host.h"

/// Takes every PERIGEE_* variable. An empty one is as one that is not set; an unknown one is an
/// error.
/// @param variables "NAME=VALUE" each, NULL behind the last: environ
/// @param error     on failure: appended with one line for the user
/// @return PERI_OK; PERI_E_INVALID; PERI_E_MEMORY
PERI_MUST_CHECK int peri_settings_read_environment(struct peri_settings *settings,
                                                   char *const *variables,
                                                   struct peri_buffer *error);

/// Reads the operator's file, if there is one, then DIR/perigee.lua. What the first decides about
/// the machine is an error in the second: whoever may drop a script into DIR doesn't decide that.
/// @param error on failure: appended as by peri_host_configure
/// @return PERI_OK, or as peri_host_configure
PERI_MUST_CHECK int peri_settings_read_files(struct peri_settings *settings, struct peri_host *host,
                                             struct peri_buffer *error);

/// Takes one value of a DIR/perigee.lua: a peri_config_set whose argument is the settings.
PERI_MUST_CHECK int peri_settings_take_of_folder(void *settings,
                                                 const struct peri_config_value *value,
                                                 struct peri_buffer *error);
