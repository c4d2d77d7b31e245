#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log_line.h"
#include "base/log_output.h"
#include "base/log_repeats.h"

enum {
    TEXT_MAX = 1024,
    LAST_WAIT_MS = 1000, ///< for a slow reader, when all ends
};

static atomic_int least = PERI_LOG_INFO;
static atomic_bool waits;

// All that follows is under the lock. No memory is taken from the heap: that there is none left is
// what many a line says.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum peri_log_format form = PERI_LOG_LOGFMT;
static void (*sink_write)(void *arg, struct peri_str line);
static void *sink_arg;
static struct peri_log_repeats repeats;
static struct peri_log_output output = {.fd = STDERR_FILENO, .own_fd = -1};
static char line[PERI_LOG_LINE_MAX];

static struct timespec now(clockid_t clock) {
    struct timespec time = {0};
    (void)clock_gettime(clock, &time);
    return time;
}

static uint64_t now_ms(void) {
    struct timespec time = now(CLOCK_MONOTONIC);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000; // never negative
}

static void send_line(const struct peri_log_event *event) {
    struct peri_str text = peri_str(line, peri_log_write_line(line, form, event));
    if (sink_write) {
        sink_write(sink_arg, text);
    } else {
        peri_log_output_line(&output, text);
    }
}

/// Where lines were dropped, a line says so: before the next one that finds room.
static void say_dropped(void) {
    if (output.dropped == 0 || !peri_log_output_has_room(&output)) {
        return;
    }
    char count[24];
    uint64_t dropped = output.dropped;
    int len = snprintf(count, sizeof count, "%llu", (unsigned long long)dropped);
    const struct peri_log_field fields[] = {{"dropped", peri_str(count, (size_t)len)}, {0}};
    output.dropped = 0;
    send_line(&(struct peri_log_event){
        .level = PERI_LOG_WARN,
        .time = now(CLOCK_REALTIME),
        .message = PERI_STR("lines of the log are lost: it is not read fast enough"),
        .fields = fields,
    });
    if (output.dropped > 0) {
        output.dropped = dropped; // nobody has heard of them
    }
}

static void write_event(struct peri_log_event *event) {
    event->time = now(CLOCK_REALTIME);
    peri_log_output_push(&output);
    say_dropped();
    send_line(event);
}

static void write_held(uint64_t at_ms) {
    struct peri_log_event held;
    while (peri_log_repeats_due(&repeats, at_ms, &held)) {
        write_event(&held);
    }
}

static void set_waits(void) {
    bool any = repeats.holding > 0 || output.len > 0;
    atomic_store_explicit(&waits, any, memory_order_relaxed);
}

static void log_event(enum peri_log_level level, struct peri_str message,
                      const struct peri_log_field *fields, enum peri_log_kind kind) {
    if (level < peri_log_level()) {
        return;
    }
    struct peri_log_event event = {.level = level, .message = message, .fields = fields};
    (void)pthread_mutex_lock(&lock);
    uint64_t at_ms = now_ms();
    write_held(at_ms);
    if (peri_log_repeats_pass(&repeats, &event, kind, at_ms)) {
        write_event(&event);
    }
    set_waits();
    (void)pthread_mutex_unlock(&lock);
}

void peri_log_set_level(enum peri_log_level level) {
    atomic_store_explicit(&least, (int)level, memory_order_relaxed);
}

enum peri_log_level peri_log_level(void) {
    return (enum peri_log_level)atomic_load_explicit(&least, memory_order_relaxed);
}

void peri_log_set_format(enum peri_log_format format) {
    (void)pthread_mutex_lock(&lock);
    form = format;
    (void)pthread_mutex_unlock(&lock);
}

bool peri_log_is_short(void) {
    (void)pthread_mutex_lock(&lock);
    bool is_short = form == PERI_LOG_SHORT || form == PERI_LOG_COLOURED;
    (void)pthread_mutex_unlock(&lock);
    return is_short;
}

enum peri_log_format peri_log_format_for(int fd) {
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (!isatty(fd)) {
        return PERI_LOG_LOGFMT;
    }
    bool plain = (no_colour && no_colour[0]) || !terminal || strcmp(terminal, "dumb") == 0;
    return plain ? PERI_LOG_SHORT : PERI_LOG_COLOURED;
}

void peri_log_set_output(int fd) {
    (void)pthread_mutex_lock(&lock);
    peri_log_output_close(&output);
    peri_log_output_open(&output, fd);
    (void)pthread_mutex_unlock(&lock);
}

void peri_log_stand_apart(void) {
    (void)pthread_mutex_lock(&lock);
    peri_log_output_keep_only(&output);
    (void)pthread_mutex_unlock(&lock);
}

void peri_log_set_sink(void (*sink)(void *arg, struct peri_str line), void *arg) {
    (void)pthread_mutex_lock(&lock);
    sink_write = sink;
    sink_arg = arg;
    memset(&repeats, 0, sizeof repeats);
    set_waits();
    (void)pthread_mutex_unlock(&lock);
}

void peri_log_fields(enum peri_log_level level, struct peri_str message,
                     const struct peri_log_field *fields) {
    log_event(level, message, fields, PERI_LOG_HAPPENED);
}

void peri_log_say(enum peri_log_level level, struct peri_str message,
                  const struct peri_log_field *fields) {
    log_event(level, message, fields, PERI_LOG_SAID_SO);
}

void peri_log(enum peri_log_level level, const char *format, ...) {
    if (level < peri_log_level()) {
        return;
    }
    char text[TEXT_MAX + 1];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0) {
        return;
    }
    size_t len = (size_t)n < TEXT_MAX ? (size_t)n : TEXT_MAX;
    peri_log_fields(level, peri_str(text, len), NULL);
}

bool peri_log_waits(void) {
    return atomic_load_explicit(&waits, memory_order_relaxed);
}

void peri_log_tick(void) {
    (void)pthread_mutex_lock(&lock);
    peri_log_output_push(&output);
    write_held(now_ms());
    say_dropped();
    set_waits();
    (void)pthread_mutex_unlock(&lock);
}

void peri_log_end(void) {
    (void)pthread_mutex_lock(&lock);
    write_held(UINT64_MAX);
    peri_log_output_wait(&output, LAST_WAIT_MS);
    say_dropped();
    peri_log_output_push(&output);
    peri_log_output_close(&output);
    set_waits();
    (void)pthread_mutex_unlock(&lock);
}
