// What is wrong in a file but for its calls: names that nobody has given a value, fields that the API
// does not have, and the fields of the script's own table.
#include <lauxlib.h>
#include <stdio.h>

#include "script/check_private.h"
#include "script/fields.h"

enum { DEPTH_MAX = 500 };

struct walk {
    lua_State *L;
    struct peri_check_run *run;
    struct peri_check_file *file;
    struct peri_check_place place;
    int depth;
};

#define SHOWN(text) (int)((text).len < 60 ? (text).len : 60), (text).ptr

static void add(const struct walk *w, size_t at, const char *rule, const char *what,
                struct peri_str name, const char *nearest) {
    peri_check_add(w->run, w->file, at, PERI_SEVERITY_ERROR, rule,
                   nearest ? "%s '%.*s': did you mean '%s'?" : "%s '%.*s'", what, SHOWN(name),
                   nearest);
}

// Names ------------------------------------------------------------------------------------------

static bool file_has(const struct peri_check_file *file, enum peri_kind kind,
                     struct peri_str library, struct peri_str name, bool set_only) {
    for (const struct peri_check_name *at = file->names; at; at = at->next) {
        if (at->kind == kind && (at->is_set || !set_only) && peri_str_equal(at->library, library) &&
            peri_str_equal(at->name, name)) {
            return true;
        }
    }
    return false;
}

/// Whether the file asks for the name, or it or a module sets it: a module's globals are its
/// script's.
static bool is_given(const struct walk *w, enum peri_kind kind, struct peri_str library,
                     struct peri_str name) {
    if (file_has(w->file, kind, library, name, false)) {
        return true;
    }
    for (size_t i = 0; i < w->run->file_count; i++) {
        const struct peri_check_file *other = &w->run->files[i];
        if ((!other->script || !w->file->script) && file_has(other, kind, library, name, true)) {
            return true;
        }
    }
    return false;
}

static bool any_global(const struct walk *w) {
    for (size_t i = 0; i < w->run->file_count; i++) {
        const struct peri_check_file *other = &w->run->files[i];
        if (other->any_global && (!other->script || other == w->file)) {
            return true;
        }
    }
    return false;
}

/// Standard Lua's, which the sandbox has not.
static bool is_removed(struct peri_str name) {
    static const char *const removed[] = {"io", "package", "dofile", "loadfile", "warn"};
    for (size_t i = 0; i < sizeof removed / sizeof removed[0]; i++) {
        if (peri_str_equal(name, peri_str_of(removed[i]))) {
            return true;
        }
    }
    return false;
}

static void check_global(const struct walk *w, const struct peri_node *e) {
    static const char rule[] = "unknown-global";
    if (e->local || peri_str_equal(e->text, PERI_STR("_ENV")) ||
        peri_check_has(w->run, PERI_KIND_NONE, e->text) ||
        is_given(w, PERI_KIND_NONE, peri_str("", 0), e->text) || any_global(w)) {
        return;
    }
    if (is_removed(e->text)) {
        peri_check_add(w->run, w->file, e->at, PERI_SEVERITY_ERROR, rule,
                       "'%.*s' is not in the sandbox", SHOWN(e->text));
    } else if (peri_str_equal(e->text, PERI_STR("ws"))) {
        peri_check_add(w->run, w->file, e->at, PERI_SEVERITY_ERROR, rule,
                       "unknown global 'ws': begin the file with local ws = require \"ws\"");
    } else {
        add(w, e->at, rule, "unknown global", e->text,
            peri_check_nearest(w->run, PERI_KIND_NONE, e->text));
    }
}

/// `ws.broadcast`: what is looked for in ws is often a room's or a conn's.
static void add_unknown_of_ws(const struct walk *w, const struct peri_node *e) {
    static const struct {
        enum peri_kind kind;
        const char *before;
    } others[] = {{PERI_KIND_ROOM, "ws.all:"}, {PERI_KIND_CONN, "conn:"}};
    const char *near = peri_check_nearest(w->run, PERI_KIND_WS, e->text);
    for (size_t i = 0; !near && i < sizeof others / sizeof others[0]; i++) {
        const char *other = peri_check_nearest(w->run, others[i].kind, e->text);
        if (other && peri_check_is_method(w->run, others[i].kind, peri_str_of(other))) {
            peri_check_add(w->run, w->file, e->at, PERI_SEVERITY_ERROR, "unknown-field",
                           "ws has no '%.*s': did you mean %s%s?", SHOWN(e->text), others[i].before,
                           other);
            return;
        }
    }
    add(w, e->at, "unknown-field", "ws has no", e->text, near);
}

static void check_api_field(const struct walk *w, const struct peri_node *e, enum peri_kind kind) {
    char what[32];
    if (peri_check_has(w->run, kind, e->text) || is_given(w, kind, peri_str("", 0), e->text)) {
        return;
    }
    if (kind == PERI_KIND_WS) {
        add_unknown_of_ws(w, e);
        return;
    }
    (void)snprintf(what, sizeof what, "%s has no", peri_check_kind_name(kind));
    add(w, e->at, "unknown-field", what, e->text, peri_check_nearest(w->run, kind, e->text));
}

static void check_library_field(const struct walk *w, const struct peri_node *e,
                                struct peri_str library) {
    char what[48];
    if (peri_check_library_has(w->run, library, e->text) ||
        is_given(w, PERI_KIND_NONE, library, e->text) || any_global(w)) {
        return;
    }
    (void)snprintf(what, sizeof what, "the sandbox's %.*s has no",
                   (int)(library.len < 20 ? library.len : 20), library.ptr);
    add(w, e->at, "unknown-field", what, e->text,
        peri_check_library_nearest(w->run, library, e->text));
}

static void check_field(const struct walk *w, const struct peri_node *e) {
    enum peri_kind kind = peri_check_kind(e->a);
    const struct peri_node *base = peri_check_resolve(e->a);
    if (e->b->kind != PERI_NODE_STRING) {
        return;
    }
    if (kind != PERI_KIND_NONE) {
        check_api_field(w, e, kind);
    } else if (base->kind == PERI_NODE_NAME && !base->local) {
        check_library_field(w, e, base->text);
    }
}

static void check_target(const struct walk *w, const struct peri_node *target) {
    if (target->kind == PERI_NODE_NAME) {
        if (!target->local && !w->file->any_global) {
            peri_check_add(w->run, w->file, target->at, PERI_SEVERITY_WARNING, "global-assignment",
                           "'%.*s' becomes a global: declare it with local", SHOWN(target->text));
        }
        return;
    }
    enum peri_kind kind = peri_check_kind(target->a);
    bool is_data = kind == PERI_KIND_CONN && peri_str_equal(target->text, PERI_STR("data"));
    if (target->b->kind != PERI_NODE_STRING || is_data) {
        return;
    }
    if (kind == PERI_KIND_CONN) {
        peri_check_add(w->run, w->file, target->at, PERI_SEVERITY_ERROR, "unknown-field",
                       "conn.%.*s can't be set: keep your own fields in conn.data",
                       SHOWN(target->text));
    } else if (kind == PERI_KIND_ROOM || kind == PERI_KIND_REQ || kind == PERI_KIND_LIMITER) {
        peri_check_add(w->run, w->file, target->at, PERI_SEVERITY_ERROR, "unknown-field",
                       "a %s has no fields that can be set", peri_check_kind_name(kind));
    }
}

// The walk ---------------------------------------------------------------------------------------

static void visit(struct walk *w, const struct peri_node *e);

static void visit_list(struct walk *w, const struct peri_node *list) {
    for (; list; list = list->next) {
        visit(w, list);
    }
}

static int handler_of(const struct walk *w, const struct peri_node *function) {
    for (const struct peri_check_member *at = w->file->members; w->file->table && at;
         at = at->next) {
        if (at->table == w->file->table && peri_check_resolve(at->value) == function) {
            return peri_fields_handler(at->name);
        }
    }
    return -1;
}

static void visit_function(struct walk *w, const struct peri_node *e) {
    struct peri_check_place outer = w->place;
    w->place = (struct peri_check_place){.handler = handler_of(w, e)};
    visit_list(w, e->c);
    w->place = outer;
}

static void visit_assignment(struct walk *w, const struct peri_node *e) {
    for (const struct peri_node *target = e->b; target; target = target->next) {
        check_target(w, target);
        if (target->kind == PERI_NODE_INDEX) {
            visit(w, target->a);
            visit(w, target->b);
        }
    }
    visit_list(w, e->c);
}

static void visit(struct walk *w, const struct peri_node *e) {
    if (w->depth >= DEPTH_MAX) {
        return;
    }
    w->depth++;
    switch (e->kind) {
    case PERI_NODE_NAME: check_global(w, e); break;
    case PERI_NODE_FUNCTION: visit_function(w, e); break;
    case PERI_NODE_ASSIGN: visit_assignment(w, e); break;
    case PERI_NODE_LOCAL:
        visit_list(w, e->c); // its names are declarations
        break;
    case PERI_NODE_FOR:
    case PERI_NODE_FOR_IN:
        visit_list(w, e->a);
        visit_list(w, e->c);
        break;
    case PERI_NODE_CALL:
    case PERI_NODE_METHOD:
        peri_check_call(w->L, w->run, w->file, e, w->place);
        visit_list(w, e->a);
        visit_list(w, e->b);
        break;
    default:
        if (e->kind == PERI_NODE_INDEX) {
            check_field(w, e);
        }
        visit_list(w, e->a);
        visit_list(w, e->b);
        visit_list(w, e->c);
        break;
    }
    w->depth--;
}

// The script's table -----------------------------------------------------------------------------

/// The parameters of handlers are plainly a conn and a req.
static void name_parameters(const struct walk *w) {
    static const enum peri_kind kinds[PERI_HANDLERS][2] = {
        [PERI_ON_UPGRADE] = {PERI_KIND_REQ, PERI_KIND_NONE},
        [PERI_ON_OPEN] = {PERI_KIND_CONN, PERI_KIND_REQ},
        [PERI_ON_MESSAGE] = {PERI_KIND_CONN, PERI_KIND_NONE},
        [PERI_ON_DRAIN] = {PERI_KIND_CONN, PERI_KIND_NONE},
        [PERI_ON_CLOSE] = {PERI_KIND_CONN, PERI_KIND_NONE},
        [PERI_ON_REQUEST] = {PERI_KIND_REQ, PERI_KIND_NONE},
        [PERI_ON_START] = {PERI_KIND_NONE, PERI_KIND_NONE},
    };
    for (int i = 0; i < PERI_HANDLERS; i++) {
        bool several;
        const struct peri_check_member *member =
            peri_check_member(w->file, w->file->table, peri_handler_names[i], &several);
        const struct peri_node *value = member ? peri_check_resolve(member->value) : NULL;
        if (!value || value->kind != PERI_NODE_FUNCTION) {
            continue;
        }
        struct peri_node *parameter = value->b;
        for (int j = 0; j < 2 && parameter; j++, parameter = parameter->next) {
            if (parameter->local) {
                parameter->local->kind = (int)kinds[i][j];
            }
        }
    }
}

/// What the host's own limits will be is for its flags to say: only what no host allows is wrong.
static void loosen(struct peri_limits *limits) {
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        const struct peri_limit_spec *spec = &peri_limit_specs[i];
        if (spec->kind != PERI_LIMIT_TEXT) {
            *(uint64_t *)(void *)((char *)limits + spec->offset) = spec->max; // the table says so
        }
    }
}

/// stack: the step's state. Gives a table with this one field to what `serve` reads scripts with.
static int read_field(lua_State *L) {
    struct peri_check_run *run = lua_touserdata(L, 1);
    struct peri_script *script = lua_touserdata(L, 2);
    loosen(&run->vm->limits);
    peri_vm_set_cap(run->vm);
    peri_fields_read(L, run->vm, 3);
    peri_script_take_routes(script, run->vm);
    return 0;
}

/// @param inner the field of that field, where it is a table of settings; NULL: the field itself
static void check_value(const struct walk *w, const char *name,
                        const struct peri_check_member *inner,
                        const struct peri_check_member *member) {
    lua_State *L = w->L;
    int top = lua_gettop(L);
    lua_pushcfunction(L, read_field);
    lua_pushlightuserdata(L, w->run);
    lua_pushlightuserdata(L, w->file->script);
    lua_newtable(L);
    member = inner ? inner : member;
    if (member->value && peri_check_push_constant(L, member->value)) {
        if (inner) {
            lua_createtable(L, 0, 1);
            peri_push_str(L, inner->name);
            lua_rotate(L, -3, -1); // stack: table, name, value
            lua_rawset(L, -3);
        }
        lua_setfield(L, -2, name);
        int status = lua_pcall(L, 3, 0, 0);
        const char *why = status != LUA_OK ? luaL_tolstring(L, -1, NULL) : "";
        if (status == LUA_ERRMEM || strcmp(why, "not enough memory") == 0) {
            w->run->status = PERI_E_MEMORY; // Lua's, or peri_raise_memory
        } else if (status != LUA_OK) {
            peri_check_add(w->run, w->file, member->at, PERI_SEVERITY_ERROR, "bad-field", "%s",
                           why);
        }
    }
    lua_settop(L, top);
}

static void check_member(const struct walk *w, const struct peri_check_member *member) {
    char name[64];
    if (member->name.len >= sizeof name || memchr(member->name.ptr, 0, member->name.len)) {
        return;
    }
    memcpy(name, member->name.ptr, member->name.len);
    name[member->name.len] = '\0';
    const char *meant = peri_fields_meant(name);
    if (meant) {
        peri_check_add(w->run, w->file, member->at, PERI_SEVERITY_WARNING, "misspelt-field",
                       "the field '%s' is not known: did you mean '%s'?", name, meant);
        return;
    }
    const struct peri_node *table = member->value ? peri_check_table(w->file, member->value) : NULL;
    if (!table || (strcmp(name, "limits") != 0 && strcmp(name, "timers") != 0)) {
        check_value(w, name, NULL, member);
        return;
    }
    for (const struct peri_check_member *at = w->file->members; at; at = at->next) {
        if (at->table == table) { // each by itself: the first that is wrong hides no other
            check_value(w, name, at, member);
        }
    }
}

/// The end of a file, where something is missing.
static size_t end_of(const struct peri_check_file *file) {
    size_t at = file->source.len;
    while (at > 0 && strchr(" \t\r\n", file->source.ptr[at - 1])) {
        at--;
    }
    return at > 0 ? at - 1 : 0;
}

static bool has_return(const struct peri_node *list, int depth) {
    for (; list && depth < DEPTH_MAX; list = list->next) {
        if (list->kind == PERI_NODE_RETURN ||
            (list->kind != PERI_NODE_FUNCTION &&
             (has_return(list->b, depth + 1) || has_return(list->c, depth + 1)))) {
            return true;
        }
    }
    return false;
}

static void check_result(const struct walk *w) {
    const struct peri_node *last = w->file->chunk->c;
    if (!has_return(last, 0)) {
        peri_check_add(w->run, w->file, end_of(w->file), PERI_SEVERITY_ERROR, "no-table",
                       "a script returns a table of handlers: this one returns nothing");
        return;
    }
    while (last && last->next) {
        last = last->next;
    }
    if (last->kind != PERI_NODE_RETURN || w->file->table) {
        return;
    }
    const char *what = NULL;
    const struct peri_node *value = last->b ? peri_check_resolve(last->b) : NULL;
    if (!value) {
        what = "nothing";
    } else if (peri_check_push_constant(w->L, value)) {
        what = luaL_typename(w->L, -1);
        lua_pop(w->L, 1);
    }
    if (what) {
        peri_check_add(w->run, w->file, last->at, PERI_SEVERITY_ERROR, "no-table",
                       "a script returns a table of handlers, not a %s", what);
    }
}

void peri_check_tree(lua_State *L, struct peri_check_run *run, struct peri_check_file *file) {
    struct walk w = {.L = L, .run = run, .file = file};
    w.place = (struct peri_check_place){.at_top = file->script != NULL, .handler = -1};
    if (file->script) {
        check_result(&w);
    }
    if (file->script && file->table) {
        name_parameters(&w);
        for (const struct peri_check_member *at = file->members; at; at = at->next) {
            if (at->table == file->table) {
                check_member(&w, at);
            }
        }
    }
    visit_list(&w, file->chunk->c);
}
