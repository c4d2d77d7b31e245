// What the files of net share: the server, its sessions, and who does what to them.
//
// Rules that hold everywhere here:
// - Ports are called in the midst of handlers, so they only mark; what follows is done by the
//   session's turn (peri_session_turn), which the server runs for each session in its queue.
// - A session is freed by the sweep at the end of a turn only: peri_session_close marks it, and
//   whoever called out asks session->closing afterwards.
#pragma once

#include <netinet/in.h>
#include <sys/un.h>
#include <uv.h>

#include "base/map.h"
#include "base/slabs.h"
#include "net/addresses.h"
#include "net/conditions.h"
#include "net/desk.h"
#include "net/files.h"
#include "net/poller.h"
#include "net/server.h"
#include "net/since.h"
#include "net/socket_file.h"
#include "net/stream.h"
#include "net/watch.h"
#include "net/wheel.h"
#include "proto/proxy_header.h"

enum {
    READ_BYTES = PERI_TLS_READ_BYTES, ///< the loop's one read buffer
    BATCH_EVENTS = 64,                ///< messages given to the hub at once
    TURN_BUDGET_NS = 2000000,         ///< for what one read has brought; looked at after each batch
    WRITE_VECTORS = 64,               ///< buffers in one sendmsg
    LISTENERS_MAX = 64,
    WORKS_AT_ONCE = 2, ///< pieces of policy's work on other threads
};

union peri_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

struct peri_listener {
    uv_poll_t poll;
    int fd;
    bool tls;
    bool proxy;                   ///< expects a header of the PROXY protocol, of trusted proxies
    struct peri_socket_file file; ///< to be removed
};

/// The control socket.
struct peri_control_socket {
    struct peri_control control; ///< who answers
    bool is_open;
    struct peri_buffer path; ///< NUL-terminated
    struct peri_socket_file file;
    int fd;
    uv_poll_t poll;
    uv_timer_t tick; ///< runs while there are clients
    struct peri_list clients;
    size_t count;
    bool stirred; ///< what is owed may be there
};

/// A piece of policy's work, at a desk.
struct peri_seat {
    struct peri_desk desk;
    struct peri_server *server;
    struct peri_work *work; ///< while the desk is taken
};

/// Bytes read that can't be handled yet.
struct peri_backlog {
    size_t at, len;
    uint8_t bytes[];
};

enum session_stage {
    SESSION_TLS, ///< its handshake: what is to be said waits
    SESSION_HTTP,
    SESSION_WS,     ///< from the 101
    SESSION_LINGER, ///< all is said: reads on so that a reset does not overtake what was written
};

/// The time that one session may take in a turn. Zero-initialised it begins when first asked.
struct peri_budget {
    uint64_t until_ns;
};

struct peri_session {
    // One cache line of what writing touches: a broadcast finds it there.
    struct peri_server *server;
    struct peri_stream stream;
    peri_key key;            ///< 0: none yet
    struct peri_since taken; ///< the socket took bytes, the peer was seen to, or it was asked to
    struct peri_since quiet; ///< nothing was heard, or a ping waits for its pong
    union {
        struct peri_ping ping;       ///< SESSION_WS: that waits for its pong
        struct peri_since lingering; ///< SESSION_LINGER
    };
    uint8_t watched;      ///< what the socket is watched for
    uint8_t stage : 5;    ///< enum session_stage
    bool has_read : 1;    ///< at this look at the sockets, and there was more
    bool unread : 1;      ///< there may be more to read, of which no event will tell
    bool fin : 1;         ///< the end is behind what can be read
    bool has_http : 1;    ///< in TLS, in HTTP, and at first as a WebSocket
    bool closing : 1;     ///< marked for the sweep
    bool hangup : 1;      ///< no more events will come: read what is there, then it is lost
    bool dead : 1;        ///< the socket takes nothing more
    bool left : 1;        ///< a FIN was noticed while reading was paused
    bool paused : 1;      ///< the hub takes no input
    bool want_write : 1;  ///< the socket took less than it was offered
    bool eof : 1;         ///< all was read
    bool ended : 1;       ///< the connection has ended (docs/scripting.md: order and ends)
    bool handshake : 1;   ///< a Close frame is last in its outbox
    bool peer_closed : 1; ///< the peer's Close frame was read
    bool failed : 1;      ///< what the peer sends is no longer understood
    bool told : 1;        ///< of the host's end
    bool queued : 1;      ///< it is in server->turns, and not freed while it is
    bool refused : 1;     ///< turned away, and counted in server->refusals
    struct peri_session *next_turn; ///< behind it in server->turns
    union {
        struct peri_http *http; ///< has_http: until the 101 is written and `open` has returned
        struct peri_backlog *backlog; ///< from then on; NULL: none
    };

    struct peri_connection ws;
    struct peri_address_use *use; ///< that it counts for; NULL: none, or nobody counts
    struct peri_list link;        ///< in server->sessions, then in server->closing
    struct peri_wheel_timer timer;
};

struct peri_server {
    uv_loop_t loop;
    struct peri_poller poller; ///< of the sessions' sockets
    struct peri_server_options options;
    const struct peri_limits *limits;
    struct peri_hub *hub;
    const struct peri_policy *policy; ///< the hub's
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t tick; ///< of the wheel; runs while a timer is set
    uv_timer_t wake; ///< of ports.wake_at
    uv_timer_t drain;
    uv_timer_t resume; ///< accepting, after descriptors ran out
    uv_timer_t log;    ///< while the log holds something back
    uv_timer_t forget; ///< addresses that are idle
    uv_timer_t poll;   ///< of the certificates
    uv_signal_t signals[2];
    uv_signal_t hangup;                     ///< has the certificates read anew
    struct peri_certificates *certificates; ///< NULL: no TLS
    struct peri_tls_loop *tls;              ///< NULL as well
    struct peri_watch *watch;               ///< of the scripts' folder; NULL: none
    struct peri_listener listeners[LISTENERS_MAX];
    size_t listener_count;
    struct peri_buffer addresses; ///< of peri_server_addresses
    uint16_t port;                ///< of peri_server_port
    struct peri_control_socket control;
    struct peri_slabs small; ///< the sessions' memory
    struct peri_list sessions;
    struct peri_session *turns, *last_turn; ///< who want a turn, the first and the last
    struct peri_list closing;
    struct peri_list feed; ///< what streams, by peri_http.feed
    size_t feed_count;
    size_t session_count; ///< closing ones included
    size_t connection_limit;
    uint64_t answer_bytes;     ///< of scripts' answers that wait for their clients to take them
    struct peri_map exchanges; ///< what policy is to answer: from 8 bytes, the exchange's number
    uint64_t last_exchange;
    uint64_t wake_at_ns;
    bool has_polled; ///< since the last turn: a session reads once for each look at the sockets
    bool waking;     ///< policy runs what was due
    bool wake_late;  ///< and was not done: it goes on once the sockets have been looked at
    uint64_t drain_began_ms, drain_told;
    uint64_t complained_ms; ///< when the log last said that connections are refused
    bool draining, drained;
    bool turn_asked;
    struct peri_addresses uses; ///< what each address has
    size_t refusals;            ///< sessions that are turned away
    struct peri_seat seats[WORKS_AT_ONCE];
    struct peri_work *works, *last_work; ///< that wait for a seat, the first and the last
    struct peri_wheel wheel;
    struct peri_event events[BATCH_EVENTS];
    uint8_t buffer[READ_BYTES];
};

static inline uint64_t peri_server_now(const struct peri_server *server) {
    return uv_now(&server->loop);
}

static inline struct peri_since peri_server_since_now(const struct peri_server *server) {
    return peri_since(peri_server_now(server));
}

// server.c

/// The ports, for peri_hub_set_ports (ports.c).
struct peri_ports peri_server_ports(struct peri_server *server);

/// Has policy run what is due (ports.c).
void peri_server_wake(struct peri_server *server);

/// Waits until no work is left on other threads, and none that it has led to (ports.c).
void peri_server_finish_work(struct peri_server *server);

/// The wheel has a timer: its ticks are needed.
void peri_server_want_ticks(struct peri_server *server);

/// Gives each session that wants a turn its turn. What is added meanwhile comes next time.
void peri_server_turns(struct peri_server *server);

/// Frees what peri_session_close marked; what still is in the queue for a turn, at a later time.
void peri_server_sweep(struct peri_server *server);

// drain.c

void peri_server_drain(struct peri_server *server); ///< begins it

// bind.c

/// Fills server->listeners and server->addresses.
PERI_MUST_CHECK int peri_listener_bind(struct peri_server *server, struct peri_buffer *error);

/// Closes its socket, and removes the socket's file if it is still the one that was made.
void peri_listener_forget(struct peri_listener *listener);

// listener.c

/// Without the port and the zone.
struct peri_ip peri_address_ip(const union peri_address *address);

PERI_MUST_CHECK int peri_listener_open(struct peri_server *server, struct peri_buffer *error);
void peri_listener_start(struct peri_server *server);
void peri_listener_close(struct peri_server *server);

// session.c

/// Begins a session, in HTTP or with a TLS handshake.
/// @param fd      transferred; it comes from the listener
/// @param ip      whom it is from
/// @param refused there are too many: it gets a 503 and is closed
void peri_session_begin(struct peri_server *server, const struct peri_listener *listener, int fd,
                        const struct peri_ip *ip, bool refused);

/// Has peri_session_turn run before the loop waits. Allowed in ports.
void peri_session_want_turn(struct peri_session *session);

/// True when the session should leave the rest to its next turn.
bool peri_budget_is_spent(struct peri_budget *budget);

void peri_session_turn(struct peri_session *session);

/// Marks it for the sweep. Allowed in ports.
void peri_session_close(struct peri_session *session);

/// All is written: says so to the peer, and reads on for close_s at most.
void peri_session_linger(struct peri_session *session);

/// Sends without waiting. A failing socket is marked dead. Bytes that were taken may still wait for
/// the socket: peri_session_flush tells.
/// @param ends they are the last ones, and peri_session_linger follows in this turn
/// @return bytes taken, 0 when it would block or is dead
size_t peri_session_send(struct peri_session *session, const struct iovec *iov, int n, bool ends);

/// Sends on what was taken and waits for the socket. @return true when nothing of it is left
bool peri_session_flush(struct peri_session *session);

/// Sends a part of a file without waiting.
/// @return bytes taken, 0 when it would block or is dead; -1: the file can't be read there
ssize_t peri_session_send_file(struct peri_session *session, int file, uint64_t at, size_t n);

/// The socket is full: from here a peer that takes nothing stalls.
void peri_session_note_full(struct peri_session *session);

/// Has the peer acknowledged bytes since the socket was full? A slow one may for long leave the
/// socket too full to take more. @return true, and its clock starts anew
bool peri_session_has_taken(struct peri_session *session);

/// The sweep's part: gives everything back.
void peri_session_release(struct peri_session *session);

/// Something happened to its socket; as peri_poller's.
void peri_session_on_ready(void *whom, unsigned events);

/// A timer of the wheel is due.
void peri_session_on_timer(struct peri_session *session);

// session_tls.c: while the stage is SESSION_TLS, but for peri_session_tls_tell

/// Reads once, into the server's buffer. SESSION_HTTP follows when the handshake is done, or when
/// there is an answer for a peer who speaks no TLS.
/// @return as peri_stream_read; PERI_E_INVALID: such an answer
PERI_MUST_CHECK int peri_session_tls_read(struct peri_session *session, size_t *n, bool *more);

/// Why TLS has failed, in the log.
void peri_session_tls_tell(const struct peri_session *session);

/// The handshake takes too long.
void peri_session_tls_late(struct peri_session *session);

// client.c

/// A session has begun: its address is counted, or a PROXY header is waited for. It may be turned
/// away, or closed.
void peri_client_arrive(struct peri_session *session, const struct peri_listener *listener);

/// Takes the PROXY header that http->proxy waits for, and nothing behind it. If it is no good, there
/// is an answer that says so.
void peri_client_read_proxy(struct peri_session *session, struct peri_span *in);

/// A request is whole: finds whose it is, and whether that address may have it.
/// @return false when it was answered
bool peri_client_admit(struct peri_session *session);

/// Its answer is written: the next one may be of another client.
void peri_client_answered(struct peri_session *session);

/// The address may send one more message; a refused one does not count.
bool peri_client_may_send(struct peri_session *session);

/// The session counts for no address any more.
void peri_client_leave(struct peri_session *session);

// control.c

void peri_control_start(struct peri_server *server);

/// Answers each client's next request. Between two turns of the hub.
/// @return true when work is left
bool peri_control_turn(struct peri_server *server);

/// There was news, for which a client may wait. Allowed in ports.
void peri_control_stir(struct peri_server *server);

/// Hangs up on all, and removes the socket's file.
void peri_control_close(struct peri_server *server);

// http.c

enum http_phase {
    HTTP_READING,   ///< the next request, or nothing yet
    HTTP_WAITING,   ///< policy is to answer
    HTTP_OPENING,   ///< the 101 is in `out`, the connection is to be opened
    HTTP_REPLYING,  ///< `out` and the file are being written
    HTTP_STREAMING, ///< what the feed says, without an end
};

struct peri_http {
    struct peri_request_parser *parser;
    struct peri_request *request; ///< the present one
    struct peri_params *params;
    struct peri_buffer out; ///< an answer, of which out_at bytes are written
    size_t out_at;
    size_t counted;               ///< of server->answer_bytes
    struct peri_range part;       ///< of the file, still to be sent behind `out`
    struct peri_file_mark mark;   ///< of the file, when its head was written
    uint64_t exchange;            ///< 0: policy owes nothing
    uint64_t opened;              ///< the exchange that policy accepted; 0: it was not asked
    uint64_t since_ms;            ///< of the phase, or of the parser's stage
    uint32_t script;              ///< 0: no route
    uint32_t served;              ///< requests answered
    int file;                     ///< -1: none
    uint8_t phase;                ///< enum http_phase
    uint8_t parsing;              ///< enum peri_request_stage, as last seen
    struct peri_list feed;        ///< in server->feed while streaming, or linked to itself
    struct peri_session *session; ///< once it streams
    struct peri_backlog *backlog; ///< the session's, while that has this; NULL: none
    bool upgrade, head, close;    ///< of the present request; close: no other follows
    struct peri_str protocol;     ///< of the 101; lies in the request

    struct peri_proxy_header *proxy; ///< that must come first; NULL: none, or it has come
    struct peri_ip peer;             ///< the other end of the socket, or whom the proxy has named
    bool trusted;                    ///< the peer: its requests say whom they are from
    char remote[PERI_IP_TEXT];       ///< the client

    /// What the 101 has agreed on, until the connection has it. NULL: nothing is compressed.
    struct peri_deflater *deflater;
    struct peri_inflater *inflater;
};

/// @param ip the peer
PERI_MUST_CHECK struct peri_http *peri_http_new(struct peri_server *server,
                                                const struct peri_ip *ip);

/// The session lets go of HTTP, if it has it still: what policy still answers is dropped.
void peri_http_drop(struct peri_session *session);

/// Takes bytes until a request is whole and routed.
void peri_http_input(struct peri_session *session, struct peri_span *in);

/// Goes on after policy has answered, or the socket takes bytes again.
void peri_http_turn(struct peri_session *session);

/// Goes on as if the route had no `request`: files, then what is said of the route.
void peri_http_fall_through(struct peri_session *session);

/// When something will be late (UINT64_MAX: nothing), and what to do then.
uint64_t peri_http_due(const struct peri_session *session);
void peri_http_late(struct peri_session *session);

// reply.c

/// Puts an answer into `out`. HTTP_REPLYING follows.
void peri_http_reply(struct peri_session *session, const struct peri_reply *reply);

/// A short answer in plain text. Said in the log.
/// @param field one more, NULL for none
void peri_http_refuse(struct peri_session *session, int status, const char *why,
                      const struct peri_field *field);

/// Answers with a file, or that it has not changed.
/// @param file its descriptor is transferred
void peri_http_reply_file(struct peri_session *session, const struct peri_file *file);

/// Begins an answer that does not end: whatever is added to `out` goes there. HTTP_STREAMING
/// follows, but for HEAD.
void peri_http_reply_stream(struct peri_session *session, struct peri_str content_type,
                            struct peri_str begins);

/// Answers with an asset, or that it has not changed.
void peri_http_reply_asset(struct peri_session *session, const struct peri_asset *asset);

/// Writes what is in `out` and in the file. @return true when all is written
bool peri_http_write(struct peri_session *session);

// feed.c

bool peri_feed_is_asked_for(const struct peri_session *session);

/// Answers a client who may only read, and streams if all is well.
void peri_feed_begin(struct peri_session *session);

/// Its http is let go of.
void peri_feed_leave(struct peri_session *session);

uint64_t peri_feed_due(const struct peri_session *session);
void peri_feed_late(struct peri_session *session);

/// The host ends: all clients are closed.
void peri_feed_end(struct peri_server *server);

// upgrade.c

/// Answers an upgrade, at once or by policy.
/// @param found a route matches
void peri_http_upgrade(struct peri_session *session, bool found);

/// Puts the 101 into `out`. HTTP_OPENING follows.
void peri_http_accept(struct peri_session *session, const struct peri_acceptance *acceptance);

/// Writes the 101 and opens the connection. SESSION_WS follows.
void peri_http_open(struct peri_session *session);

/// Names the request for policy. @return false without memory: it was answered
bool peri_exchange_begin(struct peri_session *session);

/// Policy's answer counts no longer.
void peri_exchange_end(struct peri_session *session);

/// @return borrowed; NULL when it was answered, or the client has left
struct peri_session *peri_exchange_find(const struct peri_server *server, uint64_t exchange);

// websocket.c

/// Takes frames until the hub takes no more, or the budget is spent.
/// @return false when it is spent: the rest is for the next turn
bool peri_ws_input(struct peri_session *session, struct peri_span *in, struct peri_budget *budget);

/// Writes the outbox. Called within ports.flush and when the socket takes bytes again.
void peri_ws_write(struct peri_session *session, struct peri_conn *conn);

/// Reads on when the hub takes input again.
void peri_ws_resume(struct peri_session *session);

/// Closes, once the connection has ended and all that was to be said is written.
void peri_ws_finish(struct peri_session *session);

/// There is nothing more to read.
void peri_ws_eof(struct peri_session *session);

uint64_t peri_ws_due(const struct peri_session *session);
void peri_ws_late(struct peri_session *session);
