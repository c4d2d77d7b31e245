// What a server can't do without: epoll, one recv for what has come, the ends of frames, and whatever is
// sent. No checks, no limits, no timers: what real servers are compared with.
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct floor_client {
    int fd;
    bool open;      ///< the upgrade is done
    bool ends;      ///< once all is sent
    SSL *tls;       ///< or NULL
    bool unflushed; ///< what OpenSSL has made is not all sent
    uint8_t *kept;  ///< of a frame whose end has not come
    size_t kept_len;
    uint8_t *unsent; ///< what the socket has not taken
    size_t unsent_len;
    size_t at; ///< for who keeps them in an array
};

/// A frame from a client, whole. Its payload is masked.
struct floor_frame {
    uint8_t first;
    const uint8_t *key;
    const uint8_t *payload;
    size_t len;
};

struct floor_server {
    SSL_CTX *tls; ///< or NULL
    void (*on_open)(struct floor_client *client);
    /// With all that one read has brought.
    void (*on_frames)(struct floor_client *client, const uint8_t *in, size_t n);
    /// When all that epoll had is done.
    void (*on_turn)(void);
    void (*on_end)(struct floor_client *client);
};

enum {
    FLOOR_READ_BYTES = 256 * 1024,
    FLOOR_OP_CLOSE = 8,
};

/// Serves on a free port of 127.0.0.1, which it prints, until it is killed.
_Noreturn void floor_serve(const struct floor_server *server);

/// Takes a frame off the bytes.
/// @return false where no whole one is there
bool floor_next(const uint8_t **in, size_t *n, struct floor_frame *frame);

/// Writes a frame as the server sends it, its payload unmasked.
/// @return behind it
uint8_t *floor_write(const struct floor_frame *frame, uint8_t *out);

/// Writes what follows a frame's first byte, as the server sends it.
/// @return behind it
uint8_t *floor_write_length(size_t len, uint8_t *out);

/// Keeps what on_frames has not used.
void floor_keep(struct floor_client *client, const uint8_t *in, size_t n);

/// By one send. What is not taken goes when it can.
void floor_send(struct floor_client *client, const uint8_t *bytes, size_t n);

/// The rest of what was sent to its socket already.
void floor_send_later(struct floor_client *client, const uint8_t *bytes, size_t n);

/// How many clients have something that is sent later.
extern size_t floor_behind;

/// The most bytes that the frames of one read become.
size_t floor_room(void);
