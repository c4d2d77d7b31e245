// Lines on their way to a descriptor that must never make the host wait.
//
// Setting O_NONBLOCK would reach everybody who shares the descriptor, the shell for one. So a pipe
// or a terminal is opened once more, and what cannot be is asked by poll(2) before each write.
#pragma once

#include "base/log_line.h"

struct peri_log_output {
    int fd;           ///< borrowed
    int own_fd;       ///< the same file, opened without waiting; -1: none
    bool torn;        ///< the last byte written is no newline
    uint64_t dropped; ///< lines for which there was no room, or that the system did not take
    size_t at, len;
    char pending[4 * PERI_LOG_LINE_MAX]; ///< from at, len bytes
};

/// @param fd borrowed until peri_log_output_close
void peri_log_output_open(struct peri_log_output *output, int fd);

/// Writes the line, or keeps it until the reader takes it, or counts it as dropped.
/// @param line at most PERI_LOG_LINE_MAX bytes
void peri_log_output_line(struct peri_log_output *output, struct peri_str line);

/// Writes as much of what is kept as the reader takes at once.
void peri_log_output_push(struct peri_log_output *output);

/// As peri_log_output_push, waiting for the reader at most that long.
void peri_log_output_wait(struct peri_log_output *output, int wait_ms);

/// Whether there is room to say that lines were dropped, and to go on for a while.
bool peri_log_output_has_room(const struct peri_log_output *output);

/// Of all descriptors but the standard ones, the calling thread keeps this one alone.
void peri_log_output_keep_only(const struct peri_log_output *output);

void peri_log_output_close(struct peri_log_output *output);
