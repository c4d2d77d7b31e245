// Where control sockets lie when nobody says where: one a host, in a folder of the user's own.
#pragma once

#include <stdint.h>

#include "base/buffer.h"

/// The path for a host, in XDG_RUNTIME_DIR, or in a private folder of the system's temporary one,
/// which is made.
/// @param port  0: it has none
/// @param path  appended with it and a NUL
/// @param error on failure: appended with one line for the user
/// @return PERI_OK; PERI_E_SYSTEM; PERI_E_MEMORY
PERI_MUST_CHECK int peri_control_place(uint16_t port, struct peri_buffer *path,
                                       struct peri_buffer *error);

/// The sockets in these places, and for root in that of the service, on which a host listens.
/// @param paths appended, each with its NUL
/// @return how many; PERI_E_MEMORY
PERI_MUST_CHECK int peri_control_list(struct peri_buffer *paths);

/// Connects, waiting. @return a descriptor; -1 and errno
int peri_control_connect(const char *path);
