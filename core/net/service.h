// What a service manager such as systemd hands over and wants to know, by its protocols alone.
// sd_listen_fds(3), sd_notify(3)
#pragma once

enum { PERI_SERVICE_FIRST_FD = 3 };

/// How many listening sockets this process was started with, from PERI_SERVICE_FIRST_FD on. The
/// environment is cleared of them, so that a second call, and a child, has none.
int peri_service_sockets(void);

/// Tells the manager, if there is one that asked for it: "READY=1", "STOPPING=1".
void peri_service_notify(const char *state);
