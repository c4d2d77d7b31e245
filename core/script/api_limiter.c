// ws.limiter: token buckets by key. A bucket is one number, the time at which it will be full
// again: the fullest is the one that is full first, so a heap by that time forgets what is
// refilled, and at the limit the fullest.
#include <lauxlib.h>
#include <math.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/map.h"
#include "script/api.h"
#include "script/host_private.h"
#include "script/report.h"

static const char TYPE[] = "perigee.limiter";

struct bucket {
    double full_at; ///< seconds, monotonic
    size_t place;   ///< in the heap
    size_t key_len;
    char key[];
};

struct limiter {
    struct peri_list link; ///< in the VM's limiters
    struct peri_vm *vm;
    double rate; ///< tokens a second
    double burst;
    struct peri_map buckets;
    struct bucket **heap;
    size_t cap;
};

static double now_s(const struct peri_vm *vm) {
    return (double)peri_alarms_now(peri_host_alarms(vm->host)) / 1e9;
}

static size_t weight(const struct bucket *bucket) {
    // The bucket, its place in the heap and its slot in the map, which is at most 7/8 full.
    return sizeof *bucket + bucket->key_len + sizeof(void *) + 48;
}

static void place(struct limiter *l, size_t at, struct bucket *bucket) {
    l->heap[at] = bucket;
    bucket->place = at;
}

static void sift_up(struct limiter *l, struct bucket *bucket) {
    size_t at = bucket->place;
    while (at > 0 && l->heap[(at - 1) / 2]->full_at > bucket->full_at) {
        place(l, at, l->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(l, at, bucket);
}

static void sift_down(struct limiter *l, struct bucket *bucket, size_t count) {
    size_t at = bucket->place;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && l->heap[child + 1]->full_at < l->heap[child]->full_at) {
            child++;
        }
        if (l->heap[child]->full_at >= bucket->full_at) {
            break;
        }
        place(l, at, l->heap[child]);
    }
    place(l, at, bucket);
}

/// The limiter whose fullest bucket is the fullest of the script's.
static struct limiter *fullest_of(const struct peri_vm *vm) {
    struct limiter *fullest = NULL;
    for (struct peri_list *at = vm->limiters.next; at != &vm->limiters; at = at->next) {
        struct limiter *l = PERI_CONTAINER(at, struct limiter, link);
        if (l->buckets.count > 0 && (!fullest || l->heap[0]->full_at < fullest->heap[0]->full_at)) {
            fullest = l;
        }
    }
    return fullest;
}

/// Forgets the bucket that is full first.
static void forget_fullest(struct limiter *l) {
    struct bucket *bucket = l->heap[0];
    peri_map_take(&l->buckets, peri_str(bucket->key, bucket->key_len));
    size_t count = l->buckets.count;
    if (count > 0) {
        struct bucket *last = l->heap[count];
        last->place = 0;
        sift_down(l, last, count);
    }
    l->vm->limiter_keys--;
    PERI_IGNORE(peri_vm_charge(l->vm, -(int64_t)weight(bucket)));
    peri_free(bucket);
}

static int grow_heap(struct limiter *l) {
    if (l->buckets.count < l->cap) {
        return PERI_OK;
    }
    size_t cap = l->cap ? l->cap * 2 : 16;
    struct bucket **heap = peri_realloc(l->heap, cap * sizeof *heap);
    if (!heap) {
        return PERI_E_MEMORY;
    }
    l->heap = heap;
    l->cap = cap;
    return PERI_OK;
}

/// @return the new bucket, full; NULL when out of memory
static struct bucket *add_bucket(struct limiter *l, struct peri_str key, double now) {
    if (l->vm->limiter_keys >= l->vm->limits.limiter_keys) {
        peri_report_vm(l->vm, PERI_LOG_WARN,
                       PERI_STR("over limiter_keys: the fullest bucket is forgotten"));
        forget_fullest(fullest_of(l->vm));
    }
    struct bucket *bucket = peri_alloc(sizeof *bucket + key.len);
    if (!bucket) {
        return NULL;
    }
    bucket->full_at = now;
    bucket->key_len = key.len;
    memcpy(bucket->key, key.ptr, key.len);
    if (peri_vm_charge(l->vm, (int64_t)weight(bucket)) != PERI_OK) {
        goto fail;
    }
    if (grow_heap(l) != PERI_OK ||
        peri_map_put(&l->buckets, peri_str(bucket->key, key.len), bucket) != PERI_OK) {
        PERI_IGNORE(peri_vm_charge(l->vm, -(int64_t)weight(bucket)));
        goto fail;
    }
    l->vm->limiter_keys++;
    bucket->place = l->buckets.count - 1;
    l->heap[bucket->place] = bucket;
    sift_up(l, bucket);
    return bucket;
fail:
    peri_free(bucket);
    return NULL;
}

/// A key of any kind as bytes: its kind, then its value.
static struct peri_str check_key(lua_State *L, char number[16]) {
    struct peri_str key = {number, 0};
    lua_Integer integer;
    lua_Number real;
    uintptr_t conn;
    int fits = 0;
    switch (lua_type(L, 2)) {
    case LUA_TSTRING:
        lua_pushliteral(L, "s");
        lua_pushvalue(L, 2);
        lua_concat(L, 2);
        key.ptr = lua_tolstring(L, -1, &key.len);
        return key;
    case LUA_TNUMBER:
        integer = lua_tointegerx(L, 2, &fits);
        if (fits) { // 1.0 is 1, as in a table
            number[0] = 'i';
            memcpy(number + 1, &integer, sizeof integer);
            key.len = 1 + sizeof integer;
        } else {
            number[0] = 'n';
            real = lua_tonumber(L, 2);
            memcpy(number + 1, &real, sizeof real);
            key.len = 1 + sizeof real;
        }
        return key;
    default:
        conn = (uintptr_t)peri_conn_at(L, 2);
        luaL_argexpected(L, conn != 0, 2, "string, number or conn");
        number[0] = 'c';
        memcpy(number + 1, &conn, sizeof conn);
        key.len = 1 + sizeof conn;
        return key;
    }
}

/// limiter:allow(key[, cost]) -> true, or false and the seconds to wait
static int limiter_allow(lua_State *L) {
    struct limiter *l = luaL_checkudata(L, 1, TYPE);
    char number[16];
    double cost = luaL_optnumber(L, 3, 1);
    luaL_argcheck(L, cost >= 0 && cost <= l->burst, 3, "a cost is from 0 to the burst");
    struct peri_str key = check_key(L, number);
    double now = now_s(l->vm);
    for (int i = 0; i < 2 && l->buckets.count && l->heap[0]->full_at <= now; i++) {
        forget_fullest(l);
    }
    struct bucket *bucket = peri_map_get(&l->buckets, key);
    double full_at = bucket && bucket->full_at > now ? bucket->full_at : now;
    double tokens = l->burst - (full_at - now) * l->rate;
    // A token that is there but for the rounding is there.
    if (tokens + 1e-9 < cost) {
        lua_pushboolean(L, 0);
        lua_pushnumber(L, (cost - tokens) / l->rate);
        return 2;
    }
    if (!bucket && cost > 0) {
        bucket = add_bucket(l, key, now);
        if (!bucket) {
            peri_raise_memory(L);
        }
    }
    if (bucket) {
        bucket->full_at = full_at + cost / l->rate;
        sift_down(l, bucket, l->buckets.count);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int limiter_gc(lua_State *L) {
    struct limiter *l = lua_touserdata(L, 1);
    peri_list_remove(&l->link);
    l->vm->limiter_keys -= l->buckets.count;
    for (size_t i = 0; i < l->buckets.count; i++) {
        PERI_IGNORE(peri_vm_charge(l->vm, -(int64_t)weight(l->heap[i])));
        peri_free(l->heap[i]);
    }
    peri_map_deinit(&l->buckets);
    peri_free(l->heap);
    l->heap = NULL;
    return 0;
}

static double check_option(lua_State *L, const char *name, double otherwise) {
    lua_getfield(L, 1, name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return otherwise;
    }
    double value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
    if (!(value > 0) || !isfinite(value)) {
        luaL_error(L, "limiter: %s must be a number over 0", name);
    }
    lua_pop(L, 1);
    return value;
}

/// ws.limiter({rate=, per=, burst=}) -> a limiter: `rate` events in `per` seconds (default 1),
/// `burst` at once (default: the rate, at least 1)
static int ws_limiter(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    double rate = check_option(L, "rate", 0);
    if (rate <= 0) {
        return luaL_error(L, "limiter: rate is missing");
    }
    double per = check_option(L, "per", 1);
    double burst = check_option(L, "burst", rate > 1 ? rate : 1);
    struct limiter *l = lua_newuserdatauv(L, sizeof *l, 0);
    *l = (struct limiter){.vm = peri_vm_of(L), .rate = rate / per, .burst = burst};
    peri_list_push(&l->vm->limiters, &l->link);
    luaL_setmetatable(L, TYPE);
    return 1;
}

static const luaL_Reg methods[] = {
    {"allow", limiter_allow},
    {NULL, NULL},
};

static const luaL_Reg ws_functions[] = {
    {"limiter", ws_limiter},
    {NULL, NULL},
};

void peri_limiter_open(lua_State *L) {
    luaL_setfuncs(L, ws_functions, 0);
    luaL_newmetatable(L, TYPE);
    lua_pushcfunction(L, limiter_gc);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushliteral(L, "limiter");
    lua_setfield(L, -2, "__name");
    lua_pop(L, 1);
}
