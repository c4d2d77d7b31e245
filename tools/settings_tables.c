// Prints the tables of docs/configuration.md, from those that the host itself reads its settings
// by. tools/docs puts them into the page.
#include <inttypes.h>
#include <stdio.h>

#include "cli/settings.h"

/// What a limit's line says before and behind one of these is in two columns.
static const char *const over_it[] = {"; over it: ", "; others: "};
enum { OVER_IT = sizeof over_it / sizeof over_it[0] };

static void print_settings(void) {
    (void)puts("| in a file | flag | variable | default | what it is |\n|---|---|---|---|---|");
    for (int id = 0; id < PERI_SETTINGS; id++) {
        const struct peri_setting *setting = &peri_settings_table[id];
        const char *tick = setting->in_files ? "`" : "";
        const char *shown = setting->in_files ? setting->name : "";
        const char *initial_tick = setting->initial[0] ? "`" : "";
        (void)printf("| %s%s%s | `%s", tick, shown, tick, peri_setting_flag(setting->name).text);
        if (setting->kind == PERI_SETTING_SWITCH) {
            (void)printf("`, `%s", peri_setting_no_flag(setting->name).text);
        } else {
            (void)printf(" %s", setting->form);
        }
        (void)printf("` | `%s` | %s%s%s | %s |\n", peri_setting_variable(setting->name).text,
                     initial_tick, setting->initial, initial_tick, setting->what);
    }
}

/// A bound as a user would write it. @return PERI_OK or PERI_E_MEMORY
static int add_bound(const struct peri_limit_spec *spec, uint64_t bound, struct peri_buffer *out) {
    if (spec->kind == PERI_LIMIT_TEXT) {
        return peri_buffer_printf(out, "%" PRIu64 "%s", bound, bound > 0 ? " bytes" : "");
    }
    struct peri_limits limits;
    peri_limits_init(&limits);
    *(uint64_t *)(void *)((char *)&limits + spec->offset) = bound; // the table says it is one
    return peri_limits_print(&limits, spec, out);
}

/// @return PERI_OK or PERI_E_MEMORY
static int print_limit(const struct peri_limit_spec *spec, struct peri_buffer *range) {
    size_t what = strlen(spec->what);
    const char *over = "";
    for (size_t i = 0; i < OVER_IT; i++) {
        const char *found = strstr(spec->what, over_it[i]);
        if (found) {
            what = (size_t)(found - spec->what);
            over = found + strlen(over_it[i]);
        }
    }
    peri_buffer_clear(range, SIZE_MAX);
    int status = add_bound(spec, spec->min, range);
    if (status == PERI_OK) {
        status = peri_buffer_append_str(range, spec->kind == PERI_LIMIT_SWITCH ? PERI_STR(" or ")
                                                                               : PERI_STR(" to "));
    }
    if (status == PERI_OK) {
        status = add_bound(spec, spec->max, range);
    }
    (void)printf("| `%s` %s| %.*s | %s | %s | %.*s |\n", spec->name, spec->for_scripts ? "* " : "",
                 (int)what, spec->what, spec->initial, over, (int)range->len,
                 (const char *)range->ptr);
    return status;
}

static int print_limits(void) {
    struct peri_buffer range = {0};
    int status = PERI_OK;
    (void)puts("| name | what it bounds | default | over it | may be |\n|---|---|---|---|---|");
    for (size_t i = 0; i < peri_limit_spec_count && status == PERI_OK; i++) {
        status = print_limit(&peri_limit_specs[i], &range);
    }
    peri_buffer_deinit(&range);
    return status;
}

int main(int argc, char **argv) {
    const char *table = argc == 2 ? argv[1] : "";
    if (strcmp(table, "settings") == 0) {
        print_settings();
        return 0;
    }
    if (strcmp(table, "limits") == 0) {
        return print_limits() == PERI_OK ? 0 : 1;
    }
    (void)fputs("usage: settings_tables settings|limits\n", stderr);
    return 2;
}
