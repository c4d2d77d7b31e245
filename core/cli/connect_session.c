// One conversation: what comes over the link goes to the screen or stdout, lines go to the link, and
// each side is read only while the other one takes what it gives. Or what comes goes back.
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/connect.h"
#include "proto/utf8.h"

enum {
    OUTPUT_FULL_BYTES = 64 * 1024,
    CLOSE_MS = 5000, ///< for the other side's Close frame, since its last sign of life
    LOOK_MS = 100,   ///< how often to look what the other side has confirmed, which nobody tells us
    MINUTE_MS = 60000,
    ENDING_MS = 2000, ///< to get our answer to its Close frame out
};

enum phase {
    TALKING,
    LISTENING, ///< stdin has ended, or is left alone
    CLOSING,   ///< our Close frame is queued
    ENDING,    ///< nothing more counts: what is left goes out, and the host closes first
    OVER,
};

struct session {
    const struct connect_options *options;
    struct connect_link link;
    struct connect_input input;
    struct connect_screen screen;
    enum phase phase;
    enum peri_exit status;
    int signals;         ///< a descriptor
    bool key_is_ready;   ///< the terminal has a key to be read
    int64_t deadline_ms; ///< of the phase; -1: none
    int64_t ping_due_ms, ping_sent_ms;
    uint64_t pings, pongs; ///< the number of the last one
    size_t unconfirmed;    ///< while CLOSING: what the other side had not taken
    bool awaits_fin;       ///< both Close frames are there, so the host closes first
    bool
        was_deaf; ///< since the last ping, nothing was read for a while: a pong may have been missed
    uint64_t received; ///< messages
};

int64_t connect_now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/// Phases go forwards only.
static void turn_phase(struct session *s, enum phase phase, int64_t deadline_ms) {
    if (phase > s->phase) {
        s->phase = phase;
        s->deadline_ms = deadline_ms;
    }
}

/// Nothing can be done any more.
static void give_up(struct session *s, const char *why) {
    peri_complain("%s", why);
    s->status = PERI_EXIT_FAILED;
    turn_phase(s, OVER, -1);
}

static void check_memory(struct session *s, int rc) {
    if (rc != PERI_OK && s->phase != OVER) {
        give_up(s, rc == PERI_E_SYSTEM ? "no random bytes" : "out of memory");
    }
}

// The end, in its ways

static void fail(struct session *s, const char *text) {
    s->status = PERI_EXIT_FAILED;
    connect_tell(&s->screen, true, "%s", text);
}

/// Says whether --count came true. The status is FAILED if not.
static void check_count(struct session *s) {
    if (s->received < s->options->count) {
        s->status = PERI_EXIT_FAILED;
        connect_tell(&s->screen, true, "%llu of %llu messages came",
                     (unsigned long long)s->received, (unsigned long long)s->options->count);
    }
}

static void begin_close(struct session *s, int code) {
    check_memory(s, connect_link_close(&s->link, code, PERI_STR("")));
    turn_phase(s, CLOSING, -1); // the time runs once the frame is out
}

static void on_close(struct session *s, const struct peri_event *ev) {
    bool is_ours = s->phase == CLOSING;
    bool is_good = ev->close_code == 1000 || ev->close_code == 1001 || ev->close_code == 1005;
    // What comes right before a Close frame is sent back behind it, which is in order.
    bool is_all_sent = is_ours || s->options->echo || connect_link_waiting(&s->link) == 0;
    int code = ev->close_code == 1005 ? 0 : ev->close_code;
    check_memory(s, connect_link_close(&s->link, code, PERI_STR("")));
    if (!is_ours || !is_good) {
        s->status = is_good ? s->status : PERI_EXIT_FAILED;
        connect_tell(&s->screen, !is_good, "closed: %d (%s)%s%.*s", ev->close_code,
                     connect_close_words(ev->close_code), ev->payload.len > 0 ? ": " : "",
                     (int)ev->payload.len, ev->payload.ptr ? ev->payload.ptr : "");
    }
    if (!is_all_sent) {
        fail(s, "closed before all was sent");
    }
    check_count(s);
    s->awaits_fin = !s->link.has_ended; // RFC 6455 section 7.1.1
    turn_phase(s, ENDING, connect_now_ms() + ENDING_MS);
}

/// There was no Close frame: close code 1006.
static void on_loss(struct session *s, const char *why) {
    s->status = PERI_EXIT_FAILED;
    connect_tell(&s->screen, true, "closed: 1006 (%s)%s%s", connect_close_words(1006),
                 *why ? ": " : "", why);
    turn_phase(s, ENDING, connect_now_ms());
}

static void on_stdin_end(struct session *s) {
    if (s->options->wait_ms == 0) {
        begin_close(s, 1000);
    } else {
        turn_phase(s, LISTENING,
                   s->options->wait_ms < 0 ? -1 : connect_now_ms() + s->options->wait_ms);
    }
}

// What comes over the link

static void show_message(struct session *s, bool is_binary, struct peri_str payload) {
    if (s->options->shows) {
        connect_screen_show(&s->screen, CONNECT_IN, is_binary, payload);
    } else if (!s->options->echo) {
        connect_put(&s->screen, payload);
        if (!is_binary) {
            connect_put(&s->screen, PERI_STR("\n"));
        }
    }
}

static void on_message(struct session *s, const struct peri_event *ev) {
    bool is_binary = ev->kind == PERI_EV_BINARY;
    if (s->options->count > 0 && s->received == s->options->count) {
        return; // on its way before our Close frame was there
    }
    s->received++;
    show_message(s, is_binary, ev->payload);
    if (s->options->echo) {
        enum peri_opcode opcode = is_binary ? PERI_OP_BINARY : PERI_OP_TEXT;
        check_memory(s, connect_link_send(&s->link, opcode, ev->payload));
    }
    if (s->received == s->options->count && s->phase < CLOSING) {
        begin_close(s, 1000);
    }
}

static void on_pong(struct session *s, const struct peri_event *ev) {
    uint64_t number;
    if (ev->payload.len != sizeof number) {
        return;
    }
    memcpy(&number, ev->payload.ptr, sizeof number);
    if (number == s->pings && s->pongs != number) {
        s->pongs = number;
        if (s->options->shows) {
            connect_tell(&s->screen, false, "pong after %lld ms",
                         (long long)(connect_now_ms() - s->ping_sent_ms));
        }
    }
}

static void on_event(struct session *s, const struct peri_event *ev) {
    switch (ev->kind) {
    case PERI_EV_TEXT:
    case PERI_EV_BINARY: on_message(s, ev); break;
    case PERI_EV_PING: break; // the link answers it
    case PERI_EV_PONG: on_pong(s, ev); break;
    case PERI_EV_CLOSE: on_close(s, ev); break;
    }
}

static void on_bad_peer(struct session *s) {
    s->status = PERI_EXIT_FAILED;
    connect_tell(&s->screen, true, "the host broke the protocol: %s", s->link.ws.error_text);
    check_memory(
        s, connect_link_close(&s->link, s->link.ws.error_code, peri_str_of(s->link.ws.error_text)));
    turn_phase(s, ENDING, connect_now_ms() + ENDING_MS);
}

/// May more be read? Not while whoever gets it, stdout or by --echo the other side, is behind.
static bool may_take_more(const struct session *s) {
    return connect_output_waiting(&s->screen.output) < OUTPUT_FULL_BYTES &&
           (!s->options->echo || connect_link_waiting(&s->link) < LINK_FULL_BYTES);
}

/// Takes events while there is room for what they bring.
static void take_events(struct session *s) {
    struct peri_event ev;
    while (s->phase < ENDING && s->link.input.len > 0 && may_take_more(s)) {
        int rc = connect_link_next(&s->link, &ev);
        if (rc == PERI_OK) {
            on_event(s, &ev);
        } else if (rc == PERI_E_PROTOCOL) {
            on_bad_peer(s);
        } else if (rc != PERI_AGAIN) {
            check_memory(s, rc);
        }
    }
    if (s->phase < ENDING && s->link.has_ended && s->link.input.len == 0) {
        on_loss(s, "");
    }
}

static void receive(struct session *s) {
    int rc = connect_link_receive(&s->link);
    if (rc == PERI_E_SYSTEM && s->phase < ENDING) {
        on_loss(s, connect_wire_why(&s->link.wire));
    } else if (rc == PERI_E_SYSTEM) {
        s->link.has_ended = true; // as good as a FIN
    } else if (s->phase == CLOSING) {
        s->deadline_ms = -1; // a sign of life
    }
    if (s->phase == ENDING) {
        s->link.input.len = 0; // behind its Close frame
        s->awaits_fin = s->awaits_fin && !s->link.has_ended;
    }
}

// What is said

static void send_line(struct session *s, struct peri_str line) {
    enum peri_opcode opcode = s->options->binary ? PERI_OP_BINARY : PERI_OP_TEXT;
    if (!s->options->binary && !peri_utf8_is_valid(line.ptr, line.len)) {
        if (s->options->is_terminal) {
            connect_tell(&s->screen, false, "not sent: it is not UTF-8");
        } else {
            fail(s, "a line is not UTF-8: send it with --binary");
            begin_close(s, 1000);
        }
        return;
    }
    if (line.len == 0 && s->options->is_terminal) {
        return;
    }
    if (line.len > MESSAGE_MAX) {
        fail(s, "a line is too long for a message (16 MiB)");
        begin_close(s, 1000);
        return;
    }
    check_memory(s, connect_link_send(&s->link, opcode, line));
    if (s->screen.terminal) {
        connect_screen_show(&s->screen, CONNECT_OUT, false, line);
    }
}

/// Lines that were read, as far as the link takes them.
static void send_lines(struct session *s) {
    struct peri_str line;
    while (s->phase == TALKING && connect_link_waiting(&s->link) < LINK_FULL_BYTES &&
           connect_input_line(&s->input, &line)) {
        send_line(s, line);
    }
    if (s->phase == TALKING && s->input.has_ended && s->input.at == s->input.bytes.len) {
        on_stdin_end(s);
    }
}

static void read_lines(struct session *s) {
    int rc = connect_input_read(&s->input);
    if (rc == PERI_E_SYSTEM || rc == PERI_E_LIMIT) {
        fail(s, rc == PERI_E_LIMIT ? "a line is too long for a message (16 MiB)"
                                   : "stdin can't be read");
        begin_close(s, 1000);
    } else {
        check_memory(s, rc);
    }
}

static void flush_link(struct session *s) {
    int rc = connect_link_flush(&s->link);
    if (rc == PERI_E_SYSTEM) {
        // What came before may still be read, a Close frame most of all.
        s->link.close_sent = true;
        s->link.out.len = s->link.out_sent = 0;
        s->link.pong_is_due = false;
    } else {
        check_memory(s, rc);
    }
}

static void write_output(struct session *s, bool is_gone) {
    int rc = is_gone ? PERI_E_CLOSED : connect_output_write(&s->screen.output);
    if (rc == PERI_OK) {
        return;
    }
    connect_screen_drop(&s->screen);
    s->status = PERI_EXIT_FAILED;
    if (rc == PERI_E_SYSTEM) {
        peri_complain("stdout can't be written: %s", strerror(errno));
    }
    if (s->phase < CLOSING) {
        begin_close(s, 1001);
    }
}

// Time and signals

static void keep_alive(struct session *s, int64_t now_ms) {
    if (s->options->ping_ms == 0 || s->phase >= CLOSING || now_ms < s->ping_due_ms) {
        return;
    }
    if (s->pings != s->pongs && !s->was_deaf) {
        on_loss(s, "no answer to a ping");
        return;
    }
    s->pings++;
    s->was_deaf = false;
    s->ping_sent_ms = now_ms;
    s->ping_due_ms = now_ms + s->options->ping_ms;
    char payload[sizeof s->pings];
    memcpy(payload, &s->pings, sizeof payload);
    check_memory(s, connect_link_send(&s->link, PERI_OP_PING, peri_str(payload, sizeof payload)));
}

/// Gives the other side its time to answer our Close frame: anew whenever it took some of what is
/// on its way, and while nobody looks for the answer since stdout is full.
static void wait_for_close(struct session *s, int64_t now_ms) {
    size_t unconfirmed = connect_link_waiting(&s->link) + connect_link_unconfirmed(&s->link);
    if (s->deadline_ms < 0 || unconfirmed != s->unconfirmed || !may_take_more(s)) {
        s->deadline_ms = now_ms + CLOSE_MS;
        s->unconfirmed = unconfirmed;
    }
    bool is_stuck = connect_link_waiting(&s->link) > 0;
    if (!is_stuck && now_ms >= s->deadline_ms) {
        fail(s, "the host did not answer our Close frame");
        turn_phase(s, ENDING, now_ms);
    }
}

static void check_deadline(struct session *s, int64_t now_ms) {
    if (s->phase == LISTENING && s->deadline_ms >= 0 && now_ms >= s->deadline_ms) {
        begin_close(s, 1000);
    }
    if (s->phase == CLOSING) {
        wait_for_close(s, now_ms);
    }
    if (s->phase == ENDING && now_ms >= s->deadline_ms) {
        s->awaits_fin = false;
    }
    if (s->phase == ENDING && connect_output_waiting(&s->screen.output) == 0 && !s->awaits_fin &&
        (connect_link_waiting(&s->link) == 0 || now_ms >= s->deadline_ms)) {
        turn_phase(s, OVER, -1);
    }
}

static void heed_signals(struct session *s) {
    unsigned kinds = connect_signals_take();
    if (kinds & CONNECT_RESIZED) {
        s->screen.look.columns = connect_terminal_columns();
        if (s->screen.terminal) {
            connect_terminal_resized(s->screen.terminal);
        }
    }
    if (kinds & CONNECT_SUSPEND) {
        connect_terminal_suspend(s->screen.terminal);
    }
    if (!(kinds & (CONNECT_INTERRUPT | CONNECT_STOP))) {
        return;
    }
    if (s->phase >= CLOSING) {
        s->status = PERI_EXIT_FAILED;
        turn_phase(s, OVER, -1);
        return;
    }
    begin_close(s, kinds & CONNECT_INTERRUPT ? 1000 : 1001);
}

// The loop

/// Is there something to do that nothing would wake us for? Room has come back since it was left.
static bool has_work(const struct session *s) {
    bool has_events = s->phase < ENDING && s->link.input.len > 0 && may_take_more(s);
    bool has_lines = s->phase == TALKING && s->input.scanned < s->input.bytes.len &&
                     connect_link_waiting(&s->link) < LINK_FULL_BYTES;
    return has_events || has_lines;
}

static int time_to_wait(const struct session *s) {
    if (has_work(s)) {
        return 0;
    }
    int64_t now_ms = connect_now_ms();
    int64_t until_ms = s->deadline_ms;
    bool has_sent = connect_link_waiting(&s->link) == 0;
    if ((s->phase == ENDING && has_sent && !s->awaits_fin) || (s->phase == CLOSING && !has_sent)) {
        until_ms = -1; // for stdout or for the other side to take more, as long as that takes
    }
    if (s->options->ping_ms > 0 && s->phase < CLOSING &&
        (until_ms < 0 || s->ping_due_ms < until_ms)) {
        until_ms = s->ping_due_ms;
    }
    if (until_ms < 0) {
        return -1;
    }
    int64_t left = until_ms > now_ms ? until_ms - now_ms : 0;
    int64_t most = s->phase == CLOSING && s->unconfirmed > 0 ? LOOK_MS : MINUTE_MS;
    return (int)(left < most ? left : most); // at most MINUTE_MS: looks again by then
}

static short events_if(bool wanted, short events) {
    return wanted ? events : 0;
}

/// Waits for what can go on, and does it.
static void turn(struct session *s) {
    enum { LINK, INPUT, OUTPUT, SIGNALS, POLLED };
    bool reads_link = s->phase < ENDING
                          ? s->link.input.len == 0 && !s->link.has_ended && may_take_more(s)
                          : s->awaits_fin && !s->link.has_ended;
    bool reads_input = s->phase == TALKING && connect_link_waiting(&s->link) < LINK_FULL_BYTES;
    bool has_output = connect_output_waiting(&s->screen.output) > 0;
    s->was_deaf = s->was_deaf || !may_take_more(s);
    short link_events = (short)(events_if(reads_link, POLLIN) |
                                events_if(connect_link_waiting(&s->link) > 0, POLLOUT));
    struct pollfd polled[POLLED] = {
        // What is not asked for is left out, since an end or an error is always told.
        [LINK] = {.fd = link_events ? s->link.wire.fd : -1, .events = link_events},
        [INPUT] = {.fd = reads_input ? STDIN_FILENO : -1, .events = POLLIN},
        [OUTPUT] = {.fd = s->screen.terminal || s->screen.is_gone ? -1 : STDOUT_FILENO,
                    .events = events_if(has_output, POLLOUT)},
        [SIGNALS] = {.fd = s->signals, .events = POLLIN},
    };
    int n = poll(polled, POLLED, time_to_wait(s));
    if (n < 0 && errno != EINTR) {
        give_up(s, "poll failed");
    }
    if (n < 0) {
        return;
    }
    if (polled[SIGNALS].revents) {
        heed_signals(s);
    }
    if (polled[OUTPUT].revents) {
        write_output(s, !(polled[OUTPUT].revents & POLLOUT)); // or its reader has gone
    }
    if (polled[LINK].revents & ~POLLOUT && reads_link) {
        receive(s);
    }
    s->key_is_ready = polled[INPUT].revents != 0;
    if (s->key_is_ready && !s->screen.terminal && s->phase == TALKING) {
        read_lines(s);
    }
}

/// What follows from it. The order keeps each side's end behind what it said before.
static void settle(struct session *s) {
    take_events(s);
    if (!s->screen.terminal) {
        send_lines(s);
    }
    int64_t now_ms = connect_now_ms();
    if (s->phase != OVER) {
        keep_alive(s, now_ms);
        flush_link(s);
    }
    check_deadline(s, now_ms);
    check_memory(s, s->screen.error);
}

static void step(struct session *s) {
    turn(s);
    if (s->phase != OVER) {
        settle(s);
    }
}

static bool wait_for_key(void *arg) {
    struct session *s = arg;
    s->key_is_ready = false;
    while (s->phase == TALKING && !s->key_is_ready) {
        step(s);
    }
    return s->phase == TALKING;
}

/// Takes lines from a terminal until something else ends the talk.
static void converse(struct session *s) {
    struct peri_str line;
    while (s->phase == TALKING) {
        if (connect_terminal_line(s->screen.terminal, &line)) {
            send_line(s, line);
            settle(s);
        } else if (s->phase == TALKING) {
            on_stdin_end(s);
        }
    }
}

/// Has a terminal where a line is typed, and listens from the start where stdin is of no interest.
static void begin(struct session *s, struct peri_str greeting) {
    if (s->options->edits) {
        s->screen.terminal = connect_terminal_new(wait_for_key, s);
    }
    connect_tell(&s->screen, false, "%.*s", (int)greeting.len, greeting.ptr);
    if (s->options->echo) {
        on_stdin_end(s);
    }
    settle(s);
}

enum peri_exit connect_talk(const struct connect_options *options, struct connect_opened *opened) {
    struct session *s = peri_calloc(1, sizeof *s); // the link's buffer is large for a stack
    if (!s) {
        connect_wire_close(&opened->wire);
        peri_buffer_deinit(&opened->rest);
        peri_complain("out of memory");
        return PERI_EXIT_FAILED;
    }
    s->options = options;
    s->screen = (struct connect_screen){
        .options = options,
        .look = {options->colour, connect_terminal_columns()},
    };
    s->deadline_ms = -1;
    s->ping_due_ms = connect_now_ms() + options->ping_ms;
    check_memory(s, connect_link_init(&s->link, opened));
    s->signals = connect_signals_begin();
    if (s->signals < 0) {
        give_up(s, "signals can't be taken");
    }
    if (s->phase != OVER) {
        begin(s, peri_buffer_str(&opened->greeting));
        if (s->screen.terminal) {
            converse(s);
        }
        while (s->phase != OVER) {
            step(s);
        }
    }
    connect_terminal_free(s->screen.terminal);
    connect_signals_end();
    connect_link_deinit(&s->link);
    peri_buffer_deinit(&s->input.bytes);
    peri_buffer_deinit(&s->screen.output.bytes);
    enum peri_exit status = s->status;
    peri_free(s);
    return status;
}
