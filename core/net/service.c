// Sockets from a service manager, and messages to it.
#include "net/service.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

/// A whole number in the environment; -1 for none.
static long read_number(const char *name) {
    const char *text = getenv(name);
    char *end;
    long number = text ? strtol(text, &end, 10) : -1;
    return text && *text != '\0' && *end == '\0' ? number : -1;
}

int peri_service_sockets(struct peri_service_names *names) {
    enum { FAR_TOO_MANY = 10000 };
    const char *named = getenv("LISTEN_FDNAMES");
    (void)snprintf(names->text, sizeof names->text, "%s", named ? named : "");
    long process = read_number("LISTEN_PID"), count = read_number("LISTEN_FDS");
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    // Meant for another process, which started this one: not ours.
    return process == getpid() && count > 0 && count < FAR_TOO_MANY ? (int)count : 0;
}

bool peri_service_name_is(const struct peri_service_names *names, int i, const char *name) {
    const char *at = names->text;
    for (; i > 0; i--) {
        at += strcspn(at, ":");
        at += *at == ':';
    }
    return strcspn(at, ":") == strlen(name) && strncmp(at, name, strlen(name)) == 0;
}

void peri_service_notify(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    size_t n = strlen(path);
    if (n >= sizeof address.sun_path) {
        peri_log(PERI_LOG_WARN, "NOTIFY_SOCKET is too long for a socket");
        return;
    }
    memcpy(address.sun_path, path, n);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; // abstract: not in the file system. unix(7)
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n); // within its size
    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
                         (const struct sockaddr *)&address, length) < 0) {
        peri_log(PERI_LOG_WARN, "the service manager cannot be told %s (NOTIFY_SOCKET)", state);
    }
    if (fd >= 0) {
        close(fd);
    }
}
