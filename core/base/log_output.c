#include "base/log_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int descriptor(const struct peri_log_output *output) {
    return output->own_fd >= 0 ? output->own_fd : output->fd;
}

void peri_log_output_open(struct peri_log_output *output, int fd) {
    struct stat file;
    output->fd = fd;
    output->own_fd = -1;
    if (fstat(fd, &file) == 0 && (S_ISFIFO(file.st_mode) || isatty(fd))) {
        char path[32];
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        output->own_fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }
}

/// What the reader takes now. @return bytes, or SIZE_MAX when it takes none any more
static size_t offer(struct peri_log_output *output, const char *bytes, size_t n) {
    size_t taken = 0;
    while (taken < n) {
        struct pollfd ready = {.fd = descriptor(output), .events = POLLOUT};
        int rc = poll(&ready, 1, 0);
        if (rc == 0 || (rc < 0 && errno != EINTR)) {
            break;
        }
        // A pipe that is ready takes that much without waiting, and in one piece.
        size_t most = n - taken < PIPE_BUF ? n - taken : PIPE_BUF;
        ssize_t written = rc > 0 ? write(ready.fd, bytes + taken, most) : 0;
        if (written < 0 && errno == EAGAIN) {
            break;
        }
        if (written < 0 && errno != EINTR) {
            return taken > 0 ? taken : SIZE_MAX;
        }
        if (written > 0) {
            taken += (size_t)written; // positive here
            output->torn = bytes[taken - 1] != '\n';
        }
    }
    return taken;
}

/// The disk is full, or nobody reads: what is kept would only be in the way.
static void drop_pending(struct peri_log_output *output) {
    for (size_t i = 0; i < output->len; i++) {
        output->dropped += output->pending[output->at + i] == '\n';
    }
    output->at = output->len = 0;
}

void peri_log_output_push(struct peri_log_output *output) {
    size_t n = offer(output, output->pending + output->at, output->len);
    if (n == SIZE_MAX) {
        drop_pending(output);
        return;
    }
    output->at += n;
    output->len -= n;
    if (output->len == 0) {
        output->at = 0;
    }
}

static bool keep(struct peri_log_output *output, struct peri_str line) {
    if (line.len > sizeof output->pending - output->len) {
        return false;
    }
    if (line.len > sizeof output->pending - output->at - output->len) {
        memmove(output->pending, output->pending + output->at, output->len);
        output->at = 0;
    }
    memcpy(output->pending + output->at + output->len, line.ptr, line.len);
    output->len += line.len;
    return true;
}

void peri_log_output_line(struct peri_log_output *output, struct peri_str line) {
    bool torn = output->torn && output->len == 0; // its other half was dropped
    if ((torn && !keep(output, PERI_STR("\n"))) || !keep(output, line)) {
        output->dropped++;
        return;
    }
    peri_log_output_push(output);
}

static int64_t clock_ms(void) {
    struct timespec time = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void peri_log_output_wait(struct peri_log_output *output, int wait_ms) {
    int64_t until = clock_ms() + wait_ms;
    peri_log_output_push(output);
    for (int64_t left = wait_ms; output->len > 0 && left > 0; left = until - clock_ms()) {
        struct pollfd ready = {.fd = descriptor(output), .events = POLLOUT};
        (void)poll(&ready, 1, (int)left); // at most wait_ms
        peri_log_output_push(output);
    }
}

bool peri_log_output_has_room(const struct peri_log_output *output) {
    return output->len < sizeof output->pending / 2;
}

void peri_log_output_keep_only(const struct peri_log_output *output) {
#ifdef CLOSE_RANGE_UNSHARE
    int fd = descriptor(output);
    unsigned after = fd > STDERR_FILENO ? (unsigned)fd + 1 : STDERR_FILENO + 1;
    if (close_range(after, UINT_MAX, CLOSE_RANGE_UNSHARE) == 0 && fd > STDERR_FILENO + 1) {
        (void)close_range(STDERR_FILENO + 1, (unsigned)fd - 1, 0);
    }
#else
    (void)output;
#endif
}

void peri_log_output_close(struct peri_log_output *output) {
    if (output->own_fd >= 0) {
        close(output->own_fd);
        output->own_fd = -1;
    }
}
