// perigee: finds the command that was asked for.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "version.h"

static const char usage[] = "usage: perigee COMMAND [ARGUMENTS]\n"
                            "\n"
                            "  perigee serve [DIR]   serve a folder of scripts (default: scripts)\n"
                            "  perigee --version     say which version this is\n"
                            "  perigee --help        say this\n"
                            "\n"
                            "perigee COMMAND --help says more about one.\n";

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
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "serve") == 0) {
        return peri_command_serve(argc - 2, argv + 2);
    }
    if (strcmp(command, "--version") == 0) {
        (void)puts("perigee " PERIGEE_VERSION);
        return PERI_EXIT_DONE;
    }
    if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0 ||
        strcmp(command, "help") == 0) {
        (void)fputs(usage, stdout);
        return PERI_EXIT_DONE;
    }
    if (command[0] == '\0') {
        (void)fputs(usage, stderr);
    } else {
        peri_complain("there is no command \"%s\": see perigee --help", command);
    }
    return PERI_EXIT_USAGE;
}
