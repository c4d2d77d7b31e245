#include "base/nearest.h"

enum { LONGEST = 64 };

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
}

size_t peri_distance(struct peri_str a, struct peri_str b) {
    size_t row[LONGEST + 1];
    if (a.len > LONGEST || b.len > LONGEST) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b.len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t best = diagonal + (lower(a.ptr[i - 1]) != lower(b.ptr[j - 1]));
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[b.len];
}

struct peri_nearest peri_nearest(struct peri_str name) {
    // Further off than half of its letters, it is no likeness.
    return (struct peri_nearest){.name_ = name, .least_ = name.len / 2 + 1};
}

void peri_nearest_try(struct peri_nearest *nearest, const char *candidate) {
    size_t distance = peri_distance(nearest->name_, peri_str_of(candidate));
    if (distance < nearest->least_) {
        nearest->least_ = distance;
        nearest->found = candidate;
    }
}
