// A permutation of 64 bits under a random secret, then base 32 (RFC 4648's letters, small).
#include "script/ids.h"

#include "base/map.h"

static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";

enum { HOST_LETTERS = 3, KEY_LETTERS = PERI_ID_BYTES - HOST_LETTERS };

// Odd, so that multiplying by it is undone by multiplying by its inverse modulo 2^64.
#define FACTOR UINT64_C(0x9E3779B97F4A7C15)
#define FACTOR_INVERSE UINT64_C(0xF1DE83E19937733D)

static uint64_t mix(const struct peri_ids *ids, uint64_t x) {
    x ^= ids->secret[0];
    x *= FACTOR;
    x ^= x >> 32;
    x *= FACTOR;
    x ^= x >> 32;
    x += ids->secret[1];
    x *= FACTOR;
    return x ^ (x >> 32);
}

static uint64_t unmix(const struct peri_ids *ids, uint64_t x) {
    x ^= x >> 32; // a shift of half the width is its own inverse
    x *= FACTOR_INVERSE;
    x -= ids->secret[1];
    x ^= x >> 32;
    x *= FACTOR_INVERSE;
    x ^= x >> 32;
    x *= FACTOR_INVERSE;
    return x ^ ids->secret[0];
}

int peri_ids_init(struct peri_ids *ids) {
    return peri_random(ids, sizeof *ids);
}

static void write_base32(uint64_t value, char *out, int n) {
    for (int i = n - 1; i >= 0; i--) {
        out[i] = letters[value & 31];
        value >>= 5;
    }
}

static bool read_base32(const char *text, int n, uint64_t *value) {
    *value = 0;
    for (int i = 0; i < n; i++) {
        const char *at = text[i] ? strchr(letters, text[i]) : NULL;
        if (!at || *value >> 59) {
            return false;
        }
        *value = *value << 5 | (uint64_t)(at - letters);
    }
    return true;
}

void peri_id_write(const struct peri_ids *ids, peri_key key, char out[PERI_ID_BYTES]) {
    write_base32(ids->host & 0x7FFF, out, HOST_LETTERS);
    write_base32(mix(ids, key), out + HOST_LETTERS, KEY_LETTERS);
}

peri_key peri_id_read(const struct peri_ids *ids, struct peri_str id) {
    uint64_t host, mixed;
    if (id.len != PERI_ID_BYTES || !read_base32(id.ptr, HOST_LETTERS, &host) ||
        host != (ids->host & 0x7FFF) || !read_base32(id.ptr + HOST_LETTERS, KEY_LETTERS, &mixed)) {
        return 0;
    }
    return unmix(ids, mixed);
}
