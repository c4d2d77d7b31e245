// `req`: the request of an upgrade, an open or a plain HTTP event, readable while its handler runs.
#include <lauxlib.h>
#include <strings.h>

#include "proto/url.h"
#include "script/api.h"

static const char TYPE[] = "perigee.req";

/// A userdata; its tables (headers, query, ...) are made when first read, in its user value.
struct peri_req {
    struct peri_request *request; ///< shared(ref); NULL once the handler has ended
    struct peri_params *params;   ///< shared(ref), as long as request; NULL for none
    size_t remote_len;
    char remote[];
};

void peri_req_push(lua_State *L, struct peri_task *task) {
    struct peri_req *req = lua_newuserdatauv(L, sizeof *req + task->text.len, 1);
    *req = (struct peri_req){0};
    luaL_setmetatable(L, TYPE);
    // It is there until the task ends it. So it needs no finalizer, and no second cycle of the collector.
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, task);
    req->request = peri_request_ref(task->request);
    req->params = peri_params_ref(task->params);
    req->remote_len = task->text.len;
    memcpy(req->remote, task->text.ptr, task->text.len);
    task->req = req;
}

void peri_req_end(struct peri_task *task) {
    struct peri_req *req = task->req;
    if (!req) {
        return;
    }
    peri_request_unref(req->request);
    req->request = NULL;
    peri_params_unref(req->params);
    req->params = NULL;
    task->req = NULL;
    lua_pushnil(task->vm->L);
    lua_rawsetp(task->vm->L, LUA_REGISTRYINDEX, task); // which is there, so this can't raise
}

static struct peri_req *check_req(lua_State *L) {
    struct peri_req *req = luaL_checkudata(L, 1, TYPE);
    if (!req->request) {
        luaL_error(L, "a req is readable until its handler ends: copy what you need");
    }
    return req;
}

/// Repeated fields are joined by ", " (RFC 9110 section 5.3); cookies by "; " (RFC 6265bis).
static void push_headers(lua_State *L, const struct peri_request *request) {
    lua_createtable(L, 0, (int)request->field_count);
    for (size_t i = 0; i < request->field_count; i++) {
        const struct peri_field *field = &request->fields[i];
        peri_push_str(L, field->name);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) == LUA_TSTRING) {
            lua_pushstring(L, peri_str_equal(field->name, PERI_STR("cookie")) ? "; " : ", ");
            peri_push_str(L, field->value);
            lua_concat(L, 3);
        } else {
            lua_pop(L, 1);
            peri_push_str(L, field->value);
        }
        lua_rawset(L, -3);
    }
}

static void push_query(lua_State *L, const struct peri_request *request) {
    lua_newtable(L);
    size_t cursor = 0;
    struct peri_str parts[2];
    while (peri_form_next(request->query, &cursor, &parts[0], &parts[1])) {
        for (int i = 0; i < 2; i++) {
            // Decoding never makes text longer: memory of Lua's own holds it, whatever raises.
            struct peri_buffer decoded = {.cap = parts[i].len + 1};
            decoded.ptr = lua_newuserdatauv(L, decoded.cap, 0);
            if (peri_form_decode(&decoded, parts[i]) != PERI_OK) {
                peri_raise_memory(L);
            }
            peri_push_str(L, peri_buffer_str(&decoded));
            lua_remove(L, -2);
        }
        lua_rawset(L, -3);
    }
}

static struct peri_str trim(struct peri_str text) {
    while (text.len && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text.ptr++;
        text.len--;
    }
    while (text.len && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t')) {
        text.len--;
    }
    return text;
}

/// The first of a repeated name wins: browsers send the most specific first. RFC 6265 section 5.4
static void push_cookies(lua_State *L, const struct peri_request *request) {
    lua_newtable(L);
    for (size_t i = 0; i < request->field_count; i++) {
        struct peri_str rest = request->fields[i].value;
        if (!peri_str_equal(request->fields[i].name, PERI_STR("cookie"))) {
            continue;
        }
        while (rest.len) {
            const char *end = memchr(rest.ptr, ';', rest.len);
            size_t len = end ? (size_t)(end - rest.ptr) : rest.len;
            struct peri_str pair = trim(peri_str(rest.ptr, len));
            rest.ptr += len + (end ? 1 : 0);
            rest.len -= len + (end ? 1 : 0);
            const char *equals = pair.len ? memchr(pair.ptr, '=', pair.len) : NULL;
            if (!equals) {
                continue;
            }
            size_t name_len = (size_t)(equals - pair.ptr);
            peri_push_str(L, trim(peri_str(pair.ptr, name_len)));
            lua_pushvalue(L, -1);
            if (lua_rawget(L, -3) != LUA_TNIL) {
                lua_pop(L, 2);
                continue;
            }
            lua_pop(L, 1);
            struct peri_str value = trim(peri_str(equals + 1, pair.len - name_len - 1));
            if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"') {
                value = peri_str(value.ptr + 1, value.len - 2);
            }
            peri_push_str(L, value);
            lua_rawset(L, -3);
        }
    }
}

static void push_field(lua_State *L, const struct peri_req *req, const char *name) {
    const struct peri_request *request = req->request;
    if (strcmp(name, "method") == 0) {
        peri_push_str(L, request->method);
    } else if (strcmp(name, "path") == 0) {
        peri_push_str(L, request->path);
    } else if (strcmp(name, "body") == 0) {
        peri_push_str(L, request->body);
    } else if (strcmp(name, "remote") == 0) {
        peri_push_str(L, peri_str(req->remote, req->remote_len));
    } else if (strcmp(name, "query") == 0) {
        push_query(L, request);
    } else if (strcmp(name, "headers") == 0) {
        push_headers(L, request);
    } else if (strcmp(name, "cookies") == 0) {
        push_cookies(L, request);
    } else if (strcmp(name, "params") == 0) {
        peri_params_push(L, req->params);
    } else {
        lua_pushnil(L);
    }
}

/// req:bearer() -> the token of "Authorization: Bearer TOKEN", or nil. RFC 6750 section 2.1
static int req_bearer(lua_State *L) {
    const struct peri_req *req = check_req(L);
    struct peri_str value;
    static const char scheme[] = "bearer ";
    if (!peri_request_field(req->request, PERI_STR("authorization"), &value) ||
        value.len < sizeof scheme || strncasecmp(value.ptr, scheme, sizeof scheme - 1) != 0) {
        return 0;
    }
    value.ptr += sizeof scheme - 1;
    value.len -= sizeof scheme - 1;
    peri_push_str(L, trim(value));
    return 1;
}

/// upvalue: the methods
static int req_index(lua_State *L) {
    const struct peri_req *req = check_req(L);
    const char *name = luaL_checkstring(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
        return 1;
    }
    if (lua_getiuservalue(L, 1, 1) == LUA_TNIL) {
        lua_newtable(L);
        lua_replace(L, -2);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, 1);
    }
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TNIL) {
        return 1;
    }
    push_field(L, req, name);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, -5);
    return 1;
}

static int req_tostring(lua_State *L) {
    const struct peri_req *req = luaL_checkudata(L, 1, TYPE);
    if (!req->request) {
        lua_pushliteral(L, "req (ended)");
        return 1;
    }
    lua_pushliteral(L, "req ");
    peri_push_str(L, req->request->method);
    lua_pushliteral(L, " ");
    peri_push_str(L, req->request->path);
    lua_concat(L, 4);
    return 1;
}

static const luaL_Reg methods[] = {
    {"bearer", req_bearer},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__tostring", req_tostring},
    {NULL, NULL},
};

void peri_req_open(lua_State *L) {
    luaL_newmetatable(L, TYPE);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, req_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
