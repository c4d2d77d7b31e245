// Files of settings and the environment, up to where they become values.
#include "cli/sources.h"

#include <stdio.h>

#include "base/nearest.h"

#define PREFIX "PERIGEE_"

// The environment ----------------------------------------------------------------------------

static int unknown_variable(struct peri_str variable, struct peri_buffer *error) {
    struct peri_str tail = peri_str(variable.ptr + strlen(PREFIX), variable.len - strlen(PREFIX));
    struct peri_nearest nearest = peri_nearest(tail);
    for (int id = 0; id < PERI_SETTINGS; id++) {
        peri_nearest_try(&nearest, peri_settings_table[id].name);
    }
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        peri_nearest_try(&nearest, peri_limit_specs[i].name);
    }
    if (!nearest.found) {
        return PERI_TELL(error, "%.*s is no setting: see perigee serve --help",
                         PERI_SHOWN(variable));
    }
    return PERI_TELL(error, "%.*s is no setting: did you mean %s?", PERI_SHOWN(variable),
                     peri_setting_variable(nearest.found).text);
}

/// The next word of a list that is written with spaces. @return false at the end
static bool next_word(struct peri_str *rest, struct peri_str *word) {
    while (rest->len > 0 && *rest->ptr == ' ') {
        *rest = peri_str(rest->ptr + 1, rest->len - 1);
    }
    const char *space = rest->len > 0 ? memchr(rest->ptr, ' ', rest->len) : NULL;
    *word = peri_str(rest->ptr, space ? (size_t)(space - rest->ptr) : rest->len);
    *rest = peri_str(rest->ptr + word->len, rest->len - word->len);
    return word->len > 0;
}

static int set_from_words(struct peri_settings *settings, enum peri_setting_id id,
                          struct peri_str text, const char *where, struct peri_buffer *error) {
    enum { WORDS_MAX = 64 };
    struct peri_str words[WORDS_MAX], word;
    size_t count = 0;
    while (next_word(&text, &word)) {
        if (count == WORDS_MAX) {
            return PERI_TELL(error, "%s takes %d at most", where, WORDS_MAX);
        }
        words[count++] = word;
    }
    return peri_settings_set(settings, id, words, count, PERI_FROM_ENVIRONMENT, where, error);
}

/// @param variable its name, with the prefix
static int take_variable(struct peri_settings *settings, struct peri_str variable,
                         struct peri_str value, struct peri_buffer *error) {
    enum peri_place place = PERI_FROM_ENVIRONMENT;
    for (int i = 0; i < PERI_SETTINGS; i++) {
        const struct peri_setting *setting = &peri_settings_table[i];
        struct peri_name where = peri_setting_variable(setting->name);
        if (peri_str_equal(variable, peri_str_of(where.text))) {
            enum peri_setting_id id = (enum peri_setting_id)i;
            return value.len == 0 ? PERI_OK
                   : setting->kind == PERI_SETTING_LIST
                       ? set_from_words(settings, id, value, where.text, error)
                       : peri_settings_set(settings, id, &value, 1, place, where.text, error);
        }
    }
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        struct peri_str name = peri_str_of(peri_limit_specs[i].name);
        struct peri_name where = peri_setting_variable(name.ptr);
        if (peri_str_equal(variable, peri_str_of(where.text))) {
            return value.len == 0
                       ? PERI_OK
                       : peri_settings_set_limit(settings, name, value, place, where.text, error);
        }
    }
    return unknown_variable(variable, error);
}

int peri_settings_read_environment(struct peri_settings *settings, char *const *variables,
                                   struct peri_buffer *error) {
    for (; *variables; variables++) {
        const char *equals = strchr(*variables, '=');
        if (!equals || strncmp(*variables, PREFIX, strlen(PREFIX)) != 0) {
            continue;
        }
        struct peri_str name = peri_str(*variables, (size_t)(equals - *variables));
        int status = take_variable(settings, name, peri_str_of(equals + 1), error);
        if (status != PERI_OK) {
            return status;
        }
    }
    return PERI_OK;
}

// Files --------------------------------------------------------------------------------------

/// A key at the top that is no setting which may stand there.
static int refuse_key(const struct peri_config_value *value, enum peri_place place,
                      struct peri_buffer *error) {
    const char *where = value->where.ptr; // NUL-terminated, as names are
    const char *name = value->name.ptr;
    enum peri_setting_id id;
    if (peri_setting_find(value->name, &id)) {
        struct peri_name flag = peri_setting_flag(name), variable = peri_setting_variable(name);
        if (!peri_settings_table[id].in_files) {
            return PERI_TELL(error, "%s: %s can't be set in a file: use %s or %s", where, name,
                             flag.text, variable.text);
        }
        return PERI_TELL(
            error,
            "%s: %s decides about the machine, which no perigee.lua may: set it by %s, "
            "by %s, or in the file of --config",
            where, name, flag.text, variable.text);
    }
    if (peri_limit_find(value->name)) {
        return PERI_TELL(error, "%s: %s is a limit: write limits = { %s = ... }", where, name,
                         name);
    }
    struct peri_nearest nearest = peri_nearest(value->name);
    peri_nearest_try(&nearest, "limits");
    peri_nearest_try(&nearest, "scripts");
    for (int i = 0; place == PERI_FROM_FILE && i < PERI_SETTINGS; i++) {
        if (peri_settings_table[i].in_files) {
            peri_nearest_try(&nearest, peri_settings_table[i].name);
        }
    }
    if (nearest.found) {
        return PERI_TELL(error, "%s: unknown key \"%.*s\": did you mean %s?", where,
                         PERI_SHOWN(value->name), nearest.found);
    }
    return PERI_TELL(error, "%s: unknown key \"%.*s\": see docs/configuration.md", where,
                     PERI_SHOWN(value->name));
}

static int take(struct peri_settings *settings, const struct peri_config_value *value,
                enum peri_place place, struct peri_buffer *error) {
    const char *where = value->where.ptr;
    enum peri_setting_id id;
    if (value->is_limit) {
        if (value->is_list) {
            return PERI_TELL(error, "%s: limit %s takes one value, not a list", where,
                             value->name.ptr);
        }
        return peri_settings_set_limit(settings, value->name, value->items[0], place, where, error);
    }
    if (place != PERI_FROM_FILE || !peri_setting_find(value->name, &id) ||
        !peri_settings_table[id].in_files) {
        return refuse_key(value, place, error);
    }
    if (value->is_list && peri_settings_table[id].kind != PERI_SETTING_LIST) {
        return PERI_TELL(error, "%s: %s takes one value, not a list", where, value->name.ptr);
    }
    return peri_settings_set(settings, id, value->items, value->count, place, where, error);
}

int peri_settings_take_of_folder(void *arg, const struct peri_config_value *value,
                                 struct peri_buffer *error) {
    return take(arg, value, PERI_FROM_FOLDER, error);
}

static int take_of_file(void *arg, const struct peri_config_value *value,
                        struct peri_buffer *error) {
    return take(arg, value, PERI_FROM_FILE, error);
}

int peri_settings_read_files(struct peri_settings *settings, struct peri_host *host,
                             struct peri_buffer *error) {
    const char *path = peri_settings_text(settings, PERI_SETTING_CONFIG);
    int status = PERI_OK;
    if (path[0] != '\0') {
        status =
            peri_host_configure(host, PERI_CONFIG_OPERATOR, path, take_of_file, settings, error);
    }
    if (status == PERI_OK) {
        status = peri_host_configure(host, PERI_CONFIG_FOLDER, NULL, peri_settings_take_of_folder,
                                     settings, error);
    }
    return status;
}
