// Configuration: limits by name and value, perigee.lua, the operator's file, the environment. What is
// taken can be printed and read back to the same; what is refused is refused with a reason.
#include <stdint.h>

#include "cli/print.h"
#include "cli/sources.h"
#include "world.h"

// Limits -------------------------------------------------------------------------------------

static void set_back(const struct peri_limits *limits, struct peri_str name) {
    const struct peri_limit_spec *spec = peri_limit_find(name);
    struct peri_limits again = *limits;
    struct peri_buffer text = {0}, error = {0};
    FUZZ_CHECK(spec);
    FUZZ_CHECK(peri_limits_print(limits, spec, &text) == PERI_OK);
    FUZZ_CHECK(peri_limits_set(&again, name, peri_buffer_str(&text), &error) == PERI_OK);
    if (spec->kind == PERI_LIMIT_TEXT) {
        FUZZ_CHECK(strcmp(again.origins, limits->origins) == 0);
    } else {
        const char *a = (const char *)limits + spec->offset,
                   *b = (const char *)&again + spec->offset;
        FUZZ_CHECK(memcmp(a, b, sizeof(uint64_t)) == 0);
        int status = peri_limits_tighten(&again, name, peri_buffer_str(&text), &error);
        FUZZ_CHECK(status == (spec->for_scripts ? PERI_OK : PERI_E_INVALID));
    }
    peri_buffer_deinit(&text);
    peri_buffer_deinit(&error);
}

static void set_limits(struct peri_str in) {
    struct peri_limits limits;
    peri_limits_init(&limits);
    while (in.len > 0) {
        struct peri_str value = fuzz_line(&in), name = value;
        const char *equals = value.len > 0 ? memchr(value.ptr, '=', value.len) : NULL;
        if (equals) {
            name = fuzz_bytes(&value, (size_t)(equals - value.ptr));
            (void)fuzz_byte(&value);
        }
        char *copy = fuzz_copy(value);
        struct peri_buffer error = {0};
        int rc = peri_limits_set(&limits, name, peri_str(copy, value.len), &error);
        free(copy);
        if (rc == PERI_OK) {
            set_back(&limits, name);
        } else {
            FUZZ_CHECK(rc == PERI_E_INVALID && error.len > 0);
        }
        peri_buffer_deinit(&error);
    }
}

// Files and the environment ------------------------------------------------------------------

/// The same as is meant: a number may have been written with zeros in front, a switch by any word.
static bool same_value(const struct peri_settings *a, const struct peri_settings *b,
                       enum peri_setting_id id) {
    const struct peri_buffer *one = &a->values[id].text, *two = &b->values[id].text;
    switch (peri_settings_table[id].kind) {
    case PERI_SETTING_NUMBER:
        return strtol(peri_settings_text(a, id), NULL, 10) ==
               strtol(peri_settings_text(b, id), NULL, 10);
    case PERI_SETTING_SWITCH: return peri_settings_is_on(a, id) == peri_settings_is_on(b, id);
    default:
        return one->len == two->len && (one->len == 0 || memcmp(one->ptr, two->ptr, one->len) == 0);
    }
}

static void same_settings(const struct peri_settings *a, const struct peri_settings *b) {
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        const struct peri_limit_spec *spec = &peri_limit_specs[i];
        const char *one = (const char *)&a->limits + spec->offset;
        const char *two = (const char *)&b->limits + spec->offset;
        FUZZ_CHECK(spec->kind == PERI_LIMIT_TEXT ? strcmp(one, two) == 0
                                                 : memcmp(one, two, sizeof(uint64_t)) == 0);
    }
    for (int id = 0; id < PERI_SETTINGS; id++) {
        bool counts =
            peri_settings_table[id].in_files &&
            (peri_settings_has_host(a) || (id != PERI_SETTING_HOST && id != PERI_SETTING_PORT));
        FUZZ_CHECK(!counts || same_value(a, b, (enum peri_setting_id)id));
    }
}

static void use_file(struct peri_settings *settings) {
    struct peri_buffer error = {0};
    struct peri_str path = peri_str_of(world_path("other.lua"));
    FUZZ_CHECK(peri_settings_set(settings, PERI_SETTING_CONFIG, &path, 1, PERI_FROM_FLAG,
                                 "--config", &error) == PERI_OK);
    peri_buffer_deinit(&error);
}

/// What --print-config says is a file that says the same. Takes the world's host.
static void print_and_read(const struct peri_settings *settings) {
    struct peri_settings again;
    struct peri_buffer text = {0}, error = {0};
    FUZZ_CHECK(peri_settings_print(settings, world.host, &text) == PERI_OK);
    world_end();
    world_begin();
    world_unlink("perigee.lua");
    world_write("other.lua", peri_buffer_str(&text));
    FUZZ_CHECK(peri_settings_init(&again) == PERI_OK);
    use_file(&again);
    if (peri_settings_read_files(&again, world.host, &error) != PERI_OK) {
        (void)fprintf(stderr, "%.*s\n%.*s\n", (int)error.len, error.ptr, (int)text.len, text.ptr);
        FUZZ_CHECK(false); // what --print-config says can be read
    }
    same_settings(settings, &again);
    peri_settings_deinit(&again);
    peri_buffer_deinit(&text);
    peri_buffer_deinit(&error);
}

/// C functions that need no instruction of Lua to go on for ever.
static bool may_hang(struct peri_str text) {
    static const char *const words[] = {"move", "find", "match", "gsub", "__len"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (text.len > 0 && memmem(text.ptr, text.len, words[i], strlen(words[i]))) {
            return true;
        }
    }
    return false;
}

static const char play[] = "local ws = require 'ws'\n"
                           "return { open = function() return ws.config.a end }\n";

static void read_files(struct peri_str text, const char *name) {
    struct peri_settings settings;
    struct peri_buffer error = {0};
    if (may_hang(text)) {
        return;
    }
    world_begin();
    world_unlink("perigee.lua");
    world_write("play.lua", peri_str_of(play));
    world_write(name, text);
    FUZZ_CHECK(peri_settings_init(&settings) == PERI_OK);
    if (strcmp(name, "other.lua") == 0) {
        use_file(&settings);
    }
    int rc = peri_settings_read_files(&settings, world.host, &error);
    if (rc == PERI_OK) {
        FUZZ_CHECK(error.len == 0);
        FUZZ_CHECK(peri_host_load(world.host, world.router, &error) == PERI_OK);
        print_and_read(&settings);
    } else {
        FUZZ_CHECK(rc == PERI_E_INVALID && error.len > 0);
    }
    peri_settings_deinit(&settings);
    peri_buffer_deinit(&error);
    world_end();
}

static void read_environment(struct peri_str in) {
    enum { MOST = 16 };
    char *variables[MOST + 1] = {0};
    struct peri_settings settings;
    struct peri_buffer error = {0};
    for (size_t i = 0; i < MOST && in.len > 0; i++) {
        variables[i] = fuzz_text(fuzz_line(&in));
    }
    world_begin();
    FUZZ_CHECK(peri_settings_init(&settings) == PERI_OK);
    int rc = peri_settings_read_environment(&settings, variables, &error);
    if (rc == PERI_OK) {
        print_and_read(&settings);
    } else {
        FUZZ_CHECK(rc == PERI_E_INVALID && error.len > 0);
    }
    peri_settings_deinit(&settings);
    peri_buffer_deinit(&error);
    world_end();
    for (size_t i = 0; i < MOST; i++) {
        free(variables[i]);
    }
}

/// The input: what it is, then limits or variables, one a line, or a file.
void fuzz_one(struct peri_str in) {
    switch (fuzz_byte(&in) % 4) {
    case 0: set_limits(in); break;
    case 1: read_files(in, "perigee.lua"); break;
    case 2: read_files(in, "other.lua"); break;
    default: read_environment(in); break;
    }
}
