// What a service manager such as systemd hands over and wants to know, by its protocols alone.
// sd_listen_fds(3), sd_notify(3)
#pragma once

#include <stdbool.h>

enum { PERI_SERVICE_FIRST_FD = 3 };

/// What the manager calls its sockets (FileDescriptorName=): as it comes, cut where it is longer.
struct peri_service_names {
    char text[4096];
};

/// How many listening sockets this process was started with, from PERI_SERVICE_FIRST_FD on. The
/// environment is cleared of them, so that a second call, and a child, has none.
int peri_service_sockets(struct peri_service_names *names);

/// Whether socket number i is called so.
bool peri_service_name_is(const struct peri_service_names *names, int i, const char *name);

/// Tells the manager, if there is one that asked for it: "READY=1", "STOPPING=1".
void peri_service_notify(const char *state);
