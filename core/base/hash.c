// SipHash-1-3 (Aumasson and Bernstein) and getrandom(2).
#include "base/hash.h"

#include <errno.h>
#include <pthread.h>
#include <sys/random.h>
#include <time.h>

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint8_t process_key[16];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

int peri_random(void *bytes, size_t n) {
    uint8_t *at = bytes;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return PERI_E_SYSTEM;
        }
        at += got;
        n -= (size_t)got; // not negative here
    }
    return PERI_OK;
}

static void make_process_key(void) {
    if (peri_random(process_key, sizeof process_key) == PERI_OK) {
        return;
    }
    // A kernel that refuses: what differs between processes is better than a constant.
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    uintptr_t where = (uintptr_t)&now;
    memcpy(process_key, &now.tv_nsec, sizeof now.tv_nsec);
    memcpy(process_key + 8, &where, sizeof where);
}

static uint64_t rotate(uint64_t x, int by) {
    return x << by | x >> (64 - by);
}

static void sip_round(struct sip *s) {
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static void sip_word(struct sip *s, uint64_t word) {
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

static uint64_t read_le(const uint8_t *bytes, size_t n) {
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++) {
        word |= (uint64_t)bytes[i] << (8 * i);
    }
    return word;
}

uint64_t peri_siphash(const uint8_t key[16], const void *bytes, size_t n) {
    uint64_t k0 = read_le(key, 8);
    uint64_t k1 = read_le(key + 8, 8);
    struct sip s = {
        .v0 = k0 ^ UINT64_C(0x736f6d6570736575),
        .v1 = k1 ^ UINT64_C(0x646f72616e646f6d),
        .v2 = k0 ^ UINT64_C(0x6c7967656e657261),
        .v3 = k1 ^ UINT64_C(0x7465646279746573),
    };
    const uint8_t *at = bytes;
    size_t left = n;
    for (; left >= 8; at += 8, left -= 8) {
        sip_word(&s, read_le(at, 8));
    }
    uint64_t tail = left ? read_le(at, left) : 0;
    sip_word(&s, (uint64_t)n << 56 | tail);
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t peri_hash(const void *bytes, size_t n) {
    (void)pthread_once(&process_key_once, make_process_key);
    return peri_siphash(process_key, bytes, n);
}
