#include "base/ip.h"

#include <arpa/inet.h>

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

enum { MAPPED_BITS = 8 * sizeof mapped };

struct peri_ip peri_ip_v4(const uint8_t bytes[4]) {
    struct peri_ip ip = {.family = PERI_IP_V4};
    memcpy(ip.bytes, bytes, 4);
    return ip;
}

struct peri_ip peri_ip_v6(const uint8_t bytes[PERI_IP_BYTES]) {
    if (memcmp(bytes, mapped, sizeof mapped) == 0) {
        return peri_ip_v4(bytes + sizeof mapped);
    }
    struct peri_ip ip = {.family = PERI_IP_V6};
    memcpy(ip.bytes, bytes, sizeof ip.bytes);
    return ip;
}

bool peri_ip_read(struct peri_ip *ip, struct peri_str text) {
    char copy[PERI_IP_TEXT];
    uint8_t bytes[PERI_IP_BYTES];
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, '\0', text.len)) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, bytes) == 1) {
        *ip = peri_ip_v4(bytes);
    } else if (inet_pton(AF_INET6, copy, bytes) == 1) {
        *ip = peri_ip_v6(bytes);
    } else {
        return false;
    }
    return true;
}

/// As inet_ntop, which has printf do it: this is done for each connection.
static void print_v4(char *out, const uint8_t bytes[4]) {
    for (int i = 0; i < 4; i++) {
        unsigned byte = bytes[i];
        if (i > 0) {
            *out++ = '.';
        }
        if (byte >= 100) {
            *out++ = (char)('0' + byte / 100);
        }
        if (byte >= 10) {
            *out++ = (char)('0' + byte / 10 % 10);
        }
        *out++ = (char)('0' + byte % 10);
    }
    *out = '\0';
}

void peri_ip_print(char out[PERI_IP_TEXT], const struct peri_ip *ip) {
    out[0] = '\0';
    switch ((enum peri_ip_family)ip->family) {
    case PERI_IP_V4: print_v4(out, ip->bytes); break;
    case PERI_IP_V6: (void)inet_ntop(AF_INET6, ip->bytes, out, PERI_IP_TEXT); break;
    case PERI_IP_UNIX: memcpy(out, "unix", sizeof "unix"); break;
    case PERI_IP_NONE: break;
    }
}

/// Whether the first bits of two are the same.
static bool shares(const struct peri_ip *a, const struct peri_ip *b, unsigned bits) {
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a->bytes, b->bytes, whole) != 0) {
        return false;
    }
    return rest == 0 || ((a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest)) == 0;
}

/// Reads a whole number of up to three digits. @return false for anything else
static bool read_bits(struct peri_str text, unsigned *bits) {
    unsigned number = 0;
    if (text.len == 0 || text.len > 3) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        number = number * 10 + (unsigned)(text.ptr[i] - '0'); // 0 to 9
    }
    *bits = number;
    return true;
}

bool peri_ip_range_read(struct peri_ip_range *range, struct peri_str text) {
    struct peri_ip ip = {.family = PERI_IP_UNIX};
    if (peri_str_equal(text, PERI_STR("unix"))) {
        *range = (struct peri_ip_range){ip, 0};
        return true;
    }
    const char *slash = text.len > 0 ? memchr(text.ptr, '/', text.len) : NULL;
    struct peri_str address = peri_str(text.ptr, slash ? (size_t)(slash - text.ptr) : text.len);
    if (!peri_ip_read(&ip, address)) {
        return false;
    }
    unsigned most = ip.family == PERI_IP_V4 ? 32 : 128, bits = most;
    if (slash) {
        // Bits of an IPv4 address that is written within an IPv6 one count those before it too.
        bool within = ip.family == PERI_IP_V4 && memchr(address.ptr, ':', address.len);
        unsigned before = within ? MAPPED_BITS : 0;
        if (!read_bits(peri_str(slash + 1, text.len - address.len - 1), &bits) || bits < before ||
            bits - before > most) {
            return false;
        }
        bits -= before;
    }
    struct peri_ip first = ip;
    for (unsigned i = bits; i < most; i++) {
        first.bytes[i / 8] &= (uint8_t)~(0x80U >> i % 8);
    }
    if (!peri_ip_equal(&first, &ip)) {
        return false; // 10.0.0.1/8: is one meant, or all of them?
    }
    *range = (struct peri_ip_range){ip, (uint8_t)bits};
    return true;
}

bool peri_ip_set_has(const struct peri_ip_set *set, const struct peri_ip *ip) {
    for (size_t i = 0; i < set->count; i++) {
        const struct peri_ip_range *range = &set->ranges[i];
        if (range->first.family == ip->family && shares(&range->first, ip, range->bits)) {
            return true;
        }
    }
    return false;
}
