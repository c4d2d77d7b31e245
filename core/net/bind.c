// Where the host listens: endpoints bound by name, sockets of the file system, and sockets that a
// service manager has bound already.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "net/internal.h"
#include "net/service.h"

enum {
    BACKLOG = 4096,
    PORT_TRIES = 16,
};

/// What "proxy:" may stand before.
static bool read_place(struct peri_endpoint *endpoint, const char *text) {
    if (strncmp(text, "unix:", 5) == 0) {
        endpoint->path = text + 5;
        return text[5] != '\0';
    }
    const char *colon = strrchr(text, ':');
    if (!colon || colon[1] < '0' || colon[1] > '9') {
        return false;
    }
    char *end;
    long port = strtol(colon + 1, &end, 10);
    struct peri_str host = peri_str(text, (size_t)(colon - text)); // it is behind the text's start
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        host = peri_str(host.ptr + 1, host.len - 2); // IPv6. RFC 3986 section 3.2.2
    } else if (memchr(host.ptr, ':', host.len)) {
        return false;
    }
    if (*end != '\0' || port > UINT16_MAX || host.len == 0 || host.len >= sizeof endpoint->host) {
        return false;
    }
    memcpy(endpoint->host, host.ptr, host.len);
    endpoint->port = (uint16_t)port;
    return true;
}

bool peri_endpoint_read(struct peri_endpoint *endpoint, const char *text) {
    static const char mark[] = "proxy:";
    size_t n = sizeof mark - 1;
    // proxy:8000 is a host of that name.
    bool proxy = strncmp(text, mark, n) == 0 && strchr(text + n, ':');
    *endpoint = (struct peri_endpoint){.proxy = proxy};
    return read_place(endpoint, text + (proxy ? n : 0));
}

/// Says where it listens, as a user would write it. @return PERI_OK or PERI_E_MEMORY
static int announce(struct peri_server *server, bool proxy, const char *host, uint16_t port) {
    server->port = server->port == 0 ? port : server->port;
    bool literal = strchr(host, ':') != NULL; // IPv6: RFC 3986 section 3.2.2
    const char *before = proxy ? "proxy:" : server->tls ? "https://" : "http://";
    return peri_buffer_printf(&server->addresses, "%s%s%s%s:%u\n", before, literal ? "[" : "", host,
                              literal ? "]" : "", port);
}

/// @return PERI_E_SYSTEM, or PERI_E_MEMORY if that can't be told
static int fail(const struct peri_endpoint *endpoint, int why, struct peri_buffer *error) {
    const char *text = strerror(why);
    int rc;
    if (endpoint->path) {
        rc = peri_buffer_printf(error, "cannot listen on unix:%s: %s", endpoint->path,
                                peri_socket_file_why(why));
    } else {
        text = why == EADDRINUSE ? "the port is in use" : text;
        const char *way_out = why == EADDRINUSE      ? ": choose another with --port, 0 for any"
                              : why == EACCES        ? ": ports below 1024 need rights; use --port"
                              : why == EADDRNOTAVAIL ? ": no interface has this address; use --host"
                                                     : "";
        rc = peri_buffer_printf(error, "cannot listen on %s, port %u: %s%s", endpoint->host,
                                endpoint->port, text, way_out);
    }
    return rc == PERI_OK ? PERI_E_SYSTEM : rc;
}

// TCP

static uint16_t *port_of(union peri_address *address) {
    return address->any.sa_family == AF_INET6 ? &address->v6.sin6_port : &address->v4.sin_port;
}

/// What is sent shall leave at once: sockets that are accepted inherit it. A Unix socket does not mind.
static void send_at_once(int fd) {
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// Binds one address and listens.
/// @param port advanced to the one that the system picked
/// @return 0 or an errno
static int bind_one(struct peri_server *server, const struct peri_endpoint *endpoint,
                    const union peri_address *wanted, uint16_t *port) {
    union peri_address address = *wanted;
    socklen_t length = address.any.sa_family == AF_INET6 ? sizeof address.v6 : sizeof address.v4;
    int on = 1, off = 0;
    if (server->listener_count == LISTENERS_MAX) {
        return EMFILE;
    }
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    *port_of(&address) = htons(*port);
    // A host that was killed leaves connections in TIME_WAIT: they must not hold the port.
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    send_at_once(fd);
    if (address.any.sa_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off); // "::" is all addresses
    }
    if (bind(fd, &address.any, length) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, &address.any, &length) < 0) {
        int why = errno;
        close(fd);
        return why;
    }
    server->listeners[server->listener_count++] =
        (struct peri_listener){.fd = fd, .tls = server->tls != NULL, .proxy = endpoint->proxy};
    *port = ntohs(*port_of(&address));
    return 0;
}

/// Closes all but the first n.
static void unbind(struct peri_server *server, size_t n) {
    while (server->listener_count > n) {
        peri_listener_forget(&server->listeners[--server->listener_count]);
    }
}

/// Both loopback addresses on one port; one of the two may be missing.
static int open_loopback(struct peri_server *server, const struct peri_endpoint *endpoint,
                         struct peri_buffer *error) {
    const union peri_address v4 = {
        .v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}};
    const union peri_address v6 = {
        .v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
    size_t before = server->listener_count;
    uint16_t port = endpoint->port;
    int why4 = 0, why6 = 0;
    // A port that the system picked on one may be taken on the other.
    for (int i = 0; i < (endpoint->port == 0 ? PORT_TRIES : 1); i++) {
        unbind(server, before);
        port = endpoint->port;
        why4 = bind_one(server, endpoint, &v4, &port);
        why6 = bind_one(server, endpoint, &v6, &port);
        if (why6 != EADDRINUSE) {
            break;
        }
    }
    if (why4 == EADDRINUSE || why6 == EADDRINUSE) {
        return fail(endpoint, EADDRINUSE, error);
    }
    if (why4 != 0 && why6 != 0) {
        return fail(endpoint, why4, error);
    }
    if (why4 != 0 || why6 != 0) {
        peri_log(PERI_LOG_WARN, "not listening on %s: %s", why4 != 0 ? "127.0.0.1" : "::1",
                 strerror(why4 != 0 ? why4 : why6));
    }
    return announce(server, endpoint->proxy, endpoint->host, port);
}

static int open_host(struct peri_server *server, const struct peri_endpoint *endpoint,
                     struct peri_buffer *error) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(endpoint->host, NULL, &hints, &found);
    if (rc != 0) {
        rc = peri_buffer_printf(error, "cannot listen on %s: %s; choose an address with --host",
                                endpoint->host, gai_strerror(rc));
        return rc == PERI_OK ? PERI_E_SYSTEM : rc;
    }
    int why = 0;
    uint16_t port = endpoint->port; // the first address may pick it, for all
    for (const struct addrinfo *at = found; at && why == 0; at = at->ai_next) {
        union peri_address address = {0};
        if (at->ai_addrlen <= sizeof address) {
            memcpy(&address, at->ai_addr, at->ai_addrlen);
            why = bind_one(server, endpoint, &address, &port);
        }
    }
    freeaddrinfo(found);
    return why == 0 ? announce(server, endpoint->proxy, endpoint->host, port)
                    : fail(endpoint, why, error);
}

// Sockets of the file system

/// @return 0 or an errno
static int bind_path(struct peri_server *server, const struct peri_endpoint *endpoint) {
    if (server->listener_count == LISTENERS_MAX) {
        return EMFILE;
    }
    struct peri_listener *listener = &server->listeners[server->listener_count];
    *listener = (struct peri_listener){.proxy = endpoint->proxy};
    int why = peri_socket_file_open(&listener->file, endpoint->path, 0, &listener->fd);
    server->listener_count += why == 0;
    return why;
}

void peri_listener_forget(struct peri_listener *listener) {
    close(listener->fd);
    peri_socket_file_remove(&listener->file);
}

static int open_path(struct peri_server *server, const struct peri_endpoint *endpoint,
                     struct peri_buffer *error) {
    int why = bind_path(server, endpoint);
    return why == 0 ? peri_buffer_printf(&server->addresses, "%sunix:%s\n",
                                         endpoint->proxy ? "proxy:" : "", endpoint->path)
                    : fail(endpoint, why, error);
}

// Sockets that were passed

static int announce_passed(struct peri_server *server, bool proxy,
                           const union peri_address *address, socklen_t length) {
    char host[PERI_IP_TEXT];
    const struct sockaddr_un *local = &address->local;
    if (address->any.sa_family != AF_UNIX) {
        uint16_t port =
            address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port;
        struct peri_ip ip = peri_address_ip(address);
        peri_ip_print(host, &ip);
        return announce(server, proxy, host, ntohs(port));
    }
    size_t n = length - offsetof(struct sockaddr_un, sun_path); // at least the family was written
    bool abstract = n > 0 && local->sun_path[0] == '\0';
    n = abstract ? n - 1 : strnlen(local->sun_path, n);
    return peri_buffer_printf(&server->addresses, "%sunix:%s%.*s\n", proxy ? "proxy:" : "",
                              abstract ? "@" : "", (int)n, local->sun_path + abstract);
}

static int adopt(struct peri_server *server, int fd, bool proxy, struct peri_buffer *error) {
    union peri_address address = {0};
    int listens = 0, type = 0;
    socklen_t length = sizeof listens, address_length = sizeof address;
    socklen_t type_length = sizeof type;
    int flags = fcntl(fd, F_GETFL);
    bool fits = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens &&
                getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_length) == 0 &&
                type == SOCK_STREAM && getsockname(fd, &address.any, &address_length) == 0 &&
                (address.any.sa_family == AF_INET || address.any.sa_family == AF_INET6 ||
                 address.any.sa_family == AF_UNIX);
    if (!fits || server->listener_count == LISTENERS_MAX || flags < 0 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        int rc = peri_buffer_printf(error,
                                    "descriptor %d, passed by LISTEN_FDS, is no listening stream "
                                    "socket: see ListenStream= and Accept=no",
                                    fd);
        return rc == PERI_OK ? PERI_E_SYSTEM : rc;
    }
    send_at_once(fd);
    server->listeners[server->listener_count++] = (struct peri_listener){
        .fd = fd, .tls = server->tls && address.any.sa_family != AF_UNIX, .proxy = proxy};
    return announce_passed(server, proxy, &address, address_length);
}

/// A place where nobody may speak is a mistake.
static int check_proxies(const struct peri_server *server, struct peri_buffer *error) {
    bool expected = false;
    for (size_t i = 0; i < server->listener_count; i++) {
        expected = expected || server->listeners[i].proxy;
    }
    if (!expected || server->options.trusted_proxies.count > 0) {
        return PERI_OK;
    }
    int rc = peri_buffer_printf(error, "cannot listen for the PROXY protocol: nobody is believed; "
                                       "say whom with --trusted-proxies");
    return rc == PERI_OK ? PERI_E_SYSTEM : rc;
}

/// Sockets of the file system are for who is on the machine, a proxy as a rule.
static void check_tls_has_use(const struct peri_server *server) {
    for (size_t i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].tls) {
            return;
        }
    }
    if (server->tls) {
        peri_log(PERI_LOG_WARN, "tls_cert is of no use: unix: sockets do not speak TLS");
    }
}

int peri_listener_bind(struct peri_server *server, struct peri_buffer *error) {
    const struct peri_server_options *options = &server->options;
    struct peri_service_names names;
    int passed = peri_service_sockets(&names);
    int rc = PERI_OK;
    for (int i = 0; i < passed && rc == PERI_OK; i++) {
        bool proxy = peri_service_name_is(&names, i, "proxy");
        rc = adopt(server, PERI_SERVICE_FIRST_FD + i, proxy, error);
    }
    for (size_t i = 0; i < options->endpoint_count && passed == 0 && rc == PERI_OK; i++) {
        const struct peri_endpoint *endpoint = &options->endpoints[i];
        rc = endpoint->path                             ? open_path(server, endpoint, error)
             : strcmp(endpoint->host, "localhost") == 0 ? open_loopback(server, endpoint, error)
                                                        : open_host(server, endpoint, error);
    }
    if (rc == PERI_OK) {
        rc = check_proxies(server, error);
    }
    if (rc == PERI_OK && passed > 0) {
        peri_log(PERI_LOG_INFO, "listening on sockets that were passed (LISTEN_FDS): %d", passed);
    }
    if (rc == PERI_OK) {
        check_tls_has_use(server);
    } else {
        unbind(server, 0);
    }
    return rc;
}
