// A worker's loop: it owns the sockets, reads and writes them, keeps the clocks, and drives the
// hub turn by turn. Implements hub/ports.h.
#pragma once

#include "base/ip.h"
#include "hub/hub.h"
#include "hub/router.h"

struct peri_server;

enum { PERI_HOST_MAX = 256 };

/// Where to listen: a TCP port, or a socket of the file system.
struct peri_endpoint {
    char host[PERI_HOST_MAX]; ///< "localhost": both loopback addresses; else resolved
    uint16_t port;            ///< 0: the system picks one
    const char *path;         ///< of a socket of the file system; NULL: host and port count
    bool proxy;               ///< each connection begins with a header of the PROXY protocol
};

/// Reads "HOST:PORT", "[IPV6]:PORT" or "unix:PATH", with "proxy:" before it or not.
/// @param text outlives the endpoint
/// @return false for anything else
bool peri_endpoint_read(struct peri_endpoint *endpoint, const char *text);

/// A file that the host has without a folder.
struct peri_asset {
    struct peri_str path; ///< of its URL, from the slash on
    struct peri_str content;
};

/// A certificate with its chain and the private key that belongs to it: paths of files in PEM form.
struct peri_tls_pair {
    const char *certificate, *key;
};

/// Who answers on the control socket, a line for each line, in their order. All but `open` may say
/// PERI_E_MEMORY, which hangs up. Called between two turns of the hub.
struct peri_control {
    void *self;
    size_t line_max; ///< bytes of a request; one that is longer is given as far as it was read
    void *(*open)(void *self); ///< @return the client's own; NULL without memory
    /// @param line without its newline
    /// @param out  appended with the answer
    /// @return PERI_OK; PERI_AGAIN: the answer is owed, and nothing else is asked until it is there
    int (*line)(void *client, struct peri_str line, struct peri_buffer *out);
    /// Is what is owed there? Asked after news, and a few times a second. @return as line
    int (*later)(void *client, struct peri_buffer *out);
    void (*close)(void *client);
};

/// A stream of events for pages (Server-Sent Events), at a path of its own.
struct peri_feed {
    struct peri_str path; ///< goes before any script's route; len 0: there is no feed
    void *self;
    /// Appends what a new client hears first, events or comments. Between two turns of the hub.
    /// @return PERI_OK or PERI_E_MEMORY
    int (*greet)(void *self, struct peri_buffer *out);
};

struct peri_server_options {
    /// Not used when a service manager has passed sockets (LISTEN_FDS).
    const struct peri_endpoint *endpoints;
    size_t endpoint_count;
    /// Whom to believe about the addresses of others. Its ranges outlive the server.
    struct peri_ip_set trusted_proxies;
    /// With any, what is not a socket of the file system speaks TLS. The first is the default.
    const struct peri_tls_pair *tls_pairs;
    size_t tls_pair_count;
    const struct peri_limits *limits; ///< final when peri_server_listen is called
    const struct peri_router *router; ///< filled when peri_server_run is called
    const char *public_dir;           ///< NULL for no files
    const char *watch_dir;            ///< of scripts: policy is told when it changes; NULL: never
    const struct peri_asset *assets;  ///< where public_dir has no file of that path
    size_t asset_count;
    struct peri_feed feed;
    struct peri_hub *hub;         ///< its policy is set when peri_server_run is called
    void (*cut_waits)(void *arg); ///< the host ends: no handler may wait any longer
    /// Hears of ports.news, in the midst of a handler too; NULL: nobody does.
    void (*news)(void *arg, const struct peri_news *news);
    void *arg; ///< of both
};

/// Gives the hub its ports.
/// @param options copied; what it points to outlives the server
/// @return owned; NULL when out of memory
PERI_MUST_CHECK struct peri_server *peri_server_new(const struct peri_server_options *options);

/// Reads the certificates, binds and listens. Who connects waits until peri_server_run.
/// @param error on failure: appended with one line for the user
/// @return PERI_OK; PERI_E_SYSTEM; PERI_E_INVALID (a certificate or key); PERI_E_MEMORY
PERI_MUST_CHECK int peri_server_listen(struct peri_server *server, struct peri_buffer *error);

/// Where it listens, a line each: "http://HOST:PORT", "https://HOST:PORT" or "unix:PATH", or what is
/// read with "proxy:". Borrowed.
struct peri_str peri_server_addresses(const struct peri_server *server);

/// The TCP port of the first of them; 0 for none.
uint16_t peri_server_port(const struct peri_server *server);

/// Makes the control socket, for this user and root alone: mode 0600, and whoever connects is asked
/// for. Who does waits until peri_server_run.
/// @param path    copied
/// @param control copied; its self outlives peri_server_run
/// @param error   on failure: appended with one line for the user
/// @return PERI_OK; PERI_E_SYSTEM; PERI_E_MEMORY
PERI_MUST_CHECK int peri_server_open_control(struct peri_server *server, const char *path,
                                             const struct peri_control *control,
                                             struct peri_buffer *error);

/// From here on SIGINT and SIGTERM are the server's, and wait for peri_server_run. With TLS SIGHUP
/// is, too: it has the certificates read anew.
/// @return PERI_OK; PERI_E_SYSTEM when they can't be had
PERI_MUST_CHECK int peri_server_start(struct peri_server *server);

/// Serves until SIGINT or SIGTERM, then drains (limits drain_s and drain_stop_s); a second
/// signal ends at once. Afterwards every connection is detached, and no work is left on other threads.
/// A service manager is told both.
void peri_server_run(struct peri_server *server);

/// Says an event, worded as a feed is, to all who listen now. May be called in the midst of a handler.
void peri_server_publish(struct peri_server *server, struct peri_str event);

/// What a signal does: begins to drain, or ends at once when it is draining. From the loop's own
/// thread.
void peri_server_stop(struct peri_server *server);

/// The program is about to end: SIGINT, SIGTERM and SIGHUP stay blocked. The hub must not be used
/// afterwards, since its ports are gone.
void peri_server_free(struct peri_server *server); ///< NULL does nothing
