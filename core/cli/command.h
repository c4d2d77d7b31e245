// The commands of the program, one file each.
#pragma once

#include <stdio.h>

#include "base/status.h"

enum peri_exit { PERI_EXIT_DONE = 0, PERI_EXIT_FAILED = 1, PERI_EXIT_USAGE = 2 };

/// Runs `perigee serve`. argv[0] is the first word behind the command's name.
enum peri_exit peri_command_serve(int argc, char **argv);

/// Runs `perigee connect`.
enum peri_exit peri_command_connect(int argc, char **argv);

/// Runs `perigee check`, likewise.
enum peri_exit peri_command_check(int argc, char **argv);

/// Runs `perigee new`, likewise.
enum peri_exit peri_command_new(int argc, char **argv);

// Those that talk to a running host, likewise.
enum peri_exit peri_command_status(int argc, char **argv);
enum peri_exit peri_command_reload(int argc, char **argv);
enum peri_exit peri_command_top(int argc, char **argv);
enum peri_exit peri_command_eval(int argc, char **argv);

/// Any text, for people and for programs that read lines: what could end one, or steer a terminal, is
/// "?".
void peri_print_text(FILE *out, struct peri_str text);

/// One line on stderr: what is wrong, and the way out. Printed as of peri_print_text; what is over
/// 8 KiB is cut.
void peri_complain(const char *format, ...) PERI_PRINTF(1, 2);

/// Takes an option's value: `--name VALUE` or `--name=VALUE` at argv[*at], advanced to the last
/// word it took.
/// @return 1 and *value set; 0: another option; -1: it has no value, which was said
int peri_option(int argc, char **argv, int *at, const char *name, const char **value);
