// The asking end of the control socket.
#include "cli/control.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/control_place.h"

int control_option(struct control_options *options, int argc, char **argv, int *at) {
    const char *value = NULL;
    int taken = peri_option(argc, argv, at, "--control", &options->path);
    if (taken != 0) {
        return taken;
    }
    taken = peri_option(argc, argv, at, "--format", &value);
    if (taken > 0) {
        options->is_json = strcmp(value, "json") == 0;
        if (!options->is_json && strcmp(value, "text") != 0) {
            peri_complain("--format is text or json, not \"%s\"", value);
            return -1;
        }
    }
    if (taken == 0 && (strcmp(argv[*at], "--help") == 0 || strcmp(argv[*at], "-h") == 0)) {
        options->help = true;
        return 1;
    }
    return taken;
}

void control_refuse(const char *command, const char *word) {
    if (word[0] == '-') {
        peri_complain("%s has no option \"%s\": see perigee %s --help", command, word, command);
    } else {
        peri_complain("%s takes no \"%s\": see perigee %s --help", command, word, command);
    }
}

// Finding it ----------------------------------------------------------------------------------

static enum peri_exit fail_of_memory(void) {
    peri_complain("out of memory");
    return PERI_EXIT_FAILED;
}

/// @param paths each with its NUL
static enum peri_exit complain_of_many(const struct peri_buffer *paths) {
    peri_complain("several hosts run: choose one with --control");
    for (const char *path = (const char *)paths->ptr; path < (const char *)paths->ptr + paths->len;
         path += strlen(path) + 1) {
        (void)fputs("  ", stderr);
        peri_print_text(stderr, peri_str_of(path));
        (void)fputc('\n', stderr);
    }
    return PERI_EXIT_USAGE;
}

static enum peri_exit connect_to(struct control_link *link, const char *path) {
    link->fd = peri_control_connect(path);
    if (link->fd >= 0) {
        return PERI_EXIT_DONE;
    }
    peri_complain("no host at %s: %s", path,
                  errno == ECONNREFUSED ? "it is not running any more"
                  : errno == ENOENT     ? "there is no such socket"
                  : errno == EACCES     ? "only the user that it runs as, and root, may ask it"
                  : errno == ENOTSOCK   ? "this is no socket"
                                        : strerror(errno));
    return PERI_EXIT_FAILED;
}

enum peri_exit control_open(struct control_link *link, const struct control_options *options) {
    struct peri_buffer paths = {0};
    const char *path = options->path ? options->path : getenv("PERIGEE_CONTROL");
    enum peri_exit status = PERI_EXIT_FAILED;
    *link = (struct control_link){.fd = -1};
    if (path && path[0] != '\0' && (options->path || strcmp(path, "off") != 0)) {
        return connect_to(link, path);
    }
    int count = peri_control_list(&paths);
    if (count < 0) {
        status = fail_of_memory();
    } else if (count == 0) {
        peri_complain("no host of this user runs here: name its socket with --control");
    } else if (count > 1) {
        status = complain_of_many(&paths);
    } else {
        status = connect_to(link, (const char *)paths.ptr);
    }
    peri_buffer_deinit(&paths);
    return status;
}

void control_close(struct control_link *link) {
    if (link->fd >= 0) {
        close(link->fd);
    }
    link->fd = -1;
    peri_buffer_deinit(&link->in);
}

// Asking --------------------------------------------------------------------------------------

static enum peri_exit lose(const char *why) {
    peri_complain("the host is lost: %s", why);
    return PERI_EXIT_FAILED;
}

static enum peri_exit send_all(const struct control_link *link, struct peri_str text) {
    while (text.len > 0) {
        ssize_t n = send(link->fd, text.ptr, text.len, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return lose(strerror(errno));
        }
        text = n > 0 ? peri_str(text.ptr + n, text.len - (size_t)n) : text;
    }
    return PERI_EXIT_DONE;
}

/// Waits for a whole line.
static enum peri_exit receive(struct control_link *link, int wait_ms) {
    enum { READ_AT_ONCE = 64 * 1024 };
    struct pollfd polled = {.fd = link->fd, .events = POLLIN};
    peri_buffer_clear(&link->in, SIZE_MAX);
    while (link->in.len == 0 || link->in.ptr[link->in.len - 1] != '\n') {
        int ready = poll(&polled, 1, wait_ms);
        if (ready == 0) {
            return lose("it does not answer");
        }
        if (peri_buffer_reserve(&link->in, READ_AT_ONCE) != PERI_OK) {
            return fail_of_memory();
        }
        ssize_t n = recv(link->fd, link->in.ptr + link->in.len, READ_AT_ONCE, MSG_DONTWAIT);
        if (n == 0) {
            return lose("it has hung up");
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
            return lose(strerror(errno));
        }
        link->in.len += n > 0 ? (size_t)n : 0;
    }
    link->in.ptr[link->in.len - 1] = '\0';
    return PERI_EXIT_DONE;
}

struct peri_str control_line(const struct control_link *link) {
    return peri_str((const char *)link->in.ptr, link->in.len - 1);
}

enum peri_exit control_ask(struct control_link *link, struct peri_buffer *request, int wait_ms,
                           struct peri_reading **reading) {
    enum peri_exit status = send_all(link, peri_buffer_str(request));
    peri_buffer_clear(request, SIZE_MAX);
    if (status == PERI_EXIT_DONE) {
        status = receive(link, wait_ms);
    }
    if (status != PERI_EXIT_DONE) {
        return status;
    }
    int read = peri_reading_new(control_line(link), reading);
    if (read == PERI_OK) {
        return PERI_EXIT_DONE;
    }
    if (read == PERI_E_MEMORY) {
        return fail_of_memory();
    }
    peri_complain("who answers there is no perigee host");
    return PERI_EXIT_FAILED;
}

enum peri_exit control_ask_once(const struct control_options *options, struct peri_buffer *request,
                                int wait_ms, struct peri_reading **reading) {
    struct control_link link;
    enum peri_exit status = control_open(&link, options);
    if (status == PERI_EXIT_DONE) {
        status = control_ask(&link, request, wait_ms, reading);
    }
    if (status == PERI_EXIT_DONE && options->is_json) {
        struct peri_str line = control_line(&link);
        (void)fwrite(line.ptr, 1, line.len, stdout);
        (void)putchar('\n');
    }
    control_close(&link);
    return status;
}

// Saying --------------------------------------------------------------------------------------

void control_print_lines(FILE *out, struct peri_str text) {
    while (text.len > 0) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t n = end ? (size_t)(end - text.ptr) : text.len; // within the text
        peri_print_text(out, peri_str(text.ptr, n));
        (void)fputc('\n', out);
        n += end ? 1 : 0;
        text = peri_str(text.ptr + n, text.len - n);
    }
}

struct control_text control_bytes(uint64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    struct control_text out;
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out.text, sizeof out.text, "%.*f %s", unit > 0 && value < 9.95 ? 1 : 0, value,
                   units[unit]);
    return out;
}

struct control_text control_age(uint64_t ns) {
    struct control_text out;
    unsigned long long s = ns / 1000000000;
    if (s < 120) {
        (void)snprintf(out.text, sizeof out.text, "%llu s", s);
    } else if (s < 7200) {
        (void)snprintf(out.text, sizeof out.text, "%llu min", s / 60);
    } else if (s < 172800) {
        (void)snprintf(out.text, sizeof out.text, "%llu h", s / 3600);
    } else {
        (void)snprintf(out.text, sizeof out.text, "%llu days", s / 86400);
    }
    return out;
}

struct control_text control_time(uint64_t ns) {
    struct control_text out;
    double ms = (double)ns / 1e6;
    int digits = ms < 0.1 ? 4 : ms < 1 ? 3 : ms < 10 ? 2 : ms < 100 ? 1 : 0;
    if (ns > 0) {
        (void)snprintf(out.text, sizeof out.text, "%.*f ms", digits, ms);
    } else {
        (void)snprintf(out.text, sizeof out.text, "-");
    }
    return out;
}

enum peri_exit control_end(enum peri_exit status) {
    if (fflush(stdout) != 0) {
        peri_complain("the answer can't be written");
        return PERI_EXIT_FAILED;
    }
    return status;
}
