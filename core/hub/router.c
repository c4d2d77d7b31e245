// A trie of path segments. A match tries the static child, then the parameter, then the rest, and
// backs out of what leads nowhere. Each node is reached by one way only, so a match visits each at
// most once, whatever the path.
#include "hub/router.h"

#include <assert.h>
#include <stdbool.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "proto/url.h"

/// Where a route ends: the script, and what its pattern calls the parameters on the way.
struct ending {
    uint32_t script; ///< 0: no route ends here
    size_t name_count;
    struct peri_str *names;
};

struct node {
    struct peri_str segment; ///< owned; of a static node, decoded
    struct node **children;  ///< static ones, sorted by segment
    size_t child_count, child_cap;
    struct node *param;
    struct ending here;
    struct ending rest; ///< "*"
};

struct peri_router {
    struct node root;
};

enum segment_kind { SEGMENT_STATIC, SEGMENT_PARAM, SEGMENT_REST };

/// Segments of a path or a pattern, less the leading slash and one trailing slash.
struct segments {
    size_t count;
    struct peri_str *at;
};

static void ending_deinit(struct ending *ending) {
    for (size_t i = 0; i < ending->name_count; i++) {
        peri_free((char *)ending->names[i].ptr); // made by copy_str
    }
    peri_free(ending->names);
}

/// Depth is that of the longest pattern, which is the operator's.
static void node_deinit(struct node *node) {
    for (size_t i = 0; i < node->child_count; i++) {
        node_deinit(node->children[i]);
        peri_free(node->children[i]);
    }
    if (node->param) {
        node_deinit(node->param);
        peri_free(node->param);
    }
    peri_free(node->children);
    peri_free((char *)node->segment.ptr); // made by copy_str
    ending_deinit(&node->here);
    ending_deinit(&node->rest);
}

struct peri_router *peri_router_new(void) {
    return peri_calloc(1, sizeof(struct peri_router));
}

void peri_router_free(struct peri_router *router) {
    if (router) {
        node_deinit(&router->root);
        peri_free(router);
    }
}

struct peri_params *peri_params_ref(struct peri_params *params) {
    if (params) {
        assert(params->refs_ < UINT32_MAX);
        params->refs_++;
    }
    return params;
}

void peri_params_unref(struct peri_params *params) {
    if (params && params->refs_ > 0) {
        params->refs_--;
    } else {
        peri_free(params);
    }
}

static int copy_str(struct peri_str *out, struct peri_str text) {
    char *ptr = peri_alloc(text.len);
    if (!ptr) {
        return PERI_E_MEMORY;
    }
    memcpy(ptr, text.ptr, text.len);
    *out = peri_str(ptr, text.len);
    return PERI_OK;
}

/// @param segments at: owned by the caller on PERI_OK; borrows from text
static int split(struct peri_str text, struct segments *segments) {
    text.ptr++;
    text.len--;
    size_t count = text.len > 0;
    if (count > 0 && text.ptr[text.len - 1] == '/') {
        text.len--;
    }
    for (size_t i = 0; i < text.len; i++) {
        count += text.ptr[i] == '/';
    }
    struct peri_str *at = peri_calloc(count, sizeof *at);
    if (!at) {
        return PERI_E_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const char *slash = text.len > 0 ? memchr(text.ptr, '/', text.len) : NULL;
        size_t n = slash ? (size_t)(slash - text.ptr) : text.len; // slash lies in text
        at[i] = peri_str(text.ptr, n);
        n += slash != NULL;
        text.ptr += n;
        text.len -= n;
    }
    *segments = (struct segments){count, at};
    return PERI_OK;
}

static enum segment_kind kind_of(struct peri_str segment) {
    switch (segment.ptr[0]) {
    case ':': return SEGMENT_PARAM;
    case '*': return SEGMENT_REST;
    default: return SEGMENT_STATIC;
    }
}

static struct peri_str param_name(struct peri_str segment) {
    return peri_str(segment.ptr + 1, segment.len - 1);
}

static bool is_valid_pattern(const struct segments *pattern) {
    for (size_t i = 0; i < pattern->count; i++) {
        struct peri_str segment = pattern->at[i];
        if (segment.len == 0) {
            return false;
        }
        switch (kind_of(segment)) {
        case SEGMENT_STATIC: break;
        case SEGMENT_REST:
            if (segment.len != 1 || i + 1 != pattern->count) {
                return false;
            }
            break;
        case SEGMENT_PARAM:
            if (segment.len == 1) {
                return false;
            }
            for (size_t j = 0; j < i; j++) {
                if (peri_str_equal(pattern->at[j], segment)) {
                    return false;
                }
            }
            break;
        }
    }
    return true;
}

static int compare(struct peri_str a, struct peri_str b) {
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    if (order != 0) {
        return order;
    }
    return (a.len > b.len) - (a.len < b.len);
}

/// @param at where it is, or where it would have to be
static struct node *find_static(const struct node *node, struct peri_str segment, size_t *at) {
    size_t low = 0, high = node->child_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(node->children[middle]->segment, segment);
        if (order == 0) {
            *at = middle;
            return node->children[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *at = low;
    return NULL;
}

static struct node *add_static(struct node *node, struct peri_str segment) {
    size_t at = 0;
    struct node *child = find_static(node, segment, &at);
    if (child) {
        return child;
    }
    if (node->child_count == node->child_cap) {
        size_t cap = node->child_cap ? 2 * node->child_cap : 4;
        struct node **children = peri_realloc(node->children, cap * sizeof(struct node *));
        if (!children) {
            return NULL;
        }
        node->children = children;
        node->child_cap = cap;
    }
    child = peri_calloc(1, sizeof *child);
    if (!child) {
        return NULL;
    }
    if (copy_str(&child->segment, segment) != PERI_OK) {
        peri_free(child);
        return NULL;
    }
    struct node **place = node->children + at;
    memmove(place + 1, place, (node->child_count - at) * sizeof(struct node *));
    *place = child;
    node->child_count++;
    return child;
}

static struct node *add_param(struct node *node) {
    if (!node->param) {
        node->param = peri_calloc(1, sizeof *node->param);
    }
    return node->param;
}

static int make_ending(struct ending *out, const struct segments *pattern, uint32_t script) {
    struct ending ending = {.script = script};
    ending.names = peri_calloc(pattern->count, sizeof *ending.names);
    if (!ending.names) {
        return PERI_E_MEMORY;
    }
    for (size_t i = 0; i < pattern->count; i++) {
        if (kind_of(pattern->at[i]) != SEGMENT_PARAM) {
            continue;
        }
        if (copy_str(&ending.names[ending.name_count], param_name(pattern->at[i])) != PERI_OK) {
            ending_deinit(&ending);
            return PERI_E_MEMORY;
        }
        ending.name_count++;
    }
    *out = ending;
    return PERI_OK;
}

/// Nodes made on the way stay when a later allocation fails: a node without a route is harmless.
static int add(struct node *node, const struct segments *pattern, uint32_t script,
               uint32_t *taken_by) {
    bool rest = false;
    for (size_t i = 0; i < pattern->count && !rest; i++) {
        switch (kind_of(pattern->at[i])) {
        case SEGMENT_STATIC: node = add_static(node, pattern->at[i]); break;
        case SEGMENT_PARAM: node = add_param(node); break;
        case SEGMENT_REST: rest = true; break;
        }
        if (!node) {
            return PERI_E_MEMORY;
        }
    }
    struct ending *ending = rest ? &node->rest : &node->here;
    if (ending->script != 0) {
        *taken_by = ending->script;
        return PERI_E_EXISTS;
    }
    return make_ending(ending, pattern, script);
}

int peri_router_add(struct peri_router *router, struct peri_str pattern, uint32_t script,
                    uint32_t *taken_by) {
    if (pattern.len == 0 || pattern.ptr[0] != '/') {
        return PERI_E_INVALID;
    }
    struct segments segments;
    int rc = split(pattern, &segments);
    if (rc != PERI_OK) {
        return rc;
    }
    rc = is_valid_pattern(&segments) ? add(&router->root, &segments, script, taken_by)
                                     : PERI_E_INVALID;
    peri_free(segments.at);
    return rc;
}

/// A match under way: the path's segments, and which of them parameters took so far.
struct search {
    struct segments path;
    size_t *taken; ///< indices into path.at
    size_t taken_count;
    const struct ending *found;
    size_t rest_from; ///< where "*" begins; path.count for none
};

/// Recursion is as deep as the longest pattern.
static bool descend(struct search *s, const struct node *node, size_t depth) {
    if (depth == s->path.count) {
        if (node->here.script == 0) {
            return false;
        }
        s->found = &node->here;
        s->rest_from = depth;
        return true;
    }
    struct peri_str segment = s->path.at[depth];
    if (segment.len == 0) {
        return false; // no static segment, parameter or rest begins empty
    }
    size_t at = 0;
    const struct node *child = find_static(node, segment, &at);
    if (child && descend(s, child, depth + 1)) {
        return true;
    }
    if (node->param) {
        s->taken[s->taken_count++] = depth;
        if (descend(s, node->param, depth + 1)) {
            return true;
        }
        s->taken_count--;
    }
    if (node->rest.script != 0) {
        s->found = &node->rest;
        s->rest_from = depth;
        return true;
    }
    return false;
}

/// Decodes each segment in place of the raw one. @param text holds them; reserved for all, so
/// that it does not move
static int decode(struct segments *path, size_t raw_bytes, struct peri_buffer *text) {
    int rc = peri_buffer_reserve(text, raw_bytes);
    for (size_t i = 0; rc == PERI_OK && i < path->count; i++) {
        size_t start = text->len;
        rc = peri_url_decode_segment(text, path->at[i]);
        path->at[i] = peri_str((const char *)text->ptr + start, text->len - start);
    }
    return rc;
}

static struct peri_str put(char **to, struct peri_str text) {
    char *start = *to;
    if (text.len > 0) {
        memcpy(start, text.ptr, text.len);
    }
    *to += text.len;
    return peri_str(start, text.len);
}

static int make_params(const struct search *s, struct peri_params **out) {
    const struct ending *found = s->found;
    bool rest = s->rest_from < s->path.count;
    size_t count = found->name_count + rest;
    if (count == 0) {
        *out = NULL;
        return PERI_OK;
    }
    size_t bytes = 1; // of the name "*"
    for (size_t i = 0; i < found->name_count; i++) {
        bytes += found->names[i].len + s->path.at[s->taken[i]].len;
    }
    for (size_t i = s->rest_from; i < s->path.count; i++) {
        bytes += s->path.at[i].len + 1;
    }
    struct peri_params *params = peri_alloc(sizeof *params + count * sizeof params->at[0] + bytes);
    if (!params) {
        return PERI_E_MEMORY;
    }
    params->count = count;
    params->refs_ = 0;
    char *to = (char *)&params->at[count];
    for (size_t i = 0; i < found->name_count; i++) {
        params->at[i].name = put(&to, found->names[i]);
        params->at[i].value = put(&to, s->path.at[s->taken[i]]);
    }
    if (rest) {
        params->at[count - 1].name = put(&to, PERI_STR("*"));
        char *start = to;
        for (size_t i = s->rest_from; i < s->path.count; i++) {
            if (i > s->rest_from) {
                put(&to, PERI_STR("/"));
            }
            put(&to, s->path.at[i]);
        }
        params->at[count - 1].value = peri_str(start, (size_t)(to - start)); // to went forward
    }
    *out = params;
    return PERI_OK;
}

void peri_router_exchange(struct peri_router *a, struct peri_router *b) {
    struct peri_router kept = *a;
    *a = *b;
    *b = kept;
}

int peri_router_match(const struct peri_router *router, struct peri_str path, uint32_t *script,
                      struct peri_params **params) {
    if (path.len == 0 || path.ptr[0] != '/') {
        return PERI_AGAIN;
    }
    struct search s = {0};
    struct peri_buffer text = {0};
    int rc = split(path, &s.path);
    if (rc != PERI_OK) {
        return rc;
    }
    rc = decode(&s.path, path.len, &text);
    if (rc != PERI_OK) {
        goto done;
    }
    s.taken = peri_calloc(s.path.count, sizeof *s.taken);
    if (!s.taken) {
        rc = PERI_E_MEMORY;
        goto done;
    }
    if (!descend(&s, &router->root, 0)) {
        rc = PERI_AGAIN;
        goto done;
    }
    rc = make_params(&s, params);
    if (rc == PERI_OK) {
        *script = s.found->script;
    }
done:
    peri_free(s.taken);
    peri_free(s.path.at);
    peri_buffer_deinit(&text);
    return rc;
}
