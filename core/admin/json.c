// yyjson on our heap, and text of any bytes in it.
#include "admin/json.h"

#include "base/alloc.h"
#include "base/log_line.h"

static void *heap_malloc(void *context, size_t size) {
    (void)context;
    return peri_alloc(size);
}

static void *heap_realloc(void *context, void *block, size_t old_size, size_t size) {
    (void)context;
    (void)old_size;
    return peri_realloc(block, size);
}

static void heap_free(void *context, void *block) {
    (void)context;
    peri_free(block);
}

const yyjson_alc peri_admin_heap = {heap_malloc, heap_realloc, heap_free, NULL};

const char *const peri_admin_outcomes[PERI_RELOAD_GONE + 1] = {"none", "done", "failed", "reverted",
                                                               "gone"};

yyjson_mut_doc *peri_admin_object(void) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(&peri_admin_heap);
    yyjson_mut_val *root = doc ? yyjson_mut_obj(doc) : NULL;
    if (!root) {
        yyjson_mut_doc_free(doc);
        return NULL;
    }
    yyjson_mut_doc_set_root(doc, root);
    return doc;
}

/// @return PERI_OK or PERI_E_MEMORY
static int mend(struct peri_buffer *out, struct peri_str text) {
    int status = PERI_OK;
    for (size_t i = 0; i < text.len && status == PERI_OK;) {
        uint32_t character;
        size_t size = peri_log_decode(text.ptr + i, text.len - i, &character);
        status = size > 0 ? peri_buffer_append(out, text.ptr + i, size)
                          : peri_buffer_append_str(out, PERI_STR("\xef\xbf\xbd"));
        i += size > 0 ? size : 1;
    }
    return status;
}

bool peri_admin_add_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key,
                         struct peri_str text) {
    struct peri_buffer mended = {0};
    bool ok = mend(&mended, text) == PERI_OK &&
              yyjson_mut_obj_add_strncpy(doc, object, key, mended.len ? (char *)mended.ptr : "",
                                         mended.len);
    peri_buffer_deinit(&mended);
    return ok;
}

int peri_admin_finish(yyjson_mut_doc *doc, bool complete, struct peri_buffer *out) {
    size_t len = 0;
    size_t before = out->len;
    char *text = complete ? yyjson_mut_write_opts(doc, 0, &peri_admin_heap, &len, NULL) : NULL;
    int status = text ? peri_buffer_append(out, text, len) : PERI_E_MEMORY;
    if (status == PERI_OK) {
        status = peri_buffer_append(out, "\n", 1);
    }
    if (status != PERI_OK) {
        out->len = before;
    }
    peri_free(text);
    yyjson_mut_doc_free(doc);
    return status;
}

yyjson_doc *peri_admin_parse(struct peri_str line) {
    // Without YYJSON_READ_INSITU the text is only read, whatever the type says.
    yyjson_doc *doc = line.len == 0 ? NULL
                                    : yyjson_read_opts((char *)(uintptr_t)line.ptr, line.len, 0,
                                                       &peri_admin_heap, NULL);
    if (doc && !yyjson_is_obj(yyjson_doc_get_root(doc))) {
        yyjson_doc_free(doc);
        doc = NULL;
    }
    return doc;
}
