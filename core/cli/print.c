// perigee serve --print-config: the settings as Lua that --config reads back.
#include "cli/print.h"

/// Lines of code, with what stands beside each. What fails is remembered, and makes all that
/// follows do nothing.
struct page {
    struct peri_buffer lines; ///< code, NUL, comment, NUL, again and again
    size_t width;             ///< of the code that a comment follows
    int status;
};

/// Comments stand below each other, but not behind code that is longer than this.
enum { WIDTH_MAX = 48, INDENT = 2 };

static void add(struct page *page, const void *bytes, size_t n) {
    if (page->status == PERI_OK) {
        page->status = peri_buffer_append(&page->lines, bytes, n);
    }
}

static void add_text(struct page *page, struct peri_str text) {
    add(page, text.ptr, text.len);
}

/// Text in quotes, as Lua reads it.
static void add_quoted(struct page *page, const char *text) {
    add(page, "\"", 1);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f) {
            char escaped[] = {'\\', (char)('0' + c / 100), (char)('0' + c / 10 % 10),
                              (char)('0' + c % 10)};
            add(page, escaped, sizeof escaped);
        } else {
            add(page, "\\", c == '"' || c == '\\' ? 1 : 0);
            add(page, &c, 1);
        }
    }
    add(page, "\"", 1);
}

static size_t begin_line(struct page *page, int depth) {
    size_t begin = page->lines.len;
    for (int i = 0; i < depth * INDENT; i++) {
        add(page, " ", 1);
    }
    return begin;
}

/// @param where NULL for no comment
static void end_line(struct page *page, size_t begin, const char *where) {
    size_t width = page->lines.len - begin;
    if (where && width > page->width && width <= WIDTH_MAX) {
        page->width = width;
    }
    add(page, "", 1);
    for (; where && *where; where++) {
        unsigned char c = (unsigned char)*where; // of a path: a line's end would end the comment
        add(page, c < 0x20 || c == 0x7f ? "?" : where, 1);
    }
    add(page, "", 1);
}

static void add_line(struct page *page, int depth, const char *code) {
    size_t begin = begin_line(page, depth);
    add_text(page, peri_str_of(code));
    end_line(page, begin, NULL);
}

static void add_setting(struct page *page, const struct peri_settings *settings,
                        enum peri_setting_id id, bool counts) {
    const struct peri_setting *setting = &peri_settings_table[id];
    size_t begin = begin_line(page, 1);
    add_text(page, counts ? PERI_STR("") : PERI_STR("-- "));
    add_text(page, peri_str_of(setting->name));
    add_text(page, PERI_STR(" = "));
    const char *item = NULL;
    switch (setting->kind) {
    case PERI_SETTING_TEXT:
    case PERI_SETTING_SWITCH: add_quoted(page, peri_settings_text(settings, id)); break;
    case PERI_SETTING_NUMBER: add_text(page, peri_str_of(peri_settings_text(settings, id))); break;
    case PERI_SETTING_LIST:
        add_text(page, PERI_STR("{"));
        while ((item = peri_settings_next(settings, id, item))) {
            add_quoted(page, item);
            add_text(page, peri_settings_next(settings, id, item) ? PERI_STR(", ") : PERI_STR(""));
        }
        add_text(page, PERI_STR("}"));
        break;
    }
    add_text(page, PERI_STR(","));
    end_line(page, begin, (const char *)settings->values[id].where.ptr);
}

static void add_limit(struct page *page, const struct peri_settings *settings, size_t at) {
    const struct peri_limit_spec *spec = &peri_limit_specs[at];
    struct peri_buffer text = {0};
    size_t begin = begin_line(page, 2);
    int status = peri_limits_print(&settings->limits, spec, &text);
    if (status == PERI_OK) {
        status = peri_buffer_append(&text, "", 1);
    }
    if (status != PERI_OK) {
        page->status = status;
        goto done;
    }
    add_text(page, peri_str_of(spec->name));
    add_text(page, PERI_STR(" = "));
    const char *value = (const char *)text.ptr;
    if (value[strspn(value, "0123456789.")] == '\0' && spec->kind != PERI_LIMIT_TEXT) {
        add_text(page, peri_str_of(value));
    } else {
        add_quoted(page, value);
    }
    add_text(page, PERI_STR(","));
    end_line(page, begin, (const char *)settings->limit_values[at].where.ptr);
done:
    peri_buffer_deinit(&text);
}

static int add_section_line(void *arg, int depth, struct peri_str code, const char *where) {
    struct page *page = arg;
    size_t begin = begin_line(page, depth + 2);
    add_text(page, code);
    end_line(page, begin, where);
    return page->status;
}

/// All lines, the comments aligned. @return PERI_OK or PERI_E_MEMORY
static int write_lines(const struct page *page, struct peri_buffer *out) {
    const char *at = (const char *)page->lines.ptr;
    const char *end = at + page->lines.len;
    int status = PERI_OK;
    while (at < end && status == PERI_OK) {
        const char *code = at, *where = at + strlen(at) + 1;
        at = where + strlen(where) + 1;
        status = *where ? peri_buffer_printf(out, "%-*s  -- %s\n", (int)page->width, code, where)
                        : peri_buffer_printf(out, "%s\n", code);
    }
    return status;
}

int peri_settings_print(const struct peri_settings *settings, struct peri_host *host,
                        struct peri_buffer *out) {
    struct page page = {0};
    bool has_host = peri_settings_has_host(settings);
    add_line(&page, 0,
             "-- Every setting, and where it is from. As it stands, a file for --config.");
    add_line(&page, 0, "return {");
    for (int i = 0; i < PERI_SETTINGS; i++) {
        enum peri_setting_id id = (enum peri_setting_id)i;
        bool counts = peri_settings_table[id].in_files &&
                      (has_host || (id != PERI_SETTING_HOST && id != PERI_SETTING_PORT));
        if (settings->values[id].count > 0 || peri_settings_table[id].kind == PERI_SETTING_LIST) {
            add_setting(&page, settings, id, counts);
        }
    }
    add_line(&page, 1, "limits = {");
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        add_limit(&page, settings, i);
    }
    add_line(&page, 1, "},");
    add_line(&page, 1, "scripts = {");
    if (page.status == PERI_OK) {
        page.status = peri_host_print_sections(host, add_section_line, &page);
    }
    add_line(&page, 1, "},");
    add_line(&page, 0, "}");
    if (page.status == PERI_OK) {
        page.status = write_lines(&page, out);
    }
    peri_buffer_deinit(&page.lines);
    return page.status;
}
