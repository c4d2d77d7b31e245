// perigee: finds the command that was asked for.
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log_line.h"
#include "base/nearest.h"
#include "cli/command.h"
#include "version.h"

static const struct {
    const char *name;
    const char *form; ///< what follows the name
    const char *what;
    enum peri_exit (*run)(int argc, char **argv);
} commands[] = {
    {"serve", "[DIR]", "serve a folder of scripts (default: scripts)", peri_command_serve},
    {"connect", "URL", "a WebSocket client for the terminal", peri_command_connect},
    {"check", "[DIR]", "find what is wrong in a folder of scripts", peri_command_check},
    {"new", "NAME", "make a script folder to start from", peri_command_new},
    {"status", "", "how a running host and its scripts are", peri_command_status},
    {"reload", "[SCRIPT]", "load scripts anew, while people are connected", peri_command_reload},
    {"top", "", "what each script does, live", peri_command_top},
    {"eval", "SCRIPT CODE", "look into a script that runs", peri_command_eval},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *out) {
    (void)fputs("usage: perigee COMMAND [ARGUMENTS]\n\n", out);
    for (size_t i = 0; i < COMMANDS; i++) {
        (void)fprintf(out, "  perigee %-7s %-11s  %s\n", commands[i].name, commands[i].form,
                      commands[i].what);
    }
    (void)fputs("  perigee --version            say which version this is\n"
                "  perigee --help               say this\n"
                "\n"
                "perigee COMMAND --help says more about one.\n",
                out);
}

void peri_print_text(FILE *out, struct peri_str text) {
    for (size_t i = 0; i < text.len;) {
        uint32_t c = 0;
        size_t size = peri_log_decode(text.ptr + i, text.len - i, &c);
        if (size > 0 && !peri_log_misleads(c)) {
            (void)fwrite(text.ptr + i, 1, size, out);
        } else {
            (void)fputc(c == '\t' && size == 1 ? ' ' : '?', out);
        }
        i += size > 0 ? size : 1;
    }
}

void peri_complain(const char *format, ...) {
    char text[8192];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t whole = n > 0 ? (size_t)n : 0;
    bool is_cut = whole >= sizeof text;
    (void)fputs("perigee: ", stderr);
    peri_print_text(stderr, peri_str(text, is_cut ? sizeof text - 1 : whole));
    (void)fputs(is_cut ? "...\n" : "\n", stderr);
}

int peri_option(int argc, char **argv, int *at, const char *name, const char **value) {
    const char *word = argv[*at];
    size_t n = strlen(name);
    if (strncmp(word, name, n) != 0 || (word[n] != '\0' && word[n] != '=')) {
        return 0;
    }
    if (word[n] == '=') {
        *value = word + n + 1;
        return 1;
    }
    if (*at + 1 >= argc) {
        peri_complain("%s needs a value", name);
        return -1;
    }
    *value = argv[++*at];
    return 1;
}

/// Standard descriptors that came closed lead nowhere: else the next socket would be one of them,
/// and hear the log. @return false when they can't
static bool hold_standard_descriptors(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDWR); // the lowest that is free. open(2)
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (!hold_standard_descriptors()) {
        return PERI_EXIT_FAILED; // and nowhere to say so
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return (int)commands[i].run(argc - 2, argv + 2);
        }
    }
    if (strcmp(name, "--version") == 0) {
        (void)puts("perigee " PERIGEE_VERSION);
        return PERI_EXIT_DONE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_usage(stdout);
        return PERI_EXIT_DONE;
    }
    struct peri_nearest nearest = peri_nearest(peri_str_of(name));
    for (size_t i = 0; i < COMMANDS; i++) {
        peri_nearest_try(&nearest, commands[i].name);
    }
    if (name[0] == '\0') {
        print_usage(stderr);
    } else if (nearest.found) {
        peri_complain("there is no command \"%s\": did you mean %s?", name, nearest.found);
    } else {
        peri_complain("there is no command \"%s\": see perigee --help", name);
    }
    return PERI_EXIT_USAGE;
}
