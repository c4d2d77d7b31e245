// The scripts' sections of the files of settings: kept, merged key by key, given to the scripts.
#include "script/sections.h"

#include <yyjson.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/api.h"
#include "script/host_private.h"

struct peri_section *peri_section_get(struct peri_host *host, struct peri_str name) {
    for (size_t i = 0; i < host->section_count; i++) {
        if (peri_str_equal(peri_buffer_str(&host->sections[i].name), name)) {
            return &host->sections[i];
        }
    }
    struct peri_section *sections =
        peri_realloc(host->sections, (host->section_count + 1) * sizeof *sections);
    if (!sections) {
        return NULL;
    }
    host->sections = sections;
    struct peri_section *section = &sections[host->section_count];
    *section = (struct peri_section){0};
    if (peri_buffer_append_str(&section->name, name) != PERI_OK) {
        return NULL;
    }
    host->section_count++;
    return section;
}

void peri_sections_free(struct peri_host *host) {
    for (size_t i = 0; i < host->section_count; i++) {
        struct peri_section *section = &host->sections[i];
        peri_buffer_deinit(&section->name);
        peri_buffer_deinit(&section->merged);
        for (int layer = 0; layer < PERI_CONFIG_LAYERS; layer++) {
            peri_buffer_deinit(&section->json[layer]);
        }
    }
    peri_free(host->sections);
    for (int layer = 0; layer < PERI_CONFIG_LAYERS; layer++) {
        peri_free(host->config_paths[layer]);
    }
}

struct yyjson_doc *peri_section_read(const struct peri_buffer *json) {
    struct peri_str text = peri_buffer_str(json);
    // Without YYJSON_READ_INSITU the text is only read, whatever the type says.
    return text.len == 0 ? NULL
                         : yyjson_read_opts((char *)(uintptr_t)text.ptr, text.len, 0,
                                            &peri_json_allocator, NULL);
}

/// The folder's table with the operator's keys put over its own. A list has no keys: one that
/// meets anything gives way, or wins, as a whole.
static int merge_layers(struct peri_section *section) {
    int status = PERI_E_MEMORY;
    size_t len = 0;
    char *text = NULL;
    yyjson_doc *below = peri_section_read(&section->json[PERI_CONFIG_FOLDER]);
    yyjson_doc *above = peri_section_read(&section->json[PERI_CONFIG_OPERATOR]);
    yyjson_mut_doc *doc = below ? yyjson_doc_mut_copy(below, &peri_json_allocator) : NULL;
    if (!above || !doc) {
        goto done;
    }
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    size_t at, count;
    yyjson_val *key, *value;
    yyjson_obj_foreach(yyjson_doc_get_root(above), at, count, key, value) {
        yyjson_mut_val *new_key = yyjson_val_mut_copy(doc, key);
        yyjson_mut_val *new_value = yyjson_val_mut_copy(doc, value);
        if (!yyjson_mut_obj_put(root, new_key, new_value)) {
            goto done;
        }
    }
    text = yyjson_mut_write_opts(doc, 0, &peri_json_allocator, &len, NULL);
    if (text) {
        status = peri_buffer_append(&section->merged, text, len);
    }
done:
    peri_free(text);
    yyjson_mut_doc_free(doc);
    yyjson_doc_free(above);
    yyjson_doc_free(below);
    return status;
}

static bool is_object(const struct peri_buffer *json) {
    return json->len > 0 && json->ptr[0] == '{';
}

int peri_section_merge(struct peri_section *section) {
    const struct peri_buffer *below = &section->json[PERI_CONFIG_FOLDER];
    const struct peri_buffer *above = &section->json[PERI_CONFIG_OPERATOR];
    peri_buffer_clear(&section->merged, 0);
    if (is_object(below) && is_object(above)) {
        return merge_layers(section);
    }
    return peri_buffer_append_str(&section->merged,
                                  peri_buffer_str(above->len > 0 ? above : below));
}

struct peri_str peri_sections_find(const struct peri_host *host, const char *name) {
    for (size_t i = 0; i < host->section_count; i++) {
        if (peri_str_equal(peri_buffer_str(&host->sections[i].name), peri_str_of(name))) {
            return peri_buffer_str(&host->sections[i].merged);
        }
    }
    return (struct peri_str){0};
}

int peri_sections_give(struct peri_host *host) {
    for (size_t i = 0; i < host->section_count; i++) {
        struct peri_section *section = &host->sections[i];
        struct peri_str name = peri_buffer_str(&section->name);
        struct peri_script *script = NULL;
        for (size_t j = 0; j < host->script_count; j++) {
            if (peri_str_equal(peri_str_of(host->scripts[j]->name), name)) {
                script = host->scripts[j];
            }
        }
        if (peri_section_merge(section) != PERI_OK) {
            return PERI_E_MEMORY;
        }
        if (!script) {
            bool above = section->json[PERI_CONFIG_OPERATOR].len > 0;
            peri_log(PERI_LOG_WARN, "%s: there is no script '%.*s' to configure",
                     host->config_paths[above ? PERI_CONFIG_OPERATOR : PERI_CONFIG_FOLDER],
                     (int)name.len, name.ptr);
            continue; // it may come yet
        }
        script->config = peri_buffer_str(&section->merged);
    }
    return PERI_OK;
}
