// Events are a name and one line of JSON. JSON of yyjson's has no line ends in it.
#include "admin/notes.h"

#include "admin/json.h"

static bool add(yyjson_mut_doc *doc, yyjson_mut_val *item, const struct peri_news *news) {
    return item && peri_admin_add_text(doc, item, "script", news->script) &&
           yyjson_mut_obj_add_str(doc, item, "what", peri_admin_outcomes[news->what]) &&
           yyjson_mut_obj_add_uint(doc, item, "generation", news->generation) &&
           peri_admin_add_text(doc, item, "file", news->file) &&
           yyjson_mut_obj_add_uint(doc, item, "line", news->line) &&
           peri_admin_add_text(doc, item, "message", news->message);
}

/// Ends the event that *out begins with, and frees the document.
static int finish(yyjson_mut_doc *doc, bool complete, size_t before, struct peri_buffer *out) {
    int status = peri_admin_finish(doc, complete, out); // with the end of its line
    if (status == PERI_OK) {
        status = peri_buffer_append(out, "\n", 1);
    }
    if (status != PERI_OK) {
        out->len = before;
    }
    return status;
}

int peri_notes_state(struct peri_hub *hub, struct peri_buffer *out) {
    const struct peri_policy *policy = peri_hub_policy(hub);
    size_t before = out->len;
    yyjson_mut_doc *doc = peri_admin_object();
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    yyjson_mut_val *list = doc ? yyjson_mut_obj_add_arr(doc, root, "scripts") : NULL;
    bool ok = list && peri_buffer_append_str(out, PERI_STR("event: state\ndata: ")) == PERI_OK;
    struct peri_script_status script;
    for (size_t cursor = 0; ok && policy->status(policy->self, &cursor, &script);) {
        const struct peri_news news = {
            .script = script.name,
            .generation = script.generation,
            .what = script.reload,
            .message = script.reload_why, // it names the place, if there is one
        };
        ok = add(doc, yyjson_mut_arr_add_obj(doc, list), &news);
    }
    return finish(doc, ok, before, out);
}

int peri_notes_news(const struct peri_news *news, struct peri_buffer *out) {
    size_t before = out->len;
    yyjson_mut_doc *doc = peri_admin_object();
    bool ok = doc && peri_buffer_append_str(out, PERI_STR("event: news\ndata: ")) == PERI_OK &&
              add(doc, yyjson_mut_doc_get_root(doc), news);
    return finish(doc, ok, before, out);
}
