#include "script/vault.h"

#include <lauxlib.h>

#include "base/alloc.h"
#include "script/api.h"
#include "script/host_private.h"

/// Handed into the vault's VM.
struct kept {
    struct peri_vault *vault;
    lua_State *from;
    int index;
    const char *name; ///< of a state; NULL: it is data
    peri_key key;
};

struct peri_vault *peri_vault_new(struct peri_vm *from) {
    struct peri_vault *vault = peri_calloc(1, sizeof *vault);
    if (!vault) {
        return NULL;
    }
    vault->vm = peri_vm_new(from->host, from->hub, from->host->limits);
    if (vault->vm) {
        vault->vm->script = from->script;
        vault->vm->name = from->name;
        vault->vm->file = from->file;
        vault->vm->generation = from->generation;
        vault->in = peri_move_new(from, vault->vm);
    }
    if (!vault->in) {
        peri_vault_free(vault);
        return NULL;
    }
    return vault;
}

void peri_vault_free(struct peri_vault *vault) {
    if (vault) {
        peri_move_free(vault->in);
        peri_vm_free(vault->vm);
        peri_free(vault);
    }
}

void peri_vault_seal(struct peri_vault *vault) {
    peri_move_free(vault->in);
    vault->in = NULL;
}

static int keep(lua_State *L) {
    const struct kept *kept = lua_touserdata(L, 1);
    peri_vm_enter_move(kept->vault->vm);
    peri_vm_push(L, kept->name ? PERI_SLOT_STATES : PERI_SLOT_DATA);
    if (kept->name) {
        lua_pushstring(L, kept->name);
        lua_createtable(L, 1, 0); // as ws.state has them
    } else {
        peri_conn_push(L, kept->key);
    }
    peri_move_value(kept->vault->in, kept->from, kept->index, L, "vault", PERI_MOVE_LEAVE, NULL);
    if (kept->name) {
        lua_rawseti(L, -2, 1);
    }
    lua_rawset(L, -3);
    return 0;
}

static int keep_protected(struct kept *kept) {
    int status = peri_vm_protected(kept->vault->vm, keep, kept);
    return status == LUA_OK ? PERI_OK : PERI_E_MEMORY;
}

int peri_vault_keep_state(struct peri_vault *vault, lua_State *L, int index, const char *name) {
    struct kept kept = {.vault = vault, .from = L, .index = lua_absindex(L, index), .name = name};
    return keep_protected(&kept);
}

int peri_vault_keep_data(struct peri_vault *vault, lua_State *L, int index, peri_key key) {
    struct kept kept = {.vault = vault, .from = L, .index = lua_absindex(L, index), .key = key};
    return keep_protected(&kept);
}
