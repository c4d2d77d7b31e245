// The table of the machine's settings, and what their values are.
#include "cli/settings.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/ip.h"

static bool is_host(const char *text) {
    return text[0] != '\0' && strlen(text) < PERI_HOST_MAX;
}

static bool is_port(const char *text) {
    char *end;
    long number = strtol(text, &end, 10);
    return isdigit((unsigned char)text[0]) && *end == '\0' && number <= UINT16_MAX;
}

static bool is_endpoint(const char *text) {
    struct peri_endpoint endpoint;
    return peri_endpoint_read(&endpoint, text);
}

static bool is_range(const char *text) {
    struct peri_ip_range range;
    return peri_ip_range_read(&range, peri_str_of(text));
}

static bool is_one_of(const char *text, const char *const words[]) {
    for (int i = 0; words[i]; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_log_format(const char *text) {
    static const char *const words[] = {"auto", "logfmt", "short", "json", NULL};
    return is_one_of(text, words);
}

static bool is_log_level(const char *text) {
    static const char *const words[] = {"debug", "info", "warn", "error", NULL};
    return is_one_of(text, words);
}

static bool is_path(const char *text) {
    return text[0] != '\0';
}

static const char *const on_words[] = {"on", "yes", "true", "1", NULL};
static const char *const off_words[] = {"off", "no", "false", "0", NULL};

static bool is_switch(const char *text) {
    return is_one_of(text, on_words) || is_one_of(text, off_words);
}

const struct peri_setting peri_settings_table[PERI_SETTINGS] = {
    [PERI_SETTING_HOST] = {"host", PERI_SETTING_TEXT, true, "HOST", "localhost", is_host,
                           "an address or a name",
                           "address or name to listen on. localhost is 127.0.0.1 and ::1; 0.0.0.0 "
                           "or :: is every interface"},
    [PERI_SETTING_PORT] = {"port", PERI_SETTING_NUMBER, true, "PORT", "8000", is_port,
                           "a number from 0 to 65535", "TCP port; 0 is one that the system picks"},
    [PERI_SETTING_LISTEN] =
        {"listen", PERI_SETTING_LIST, true, "WHERE", "", is_endpoint,
         "HOST:PORT, [IPV6]:PORT or unix:PATH, each with proxy: before it if wanted",
         "HOST:PORT or unix:PATH, as many as wanted, in place of the two above, "
         "or beside them if they are set. proxy: before one: only trusted proxies, by the PROXY "
         "protocol. Sockets of a service manager (LISTEN_FDS) are taken in place of all"},
    [PERI_SETTING_TRUSTED_PROXIES] =
        {"trusted_proxies", PERI_SETTING_LIST, true, "WHO", "", is_range,
         "an address, a range without bits behind its prefix (10.0.0.0/8, fd00::/8) or unix",
         "addresses and ranges (10.0.0.0/8) of proxies, and unix for those on a unix: socket, as "
         "many as wanted: whom to believe about the address of others, in Forwarded, "
         "X-Forwarded-For and the PROXY protocol"},
    [PERI_SETTING_TLS_CERT] =
        {"tls_cert", PERI_SETTING_LIST, true, "FILE", "", is_path, "the path of a file",
         "a certificate with its chain, in PEM form: TCP ports then speak TLS, and nothing else. "
         "With several, a client gets the one for the name that it asks for, else the first. Read "
         "anew when it changes"},
    [PERI_SETTING_TLS_KEY] = {"tls_key", PERI_SETTING_LIST, true, "FILE", "", is_path,
                              "the path of a file",
                              "its private key, in PEM form and without a passphrase; one for each "
                              "certificate, in the same order"},
    [PERI_SETTING_CONTROL] = {"control", PERI_SETTING_TEXT, true, "PATH", "", is_path,
                              "the path of a socket to make, or off",
                              "the socket by which status, reload, top and eval talk to the host, "
                              "or off. Without it, perigee-PORT.sock in XDG_RUNTIME_DIR, or in a "
                              "private folder of the temporary one"},
    [PERI_SETTING_LOG_FORMAT] = {"log_format", PERI_SETTING_TEXT, true, "FORMAT", "auto",
                                 is_log_format, "auto, logfmt, short or json",
                                 "logfmt, short, json, or auto: short at a terminal, else logfmt. "
                                 "The log is on stderr"},
    [PERI_SETTING_LOG_LEVEL] = {"log_level", PERI_SETTING_TEXT, true, "LEVEL", "info", is_log_level,
                                "debug, info, warn or error",
                                "debug, info, warn or error: what is below is left out"},
    [PERI_SETTING_WATCH] =
        {"watch", PERI_SETTING_SWITCH, true, "", "on", is_switch, "on or off",
         "whether a save of a script takes effect at once: the folder is watched"},
    [PERI_SETTING_DEV] = {"dev", PERI_SETTING_SWITCH, true, "", "", is_switch, "on or off",
                          "whether pages that use /perigee.js show what became of a save. On by "
                          "itself where stdout is a terminal"},
    [PERI_SETTING_TRUSTED] = {"trusted", PERI_SETTING_SWITCH, true, "", "off", is_switch,
                              "on or off",
                              "whether scripts may use the system's Lua modules, those in C too, "
                              "and the whole of io and os: then they can do all that the host's "
                              "user can"},
    [PERI_SETTING_CONFIG] = {"config", PERI_SETTING_TEXT, false, "FILE", "", is_path,
                             "the path of a file",
                             "a file with any of these settings, limits, and sections for scripts"},
};

// Values -------------------------------------------------------------------------------------

/// @return PERI_OK or PERI_E_MEMORY
static int keep_text(struct peri_buffer *kept, struct peri_str text) {
    size_t before = kept->len;
    int status = peri_buffer_append_str(kept, text);
    if (status == PERI_OK) {
        status = peri_buffer_append(kept, "", 1);
    }
    if (status != PERI_OK) {
        kept->len = before;
    }
    return status;
}

static int set_place(struct peri_value *value, enum peri_place place, const char *where) {
    peri_buffer_clear(&value->where, SIZE_MAX);
    value->place = place;
    return keep_text(&value->where, peri_str_of(where));
}

static int set_default(struct peri_settings *settings, enum peri_setting_id id) {
    struct peri_value *value = &settings->values[id];
    const char *initial = peri_settings_table[id].initial;
    if (initial[0] != '\0') {
        value->count = 1;
        if (keep_text(&value->text, peri_str_of(initial)) != PERI_OK) {
            return PERI_E_MEMORY;
        }
    }
    return set_place(value, PERI_FROM_DEFAULT, "default");
}

int peri_settings_init(struct peri_settings *settings) {
    *settings = (struct peri_settings){0};
    peri_limits_init(&settings->limits);
    settings->limit_values = peri_calloc(peri_limit_spec_count, sizeof *settings->limit_values);
    int status = settings->limit_values ? PERI_OK : PERI_E_MEMORY;
    for (size_t i = 0; i < peri_limit_spec_count && status == PERI_OK; i++) {
        status = set_place(&settings->limit_values[i], PERI_FROM_DEFAULT, "default");
    }
    for (int id = 0; id < PERI_SETTINGS && status == PERI_OK; id++) {
        status = set_default(settings, (enum peri_setting_id)id);
    }
    if (status != PERI_OK) {
        peri_settings_deinit(settings);
    }
    return status;
}

void peri_settings_deinit(struct peri_settings *settings) {
    for (size_t i = 0; settings->limit_values && i < peri_limit_spec_count; i++) {
        peri_buffer_deinit(&settings->limit_values[i].where);
    }
    peri_free(settings->limit_values);
    settings->limit_values = NULL;
    for (int id = 0; id < PERI_SETTINGS; id++) {
        peri_buffer_deinit(&settings->values[id].where);
        peri_buffer_deinit(&settings->values[id].text);
    }
}

/// Appends the items, each with its NUL, if all are valid.
/// @param subject of an error: "--port", "perigee.lua:3: port"
static int read_items(const struct peri_setting *setting, const struct peri_str *items,
                      size_t count, const char *subject, struct peri_buffer *out,
                      struct peri_buffer *error) {
    for (size_t i = 0; i < count; i++) {
        size_t at = out->len;
        if (keep_text(out, items[i]) != PERI_OK) {
            return PERI_E_MEMORY;
        }
        if (!setting->is_valid((const char *)out->ptr + at)) {
            return PERI_TELL(error, "%s must be %s, not \"%.*s\"", subject, setting->must_be,
                             PERI_SHOWN(items[i]));
        }
    }
    return PERI_OK;
}

int peri_settings_set(struct peri_settings *settings, enum peri_setting_id id,
                      const struct peri_str *items, size_t count, enum peri_place place,
                      const char *where, struct peri_buffer *error) {
    const struct peri_setting *setting = &peri_settings_table[id];
    struct peri_value *value = &settings->values[id];
    assert(setting->kind == PERI_SETTING_LIST || count == 1);
    struct peri_buffer text = {0}, subject = {0};
    bool adds =
        place == PERI_FROM_FLAG && value->place == place && setting->kind == PERI_SETTING_LIST;
    bool in_file = place == PERI_FROM_FOLDER || place == PERI_FROM_FILE;
    int status = peri_buffer_printf(&subject, "%s%s%s%c", where, in_file ? ": " : "",
                                    in_file ? setting->name : "", 0);
    if (status == PERI_OK && adds) {
        status = peri_buffer_append_str(&text, peri_buffer_str(&value->text));
    }
    if (status == PERI_OK) {
        status = read_items(setting, items, count, (const char *)subject.ptr, &text, error);
    }
    if (status == PERI_OK && place >= value->place) {
        status = set_place(value, place, where);
        if (status == PERI_OK) {
            struct peri_buffer old = value->text;
            value->text = text;
            text = old;
            value->count = count + (adds ? value->count : 0);
        }
    }
    peri_buffer_deinit(&text);
    peri_buffer_deinit(&subject);
    return status;
}

int peri_settings_set_limit(struct peri_settings *settings, struct peri_str name,
                            struct peri_str value, enum peri_place place, const char *where,
                            struct peri_buffer *error) {
    struct peri_limits checked = settings->limits;
    struct peri_buffer why = {0};
    enum peri_setting_id id;
    if (peri_setting_find(name, &id)) {
        const char *known = peri_settings_table[id].name;
        return PERI_TELL(error, "%s: %s is no limit but a setting of the machine: use %s or %s",
                         where, known, peri_setting_flag(known).text,
                         peri_setting_variable(known).text);
    }
    int status = peri_limits_set(&checked, name, value, &why);
    if (status == PERI_E_INVALID) {
        status = PERI_TELL(error, "%s: %.*s", where, (int)why.len, (const char *)why.ptr);
    }
    peri_buffer_deinit(&why);
    if (status != PERI_OK) {
        return status;
    }
    const struct peri_limit_spec *spec = peri_limit_find(name);
    assert(spec); // it has just been set
    struct peri_value *kept = &settings->limit_values[spec - peri_limit_specs];
    if (place < kept->place) {
        return PERI_OK;
    }
    settings->limits = checked;
    return set_place(kept, place, where);
}

const char *peri_settings_text(const struct peri_settings *settings, enum peri_setting_id id) {
    const struct peri_value *value = &settings->values[id];
    return value->count > 0 ? (const char *)value->text.ptr : "";
}

bool peri_settings_is_on(const struct peri_settings *settings, enum peri_setting_id id) {
    assert(peri_settings_table[id].kind == PERI_SETTING_SWITCH);
    return is_one_of(peri_settings_text(settings, id), on_words);
}

const char *peri_settings_next(const struct peri_settings *settings, enum peri_setting_id id,
                               const char *item) {
    const struct peri_buffer *text = &settings->values[id].text;
    const char *begin = (const char *)text->ptr;
    const char *next = item ? item + strlen(item) + 1 : begin;
    return text->len > 0 && next < begin + text->len ? next : NULL;
}

bool peri_settings_has_host(const struct peri_settings *settings) {
    return settings->values[PERI_SETTING_LISTEN].count == 0 ||
           peri_settings_is_set(settings, PERI_SETTING_HOST) ||
           peri_settings_is_set(settings, PERI_SETTING_PORT);
}

// Names --------------------------------------------------------------------------------------

bool peri_setting_find(struct peri_str name, enum peri_setting_id *id) {
    for (int i = 0; i < PERI_SETTINGS; i++) {
        if (peri_str_equal(name, peri_str_of(peri_settings_table[i].name))) {
            *id = (enum peri_setting_id)i;
            return true;
        }
    }
    return false;
}

struct peri_name peri_setting_variable(const char *name) {
    struct peri_name variable;
    (void)snprintf(variable.text, sizeof variable.text, "PERIGEE_%s", name);
    for (char *c = variable.text; *c; c++) {
        *c = (char)toupper((unsigned char)*c);
    }
    return variable;
}

static struct peri_name make_flag(const char *begin, const char *name) {
    struct peri_name flag;
    (void)snprintf(flag.text, sizeof flag.text, "%s%s", begin, name);
    for (char *c = flag.text; *c; c++) {
        *c = (char)(*c == '_' ? '-' : *c);
    }
    return flag;
}

struct peri_name peri_setting_flag(const char *name) {
    return make_flag("--", name);
}

struct peri_name peri_setting_no_flag(const char *name) {
    return make_flag("--no-", name);
}
