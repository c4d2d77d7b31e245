#include "net/addresses.h"

#include <assert.h>

#include "base/alloc.h"

enum { SECOND_NS = 1000000000, MS_NS = 1000000 };

bool peri_rate_allow(struct peri_rate *rate, uint64_t most, uint64_t now_ms) {
    if (most == 0) {
        return true;
    }
    // Each event takes its share of a second, and may begin up to a second ahead of its time. The
    // generic cell rate algorithm: ITU-T I.371, annex A
    uint64_t now = now_ms * MS_NS, share = SECOND_NS / most;
    uint64_t begin = rate->busy_ns > now ? rate->busy_ns : now;
    if (begin + share > now + SECOND_NS) {
        return false;
    }
    rate->busy_ns = begin + share;
    return true;
}

static void make_key(uint8_t key[9], const struct peri_ip *ip) {
    key[0] = ip->family;
    memcpy(key + 1, ip->bytes, 8); // all of an IPv4 address
}

static struct peri_str key_of(const struct peri_address_use *use) {
    return peri_str((const char *)use->key, sizeof use->key);
}

/// It is idle no more.
static void wake(struct peri_addresses *addresses, struct peri_address_use *use) {
    peri_list_remove(&use->idle);
    addresses->idle_count--;
}

static void forget(struct peri_addresses *addresses, struct peri_address_use *use) {
    wake(addresses, use);
    (void)peri_map_take(&addresses->uses, key_of(use));
    peri_free(use);
}

static struct peri_address_use *longest_idle(const struct peri_addresses *addresses) {
    return PERI_CONTAINER(addresses->idle.next, struct peri_address_use, idle);
}

void peri_addresses_init(struct peri_addresses *addresses) {
    *addresses = (struct peri_addresses){0};
    peri_list_init(&addresses->idle);
}

void peri_addresses_deinit(struct peri_addresses *addresses) {
    while (addresses->idle_count > 0) {
        forget(addresses, longest_idle(addresses));
    }
    assert(addresses->uses.count == 0);
    peri_map_deinit(&addresses->uses);
}

bool peri_addresses_forget(struct peri_addresses *addresses, uint64_t now_ms) {
    while (addresses->idle_count > 0) {
        struct peri_address_use *use = longest_idle(addresses);
        if (now_ms - use->idle_ms < PERI_ADDRESS_FORGET_MS &&
            addresses->idle_count <= PERI_ADDRESSES_IDLE) {
            return true;
        }
        forget(addresses, use);
    }
    return false;
}

int peri_addresses_enter(struct peri_addresses *addresses, const struct peri_ip *ip, uint64_t most,
                         uint64_t now_ms, struct peri_address_use **use) {
    uint8_t key[sizeof(*use)->key];
    make_key(key, ip);
    (void)peri_addresses_forget(addresses, now_ms);
    struct peri_address_use *found =
        peri_map_get(&addresses->uses, peri_str((const char *)key, sizeof key));
    if (!found) {
        found = peri_calloc(1, sizeof *found);
        if (!found) {
            return PERI_E_MEMORY;
        }
        memcpy(found->key, key, sizeof found->key);
        peri_list_init(&found->idle);
        if (peri_map_put(&addresses->uses, key_of(found), found) != PERI_OK) {
            peri_free(found);
            return PERI_E_MEMORY;
        }
    } else if (found->sessions == 0) {
        wake(addresses, found);
    } else if (most > 0 && found->sessions >= most) {
        return PERI_E_LIMIT;
    }
    found->sessions++;
    *use = found;
    return PERI_OK;
}

void peri_addresses_leave(struct peri_addresses *addresses, struct peri_address_use *use,
                          uint64_t now_ms) {
    assert(use->sessions > 0);
    use->sessions--;
    if (use->sessions == 0) {
        use->idle_ms = now_ms;
        peri_list_push(&addresses->idle, &use->idle);
        addresses->idle_count++;
        (void)peri_addresses_forget(addresses, now_ms);
    }
}
