// Where a value stands, as text for a message: `state.players[3].on_hit`.
#pragma once

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/// Bytes of the whole text, the reason at its end and a NUL included.
enum { PERI_PATH_MAX = 512 };

struct peri_path {
    char ptr[PERI_PATH_MAX];
    size_t len;
    bool is_cut; ///< three dots stand for the rest of the steps
};

/// Begins it, with the name of what holds all the rest.
void peri_path_begin(struct peri_path *path, const char *name);

/// Adds the step to what is at the key at `index`: `.name`, `[3]`, `["any \\000 bytes"]`, `[conn]`.
/// Where it has no room, three dots. Never raises.
void peri_path_key(struct peri_path *path, lua_State *L, int index);

/// Adds what there is to say of it. 64 bytes have room whatever the path.
void peri_path_end(struct peri_path *path, const char *what, const char *why);
