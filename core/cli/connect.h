// The parts of `perigee connect`: dialling, the link once it is open, what is shown of it, and the
// line that is typed on a terminal.
#pragma once

#include <stdbool.h>
#include <time.h>

#include "base/buffer.h"
#include "cli/command.h"
#include "net/tls_client.h"
#include "proto/connection.h"
#include "proto/deflate.h"
#include "proto/opening.h"

/// What the command line asked for.
struct connect_options {
    const char *url;
    struct peri_field *fields; ///< of --header and --origin
    size_t field_count;
    struct peri_str *protocols;
    size_t protocol_count;
    struct peri_tls_trust trust;
    bool binary;      ///< lines go as binary messages
    bool echo;        ///< messages are sent back, and stdin is left alone
    bool no_deflate;  ///< permessage-deflate is not offered
    int64_t ping_ms;  ///< 0: no pings
    int64_t wait_ms;  ///< to listen once stdin has ended; -1: until the other side closes
    bool has_wait;    ///< --wait was given
    uint64_t count;   ///< messages to take; 0: all
    bool is_terminal; ///< lines are typed at a terminal and messages are shown there
    bool shows;       ///< stdout is a terminal: times and directions, nothing raw
    bool verbose;     ///< the note on opening says all that was agreed on
    bool tells;       ///< stderr is a terminal, or --verbose: it hears of what happens
    bool colour;
    bool edits; ///< the terminal can do what editing a line needs
};

int64_t connect_now_ms(void); ///< of the monotonic clock

// connect_wire.c

/// A connection's bytes. Without a socket fd is -1.
struct connect_wire {
    int fd;                      ///< owned, not blocking
    struct peri_tls_client *tls; ///< owned; NULL: the bytes go as they are
};

enum { WIRE_READ_BYTES = PERI_TLS_CLIENT_READ_BYTES }; ///< at least

/// @param size at least WIRE_READ_BYTES
/// @param n    on PERI_OK: bytes; 0 at the end
/// @return PERI_OK, PERI_AGAIN, PERI_E_SYSTEM (connect_wire_why)
PERI_MUST_CHECK int connect_wire_read(struct connect_wire *wire, uint8_t *bytes, size_t size,
                                      size_t *n);

/// After PERI_AGAIN the next call has to bring the same bytes, and may bring more.
/// @param n on PERI_OK: bytes that were taken
/// @return PERI_OK, PERI_AGAIN, PERI_E_SYSTEM (connect_wire_why)
PERI_MUST_CHECK int connect_wire_write(struct connect_wire *wire, const uint8_t *bytes, size_t size,
                                       size_t *n);

/// Why one of them has just failed. Borrowed.
const char *connect_wire_why(const struct connect_wire *wire);

void connect_wire_close(struct connect_wire *wire);

// connect_dial.c

/// A WebSocket that is open.
struct connect_opened {
    struct connect_wire wire;
    struct peri_buffer rest;     ///< what came behind the 101
    struct peri_buffer greeting; ///< a line about where it leads
    bool deflates;               ///< by these terms
    struct peri_deflate_terms terms;
};

/// Makes the connection: resolves, connects, shakes hands, follows redirects. Says on stderr what
/// went wrong.
/// @param opened  zeroed; filled on DONE, then owned by the caller
enum peri_exit connect_dial(const struct connect_options *options, struct connect_opened *opened);

// connect_link.c

enum {
    LINK_READ_BYTES = 64 * 1024,
    LINK_FULL_BYTES = 64 * 1024,    ///< so much waiting to be sent stops whoever makes more
    MESSAGE_MAX = 16 * 1024 * 1024, ///< either way, before it is compressed
    DEFLATE_MIN_BYTES = 64,         ///< shorter messages are not compressed
};

/// An open connection, seen from the client.
struct connect_link {
    struct connect_wire wire;
    struct peri_connection ws;
    struct peri_deflate_budget budget;
    struct peri_deflate_pool pool;
    struct peri_deflater *deflater; ///< the pool's or the link's own; NULL: all goes as it is
    struct peri_buffer deflated;    ///< the last message that was compressed
    struct peri_buffer out;         ///< frames, from out_sent on still to be sent
    size_t out_sent;
    struct peri_span input; ///< what was read and not yet looked at, in read or in rest
    struct peri_buffer rest;
    uint8_t read[LINK_READ_BYTES];
    uint8_t pong[PERI_CONTROL_MAX]; ///< of the last ping, where it has not been answered yet
    size_t pong_bytes;
    bool pong_is_due;
    bool close_sent; ///< a Close frame was put into out: nothing may follow it
    bool has_ended;  ///< no more bytes come
};

/// @param opened  wire and rest are moved, whatever comes of it
/// @return PERI_OK; PERI_E_MEMORY: the link is there to be freed, and for nothing else
PERI_MUST_CHECK int connect_link_init(struct connect_link *link, struct connect_opened *opened);
void connect_link_deinit(struct connect_link *link);

/// Bytes that wait to be sent.
size_t connect_link_waiting(const struct connect_link *link);

/// Bytes that were sent, and that the other side's system has not confirmed yet.
size_t connect_link_unconfirmed(const struct connect_link *link);

/// Queues a frame: of a message that is worth it, a compressed one. After a Close frame it does nothing.
/// @return PERI_OK, PERI_E_MEMORY, PERI_E_SYSTEM (no random bytes)
PERI_MUST_CHECK int connect_link_send(struct connect_link *link, enum peri_opcode opcode,
                                      struct peri_str payload);
PERI_MUST_CHECK int connect_link_close(struct connect_link *link, int code, struct peri_str reason);

/// Writes what the socket takes now.
/// @return PERI_OK, PERI_E_SYSTEM, or as of send, for the pong that was due
PERI_MUST_CHECK int connect_link_flush(struct connect_link *link);

/// Reads once; the input is empty. Sets has_ended at the end.
/// @return PERI_OK, PERI_AGAIN, PERI_E_SYSTEM
PERI_MUST_CHECK int connect_link_receive(struct connect_link *link);

/// The next event of the input, as of peri_connection_next. A ping is answered, in its order with
/// what is sent; while the link is full, only the last one is to be. RFC 6455 section 5.5.3
/// @return also PERI_E_SYSTEM, as of send
PERI_MUST_CHECK int connect_link_next(struct connect_link *link, struct peri_event *ev);

// connect_show.c

enum connect_direction { CONNECT_IN, CONNECT_OUT, CONNECT_NOTE };

/// How things look on a terminal.
struct connect_look {
    bool colour;
    size_t columns;
};

/// Appends text that a peer sent so that it can't drive a terminal: control characters, and those
/// that turn the direction of text, are escaped. A line feed begins a new line with `indent` spaces.
PERI_MUST_CHECK int connect_show_text(struct peri_buffer *out, struct peri_str text, size_t indent);

/// Appends lines for a message or a note: time, direction, and the text; JSON objects and arrays
/// laid out, binary as a hex dump.
PERI_MUST_CHECK int connect_show(struct peri_buffer *out, const struct connect_look *look,
                                 enum connect_direction direction, bool binary,
                                 struct peri_str payload, time_t at);

/// What a close code means, in a few words.
const char *connect_close_words(int code);

// connect_stream.c

/// stdin, line by line. Zero-initialised is at its start.
struct connect_input {
    struct peri_buffer bytes;
    size_t at;      ///< where the next line begins
    size_t scanned; ///< up to there is no line feed behind `at`
    bool has_ended;
};

/// Reads once; stdin is readable.
/// @return PERI_OK, PERI_E_MEMORY, PERI_E_LIMIT (a line longer than a message may be), PERI_E_SYSTEM
PERI_MUST_CHECK int connect_input_read(struct connect_input *input);

/// Takes the next line, without its line feed; the last one needs none.
/// @param line  borrowed until the next read
bool connect_input_line(struct connect_input *input, struct peri_str *line);

/// What waits for stdout. Zero-initialised is empty.
struct connect_output {
    struct peri_buffer bytes;
    size_t written;
};

size_t connect_output_waiting(const struct connect_output *output);

/// Writes once, so much that it doesn't block; stdout is writable.
/// @return PERI_OK, PERI_E_CLOSED (nobody reads it any more), PERI_E_SYSTEM
PERI_MUST_CHECK int connect_output_write(struct connect_output *output);

/// Where things are shown: at a terminal at once, else through the output.
struct connect_screen {
    const struct connect_options *options;
    struct connect_look look;
    struct connect_terminal *terminal; ///< NULL where no line is edited
    struct connect_output output;
    bool is_gone; ///< stdout can't be written any more: what is shown is lost
    int error;    ///< PERI_E_MEMORY once something could not be shown
};

/// Brings text to stdout as it is.
void connect_put(struct connect_screen *screen, struct peri_str text);

/// Shows a message or note, as of connect_show, at the present time.
void connect_screen_show(struct connect_screen *screen, enum connect_direction direction,
                         bool binary, struct peri_str payload);

/// Says what happens, to whoever watches; a failure to everybody. At most 511 bytes.
void connect_tell(struct connect_screen *screen, bool is_failure, const char *format, ...)
    PERI_PRINTF(3, 4);

/// Nothing more gets to stdout.
void connect_screen_drop(struct connect_screen *screen);

// connect_signals.c

enum connect_signal {
    CONNECT_INTERRUPT = 1, ///< Ctrl-C
    CONNECT_STOP = 2,      ///< to end, without a terminal to ask at
    CONNECT_RESIZED = 4,
    CONNECT_SUSPEND = 8, ///< Ctrl-Z
};

/// Takes the signals over. A second one to end ends the program at once, and the terminal is left
/// as it was found.
/// @return a descriptor that is readable when one came; -1 with errno set
PERI_MUST_CHECK int connect_signals_begin(void);
void connect_signals_end(void);

/// Those that came since the last call, as bits.
unsigned connect_signals_take(void);

// connect_session.c

/// Talks until one side ends it.
/// @param opened  wire and rest are moved
enum peri_exit connect_talk(const struct connect_options *options, struct connect_opened *opened);

// connect_terminal.c

struct connect_terminal;

/// @param wait  called to wait for a key; returns false when there is no use in waiting any more
/// @return owned; NULL when out of memory or the terminal can't be edited on
PERI_MUST_CHECK struct connect_terminal *connect_terminal_new(bool (*wait)(void *arg), void *arg);

/// Keeps the history, and leaves the terminal as it was. NULL does nothing.
void connect_terminal_free(struct connect_terminal *terminal);

/// Has a line typed; while it waits, `wait` runs. The line is then taken off the screen.
/// @param line  borrowed until the next call
/// @return false at the end: Ctrl-D, or `wait` said so
bool connect_terminal_line(struct connect_terminal *terminal, struct peri_str *line);

/// Writes whole lines, above the line that is being typed, which is drawn again.
void connect_terminal_print(struct connect_terminal *terminal, struct peri_str lines);

/// The terminal has another size now.
void connect_terminal_resized(struct connect_terminal *terminal);

/// Gives the terminal back, stops the program as Ctrl-Z does, and goes on when it is continued.
void connect_terminal_suspend(struct connect_terminal *terminal);

size_t connect_terminal_columns(void);
