// The floor of an echo by Lua: as floor_echo, but each message becomes a string for a script's handler, which is
// called under protection, and what that sends goes out. `conn` is a value that holds nothing, as perigee's is, so
// that `send` is looked up by a function. No checks, no limits, no waiting: it shows what Lua itself takes.
//
//     floor_lua SCRIPT
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "floors/floor.h"

enum {
    MESSAGE, ///< on the stack for good: the handler,
    METHODS, ///< the methods of conn,
    TEXT,    ///< and what a message is
    BINARY,
    OP_TEXT = 1,
    OP_BINARY = 2,
    BLOCK_STEP = 16, ///< bytes
    MOST_LISTED = 256,
    MOST_HEAP_KIB = 256, // the fastest of 64 to 1024: few rounds of the collector, and warm caches
};

static lua_State *lua;
static uint8_t *output, *out, *scratch;

// --- Memory: a list of what is free, for each size of small blocks ---

struct block {
    struct block *next;
};
static struct block *lists[MOST_LISTED / BLOCK_STEP + 1];

static size_t list_of(size_t bytes) {
    return (bytes + BLOCK_STEP - 1) / BLOCK_STEP;
}

static void *take(size_t bytes) {
    if (bytes > MOST_LISTED) {
        return malloc(bytes);
    }
    struct block **list = &lists[list_of(bytes)], *block = *list;
    if (!block) {
        return malloc(list_of(bytes) * BLOCK_STEP);
    }
    *list = block->next;
    return block;
}

static void give(void *ptr, size_t bytes) {
    if (bytes > MOST_LISTED) {
        free(ptr);
        return;
    }
    struct block *block = ptr;
    block->next = lists[list_of(bytes)];
    lists[list_of(bytes)] = block;
}

static void *allocate(void *self, void *ptr, size_t old_bytes, size_t bytes) {
    (void)self;
    void *now = bytes > 0 ? take(bytes) : NULL;
    if (ptr) {
        if (now) {
            memcpy(now, ptr, old_bytes < bytes ? old_bytes : bytes);
        }
        if (now || bytes == 0) {
            give(ptr, old_bytes);
        }
    }
    return now;
}

// --- conn ---

static int conn_send(lua_State *L) {
    size_t n;
    const char *bytes = luaL_checklstring(L, 2, &n);
    bool text = !lua_rawequal(L, 3, lua_upvalueindex(1));
    *out++ = (uint8_t)(0x80 | (text ? OP_TEXT : OP_BINARY));
    out = floor_write_length(n, out);
    memcpy(out, bytes, n);
    out += n;
    lua_pushboolean(L, true);
    return 1;
}

/// upvalue: name -> method
static int conn_index(lua_State *L) {
    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
}

static void serve_script(const char *script) {
    lua = lua_newstate(allocate, NULL);
    if (!lua) {
        fputs("no memory\n", stderr);
        exit(1);
    }
    lua_gc(lua, LUA_GCSTOP);
    if (luaL_dofile(lua, script) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(lua, -1));
        exit(1);
    }
    lua_getfield(lua, -1, "message");
    lua_replace(lua, 1 + MESSAGE); // in place of the script
    lua_newtable(lua);
    lua_pushliteral(lua, "text");
    lua_pushliteral(lua, "binary");

    lua_pushvalue(lua, 1 + BINARY);
    lua_pushcclosure(lua, conn_send, 1);
    lua_setfield(lua, 1 + METHODS, "send");

    lua_pushlightuserdata(lua, lua); // all of them have one metatable
    lua_newtable(lua);
    lua_pushvalue(lua, 1 + METHODS);
    lua_pushcclosure(lua, conn_index, 1);
    lua_setfield(lua, -2, "__index");
    lua_setmetatable(lua, -2);
    lua_pop(lua, 1);
}

static void hear(struct floor_client *client, const struct floor_frame *frame) {
    bool text = (frame->first & 15) == OP_TEXT;
    const uint8_t *end = floor_write(frame, scratch);
    lua_pushvalue(lua, 1 + MESSAGE);
    lua_pushlightuserdata(lua, client);
    lua_pushlstring(lua, (const char *)end - frame->len, frame->len);
    lua_pushvalue(lua, text ? 1 + TEXT : 1 + BINARY);
    if (lua_pcall(lua, 3, 0, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(lua, -1));
        exit(1);
    }
}

static void echo(struct floor_client *client, const uint8_t *in, size_t n) {
    struct floor_frame frame;
    out = output;
    if (lua_gc(lua, LUA_GCCOUNT) > MOST_HEAP_KIB) {
        lua_gc(lua, LUA_GCCOLLECT);
    }
    while (floor_next(&in, &n, &frame)) {
        if ((frame.first & 15) == FLOOR_OP_CLOSE) {
            out = floor_write(&frame, out);
            client->ends = true;
        } else {
            hear(client, &frame);
        }
    }
    if (n > 0 || client->kept) {
        floor_keep(client, in, n);
    }
    if (out > output) {
        floor_send(client, output, (size_t)(out - output));
    }
}

int main(int argc, char **argv) {
    output = malloc(floor_room());
    scratch = malloc(floor_room());
    if (!output || !scratch || argc != 2) {
        fputs("usage: floor_lua SCRIPT\n", stderr);
        return 1;
    }
    serve_script(argv[1]);
    floor_serve(&(struct floor_server){.on_frames = echo});
}
