#include "script/hints.h"

#include <lauxlib.h>
#include <stdio.h>

#include "script/fields.h"
#include "script/names.h"
#include "script/vm.h"

enum { SHOWN_MAX = 60 };

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static const char *find(struct peri_str text, const char *words) {
    return text.len ? memmem(text.ptr, text.len, words, strlen(words)) : NULL;
}

/// What follows the words, up to the next quote.
static bool take_name(struct peri_str text, const char *words, struct peri_str *name) {
    const char *at = find(text, words);
    const char *begin = at ? at + strlen(words) : NULL;
    const char *end = begin ? memchr(begin, '\'', text.len - (size_t)(begin - text.ptr)) : NULL;
    if (!end || end == begin || end - begin > SHOWN_MAX) {
        return false;
    }
    *name = peri_str(begin, (size_t)(end - begin));
    return true;
}

/// Finds "OBJECT.NAME" in a line, as "conn.data.x" for "x". @return the object: "conn.data"
static bool find_field(struct peri_str line, struct peri_str name, struct peri_str *object) {
    for (size_t at = 1; at + name.len < line.len + 0 && name.len > 0; at++) {
        bool is_it = line.ptr[at] == '.' && memcmp(line.ptr + at + 1, name.ptr, name.len) == 0 &&
                     (at + 1 + name.len == line.len || !is_name_char(line.ptr[at + 1 + name.len]));
        size_t begin = at;
        while (is_it && begin > 0 &&
               (is_name_char(line.ptr[begin - 1]) || line.ptr[begin - 1] == '.')) {
            begin--;
        }
        if (is_it && at - begin <= SHOWN_MAX) {
            *object = peri_str(line.ptr + begin, at - begin);
            return true;
        }
    }
    return false;
}

#define SHOWN(text) (int)(text).len, (text).ptr

/// @return the bytes that snprintf has written
static size_t fit(int len) {
    return len < 0 ? 0 : len < PERI_HINT_MAX ? (size_t)len : PERI_HINT_MAX - 1;
}

/// conn.send(text): "bad argument #1 to 'send' (conn expected, got string)"
static size_t dot_for_colon(struct peri_str message, struct peri_str line, char *out) {
    static const char *const expected[][2] = {
        {"(conn expected", "conn"}, {"room expected", "room"}, {"limiter expected", "limiter"}};
    struct peri_str name, object;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        if (!find(message, expected[i][0]) || !take_name(message, "bad argument #1 to '", &name) ||
            !find_field(line, name, &object)) {
            continue;
        }
        if (object.len == 0 || object.ptr[0] == '.') {
            object = peri_str_of(expected[i][1]);
        }
        return fit(snprintf(out, PERI_HINT_MAX,
                            "%.*s.%.*s(...): call it with a colon, %.*s:%.*s(...)", SHOWN(object),
                            SHOWN(name), SHOWN(object), SHOWN(name)));
    }
    return 0;
}

/// "the field 'onmessage' is not known: did you mean 'message'?"
static size_t misspelt_field(struct peri_str message, char *out) {
    struct peri_str name, meant;
    if (!take_name(message, "the field '", &name) ||
        !take_name(message, "' is not known: did you mean '", &meant)) {
        return 0;
    }
    return fit(snprintf(out, PERI_HINT_MAX, "nothing %s '%.*s': rename it to '%.*s'",
                        peri_fields_handler(meant) >= 0 ? "calls" : "reads", SHOWN(name),
                        SHOWN(meant)));
}

static bool ends_with(struct peri_str text, const char *end) {
    size_t len = strlen(end);
    return text.len >= len && memcmp(text.ptr + text.len - len, end, len) == 0;
}

static size_t nil_data(struct peri_str name, struct peri_str object, char *out) {
    if (!ends_with(object, ".data")) {
        return 0;
    }
    return fit(snprintf(out, PERI_HINT_MAX,
                        "%.*s.%.*s is nil here: set it in upgrade or open, or test it first",
                        SHOWN(object), SHOWN(name)));
}

// Names that nobody has --------------------------------------------------------------------------

struct lookup {
    struct peri_str name;
    enum peri_names which;
    char near[SHOWN_MAX + 1]; ///< "" when nothing is
};

static int look_up(lua_State *L) {
    struct lookup *lookup = lua_touserdata(L, 1);
    peri_names_push(L, lookup->which);
    const char *near = peri_names_nearest(L, 2, lookup->name, lookup->which != PERI_NAMES_GLOBALS);
    (void)snprintf(lookup->near, sizeof lookup->near, "%s", near ? near : "");
    return 0;
}

/// The name most like it; false when there is none, or no memory to look.
static bool nearest(const struct peri_vm *vm, enum peri_names which, struct peri_str name,
                    struct lookup *lookup) {
    lua_State *L = vm->L;
    *lookup = (struct lookup){.name = name, .which = which};
    if (!lua_checkstack(L, 4)) {
        return false;
    }
    lua_pushcfunction(L, look_up);
    lua_pushlightuserdata(L, lookup);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        return false;
    }
    return lookup->near[0] != '\0';
}

static size_t unknown_of_ws(const struct peri_vm *vm, struct peri_str name, char *out) {
    static const struct {
        enum peri_names which;
        const char *before;
    } places[] = {{PERI_NAMES_WS, "ws."}, {PERI_NAMES_ROOM, "ws.all:"}, {PERI_NAMES_CONN, "conn:"}};
    struct lookup found;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (nearest(vm, places[i].which, name, &found)) {
            return fit(snprintf(out, PERI_HINT_MAX, "ws has no '%.*s': did you mean %s%s?",
                                SHOWN(name), places[i].before, found.near));
        }
    }
    return 0;
}

static size_t unknown_method(const struct peri_vm *vm, struct peri_str name, char *out) {
    struct lookup found;
    if (!nearest(vm, PERI_NAMES_CONN, name, &found) &&
        !nearest(vm, PERI_NAMES_ROOM, name, &found)) {
        return 0;
    }
    return fit(snprintf(out, PERI_HINT_MAX, "there is no method '%.*s': did you mean '%s'?",
                        SHOWN(name), found.near));
}

static size_t unknown_global(const struct peri_vm *vm, struct peri_str name, char *out) {
    struct lookup found;
    if (peri_str_equal(name, PERI_STR("ws"))) {
        return fit(snprintf(out, PERI_HINT_MAX, "begin the file with local ws = require \"ws\""));
    }
    if (!nearest(vm, PERI_NAMES_GLOBALS, name, &found)) {
        return 0;
    }
    return fit(snprintf(out, PERI_HINT_MAX, "there is no global '%.*s': did you mean '%s'?",
                        SHOWN(name), found.near));
}

bool peri_hint_wants_line(struct peri_str message) {
    return find(message, "a nil value") || find(message, "bad argument #1 to '");
}

size_t peri_hint_write(const struct peri_vm *vm, struct peri_str message, struct peri_str line,
                       char out[PERI_HINT_MAX]) {
    struct peri_str name, object;
    if (find(message, "text must be valid UTF-8")) {
        return fit(snprintf(out, PERI_HINT_MAX,
                            "any bytes go as binary: conn:send(data, \"binary\"), "
                            "room:broadcast(data, { kind = \"binary\" })"));
    }
    size_t written = misspelt_field(message, out);
    written = written > 0 ? written : dot_for_colon(message, line, out);
    if (written > 0 || !find(message, "a nil value")) {
        return written;
    }
    if (take_name(message, "(field '", &name) && find_field(line, name, &object)) {
        return peri_str_equal(object, PERI_STR("ws")) ? unknown_of_ws(vm, name, out)
                                                      : nil_data(name, object, out);
    }
    if (take_name(message, "(method '", &name)) {
        return unknown_method(vm, name, out);
    }
    return take_name(message, "(global '", &name) ? unknown_global(vm, name, out) : 0;
}
