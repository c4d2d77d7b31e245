// What upgrade and request answer, and ws.reject.
#pragma once

#include "script/door.h"

/// The entries of the two handlers that answer an HTTP exchange.
extern const struct peri_entry peri_upgrade_entry;
extern const struct peri_entry peri_request_entry;

/// Adds ws.reject to the table on top. [-0, +0]; may raise
void peri_reply_open(lua_State *L);

/// Answers an exchange with a plain status, as when a handler raised.
void peri_reply_status(struct peri_hub *hub, uint64_t exchange, int status);
