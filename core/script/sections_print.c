// The scripts' sections as lines of Lua, for who wants to see what the files of settings came to.
#include <ctype.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/alloc.h"
#include "script/api.h"
#include "script/host_private.h"

/// Where it goes. What fails is remembered, and makes all that follows do nothing.
struct printer {
    struct peri_host *host;
    peri_config_line *line;
    void *arg;
    struct peri_buffer code; ///< the line to come
    int status;
};

static void put(struct printer *p, struct peri_str text) {
    if (p->status == PERI_OK) {
        p->status = peri_buffer_append_str(&p->code, text);
    }
}

static void end_line(struct printer *p, int depth, const char *where) {
    if (p->status == PERI_OK) {
        p->status = p->line(p->arg, depth, peri_buffer_str(&p->code), where);
    }
    peri_buffer_clear(&p->code, SIZE_MAX);
}

static struct peri_str text_of(yyjson_val *string) {
    return peri_str(yyjson_get_str(string), yyjson_get_len(string));
}

static void put_string(struct printer *p, struct peri_str text) {
    put(p, PERI_STR("\""));
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        char escaped[8];
        if (c < 0x20 || c == 0x7f) {
            (void)snprintf(escaped, sizeof escaped, "\\%03u", c);
            put(p, peri_str_of(escaped));
        } else {
            put(p, c == '"' || c == '\\' ? PERI_STR("\\") : PERI_STR(""));
            put(p, peri_str(text.ptr + i, 1));
        }
    }
    put(p, PERI_STR("\""));
}

static bool is_name(struct peri_str text) {
    static const char *const reserved[] = {
        "and",      "break",  "do",   "else", "elseif", "end",   "false", "for",
        "function", "goto",   "if",   "in",   "local",  "nil",   "not",   "or",
        "repeat",   "return", "then", "true", "until",  "while",
    };
    bool is = text.len > 0 && !isdigit((unsigned char)text.ptr[0]);
    for (size_t i = 0; i < text.len; i++) {
        is = is && (isalnum((unsigned char)text.ptr[i]) || text.ptr[i] == '_');
    }
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        is = is && !peri_str_equal(text, peri_str_of(reserved[i]));
    }
    return is;
}

static void put_key(struct printer *p, struct peri_str key) {
    if (is_name(key)) {
        put(p, key);
    } else {
        put(p, PERI_STR("["));
        put_string(p, key);
        put(p, PERI_STR("]"));
    }
    put(p, PERI_STR(" = "));
}

static int by_text(const void *a, const void *b) {
    return strcmp(yyjson_get_str(*(yyjson_val *const *)a), yyjson_get_str(*(yyjson_val *const *)b));
}

/// An object's keys in their order. @return owned; NULL, and p->status set, without memory
static yyjson_val **sorted_keys(struct printer *p, yyjson_val *object) {
    size_t at = 0, count = yyjson_obj_size(object);
    yyjson_val **keys = peri_alloc((count + 1) * sizeof(yyjson_val *));
    if (!keys) {
        p->status = PERI_E_MEMORY;
        return NULL;
    }
    yyjson_obj_iter each = yyjson_obj_iter_with(object);
    for (yyjson_val *key; at < count && (key = yyjson_obj_iter_next(&each));) {
        keys[at++] = key;
    }
    qsort(keys, count, sizeof(yyjson_val *), by_text);
    return keys;
}

static void put_value(struct printer *p, yyjson_val *value);

static void put_list(struct printer *p, yyjson_val *list) {
    yyjson_arr_iter each = yyjson_arr_iter_with(list);
    for (yyjson_val *item; (item = yyjson_arr_iter_next(&each));) {
        put(p, each.idx > 1 ? PERI_STR(", ") : PERI_STR(""));
        put_value(p, item);
    }
}

static void put_object(struct printer *p, yyjson_val *object) {
    yyjson_val **keys = sorted_keys(p, object);
    for (size_t i = 0; keys && i < yyjson_obj_size(object); i++) {
        put(p, i > 0 ? PERI_STR(", ") : PERI_STR(""));
        put_key(p, text_of(keys[i]));
        put_value(p, yyjson_obj_iter_get_val(keys[i]));
    }
    peri_free(keys);
}

/// As deep as peri_json_encode goes.
static void put_value(struct printer *p, yyjson_val *value) {
    if (yyjson_is_str(value)) {
        put_string(p, text_of(value));
    } else if (yyjson_is_arr(value)) {
        put(p, PERI_STR("{"));
        put_list(p, value);
        put(p, PERI_STR("}"));
    } else if (yyjson_is_obj(value)) {
        put(p, PERI_STR("{"));
        put_object(p, value);
        put(p, PERI_STR("}"));
    } else { // numbers and booleans are the same in JSON and Lua
        char *text = yyjson_val_write_opts(value, 0, &peri_json_allocator, NULL, NULL);
        p->status = text ? p->status : PERI_E_MEMORY;
        put(p, peri_str_of(text));
        peri_free(text);
    }
}

/// The inside of a section, an entry a line.
/// @param above what the operator's file has of it; NULL for nothing
static void print_entries(struct printer *p, yyjson_val *merged, yyjson_val *above) {
    char *const *paths = p->host->config_paths;
    if (yyjson_is_arr(merged)) {
        put_list(p, merged);
        end_line(p, 1, paths[above ? PERI_CONFIG_OPERATOR : PERI_CONFIG_FOLDER]);
        return;
    }
    yyjson_val **keys = sorted_keys(p, merged);
    for (size_t i = 0; keys && i < yyjson_obj_size(merged); i++) {
        struct peri_str name = text_of(keys[i]);
        bool is_above = yyjson_obj_getn(above, name.ptr, name.len) != NULL;
        put_key(p, name);
        put_value(p, yyjson_obj_iter_get_val(keys[i]));
        put(p, PERI_STR(","));
        end_line(p, 1, paths[is_above ? PERI_CONFIG_OPERATOR : PERI_CONFIG_FOLDER]);
    }
    peri_free(keys);
}

static void print_section(struct printer *p, struct peri_section *section) {
    const struct peri_buffer *above_json = &section->json[PERI_CONFIG_OPERATOR];
    p->status = peri_section_merge(section);
    yyjson_doc *merged = peri_section_read(&section->merged);
    yyjson_doc *above = peri_section_read(above_json);
    if (!merged || (!above && above_json->len > 0)) {
        p->status = PERI_E_MEMORY;
    }
    put_key(p, peri_buffer_str(&section->name));
    put(p, PERI_STR("{"));
    end_line(p, 0, NULL);
    if (p->status == PERI_OK) {
        print_entries(p, yyjson_doc_get_root(merged), yyjson_doc_get_root(above));
    }
    put(p, PERI_STR("},"));
    end_line(p, 0, NULL);
    yyjson_doc_free(merged);
    yyjson_doc_free(above);
}

static int by_name(const void *a, const void *b) {
    struct peri_str x = peri_buffer_str(&(*(struct peri_section *const *)a)->name);
    struct peri_str y = peri_buffer_str(&(*(struct peri_section *const *)b)->name);
    size_t n = x.len < y.len ? x.len : y.len;
    int order = n > 0 ? memcmp(x.ptr, y.ptr, n) : 0;
    return order ? order : (x.len > y.len) - (x.len < y.len);
}

int peri_host_print_sections(struct peri_host *host, peri_config_line *line, void *arg) {
    struct printer p = {.host = host, .line = line, .arg = arg};
    struct peri_section **sorted =
        peri_alloc((host->section_count + 1) * sizeof(struct peri_section *));
    if (!sorted) {
        return PERI_E_MEMORY;
    }
    for (size_t i = 0; i < host->section_count; i++) {
        sorted[i] = &host->sections[i];
    }
    qsort(sorted, host->section_count, sizeof(struct peri_section *), by_name);
    for (size_t i = 0; i < host->section_count && p.status == PERI_OK; i++) {
        print_section(&p, sorted[i]);
    }
    peri_free(sorted);
    peri_buffer_deinit(&p.code);
    return p.status;
}
