// What an expression plainly is, without running anything: a constant, a table, a part of the API.
// Whatever may be something else on another day is not seen.
#include <lauxlib.h>
#include <stdio.h>

#include "script/check_private.h"

enum {
    CHAIN_MAX = 32,  ///< locals that name locals, fields of fields
    DEPTH_MAX = 500, ///< what nests deeper in a tree is not looked at
};

const struct peri_node *peri_check_resolve(const struct peri_node *e) {
    for (int i = 0; e && i < CHAIN_MAX; i++) {
        if (e->kind == PERI_NODE_PAREN) {
            e = e->a;
        } else if (e->kind == PERI_NODE_NAME && e->local && !e->local->assigned &&
                   e->local->value) {
            e = e->local->value;
        } else {
            break;
        }
    }
    return e;
}

static bool is_text(struct peri_str text, const char *other) {
    return peri_str_equal(text, peri_str_of(other));
}

/// a.text or a["text"]
static bool is_field(const struct peri_node *e) {
    return e->kind == PERI_NODE_INDEX && e->b->kind == PERI_NODE_STRING;
}

const struct peri_check_member *peri_check_member(const struct peri_check_file *file,
                                                  const struct peri_node *table, const char *name,
                                                  bool *several) {
    const struct peri_check_member *found = NULL;
    *several = false;
    for (const struct peri_check_member *at = file->members; at; at = at->next) {
        if (at->table == table && is_text(at->name, name)) {
            *several = found != NULL;
            if (found) {
                return NULL;
            }
            found = at;
        }
    }
    return found;
}

static const struct peri_node *table_of(const struct peri_check_file *file,
                                        const struct peri_node *e, int depth) {
    e = peri_check_resolve(e);
    if (!e || depth > CHAIN_MAX) {
        return NULL;
    }
    if (e->kind == PERI_NODE_TABLE) {
        return e;
    }
    if (!is_field(e)) {
        return NULL;
    }
    const struct peri_node *outer = table_of(file, e->a, depth + 1);
    const struct peri_check_member *found = NULL;
    for (const struct peri_check_member *at = file->members; outer && at; at = at->next) {
        if (at->table == outer && peri_str_equal(at->name, e->text)) {
            if (found) {
                return NULL;
            }
            found = at;
        }
    }
    return found && found->value ? table_of(file, found->value, depth + 1) : NULL;
}

const struct peri_node *peri_check_table(const struct peri_check_file *file,
                                         const struct peri_node *e) {
    return table_of(file, e, 0);
}

bool peri_check_calls_global(const struct peri_node *call, const char *name) {
    if (call->kind != PERI_NODE_CALL) {
        return false;
    }
    const struct peri_node *callee = peri_check_resolve(call->a);
    return callee->kind == PERI_NODE_NAME && !callee->local && is_text(callee->text, name);
}

static enum peri_kind kind_of(const struct peri_node *e, int depth) {
    e = peri_check_resolve(e);
    if (!e || depth > CHAIN_MAX) {
        return PERI_KIND_NONE;
    }
    if (e->kind == PERI_NODE_NAME) {
        return e->local && !e->local->assigned ? (enum peri_kind)e->local->kind : PERI_KIND_NONE;
    }
    if (e->kind == PERI_NODE_INDEX && kind_of(e->a, depth + 1) == PERI_KIND_WS) {
        return is_text(e->text, "all")    ? PERI_KIND_ROOM
               : is_text(e->text, "json") ? PERI_KIND_JSON
               : is_text(e->text, "log")  ? PERI_KIND_LOG
                                          : PERI_KIND_NONE;
    }
    if (e->kind != PERI_NODE_CALL) {
        return PERI_KIND_NONE;
    }
    if (peri_check_calls_global(e, "require") && e->b) {
        const struct peri_node *name = peri_check_resolve(e->b);
        return name->kind == PERI_NODE_STRING && is_text(name->text, "ws") ? PERI_KIND_WS
                                                                           : PERI_KIND_NONE;
    }
    const struct peri_node *callee = peri_check_resolve(e->a);
    if (callee->kind != PERI_NODE_INDEX || kind_of(callee->a, depth + 1) != PERI_KIND_WS) {
        return PERI_KIND_NONE;
    }
    return is_text(callee->text, "room") || is_text(callee->text, "shared") ? PERI_KIND_ROOM
           : is_text(callee->text, "conn")                                  ? PERI_KIND_CONN
           : is_text(callee->text, "limiter")                               ? PERI_KIND_LIMITER
                                                                            : PERI_KIND_NONE;
}

enum peri_kind peri_check_kind(const struct peri_node *e) {
    return kind_of(e, 0);
}

// Constants ----------------------------------------------------------------------------------

static int does_nothing(lua_State *L) {
    (void)L;
    return 0;
}

static bool push_constant(lua_State *L, const struct peri_node *e, int depth);

static bool push_table(lua_State *L, const struct peri_node *table, int depth) {
    lua_Integer n = 0;
    lua_newtable(L);
    for (const struct peri_node *item = table->b; item; item = item->next) {
        int top = lua_gettop(L);
        if (!item->a) {
            if (!push_constant(L, item->b, depth)) {
                lua_settop(L, top - 1);
                return false; // a list is whole, or not seen
            }
            lua_rawseti(L, top, ++n);
        } else if (push_constant(L, item->a, depth) && !lua_isnil(L, -1) &&
                   lua_compare(L, -1, -1, LUA_OPEQ) && push_constant(L, item->b, depth)) {
            lua_rawset(L, top);
        }
        lua_settop(L, top);
    }
    return true;
}

/// + - * / of numbers and .. of texts. [-2, +1 when true]
static bool push_result(lua_State *L, int op) {
    int arith = op == '+'   ? LUA_OPADD
                : op == '-' ? LUA_OPSUB
                : op == '*' ? LUA_OPMUL
                : op == '/' ? LUA_OPDIV
                            : -1;
    int a = lua_type(L, -2), b = lua_type(L, -1);
    if (arith >= 0 && a == LUA_TNUMBER && b == LUA_TNUMBER) {
        lua_arith(L, arith);
        return true;
    }
    if (op == PERI_TOKEN_CONCAT && a == LUA_TSTRING && b == LUA_TSTRING &&
        lua_rawlen(L, -1) + lua_rawlen(L, -2) < 1 << 16) {
        lua_concat(L, 2);
        return true;
    }
    return false;
}

static bool push_operation(lua_State *L, const struct peri_node *e, int depth) {
    int top = lua_gettop(L);
    bool done = false;
    if (e->kind == PERI_NODE_UNARY && e->op == '-' && push_constant(L, e->a, depth)) {
        done = lua_type(L, -1) == LUA_TNUMBER;
        if (done) {
            lua_arith(L, LUA_OPUNM);
        }
    } else if (e->kind == PERI_NODE_BINARY && push_constant(L, e->a, depth) &&
               push_constant(L, e->b, depth)) {
        done = push_result(L, e->op);
    }
    lua_settop(L, done ? top + 1 : top);
    return done;
}

static bool push_constant(lua_State *L, const struct peri_node *e, int depth) {
    e = peri_check_resolve(e);
    if (!e || depth > CHAIN_MAX) {
        return false;
    }
    luaL_checkstack(L, 8, NULL);
    switch (e->kind) {
    case PERI_NODE_NIL: lua_pushnil(L); return true;
    case PERI_NODE_TRUE: lua_pushboolean(L, 1); return true;
    case PERI_NODE_FALSE: lua_pushboolean(L, 0); return true;
    case PERI_NODE_NUMBER:
        if (e->is_integer) {
            lua_pushinteger(L, e->integer);
        } else {
            lua_pushnumber(L, e->number);
        }
        return true;
    case PERI_NODE_STRING: peri_push_str(L, e->text); return true;
    case PERI_NODE_FUNCTION: lua_pushcfunction(L, does_nothing); return true;
    case PERI_NODE_TABLE: return push_table(L, e, depth + 1);
    case PERI_NODE_UNARY:
    case PERI_NODE_BINARY: return push_operation(L, e, depth + 1);
    default: return false; // the value of anything else is not seen
    }
}

bool peri_check_push_constant(lua_State *L, const struct peri_node *e) {
    return push_constant(L, e, 0);
}

// Reading a tree once ------------------------------------------------------------------------

/// What is done with an expression.
enum role {
    ROLE_VALUE,
    ROLE_BASE,   ///< a field of it is read, set or called
    ROLE_KEPT,   ///< it becomes a known field, or the script's result
    ROLE_TESTED, ///< whether it is there
};

enum { TABLE_IS_OPEN = 1 }; ///< the `op` of a table that others may add to

bool peri_check_is_closed(const struct peri_node *table) {
    return table->op != TABLE_IS_OPEN;
}

struct reader {
    struct peri_check_file *file;
    int status, depth;
};

static void note_name(struct reader *r, enum peri_kind kind, struct peri_str library,
                      struct peri_str name, bool is_set) {
    struct peri_check_name *noted = peri_arena_take(&r->file->arena, sizeof *noted);
    if (!noted) {
        r->status = PERI_E_MEMORY;
        return;
    }
    *noted = (struct peri_check_name){r->file->names, kind, is_set, library, name};
    r->file->names = noted;
}

static void note_member(struct reader *r, const struct peri_node *table, struct peri_str name,
                        uint32_t at, const struct peri_node *value) {
    struct peri_check_member *member = peri_arena_take(&r->file->arena, sizeof *member);
    if (!member) {
        r->status = PERI_E_MEMORY;
        return;
    }
    *member = (struct peri_check_member){NULL, table, value, name, at};
    *r->file->members_end = member;
    r->file->members_end = &member->next;
}

static void read_node(struct reader *r, struct peri_node *e, enum role role);

static void read_list(struct reader *r, struct peri_node *list, enum role role) {
    for (; list; list = list->next) {
        read_node(r, list, role);
    }
}

/// A name or a field that the file sets, or asks for: `http` of `if ws.http then`.
static void note(struct reader *r, const struct peri_node *e, bool is_set) {
    static const struct peri_str none = {"", 0};
    if (e->kind == PERI_NODE_NAME && !e->local) {
        note_name(r, PERI_KIND_NONE, none, e->text, is_set);
        r->file->any_global |= is_set && (is_text(e->text, "_ENV") || is_text(e->text, "_G"));
        return;
    }
    if (e->kind == PERI_NODE_NAME && is_text(e->text, "_ENV")) {
        r->file->any_global = true;
    }
    if (e->kind != PERI_NODE_INDEX) {
        return;
    }
    const struct peri_node *base = peri_check_resolve(e->a);
    bool is_globals = base->kind == PERI_NODE_NAME && !base->local &&
                      (is_text(base->text, "_G") || is_text(base->text, "_ENV"));
    if (is_globals && is_set && !is_field(e)) {
        r->file->any_global = true;
    } else if (is_globals) {
        note_name(r, PERI_KIND_NONE, none, e->text, is_set);
    } else if (base->kind == PERI_NODE_NAME && !base->local && is_field(e)) {
        note_name(r, PERI_KIND_NONE, base->text, e->text, is_set);
    } else if (is_field(e) && peri_check_kind(base) != PERI_KIND_NONE) {
        note_name(r, peri_check_kind(base), none, e->text, is_set);
    }
}

static void read_assignment(struct reader *r, struct peri_node *e) {
    struct peri_node *value = e->c;
    bool is_one = !e->b->next && e->c && !e->c->next;
    for (struct peri_node *target = e->b; target; target = target->next) {
        note(r, target, true);
        if (target->kind == PERI_NODE_INDEX) {
            const struct peri_node *table = peri_check_table(r->file, target->a);
            read_node(r, target->a, is_field(target) ? ROLE_BASE : ROLE_VALUE);
            read_node(r, target->b, ROLE_VALUE);
            if (table && is_field(target)) {
                note_member(r, table, target->text, target->at, is_one ? value : NULL);
            }
        }
    }
    bool is_kept = is_one && e->b->kind == PERI_NODE_INDEX && is_field(e->b);
    read_list(r, e->c, is_kept ? ROLE_KEPT : ROLE_VALUE);
}

static void read_table(struct reader *r, struct peri_node *e) {
    for (struct peri_node *item = e->b; item; item = item->next) {
        bool is_named = item->a && item->a->kind == PERI_NODE_STRING;
        if (is_named) {
            note_member(r, e, item->a->text, item->a->at, item->b);
        } else if (item->a || item->b->kind == PERI_NODE_VARARG) {
            e->op = TABLE_IS_OPEN; // any name may be in it
        }
        if (item->a) {
            read_node(r, item->a, ROLE_VALUE);
        }
        read_node(r, item->b, is_named ? ROLE_KEPT : ROLE_VALUE);
    }
}

/// What somebody else gets hold of may get more fields there.
static void let_out(const struct reader *r, const struct peri_node *e) {
    if (e->kind == PERI_NODE_NAME || e->kind == PERI_NODE_INDEX) {
        struct peri_node *table = (struct peri_node *)peri_check_table(r->file, e);
        if (table) {
            table->op = TABLE_IS_OPEN;
        }
    }
}

static void read_call(struct reader *r, struct peri_node *e) {
    bool asks = peri_check_calls_global(e, "type") || peri_check_calls_global(e, "assert");
    const struct peri_node *first = e->b ? peri_check_resolve(e->b) : NULL;
    if ((peri_check_calls_global(e, "setmetatable") || peri_check_calls_global(e, "rawset")) &&
        first && first->kind == PERI_NODE_NAME && !first->local && is_text(first->text, "_G")) {
        const struct peri_node *key = peri_check_resolve(e->b->next);
        if (key && key->kind == PERI_NODE_STRING) {
            note_name(r, PERI_KIND_NONE, peri_str("", 0), key->text, true);
        } else {
            r->file->any_global = true;
        }
    }
    read_node(r, e->a, e->kind == PERI_NODE_METHOD ? ROLE_BASE : ROLE_VALUE);
    read_list(r, e->b, asks ? ROLE_TESTED : ROLE_VALUE);
}

/// Both sides of a comparison with nil, and the left side of `and` and `or`, are asked for.
static enum role role_in(const struct peri_node *operation, const struct peri_node *operand,
                         enum role role) {
    bool compares = (operation->op == PERI_TOKEN_EQ || operation->op == PERI_TOKEN_NE) &&
                    (operation->a->kind == PERI_NODE_NIL || operation->b->kind == PERI_NODE_NIL);
    bool chooses = operation->op == PERI_TOKEN_AND || operation->op == PERI_TOKEN_OR;
    if (compares || (chooses && operand == operation->a)) {
        return ROLE_TESTED;
    }
    return chooses ? role : ROLE_VALUE;
}

static void read_inner(struct reader *r, struct peri_node *e, enum role role) {
    switch (e->kind) {
    case PERI_NODE_INDEX:
        read_node(r, e->a, is_field(e) ? ROLE_BASE : ROLE_VALUE);
        read_node(r, e->b, ROLE_VALUE);
        break;
    case PERI_NODE_CALL:
    case PERI_NODE_METHOD: read_call(r, e); break;
    case PERI_NODE_TABLE: read_table(r, e); break;
    case PERI_NODE_ASSIGN: read_assignment(r, e); break;
    case PERI_NODE_BINARY:
        read_node(r, e->a, role_in(e, e->a, role));
        read_node(r, e->b, role_in(e, e->b, role));
        break;
    case PERI_NODE_UNARY: read_node(r, e->a, e->op == PERI_TOKEN_NOT ? ROLE_TESTED : role); break;
    case PERI_NODE_PAREN: read_node(r, e->a, role); break;
    case PERI_NODE_RETURN: read_list(r, e->b, ROLE_VALUE); break;
    case PERI_NODE_LOCAL:
        for (const struct peri_node *name = e->b; name; name = name->next) {
            note(r, name, true);
        }
        read_list(r, e->c, ROLE_VALUE);
        break;
    case PERI_NODE_FOR:
    case PERI_NODE_FOR_IN:
    case PERI_NODE_FUNCTION: // their names are declarations
        for (const struct peri_node *name = e->b; name; name = name->next) {
            note(r, name, true);
        }
        read_list(r, e->a, ROLE_VALUE);
        read_list(r, e->c, ROLE_VALUE);
        break;
    default: // statements, and what has nothing in it
        read_list(r, e->a, ROLE_TESTED);
        read_list(r, e->b, ROLE_VALUE);
        read_list(r, e->c, ROLE_VALUE);
        break;
    }
}

static void read_node(struct reader *r, struct peri_node *e, enum role role) {
    if (r->depth >= DEPTH_MAX) {
        return;
    }
    r->depth++;
    if (role == ROLE_VALUE) {
        let_out(r, e);
    } else if (role == ROLE_TESTED) {
        note(r, e, false);
    }
    read_inner(r, e, role);
    r->depth--;
}

int peri_check_collect(struct peri_check_file *file) {
    struct reader r = {.file = file};
    struct peri_node *last = NULL;
    file->members_end = &file->members;
    for (struct peri_node *at = file->chunk->c; at; at = at->next) {
        last = at;
        if (at->kind == PERI_NODE_RETURN && at->b && !at->b->next) {
            read_node(&r, at->b, ROLE_KEPT);
        } else {
            read_node(&r, at, ROLE_VALUE);
        }
    }
    if (last && last->kind == PERI_NODE_RETURN && last->b && !last->b->next) {
        file->table = peri_check_table(file, last->b);
    }
    return r.status;
}
