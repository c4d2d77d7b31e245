// Preloaded into a host whose instructions are counted: what is drawn at random there, and where
// Lua's hashes begin, is the same in each run with one STEADY_SEED. Which keys of a table collide
// makes up to 1 % of a message.
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/types.h>
#include <time.h>

static uint64_t seed(void) {
    const char *text = getenv("STEADY_SEED");
    return text ? strtoull(text, NULL, 10) : 0;
}

// Lua makes of it, and of addresses, the seed of a state (luai_makeseed).
time_t time(time_t *out) {
    time_t now = (time_t)(1000000000 + seed());
    if (out) {
        *out = now;
    }
    return now;
}

// splitmix64: identities that are drawn differ, as they must.
ssize_t getrandom(void *buffer, size_t n, unsigned flags) {
    static uint64_t state;
    (void)flags;
    if (state == 0) {
        state = seed() + 1;
    }
    for (size_t i = 0; i < n; i++) {
        state += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = (state ^ (state >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        ((unsigned char *)buffer)[i] = (unsigned char)(z ^ (z >> 31));
    }
    return (ssize_t)n;
}
