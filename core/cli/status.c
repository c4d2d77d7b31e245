// `perigee status`: how a running host and its scripts are.
#include "cli/control.h"

static void print_help(void) {
    (void)fputs("usage: perigee status [OPTIONS]\n"
                "\n"
                "Says how a running host is: its scripts, what they hold, what went wrong last.\n"
                "\n" CONTROL_OPTIONS_HELP "\n"
                "Exit codes: 0 done, 1 no host answers, 2 wrong usage, or several hosts run.\n",
                stdout);
}

static void print_host(const struct peri_reading *reading) {
    struct peri_host_status host;
    struct peri_str address;
    peri_reading_host(reading, &host);
    (void)fputs("perigee ", stdout);
    peri_print_text(stdout, host.version);
    (void)printf(", process %lld, up %s, %llu connection%s\n", (long long)host.process,
                 control_age(host.up_ns).text, (unsigned long long)host.connections,
                 host.connections == 1 ? "" : "s");
    (void)fputs("serving ", stdout);
    peri_print_text(stdout, host.dir);
    for (size_t i = 0; peri_reading_address(reading, i, &address); i++) {
        (void)fputs(i == 0 ? " at " : ", ", stdout);
        peri_print_text(stdout, address);
    }
    (void)fputs("\n", stdout);
}

static void print_name(struct peri_str name, size_t width) {
    peri_print_text(stdout, name);
    (void)printf("%*s", (int)(width - name.len), "");
}

static void print_script(const struct peri_script_status *script, size_t width) {
    char generation[16] = "-";
    if (script->generation > 0) {
        (void)snprintf(generation, sizeof generation, "%u", (unsigned)script->generation);
    }
    print_name(script->name, width);
    (void)printf("  %10s  %11llu  %7llu  %7llu  %9s  %10llu  %8llu\n", generation,
                 (unsigned long long)script->connections, (unsigned long long)script->rooms,
                 (unsigned long long)script->timers, control_bytes(script->memory).text,
                 (unsigned long long)script->messages, (unsigned long long)script->errors);
}

static void print_note(const struct peri_script_status *script, const char *what,
                       struct peri_str why, uint64_t age_ns) {
    peri_print_text(stdout, script->name);
    (void)printf(": %s", what);
    if (age_ns > 0) {
        (void)printf(" %s ago", control_age(age_ns).text);
    }
    if (why.len > 0) {
        (void)fputs(": ", stdout);
        peri_print_text(stdout, why);
    }
    (void)fputs("\n", stdout);
}

/// What no number says.
static void print_notes(const struct peri_script_status *script) {
    const struct peri_str none = {0};
    if (script->generation == 0) {
        print_note(script, "not loaded, its routes answer 503", none, 0);
    }
    if (script->is_loading) {
        print_note(script, "a new generation is on its way", none, 0);
    }
    if (script->is_moving) {
        print_note(script, "the generation before still holds data, or handlers that wait", none,
                   0);
    }
    if (script->is_on_probation) {
        print_note(script, "on probation: errors may bring the generation before back", none, 0);
    }
    if (script->waiting > 0) {
        char text[64];
        (void)snprintf(text, sizeof text, "%llu handler%s wait%s",
                       (unsigned long long)script->waiting, script->waiting == 1 ? "" : "s",
                       script->waiting == 1 ? "s" : "");
        print_note(script, text, none, 0);
    }
    switch (script->reload) {
    case PERI_RELOAD_NONE: break;
    case PERI_RELOAD_DONE:
        print_note(script, "reloaded", script->reload_why, script->reload_age_ns);
        break;
    case PERI_RELOAD_FAILED:
        print_note(script, "reload failed", script->reload_why, script->reload_age_ns);
        break;
    case PERI_RELOAD_REVERTED:
        print_note(script, "reverted", script->reload_why, script->reload_age_ns);
        break;
    case PERI_RELOAD_GONE:
        print_note(script, "its file went", script->reload_why, script->reload_age_ns);
        break;
    }
    if (script->last_error.len > 0) {
        print_note(script, "last error", script->last_error, script->error_age_ns);
    }
}

static void print_status(const struct peri_reading *reading) {
    struct peri_script_status script;
    size_t width = strlen("script");
    print_host(reading);
    for (size_t i = 0; peri_reading_script(reading, i, &script); i++) {
        width = script.name.len > width ? script.name.len : width;
    }
    (void)fputs("\n", stdout);
    print_name(PERI_STR("script"), width);
    (void)fputs("  generation  connections    rooms   timers     memory    messages    errors\n",
                stdout);
    for (size_t i = 0; peri_reading_script(reading, i, &script); i++) {
        print_script(&script, width);
    }
    (void)fputs("\n", stdout);
    for (size_t i = 0; peri_reading_script(reading, i, &script); i++) {
        print_notes(&script);
    }
}

enum peri_exit peri_command_status(int argc, char **argv) {
    enum { WAIT_MS = 10000 };
    struct control_options options = {0};
    struct peri_buffer request = {0};
    struct peri_reading *reading = NULL;
    struct peri_str error;
    for (int i = 0; i < argc; i++) {
        int taken = control_option(&options, argc, argv, &i);
        if (taken == 0) {
            control_refuse("status", argv[i]);
        }
        if (taken <= 0) {
            return PERI_EXIT_USAGE;
        }
    }
    if (options.help) {
        print_help();
        return PERI_EXIT_DONE;
    }
    if (peri_ask_status(&request, false) != PERI_OK) {
        peri_complain("out of memory");
        return PERI_EXIT_FAILED;
    }
    enum peri_exit status = control_ask_once(&options, &request, WAIT_MS, &reading);
    if (reading && !peri_reading_is_ok(reading, &error)) {
        peri_complain("%.*s", PERI_SHOWN(error));
        status = PERI_EXIT_FAILED;
    } else if (reading && !options.is_json) {
        print_status(reading);
    }
    peri_reading_free(reading);
    peri_buffer_deinit(&request);
    return control_end(status);
}
