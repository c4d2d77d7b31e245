// `perigee eval SCRIPT CODE`: an operator's look into a script that runs.
#include "cli/control.h"

static void print_help(void) {
    (void)fputs(
        "usage: perigee eval SCRIPT CODE [OPTIONS]\n"
        "\n"
        "Evaluates a Lua expression in a script that runs, or runs statements, and prints what it\n"
        "gives. The script's locals are found by their names where a handler uses them, and may "
        "be\n"
        "assigned. It runs as a handler does: under the same budgets, but it can't wait. What it\n"
        "prints, and the code itself, is in the host's log.\n"
        "\n" CONTROL_OPTIONS_HELP "\n"
        "Exit codes: 0 done, 1 it raised, or no host answers, 2 wrong usage.\n"
        "\n"
        "  perigee eval chat 'ws.all:count()'\n"
        "  perigee eval games/quiz 'scores[\"ann\"] = 0'\n",
        stdout);
}

/// @return what the command returns
static enum peri_exit print_answer(const struct peri_reading *reading, bool is_json) {
    struct peri_str error;
    bool is_ok = peri_reading_is_ok(reading, &error);
    if (is_ok && !is_json) {
        control_print_lines(stdout, peri_reading_text(reading));
    } else if (!is_json) {
        (void)fputs("perigee: ", stderr);
        control_print_lines(stderr, error);
    }
    return is_ok ? PERI_EXIT_DONE : PERI_EXIT_FAILED;
}

enum peri_exit peri_command_eval(int argc, char **argv) {
    enum { WAIT_MS = 30000 };
    struct control_options options = {0};
    struct peri_buffer request = {0};
    struct peri_reading *reading = NULL;
    const char *script = NULL, *code = NULL;
    for (int i = 0; i < argc; i++) {
        int taken = control_option(&options, argc, argv, &i);
        bool is_word = taken == 0 && strncmp(argv[i], "--", 2) != 0; // -1 is an expression
        if (is_word && !script) {
            script = argv[i];
        } else if (is_word && !code) {
            code = argv[i];
        } else if (taken <= 0) {
            if (taken == 0) {
                control_refuse("eval", argv[i]);
            }
            return PERI_EXIT_USAGE;
        }
    }
    if (options.help) {
        print_help();
        return PERI_EXIT_DONE;
    }
    if (!code) {
        peri_complain("eval takes a script and an expression: perigee eval chat 'ws.all:count()'");
        return PERI_EXIT_USAGE;
    }
    if (peri_ask_eval(&request, peri_str_of(script), peri_str_of(code)) != PERI_OK) {
        peri_complain("out of memory");
        return PERI_EXIT_FAILED;
    }
    enum peri_exit status = control_ask_once(&options, &request, WAIT_MS, &reading);
    if (reading) {
        status = print_answer(reading, options.is_json);
    }
    peri_reading_free(reading);
    peri_buffer_deinit(&request);
    return control_end(status);
}
