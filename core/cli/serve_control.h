// The control socket of a host that serves: admin's words on net's socket.
#pragma once

#include "admin/admin.h"
#include "cli/settings.h"

/// Zero-initialised is none.
struct peri_serve_control {
    struct peri_admin *admin; ///< NULL: there is no control socket
    struct peri_admin_about about;
};

/// Makes the socket that the settings name, or the default one; a default that can't be made is a
/// warning in the log.
/// @param control must not move afterwards
/// @param server  listens
/// @param dir     outlives it
/// @param error   on failure: appended with one line for the user
/// @return PERI_OK; PERI_E_SYSTEM; PERI_E_MEMORY
PERI_MUST_CHECK int peri_serve_control_open(struct peri_serve_control *control,
                                            const struct peri_settings *settings,
                                            struct peri_server *server, struct peri_hub *hub,
                                            const char *dir, struct peri_buffer *error);

void peri_serve_control_news(const struct peri_serve_control *control,
                             const struct peri_news *news);

/// The server must be gone.
void peri_serve_control_deinit(struct peri_serve_control *control);
