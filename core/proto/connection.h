// The WebSocket state machine of one connection: bytes in, events out, pulled one by one. It
// owns fragments, interleaved control frames, UTF-8 across frames, limits and what the close
// handshake allows. It does no I/O, knows no clock, and serves both roles.
#pragma once

#include "proto/frame.h"

struct peri_inflater;
struct peri_partial;

enum peri_role { PERI_SERVER, PERI_CLIENT };

enum peri_event_kind {
    PERI_EV_TEXT,
    PERI_EV_BINARY,
    PERI_EV_PING,
    PERI_EV_PONG,
    PERI_EV_CLOSE,
};

struct peri_event {
    enum peri_event_kind kind;
    bool in_input;       ///< payload lies in the bytes that were fed, not in the connection
    uint8_t before;      ///< bytes of its own header in front of payload, to be overwritten at will
    uint16_t close_code; ///< PERI_EV_CLOSE: 1005 when the frame had none
    struct peri_str payload; ///< message, ping or pong data, or the close reason
};

/// Zero it, then set `role` and the limits. Part of every idle connection, so it is small:
/// what only an unfinished frame or message needs is allocated when one arrives.
struct peri_connection {
    /// Set where permessage-deflate is agreed on: shared and borrowed, or the connection's own and
    /// then freed with it. NULL: no message may be compressed. RFC 7692
    struct peri_inflater *inflater;

    union {
        struct peri_partial *partial_; ///< what was copied from earlier reads; NULL for nothing
        const char *error_text;        ///< after an error: static, a few words
    };
    enum peri_role role;
    uint32_t max_message_bytes;
    uint32_t max_fragments; ///< frames in a message

    /// Why PERI_E_PROTOCOL was returned; what to put into the Close frame: 1002, 1007, 1008 (too
    /// many fragments) or 1009.
    uint16_t error_code;

    uint8_t stage_;          ///< enum stage
    uint8_t message_opcode_; ///< of the message being assembled; 0 for none
};

/// Takes the next event out of the bytes at *in.
///
/// A message that lies whole in *in is unmasked there and its payload points into *in; otherwise
/// its bytes are copied as they arrive, never allocated ahead of what has arrived, and freed by the
/// call after the one that delivered them. What is wrong is told at the first byte that shows it.
///
/// A compressed message is decompressed as it arrives where the decompressor is the connection's
/// own; where it is shared, what arrives is kept as it is until the message is whole. Either way
/// max_message_bytes bounds what comes out, and only a little more than that may come in.
///
/// @param in  borrowed; advanced past what was consumed; payload bytes are unmasked in place
/// @param ev  filled on PERI_OK. If ev->in_input, ev->payload is valid as long as the bytes fed
///            are; else it is borrowed until the next call on c.
/// @return PERI_OK: *ev is set. PERI_AGAIN: *in is used up, feed more.
///         PERI_E_PROTOCOL: fail the connection with c->error_code; further calls return the same.
///         PERI_E_CLOSED: a Close frame was taken before; bytes after it are to be dropped.
///         PERI_E_MEMORY: out of memory; fail the connection with 1011; further calls return the
///         same.
/// RFC 6455 sections 5.1 to 5.5, 7.4, 8.1; RFC 7692 section 6.2
PERI_MUST_CHECK int peri_connection_next(struct peri_connection *c, struct peri_span *in,
                                         struct peri_event *ev);

/// Frees what an unfinished message holds, a payload delivered from the connection, and its own
/// decompressor.
void peri_connection_deinit(struct peri_connection *c);
