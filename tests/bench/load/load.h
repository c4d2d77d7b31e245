// A load on a WebSocket server: what its parts know of each other.
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <zlib.h>

#include "base/histogram.h"

enum load_mode {
    LOAD_ECHO,      ///< each connection sends, and gets back what it sent
    LOAD_BROADCAST, ///< the first connection sends, and all get it
    LOAD_CONNECT,   ///< connections come, close in order, and come again
    LOAD_IDLE,      ///< connections come and stay
};

enum load_deflate {
    LOAD_PLAIN,
    LOAD_OFFER, ///< permessage-deflate is agreed on; what is sent is plain
    LOAD_SEND,  ///< what is sent is compressed too
};

enum { LOAD_CORES = 8 };

struct load_options {
    enum load_mode mode;
    enum load_deflate deflate;
    uint16_t port;
    const char *path;
    unsigned connections;
    unsigned in_flight; ///< messages: of each connection, or in all where they are broadcast
    size_t size;        ///< of a message, in bytes
    bool binary;
    bool separate; ///< each frame by a write of its own
    bool tls;
    double warm_s;
    double seconds;             ///< that are measured
    uint64_t count;             ///< or messages; 0: by time
    pid_t pid;                  ///< the server's, 0: its CPU is not looked at
    unsigned cores[LOAD_CORES]; ///< how busy they are is told
    unsigned core_count;
};

/// Reads the command line, or ends the program: with its help, or with what is wrong.
void load_options_parse(struct load_options *options, int argc, char **argv);

/// Prints a line to stderr, and ends the program.
_Noreturn void load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/// Memory that is zero, or the end.
void *load_alloc(size_t bytes);

uint64_t load_now_ns(void);

// --- message.c: what is sent, and whether what comes is that ---

enum {
    LOAD_SEQUENCE = 8,  ///< a message begins with its number, in so many hexadecimal digits
    LOAD_MASK_HEAD = 14 ///< the longest head of a client's frame
};

struct load_messages;

struct load_messages *load_messages_new(size_t size, bool binary);
void load_messages_free(struct load_messages *messages);

/// How far back compressed messages may refer, as the server has asked for. Smallest wins.
void load_messages_window(struct load_messages *messages, int bits);

/// The most bytes that a frame of these takes.
size_t load_messages_frame_bytes(const struct load_messages *messages);

/// Writes message `number` as a masked frame.
/// @return how many bytes
size_t load_messages_frame(struct load_messages *messages, uint64_t number, bool compressed,
                           uint8_t *out);

/// Whether bytes of message `number`, from `at` on, are right.
bool load_messages_check(const struct load_messages *messages, uint64_t number, size_t at,
                         const uint8_t *bytes, size_t n);

/// The same for a whole compressed one.
/// @param window  the sender's window, where its messages refer to those before; or NULL
bool load_messages_check_packed(struct load_messages *messages, uint64_t number, z_streamp *window,
                                const uint8_t *bytes, size_t n);

// --- client.c: connections ---

enum load_stage {
    LOAD_CONNECTING, ///< TCP, then TLS
    LOAD_UPGRADING,  ///< until the 101 is there
    LOAD_OPEN,
    LOAD_CLOSING, ///< our Close frame is out
    LOAD_GONE,
};

struct load_client {
    int fd;
    enum load_stage stage;
    SSL *tls;         ///< or NULL
    bool writing;     ///< epoll is asked when it can be written to
    bool deflates;    ///< the server has agreed to permessage-deflate
    bool takes_over;  ///< its messages refer to those before
    uint8_t opcode;   ///< of the message that is coming, 0 between two
    bool packed;      ///< that is compressed
    uint8_t head[10]; ///< of the frame that is coming
    uint8_t head_len;
    uint64_t left;     ///< of its payload
    size_t at;         ///< how much of the message has come
    uint64_t heard;    ///< messages that came; the next one's number
    uint64_t said;     ///< messages that were sent
    uint64_t *said_at; ///< when those in flight were, by number modulo in_flight; or NULL
    z_streamp window;  ///< where takes_over
    uint8_t *kept;     ///< the answer to the upgrade, a control frame, or a compressed message
    size_t kept_len, kept_room;
    uint8_t *unsent; ///< what the socket has not taken
    size_t unsent_len, unsent_room;
    uint64_t begun_ns;
};

struct load {
    struct load_options options;
    struct load_messages *messages;
    struct load_client *clients;
    SSL_CTX *tls;
    int epoll;
    unsigned made; ///< connections so far, of all that were there one after the other
    unsigned open;
    uint8_t *in; ///< one read buffer for all
    uint8_t *out;
    size_t out_room;

    /// Called with each whole message, as it comes.
    void (*on_message)(struct load *load, struct load_client *client, uint64_t now);
    /// Called when all that one read has brought was told.
    void (*on_read)(struct load *load, struct load_client *client);
    /// Called when a connection has ended in order. Nothing is left of it.
    /// @param begun  when it was opened
    void (*on_end)(struct load *load, struct load_client *client, uint64_t begun);
};

enum { LOAD_READ_BYTES = 256 * 1024 };

/// Begins to connect.
void load_client_open(struct load *load, struct load_client *client);

/// What epoll says of it.
void load_client_event(struct load *load, struct load_client *client, uint32_t events);

/// Sends what the socket takes, and keeps the rest.
void load_client_send(struct load *load, struct load_client *client, const uint8_t *bytes,
                      size_t n);

/// Sends a Close frame; on_end follows.
void load_client_close(struct load *load, struct load_client *client);

/// Frees what it holds. Its socket is closed.
void load_client_deinit(struct load_client *client);

// --- cpu.c: what the server has used, and what processors have done ---

/// Nanoseconds of CPU of a process, its threads and all their children, those that are gone included.
/// Ends the program where there is no such process.
uint64_t load_cpu_ns(pid_t pid);

struct load_core {
    uint64_t busy, all; ///< ticks since the system's start
};

/// What a processor has done, by whomever.
struct load_core load_core(unsigned number);
