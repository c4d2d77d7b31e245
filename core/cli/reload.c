// `perigee reload [SCRIPT]`: loads scripts anew, and says what became of each.
#include "cli/control.h"

static void print_help(void) {
    (void)fputs(
        "usage: perigee reload [SCRIPT] [OPTIONS]\n"
        "\n"
        "Has a running host load a script anew, or all, from the files as they are, and says\n"
        "what became of each. SCRIPT is its path in the folder without .lua: games/quiz.\n"
        "\n"
        "  --wait           until the probation is over too: errors may bring the rules\n"
        "                   before back\n" CONTROL_OPTIONS_HELP "\n"
        "Exit codes: 0 done, 1 a script failed (the rules before serve on), with --wait also\n"
        "when one was reverted, 2 wrong usage.\n",
        stdout);
}

static void print_failure(const struct peri_news *news, const char *what) {
    (void)printf(": %s: ", what);
    bool says_where = news->message.len >= news->file.len &&
                      memcmp(news->message.ptr ? news->message.ptr : "",
                             news->file.ptr ? news->file.ptr : "", news->file.len) == 0;
    if (news->file.len > 0 && !says_where) {
        peri_print_text(stdout, news->file);
        if (news->line > 0) {
            (void)printf(":%u", (unsigned)news->line);
        }
        (void)fputs(": ", stdout);
    }
    control_print_lines(stdout, news->message);
    if (news->message.len == 0) {
        (void)fputs("see the log\n", stdout);
    }
    peri_print_text(stdout, news->script);
    if (news->generation > 0) {
        (void)printf(": generation %u serves on\n", (unsigned)news->generation);
    } else {
        (void)fputs(": its routes answer 503\n", stdout);
    }
}

static void print_outcome(const struct peri_news *news) {
    peri_print_text(stdout, news->script);
    switch (news->what) {
    case PERI_RELOAD_NONE: (void)fputs(": nothing happened\n", stdout); break;
    case PERI_RELOAD_DONE:
        (void)printf(": generation %u serves%s\n", (unsigned)news->generation,
                     news->on_probation ? ", on probation" : "");
        break;
    case PERI_RELOAD_FAILED: print_failure(news, "failed"); break;
    case PERI_RELOAD_REVERTED: print_failure(news, "reverted"); break;
    case PERI_RELOAD_GONE: (void)fputs(": its file is gone, and so is the script\n", stdout); break;
    }
}

/// @return what the command returns
static enum peri_exit print_answer(const struct peri_reading *reading, bool is_json) {
    struct peri_news news;
    struct peri_str error;
    bool is_ok = peri_reading_is_ok(reading, &error);
    size_t count = 0;
    for (; !is_json && peri_reading_reload(reading, count, &news); count++) {
        print_outcome(&news);
    }
    if (!is_ok && !is_json) {
        (void)fflush(stdout);
        peri_complain("%.*s", PERI_SHOWN(error));
    } else if (count == 0 && !is_json) {
        (void)fputs("there is no script to reload\n", stdout);
    }
    return is_ok ? PERI_EXIT_DONE : PERI_EXIT_FAILED;
}

enum peri_exit peri_command_reload(int argc, char **argv) {
    struct control_options options = {0};
    struct peri_buffer request = {0};
    struct peri_reading *reading = NULL;
    const char *script = NULL;
    bool wait = false;
    for (int i = 0; i < argc; i++) {
        int taken = control_option(&options, argc, argv, &i);
        if (taken == 0 && strcmp(argv[i], "--wait") == 0) {
            wait = true;
        } else if (taken == 0 && argv[i][0] != '-' && !script) {
            script = argv[i];
        } else if (taken <= 0) {
            if (taken == 0) {
                control_refuse("reload", argv[i]);
            }
            return PERI_EXIT_USAGE;
        }
    }
    if (options.help) {
        print_help();
        return PERI_EXIT_DONE;
    }
    if (peri_ask_reload(&request, peri_str_of(script), wait) != PERI_OK) {
        peri_complain("out of memory");
        return PERI_EXIT_FAILED;
    }
    enum peri_exit status = control_ask_once(&options, &request, -1, &reading);
    if (reading) {
        status = print_answer(reading, options.is_json);
    }
    peri_reading_free(reading);
    peri_buffer_deinit(&request);
    return control_end(status);
}
