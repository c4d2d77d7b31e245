// A load on a WebSocket server: many connections on one thread, and what the server makes of them. See
// options.c. One line of JSON tells the figures; what comes back wrong ends it with a line on stderr.
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "load/load.h"

enum {
    EVENTS = 512,
    OPENING = 100,          // connections at once that are not yet open
    SETTLE_MS = 200,        // for a server to have put the last one where it belongs
    STALL_MS = 10000,       // without any message
    OUT_BYTES = 256 * 1024, // of frames in one write
};

static const uint64_t SECOND = 1000000000;

struct run {
    struct load load;
    struct peri_histogram latency;
    uint64_t longest_ns;
    uint64_t messages; ///< deliveries, or connections that came and went
    bool measured;
    bool over; ///< nothing more is sent
    // What is broadcast.
    uint64_t *said_at;
    unsigned *missing; ///< deliveries of each message in flight
    uint64_t said, complete;
};

void load_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void *load_alloc(size_t bytes) {
    void *block = calloc(1, bytes > 0 ? bytes : 1);
    if (!block) {
        load_fail("no memory");
    }
    return block;
}

uint64_t load_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

// --- What the modes do ---

static struct run *run_of(struct load *load) {
    return (struct run *)(void *)((char *)load - offsetof(struct run, load));
}

static void count(struct run *run, uint64_t begun, uint64_t now) {
    uint64_t took = now - begun;
    run->messages++;
    if (run->measured) {
        peri_histogram_add(&run->latency, took, 1);
        run->longest_ns = took > run->longest_ns ? took : run->longest_ns;
    }
}

/// Sends messages [first, first + n) of a connection in as few writes as there may be.
static void say(struct load *load, struct load_client *client, uint64_t first, uint64_t n) {
    const struct load_options *options = &load->options;
    size_t filled = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (filled > 0 && (options->separate ||
                           load->out_room - filled < load_messages_frame_bytes(load->messages))) {
            load_client_send(load, client, load->out, filled);
            filled = 0;
        }
        filled += load_messages_frame(load->messages, first + i, options->deflate == LOAD_SEND,
                                      load->out + filled);
    }
    load_client_send(load, client, load->out, filled);
}

static void hear_echo(struct load *load, struct load_client *client, uint64_t now) {
    uint64_t number = client->heard - 1;
    count(run_of(load), client->said_at[number % load->options.in_flight], now);
}

/// As many as came back.
static void say_again(struct load *load, struct load_client *client) {
    unsigned in_flight = load->options.in_flight;
    uint64_t n = client->heard + in_flight - client->said;
    if (!client->said_at || n == 0 || run_of(load)->over) {
        return;
    }
    uint64_t now = load_now_ns();
    uint64_t first = client->said;
    client->said += n;
    for (uint64_t i = 0; i < n; i++) {
        client->said_at[(first + i) % in_flight] = now;
    }
    say(load, client, first, n);
}

static void begin_echo(struct run *run) {
    for (unsigned i = 0; i < run->load.options.connections; i++) {
        struct load_client *client = &run->load.clients[i];
        client->said_at = load_alloc(run->load.options.in_flight * sizeof *client->said_at);
        say_again(&run->load, client);
    }
}

static void hear_broadcast(struct load *load, struct load_client *client, uint64_t now) {
    struct run *run = run_of(load);
    uint64_t at = (client->heard - 1) % load->options.in_flight;
    count(run, run->said_at[at], now);
    if (run->missing[at] == 0) {
        load_fail("a message came twice");
    }
    run->complete += --run->missing[at] == 0;
}

/// As many as all have got.
static void broadcast_again(struct run *run) {
    unsigned in_flight = run->load.options.in_flight;
    uint64_t now = load_now_ns();
    uint64_t first = run->said;
    // Those complete are the oldest, since each member gets them in order.
    uint64_t n = run->complete + in_flight - run->said;
    for (uint64_t i = 0; i < n; i++) {
        run->said_at[run->said % in_flight] = now;
        run->missing[run->said % in_flight] = run->load.options.connections;
        run->said++;
    }
    if (n > 0) {
        say(&run->load, &run->load.clients[0], first, n);
    }
}

static void begin_broadcast(struct run *run) {
    unsigned in_flight = run->load.options.in_flight;
    run->said_at = load_alloc(in_flight * sizeof *run->said_at);
    run->missing = load_alloc(in_flight * sizeof *run->missing);
    broadcast_again(run);
}

static void hear_nothing(struct load *load, struct load_client *client, uint64_t now) {
    (void)load, (void)client, (void)now;
    load_fail("a message came, though none was sent");
}

static void read_nothing(struct load *load, struct load_client *client) {
    (void)load, (void)client;
}

static void close_when_open(struct load *load, struct load_client *client) {
    if (client->stage == LOAD_OPEN && run_of(load)->said > 0) {
        load_client_close(load, client);
    }
}

static void come_again(struct load *load, struct load_client *client, uint64_t begun) {
    count(run_of(load), begun, load_now_ns());
    load_client_open(load, client);
}

static void begin_connects(struct run *run) {
    run->said = 1;
    for (unsigned i = 0; i < run->load.options.connections; i++) {
        load_client_close(&run->load, &run->load.clients[i]);
    }
}

// --- The loop ---

static void turn(struct run *run, int wait_ms) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(run->load.epoll, events, EVENTS, wait_ms);
    for (int i = 0; i < n; i++) {
        load_client_event(&run->load, events[i].data.ptr, events[i].events);
    }
    if (run->said_at && !run->over) {
        broadcast_again(run);
    }
}

static void open_all(struct run *run) {
    struct load *load = &run->load;
    uint64_t limit = load_now_ns() + 120 * SECOND;
    while (load->open < load->options.connections) {
        while (load->made < load->options.connections && load->made - load->open < OPENING) {
            load_client_open(load, &load->clients[load->made]);
        }
        turn(run, 100);
        if (load_now_ns() > limit) {
            load_fail("of %u connections %u are open after two minutes", load->options.connections,
                      load->open);
        }
    }
    uint64_t settled = load_now_ns() + SETTLE_MS * (SECOND / 1000);
    while (load_now_ns() < settled) {
        turn(run, SETTLE_MS / 4);
    }
}

/// Runs until the time is over, or the messages are. What is broadcast is counted by whole messages.
static void run_for(struct run *run, double seconds, uint64_t messages) {
    uint64_t now = load_now_ns();
    uint64_t end = messages ? UINT64_MAX : now + (uint64_t)(seconds * (double)SECOND);
    uint64_t until = messages ? run->messages + messages : UINT64_MAX;
    uint64_t seen = run->messages, seen_at = now;
    for (uint64_t complete = run->complete; now < end && run->messages < until;) {
        do {
            turn(run, 1000);
            now = load_now_ns();
            if (run->messages != seen) {
                seen = run->messages;
                seen_at = now;
            } else if (now - seen_at > STALL_MS * (SECOND / 1000)) {
                load_fail("nothing came for %d s", STALL_MS / 1000);
            }
        } while (run->said_at && run->complete == complete);
        complete = run->complete;
    }
}

static uint64_t in_flight(const struct run *run) {
    uint64_t sum = run->said_at ? run->said - run->complete : 0;
    for (unsigned i = 0; !run->said_at && i < run->load.options.connections; i++) {
        sum += run->load.clients[i].said - run->load.clients[i].heard;
    }
    return sum;
}

/// Until all that was sent has come back: what never does would else go unseen.
static void finish(struct run *run) {
    uint64_t limit = load_now_ns() + STALL_MS * (SECOND / 1000);
    run->over = true;
    while (in_flight(run) > 0) {
        turn(run, 100);
        if (load_now_ns() > limit) {
            load_fail("%" PRIu64 " messages never came back", in_flight(run));
        }
    }
}

static double ms_at(const struct run *run, unsigned thousandths) {
    return (double)peri_histogram_at(&run->latency, thousandths) / 1e6;
}

struct sample {
    uint64_t at_ns, cpu_ns, own_ns, messages;
    struct load_core cores[LOAD_CORES];
};

static void take_sample(const struct run *run, struct sample *sample) {
    const struct load_options *options = &run->load.options;
    for (unsigned i = 0; i < options->core_count; i++) {
        sample->cores[i] = load_core(options->cores[i]);
    }
    sample->messages = run->messages;
    sample->cpu_ns = options->pid ? load_cpu_ns(options->pid) : 0;
    struct timespec own;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    sample->own_ns = (uint64_t)own.tv_sec * SECOND + (uint64_t)own.tv_nsec;
    sample->at_ns = load_now_ns();
}

static void print_figures(const struct run *run, const struct sample *from,
                          const struct sample *to) {
    const struct load_options *options = &run->load.options;
    uint64_t messages = to->messages - from->messages;
    double seconds = (double)(to->at_ns - from->at_ns) / (double)SECOND;
    printf("{\"messages\": %" PRIu64 ", \"seconds\": %.6f, \"rate\": %.1f, \"p50_ms\": %.4f, "
           "\"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f, \"load_cpu\": %.3f",
           messages, seconds, (double)messages / seconds, ms_at(run, 500), ms_at(run, 990),
           ms_at(run, 999), (double)run->longest_ns / 1e6,
           (double)(to->own_ns - from->own_ns) / (double)SECOND / seconds);
    if (options->pid) {
        double cpu_us = (double)(to->cpu_ns - from->cpu_ns) / 1e3;
        printf(", \"cpu_us\": %.5f", cpu_us / (double)messages);
    }
    for (unsigned i = 0; i < options->core_count; i++) {
        uint64_t all = to->cores[i].all - from->cores[i].all;
        uint64_t busy = to->cores[i].busy - from->cores[i].busy;
        printf("%s%.3f", i == 0 ? ", \"busy\": [" : ", ", all ? (double)busy / (double)all : 0);
    }
    puts(options->core_count > 0 ? "]}" : "}");
}

static void measure(struct run *run) {
    static struct sample from, to;
    run_for(run, run->load.options.warm_s, 0);
    take_sample(run, &from);
    run->measured = true;
    run_for(run, run->load.options.seconds, run->load.options.count);
    run->measured = false;
    take_sample(run, &to);
    if (to.messages == from.messages) {
        load_fail("no message came in the time that was measured");
    }
    finish(run);
    print_figures(run, &from, &to);
}

/// Says that they are there, and keeps them until stdin ends.
static void hold(struct run *run) {
    char byte;
    printf("{\"open\": %u}\n", run->load.open);
    fflush(stdout);
    struct epoll_event event = {EPOLLIN, {.ptr = NULL}};
    if (epoll_ctl(run->load.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0) {
        load_fail("stdin is to be a pipe: it says when to end");
    }
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(run->load.epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) {
                load_client_event(&run->load, events[i].data.ptr, events[i].events);
            } else if (read(STDIN_FILENO, &byte, 1) <= 0) {
                return;
            }
        }
    }
}

// --- All of it ---

static void set_up(struct run *run) {
    struct load *load = &run->load;
    const struct load_options *options = &load->options;
    load->messages = load_messages_new(options->size, options->binary);
    load->clients = load_alloc(options->connections * sizeof *load->clients);
    load->in = load_alloc(LOAD_READ_BYTES);
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->on_message = options->mode == LOAD_ECHO        ? hear_echo
                       : options->mode == LOAD_BROADCAST ? hear_broadcast
                                                         : hear_nothing;
    load->on_read = options->mode == LOAD_ECHO      ? say_again
                    : options->mode == LOAD_CONNECT ? close_when_open
                                                    : read_nothing;
    load->on_end = come_again;
    if (options->tls) {
        load->tls = SSL_CTX_new(TLS_client_method());
        if (!load->tls) {
            load_fail("OpenSSL: no memory");
        }
        SSL_CTX_set_mode(load->tls,
                         SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_read_ahead(load->tls, 1);
        // One and the same for all: left to them, servers differ in what they take.
        if (SSL_CTX_set_min_proto_version(load->tls, TLS1_3_VERSION) != 1 ||
            SSL_CTX_set_ciphersuites(load->tls, "TLS_AES_256_GCM_SHA384") != 1) {
            load_fail("OpenSSL has no TLS 1.3 with AES-256");
        }
    }
}

int main(int argc, char **argv) {
    static struct run run; // large, and once
    load_options_parse(&run.load.options, argc, argv);
    (void)signal(SIGPIPE, SIG_IGN); // OpenSSL writes without MSG_NOSIGNAL
    set_up(&run);
    open_all(&run);

    // Compressed frames have their length from what was agreed on.
    struct load *load = &run.load;
    load->out_room = load_messages_frame_bytes(load->messages);
    load->out_room = load->out_room > OUT_BYTES ? load->out_room : OUT_BYTES;
    load->out = load_alloc(load->out_room);
    switch (load->options.mode) {
    case LOAD_ECHO: begin_echo(&run); break;
    case LOAD_BROADCAST: begin_broadcast(&run); break;
    case LOAD_CONNECT: begin_connects(&run); break;
    case LOAD_IDLE: break;
    }
    if (load->options.mode == LOAD_IDLE) {
        hold(&run);
    } else {
        measure(&run);
    }

    for (unsigned i = 0; i < load->options.connections; i++) {
        load_client_deinit(&load->clients[i]);
    }
    load_messages_free(load->messages);
    SSL_CTX_free(load->tls);
    free(load->clients);
    free(load->in);
    free(load->out);
    free(run.said_at);
    free(run.missing);
    return 0;
}
