// JSON both ways, by yyjson. Integers of 64 bits stay exact; null is json.null; an empty table is
// an object unless json.array has marked it.
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <yyjson.h>

#include "base/alloc.h"
#include "proto/utf8.h"
#include "script/api.h"
#include "script/guard.h"
#include "script/host_private.h"

/// Tables within tables, and arrays within arrays.
enum { DEPTH_MAX = 128 };

static void *json_malloc(void *context, size_t size) {
    (void)context;
    return peri_alloc(size);
}

static void *json_realloc(void *context, void *block, size_t old_size, size_t size) {
    (void)context;
    (void)old_size;
    return peri_realloc(block, size);
}

static void json_free(void *context, void *block) {
    (void)context;
    peri_free(block);
}

const yyjson_alc peri_json_allocator = {json_malloc, json_realloc, json_free, NULL};

// Encoding: nothing between making the document and freeing it may raise, so every step answers
// false with a reason, and the caller raises at the end.

struct encoder {
    lua_State *L;
    const struct peri_ids *ids;
    yyjson_mut_doc *doc;
    const char *why; ///< static
    size_t bytes;    ///< that the text will have at least
    size_t max_bytes;
    int depth;
    int path[DEPTH_MAX]; ///< stack indices of keys
};

static yyjson_mut_val *encode_value(struct encoder *e, int index);

static yyjson_mut_val *fail(struct encoder *e, const char *why) {
    e->why = why;
    return NULL;
}

static const char too_large[] = "too large";

/// Counts n bytes of text to come: what is too large must not first be built.
static bool count(struct encoder *e, size_t n) {
    e->bytes += n;
    if (e->bytes > e->max_bytes) {
        e->why = too_large;
        return false;
    }
    return true;
}

static yyjson_mut_val *encode_string(struct encoder *e, int index) {
    size_t len;
    const char *text = lua_tolstring(e->L, index, &len); // a string already: converts nothing
    if (!count(e, len + 2)) {
        return NULL;
    }
    if (!peri_utf8_is_valid(text, len)) {
        return fail(e, "a string that is not valid UTF-8");
    }
    return yyjson_mut_strn(e->doc, text, len);
}

static yyjson_mut_val *encode_conn(struct encoder *e, int index) {
    peri_key key = peri_conn_at(e->L, index);
    if (!key) {
        return yyjson_mut_null(e->doc);
    }
    char id[PERI_ID_BYTES];
    peri_id_write(e->ids, key, id);
    return yyjson_mut_strncpy(e->doc, id, sizeof id);
}

/// True when the table is a list: marked, or with exactly the keys 1 to n, n > 0.
static bool is_list(lua_State *L, int index, lua_Unsigned *n) {
    *n = lua_rawlen(L, index);
    if (lua_getmetatable(L, index)) {
        peri_vm_push(L, PERI_SLOT_ARRAY);
        bool marked = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
        if (marked) {
            return true;
        }
    }
    if (*n == 0) {
        return false;
    }
    lua_Unsigned count = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        int fits = 0;
        lua_Integer key = lua_tointegerx(L, -1, &fits);
        if (lua_type(L, -1) != LUA_TNUMBER || !fits || key < 1 || (lua_Unsigned)key > *n) {
            lua_pop(L, 1);
            return false;
        }
        count++;
    }
    return count == *n;
}

static yyjson_mut_val *encode_list(struct encoder *e, int index, lua_Unsigned n) {
    lua_State *L = e->L;
    yyjson_mut_val *list = yyjson_mut_arr(e->doc);
    for (lua_Unsigned i = 1; list && i <= n; i++) {
        lua_pushinteger(L, (lua_Integer)i);
        e->path[e->depth++] = lua_gettop(L);
        lua_rawgeti(L, index, (lua_Integer)i);
        yyjson_mut_val *item = encode_value(e, lua_gettop(L));
        if (!item) {
            return NULL;
        }
        e->depth--;
        lua_pop(L, 2);
        yyjson_mut_arr_append(list, item);
    }
    return list;
}

static yyjson_mut_val *encode_key(struct encoder *e, int index) {
    char digits[24];
    switch (lua_type(e->L, index)) {
    case LUA_TSTRING: return encode_string(e, index);
    case LUA_TNUMBER:
        if (lua_isinteger(e->L, index)) {
            int len = snprintf(digits, sizeof digits, LUA_INTEGER_FMT, lua_tointeger(e->L, index));
            return yyjson_mut_strncpy(e->doc, digits, (size_t)len);
        }
        return fail(e, "a key that is a fraction");
    case LUA_TLIGHTUSERDATA:
        if (peri_conn_at(e->L, index)) {
            return encode_conn(e, index);
        }
        return fail(e, "a key that is json.null");
    default: return fail(e, "a key that is no string, integer or conn");
    }
}

static yyjson_mut_val *encode_object(struct encoder *e, int index) {
    lua_State *L = e->L;
    yyjson_mut_val *object = yyjson_mut_obj(e->doc);
    lua_pushnil(L);
    while (object && lua_next(L, index)) {
        int at = lua_gettop(L);
        e->path[e->depth++] = at - 1;
        yyjson_mut_val *key = encode_key(e, at - 1);
        yyjson_mut_val *value = key ? encode_value(e, at) : NULL;
        if (!value) {
            return NULL;
        }
        e->depth--;
        yyjson_mut_obj_add(object, key, value);
        lua_settop(L, at - 1);
    }
    return object;
}

static yyjson_mut_val *encode_value(struct encoder *e, int index) {
    lua_State *L = e->L;
    lua_Unsigned n;
    if (lua_type(L, index) != LUA_TSTRING && !count(e, 1)) { // strings count themselves
        return NULL;
    }
    switch (lua_type(L, index)) {
    case LUA_TNIL: return yyjson_mut_null(e->doc);
    case LUA_TBOOLEAN: return yyjson_mut_bool(e->doc, lua_toboolean(L, index));
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            return yyjson_mut_sint(e->doc, lua_tointeger(L, index));
        }
        if (!isfinite(lua_tonumber(L, index))) {
            return fail(e, "a number that is not finite");
        }
        return yyjson_mut_real(e->doc, lua_tonumber(L, index));
    case LUA_TSTRING: return encode_string(e, index);
    case LUA_TLIGHTUSERDATA: return encode_conn(e, index);
    case LUA_TTABLE:
        if (e->depth >= DEPTH_MAX - 1 || !lua_checkstack(L, 8)) {
            return fail(e, "more than 127 tables deep, or in a circle");
        }
        if (peri_guard_why(L, index)) { // it is empty here
            return fail(e, peri_guard_why(L, index));
        }
        return is_list(L, index, &n) ? encode_list(e, index, n) : encode_object(e, index);
    case LUA_TFUNCTION: return fail(e, "a function");
    case LUA_TTHREAD: return fail(e, "a coroutine");
    default: return fail(e, "a value of a host's type");
    }
}

/// Raises for a failed encoding: "can't encode players[3].on_hit: a function"
static void raise_failure(const struct encoder *e) {
    lua_State *L = e->L;
    if (!e->why) {
        peri_raise_memory(L);
    }
    luaL_checkstack(L, 8, NULL);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (int i = 0; i < e->depth; i++) {
        bool named = lua_type(L, e->path[i]) == LUA_TSTRING;
        luaL_addstring(&text, named ? (i ? "." : "") : "[");
        luaL_tolstring(L, e->path[i], NULL);
        luaL_addvalue(&text);
        luaL_addstring(&text, named ? "" : "]");
    }
    luaL_pushresult(&text);
    const char *path = lua_tostring(L, -1);
    luaL_error(L, "JSON can't hold %s%s%s", path, *path ? ": " : "", e->why);
}

int peri_json_encode(lua_State *L, struct peri_vm *vm, int index, size_t max_bytes,
                     struct peri_buffer *out) {
    index = lua_absindex(L, index);
    int top = lua_gettop(L);
    luaL_checkstack(L, 8, NULL);
    struct encoder e = {.L = L, .ids = peri_host_ids(vm->host), .max_bytes = max_bytes};
    e.doc = yyjson_mut_doc_new(&peri_json_allocator);
    yyjson_mut_val *root = e.doc ? encode_value(&e, index) : NULL;
    char *text = NULL;
    size_t len = 0;
    int status = PERI_OK;
    if (root) {
        yyjson_mut_doc_set_root(e.doc, root);
        text = yyjson_mut_write_opts(e.doc, 0, &peri_json_allocator, &len, NULL);
        peri_buffer_clear(out, 1 << 16);
        if (!text) {
            status = PERI_E_MEMORY;
        } else if (len > max_bytes) {
            status = PERI_E_LIMIT;
        } else {
            status = peri_buffer_append(out, text, len);
        }
    }
    peri_free(text);
    yyjson_mut_doc_free(e.doc);
    if (!root && e.why == too_large) {
        status = PERI_E_LIMIT;
    } else if (!root) {
        raise_failure(&e);
    }
    lua_settop(L, top);
    if (status == PERI_E_MEMORY) {
        peri_raise_memory(L);
    }
    return status;
}

void peri_json_check(lua_State *L, struct peri_vm *vm, int index, size_t max_bytes,
                     struct peri_buffer *out) {
    if (peri_json_encode(L, vm, index, max_bytes, out) != PERI_OK) {
        luaL_error(L, "JSON of more than %I bytes", (lua_Integer)max_bytes);
    }
}

// Decoding: the document hangs on a userdata, so that a raise frees it.

static const char DOCUMENT[] = "perigee.json";

static int document_gc(lua_State *L) {
    yyjson_doc **doc = lua_touserdata(L, 1);
    yyjson_doc_free(*doc);
    *doc = NULL;
    return 0;
}

/// Lua's stack and ours are what nesting costs. @return false when it goes too deep. [-0, +any]
static bool push_decoded(lua_State *L, yyjson_val *value, int depth) {
    luaL_checkstack(L, 8, NULL);
    if (depth > DEPTH_MAX) {
        return false;
    }
    switch (yyjson_get_type(value)) {
    case YYJSON_TYPE_BOOL: lua_pushboolean(L, yyjson_get_bool(value)); break;
    case YYJSON_TYPE_NUM:
        if (yyjson_is_sint(value)) {
            lua_pushinteger(L, yyjson_get_sint(value));
        } else if (yyjson_is_uint(value) && yyjson_get_uint(value) <= INT64_MAX) {
            lua_pushinteger(L, (lua_Integer)yyjson_get_uint(value));
        } else {
            lua_pushnumber(L, yyjson_get_num(value));
        }
        break;
    case YYJSON_TYPE_STR: lua_pushlstring(L, yyjson_get_str(value), yyjson_get_len(value)); break;
    case YYJSON_TYPE_ARR: {
        size_t i, count;
        yyjson_val *item;
        lua_createtable(L, (int)yyjson_arr_size(value), 0);
        yyjson_arr_foreach(value, i, count, item) {
            if (!push_decoded(L, item, depth + 1)) {
                return false;
            }
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        peri_vm_push(L, PERI_SLOT_ARRAY); // an empty one stays an array when encoded
        lua_setmetatable(L, -2);
        break;
    }
    case YYJSON_TYPE_OBJ: {
        size_t i, count;
        yyjson_val *key, *item;
        lua_createtable(L, 0, (int)yyjson_obj_size(value));
        yyjson_obj_foreach(value, i, count, key, item) {
            lua_pushlstring(L, yyjson_get_str(key), yyjson_get_len(key));
            if (!push_decoded(L, item, depth + 1)) {
                return false;
            }
            lua_rawset(L, -3);
        }
        break;
    }
    default:
        peri_conn_push(L, 0); // null
        break;
    }
    return true;
}

int peri_json_decode(lua_State *L, struct peri_str text) {
    yyjson_doc **doc = lua_newuserdatauv(L, sizeof *doc, 0);
    *doc = NULL;
    luaL_setmetatable(L, DOCUMENT);
    int holder = lua_gettop(L);
    yyjson_read_err error;
    // Without YYJSON_READ_INSITU the text is only read, whatever the type says.
    *doc = yyjson_read_opts((char *)(uintptr_t)text.ptr, text.len, 0, &peri_json_allocator, &error);
    if (!*doc) {
        if (error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
            peri_raise_memory(L);
        }
        lua_pushnil(L);
        lua_pushfstring(L, "not JSON: %s at byte %I", error.msg, (lua_Integer)error.pos + 1);
        lua_remove(L, holder);
        return 2;
    }
    int results = 1;
    if (!push_decoded(L, yyjson_doc_get_root(*doc), 0)) {
        lua_settop(L, holder);
        lua_pushnil(L);
        lua_pushfstring(L, "JSON nested more than %d deep", DEPTH_MAX);
        results = 2;
    }
    yyjson_doc_free(*doc);
    *doc = NULL;
    lua_remove(L, holder);
    return results;
}

/// ws.json.encode(value) -> text
static int json_encode(lua_State *L) {
    struct peri_vm *vm = peri_vm_of(L);
    luaL_checkany(L, 1);
    struct peri_buffer *out = &vm->json;
    peri_json_check(L, vm, 1, (size_t)peri_limits_outbox_hard(&vm->limits), out);
    lua_pushlstring(L, (const char *)out->ptr, out->len);
    return 1;
}

/// ws.json.decode(text) -> value, or nil, message
static int json_decode(lua_State *L) {
    struct peri_str text;
    luaL_argexpected(L, lua_type(L, 1) == LUA_TSTRING, 1, "string");
    text.ptr = lua_tolstring(L, 1, &text.len);
    return peri_json_decode(L, text);
}

/// ws.json.array([list]) -> the list, marked: it stays an array when empty
static int json_array(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    peri_vm_push(L, PERI_SLOT_ARRAY);
    if (lua_getmetatable(L, 1) && !lua_rawequal(L, -1, -2)) {
        return luaL_argerror(L, 1, "the table has a metatable of its own");
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static const luaL_Reg functions[] = {
    {"encode", json_encode},
    {"decode", json_decode},
    {"array", json_array},
    {NULL, NULL},
};

void peri_json_open(lua_State *L) {
    luaL_newmetatable(L, DOCUMENT);
    lua_pushcfunction(L, document_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);

    peri_vm_push(L, PERI_SLOT_ARRAY);
    lua_pushliteral(L, "json.array");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);

    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    peri_conn_push(L, 0);
    lua_setfield(L, -2, "null");
    lua_setfield(L, -2, "json");
}
