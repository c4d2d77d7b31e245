#include "script/show.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "script/api.h"
#include "script/host_private.h"
#include "script/ids.h"

enum {
    DEPTH_MAX = 4,     ///< tables within tables
    INLINE_MAX = 72,   ///< bytes of a table on one line
    ENTRIES_MAX = 100, ///< of a table, of each kind of keys
    LOOKED_AT = 10000, ///< of a table, for its keys
    TEXT_MAX = 1000,   ///< bytes of a string
    INLINE = -1,       ///< instead of an indentation
};

struct shower {
    lua_State *L;
    const struct peri_vm *vm;
    struct peri_buffer *out;
    size_t max;
    int status;
};

/// @return false once something did not fit
static bool put(struct shower *s, struct peri_str text) {
    if (s->status != PERI_OK) {
        return false;
    }
    if (s->out->len >= s->max || text.len > s->max - s->out->len) {
        s->status = PERI_E_LIMIT;
    } else {
        s->status = peri_buffer_append_str(s->out, text);
    }
    return s->status == PERI_OK;
}

static void put_string(struct shower *s, struct peri_str text) {
    bool is_cut = text.len > TEXT_MAX;
    put(s, PERI_STR("\""));
    for (size_t i = 0; i < (is_cut ? TEXT_MAX : text.len) && s->status == PERI_OK; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        char escape[8];
        const char *known = c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : NULL;
        if (known) {
            put(s, peri_str_of(known));
        } else if (c < ' ' || c == 0x7f) {
            (void)snprintf(escape, sizeof escape, "\\%03u", c);
            put(s, peri_str_of(escape));
        } else {
            put(s, c == '"' || c == '\\' ? PERI_STR("\\") : PERI_STR(""));
            put(s, peri_str(text.ptr + i, 1));
        }
    }
    put(s, is_cut ? PERI_STR("\"...") : PERI_STR("\""));
}

static void put_number(struct shower *s, int index) {
    struct peri_str text;
    lua_pushvalue(s->L, index); // or it would become a string where it is
    text.ptr = lua_tolstring(s->L, -1, &text.len);
    put(s, text);
    lua_pop(s->L, 1);
}

static void put_function(struct shower *s, int index) {
    lua_Debug about;
    char text[LUA_IDSIZE + 32];
    lua_pushvalue(s->L, index);
    (void)lua_getinfo(s->L, ">S", &about);
    if (about.what[0] == 'C') {
        (void)snprintf(text, sizeof text, "function (built in)");
    } else {
        (void)snprintf(text, sizeof text, "function (%s:%d)", about.short_src, about.linedefined);
    }
    put(s, peri_str_of(text));
}

static void put_conn(struct shower *s, int index) {
    peri_key key = peri_conn_at(s->L, index);
    char id[PERI_ID_BYTES];
    if (key == 0) {
        put(s, PERI_STR("json.null"));
        return;
    }
    peri_id_write(peri_host_ids(s->vm->host), key, id);
    put(s, PERI_STR("conn "));
    put(s, peri_str(id, sizeof id));
}

static void put_userdata(struct shower *s, int index) {
    if (peri_room_is(s->L, index)) {
        struct peri_str name = {0};
        bool has_name = lua_getiuservalue(s->L, index, 1) == LUA_TSTRING;
        if (has_name) {
            name.ptr = lua_tolstring(s->L, -1, &name.len);
            put(s, PERI_STR("room "));
            put_string(s, name);
        } else {
            put(s, PERI_STR("room of all"));
        }
        lua_pop(s->L, 1);
        return;
    }
    bool has_type = luaL_getmetafield(s->L, index, "__name") == LUA_TSTRING;
    put(s, peri_str_of(has_type ? lua_tostring(s->L, -1) : "userdata"));
    lua_pop(s->L, has_type ? 1 : 0);
}

static void put_value(struct shower *s, int index, int depth, int indent);

static bool is_name(struct peri_str text) {
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x80 || !(isalpha(c) || c == '_' || (i > 0 && isdigit(c)))) {
            return false;
        }
    }
    return text.len > 0;
}

static void begin_entry(struct shower *s, int indent, bool is_first) {
    if (indent == INLINE) {
        put(s, is_first ? PERI_STR("") : PERI_STR(", "));
        return;
    }
    put(s, is_first ? PERI_STR("\n") : PERI_STR(",\n"));
    for (int i = 0; i < indent; i++) {
        put(s, PERI_STR("  "));
    }
}

/// An entry, its value on top. @param key its index; 0: it has its place
static void put_entry(struct shower *s, int key, int depth, int indent, bool is_first) {
    begin_entry(s, indent, is_first);
    if (key != 0) {
        struct peri_str name = {0};
        if (lua_type(s->L, key) == LUA_TSTRING) {
            name.ptr = lua_tolstring(s->L, key, &name.len);
        }
        if (is_name(name)) {
            put(s, name);
        } else {
            put(s, PERI_STR("["));
            put_value(s, key, DEPTH_MAX, INLINE);
            put(s, PERI_STR("]"));
        }
        put(s, PERI_STR(" = "));
    }
    put_value(s, lua_gettop(s->L), depth, indent);
}

static int by_text(const void *a, const void *b, void *state) {
    lua_State *L = state;
    size_t x_len, y_len;
    const char *x = lua_tolstring(L, *(const int *)a, &x_len);
    const char *y = lua_tolstring(L, *(const int *)b, &y_len);
    int order = memcmp(x, y, x_len < y_len ? x_len : y_len);
    return order != 0 ? order : (x_len > y_len) - (x_len < y_len);
}

/// A table that is being put.
struct part {
    int table, depth, indent;
    lua_Integer places; ///< 1 and on
    size_t shown;       ///< entries
    bool is_cut;        ///< there are more
};

/// The entries under 1, 2, and on.
static void put_places(struct shower *s, struct part *part) {
    while (part->places < ENTRIES_MAX && s->status == PERI_OK &&
           lua_rawgeti(s->L, part->table, part->places + 1) != LUA_TNIL) {
        put_entry(s, 0, part->depth, part->indent, part->shown == 0);
        lua_pop(s->L, 1);
        part->places++;
        part->shown++;
    }
    if (part->places < ENTRIES_MAX) {
        return;
    }
    lua_Integer length = (lua_Integer)lua_rawlen(s->L, part->table);
    part->is_cut = length > part->places;
    part->places = part->is_cut ? length : part->places;
}

/// The entries under strings, sorted.
static void put_fields(struct shower *s, struct part *part) {
    lua_State *L = s->L;
    int keys[ENTRIES_MAX], base = lua_gettop(L);
    size_t count = 0, looked_at = 0;
    lua_pushnil(L);
    while (lua_next(L, part->table)) {
        lua_pop(L, 1);
        if (count == ENTRIES_MAX || looked_at++ == LOOKED_AT) {
            part->is_cut = true;
            break;
        }
        if (lua_type(L, -1) == LUA_TSTRING) {
            keys[count++] = lua_gettop(L);
            lua_pushvalue(L, -1); // lua_next takes this one
        }
    }
    qsort_r(keys, count, sizeof keys[0], by_text, L);
    for (size_t i = 0; i < count && s->status == PERI_OK; i++) {
        lua_pushvalue(L, keys[i]);
        lua_rawget(L, part->table);
        put_entry(s, keys[i], part->depth, part->indent, part->shown == 0);
        lua_pop(L, 1);
        part->shown++;
    }
    lua_settop(L, base);
}

/// The entries under what is no string and has no place.
static void put_others(struct shower *s, struct part *part) {
    lua_State *L = s->L;
    int base = lua_gettop(L);
    size_t count = 0, looked_at = 0;
    lua_pushnil(L);
    while (s->status == PERI_OK && lua_next(L, part->table)) {
        int key = lua_gettop(L) - 1;
        bool has_place = lua_isinteger(L, key) && lua_tointeger(L, key) >= 1 &&
                         lua_tointeger(L, key) <= part->places;
        if (count == ENTRIES_MAX || looked_at++ == LOOKED_AT) {
            part->is_cut = true;
            break;
        }
        if (lua_type(L, key) != LUA_TSTRING && !has_place) {
            put_entry(s, key, part->depth, part->indent, part->shown == 0);
            count++;
            part->shown++;
        }
        lua_pop(L, 1);
    }
    lua_settop(L, base);
}

static void put_table(struct shower *s, int table, int depth, int indent) {
    struct part part = {
        .table = table, .depth = depth, .indent = indent == INLINE ? INLINE : indent + 1};
    luaL_checkstack(s->L, ENTRIES_MAX + LUA_MINSTACK, "to show a table");
    put(s, PERI_STR("{"));
    put_places(s, &part);
    put_fields(s, &part);
    put_others(s, &part);
    if (part.is_cut) {
        begin_entry(s, part.indent, part.shown == 0);
        put(s, PERI_STR("..."));
    }
    if (indent != INLINE && part.shown > 0) {
        begin_entry(s, indent, true);
    }
    put(s, PERI_STR("}"));
}

/// On one line if it fits.
static void put_table_well(struct shower *s, int table, int depth, int indent) {
    size_t before = s->out->len, max = s->max;
    if (depth >= DEPTH_MAX) {
        put(s, PERI_STR("{...}"));
        return;
    }
    if (indent != INLINE && s->status == PERI_OK && max - before > INLINE_MAX) {
        s->max = before + INLINE_MAX;
        put_table(s, table, depth + 1, INLINE);
        s->max = max;
        if (s->status != PERI_E_LIMIT) {
            return;
        }
        s->out->len = before;
        s->status = PERI_OK;
    }
    put_table(s, table, depth + 1, indent);
}

static void put_value(struct shower *s, int index, int depth, int indent) {
    struct peri_str text;
    switch (lua_type(s->L, index)) {
    case LUA_TNIL: put(s, PERI_STR("nil")); break;
    case LUA_TBOOLEAN:
        put(s, lua_toboolean(s->L, index) ? PERI_STR("true") : PERI_STR("false"));
        break;
    case LUA_TNUMBER: put_number(s, index); break;
    case LUA_TSTRING:
        text.ptr = lua_tolstring(s->L, index, &text.len);
        put_string(s, text);
        break;
    case LUA_TTABLE: put_table_well(s, index, depth, indent); break;
    case LUA_TFUNCTION: put_function(s, index); break;
    case LUA_TLIGHTUSERDATA: put_conn(s, index); break;
    case LUA_TUSERDATA: put_userdata(s, index); break;
    default: put(s, peri_str_of(luaL_typename(s->L, index))); break;
    }
}

int peri_show(lua_State *L, const struct peri_vm *vm, int index, size_t max_bytes,
              struct peri_buffer *out) {
    struct shower s = {.L = L, .vm = vm, .out = out, .max = max_bytes};
    luaL_checkstack(L, LUA_MINSTACK, "to show a value");
    put_value(&s, lua_absindex(L, index), 0, 0);
    return s.status;
}
