// Connections of the load: TCP and TLS, the upgrade as a browser asks for it, and the frames that come.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load/load.h"

enum { OP_CONTINUATION = 0, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

// The head of a browser's request, some 900 bytes of it.
static const char REQUEST[] =
    "GET %s HTTP/1.1\r\n"
    "Host: 127.0.0.1:%u\r\n"
    "Connection: Upgrade\r\n"
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36\r\n"
    "Upgrade: websocket\r\n"
    "Origin: http%s://127.0.0.1:%u\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9,de-DE;q=0.8,de;q=0.7,en-US;q=0.6,fr;q=0.5\r\n"
    "Cookie: _ga=GA1.1.1738460911.1762518472; "
    "_ga_8X1N5Q2W3E=GS2.1.s1762518471$o1$g1$t1762518533$j60$"
    "l0$h0; "
    "session=eyJ1c2VyIjoiYW5uIiwicm9vbSI6ImxvYmJ5IiwiaWF0IjoxNzYyNTE4NDcyfQ.4fT9mWc2Lq8xVb0aZk"
    "Jw7RyNpEo3UuHsDgXiQ5tKc1M; theme=dark; consent=analytics%%3Dfalse%%26ads%%3Dfalse; "
    "csrf=kXv0wQm3"
    "Rz8nPq5sTb7yJd2fLh4gWc6a\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "%s"
    "\r\n";
static const char EXTENSIONS[] =
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; // RFC 6455 section 1.3

enum {
    HEAD_ROOM = 8192,
    // Ports for a source address and a destination are some 28,000: others come from other addresses.
    OF_AN_ADDRESS = 5000,
    ADDRESSES = 250,
};

static void keep(uint8_t **bytes, size_t *len, size_t *room, const uint8_t *more, size_t n) {
    if (n > *room - *len) {
        *room = *len + n < 256 ? 256 : 2 * (*len + n);
        *bytes = realloc(*bytes, *room);
        if (!*bytes) {
            load_fail("no memory");
        }
    }
    memcpy(*bytes + *len, more, n);
    *len += n;
}

static void watch(struct load *load, struct load_client *client, bool writing) {
    if (client->writing != writing) {
        client->writing = writing;
        struct epoll_event event = {EPOLLIN | (writing ? EPOLLOUT : 0), {.ptr = client}};
        if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, client->fd, &event) != 0) {
            load_fail("epoll_ctl: %s", strerror(errno));
        }
    }
}

void load_client_open(struct load *load, struct load_client *client) {
    const struct load_options *options = &load->options;
    unsigned made = load->made++;
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr =
                                   htonl(INADDR_LOOPBACK + 1 + made / OF_AN_ADDRESS % ADDRESSES)};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(options->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        load_fail("socket: %s", strerror(errno));
    }
    client->fd = fd;
    client->stage = LOAD_CONNECTING;
    client->writing = true;
    client->begun_ns = load_now_ns();
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)) {
        load_fail("can't connect: %s", strerror(errno));
    }
    struct epoll_event event = {EPOLLIN | EPOLLOUT, {.ptr = client}};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        load_fail("epoll_ctl: %s", strerror(errno));
    }
    if (load->tls) {
        client->tls = SSL_new(load->tls);
        if (!client->tls || SSL_set_fd(client->tls, fd) != 1) {
            load_fail("OpenSSL: no memory");
        }
        SSL_set_connect_state(client->tls);
    }
}

// --- Bytes ---

/// Why OpenSSL did not do it: either it waits, or that was all. It tells by what is in its queue of
/// errors, which is one for all connections: so that is emptied before each call.
static void await_tls(struct load *load, struct load_client *client, int status) {
    int why = SSL_get_error(client->tls, status);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
        load_fail("TLS: %s", ERR_reason_error_string(ERR_get_error()));
    }
    watch(load, client, why == SSL_ERROR_WANT_WRITE || client->unsent_len > 0);
}

/// @return how many bytes it took
static size_t put(struct load *load, struct load_client *client, const uint8_t *bytes, size_t n) {
    if (client->tls) {
        size_t taken = 0;
        ERR_clear_error();
        int status = SSL_write_ex(client->tls, bytes, n, &taken);
        if (status != 1) {
            await_tls(load, client, status);
        }
        return taken;
    }
    ssize_t taken = send(client->fd, bytes, n, MSG_NOSIGNAL);
    if (taken < 0 && errno != EAGAIN) {
        load_fail("send: %s", strerror(errno));
    }
    return taken < 0 ? 0 : (size_t)taken;
}

void load_client_send(struct load *load, struct load_client *client, const uint8_t *bytes,
                      size_t n) {
    size_t taken = 0;
    while (client->unsent_len == 0 && taken < n) {
        size_t more = put(load, client, bytes + taken, n - taken);
        if (more == 0) {
            break;
        }
        taken += more;
    }
    if (taken < n) {
        keep(&client->unsent, &client->unsent_len, &client->unsent_room, bytes + taken, n - taken);
        watch(load, client, true);
    }
}

static void send_rest(struct load *load, struct load_client *client) {
    size_t taken = client->unsent_len ? put(load, client, client->unsent, client->unsent_len) : 0;
    client->unsent_len -= taken;
    memmove(client->unsent, client->unsent + taken, client->unsent_len);
    if (client->unsent_len == 0) {
        watch(load, client, false);
    }
}

/// @return 0 at the end, -1 where no more is there now
static ssize_t get(struct load *load, struct load_client *client) {
    if (client->tls) {
        size_t n = 0;
        ERR_clear_error();
        int status = SSL_read_ex(client->tls, load->in, LOAD_READ_BYTES, &n);
        if (status == 1) {
            return (ssize_t)n;
        }
        int why = SSL_get_error(client->tls, status);
        if (why == SSL_ERROR_ZERO_RETURN ||
            (why == SSL_ERROR_SSL && client->stage == LOAD_CLOSING)) {
            return 0;
        }
        await_tls(load, client, status);
        return -1;
    }
    ssize_t n = recv(client->fd, load->in, LOAD_READ_BYTES, 0);
    if (n < 0 && errno != EAGAIN && !(errno == ECONNRESET && client->stage == LOAD_CLOSING)) {
        load_fail("recv: %s", strerror(errno));
    }
    return n < 0 && errno == ECONNRESET ? 0 : n;
}

// --- Frames ---

static void send_control(struct load *load, struct load_client *client, uint8_t opcode,
                         const uint8_t *payload, size_t n) {
    // Masked by zeros: as it is.
    uint8_t frame[6 + 125] = {(uint8_t)(0x80 | opcode), (uint8_t)(0x80 | n)};
    if (n > 0) {
        memcpy(frame + 6, payload, n);
    }
    load_client_send(load, client, frame, 6 + n);
}

static void hear_control(struct load *load, struct load_client *client, uint8_t opcode) {
    if (opcode == OP_PING) {
        send_control(load, client, OP_PONG, client->kept, client->kept_len);
    } else if (opcode == OP_CLOSE && client->stage != LOAD_CLOSING) {
        unsigned code = client->kept_len >= 2 ? client->kept[0] * 256U + client->kept[1] : 1005;
        load_fail("the server has closed a connection: %u", code);
    }
    client->kept_len = 0;
}

static void end_message(struct load *load, struct load_client *client, uint64_t now) {
    if (client->packed && !load_messages_check_packed(load->messages, client->heard,
                                                      client->takes_over ? &client->window : NULL,
                                                      client->kept, client->kept_len)) {
        load_fail("a compressed message came that was not sent, or not now");
    }
    if (!client->packed && client->at != load->options.size) {
        load_fail("a message of %zu bytes came back with %zu", load->options.size, client->at);
    }
    client->kept_len = 0;
    client->opcode = 0;
    client->at = 0;
    client->heard++;
    load->on_message(load, client, now);
}

/// The head of a frame is there. Control frames between the frames of a compressed message would need
/// a second place to be kept: no server here sends any.
static void begin_frame(struct load *load, struct load_client *client) {
    uint8_t opcode = client->head[0] & 15;
    uint8_t wanted = load->options.binary ? 2 : 1;
    if (client->head[0] & 0x30 || client->head[1] & 0x80) {
        load_fail("a frame came that a server must not send: %02x %02x", client->head[0],
                  client->head[1]);
    }
    if (opcode >= OP_CLOSE) {
        if (client->left > 125 || !(client->head[0] & 0x80) || client->kept_len > 0) {
            load_fail("a control frame came that is none, or in the middle of a message");
        }
        return;
    }
    if (opcode != (client->opcode ? OP_CONTINUATION : wanted)) {
        load_fail("a frame came with opcode %u", opcode);
    }
    if (client->opcode == 0) {
        client->opcode = opcode;
        client->packed = client->head[0] & 0x40;
    }
}

static void take_payload(struct load *load, struct load_client *client, const uint8_t *bytes,
                         size_t n) {
    bool control = (client->head[0] & 15) >= OP_CLOSE;
    if (control || client->packed) {
        keep(&client->kept, &client->kept_len, &client->kept_room, bytes, n);
    } else if (!load_messages_check(load->messages, client->heard, client->at, bytes, n)) {
        load_fail("message %llu came back otherwise", (unsigned long long)client->heard);
    }
    client->at += control ? 0 : n;
}

/// How many bytes a head has, as far as it is known.
static size_t head_bytes(const struct load_client *client) {
    uint8_t len = client->head_len > 1 ? client->head[1] & 0x7f : 0;
    return len < 126 ? 2 : len == 126 ? 4 : 10;
}

static uint64_t payload_bytes(const uint8_t *head) {
    uint64_t n = head[1] & 0x7f;
    if (n >= 126) {
        size_t bytes = n == 126 ? 2 : 8;
        n = 0;
        for (size_t i = 0; i < bytes; i++) {
            n = n << 8 | head[2 + i];
        }
    }
    return n;
}

static void take_frames(struct load *load, struct load_client *client, const uint8_t *in,
                        size_t n) {
    uint64_t now = load_now_ns();
    const uint8_t *end = in + n;
    while (in < end) {
        size_t room = head_bytes(client);
        if (client->head_len < room) {
            client->head[client->head_len++] = *in++;
            if (client->head_len < head_bytes(client)) {
                continue;
            }
            client->left = payload_bytes(client->head);
            begin_frame(load, client);
        }
        size_t part = client->left < (size_t)(end - in) ? client->left : (size_t)(end - in);
        take_payload(load, client, in, part);
        in += part;
        client->left -= part;
        if (client->left == 0) {
            uint8_t first = client->head[0];
            client->head_len = 0;
            if ((first & 15) >= OP_CLOSE) {
                hear_control(load, client, first & 15);
            } else if (first & 0x80) {
                end_message(load, client, now);
            }
        }
    }
}

// --- The upgrade ---

static void ask(struct load *load, struct load_client *client) {
    const struct load_options *options = &load->options;
    char head[2048];
    int n =
        snprintf(head, sizeof head, REQUEST, options->path, options->port, options->tls ? "s" : "",
                 options->port, options->deflate == LOAD_PLAIN ? "" : EXTENSIONS);
    if (n < 0 || (size_t)n >= sizeof head) {
        load_fail("the path is too long");
    }
    client->stage = LOAD_UPGRADING;
    watch(load, client, false);
    load_client_send(load, client, (const uint8_t *)head, (size_t)n);
}

static void agree(struct load *load, struct load_client *client, const char *head) {
    const char *answer = strcasestr(head, "\r\nSec-WebSocket-Extensions:");
    client->deflates = answer != NULL;
    if (!answer) {
        if (load->options.deflate != LOAD_PLAIN) {
            load_fail("the server does not agree to permessage-deflate");
        }
        return;
    }
    const char *bits = strcasestr(answer, "client_max_window_bits=");
    load_messages_window(load->messages, bits ? atoi(strchr(bits, '=') + 1) : 15); // NOLINT
    client->takes_over = !strcasestr(answer, "server_no_context_takeover");
    if (client->takes_over) {
        client->window = load_alloc(sizeof *client->window);
        if (inflateInit2(client->window, -15) != Z_OK) {
            load_fail("zlib: no memory");
        }
    }
}

static void hear_answer(struct load *load, struct load_client *client, const uint8_t *in,
                        size_t n) {
    keep(&client->kept, &client->kept_len, &client->kept_room, in, n);
    uint8_t *end = memmem(client->kept, client->kept_len, "\r\n\r\n", 4);
    if (!end) {
        if (client->kept_len > HEAD_ROOM) {
            load_fail("the answer to the upgrade has no end");
        }
        return;
    }
    size_t head = (size_t)(end - client->kept) + 4;
    size_t rest = client->kept_len - head;
    end[2] = 0; // the last line's end stays
    const char *text = (const char *)client->kept;
    if (strncmp(text, "HTTP/1.1 101", 12) != 0 || !strstr(text, ACCEPT)) {
        load_fail("the answer to the upgrade is: %.*s", (int)strcspn(text, "\r"), text);
    }
    agree(load, client, text);
    uint8_t *copy = load_alloc(rest + 1);
    memcpy(copy, end + 4, rest);
    free(client->kept);
    client->kept = NULL;
    client->kept_len = client->kept_room = 0;
    client->stage = LOAD_OPEN;
    load->open++;
    take_frames(load, client, copy, rest);
    free(copy);
}

// --- Events ---

static void end(struct load *load, struct load_client *client) {
    if (client->stage != LOAD_CLOSING) {
        load_fail("the server has ended a connection");
    }
    uint64_t begun = client->begun_ns;
    load_client_deinit(client);
    load->open--;
    load->on_end(load, client, begun);
}

static void read_some(struct load *load, struct load_client *client) {
    ssize_t n;
    do {
        n = get(load, client);
        if (n == 0) {
            end(load, client);
            return;
        }
        if (n > 0 && client->stage == LOAD_UPGRADING) {
            hear_answer(load, client, load->in, (size_t)n);
        } else if (n > 0) {
            take_frames(load, client, load->in, (size_t)n);
        }
    } while (n > 0 && client->tls); // epoll knows nothing of what OpenSSL has taken
    load->on_read(load, client);
}

static void connect_more(struct load *load, struct load_client *client) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error) {
        load_fail("can't connect: %s", strerror(error ? error : errno));
    }
    ERR_clear_error();
    int status = client->tls ? SSL_do_handshake(client->tls) : 1;
    if (status == 1) {
        ask(load, client);
    } else {
        await_tls(load, client, status);
    }
}

void load_client_event(struct load *load, struct load_client *client, uint32_t events) {
    if (client->stage == LOAD_CONNECTING) {
        connect_more(load, client);
        return;
    }
    if (events & EPOLLOUT) {
        send_rest(load, client);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        read_some(load, client);
    }
}

void load_client_close(struct load *load, struct load_client *client) {
    static const uint8_t NORMAL[] = {1000 >> 8, 1000 & 255};
    client->stage = LOAD_CLOSING;
    send_control(load, client, OP_CLOSE, NORMAL, sizeof NORMAL);
}

void load_client_deinit(struct load_client *client) {
    SSL_free(client->tls);
    if (client->stage != LOAD_GONE) {
        close(client->fd);
    }
    if (client->window) {
        (void)inflateEnd(client->window);
    }
    free(client->window);
    free(client->said_at);
    free(client->kept);
    free(client->unsent);
    *client = (struct load_client){.fd = -1, .stage = LOAD_GONE};
}
