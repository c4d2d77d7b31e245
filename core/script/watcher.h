// What has changed in DIR: which scripts are to be loaded anew, which are new, which are gone.
#pragma once

#include "base/status.h"

struct peri_host;
struct peri_watcher;

PERI_MUST_CHECK struct peri_watcher *peri_watcher_new(struct peri_host *host);

/// It may not be looking.
void peri_watcher_free(struct peri_watcher *watcher); ///< NULL does nothing

/// policy.files_changed
void peri_host_files_changed(void *self);
