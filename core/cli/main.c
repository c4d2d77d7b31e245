// perigee: finds the command that was asked for.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *out) {
    (void)fputs("usage: perigee COMMAND [ARGUMENTS]\n\n", out);
    for (size_t i = 0; i < COMMANDS; i++) {
        (void)fprintf(out, "  perigee %-7s %-7s  %s\n", commands[i].name, commands[i].form,
                      commands[i].what);
    }
    (void)fputs("  perigee --version        say which version this is\n"
                "  perigee --help           say this\n"
                "\n"
                "perigee COMMAND --help says more about one.\n",
                out);
}

void peri_complain(const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fputs("perigee: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
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

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return commands[i].run(argc - 2, argv + 2);
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
