#include "floors/floor.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 1024,
    BACKLOG = 4096,
    TLS_GATHERED = 64 * 1024,
    MOST_KEPT = 1 << 20, // of a frame; a floor serves our own load only
};

static int poller;
static uint8_t *input; // what was kept, and behind it what one recv brings

static _Noreturn void fail(const char *what) {
    perror(what);
    exit(1);
}

size_t floor_room(void) {
    return MOST_KEPT + FLOOR_READ_BYTES; // a server's frame is shorter than its client's
}

// --- Frames ---

bool floor_next(const uint8_t **in, size_t *n, struct floor_frame *frame) {
    const uint8_t *at = *in;
    if (*n < 6) {
        return false;
    }
    size_t len = at[1] & 0x7f, head = 6;
    if (len >= 126) {
        size_t bytes = len == 126 ? 2 : 8;
        head += bytes;
        if (*n < head) {
            return false;
        }
        len = 0;
        for (size_t i = 0; i < bytes; i++) {
            len = len << 8 | at[2 + i];
        }
    }
    if (*n - head < len) {
        return false;
    }
    *frame = (struct floor_frame){at[0], at + head - 4, at + head, len};
    *in += head + len;
    *n -= head + len;
    return true;
}

uint8_t *floor_write_length(size_t len, uint8_t *out) {
    if (len < 126) {
        *out++ = (uint8_t)len;
    } else {
        size_t bytes = len < 65536 ? 2 : 8;
        *out++ = bytes == 2 ? 126 : 127;
        for (size_t i = bytes; i-- > 0;) {
            *out++ = (uint8_t)(len >> (8 * i));
        }
    }
    return out;
}

uint8_t *floor_write(const struct floor_frame *frame, uint8_t *out) {
    *out++ = frame->first;
    out = floor_write_length(frame->len, out);
    uint64_t key, word;
    size_t i = 0;
    memcpy(&key, frame->key, 4);
    memcpy((uint8_t *)&key + 4, frame->key, 4);
    for (; i + 8 <= frame->len; i += 8) { // the compiler makes vectors of it
        memcpy(&word, frame->payload + i, 8);
        word ^= key;
        memcpy(out + i, &word, 8);
    }
    for (; i < frame->len; i++) {
        out[i] = frame->payload[i] ^ frame->key[i % 4];
    }
    return out + frame->len;
}

void floor_keep(struct floor_client *client, const uint8_t *in, size_t n) {
    uint8_t *copy = NULL;
    if (n > 0 && (n > MOST_KEPT || !(copy = malloc(n)))) {
        fail("a frame is too long");
    }
    if (n > 0) {
        memcpy(copy, in, n);
    }
    free(client->kept);
    client->kept = copy;
    client->kept_len = n;
}

// --- Sockets ---

static void watch(int how, struct floor_client *client, uint32_t events) {
    struct epoll_event event = {events, {.ptr = client}};
    if (epoll_ctl(poller, how, client->fd, &event) != 0) {
        fail("epoll_ctl");
    }
}

static void end(const struct floor_server *server, struct floor_client *client) {
    if (client->open && server->on_end) {
        server->on_end(client);
    }
    floor_behind -= client->unsent_len > 0;
    SSL_free(client->tls);
    close(client->fd);
    free(client->kept);
    free(client->unsent);
    free(client);
}

/// Records are gathered, so that they leave by one send as well.
static size_t put_tls(struct floor_client *client, const uint8_t *bytes, size_t n) {
    size_t taken = 0, part = 1;
    while (taken < n && SSL_write_ex(client->tls, bytes + taken, n - taken, &part) == 1) {
        taken += part;
    }
    client->unflushed = BIO_flush(SSL_get_wbio(client->tls)) != 1;
    if (client->unflushed) {
        watch(EPOLL_CTL_MOD, client, EPOLLIN | EPOLLOUT);
    }
    return taken;
}

static size_t put(struct floor_client *client, const uint8_t *bytes, size_t n) {
    if (client->tls) {
        return put_tls(client, bytes, n);
    }
    ssize_t taken = send(client->fd, bytes, n, MSG_NOSIGNAL);
    return taken < 0 ? 0 : (size_t)taken; // a failure shows at the next recv
}

size_t floor_behind;

void floor_send_later(struct floor_client *client, const uint8_t *bytes, size_t n) {
    floor_behind += client->unsent_len == 0;
    client->unsent = realloc(client->unsent, client->unsent_len + n);
    if (!client->unsent) {
        fail("realloc");
    }
    memcpy(client->unsent + client->unsent_len, bytes, n);
    client->unsent_len += n;
    watch(EPOLL_CTL_MOD, client, EPOLLIN | EPOLLOUT);
}

void floor_send(struct floor_client *client, const uint8_t *bytes, size_t n) {
    size_t taken = client->unsent_len == 0 ? put(client, bytes, n) : 0;
    if (taken < n) {
        floor_send_later(client, bytes + taken, n - taken);
    }
}

static void send_rest(struct floor_client *client) {
    size_t taken = put(client, client->unsent, client->unsent_len);
    floor_behind -= taken > 0 && taken == client->unsent_len;
    client->unsent_len -= taken;
    memmove(client->unsent, client->unsent + taken, client->unsent_len);
    if (client->unsent_len == 0 && !client->unflushed) {
        free(client->unsent);
        client->unsent = NULL;
        watch(EPOLL_CTL_MOD, client, EPOLLIN);
    }
}

static ssize_t get(struct floor_client *client, uint8_t *out) {
    if (client->tls) {
        size_t n = 0;
        ERR_clear_error(); // what another connection has left there is no error of this one
        int status = SSL_read_ex(client->tls, out, FLOOR_READ_BYTES, &n);
        if (status == 1) {
            return (ssize_t)n;
        }
        return SSL_get_error(client->tls, status) == SSL_ERROR_WANT_READ ? -1 : 0;
    }
    return recv(client->fd, out, FLOOR_READ_BYTES, 0);
}

// --- The upgrade ---

/// @return how many bytes the request has, 0 where its end is missing
static size_t upgrade(struct floor_client *client, char *head, size_t n) {
    static const char KEY[] = "sec-websocket-key:";
    static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char *stop = memmem(head, n, "\r\n\r\n", 4);
    if (!stop) {
        return 0;
    }
    *stop = 0;
    const char *key = strcasestr(head, KEY);
    if (!key) {
        fail("a request that is no upgrade");
    }
    key += strlen(KEY);
    key += strspn(key, " ");

    char text[24 + sizeof GUID];
    uint8_t digest[SHA_DIGEST_LENGTH];
    char accept[4 * sizeof digest], answer[256];
    memcpy(text, key, 24);
    memcpy(text + 24, GUID, sizeof GUID);
    SHA1((const uint8_t *)text, 24 + sizeof GUID - 1, digest);
    EVP_EncodeBlock((uint8_t *)accept, digest, sizeof digest);
    int len = snprintf(answer, sizeof answer,
                       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                       accept);
    client->open = true;
    floor_send(client, (uint8_t *)answer, (size_t)len);
    return (size_t)(stop - head) + 4;
}

// --- The loop ---

static void begin_tls(struct floor_client *client, SSL_CTX *tls) {
    BIO *in = BIO_new_socket(client->fd, BIO_NOCLOSE);
    BIO *out = BIO_new_socket(client->fd, BIO_NOCLOSE);
    BIO *gathered = BIO_new(BIO_f_buffer());
    client->tls = SSL_new(tls);
    if (!in || !out || !gathered || !client->tls ||
        BIO_set_write_buffer_size(gathered, TLS_GATHERED) != 1) {
        fail("OpenSSL");
    }
    SSL_set_bio(client->tls, in, BIO_push(gathered, out));
    SSL_set_accept_state(client->tls);
}

static void welcome(const struct floor_server *server, int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct floor_client *client = calloc(1, sizeof *client);
        if (!client || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
            fail("a new client");
        }
        client->fd = fd;
        if (server->tls) {
            begin_tls(client, server->tls);
        }
        watch(EPOLL_CTL_ADD, client, EPOLLIN);
    }
}

/// @return whether the client is still there
static bool hear(const struct floor_server *server, struct floor_client *client) {
    ssize_t got = get(client, input + client->kept_len);
    if (got <= 0) {
        if (got == 0) {
            end(server, client);
        }
        return false;
    }
    uint8_t *in = input;
    size_t n = client->kept_len + (size_t)got;
    if (client->kept_len > 0) {
        memcpy(in, client->kept, client->kept_len);
    }
    if (!client->open) {
        size_t head = upgrade(client, (char *)in, n);
        if (head > 0 && server->on_open) {
            server->on_open(client);
        }
        in += head;
        n -= head;
    }
    if (client->open) {
        server->on_frames(client, in, n);
    } else {
        floor_keep(client, in, n);
    }
    if (client->ends && client->unsent_len == 0) {
        end(server, client);
        return false;
    }
    return true;
}

void floor_serve(const struct floor_server *server) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    poller = epoll_create1(EPOLL_CLOEXEC);
    input = malloc(floor_room());
    if (!input || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, BACKLOG) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        fail("can't listen");
    }
    (void)signal(SIGPIPE, SIG_IGN); // OpenSSL writes without MSG_NOSIGNAL
    struct floor_client door = {.fd = listener};
    watch(EPOLL_CTL_ADD, &door, EPOLLIN);
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);

    static struct epoll_event events[EVENTS];
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct floor_client *client = events[i].data.ptr;
            if (client == &door) {
                welcome(server, listener);
                continue;
            }
            if (events[i].events & EPOLLOUT) {
                send_rest(client);
            }
            if (events[i].events & ~(uint32_t)EPOLLOUT) {
                while (hear(server, client) && client->tls) { // what OpenSSL has taken already
                }
            }
        }
        if (server->on_turn) {
            server->on_turn();
        }
    }
}
