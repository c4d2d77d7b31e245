// The asking side: what the host wrote is read with care, it may be another version.
#include "admin/ask.h"

#include "admin/json.h"
#include "base/alloc.h"

static int ask(struct peri_buffer *out, const char *what, const struct peri_str *script,
               const struct peri_str *code, const char *flag, bool is_set) {
    yyjson_mut_doc *doc = peri_admin_object();
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    bool ok = doc && yyjson_mut_obj_add_str(doc, root, "do", what) &&
              (!script || peri_admin_add_text(doc, root, "script", *script)) &&
              (!code || peri_admin_add_text(doc, root, "code", *code)) &&
              (!flag || yyjson_mut_obj_add_bool(doc, root, flag, is_set));
    return peri_admin_finish(doc, ok, out);
}

int peri_ask_status(struct peri_buffer *out, bool measure) {
    return ask(out, "status", NULL, NULL, "measure", measure);
}

int peri_ask_reload(struct peri_buffer *out, struct peri_str script, bool wait) {
    return ask(out, "reload", script.len > 0 ? &script : NULL, NULL, "wait", wait);
}

int peri_ask_eval(struct peri_buffer *out, struct peri_str script, struct peri_str code) {
    return ask(out, "eval", &script, &code, NULL, false);
}

struct peri_reading {
    yyjson_doc *doc;
};

static yyjson_val *field(const struct peri_reading *reading, const char *name) {
    return yyjson_obj_get(yyjson_doc_get_root(reading->doc), name);
}

int peri_reading_new(struct peri_str line, struct peri_reading **reading) {
    struct peri_reading *made = peri_calloc(1, sizeof *made);
    if (!made) {
        return PERI_E_MEMORY;
    }
    made->doc = peri_admin_parse(line);
    if (!made->doc || !yyjson_is_bool(field(made, "ok"))) {
        peri_reading_free(made);
        return PERI_E_INVALID;
    }
    *reading = made;
    return PERI_OK;
}

void peri_reading_free(struct peri_reading *reading) {
    if (reading) {
        yyjson_doc_free(reading->doc);
        peri_free(reading);
    }
}

bool peri_reading_is_ok(const struct peri_reading *reading, struct peri_str *error) {
    *error = peri_admin_text_of(field(reading, "error"));
    return yyjson_get_bool(field(reading, "ok"));
}

struct peri_str peri_reading_text(const struct peri_reading *reading) {
    return peri_admin_text_of(field(reading, "text"));
}

/// Seconds as nanoseconds; what no clock says is 0.
static uint64_t ns_of(yyjson_val *value) {
    double seconds = yyjson_get_num(value);
    return seconds > 0 && seconds < 1e10 ? (uint64_t)(seconds * 1e9 + 0.5) : 0;
}

static uint64_t count_of(yyjson_val *item, const char *name) {
    yyjson_val *value = yyjson_obj_get(item, name);
    return yyjson_is_uint(value) ? yyjson_get_uint(value) : 0;
}

static bool flag_of(yyjson_val *item, const char *name) {
    return yyjson_get_bool(yyjson_obj_get(item, name));
}

static struct peri_str text_at(yyjson_val *item, const char *name) {
    return peri_admin_text_of(yyjson_obj_get(item, name));
}

static uint32_t small_of(yyjson_val *item, const char *name) {
    uint64_t count = count_of(item, name);
    return count <= UINT32_MAX ? (uint32_t)count : 0;
}

static enum peri_reload outcome_of(yyjson_val *value) {
    for (int i = 0; i <= PERI_RELOAD_GONE; i++) {
        if (yyjson_equals_str(value, peri_admin_outcomes[i])) {
            return (enum peri_reload)i;
        }
    }
    return PERI_RELOAD_NONE;
}

void peri_reading_host(const struct peri_reading *reading, struct peri_host_status *host) {
    yyjson_val *root = yyjson_doc_get_root(reading->doc);
    *host = (struct peri_host_status){
        .version = text_at(root, "perigee"),
        .dir = text_at(root, "dir"),
        .process = yyjson_get_sint(yyjson_obj_get(root, "process")),
        .up_ns = ns_of(yyjson_obj_get(root, "up")),
        .connections = count_of(root, "connections"),
    };
}

bool peri_reading_address(const struct peri_reading *reading, size_t i, struct peri_str *address) {
    yyjson_val *item = yyjson_arr_get(field(reading, "listening"), i);
    *address = peri_admin_text_of(item);
    return item != NULL;
}

bool peri_reading_script(const struct peri_reading *reading, size_t i,
                         struct peri_script_status *script) {
    yyjson_val *item = yyjson_arr_get(field(reading, "scripts"), i);
    yyjson_val *error = yyjson_obj_get(item, "last_error"),
               *reload = yyjson_obj_get(item, "reload");
    *script = (struct peri_script_status){
        .name = text_at(item, "name"),
        .file = text_at(item, "file"),
        .generation = small_of(item, "generation"),
        .version = yyjson_get_sint(yyjson_obj_get(item, "version")),
        .is_loading = flag_of(item, "loading"),
        .is_moving = flag_of(item, "moving"),
        .is_on_probation = flag_of(item, "probation"),
        .connections = count_of(item, "connections"),
        .rooms = count_of(item, "rooms"),
        .timers = count_of(item, "timers"),
        .waiting = count_of(item, "waiting"),
        .memory = count_of(item, "memory"),
        .memory_max = count_of(item, "memory_max"),
        .messages = count_of(item, "messages"),
        .errors = count_of(item, "errors"),
        .last_error = text_at(error, "message"),
        .error_age_ns = ns_of(yyjson_obj_get(error, "age")),
        .reload = outcome_of(yyjson_obj_get(reload, "what")),
        .reload_why = text_at(reload, "why"),
        .reload_age_ns = ns_of(yyjson_obj_get(reload, "age")),
        .p50_ns = ns_of(yyjson_obj_get(item, "p50")),
        .p99_ns = ns_of(yyjson_obj_get(item, "p99")),
    };
    return item != NULL;
}

bool peri_reading_reload(const struct peri_reading *reading, size_t i, struct peri_news *news) {
    yyjson_val *item = yyjson_arr_get(field(reading, "reloads"), i);
    *news = (struct peri_news){
        .script = text_at(item, "script"),
        .file = text_at(item, "file"),
        .line = small_of(item, "line"),
        .generation = small_of(item, "generation"),
        .what = outcome_of(yyjson_obj_get(item, "what")),
        .on_probation = flag_of(item, "probation"),
        .message = text_at(item, "message"),
    };
    return item != NULL;
}

// Between two answers ---------------------------------------------------------------------------

static double a_second(uint64_t before, uint64_t after, uint64_t ns) {
    // Counters that went back are those of another host in its place.
    return ns > 0 && after > before ? (double)(after - before) * 1e9 / (double)ns : 0;
}

struct peri_rates peri_reading_rates(const struct peri_reading *before,
                                     const struct peri_reading *after, size_t i) {
    struct peri_host_status then, now;
    struct peri_script_status script, old;
    peri_reading_host(before, &then);
    peri_reading_host(after, &now);
    if (!peri_reading_script(after, i, &script) || now.up_ns <= then.up_ns) {
        return (struct peri_rates){0};
    }
    for (size_t j = 0; peri_reading_script(before, j, &old); j++) {
        if (peri_str_equal(old.name, script.name)) {
            uint64_t ns = now.up_ns - then.up_ns;
            return (struct peri_rates){a_second(old.messages, script.messages, ns),
                                       a_second(old.errors, script.errors, ns)};
        }
    }
    return (struct peri_rates){0};
}

int peri_reading_print(const struct peri_reading *before, const struct peri_reading *after,
                       struct peri_buffer *out) {
    yyjson_mut_doc *doc = yyjson_doc_mut_copy(after->doc, &peri_admin_heap);
    yyjson_mut_val *scripts = yyjson_mut_obj_get(yyjson_mut_doc_get_root(doc), "scripts");
    yyjson_mut_val *item;
    size_t at, count;
    bool ok = doc != NULL;
    yyjson_mut_arr_foreach(scripts, at, count, item) {
        struct peri_rates rates = peri_reading_rates(before, after, at);
        ok = ok && (!yyjson_mut_is_obj(item) ||
                    (yyjson_mut_obj_add_real(doc, item, "messages_s", rates.messages) &&
                     yyjson_mut_obj_add_real(doc, item, "errors_s", rates.errors)));
    }
    return peri_admin_finish(doc, ok, out);
}
