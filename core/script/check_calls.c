// What is wrong with a call that can be seen without running it: a method that is none, a dot for a
// colon, arguments that must raise, what does not answer yet, a module that is not there.
#include <lauxlib.h>
#include <stdio.h>

#include "proto/frame.h"
#include "script/api.h"
#include "script/check_private.h"
#include "script/modules.h"

#define SHOWN(text) (int)((text).len < 60 ? (text).len : 60), (text).ptr

struct call {
    lua_State *L;
    struct peri_check_run *run;
    const struct peri_check_file *file;
    const struct peri_node *e;
    struct peri_check_place place;
    enum peri_kind kind; ///< of what it is a function of
    const struct peri_node *object;
    struct peri_str name;         ///< of the function
    const struct peri_node *args; ///< the first; those of a method without the object
    uint32_t at;                  ///< of the name
};

#define SAY(call, at, rule, ...) \
    peri_check_add((call)->run, (call)->file, (at), PERI_SEVERITY_ERROR, (rule), __VA_ARGS__)

static bool is_named(const struct call *call, const char *name) {
    return peri_str_equal(call->name, peri_str_of(name));
}

static bool is_one_of(const struct call *call, const char *const *names) {
    for (; *names; names++) {
        if (is_named(call, *names)) {
            return true;
        }
    }
    return false;
}

/// Writes an expression as the source has it, if it is a short one.
/// @return out, or `otherwise`
static const char *describe(const struct peri_node *e, const char *otherwise, char *out,
                            size_t size) {
    if (e->kind == PERI_NODE_NAME && e->text.len < 32) {
        (void)snprintf(out, size, "%.*s", (int)e->text.len, e->text.ptr);
        return out;
    }
    if (e->kind == PERI_NODE_INDEX && e->b->kind == PERI_NODE_STRING && e->text.len < 32 &&
        e->a->kind == PERI_NODE_NAME && e->a->text.len < 32) {
        (void)snprintf(out, size, "%.*s.%.*s", (int)e->a->text.len, e->a->text.ptr,
                       (int)e->text.len, e->text.ptr);
        return out;
    }
    return otherwise;
}

// Dots and colons --------------------------------------------------------------------------------

/// A value that is no object of any kind, whatever runs before.
static bool is_plain(const struct peri_node *e) {
    switch (e->kind) {
    case PERI_NODE_NIL:
    case PERI_NODE_TRUE:
    case PERI_NODE_FALSE:
    case PERI_NODE_NUMBER:
    case PERI_NODE_STRING:
    case PERI_NODE_TABLE:
    case PERI_NODE_FUNCTION: return true;
    case PERI_NODE_BINARY: return e->op != PERI_TOKEN_AND && e->op != PERI_TOKEN_OR;
    case PERI_NODE_UNARY: return true;
    default: return false;
    }
}

/// conn.send(text): the text stands where the conn belongs. conn.send(conn, text) is right.
static bool lacks_object(const struct call *call) {
    static const char *const with_argument[] = {"send",      "join",  "leave",
                                                "broadcast", "allow", NULL};
    const struct peri_node *first = call->args;
    if (!first || is_plain(peri_check_resolve(first))) {
        return true;
    }
    bool is_last_open = first->kind == PERI_NODE_CALL || first->kind == PERI_NODE_METHOD ||
                        first->kind == PERI_NODE_VARARG;
    return !first->next && !is_last_open && is_one_of(call, with_argument);
}

static void check_dot(const struct call *call) {
    char text[80];
    if (lacks_object(call)) {
        const char *object =
            describe(call->object, peri_check_kind_name(call->kind), text, sizeof text);
        SAY(call, call->at, "dot-call", "%s.%.*s(...): call it with a colon, %s:%.*s(...)", object,
            SHOWN(call->name), object, SHOWN(call->name));
    }
}

/// ws:sleep(1): ws itself stands where the seconds belong.
static void check_colon(const struct call *call) {
    static const char *const without_arguments[] = {"now", "monotonic", NULL};
    char text[80];
    if (peri_check_has(call->run, call->kind, call->name) && !is_one_of(call, without_arguments)) {
        const char *object =
            describe(call->object, peri_check_kind_name(call->kind), text, sizeof text);
        SAY(call, call->at, "colon-call", "%s:%.*s(...): call it with a dot, %s.%.*s(...)", object,
            SHOWN(call->name), object, SHOWN(call->name));
    }
}

static void check_method(const struct call *call) {
    char what[32];
    if (!peri_check_has(call->run, call->kind, call->name)) {
        const char *near = peri_check_nearest(call->run, call->kind, call->name);
        (void)snprintf(what, sizeof what, "%s has no method", peri_check_kind_name(call->kind));
        SAY(call, call->at, "unknown-method", near ? "%s '%.*s': did you mean '%s'?" : "%s '%.*s'",
            what, SHOWN(call->name), near);
    } else if (!peri_check_is_method(call->run, call->kind, call->name)) {
        SAY(call, call->at, "unknown-method", "%s.%.*s is a field, not a method",
            peri_check_kind_name(call->kind), SHOWN(call->name));
    }
}

// Arguments --------------------------------------------------------------------------------------

static const struct peri_node *argument(const struct call *call, int n) {
    const struct peri_node *at = call->args;
    while (at && --n > 0) {
        at = at->next;
    }
    return at;
}

/// Pushes the argument where it is a constant. [-0, +1 when true]
static bool push_argument(const struct call *call, int n) {
    const struct peri_node *e = argument(call, n);
    return e && peri_check_push_constant(call->L, e);
}

/// Nothing stands where a value must, nor anything that may give one.
static bool is_missing(const struct call *call, int n) {
    const struct peri_node *last = call->args;
    int count = last ? 1 : 0;
    for (; last && last->next; last = last->next) {
        count++;
    }
    bool is_open = last && (last->kind == PERI_NODE_CALL || last->kind == PERI_NODE_METHOD ||
                            last->kind == PERI_NODE_VARARG);
    return count < n && !is_open;
}

static void say_wrong(const struct call *call, int n, const char *expected, const char *got) {
    const struct peri_node *e = argument(call, n);
    SAY(call, e ? e->at : call->at, "bad-argument", "%.*s: %s expected, got %s", SHOWN(call->name),
        expected, got);
}

/// @return true and *value, where the argument is a number that is seen
static bool take_number(const struct call *call, int n, lua_Number *value) {
    if (is_missing(call, n)) {
        say_wrong(call, n, "number", "nothing");
        return false;
    }
    if (!push_argument(call, n)) {
        return false;
    }
    int is_number;
    *value = lua_tonumberx(call->L, -1, &is_number);
    if (!is_number) {
        say_wrong(call, n, "number", luaL_typename(call->L, -1));
    }
    lua_pop(call->L, 1);
    return is_number;
}

static void check_seconds(const struct call *call, lua_Number least, lua_Number most) {
    lua_Number seconds;
    if (take_number(call, 1, &seconds) && !(seconds >= least && seconds <= most)) {
        SAY(call, call->args->at, "bad-argument",
            seconds > most ? "%.*s: at most %.0f seconds" : "%.*s: at least %g seconds",
            SHOWN(call->name), seconds > most ? most : least);
    }
}

/// All names of the script's timers are seen, and this is none of them.
static bool has_no_timer(const struct call *call, const char *name) {
    bool several;
    const struct peri_check_file *file = call->file;
    if (!file->script || !file->table || !peri_check_is_closed(file->table)) {
        return false;
    }
    const struct peri_check_member *timers =
        peri_check_member(file, file->table, "timers", &several);
    if (!timers) {
        return !several;
    }
    const struct peri_node *table = timers->value ? peri_check_table(file, timers->value) : NULL;
    if (!table || !peri_check_is_closed(table)) {
        return false;
    }
    return !peri_check_member(file, table, name, &several) && !several;
}

static void check_timer(const struct call *call) {
    if (is_missing(call, 2)) {
        say_wrong(call, 2, "name or function", "nothing");
        return;
    }
    if (!push_argument(call, 2)) {
        return;
    }
    if (lua_type(call->L, -1) == LUA_TSTRING) {
        const char *name = lua_tostring(call->L, -1);
        if (has_no_timer(call, name)) {
            SAY(call, argument(call, 2)->at, "bad-argument",
                "no timer '%.60s': name one of the script's timers", name);
        }
    } else if (!lua_isfunction(call->L, -1)) {
        say_wrong(call, 2, "name or function", luaL_typename(call->L, -1));
    }
    lua_pop(call->L, 1);
}

static void check_name(const struct call *call) {
    if (is_missing(call, 1)) {
        say_wrong(call, 1, "string", "nothing");
    } else if (push_argument(call, 1)) {
        if (lua_type(call->L, -1) != LUA_TSTRING) {
            say_wrong(call, 1, "string", luaL_typename(call->L, -1));
        }
        lua_pop(call->L, 1);
    }
}

/// conn:send and room:broadcast: a string or a table.
static void check_data(const struct call *call) {
    if (is_missing(call, 1)) {
        say_wrong(call, 1, "string or table", "nothing");
    } else if (push_argument(call, 1)) {
        if (lua_type(call->L, -1) != LUA_TSTRING && !lua_istable(call->L, -1)) {
            say_wrong(call, 1, "string or table", luaL_typename(call->L, -1));
        }
        lua_pop(call->L, 1);
    }
}

static bool is_word(const char *word, const char *const *words) {
    while (*words && strcmp(*words, word) != 0) {
        words++;
    }
    return *words != NULL;
}

/// A constant that is one of a few words. The value is on top; pops it.
static void check_word(const struct call *call, uint32_t at, const char *what,
                       const char *const *words) {
    size_t len;
    const char *word = luaL_tolstring(call->L, -1, &len);
    if (!lua_isnil(call->L, -2) && !is_word(word, words)) {
        SAY(call, at, "bad-argument", "%s can't be '%.60s'", what, word);
    }
    lua_pop(call->L, 2);
}

static void check_kind(const struct call *call, const struct peri_node *e) {
    static const char *const kinds[] = {"text", "binary", NULL};
    if (e && peri_check_push_constant(call->L, e)) {
        check_word(call, e->at, "kind", kinds);
    }
}

static void check_options(const struct call *call) {
    const struct peri_node *e = argument(call, 2);
    const struct peri_node *options = e ? peri_check_resolve(e) : NULL;
    if (!options || options->kind != PERI_NODE_TABLE) {
        return;
    }
    for (const struct peri_node *item = options->b; item; item = item->next) {
        const struct peri_str name = item->a ? item->a->text : peri_str("", 0);
        if (!item->a || item->a->kind != PERI_NODE_STRING) {
            continue;
        }
        lua_pushlstring(call->L, name.ptr, name.len);
        if (!is_word(lua_tostring(call->L, -1), peri_broadcast_options)) {
            SAY(call, item->a->at, "bad-argument",
                "broadcast has no option '%.*s': except, kind, slow, key", SHOWN(name));
        }
        lua_pop(call->L, 1);
        if (peri_str_equal(name, PERI_STR("kind"))) {
            check_kind(call, item->b);
        } else if (peri_str_equal(name, PERI_STR("slow")) &&
                   peri_check_push_constant(call->L, item->b)) {
            check_word(call, item->b->at, "slow", peri_slow_names);
        }
    }
}

static void check_close(const struct call *call) {
    lua_Number code;
    if (call->args && take_number(call, 1, &code) &&
        !(code >= 1000 && code <= 4999 && peri_close_code_is_valid((int)code))) {
        SAY(call, call->args->at, "bad-argument",
            "close code %g may not be sent: 1000-1003, 1007-1014, 3000-4999 may", code);
    }
}

/// A bucket needs a rate.
static void check_limiter(const struct call *call) {
    static const char *const options[] = {"rate", "per", "burst"};
    const struct peri_node *e = argument(call, 1);
    const struct peri_node *table = e ? peri_check_resolve(e) : NULL;
    bool has_rate = false;
    if (!table || table->kind != PERI_NODE_TABLE) {
        if (is_missing(call, 1)) {
            say_wrong(call, 1, "table", "nothing");
        }
        return;
    }
    for (const struct peri_node *item = table->b; item; item = item->next) {
        has_rate |= !item->a || item->a->kind != PERI_NODE_STRING ||
                    peri_str_equal(item->a->text, PERI_STR("rate"));
        for (size_t i = 0; item->a && i < sizeof options / sizeof options[0]; i++) {
            if (!peri_str_equal(item->a->text, peri_str_of(options[i])) ||
                !peri_check_push_constant(call->L, item->b)) {
                continue;
            }
            bool is_good = lua_type(call->L, -1) == LUA_TNUMBER && lua_tonumber(call->L, -1) > 0;
            if (!is_good && !lua_isnil(call->L, -1)) {
                SAY(call, item->a->at, "bad-argument", "limiter: %s must be a number over 0",
                    options[i]);
            }
            lua_pop(call->L, 1);
        }
    }
    if (!has_rate && peri_check_is_closed(table)) {
        SAY(call, call->at, "bad-argument", "limiter: rate is missing");
    }
}

static void check_reject(const struct call *call) {
    lua_Number status;
    if (call->place.handler >= 0 && call->place.handler != PERI_ON_UPGRADE) {
        SAY(call, call->at, "misplaced", "reject answers an upgrade: call it in upgrade");
    }
    if (take_number(call, 1, &status) && !(status >= 300 && status <= 599)) {
        SAY(call, call->args->at, "bad-argument", "a status from 300 to 599 expected, got %g",
            status);
    }
}

static void check_ws_arguments(const struct call *call) {
    static const char *const by_name[] = {"room", "shared", "state", "conn", NULL};
    if (is_named(call, "sleep")) {
        check_seconds(call, 0, PERI_SLEEP_MAX_S);
    } else if (is_named(call, "after") || is_named(call, "every")) {
        check_seconds(call, is_named(call, "after") ? 0 : PERI_EVERY_MIN_S, PERI_DELAY_MAX_S);
        check_timer(call);
    } else if (is_named(call, "limiter")) {
        check_limiter(call);
    } else if (is_named(call, "reject")) {
        check_reject(call);
    } else if (is_one_of(call, by_name)) {
        check_name(call);
    }
}

static void check_method_arguments(const struct call *call) {
    if (is_named(call, "send") || is_named(call, "broadcast")) {
        check_data(call);
    }
    if (is_named(call, "send")) {
        check_kind(call, argument(call, 2));
    } else if (is_named(call, "broadcast")) {
        check_options(call);
    } else if (is_named(call, "close")) {
        check_close(call);
    }
}

// Time and place ---------------------------------------------------------------------------------

static void check_place(const struct call *call) {
    char text[80];
    const char *object =
        describe(call->object, peri_check_kind_name(call->kind), text, sizeof text);
    if (call->place.at_top && peri_check_acts(call->kind, call->name)) {
        SAY(call, call->at, "misplaced", "%s%c%.*s: not while loading: use start", object,
            call->kind == PERI_KIND_WS ? '.' : ':', SHOWN(call->name));
    } else if (call->place.handler >= 0 && call->kind == PERI_KIND_WS && is_named(call, "state")) {
        SAY(call, call->at, "misplaced",
            "ws.state belongs to loading: call it at the top of the file");
    } else if (call->place.handler == PERI_ON_START && call->kind == PERI_KIND_WS &&
               is_named(call, "sleep")) {
        SAY(call, call->at, "misplaced", "can't wait here: start may not wait");
    }
}

// Modules ----------------------------------------------------------------------------------------

/// stack: run, module's name
static int find_module(lua_State *L) {
    const struct peri_check_run *run = lua_touserdata(L, 1);
    peri_modules_check(L, run->vm, lua_tostring(L, 2));
    return 0;
}

/// Looks the module up as seen from a script. [-0, +0 when true, else +1: why not]
static bool finds_from(const struct call *call, const char *path, const char *name) {
    call->run->vm->file = path;
    lua_pushcfunction(call->L, find_module);
    lua_pushlightuserdata(call->L, call->run);
    lua_pushstring(call->L, name);
    int status = lua_pcall(call->L, 2, 0, 0);
    call->run->status = status == LUA_ERRMEM ? PERI_E_MEMORY : call->run->status;
    return status == LUA_OK;
}

/// A module is looked for beside the script, and a module may belong to any.
static void check_require(const struct call *call) {
    lua_State *L = call->L;
    int top = lua_gettop(L);
    size_t len = 0;
    if (push_argument(call, 1) && lua_type(L, -1) == LUA_TSTRING) {
        const char *name = lua_tolstring(L, -1, &len);
        bool found = strlen(name) == len &&
                     (strcmp(name, "ws") == 0 || finds_from(call, call->file->path, name));
        const struct peri_host *host = call->run->host;
        for (size_t i = 0; !found && !call->file->script && i < host->script_count; i++) {
            found = finds_from(call, host->scripts[i]->path, name);
        }
        if (!found) {
            SAY(call, call->args->at, "no-module", "%s",
                lua_gettop(L) > top + 1 ? luaL_tolstring(L, top + 2, NULL) : "no module name");
        }
    }
    lua_settop(L, top);
}

// All of it --------------------------------------------------------------------------------------

static bool has_methods(enum peri_kind kind) {
    return kind == PERI_KIND_ROOM || kind == PERI_KIND_CONN || kind == PERI_KIND_REQ ||
           kind == PERI_KIND_LIMITER;
}

void peri_check_call(lua_State *L, struct peri_check_run *run, const struct peri_check_file *file,
                     const struct peri_node *e, struct peri_check_place place) {
    struct call call = {L, run, file, e, place, PERI_KIND_NONE, e->a, e->text, e->b, e->at};
    if (e->kind == PERI_NODE_METHOD) {
        call.kind = peri_check_kind(e->a);
        if (has_methods(call.kind)) {
            check_method(&call);
            check_method_arguments(&call);
            check_place(&call);
        } else if (call.kind != PERI_KIND_NONE) {
            check_colon(&call);
        }
        return;
    }
    if (peri_check_calls_global(e, "require") && e->b) {
        check_require(&call);
        return;
    }
    const struct peri_node *callee = peri_check_resolve(e->a);
    if (callee->kind != PERI_NODE_INDEX || callee->b->kind != PERI_NODE_STRING) {
        return;
    }
    call.kind = peri_check_kind(callee->a);
    call.object = callee->a;
    call.name = callee->text;
    call.at = e->a->kind == PERI_NODE_INDEX ? e->a->at : e->at;
    if (call.kind == PERI_KIND_WS) {
        check_ws_arguments(&call);
        check_place(&call);
    } else if (has_methods(call.kind) && peri_check_is_method(run, call.kind, call.name)) {
        check_dot(&call);
    }
}
