// The check of a folder: which files there are, compiling them, what they are to each other (routes,
// names), and the list of findings.
#include "script/check.h"

#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "script/api.h"
#include "script/check_private.h"
#include "script/sandbox.h"
#include "script/trusted.h"

enum { FOLDERS_DEEP = 32, CONFIG_NAMES = 64 };

// Findings ---------------------------------------------------------------------------------------

static bool is_end(char c) {
    return c == '\n' || c == '\r';
}

/// The place of a byte: lines end as Lua counts them.
static void locate(struct peri_str text, size_t at, struct peri_finding *finding) {
    size_t begin = 0, end;
    uint32_t line = 1;
    for (size_t i = 0; i < at && i < text.len; i++) {
        if (is_end(text.ptr[i])) {
            if (i + 1 < text.len && is_end(text.ptr[i + 1]) && text.ptr[i + 1] != text.ptr[i]) {
                i++;
            }
            line++;
            begin = i + 1;
        }
    }
    begin = begin > text.len ? text.len : begin;
    end = begin;
    while (end < text.len && !is_end(text.ptr[end])) {
        end++;
    }
    finding->line = line;
    finding->column = (uint32_t)(at > begin ? at - begin : 0) + 1; // under 2 GiB
    finding->source = peri_str(text.len ? text.ptr + begin : "", end - begin);
}

static bool is_ignored(const struct peri_finding *finding) {
    static const char mark[] = "-- check: ignore";
    return finding->source.len > 0 &&
           memmem(finding->source.ptr, finding->source.len, mark, sizeof mark - 1);
}

static void keep_finding(struct peri_check_run *run, struct peri_finding *finding) {
    struct peri_finding *findings =
        peri_realloc(run->findings, (run->finding_count + 1) * sizeof *findings);
    if (!findings) {
        peri_free((void *)(uintptr_t)finding->message); // ours: made in peri_check_add
        run->status = PERI_E_MEMORY;
        return;
    }
    run->findings = findings;
    findings[run->finding_count++] = *finding;
}

void peri_check_add(struct peri_check_run *run, const struct peri_check_file *file, size_t at,
                    enum peri_severity severity, const char *rule, const char *format, ...) {
    struct peri_finding finding = {.file = file->path, .severity = severity, .rule = rule};
    char text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    locate(peri_buffer_str(&file->source), at, &finding);
    if (n < 0 || is_ignored(&finding)) {
        return;
    }
    finding.message = peri_text_copy(peri_str_of(text));
    if (!finding.message) {
        run->status = PERI_E_MEMORY;
        return;
    }
    keep_finding(run, &finding);
}

/// The first failure stands.
static void note_status(struct peri_check_run *run, int status) {
    run->status = run->status == PERI_OK ? status : run->status;
}

static int by_place(const void *a, const void *b) {
    const struct peri_finding *one = a, *other = b;
    int files = strcmp(one->file, other->file);
    if (files != 0 || one->line != other->line) {
        return files != 0 ? files : one->line < other->line ? -1 : 1;
    }
    if (one->column != other->column) {
        return one->column < other->column ? -1 : 1;
    }
    return strcmp(one->message, other->message);
}

static void sort_findings(struct peri_check_run *run) {
    size_t kept = 0;
    if (run->finding_count == 0) {
        return;
    }
    qsort(run->findings, run->finding_count, sizeof *run->findings, by_place);
    for (size_t i = 1; i < run->finding_count; i++) {
        if (by_place(&run->findings[kept], &run->findings[i]) == 0) {
            peri_free((void *)(uintptr_t)run->findings[i].message); // said already
        } else {
            run->findings[++kept] = run->findings[i];
        }
    }
    run->finding_count = kept + 1;
}

// Files ------------------------------------------------------------------------------------------

static struct peri_script *script_of(const struct peri_host *host, const char *path) {
    for (size_t i = 0; i < host->script_count; i++) {
        if (strcmp(host->scripts[i]->path, path) == 0) {
            return host->scripts[i];
        }
    }
    return NULL;
}

static int add_file(struct peri_check_run *run, const char *path) {
    struct peri_check_file *files = peri_realloc(run->files, (run->file_count + 1) * sizeof *files);
    if (!files) {
        return PERI_E_MEMORY;
    }
    run->files = files;
    struct peri_check_file *file = &files[run->file_count];
    *file = (struct peri_check_file){.path = peri_text_copy(peri_str_of(path))};
    if (!file->path) {
        return PERI_E_MEMORY;
    }
    file->script = script_of(run->host, path);
    run->file_count++;
    return PERI_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t len = strlen(text), end_len = strlen(end);
    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

static int walk_folder(struct peri_check_run *run, const char *path, int depth);

/// Scripts, and whatever may be required: not types for an editor, nor what clients are given.
static int take_entry(struct peri_check_run *run, const char *folder, const char *name, int depth) {
    struct peri_buffer path = {0};
    struct stat info;
    if (name[0] == '.' || peri_buffer_printf(&path, "%s/%s%c", folder, name, 0) != PERI_OK) {
        return name[0] == '.' ? PERI_OK : PERI_E_MEMORY;
    }
    int status = PERI_OK;
    const char *whole = (const char *)path.ptr;
    if (stat(whole, &info) == 0) {
        bool is_config = depth == 0 && strcmp(name, "perigee.lua") == 0;
        if (S_ISDIR(info.st_mode) && depth < FOLDERS_DEEP && strcmp(name, "meta") != 0 &&
            strcmp(name, "public") != 0) {
            status = walk_folder(run, whole, depth + 1);
        } else if (S_ISREG(info.st_mode) && ends_with(name, ".lua") &&
                   !ends_with(name, "_test.lua") && !is_config) {
            status = add_file(run, whole);
        }
    }
    peri_buffer_deinit(&path);
    return status;
}

static int walk_folder(struct peri_check_run *run, const char *path, int depth) {
    DIR *dir = opendir(path);
    if (!dir) {
        PERI_IGNORE(peri_buffer_printf(run->error, "%s: %s", path, strerror(errno)));
        return PERI_E_SYSTEM;
    }
    int status = PERI_OK;
    for (struct dirent *entry; status == PERI_OK && (entry = readdir(dir));) {
        status = take_entry(run, path, entry->d_name, depth);
    }
    closedir(dir);
    return status;
}

static int by_path(const void *a, const void *b) {
    const struct peri_check_file *one = a, *other = b;
    return strcmp(one->path, other->path);
}

// Compiling --------------------------------------------------------------------------------------

/// Where line number `line` begins, and in it the token that Lua's message is about.
static size_t syntax_place(struct peri_str text, uint32_t line, const char *message) {
    size_t at = 0;
    for (uint32_t n = 1; n < line && at < text.len; at++) {
        if (is_end(text.ptr[at])) {
            at += at + 1 < text.len && is_end(text.ptr[at + 1]) && text.ptr[at + 1] != text.ptr[at];
            n++;
        }
    }
    const char *near = strstr(message, " near '");
    const char *end = near ? strrchr(near + 7, '\'') : NULL;
    size_t stop = at;
    while (stop < text.len && !is_end(text.ptr[stop])) {
        stop++;
    }
    if (near && end && end > near + 7 && stop > at) {
        size_t len = (size_t)(end - near - 7);
        for (size_t i = stop; len <= stop - at && i-- > at;) {
            if (i + len <= stop && memcmp(text.ptr + i, near + 7, len) == 0) {
                return i; // the last one: what stands before it was read
            }
        }
    }
    bool at_end = strstr(message, "near <eof>") != NULL;
    while (at < stop && strchr(" \t", text.ptr[at])) {
        at++;
    }
    return at_end && stop > at ? stop : at;
}

static void add_syntax_error(lua_State *L, struct peri_check_run *run,
                             const struct peri_check_file *file) {
    // "[name]:12: unexpected symbol near 'x'", the name as we gave it
    const char *text = luaL_tolstring(L, -1, NULL);
    const char *colon = strchr(text, ':');
    char *end = NULL;
    unsigned long line = colon ? strtoul(colon + 1, &end, 10) : 0;
    const char *message = end && strncmp(end, ": ", 2) == 0 ? end + 2 : text;
    peri_check_add(run, file, syntax_place(peri_buffer_str(&file->source), (uint32_t)line, message),
                   PERI_SEVERITY_ERROR, "syntax", "%s", message);
    lua_pop(L, 1);
}

static int compile(lua_State *L, struct peri_check_run *run, struct peri_check_file *file) {
    struct peri_node *chunk = NULL;
    errno = 0;
    int status = peri_folder_read(file->path, &file->source);
    if (status != PERI_OK) {
        peri_check_add(run, file, 0, PERI_SEVERITY_ERROR, "unreadable", "%s",
                       peri_folder_why(status));
        return status == PERI_E_MEMORY ? status : PERI_OK;
    }
    int loaded = peri_sandbox_load(L, peri_buffer_str(&file->source), "=file");
    if (loaded == LUA_ERRMEM) {
        return PERI_E_MEMORY;
    }
    if (loaded != LUA_OK) {
        add_syntax_error(L, run, file);
        lua_pop(L, 1);
        return PERI_OK;
    }
    lua_pop(L, 1);
    status = peri_syntax_parse(peri_buffer_str(&file->source), &file->arena, &chunk);
    if (status == PERI_E_MEMORY) {
        return status;
    }
    file->chunk = chunk; // NULL where Lua understands more than we do: then it compiles, no more
    return chunk ? peri_check_collect(file) : PERI_OK;
}

// Routes -----------------------------------------------------------------------------------------

/// @return where the route is given, at the file's beginning if by its name; false: not seen
static bool route_place(const struct peri_check_file *file, size_t *at) {
    bool several;
    if (!file->chunk || !file->table || !peri_check_is_closed(file->table)) {
        return false;
    }
    const struct peri_check_member *route = peri_check_member(file, file->table, "route", &several);
    *at = route ? route->at : 0;
    return !several;
}

/// Whether the route field is a constant; `check_value` has read it into the script then.
static bool has_seen_route(lua_State *L, const struct peri_check_file *file) {
    bool several;
    const struct peri_check_member *route = peri_check_member(file, file->table, "route", &several);
    bool seen = !route || (route->value && peri_check_push_constant(L, route->value));
    if (route && seen) {
        lua_pop(L, 1);
    }
    return seen;
}

static void check_routes(lua_State *L, struct peri_check_run *run, struct peri_router *router) {
    for (size_t i = 0; i < run->file_count; i++) {
        const struct peri_check_file *file = &run->files[i];
        struct peri_buffer error = {0};
        size_t at;
        if (!file->script || !route_place(file, &at) || !has_seen_route(L, file)) {
            continue;
        }
        int status = peri_host_add_routes(run->host, file->script, router, &error);
        if (status == PERI_E_MEMORY) {
            note_status(run, status);
        } else if (status != PERI_OK) {
            peri_check_add(run, file, at, PERI_SEVERITY_ERROR, "route", "%.*s", (int)error.len,
                           error.ptr ? (const char *)error.ptr : "");
        }
        peri_buffer_deinit(&error);
    }
}

// perigee.lua ------------------------------------------------------------------------------------

/// Gives the name, and the value on top of the stack, to what takes settings when a host starts.
/// [-1, +0]
static void try_setting(lua_State *L, struct peri_check_run *run,
                        const struct peri_check_file *file, struct peri_str name, size_t at,
                        bool is_limit) {
    static const char where[] = "perigee.lua";
    struct peri_buffer error = {0};
    struct peri_str item;
    int fits = 0;
    lua_Integer whole = lua_tointegerx(L, -1, &fits);
    if (lua_type(L, -1) == LUA_TNUMBER && fits) {
        lua_pushinteger(L, whole); // 1.0 is written 1
        lua_replace(L, -2);
    }
    item.ptr = luaL_tolstring(L, -1, &item.len);
    struct peri_config_value value = {
        .is_limit = is_limit,
        .is_list = lua_istable(L, -2),
        .name = {peri_push_str(L, name), name.len},
        .items = &item,
        .count = 1,
        .where = PERI_STR(where),
    };
    bool has_nul = strlen(value.name.ptr) != name.len || strlen(item.ptr) != item.len;
    int status = has_nul ? PERI_OK : run->set(run->set_arg, &value, &error);
    struct peri_str why = peri_buffer_str(&error);
    if (why.len > sizeof where && memcmp(why.ptr, where, sizeof where - 1) == 0) {
        why = peri_str(why.ptr + sizeof where + 1, why.len - sizeof where - 1); // and ": "
    }
    if (status == PERI_E_MEMORY) {
        note_status(run, status);
    } else if (status != PERI_OK) {
        peri_check_add(run, file, at, PERI_SEVERITY_ERROR, "config", "%.*s", (int)why.len, why.ptr);
    }
    peri_buffer_deinit(&error);
    lua_pop(L, 3);
}

static void check_limits(lua_State *L, struct peri_check_run *run,
                         const struct peri_check_file *file, const struct peri_node *table) {
    for (const struct peri_check_member *at = file->members; at; at = at->next) {
        if (at->table == table && at->value && peri_check_push_constant(L, at->value)) {
            try_setting(L, run, file, at->name, at->at, true);
        }
    }
}

static void check_sections(struct peri_check_run *run, const struct peri_check_file *file,
                           const struct peri_node *table) {
    for (const struct peri_node *item = table->b; item; item = item->next) {
        const struct peri_str name = item->a ? item->a->text : peri_str("", 0);
        bool found = !item->a || item->a->kind != PERI_NODE_STRING;
        for (size_t i = 0; !found && i < run->host->script_count; i++) {
            found = peri_str_equal(peri_str_of(run->host->scripts[i]->name), name);
        }
        if (!found) {
            peri_check_add(run, file, item->a->at, PERI_SEVERITY_WARNING, "config",
                           "there is no script '%.*s' to configure",
                           (int)(name.len < CONFIG_NAMES ? name.len : CONFIG_NAMES), name.ptr);
        }
    }
}

static void check_config_key(lua_State *L, struct peri_check_run *run,
                             const struct peri_check_file *file,
                             const struct peri_check_member *member) {
    const struct peri_node *table = member->value ? peri_check_table(file, member->value) : NULL;
    if (peri_str_equal(member->name, PERI_STR("limits"))) {
        if (table) {
            check_limits(L, run, file, table);
        }
    } else if (peri_str_equal(member->name, PERI_STR("scripts"))) {
        if (table) {
            check_sections(run, file, table);
        }
    } else {
        lua_pushliteral(L, ""); // whatever its value is, no other key may stand there
        try_setting(L, run, file, member->name, member->at, false);
    }
}

static int check_config(lua_State *L, struct peri_check_run *run, struct peri_check_file *file) {
    int status = compile(L, run, file);
    if (status != PERI_OK || !file->table) {
        return status;
    }
    for (const struct peri_check_member *at = file->members; at; at = at->next) {
        if (at->table == file->table) {
            check_config_key(L, run, file, at);
        }
    }
    return PERI_OK;
}

/// DIR/perigee.lua becomes the last of the files.
static int add_config(struct peri_check_run *run, bool *is_there) {
    struct peri_buffer path = {0};
    struct stat info;
    if (peri_buffer_printf(&path, "%s/perigee.lua%c", run->host->dir, 0) != PERI_OK) {
        return PERI_E_MEMORY;
    }
    *is_there = stat((const char *)path.ptr, &info) == 0;
    int status = *is_there ? add_file(run, (const char *)path.ptr) : PERI_OK;
    peri_buffer_deinit(&path);
    return status;
}

// All of it --------------------------------------------------------------------------------------

static void check_files(lua_State *L, struct peri_check_run *run, size_t count) {
    for (size_t i = 0; i < count && run->status == PERI_OK; i++) {
        note_status(run, compile(L, run, &run->files[i]));
    }
    for (size_t i = 0; i < count && run->status == PERI_OK; i++) {
        if (run->files[i].chunk) {
            run->vm->file = run->files[i].path;
            peri_check_tree(L, run, &run->files[i]);
        }
    }
}

struct step {
    struct peri_check_run *run;
    struct peri_router *router;
    bool has_config;
};

static int check_all(lua_State *L) {
    const struct step *step = lua_touserdata(L, 1);
    struct peri_check_run *run = step->run;
    luaL_checkstack(L, 64, NULL);
    peri_sandbox_open(L);
    if (run->host->trusted) {
        peri_trusted_open(L);
    }
    peri_api_open(L);
    peri_check_names_open(L, run);
    check_files(L, run, run->file_count - (step->has_config ? 1 : 0));
    if (run->status == PERI_OK) {
        check_routes(L, run, step->router);
    }
    if (run->status == PERI_OK && step->has_config) {
        note_status(run, check_config(L, run, &run->files[run->file_count - 1]));
    }
    return 0;
}

static int run_check(struct peri_check_run *run) {
    struct step step = {.run = run, .router = peri_router_new()};
    int status = step.router ? peri_folder_scan(run->host, run->error) : PERI_E_MEMORY;
    if (status == PERI_OK) {
        status = walk_folder(run, run->host->dir, 0);
    }
    if (status == PERI_OK && run->file_count > 0) {
        qsort(run->files, run->file_count, sizeof *run->files, by_path);
    }
    if (status == PERI_OK) {
        status = add_config(run, &step.has_config);
    }
    if (status == PERI_OK) {
        run->vm = peri_vm_new(run->host, run->host->hub, run->host->limits);
        status = run->vm ? PERI_OK : PERI_E_MEMORY;
    }
    if (status == PERI_OK) {
        run->vm->name = run->vm->file = run->host->dir;
        status =
            peri_vm_protected(run->vm, check_all, &step) == LUA_OK ? run->status : PERI_E_MEMORY;
    }
    sort_findings(run);
    peri_vm_free(run->vm);
    peri_router_free(step.router);
    return status;
}

int peri_check_folder(struct peri_host *host, peri_config_set *set, void *arg,
                      struct peri_check *check, struct peri_buffer *error) {
    struct peri_check_run *run = peri_calloc(1, sizeof *run);
    *check = (struct peri_check){.run_ = run};
    if (!run) {
        return PERI_E_MEMORY;
    }
    run->host = host;
    run->set = set;
    run->set_arg = arg;
    run->error = error;
    int status = run_check(run);
    check->findings = run->findings;
    check->count = run->finding_count;
    check->files = run->file_count;
    return status;
}

void peri_check_free(struct peri_check *check) {
    struct peri_check_run *run = check->run_;
    for (size_t i = 0; run && i < run->file_count; i++) {
        peri_free(run->files[i].path);
        peri_buffer_deinit(&run->files[i].source);
        peri_arena_free(&run->files[i].arena);
    }
    for (size_t i = 0; run && i < run->finding_count; i++) {
        peri_free((void *)(uintptr_t)run->findings[i].message);
    }
    if (run) {
        peri_free(run->files);
        peri_free(run->findings);
    }
    peri_free(run);
    *check = (struct peri_check){0};
}
