// A connection's public id: its key, mixed with what the host drew at random when it started, so
// that ids are unique over workers, hosts and restarts and say nothing of what is inside.
#pragma once

#include "hub/policy.h"

enum { PERI_ID_BYTES = 16 };

struct peri_ids {
    uint64_t secret[2];
    uint16_t host;
};

/// @return PERI_OK or PERI_E_SYSTEM
PERI_MUST_CHECK int peri_ids_init(struct peri_ids *ids);

/// Writes the id: 16 characters of a-z and 2-7, without a NUL.
void peri_id_write(const struct peri_ids *ids, peri_key key, char out[PERI_ID_BYTES]);

/// @return the key, or 0 when the text is no id of this host
peri_key peri_id_read(const struct peri_ids *ids, struct peri_str id);
