// Where a value stands, as text: `state.players[3].on_hit`.
#include "script/path.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "proto/utf8.h"
#include "script/api.h"

/// A name, or a key: the rest of a long one is left out.
enum { KEY_SHOWN = 64, NAME_SHOWN = 100 };

/// What room the reason has after a path.
enum { REASON_MAX = 64 };

/// Adds the whole of a step, or three dots and nothing more.
static void put(struct peri_path *path, const char *step, size_t len) {
    static const char dots[] = "...";
    if (path->is_cut) {
        return;
    }
    if (len > sizeof path->ptr - REASON_MAX - path->len) {
        path->is_cut = true;
        step = dots;
        len = sizeof dots - 1;
    }
    memcpy(path->ptr + path->len, step, len);
    path->len += len;
}

static bool is_identifier(struct peri_str key) {
    bool is = key.len > 0 && !isdigit((unsigned char)key.ptr[0]);
    for (size_t i = 0; i < key.len && is; i++) {
        is = isalnum((unsigned char)key.ptr[i]) || key.ptr[i] == '_';
    }
    return is;
}

/// `.name`, or `["any \000 bytes"]`; a long one cut.
static void put_string_key(struct peri_path *path, struct peri_str key) {
    char step[KEY_SHOWN * 4 + 16];
    if (key.len <= KEY_SHOWN && is_identifier(key)) {
        put(path, step, (size_t)snprintf(step, sizeof step, ".%.*s", (int)key.len, key.ptr));
        return;
    }
    size_t shown = key.len, len = 2;
    bool is_utf8 = peri_utf8_is_valid(key.ptr, key.len);
    if (shown > KEY_SHOWN) {
        shown = KEY_SHOWN;
        while (is_utf8 && ((uint8_t)key.ptr[shown] & 0xC0) == 0x80) {
            shown--;
        }
    }
    step[0] = '[';
    step[1] = '"';
    for (size_t i = 0; i < shown; i++) {
        uint8_t byte = (uint8_t)key.ptr[i];
        if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !is_utf8)) {
            len += (size_t)snprintf(step + len, sizeof step - len, "\\%03u", (unsigned)byte);
        } else {
            if (byte == '"' || byte == '\\') {
                step[len++] = '\\';
            }
            step[len++] = (char)byte;
        }
    }
    len += (size_t)snprintf(step + len, sizeof step - len, shown < key.len ? "...\"]" : "\"]");
    put(path, step, len);
}

void peri_path_begin(struct peri_path *path, const char *name) {
    *path = (struct peri_path){0};
    path->len = (size_t)snprintf(path->ptr, sizeof path->ptr, "%.*s", NAME_SHOWN, name);
}

void peri_path_key(struct peri_path *path, lua_State *L, int index) {
    char step[64];
    int len;
    if (lua_type(L, index) == LUA_TSTRING) {
        struct peri_str key;
        key.ptr = lua_tolstring(L, index, &key.len);
        put_string_key(path, key);
        return;
    }
    if (lua_isinteger(L, index)) {
        len = snprintf(step, sizeof step, "[" LUA_INTEGER_FMT "]", lua_tointeger(L, index));
    } else if (lua_type(L, index) == LUA_TNUMBER) {
        len = snprintf(step, sizeof step, "[" LUA_NUMBER_FMT "]", lua_tonumber(L, index));
    } else if (lua_isboolean(L, index)) {
        len = snprintf(step, sizeof step, "[%s]", lua_toboolean(L, index) ? "true" : "false");
    } else if (peri_room_is(L, index)) {
        len = snprintf(step, sizeof step, "[room]");
    } else {
        len = snprintf(step, sizeof step, "[%s]",
                       peri_conn_at(L, index) ? "conn" : lua_typename(L, lua_type(L, index)));
    }
    put(path, step, (size_t)len);
}

void peri_path_end(struct peri_path *path, const char *what, const char *why) {
    size_t room = sizeof path->ptr - path->len;
    size_t len = (size_t)snprintf(path->ptr + path->len, room, "%s%s", what, why);
    path->len += len < room ? len : room - 1;
}
