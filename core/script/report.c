#include "script/report.h"

#include <lauxlib.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/log.h"
#include "script/hints.h"
#include "script/host_private.h"
#include "script/ids.h"

static int to_string(lua_State *L) {
    luaL_tolstring(L, 1, NULL);
    return 1;
}

int peri_report_traceback(lua_State *L) {
    if (lua_type(L, -1) != LUA_TSTRING) {
        const char *kind = luaL_typename(L, -1);
        lua_pushcfunction(L, to_string);
        lua_insert(L, -2);
        if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
            lua_pop(L, 1);
            lua_pushfstring(L, "(the error is a %s, whose __tostring raised)", kind);
        }
    }
    luaL_traceback(L, L, NULL, 1);
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3); // not by luaL_traceback: the text may hold a NUL
    return 1;
}

enum { FIELDS_MAX = 11 };

/// What Lua and peri_raise_memory say.
static const char MEMORY[] = "not enough memory";

/// Cuts "message\nstack traceback:\n..." in two.
static void split_traceback(struct peri_str *text, struct peri_str *traceback) {
    static const char mark[] = "\nstack traceback:";
    const char *at = text->len ? memmem(text->ptr, text->len, mark, sizeof mark - 1) : NULL;
    *traceback = (struct peri_str){0};
    if (at) {
        size_t len = (size_t)(at - text->ptr);
        *traceback = peri_str(at + 1, text->len - len - 1);
        text->len = len;
    }
}

/// Where in the script an error is from: as its message says, else the innermost call that is in a
/// file of the script's.
static const struct peri_source *place_of(const struct peri_vm *vm, struct peri_str text,
                                          struct peri_str traceback, uint32_t *line) {
    const struct peri_source *source = peri_sources_find(&vm->sources, text, line);
    while (!source && traceback.len > 0) {
        const char *tab = memchr(traceback.ptr, '\t', traceback.len);
        size_t skipped = tab ? (size_t)(tab - traceback.ptr) + 1 : traceback.len;
        traceback = peri_str(traceback.ptr + skipped, traceback.len - skipped);
        source = peri_sources_find(&vm->sources, traceback, line);
    }
    return source;
}

/// The place at the start of a text, "scripts/chat.lua:12:". Empty: it names none.
static struct peri_str prefix_of(const struct peri_vm *vm, struct peri_str text) {
    uint32_t line;
    const struct peri_source *source = peri_sources_find(&vm->sources, text, &line);
    size_t len = 0;
    // The path, which may be a short form, and the number: up to the second colon.
    for (int colons = 0; source && len < text.len && colons < 2; len++) {
        colons += text.ptr[len] == ':';
    }
    return peri_str(text.ptr, len);
}

/// What helps whoever has to mend it, in memory of the caller's.
struct help {
    char hint[PERI_HINT_MAX], excerpt[PERI_EXCERPT_MAX];
};

static size_t add_help(const struct peri_vm *vm, struct peri_str text, struct peri_str traceback,
                       struct help *help, struct peri_log_field *fields, size_t n) {
    uint32_t number = 0;
    struct peri_str line = {0};
    const struct peri_source *source = place_of(vm, text, traceback, &number);
    if (source && peri_hint_wants_line(text)) {
        (void)peri_source_line(source, number, &line); // there may be no such line
    }
    size_t len = peri_hint_write(vm, text, line, help->hint);
    if (len > 0) {
        fields[n++] = (struct peri_log_field){"hint", peri_str(help->hint, len)};
    }
    if (source && peri_log_is_short()) {
        len = peri_source_excerpt(source, number, help->excerpt);
        if (len > 0) {
            fields[n++] = (struct peri_log_field){peri_log_excerpt, peri_str(help->excerpt, len)};
        }
    }
    return n;
}

typedef void log_function(enum peri_log_level level, struct peri_str message,
                          const struct peri_log_field *fields);

/// @param more one field more; NULL for none
static void log_by(log_function *log, const struct peri_vm *vm, const struct peri_task *task,
                   int level, struct peri_str text, const struct peri_log_field *more) {
    char generation[16];
    char id[PERI_ID_BYTES];
    struct peri_log_field fields[FIELDS_MAX];
    size_t n = 0;
    fields[n++] = (struct peri_log_field){"script", peri_str_of(vm->name)};
    int len = snprintf(generation, sizeof generation, "%u", vm->generation);
    fields[n++] = (struct peri_log_field){"generation", peri_str(generation, (size_t)len)};
    if (task) {
        fields[n++] = (struct peri_log_field){"handler", peri_str_of(task->entry->name)};
        if (task->key) {
            peri_id_write(peri_host_ids(vm->host), task->key, id);
            fields[n++] = (struct peri_log_field){"conn", peri_str(id, PERI_ID_BYTES)};
        }
    }
    if (vm->hit_cap && text.len > 0 && memmem(text.ptr, text.len, MEMORY, sizeof MEMORY - 1)) {
        fields[n++] = (struct peri_log_field){"limit", PERI_STR("script_memory")};
    }
    if (more) {
        fields[n++] = *more;
    }
    struct peri_str traceback;
    split_traceback(&text, &traceback);
    struct peri_str prefix = task && level == PERI_LOG_ERROR ? prefix_of(vm, text) : PERI_STR("");
    if (prefix.len > 0) {
        fields[n++] = (struct peri_log_field){peri_log_place, prefix};
    }
    struct help help;
    if (level >= PERI_LOG_WARN) {
        n = add_help(vm, text, traceback, &help, fields, n);
    }
    if (traceback.len) {
        fields[n++] = (struct peri_log_field){"traceback", traceback};
    }
    fields[n] = (struct peri_log_field){0};
    log((enum peri_log_level)level, text, fields);
}

static void log_about(const struct peri_vm *vm, const struct peri_task *task, int level,
                      struct peri_str text) {
    log_by(peri_log_fields, vm, task, level, text, NULL);
}

void peri_report_error(lua_State *L, const struct peri_task *task) {
    struct peri_str text = PERI_STR("(the error has no text)");
    if (lua_type(L, -1) == LUA_TSTRING) {
        text.ptr = lua_tolstring(L, -1, &text.len);
    }
    peri_report(task, text);
}

/// For who asks later. What an operator's own code does is not the script's.
static void keep_error(const struct peri_task *task, struct peri_str text) {
    struct peri_vm *vm = task->vm;
    if (!task->entry->is_eval) {
        struct peri_str message = text, traceback;
        split_traceback(&message, &traceback);
        (void)snprintf(vm->last_error, sizeof vm->last_error, "%.*s", (int)message.len,
                       message.ptr);
        peri_record_error(vm, text);
    }
}

void peri_report(const struct peri_task *task, struct peri_str text) {
    keep_error(task, text);
    log_about(task->vm, task, PERI_LOG_ERROR, text);
}

void peri_report_task(const struct peri_task *task, int level, struct peri_str text) {
    log_about(task->vm, task, level, text);
}

/// How long stands in a field: the same handler, late again, is a repeat.
static void log_verdict(const struct peri_task *task, int level, struct peri_str text) {
    char seconds[24];
    int len = snprintf(seconds, sizeof seconds, "%.3f", peri_watch_took());
    const struct peri_log_field cpu = {"cpu_s", peri_str(seconds, (size_t)len)};
    log_by(peri_log_fields, task->vm, task, level, text, &cpu);
}

void peri_report_stopped(const struct peri_task *task) {
    struct peri_buffer text = {0};
    struct peri_str where = peri_buffer_str(&peri_watch.where_);
    struct peri_str traceback = peri_buffer_str(&peri_watch.traceback_);
    int rc = peri_buffer_printf(
        &text, "%.*sstopped: over handler_stop_s, %g s of CPU%s%.*s", (int)where.len,
        where.ptr ? where.ptr : "", (double)task->vm->limits.handler_stop_ms / 1000,
        traceback.len > 0 ? "\n" : "", (int)traceback.len, traceback.ptr ? traceback.ptr : "");
    struct peri_str said =
        rc == PERI_OK ? peri_buffer_str(&text) : PERI_STR("stopped: over handler_stop_s");
    keep_error(task, said);
    log_verdict(task, PERI_LOG_ERROR, said);
    peri_buffer_deinit(&text);
}

void peri_report_late(const struct peri_task *task) {
    log_verdict(task, PERI_LOG_WARN, PERI_STR("it took long, over handler_warn_s: others waited"));
}

int peri_report_refusal(lua_State *L, const struct peri_vm *vm) {
    struct peri_str text;
    text.ptr = lua_tolstring(L, -1, &text.len);
    log_about(vm, vm->task, PERI_LOG_WARN, text);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

void peri_report_vm(const struct peri_vm *vm, int level, struct peri_str text) {
    log_about(vm, NULL, level, text);
}

/// The numbers stand in fields: a host that is late is late for many timers, and their lines are
/// repeats.
void peri_report_skipped(const struct peri_vm *vm, long long timer, unsigned long long beats) {
    char generation[16], id[24], count[24];
    (void)snprintf(generation, sizeof generation, "%u", vm->generation);
    (void)snprintf(id, sizeof id, "%lld", timer);
    (void)snprintf(count, sizeof count, "%llu", beats);
    const struct peri_log_field fields[] = {
        {"script", peri_str_of(vm->name)},
        {"generation", peri_str_of(generation)},
        {"timer", peri_str_of(id)},
        {"beats", peri_str_of(count)},
        {0},
    };
    peri_log_fields(PERI_LOG_WARN, PERI_STR("a timer skipped beats: it was busy, or the host late"),
                    fields);
}

void peri_report_print(const struct peri_vm *vm, struct peri_str text) {
    log_by(peri_log_say, vm, NULL, PERI_LOG_INFO, text, NULL);
}
