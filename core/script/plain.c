// Copying plain data. Tables are numbered as they are found and copied in that order, so depth costs
// no stack. Two lua_States take part, on one thread: `to`, under whose protection all runs and which
// alone may raise, and `from`, on which only calls that never raise are made; where it must
// allocate, for the map, it does so under a protection of its own.
#include "script/plain.h"

#include <lauxlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/numbers.h"
#include "script/api.h"
#include "script/guard.h"
#include "script/handover.h"
#include "script/path.h"

/// Stack slots that a copy needs on each side; where the states are one, of that one.
enum { SLOTS = 32 };

/// No power of two, nor two thirds of one: nodes, numbers and Lua's arrays do not all grow at once.
enum { FIRST_NODES = 12 };

/// A table of `from`, and what it becomes.
struct node {
    uint32_t parent; ///< the table in which it was found first; 0: a root
    uint32_t next;   ///< the one that is copied after it
    uint32_t depth;  ///< of a root 1; 0: it is bound, and nobody has reached it yet
};

struct peri_move {
    struct peri_vm *from, *to; ///< both NULL for a copy within the VM that runs
    struct node *nodes;        ///< by number, from 1; a userdata of to's, at 0 of its map
    uint32_t count, cap;
    struct peri_numbers numbers; ///< of tables of `from`; a userdata of its, at 0 of its map
    uint32_t first, last;        ///< the chain of those that were reached since the last strip
    size_t copied;
};

/// One call. The maps have their places in the registries, at &move->from and &move->to.
struct copy {
    struct peri_move *move;
    lua_State *from, *to;
    int index;    ///< of the root in `from`
    int from_map; ///< stack index: number -> table, which keeps it where it is
    int to_map;   ///< number -> table
    int apart;    ///< stack index of the table that gets what root 1 holds; 0: its own
    int level;    ///< of the script's function, for messages
    const char *what;
    enum peri_move_mode mode;
    struct peri_buffer *left; ///< NULL: nothing is to be told (any more)
};

// Room in `from` --------------------------------------------------------------------------------

/// Lifts from's cap for what the host needs there. @return the limit, for lower()
static size_t lift(const struct peri_move *move) {
    if (move->from == move->to) {
        return 0;
    }
    size_t limit = move->from->limit_;
    move->from->limit_ = SIZE_MAX / 2; // the allocator adds to it
    return limit;
}

static void lower(const struct peri_move *move, size_t limit) {
    if (move->from != move->to) {
        move->from->limit_ = limit;
    }
}

static void check_stacks(const struct peri_move *move, lua_State *from, lua_State *to) {
    luaL_checkstack(to, SLOTS, NULL);
    size_t limit = lift(move);
    bool has_room = lua_checkstack(from, SLOTS);
    lower(move, limit);
    if (!has_room) {
        peri_raise_memory(to);
    }
}

/// stack: the move, map, table, number
static int add_number(lua_State *from) {
    struct peri_move *move = lua_touserdata(from, 1);
    uint32_t number = (uint32_t)lua_tointeger(from, 4);
    if (peri_numbers_is_full(&move->numbers)) {
        size_t cap = peri_numbers_next_cap(&move->numbers);
        struct peri_number *entries = lua_newuserdatauv(from, cap * sizeof *entries, 0);
        lua_rawseti(from, 2, 0); // what was there goes with the next collection
        peri_numbers_move(&move->numbers, entries);
    }
    lua_pushvalue(from, 3);
    lua_rawseti(from, 2, number);
    peri_numbers_put(&move->numbers, lua_topointer(from, 3), number);
    return 0;
}

static int protect(struct peri_move *move, lua_State *from, int args) {
    size_t limit = lift(move);
    int status = lua_pcall(from, args, 0, 0);
    lower(move, limit);
    if (status != LUA_OK) {
        lua_pop(from, 1);
    }
    return status;
}

// The map -----------------------------------------------------------------------------------------

static void grow(struct peri_move *move, lua_State *to, int to_map) {
    if (move->count + 1 < move->cap) {
        return;
    }
    if (move->cap > UINT32_MAX / 2) {
        peri_raise_memory(to);
    }
    uint32_t cap = move->cap ? move->cap * 2 : FIRST_NODES;
    struct node *nodes = lua_newuserdatauv(to, cap * sizeof *nodes, 0);
    if (move->nodes) {
        memcpy(nodes, move->nodes, (move->count + 1) * sizeof *nodes);
    }
    lua_rawseti(to, to_map, 0);
    move->nodes = nodes;
    move->cap = cap;
}

/// The number that the table on top of `to` will have.
static uint32_t add_in_to(struct peri_move *move, lua_State *to, int to_map) {
    grow(move, to, to_map);
    lua_pushvalue(to, -1);
    lua_rawseti(to, to_map, (lua_Integer)move->count + 1);
    return move->count + 1;
}

/// Makes the table at `index` of `from` the one of that number: the last step.
/// @return a Lua status
static int add_in_from(struct peri_move *move, lua_State *from, int from_map, int index,
                       uint32_t number) {
    lua_pushcfunction(from, add_number);
    lua_pushlightuserdata(from, move);
    lua_pushvalue(from, from_map);
    lua_pushvalue(from, index);
    lua_pushinteger(from, (lua_Integer)number);
    int status = protect(move, from, 4);
    if (status == LUA_OK) {
        move->nodes[number] = (struct node){0};
        move->count = number;
    }
    return status;
}

static void enqueue(struct peri_move *move, uint32_t number, uint32_t parent, uint32_t depth) {
    move->nodes[number] = (struct node){.parent = parent, .depth = depth};
    if (move->last) {
        move->nodes[move->last].next = number;
    } else {
        move->first = number;
    }
    move->last = number;
}

/// After a call that raised: forgets what it has added after `last` and `count`. Never raises.
static void undo(struct peri_move *move, lua_State *from, uint32_t last, uint32_t count) {
    lua_rawgetp(from, LUA_REGISTRYINDEX, &move->from);
    uint32_t number = last ? move->nodes[last].next : move->first;
    while (number) {
        uint32_t next = move->nodes[number].next;
        move->nodes[number] = (struct node){0}; // if it was bound, it still is
        if (number > count) {
            lua_rawgeti(from, -1, number);
            peri_numbers_remove(&move->numbers, lua_topointer(from, -1));
            lua_pop(from, 1);
            lua_pushnil(from);
            lua_rawseti(from, -2, number);
        }
        number = next;
    }
    lua_pop(from, 1);
    if (last) {
        move->nodes[last].next = 0;
    } else {
        move->first = 0;
    }
    move->last = last;
    move->count = count;
}

// Paths -------------------------------------------------------------------------------------------

/// The key at which `child` stands in its parent; if it stands nowhere, it is a key itself.
static void put_step(struct peri_path *path, const struct copy *c, uint32_t parent,
                     uint32_t child) {
    lua_State *from = c->from;
    int top = lua_gettop(from);
    lua_rawgeti(from, c->from_map, parent);
    lua_rawgeti(from, c->from_map, child);
    lua_pushnil(from);
    while (lua_next(from, top + 1)) {
        if (lua_rawequal(from, -1, top + 2)) {
            peri_path_key(path, from, top + 3);
            lua_settop(from, top);
            return;
        }
        lua_pop(from, 1);
    }
    peri_path_key(path, from, top + 2);
    lua_settop(from, top);
}

/// What is at `key` (0: the root itself) of the table of that number.
static void write_refusal(struct peri_path *path, const struct copy *c, uint32_t number, int key,
                          const char *why) {
    // The outermost ones: a step has two characters at least, so that more would be cut anyway.
    uint32_t chain[PERI_PATH_MAX / 2] = {0};
    const size_t longest = sizeof chain / sizeof chain[0];
    const struct node *nodes = c->move->nodes;
    size_t depth = number ? nodes[number].depth : 0;
    for (uint32_t at = number; at; at = nodes[at].parent) {
        if (nodes[at].depth <= longest) {
            chain[nodes[at].depth - 1] = at;
        }
    }
    peri_path_begin(path, c->what);
    for (size_t i = 1; i < depth && i < longest && !path->is_cut; i++) {
        put_step(path, c, chain[i - 1], chain[i]);
    }
    if (key) {
        peri_path_key(path, c->from, key);
    }
    peri_path_end(path, " can't be kept: ", why);
}

/// In PERI_MOVE_STRICT it raises.
static void refuse(struct copy *c, uint32_t number, int key, const char *why) {
    struct peri_path path;
    if (c->mode == PERI_MOVE_LEAVE && !c->left) {
        return;
    }
    write_refusal(&path, c, number, key, why);
    if (c->mode == PERI_MOVE_STRICT) {
        luaL_where(c->to, c->level);
        lua_pushlstring(c->to, path.ptr, path.len);
        lua_concat(c->to, 2);
        lua_error(c->to);
    }
    if (peri_buffer_append(c->left, path.ptr, path.len) != PERI_OK) {
        peri_raise_memory(c->to);
    }
    c->left = NULL;
}

// Copying -----------------------------------------------------------------------------------------

/// Pushes what the table at `index` becomes, and has its contents copied in its turn.
/// @return why it can't be kept; NULL: it is pushed
static const char *push_table(struct copy *c, int index, uint32_t parent) {
    struct peri_move *move = c->move;
    uint32_t number = peri_numbers_get(&move->numbers, lua_topointer(c->from, index)); // 0: new
    if (number && move->nodes[number].depth) {
        lua_rawgeti(c->to, c->to_map, number);
        return NULL;
    }
    if (lua_getmetatable(c->from, index)) {
        peri_vm_push(c->from, PERI_SLOT_ARRAY);
        bool is_array = lua_rawequal(c->from, -1, -2);
        lua_pop(c->from, 2);
        if (!is_array) {
            const char *why = peri_guard_why(c->from, index);
            return why ? why : "a table with a metatable";
        }
    }
    uint32_t depth = parent ? move->nodes[parent].depth + 1 : 1;
    if (depth > PERI_PLAIN_DEPTH_MAX) {
        _Static_assert(PERI_PLAIN_DEPTH_MAX == 10000, "the message says so");
        return "more than 10000 tables deep";
    }
    if (number) {
        lua_rawgeti(c->to, c->to_map, number);
    } else {
        lua_newtable(c->to);
        number = add_in_to(move, c->to, c->to_map);
        if (add_in_from(move, c->from, c->from_map, index, number) != LUA_OK) {
            peri_raise_memory(c->to);
        }
    }
    enqueue(move, number, parent, depth);
    return NULL;
}

static void push_string(lua_State *from, int index, lua_State *to) {
    size_t len;
    const char *text = lua_tolstring(from, index, &len);
    lua_pushlstring(to, text, len);
}

/// Anything but a table; a room, if it is a userdata.
static void push_single(const struct copy *c, int index) {
    lua_State *from = c->from, *to = c->to;
    if (c->move->from == c->move->to) {
        lua_pushvalue(from, index);
        lua_xmove(from, to, 1);
        return;
    }
    switch (lua_type(from, index)) {
    case LUA_TBOOLEAN: lua_pushboolean(to, lua_toboolean(from, index)); break;
    case LUA_TLIGHTUSERDATA: lua_pushlightuserdata(to, lua_touserdata(from, index)); break;
    case LUA_TSTRING: push_string(from, index, to); break;
    case LUA_TUSERDATA: peri_room_copy(from, index, to); break;
    case LUA_TNUMBER:
        if (lua_isinteger(from, index)) {
            lua_pushinteger(to, lua_tointeger(from, index));
        } else {
            lua_pushnumber(to, lua_tonumber(from, index));
        }
        break;
    default: lua_pushnil(to); break;
    }
}

/// @return why the value can't be kept; NULL: its copy is pushed
static const char *push_value(struct copy *c, int index, uint32_t parent) {
    switch (lua_type(c->from, index)) {
    case LUA_TTABLE: return push_table(c, index, parent);
    case LUA_TFUNCTION: return "a function";
    case LUA_TTHREAD: return "a coroutine";
    case LUA_TUSERDATA:
        if (!peri_room_is(c->from, index)) {
            return "not plain data";
        }
        break;
    default: break;
    }
    push_single(c, index);
    return NULL;
}

static void copy_entry(struct copy *c, uint32_t number, int target, int key) {
    const char *why = push_value(c, key, number);
    if (why) {
        refuse(c, number, key, why);
        return;
    }
    why = push_value(c, key + 1, number);
    if (why) {
        lua_pop(c->to, 1);
        refuse(c, number, key, why);
        return;
    }
    lua_rawset(c->to, target);
}

/// Puts the contents of a table, and its mark as a JSON array, into its copy.
static void fill(struct copy *c, uint32_t number) {
    lua_State *from = c->from, *to = c->to;
    lua_rawgeti(from, c->from_map, number);
    int table = lua_gettop(from);
    if (c->apart && number == 1) {
        lua_pushvalue(to, c->apart);
    } else {
        lua_rawgeti(to, c->to_map, number);
    }
    int target = lua_gettop(to);
    if (lua_getmetatable(from, table)) {
        lua_pop(from, 1);
        peri_vm_push(to, PERI_SLOT_ARRAY);
        lua_setmetatable(to, target);
    }
    lua_pushnil(from);
    while (lua_next(from, table)) {
        int key = lua_gettop(from) - 1;
        copy_entry(c, number, target, key);
        lua_settop(from, key);
    }
    lua_pop(to, 1);
    lua_pop(from, 1);
}

/// The root and all that is reached from it. [from -0 +0, to -0 +1]
static void copy_root(struct copy *c) {
    uint32_t last = c->move->last;
    const char *why = push_value(c, c->index, 0);
    if (why) {
        refuse(c, 0, 0, why);
        lua_pushnil(c->to);
    }
    size_t copied = 0;
    uint32_t number = last ? c->move->nodes[last].next : c->move->first;
    while (number) {
        fill(c, number); // may add to the chain, and move the nodes
        copied++;
        number = c->move->nodes[number].next;
    }
    c->move->copied += copied;
}

// Within a VM -------------------------------------------------------------------------------------

static bool is_single(lua_State *L, int index) {
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TLIGHTUSERDATA:
    case LUA_TNUMBER:
    case LUA_TSTRING: return true;
    default: return false;
    }
}

/// Most data is one table without others: that needs no map. @return whether it was, and is pushed
static bool push_flat(lua_State *L, int index) {
    int top = lua_gettop(L);
    if (lua_getmetatable(L, index)) {
        lua_settop(L, top);
        return false;
    }
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (!is_single(L, top + 2) || !is_single(L, top + 3)) {
            lua_settop(L, top);
            return false;
        }
        lua_pushvalue(L, top + 2);
        lua_insert(L, top + 3);
        lua_rawset(L, top + 1);
    }
    return true;
}

void peri_plain_copy(lua_State *L, int index, int as, const char *what) {
    struct peri_move move = {0};
    index = lua_absindex(L, index);
    luaL_checkstack(L, SLOTS, NULL);
    if (is_single(L, index)) {
        lua_pushvalue(L, index);
        return;
    }
    if (lua_type(L, index) == LUA_TTABLE && push_flat(L, index)) {
        return;
    }
    int top = lua_gettop(L);
    struct copy c = {
        .move = &move,
        .from = L,
        .to = L,
        .index = index,
        .from_map = top + 1,
        .to_map = top + 2,
        .level = 1,
        .what = what,
    };
    lua_newtable(L);
    lua_newtable(L);
    if (as) {
        lua_newtable(L);
        c.apart = top + 3;
        lua_pushvalue(L, as);
        if (add_in_from(&move, L, c.from_map, index, add_in_to(&move, L, c.to_map)) != LUA_OK) {
            peri_raise_memory(L);
        }
    }
    copy_root(&c);
    if (as) {
        lua_settop(L, c.apart);
    }
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

// Between VMs -------------------------------------------------------------------------------------

static int make_map(lua_State *L) {
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, lua_touserdata(L, 1));
    return 0;
}

static int make_to_map(struct peri_move *move, lua_State *to) {
    lua_pushcfunction(to, make_map);
    lua_pushlightuserdata(to, &move->to);
    int status = lua_pcall(to, 1, 0, 0);
    if (status != LUA_OK) {
        lua_pop(to, 1);
    }
    return status;
}

struct peri_move *peri_move_new(struct peri_vm *from, struct peri_vm *to) {
    struct peri_move *move = peri_calloc(1, sizeof *move);
    if (!move) {
        return NULL;
    }
    move->from = from;
    move->to = to;
    size_t limit = lift(move);
    bool has_room = lua_checkstack(from->L, SLOTS);
    lower(move, limit);
    if (!has_room || !lua_checkstack(to->L, SLOTS) || make_to_map(move, to->L) != LUA_OK) {
        peri_free(move);
        return NULL;
    }
    lua_pushcfunction(from->L, make_map);
    lua_pushlightuserdata(from->L, &move->from);
    if (protect(move, from->L, 1) != LUA_OK) {
        peri_move_free(move);
        return NULL;
    }
    return move;
}

static void drop_map(lua_State *L, const void *at) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, at) != LUA_TNIL) {
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, at);
    }
    lua_pop(L, 1);
}

void peri_move_free(struct peri_move *move) {
    if (move) {
        drop_map(move->from->L, &move->from);
        drop_map(move->to->L, &move->to);
        peri_free(move);
    }
}

void peri_move_bind(struct peri_move *move, lua_State *from, int from_index, lua_State *to,
                    int to_index) {
    from_index = lua_absindex(from, from_index);
    to_index = lua_absindex(to, to_index);
    check_stacks(move, from, to);
    lua_rawgetp(to, LUA_REGISTRYINDEX, &move->to);
    lua_pushvalue(to, to_index);
    uint32_t number = add_in_to(move, to, lua_gettop(to) - 1);
    lua_pop(to, 2);
    lua_rawgetp(from, LUA_REGISTRYINDEX, &move->from);
    int status = add_in_from(move, from, lua_gettop(from), from_index, number);
    lua_pop(from, 1);
    if (status != LUA_OK) {
        peri_raise_memory(to);
    }
}

/// stack: the copy; the root as well, where the states are one
static int run(lua_State *to) {
    struct copy *c = lua_touserdata(to, 1);
    check_stacks(c->move, c->from, to);
    lua_rawgetp(c->from, LUA_REGISTRYINDEX, &c->move->from);
    c->from_map = lua_gettop(c->from);
    lua_rawgetp(to, LUA_REGISTRYINDEX, &c->move->to);
    c->to_map = lua_gettop(to);
    copy_root(c);
    return 1;
}

void peri_move_value(struct peri_move *move, lua_State *from, int index, lua_State *to,
                     const char *what, enum peri_move_mode mode, struct peri_buffer *left) {
    struct copy c = {
        .move = move,
        .from = from,
        .to = to,
        .index = from == to ? 2 : lua_absindex(from, index),
        .level = 2,
        .what = what,
        .mode = mode,
        .left = left,
    };
    uint32_t last = move->last, count = move->count;
    int top = lua_gettop(from);
    index = lua_absindex(from, index);
    check_stacks(move, from, to);
    lua_pushcfunction(to, run);
    lua_pushlightuserdata(to, &c);
    if (from == to) {
        lua_pushvalue(from, index);
    }
    int status = lua_pcall(to, from == to ? 2 : 1, 1, 0);
    if (from != to) {
        lua_settop(from, top);
    }
    if (status != LUA_OK) {
        undo(move, from, last, count);
        lua_error(to);
    }
}

size_t peri_move_count(const struct peri_move *move) {
    return move->copied;
}

void peri_move_strip(struct peri_move *move, lua_State *from) {
    int guard = lua_gettop(from);
    lua_rawgetp(from, LUA_REGISTRYINDEX, &move->from);
    uint32_t number = move->first;
    while (number) {
        lua_rawgeti(from, guard + 1, number);
        lua_pushnil(from);
        while (lua_next(from, guard + 2)) {
            lua_pop(from, 1);
            lua_pushvalue(from, -1);
            lua_pushnil(from);
            lua_rawset(from, guard + 2);
        }
        lua_pushvalue(from, guard);
        lua_setmetatable(from, guard + 2);
        lua_settop(from, guard + 1);
        uint32_t next = move->nodes[number].next;
        move->nodes[number].next = 0;
        number = next;
    }
    move->first = move->last = 0;
    lua_settop(from, guard - 1);
}
