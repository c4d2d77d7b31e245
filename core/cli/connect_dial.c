// From a URL to an open WebSocket: addresses, the opening handshake, redirects, refusals.
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/connect.h"
#include "proto/response.h"

enum {
    REDIRECTS_MAX = 5,
    CONNECT_MS = 10000, ///< for each address
    OPENING_MS = 30000, ///< from the request to the whole answer
};

/// A window smaller than zlib's largest is taken from a server that asks for it. RFC 7692 section 7.1.2.2
static const struct peri_deflate_terms OFFER = {.client_bits = PERI_WINDOW_MAX};

static const struct peri_response_limits LIMITS = {
    .head_bytes = 64 * 1024, .head_fields = 200, .body_bytes = 16 * 1024};

/// One try at one URL.
struct dial {
    const struct connect_options *options;
    struct peri_buffer text; ///< the URL a redirect gave, which opening is about
    struct peri_opening opening;
    struct peri_buffer request, rest;
    struct peri_response_parser *parser;
    const struct peri_response *response; ///< borrowed from parser
    struct peri_opening_choice choice;    ///< of the response
    struct connect_wire wire;
};

static enum peri_exit fail_memory(void) {
    peri_complain("out of memory");
    return PERI_EXIT_FAILED;
}

/// A line on stderr about what a peer sent, with nothing in it that drives a terminal.
static void complain_of(const char *before, struct peri_str text) {
    struct peri_buffer shown = {0};
    if (connect_show_text(&shown, text, 2) == PERI_OK) {
        peri_complain("%s%.*s", before, (int)shown.len, (const char *)shown.ptr); // of a head
    }
    peri_buffer_deinit(&shown);
}

// TCP

/// Waits for the descriptor. @return false at the deadline, or when poll failed
static bool wait_for(int fd, short events, int64_t deadline_ms) {
    for (;;) {
        int64_t left = deadline_ms - connect_now_ms();
        struct pollfd polled = {.fd = fd, .events = events};
        int n = poll(&polled, 1, left > 0 ? (int)left : 0); // at most OPENING_MS
        if (n > 0) {
            return true;
        }
        if (n == 0) {
            errno = ETIMEDOUT;
            return false;
        }
        if (errno != EINTR) {
            return false;
        }
    }
}

/// @return an fd that is not blocking; -1 with errno set
static int connect_to(const struct addrinfo *address) {
    int on = 1, error = 0;
    socklen_t size = sizeof error;
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    address->ai_protocol);
    if (fd < 0) {
        return -1;
    }
    if (connect(fd, address->ai_addr, address->ai_addrlen) < 0) {
        if (errno != EINPROGRESS || !wait_for(fd, POLLOUT, connect_now_ms() + CONNECT_MS)) {
            error = errno;
        } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) {
            error = errno;
        }
    }
    if (error != 0) {
        (void)close(fd);
        errno = error;
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/// "%25" before a zone is its "%". RFC 6874
static void unescape_zone(char *host) {
    char *at = strstr(host, "%25");
    if (at) {
        memmove(at + 1, at + 3, strlen(at + 3) + 1);
    }
}

static enum peri_exit open_socket(struct dial *dial) {
    const struct peri_ws_url *url = &dial->opening.url;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char host[256], port[8];
    if (url->host.len >= sizeof host) {
        peri_complain("the name of the host is too long");
        return PERI_EXIT_FAILED;
    }
    (void)snprintf(host, sizeof host, "%.*s", (int)url->host.len, url->host.ptr);
    (void)snprintf(port, sizeof port, "%u", url->port);
    if (url->is_ipv6) {
        unescape_zone(host);
    }
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        peri_complain("there is no host \"%s\": %s", host,
                      rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
        return PERI_EXIT_FAILED;
    }
    int error = 0;
    for (const struct addrinfo *at = found; at && dial->wire.fd < 0; at = at->ai_next) {
        dial->wire.fd = connect_to(at);
        error = dial->wire.fd < 0 ? errno : 0;
    }
    freeaddrinfo(found);
    if (dial->wire.fd < 0) {
        peri_complain(
            url->is_ipv6 ? "can't connect to [%s]:%s: %s%s" : "can't connect to %s:%s: %s%s", host,
            port, strerror(error), error == ECONNREFUSED ? ": does anything listen there?" : "");
        return PERI_EXIT_FAILED;
    }
    return PERI_EXIT_DONE;
}

// TLS

static enum peri_exit shake_hands(struct dial *dial) {
    const struct connect_options *options = dial->options;
    struct peri_str host = dial->opening.url.host;
    int64_t deadline_ms = connect_now_ms() + CONNECT_MS;
    struct peri_buffer error = {0};
    enum peri_tls_wait wait = PERI_TLS_WAIT_READ;
    int rc = peri_tls_client_new(&dial->wire.tls, dial->wire.fd, host, &options->trust, &error);
    if (rc == PERI_E_INVALID) {
        peri_complain("%.*s", (int)error.len, (const char *)error.ptr);
    }
    peri_buffer_deinit(&error);
    if (rc != PERI_OK) {
        return rc == PERI_E_INVALID ? PERI_EXIT_FAILED : fail_memory();
    }
    while ((rc = peri_tls_client_shake_hands(dial->wire.tls, &wait)) == PERI_AGAIN &&
           wait_for(dial->wire.fd, wait == PERI_TLS_WAIT_READ ? POLLIN : POLLOUT, deadline_ms)) {
    }
    switch (rc) {
    case PERI_OK: return PERI_EXIT_DONE;
    case PERI_AGAIN: peri_complain("the TLS handshake failed: %s", strerror(errno)); break;
    case PERI_E_INVALID:
        peri_complain("%.*s is not to be trusted: %s. See --ca and --insecure", PERI_SHOWN(host),
                      peri_tls_client_why(dial->wire.tls));
        break;
    default:
        peri_complain("the TLS handshake failed: %s", peri_tls_client_why(dial->wire.tls));
        break;
    }
    return PERI_EXIT_FAILED;
}

// HTTP

static int write_all(struct connect_wire *wire, const struct peri_buffer *bytes,
                     int64_t deadline_ms) {
    int rc = PERI_OK;
    for (size_t at = 0, n = 0; at < bytes->len && rc == PERI_OK; at += n) {
        n = 0;
        rc = connect_wire_write(wire, bytes->ptr + at, bytes->len - at, &n);
        if (rc == PERI_AGAIN) {
            rc = wait_for(wire->fd, POLLOUT, deadline_ms) ? PERI_OK : PERI_E_CLOSED;
        }
    }
    return rc;
}

/// Reads until the response is whole. Sets *why, unless the wire says it.
static int read_response(struct dial *dial, int64_t deadline_ms, const char **why) {
    uint8_t bytes[WIRE_READ_BYTES];
    int rc = PERI_AGAIN;
    while (rc == PERI_AGAIN) {
        size_t n = 0;
        int read = connect_wire_read(&dial->wire, bytes, sizeof bytes, &n);
        if (read == PERI_AGAIN && wait_for(dial->wire.fd, POLLIN, deadline_ms)) {
            continue;
        }
        if (read != PERI_OK) {
            return read == PERI_AGAIN ? PERI_E_CLOSED : read;
        }
        struct peri_span in = {bytes, n};
        rc = n > 0 ? peri_response_parser_feed(dial->parser, &in, &dial->response)
                   : peri_response_parser_end(dial->parser, &dial->response);
        if (rc == PERI_OK) {
            rc = peri_buffer_append(&dial->rest, in.ptr, in.len);
        }
    }
    *why = peri_response_parser_why(dial->parser);
    return rc;
}

/// Sends the request and reads what comes.
static enum peri_exit ask(struct dial *dial) {
    uint8_t nonce[PERI_OPENING_NONCE_BYTES];
    int64_t deadline_ms = connect_now_ms() + OPENING_MS;
    const char *why = NULL;
    if (getentropy(nonce, sizeof nonce) < 0) {
        peri_complain("no random bytes: %s", strerror(errno));
        return PERI_EXIT_FAILED;
    }
    peri_opening_set_key(&dial->opening, nonce);
    dial->parser = peri_response_parser_new(&LIMITS);
    // The command line was checked, so it is only memory that can be wanting.
    if (!dial->parser || peri_opening_write(&dial->request, &dial->opening) != PERI_OK) {
        return fail_memory();
    }
    int rc = write_all(&dial->wire, &dial->request, deadline_ms);
    if (rc == PERI_OK) {
        rc = read_response(dial, deadline_ms, &why);
    }
    switch (rc) {
    case PERI_OK: return PERI_EXIT_DONE;
    case PERI_E_INVALID: peri_complain("no WebSocket there: %s", why); break;
    case PERI_E_SYSTEM:
        peri_complain("the connection failed: %s", connect_wire_why(&dial->wire));
        break;
    case PERI_E_CLOSED: peri_complain("the connection failed: %s", strerror(errno)); break;
    default: return fail_memory();
    }
    return PERI_EXIT_FAILED;
}

// What comes of it

static void say_refusal(const struct peri_response *response) {
    struct peri_buffer line = {0};
    struct peri_str reason = response->reason.len > 0
                                 ? response->reason
                                 : peri_str_of(peri_status_text(response->status));
    if (peri_buffer_printf(&line, "refused: %d ", response->status) == PERI_OK &&
        peri_buffer_append_str(&line, reason) == PERI_OK) {
        complain_of("", peri_buffer_str(&line));
    }
    line.len = 0;
    if (response->body.len > 0 && connect_show_text(&line, response->body, 0) == PERI_OK) {
        (void)fprintf(stderr, "%.*s", (int)line.len, (const char *)line.ptr); // 6 times 16 KiB
        if (response->body_is_cut) {
            (void)fputs("...", stderr);
        }
        if (response->body_is_cut || line.ptr[line.len - 1] != '\n') {
            (void)fputc('\n', stderr);
        }
    }
    peri_buffer_deinit(&line);
}

/// Where a redirect leads; false when the response is none.
static bool is_redirect(const struct peri_response *response, struct peri_str *location) {
    switch (response->status) {
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
        return peri_fields_get(response->fields, response->field_count, PERI_STR("location"),
                               location) &&
               location->len > 0;
    default: return false;
    }
}

/// All that was agreed on of compression. A window of 15 bits is what there is without a word of it.
static int greet_terms(struct peri_buffer *greeting, struct peri_deflate_terms terms) {
    terms.server_bits = terms.server_bits == PERI_WINDOW_MAX ? 0 : terms.server_bits;
    terms.client_bits = terms.client_bits == PERI_WINDOW_MAX ? 0 : terms.client_bits;
    int rc = peri_buffer_append(greeting, ", ", 2);
    return rc == PERI_OK ? peri_deflate_print(&terms, false, greeting) : rc;
}

static int greet_choice(struct peri_buffer *greeting, const struct dial *dial) {
    const struct peri_opening_choice *choice = &dial->choice;
    bool verbose = dial->options->verbose;
    int rc = PERI_OK;
    if (choice->protocol.len > 0) {
        rc = peri_buffer_printf(greeting, " (%.*s)", (int)choice->protocol.len,
                                choice->protocol.ptr);
    }
    if (rc != PERI_OK) {
        return rc;
    }
    if (!choice->deflates) {
        return verbose ? peri_buffer_append_str(greeting, PERI_STR(", not compressed")) : PERI_OK;
    }
    return verbose ? greet_terms(greeting, choice->terms)
                   : peri_buffer_append_str(greeting, PERI_STR(", compressed"));
}

static int greet(struct peri_buffer *greeting, const struct dial *dial) {
    int rc = peri_buffer_printf(greeting, "connected to %s://",
                                dial->opening.url.is_secure ? "wss" : "ws");
    if (rc == PERI_OK) {
        rc = peri_ws_url_write_host(greeting, &dial->opening.url); // without a password in the URL
    }
    if (rc == PERI_OK) {
        rc = peri_ws_url_write_target(greeting, &dial->opening.url);
    }
    return rc == PERI_OK ? greet_choice(greeting, dial) : rc;
}

/// @return FAILED, having said why, unless it is open
static enum peri_exit judge(struct dial *dial) {
    const char *why = NULL;
    switch (peri_opening_check(&dial->opening, dial->response, &dial->choice, &why)) {
    case PERI_OK: return PERI_EXIT_DONE;
    case PERI_E_INVALID: say_refusal(dial->response); break;
    case PERI_E_PROTOCOL: peri_complain("the host's 101 is not to be believed: %s", why); break;
    default: return fail_memory();
    }
    return PERI_EXIT_FAILED;
}

static void end_try(struct dial *dial) {
    connect_wire_close(&dial->wire);
    peri_response_parser_free(dial->parser);
    dial->parser = NULL;
    dial->request.len = dial->rest.len = 0;
}

/// Takes the next URL, which a redirect gave. What was meant for one host does not go to another.
static enum peri_exit turn_to(struct dial *dial, struct peri_str location) {
    struct peri_buffer next = {0};
    struct peri_ws_url url;
    const char *why = NULL;
    if (peri_ws_url_resolve(&next, &dial->opening.url, location) != PERI_OK) {
        return fail_memory();
    }
    if (peri_ws_url_parse(&url, peri_buffer_str(&next), &why) != PERI_OK) {
        complain_of("redirected to no WebSocket: ", peri_buffer_str(&next));
        peri_buffer_deinit(&next);
        return PERI_EXIT_FAILED;
    }
    if (dial->opening.url.is_secure && !url.is_secure) {
        complain_of("redirected to where nothing is encrypted: ", peri_buffer_str(&next));
        peri_buffer_deinit(&next);
        return PERI_EXIT_FAILED;
    }
    if (dial->options->tells) {
        complain_of("redirected to ", peri_buffer_str(&next));
    }
    bool same_host = peri_ws_url_same_host(&url, &dial->opening.url);
    url.has_user_info = same_host && dial->opening.url.has_user_info;
    url.user_info = dial->opening.url.user_info; // in the first URL, which is there to the end
    if (!same_host) {
        dial->opening.field_count = 0;
    }
    end_try(dial);
    dial->opening.url = url;
    peri_buffer_deinit(&dial->text);
    dial->text = next;
    return PERI_EXIT_DONE;
}

static enum peri_exit follow(struct dial *dial) {
    for (int redirects = 0;; redirects++) {
        struct peri_str location;
        enum peri_exit status = open_socket(dial);
        if (status == PERI_EXIT_DONE && dial->opening.url.is_secure) {
            status = shake_hands(dial);
        }
        if (status == PERI_EXIT_DONE) {
            status = ask(dial);
        }
        if (status != PERI_EXIT_DONE) {
            return status;
        }
        if (!is_redirect(dial->response, &location)) {
            return judge(dial);
        }
        if (redirects == REDIRECTS_MAX) {
            peri_complain("redirected more than %d times", REDIRECTS_MAX);
            return PERI_EXIT_FAILED;
        }
        status = turn_to(dial, location);
        if (status != PERI_EXIT_DONE) {
            return status;
        }
    }
}

/// Moves what is open to the caller.
static enum peri_exit hand_over(struct dial *dial, struct connect_opened *opened) {
    if (greet(&opened->greeting, dial) != PERI_OK) {
        peri_buffer_deinit(&opened->greeting);
        return fail_memory();
    }
    opened->wire = dial->wire;
    opened->rest = dial->rest;
    opened->deflates = dial->choice.deflates;
    opened->terms = dial->choice.terms;
    dial->wire = (struct connect_wire){.fd = -1};
    dial->rest = (struct peri_buffer){0};
    return PERI_EXIT_DONE;
}

enum peri_exit connect_dial(const struct connect_options *options, struct connect_opened *opened) {
    struct dial dial = {
        .options = options,
        .opening = {.fields = options->fields,
                    .field_count = options->field_count,
                    .protocols = options->protocols,
                    .protocol_count = options->protocol_count,
                    .deflate = options->no_deflate ? NULL : &OFFER},
        .wire = {.fd = -1},
    };
    const char *why = NULL;
    if (peri_ws_url_parse(&dial.opening.url, peri_str_of(options->url), &why) != PERI_OK) {
        peri_complain("\"%s\" is no WebSocket's URL: %s", options->url, why);
        return PERI_EXIT_USAGE;
    }
    enum peri_exit status = follow(&dial);
    if (status == PERI_EXIT_DONE) {
        status = hand_over(&dial, opened);
    }
    end_try(&dial);
    peri_buffer_deinit(&dial.request);
    peri_buffer_deinit(&dial.rest);
    peri_buffer_deinit(&dial.text);
    return status;
}
