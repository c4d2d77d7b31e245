// What a reload migrates, as it was before: kept while the reload may still be taken back.
#pragma once

#include "script/plain.h"

struct peri_vault {
    struct peri_vm *vm;   ///< holds copies: runs nothing. Owned
    struct peri_move *in; ///< owned; NULL once it is sealed
};

/// @param from the VM that migrates; outlives the vault, unless that is sealed
/// @return owned; NULL without memory
PERI_MUST_CHECK struct peri_vault *peri_vault_new(struct peri_vm *from);
void peri_vault_free(struct peri_vault *vault); ///< NULL does nothing

/// Nothing is added any more.
void peri_vault_seal(struct peri_vault *vault);

/// Keeps a copy of the state, or of the connection's data, at `index` of the VM's stack.
/// @return PERI_OK; PERI_E_MEMORY. Never raises.
PERI_MUST_CHECK int peri_vault_keep_state(struct peri_vault *vault, lua_State *L, int index,
                                          const char *name);
PERI_MUST_CHECK int peri_vault_keep_data(struct peri_vault *vault, lua_State *L, int index,
                                         peri_key key);
