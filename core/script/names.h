// The names that scripts find: of the sandbox's globals and of the API's types.
#pragma once

#include <lua.h>
#include <stdbool.h>

#include "base/status.h"

enum peri_names {
    PERI_NAMES_GLOBALS,
    PERI_NAMES_WS,
    PERI_NAMES_ROOM,
    PERI_NAMES_CONN,
    PERI_NAMES_REQ,
    PERI_NAMES_LIMITER,
};

/// Pushes the table that has them, a method as a function: for a type's own, fields that its code
/// answers are not in it. To be read only. [-0, +1]; may raise for want of memory
void peri_names_push(lua_State *L, enum peri_names which);

/// The name in a table that is most like one that is not in it; of several the first by the
/// alphabet.
/// @param functions_only leaves out what is no function
/// @return borrowed from the table; NULL: none is like it
const char *peri_names_nearest(lua_State *L, int table, struct peri_str name, bool functions_only);
