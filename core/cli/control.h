// What the commands share that talk to a running host: their options, and a line there and back.
#pragma once

#include "admin/ask.h"
#include "cli/command.h"

/// Options of all these commands. Zero-initialised is what they are by default.
struct control_options {
    const char *path; ///< of the socket; NULL: whichever there is
    bool is_json, help;
};

/// In the help of each.
#define CONTROL_OPTIONS_HELP \
    "  --control PATH   the host's socket (default: PERIGEE_CONTROL, else the only host there " \
    "is)\n" \
    "  --format=text    for people (default)\n" \
    "  --format=json    as the host says it, see docs/operations.md\n" \
    "  --help           say this\n"

/// Takes one of these options at argv[*at].
/// @return 1: it did; 0: it is another word; -1: it is wrong, which was said
int control_option(struct control_options *options, int argc, char **argv, int *at);

/// Says that a command knows no such option.
void control_refuse(const char *command, const char *word);

/// A connection to a host. Zero-initialised is none.
struct control_link {
    int fd;
    struct peri_buffer in; ///< the last answer; NUL-terminated
};

/// @return PERI_EXIT_DONE; else what is wrong was said
enum peri_exit control_open(struct control_link *link, const struct control_options *options);
void control_close(struct control_link *link);

/// Sends a request and waits for its answer.
/// @param request emptied
/// @param wait_ms -1: as long as it takes
/// @param reading owned by the caller
/// @return PERI_EXIT_DONE; else what is wrong was said
enum peri_exit control_ask(struct control_link *link, struct peri_buffer *request, int wait_ms,
                           struct peri_reading **reading);

/// The last answer, as the host said it, without its newline.
struct peri_str control_line(const struct control_link *link);

/// For a command that asks once: opens, asks and prints the answer if it is to be JSON.
/// @return as control_ask; *reading is set where the answer has come
enum peri_exit control_ask_once(const struct control_options *options, struct peri_buffer *request,
                                int wait_ms, struct peri_reading **reading);

/// A text of several lines, each printed as of peri_print_text.
void control_print_lines(FILE *out, struct peri_str text);

/// In the units that people use: "27 KiB", "3 min", "0.25 ms".
struct control_text {
    char text[32];
};
struct control_text control_bytes(uint64_t bytes);
struct control_text control_age(uint64_t ns);
struct control_text control_time(uint64_t ns);

/// Output is done: says so where it could not be written. @return what the command returns
enum peri_exit control_end(enum peri_exit status);
