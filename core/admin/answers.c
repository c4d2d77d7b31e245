// The host's answers. A document is made whole, then written: nobody ever gets half a line.
#include "admin/answers.h"

#include "admin/json.h"

static double seconds(uint64_t ns) {
    return (double)ns / 1e9;
}

static struct peri_str keep(struct peri_buffer *buffer, struct peri_str text) {
    const char *at = (const char *)buffer->ptr + buffer->len;
    PERI_IGNORE(peri_buffer_append_str(buffer, text)); // there is room
    return peri_str(at, text.len);
}

int peri_outcome_keep(struct peri_outcome *outcome, const struct peri_news *news) {
    struct peri_buffer text = {0};
    if (peri_buffer_reserve(&text, news->script.len + news->file.len + news->message.len + 1) !=
        PERI_OK) {
        return PERI_E_MEMORY;
    }
    outcome->news = *news;
    outcome->news.script = keep(&text, news->script);
    outcome->news.file = keep(&text, news->file);
    outcome->news.message = keep(&text, news->message);
    outcome->text = text;
    return PERI_OK;
}

int peri_answer_error(struct peri_buffer *out, struct peri_str error) {
    yyjson_mut_doc *doc = peri_admin_object();
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    bool ok = doc && yyjson_mut_obj_add_bool(doc, root, "ok", false) &&
              peri_admin_add_text(doc, root, "error", error);
    return peri_admin_finish(doc, ok, out);
}

int peri_answer_text(struct peri_buffer *out, struct peri_str text) {
    yyjson_mut_doc *doc = peri_admin_object();
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    bool ok = doc && yyjson_mut_obj_add_bool(doc, root, "ok", true) &&
              peri_admin_add_text(doc, root, "text", text);
    return peri_admin_finish(doc, ok, out);
}

static bool add_outcome(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct peri_news *news) {
    yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);
    return item && peri_admin_add_text(doc, item, "script", news->script) &&
           yyjson_mut_obj_add_str(doc, item, "what", peri_admin_outcomes[news->what]) &&
           yyjson_mut_obj_add_uint(doc, item, "generation", news->generation) &&
           peri_admin_add_text(doc, item, "file", news->file) &&
           yyjson_mut_obj_add_uint(doc, item, "line", news->line) &&
           peri_admin_add_text(doc, item, "message", news->message) &&
           yyjson_mut_obj_add_bool(doc, item, "probation", news->on_probation);
}

int peri_answer_reload(struct peri_buffer *out, const struct peri_outcome *outcomes, size_t count,
                       struct peri_str error) {
    yyjson_mut_doc *doc = peri_admin_object();
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    bool ok = doc && yyjson_mut_obj_add_bool(doc, root, "ok", error.len == 0) &&
              (error.len == 0 || peri_admin_add_text(doc, root, "error", error));
    yyjson_mut_val *list = ok ? yyjson_mut_obj_add_arr(doc, root, "reloads") : NULL;
    ok = list != NULL;
    for (size_t i = 0; i < count && ok; i++) {
        ok = add_outcome(doc, list, &outcomes[i].news);
    }
    return peri_admin_finish(doc, ok, out);
}

// Status -------------------------------------------------------------------------------------

/// What went wrong last, and how long ago; nothing where nothing did.
static bool add_error(yyjson_mut_doc *doc, yyjson_mut_val *item,
                      const struct peri_script_status *script) {
    if (script->last_error.len == 0) {
        return yyjson_mut_obj_add_null(doc, item, "last_error");
    }
    yyjson_mut_val *error = yyjson_mut_obj_add_obj(doc, item, "last_error");
    return error && peri_admin_add_text(doc, error, "message", script->last_error) &&
           yyjson_mut_obj_add_real(doc, error, "age", seconds(script->error_age_ns));
}

static bool add_reload(yyjson_mut_doc *doc, yyjson_mut_val *item,
                       const struct peri_script_status *script) {
    if (script->reload == PERI_RELOAD_NONE) {
        return yyjson_mut_obj_add_null(doc, item, "reload");
    }
    yyjson_mut_val *reload = yyjson_mut_obj_add_obj(doc, item, "reload");
    return reload &&
           yyjson_mut_obj_add_str(doc, reload, "what", peri_admin_outcomes[script->reload]) &&
           peri_admin_add_text(doc, reload, "why", script->reload_why) &&
           yyjson_mut_obj_add_real(doc, reload, "age", seconds(script->reload_age_ns));
}

static bool add_script(yyjson_mut_doc *doc, yyjson_mut_val *list,
                       const struct peri_script_status *script, bool is_measured) {
    yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);
    return item && peri_admin_add_text(doc, item, "name", script->name) &&
           peri_admin_add_text(doc, item, "file", script->file) &&
           yyjson_mut_obj_add_uint(doc, item, "generation", script->generation) &&
           yyjson_mut_obj_add_int(doc, item, "version", script->version) &&
           yyjson_mut_obj_add_bool(doc, item, "loading", script->is_loading) &&
           yyjson_mut_obj_add_bool(doc, item, "moving", script->is_moving) &&
           yyjson_mut_obj_add_bool(doc, item, "probation", script->is_on_probation) &&
           yyjson_mut_obj_add_uint(doc, item, "connections", script->connections) &&
           yyjson_mut_obj_add_uint(doc, item, "rooms", script->rooms) &&
           yyjson_mut_obj_add_uint(doc, item, "timers", script->timers) &&
           yyjson_mut_obj_add_uint(doc, item, "waiting", script->waiting) &&
           yyjson_mut_obj_add_uint(doc, item, "memory", script->memory) &&
           yyjson_mut_obj_add_uint(doc, item, "memory_max", script->memory_max) &&
           yyjson_mut_obj_add_uint(doc, item, "messages", script->messages) &&
           yyjson_mut_obj_add_uint(doc, item, "errors", script->errors) &&
           add_error(doc, item, script) && add_reload(doc, item, script) &&
           (!is_measured || (yyjson_mut_obj_add_real(doc, item, "p50", seconds(script->p50_ns)) &&
                             yyjson_mut_obj_add_real(doc, item, "p99", seconds(script->p99_ns))));
}

static bool add_addresses(yyjson_mut_doc *doc, yyjson_mut_val *root, struct peri_str lines) {
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "listening");
    bool ok = list != NULL;
    while (lines.len > 0 && ok) {
        const char *end = memchr(lines.ptr, '\n', lines.len);
        size_t n = end ? (size_t)(end - lines.ptr) : lines.len; // within the lines
        ok = yyjson_mut_arr_add_strncpy(doc, list, lines.ptr, n);
        lines = end ? peri_str(end + 1, lines.len - n - 1) : peri_str("", 0);
    }
    return ok;
}

int peri_answer_status(struct peri_buffer *out, struct peri_hub *hub,
                       const struct peri_admin_about *about, uint64_t up_ns, bool is_measured) {
    const struct peri_policy *policy = peri_hub_policy(hub);
    yyjson_mut_doc *doc = peri_admin_object();
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    bool ok = doc && yyjson_mut_obj_add_bool(doc, root, "ok", true) &&
              peri_admin_add_text(doc, root, "perigee", about->version) &&
              yyjson_mut_obj_add_sint(doc, root, "process", about->process) &&
              peri_admin_add_text(doc, root, "dir", about->dir) &&
              add_addresses(doc, root, about->addresses) &&
              yyjson_mut_obj_add_real(doc, root, "up", seconds(up_ns)) &&
              yyjson_mut_obj_add_uint(doc, root, "connections", peri_hub_count(hub));
    yyjson_mut_val *list = ok ? yyjson_mut_obj_add_arr(doc, root, "scripts") : NULL;
    ok = list != NULL;
    struct peri_script_status script;
    for (size_t cursor = 0; ok && policy->status(policy->self, &cursor, &script);) {
        ok = add_script(doc, list, &script, is_measured);
    }
    return peri_admin_finish(doc, ok, out);
}
