// Flags of perigee serve, and its help: both walk the tables of settings and limits.
#include "cli/options.h"

#include <stdio.h>

#include "base/nearest.h"
#include "cli/command.h"

/// Flags that are no settings.
static const char limit_flag[] = "--limit", print_flag[] = "--print-config", help_flag[] = "--help";

static int set_limit(struct peri_settings *settings, const char *text, struct peri_buffer *error) {
    const char *equals = strchr(text, '=');
    if (!equals) {
        return PERI_TELL(error, "%s is NAME=VALUE, not \"%s\"", limit_flag, text);
    }
    return peri_settings_set_limit(settings, peri_str(text, (size_t)(equals - text)),
                                   peri_str_of(equals + 1), PERI_FROM_FLAG, limit_flag, error);
}

/// @return 1: it was a flag of a switch, which is set; 0: something else; negative: an error
static int read_switch(struct peri_settings *settings, const char *word,
                       struct peri_buffer *error) {
    for (int id = 0; id < PERI_SETTINGS; id++) {
        const struct peri_setting *setting = &peri_settings_table[id];
        struct peri_name on = peri_setting_flag(setting->name);
        struct peri_name off = peri_setting_no_flag(setting->name);
        bool is_on = strcmp(word, on.text) == 0;
        if (setting->kind == PERI_SETTING_SWITCH && (is_on || strcmp(word, off.text) == 0)) {
            struct peri_str value = is_on ? PERI_STR("on") : PERI_STR("off");
            int status = peri_settings_set(settings, (enum peri_setting_id)id, &value, 1,
                                           PERI_FROM_FLAG, word, error);
            return status == PERI_OK ? 1 : status;
        }
    }
    return 0;
}

/// @return 1: it was a flag with a value; 0: something else; negative: it was wrong, which is said,
///         here or in *error
static int read_value(struct peri_settings *settings, int argc, char **argv, int *at,
                      struct peri_buffer *error) {
    const char *text = NULL;
    int found = peri_option(argc, argv, at, limit_flag, &text);
    int status = found == 1 ? set_limit(settings, text, error) : found;
    for (int id = 0; found == 0 && id < PERI_SETTINGS; id++) {
        if (peri_settings_table[id].kind == PERI_SETTING_SWITCH) {
            continue;
        }
        struct peri_name flag = peri_setting_flag(peri_settings_table[id].name);
        found = peri_option(argc, argv, at, flag.text, &text);
        status = found;
        if (found == 1) {
            struct peri_str value = peri_str_of(text);
            status = peri_settings_set(settings, (enum peri_setting_id)id, &value, 1,
                                       PERI_FROM_FLAG, flag.text, error);
        }
    }
    if (found < 0) {
        return PERI_E_INVALID; // peri_option has said why
    }
    return status < 0 ? status : found;
}

static void refuse(const char *word) {
    struct peri_str name = peri_str(word, strcspn(word, "="));
    struct peri_nearest nearest = peri_nearest(name);
    struct peri_name flags[PERI_SETTINGS], no_flags[PERI_SETTINGS];
    for (int id = 0; id < PERI_SETTINGS; id++) {
        flags[id] = peri_setting_flag(peri_settings_table[id].name);
        peri_nearest_try(&nearest, flags[id].text);
        if (peri_settings_table[id].kind == PERI_SETTING_SWITCH) {
            no_flags[id] = peri_setting_no_flag(peri_settings_table[id].name);
            peri_nearest_try(&nearest, no_flags[id].text);
        }
    }
    peri_nearest_try(&nearest, limit_flag);
    peri_nearest_try(&nearest, print_flag);
    peri_nearest_try(&nearest, help_flag);
    if (nearest.found) {
        peri_complain("serve has no option \"%s\": did you mean %s?", word, nearest.found);
    } else {
        peri_complain("serve has no option \"%s\": see perigee serve --help", word);
    }
}

/// @return PERI_OK, or an error after saying what is wrong
static int read_word(struct peri_serve_options *options, const char *word) {
    if (strcmp(word, help_flag) == 0 || strcmp(word, "-h") == 0) {
        options->help = true;
    } else if (strcmp(word, print_flag) == 0) {
        options->print_config = true;
    } else if (word[0] == '-') {
        refuse(word);
        return PERI_E_INVALID;
    } else if (options->dir) {
        peri_complain("one folder is served, not both \"%s\" and \"%s\"", options->dir, word);
        return PERI_E_INVALID;
    } else {
        options->dir = word;
    }
    return PERI_OK;
}

int peri_serve_options_read(struct peri_serve_options *options, struct peri_settings *settings,
                            int argc, char **argv) {
    struct peri_buffer error = {0};
    int status = PERI_OK;
    for (int i = 0; i < argc && status >= 0; i++) {
        status = read_switch(settings, argv[i], &error);
        if (status == 0) {
            status = read_value(settings, argc, argv, &i, &error);
        }
        if (status == 0) {
            status = read_word(options, argv[i]);
        }
    }
    if (error.len > 0) {
        peri_complain("%.*s", (int)error.len, (const char *)error.ptr);
    } else if (status == PERI_E_MEMORY) {
        peri_complain("out of memory");
    }
    peri_buffer_deinit(&error);
    return status < 0 ? status : PERI_OK;
}

// Help ---------------------------------------------------------------------------------------

/// A text in lines of at most `width`, all but the first indented.
static void print_wrapped(const char *text, size_t indent, size_t width) {
    size_t column = 0;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column > 0 && column + 1 + word > width) {
            (void)printf("\n%*s", (int)indent, "");
            column = 0;
        }
        (void)printf("%s%.*s", column ? " " : "", (int)word, text);
        column += word + (column ? 1 : 0);
        text += word + (text[word] == ' ');
    }
    (void)putchar('\n');
}

static void print_flag_help(const char *flag, const char *form, const char *what,
                            const char *initial) {
    char head[160], text[512];
    (void)snprintf(head, sizeof head, "%s%s%s", flag, *form ? " " : "", form);
    (void)snprintf(text, sizeof text, "%s%s%s%s", what, *initial ? " (default: " : "", initial,
                   *initial ? ")" : "");
    (void)printf("  %-21s ", head);
    print_wrapped(text, 24, 68);
}

void peri_serve_help(void) {
    (void)fputs("usage: perigee serve [DIR] [OPTION]...\n"
                "\n"
                "Serves the scripts in DIR (default: scripts), and the files in DIR/public.\n"
                "\n",
                stdout);
    for (int id = 0; id < PERI_SETTINGS; id++) {
        const struct peri_setting *setting = &peri_settings_table[id];
        bool is_switch = setting->kind == PERI_SETTING_SWITCH;
        char flags[2 * sizeof(struct peri_name) + 2];
        (void)snprintf(flags, sizeof flags, "%s%s%s", peri_setting_flag(setting->name).text,
                       is_switch ? ", " : "",
                       is_switch ? peri_setting_no_flag(setting->name).text : "");
        print_flag_help(flags, setting->form, setting->what, setting->initial);
    }
    print_flag_help(limit_flag, "NAME=VALUE", "sets a limit, one of those below", "");
    print_flag_help(print_flag, "", "shows every setting and where it is from, and ends", "");
    (void)fputs(
        "\n"
        "A setting is looked for in the flags, then in the file of --config, in variables\n"
        "of the environment (PERIGEE_PORT, PERIGEE_MESSAGE_BYTES) and, if it is a limit, in\n"
        "DIR/perigee.lua. See docs/configuration.md.\n"
        "\n"
        "limits (times in seconds; sizes in bytes, or as 64 KiB, 1 MiB, 1 GiB):\n",
        stdout);
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        const struct peri_limit_spec *spec = &peri_limit_specs[i];
        (void)printf("  %-19s  %-8s  %s\n", spec->name, spec->initial, spec->what);
    }
}
