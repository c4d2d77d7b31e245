// The bytes of a connection: as they are on its socket, or by TLS.
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/connect.h"

/// What a failed recv or send means.
static int judge_errno(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? PERI_AGAIN : PERI_E_SYSTEM;
}

/// The same for TLS: how it failed is in connect_wire_why.
static int judge_tls(int rc) {
    return rc == PERI_OK || rc == PERI_AGAIN ? rc : PERI_E_SYSTEM;
}

int connect_wire_read(struct connect_wire *wire, uint8_t *bytes, size_t size, size_t *n) {
    if (wire->tls) {
        return judge_tls(peri_tls_client_read(wire->tls, bytes, size, n));
    }
    ssize_t got = recv(wire->fd, bytes, size, MSG_DONTWAIT);
    if (got < 0) {
        return judge_errno();
    }
    *n = (size_t)got; // not negative
    return PERI_OK;
}

int connect_wire_write(struct connect_wire *wire, const uint8_t *bytes, size_t size, size_t *n) {
    if (wire->tls) {
        return judge_tls(peri_tls_client_write(wire->tls, bytes, size, n));
    }
    ssize_t sent = send(wire->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        return judge_errno();
    }
    *n = (size_t)sent; // not negative
    return PERI_OK;
}

const char *connect_wire_why(const struct connect_wire *wire) {
    return wire->tls ? peri_tls_client_why(wire->tls) : strerror(errno);
}

void connect_wire_close(struct connect_wire *wire) {
    peri_tls_client_free(wire->tls);
    if (wire->fd >= 0) {
        (void)close(wire->fd);
    }
    *wire = (struct connect_wire){.fd = -1};
}
