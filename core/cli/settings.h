// What an operator decides: the settings of the machine and the limits, each with the place that
// its value is from. One table reads them, prints them and documents them.
//
// defaults < DIR/perigee.lua < PERIGEE_* < the file of --config < flags. Places may be read in any
// order: a value gives way to one from a stronger place, not to one that came later.
#pragma once

#include "hub/limits.h"
#include "net/server.h"

/// Where values are from, the weakest first.
enum peri_place {
    PERI_FROM_DEFAULT,
    PERI_FROM_FOLDER,      ///< DIR/perigee.lua
    PERI_FROM_ENVIRONMENT, ///< PERIGEE_*
    PERI_FROM_FILE,        ///< of --config
    PERI_FROM_FLAG,
};

enum peri_setting_kind {
    PERI_SETTING_TEXT,
    PERI_SETTING_NUMBER,
    PERI_SETTING_LIST,   ///< of texts
    PERI_SETTING_SWITCH, ///< on or off: its flags are --NAME and --no-NAME
};

/// The settings of the machine, by their place in peri_settings_table.
enum peri_setting_id {
    PERI_SETTING_HOST,
    PERI_SETTING_PORT,
    PERI_SETTING_LISTEN,
    PERI_SETTING_TRUSTED_PROXIES,
    PERI_SETTING_TLS_CERT,
    PERI_SETTING_TLS_KEY,
    PERI_SETTING_CONTROL,
    PERI_SETTING_LOG_FORMAT,
    PERI_SETTING_LOG_LEVEL,
    PERI_SETTING_WATCH,
    PERI_SETTING_DEV,
    PERI_SETTING_TRUSTED,
    PERI_SETTING_CONFIG,
    PERI_SETTINGS,
};

struct peri_setting {
    const char *name; ///< in files; PERIGEE_NAME and --name are made of it
    enum peri_setting_kind kind;
    bool in_files;       ///< may stand in the file of --config
    const char *form;    ///< what stands for its value in --help: "PORT"
    const char *initial; ///< the default as a user would write it; "" for none
    bool (*is_valid)(const char *text);
    const char *must_be; ///< behind "must be", for what is_valid refuses
    const char *what;    ///< for --help and docs
};

extern const struct peri_setting peri_settings_table[PERI_SETTINGS];

struct peri_value {
    enum peri_place place;
    struct peri_buffer where; ///< "PERIGEE_PORT", "--port", "perigee.lua:3"; NUL-terminated
    struct peri_buffer text;  ///< of a setting: each item with its NUL
    size_t count;             ///< of items
};

/// Zero-initialised owns nothing; peri_settings_init makes it complete.
struct peri_settings {
    struct peri_limits limits;
    struct peri_value values[PERI_SETTINGS];
    struct peri_value *limit_values; ///< beside peri_limit_specs, text not used
};

/// All at their defaults. @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_settings_init(struct peri_settings *settings);
void peri_settings_deinit(struct peri_settings *settings);

/// Checks a value, and takes it unless there is one from a stronger place. A list from a flag is
/// added to those of flags before it; from elsewhere it stands alone.
/// @param items one, but for a list
/// @param where what messages and --print-config call the place; copied
/// @param error on PERI_E_INVALID: appended with one line for the user, which names the place
PERI_MUST_CHECK int peri_settings_set(struct peri_settings *settings, enum peri_setting_id id,
                                      const struct peri_str *items, size_t count,
                                      enum peri_place place, const char *where,
                                      struct peri_buffer *error);

/// The same for a limit; an unknown name suggests the nearest.
PERI_MUST_CHECK int peri_settings_set_limit(struct peri_settings *settings, struct peri_str name,
                                            struct peri_str value, enum peri_place place,
                                            const char *where, struct peri_buffer *error);

/// The value of a setting that is no list; "" when it has none.
const char *peri_settings_text(const struct peri_settings *settings, enum peri_setting_id id);

/// Whether a switch is on.
bool peri_settings_is_on(const struct peri_settings *settings, enum peri_setting_id id);

/// Walks the items of a list: start with NULL. @return NULL at the end
const char *peri_settings_next(const struct peri_settings *settings, enum peri_setting_id id,
                               const char *item);

/// Whether anybody has set it.
static inline bool peri_settings_is_set(const struct peri_settings *settings,
                                        enum peri_setting_id id) {
    return settings->values[id].place != PERI_FROM_DEFAULT;
}

/// Whether host and port count: `listen` is in place of them, or beside them if they are set.
bool peri_settings_has_host(const struct peri_settings *settings);

/// @return false when no setting has this name
bool peri_setting_find(struct peri_str name, enum peri_setting_id *id);

/// Names that are made of a setting's or limit's: "PERIGEE_LOG_LEVEL", "--log-level".
struct peri_name {
    char text[64];
};
struct peri_name peri_setting_variable(const char *name);
struct peri_name peri_setting_flag(const char *name);
struct peri_name peri_setting_no_flag(const char *name); ///< of a switch: "--no-watch"
