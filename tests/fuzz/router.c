// Routes and paths, beside a matcher that tries every pattern: static before :param before *, segment
// by segment.
#include "hub/router.h"

#include "fuzz.h"
#include "proto/url.h"

enum { PATTERNS_MAX = 16, SEGMENTS_MAX = 32 };

struct pattern {
    struct peri_str text;
    size_t count;
    struct peri_str at[SEGMENTS_MAX];
};

/// Segments of "/a/b/": a and b. @return false when there are too many to be compared
static bool split(struct peri_str text, size_t *count, struct peri_str at[SEGMENTS_MAX]) {
    text = peri_str(text.ptr + 1, text.len - 1);
    *count = 0;
    while (text.len > 0) {
        const char *slash = memchr(text.ptr, '/', text.len);
        size_t n = slash ? (size_t)(slash - text.ptr) : text.len;
        if (*count == SEGMENTS_MAX) {
            return false;
        }
        at[(*count)++] = fuzz_bytes(&text, n);
        (void)fuzz_byte(&text);
    }
    return true;
}

static int rank(struct peri_str segment) {
    return segment.ptr[0] == '*' ? 2 : segment.ptr[0] == ':' ? 1 : 0;
}

static bool matches(const struct pattern *pattern, size_t count, const struct peri_str *path) {
    for (size_t i = 0; i < count; i++) {
        if (i == pattern->count || path[i].len == 0) {
            return false;
        }
        switch (rank(pattern->at[i])) {
        case 2: return true;
        case 1: break;
        default:
            if (!peri_str_equal(pattern->at[i], path[i])) {
                return false;
            }
        }
    }
    return count == pattern->count;
}

static bool is_better(const struct pattern *a, const struct pattern *b) {
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        if (rank(a->at[i]) != rank(b->at[i])) {
            return rank(a->at[i]) < rank(b->at[i]);
        }
    }
    return false;
}

/// @param path decoded segments
/// @return the script, 0 for none
static uint32_t find(const struct pattern *patterns, size_t count, size_t path_count,
                     const struct peri_str *path) {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        if (matches(&patterns[i], path_count, path) &&
            (best == SIZE_MAX || is_better(&patterns[i], &patterns[best]))) {
            best = i;
        }
    }
    return best == SIZE_MAX ? 0 : (uint32_t)best + 1;
}

static void check_params(const struct peri_params *params, const struct pattern *pattern) {
    size_t expected = 0;
    for (size_t i = 0; i < pattern->count; i++) {
        if (rank(pattern->at[i]) > 0) {
            FUZZ_CHECK(params && expected < params->count);
            size_t skipped = rank(pattern->at[i]) == 1; // the colon
            struct peri_str name = pattern->at[i];
            FUZZ_CHECK(peri_str_equal(params->at[expected].name,
                                      peri_str(name.ptr + skipped, name.len - skipped)));
            FUZZ_CHECK(params->at[expected].value.len > 0);
            expected++;
        }
    }
    FUZZ_CHECK((params ? params->count : 0) == expected);
}

static void match(const struct peri_router *router, const struct pattern *patterns, size_t count,
                  struct peri_str line) {
    struct peri_str segments[SEGMENTS_MAX], decoded[SEGMENTS_MAX];
    struct peri_buffer bytes[SEGMENTS_MAX] = {0};
    size_t path_count = 0;
    uint32_t script = 0;
    struct peri_params *params = NULL;
    bool comparable = line.len > 0 && line.ptr[0] == '/' && split(line, &path_count, segments);
    bool valid = true;
    for (size_t i = 0; comparable && i < path_count; i++) {
        valid = peri_url_decode_segment(&bytes[i], segments[i]) == PERI_OK && valid;
        decoded[i] = peri_buffer_str(&bytes[i]);
    }
    char *path = fuzz_copy(line);
    int rc = peri_router_match(router, peri_str(path, line.len), &script, &params);
    free(path); // params are their own
    if (comparable) {
        uint32_t expected = valid ? find(patterns, count, path_count, decoded) : 0;
        FUZZ_CHECK(valid == (rc != PERI_E_INVALID));
        FUZZ_CHECK((rc == PERI_OK) == (expected != 0));
        FUZZ_CHECK(rc != PERI_OK || script == expected);
    }
    if (rc == PERI_OK) {
        FUZZ_CHECK(script >= 1 && script <= count);
        check_params(params, &patterns[script - 1]);
    }
    peri_params_unref(peri_params_ref(params));
    peri_params_unref(params);
    for (size_t i = 0; i < SEGMENTS_MAX; i++) {
        peri_buffer_deinit(&bytes[i]);
    }
}

/// The input: patterns, one a line, an empty line, paths.
void fuzz_one(struct peri_str in) {
    static struct pattern patterns[PATTERNS_MAX];
    size_t count = 0;
    struct peri_router *router = peri_router_new();
    FUZZ_CHECK(router);
    struct peri_str line;
    while ((line = fuzz_line(&in)).len > 0) {
        struct pattern pattern = {.text = line};
        bool comparable = line.ptr[0] != '/' || split(line, &pattern.count, pattern.at);
        if (!comparable || count == PATTERNS_MAX) {
            continue;
        }
        uint32_t taken_by = 0;
        char *copy = fuzz_copy(line);
        int rc = peri_router_add(router, peri_str(copy, line.len), (uint32_t)count + 1, &taken_by);
        free(copy);
        if (rc == PERI_OK) {
            patterns[count++] = pattern;
        }
        FUZZ_CHECK(rc == PERI_OK || rc == PERI_E_INVALID ||
                   (rc == PERI_E_EXISTS && taken_by >= 1 && taken_by <= count));
    }
    while (in.len > 0) {
        match(router, patterns, count, fuzz_line(&in));
    }
    peri_router_free(router);
}
