// The user's side: stdin by line, stdout by piece, and what is said on the one or on stderr. Neither is switched to O_NONBLOCK, which would reach whoever
// shares them: poll(2) is asked first, and no more is written than what then fits for sure.
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/connect.h"

enum { READ_BYTES = 64 * 1024 };

int connect_input_read(struct connect_input *input) {
    peri_buffer_consume(&input->bytes, input->at);
    input->scanned -= input->at;
    input->at = 0;
    if (input->bytes.len > MESSAGE_MAX) {
        return PERI_E_LIMIT;
    }
    int rc = peri_buffer_reserve(&input->bytes, READ_BYTES);
    if (rc != PERI_OK) {
        return rc;
    }
    ssize_t n = read(STDIN_FILENO, input->bytes.ptr + input->bytes.len, READ_BYTES);
    if (n < 0) {
        bool is_none = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        return is_none ? PERI_OK : PERI_E_SYSTEM;
    }
    input->bytes.len += (size_t)n; // not negative
    input->has_ended = n == 0;
    return PERI_OK;
}

bool connect_input_line(struct connect_input *input, struct peri_str *line) {
    const char *from = (const char *)input->bytes.ptr;
    size_t left = input->bytes.len - input->scanned;
    const char *end = left > 0 ? memchr(from + input->scanned, '\n', left) : NULL;
    bool is_last = !end && input->has_ended && input->at < input->bytes.len;
    if (!end && !is_last) {
        input->scanned = input->bytes.len;
        return false;
    }
    size_t to = end ? (size_t)(end - from) : input->bytes.len; // within the bytes
    *line = peri_str(from + input->at, to - input->at);
    input->at = input->scanned = to + (end != NULL);
    return true;
}

size_t connect_output_waiting(const struct connect_output *output) {
    return output->bytes.len - output->written;
}

int connect_output_write(struct connect_output *output) {
    size_t n = connect_output_waiting(output);
    n = n < PIPE_BUF ? n : PIPE_BUF; // pipe(7): so much fits into a pipe that poll calls writable
    ssize_t written = write(STDOUT_FILENO, output->bytes.ptr + output->written, n);
    if (written < 0) {
        bool is_full = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        return is_full ? PERI_OK : errno == EPIPE ? PERI_E_CLOSED : PERI_E_SYSTEM;
    }
    output->written += (size_t)written; // not negative
    if (output->written == output->bytes.len) {
        peri_buffer_clear(&output->bytes, READ_BYTES);
        output->written = 0;
    } else if (output->written > output->bytes.len / 2) {
        peri_buffer_consume(&output->bytes, output->written);
        output->written = 0;
    }
    return PERI_OK;
}

void connect_screen_drop(struct connect_screen *screen) {
    screen->is_gone = true;
    peri_buffer_deinit(&screen->output.bytes);
    screen->output.written = 0;
}

void connect_put(struct connect_screen *screen, struct peri_str text) {
    if (screen->terminal) {
        connect_terminal_print(screen->terminal, text);
    } else if (!screen->is_gone && peri_buffer_append_str(&screen->output.bytes, text) != PERI_OK) {
        screen->error = PERI_E_MEMORY;
    }
}

void connect_screen_show(struct connect_screen *screen, enum connect_direction direction,
                         bool binary, struct peri_str payload) {
    struct peri_buffer lines = {0};
    if (connect_show(&lines, &screen->look, direction, binary, payload, time(NULL)) == PERI_OK) {
        connect_put(screen, peri_buffer_str(&lines));
    } else {
        screen->error = PERI_E_MEMORY;
    }
    peri_buffer_deinit(&lines);
}

void connect_tell(struct connect_screen *screen, bool is_failure, const char *format, ...) {
    char text[512]; // what is told of a peer is at most a reason, 123 bytes
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (screen->options->shows && (screen->options->tells || !is_failure)) {
        connect_screen_show(screen, CONNECT_NOTE, false, peri_str_of(text));
    } else if (screen->options->tells || is_failure) {
        struct peri_buffer line = {0};
        if (connect_show_text(&line, peri_str_of(text), 2) == PERI_OK) {
            peri_complain("%.*s", (int)line.len, (const char *)line.ptr); // a few times 512
        }
        peri_buffer_deinit(&line);
    }
}
