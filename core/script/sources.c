#include "script/sources.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "script/host_private.h"

enum {
    AROUND = 2,      ///< lines of an excerpt on each side
    SHOWN_MAX = 200, ///< bytes of one that are shown
    PATH_SHOWN = 59, ///< of a path in Lua's messages, "..." included where it is longer
};

static void unref(struct peri_source *source) {
    if (atomic_fetch_sub_explicit(&source->refs_, 1, memory_order_acq_rel) == 1) {
        peri_buffer_deinit(&source->text);
        peri_free(source->path);
        peri_free(source);
    }
}

void peri_sources_free(struct peri_sources *sources) {
    for (size_t i = 0; i < sources->count; i++) {
        unref(sources->at[i]);
    }
    peri_free(sources->at);
    *sources = (struct peri_sources){0};
}

/// @return its place; count: there is none
static size_t find_path(const struct peri_sources *sources, const char *path) {
    size_t i = 0;
    while (i < sources->count && strcmp(sources->at[i]->path, path) != 0) {
        i++;
    }
    return i;
}

const struct peri_source *peri_sources_get(const struct peri_sources *sources, const char *path) {
    size_t i = find_path(sources, path);
    return i < sources->count ? sources->at[i] : NULL;
}

static int reserve(struct peri_sources *sources, size_t count) {
    struct peri_source **at = peri_realloc(sources->at, count * sizeof(struct peri_source *));
    if (!at) {
        return PERI_E_MEMORY;
    }
    sources->at = at;
    return PERI_OK;
}

int peri_sources_share(struct peri_sources *sources, const struct peri_sources *with) {
    if (reserve(sources, sources->count + with->count + 1) != PERI_OK) {
        peri_sources_free(sources);
        return PERI_E_MEMORY;
    }
    for (size_t i = 0; i < with->count; i++) {
        atomic_fetch_add_explicit(&with->at[i]->refs_, 1, memory_order_relaxed);
        sources->at[sources->count++] = with->at[i];
    }
    sources->bytes += with->bytes;
    return PERI_OK;
}

bool peri_sources_equal(const struct peri_sources *a, const struct peri_sources *b) {
    bool equal = a->count == b->count;
    for (size_t i = 0; i < a->count && equal; i++) {
        const struct peri_source *other = peri_sources_get(b, a->at[i]->path);
        equal = other &&
                peri_str_equal(peri_buffer_str(&a->at[i]->text), peri_buffer_str(&other->text));
    }
    return equal;
}

static struct peri_source *make(const char *path) {
    struct peri_source *source = peri_calloc(1, sizeof *source);
    if (!source) {
        return NULL;
    }
    source->path = peri_text_copy(peri_str_of(path));
    if (!source->path) {
        peri_free(source);
        return NULL;
    }
    atomic_init(&source->refs_, 1);
    return source;
}

const struct peri_source *peri_sources_keep(struct peri_sources *sources, const char *path,
                                            struct peri_buffer *text) {
    size_t i = find_path(sources, path);
    bool replaces = i < sources->count;
    size_t others = sources->bytes - (replaces ? sources->at[i]->text.len : 0);
    if (text->len > PERI_SOURCES_MAX - others ||
        (!replaces && reserve(sources, sources->count + 1) != PERI_OK)) {
        return NULL;
    }
    struct peri_source *source = make(path);
    if (!source) {
        return NULL;
    }
    if (replaces) {
        unref(sources->at[i]);
    } else {
        sources->count++;
    }
    sources->at[i] = source;
    source->text = *text;
    *text = (struct peri_buffer){0};
    sources->bytes = others + source->text.len;
    return source;
}

/// The number at the beginning, behind a colon and before another. @return 0: there is none
static uint32_t take_line(struct peri_str text) {
    uint32_t line = 0;
    size_t i = 1;
    if (text.len == 0 || text.ptr[0] != ':') {
        return 0;
    }
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9' && line < UINT32_MAX / 20;
         i++) {
        line = line * 10 + (uint32_t)(text.ptr[i] - '0'); // a digit
    }
    return i > 1 && i < text.len && text.ptr[i] == ':' ? line : 0;
}

/// Whether the text begins with the path, or as Lua shows it: of a long one it shows the end.
static bool begins_with(struct peri_str text, const char *path, size_t *len) {
    static const char dots[] = "...";
    size_t path_len = strlen(path), skipped = 0;
    *len = path_len;
    if (text.len > path_len && memcmp(text.ptr, path, path_len) == 0) {
        return true;
    }
    if (path_len > PATH_SHOWN) {
        skipped = sizeof dots - 1;
        *len = PATH_SHOWN;
        path += path_len - (PATH_SHOWN - skipped);
    }
    return text.len > *len && memcmp(text.ptr, dots, skipped) == 0 &&
           memcmp(text.ptr + skipped, path, *len - skipped) == 0;
}

const struct peri_source *peri_sources_find(const struct peri_sources *sources,
                                            struct peri_str text, uint32_t *line) {
    for (size_t i = 0; i < sources->count; i++) {
        const struct peri_source *at = sources->at[i];
        size_t len;
        if (begins_with(text, at->path, &len)) {
            uint32_t found = take_line(peri_str(text.ptr + len, text.len - len));
            if (found > 0) {
                *line = found;
                return at;
            }
        }
    }
    return NULL;
}

static bool is_end(char c) {
    return c == '\n' || c == '\r';
}

/// Takes the next line off the text. @return false at the end
static bool take_text_line(struct peri_str *rest, struct peri_str *line) {
    size_t n = 0;
    if (!rest->ptr) {
        return false;
    }
    while (n < rest->len && !is_end(rest->ptr[n])) {
        n++;
    }
    *line = peri_str(rest->ptr, n);
    if (n == rest->len) {
        *rest = peri_str(NULL, 0);
        return true;
    }
    size_t end = n + 1 < rest->len && is_end(rest->ptr[n + 1]) && rest->ptr[n + 1] != rest->ptr[n]
                     ? 2
                     : 1; // "\r\n" and "\n\r" are one
    *rest = peri_str(rest->ptr + n + end, rest->len - n - end);
    return true;
}

bool peri_source_line(const struct peri_source *source, uint32_t line, struct peri_str *out) {
    struct peri_str rest = peri_buffer_str(&source->text), at = {0};
    for (uint32_t n = 0; n < line; n++) {
        if (!take_text_line(&rest, &at)) {
            return false;
        }
    }
    *out = at;
    return line > 0;
}

static bool has_word(struct peri_str line, struct peri_str name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    for (size_t at = 0; name.len > 0 && at + name.len <= line.len; at++) {
        const char *found = memmem(line.ptr + at, line.len - at, name.ptr, name.len);
        if (!found) {
            return false;
        }
        at = (size_t)(found - line.ptr);
        size_t end = at + name.len;
        bool begins = at == 0 || !memchr(letters, line.ptr[at - 1], sizeof letters - 1);
        if (begins && (end == line.len || !memchr(letters, line.ptr[end], sizeof letters - 1))) {
            return true;
        }
    }
    return false;
}

uint32_t peri_sources_line_of(const struct peri_sources *sources, const char *path,
                              struct peri_str name) {
    const struct peri_source *source = peri_sources_get(sources, path);
    struct peri_str rest = source ? peri_buffer_str(&source->text) : peri_str(NULL, 0), line = {0};
    for (uint32_t n = 1; take_text_line(&rest, &line); n++) {
        if (has_word(line, name)) {
            return n;
        }
    }
    return 0;
}

/// The line as it is shown: tabs become two spaces, what is long is cut at a whole character.
static size_t put_line(char *out, struct peri_str line) {
    size_t n = 0;
    for (size_t i = 0; i < line.len && n < SHOWN_MAX; i++) {
        if (line.ptr[i] == '\t') {
            out[n++] = ' ';
            out[n++] = ' ';
        } else {
            out[n++] = line.ptr[i];
        }
    }
    static const char cut[] = {'.', '.', '.'};
    if (n >= SHOWN_MAX) {
        while (n > 0 && ((unsigned char)out[n - 1] & 0xc0) == 0x80) {
            n--;
        }
        n -= n > 0 ? 1 : 0;
        memcpy(out + n, cut, sizeof cut);
        n += sizeof cut;
    }
    return n;
}

size_t peri_source_excerpt(const struct peri_source *source, uint32_t line,
                           char out[PERI_EXCERPT_MAX]) {
    _Static_assert((2 * AROUND + 1) * (SHOWN_MAX + 24) <= PERI_EXCERPT_MAX, "each line fits");
    struct peri_str rest = peri_buffer_str(&source->text), at = {0};
    uint32_t first = line > AROUND ? line - AROUND : 1;
    size_t used = 0;
    bool found = false;
    for (uint32_t n = 1; n <= line + AROUND && take_text_line(&rest, &at); n++) {
        if (n < first || (n > line && at.len == 0 && !rest.ptr)) {
            continue; // the last one ends the file: there is nothing behind it
        }
        found |= n == line;
        int len = snprintf(out + used, 24, "%s%s %4u | ", used ? "\n" : "", n == line ? ">" : " ",
                           (unsigned)n);
        used += (size_t)len; // at most 18
        used += put_line(out + used, at);
        while (used > 0 && out[used - 1] == ' ') {
            used--;
        }
    }
    return found ? used : 0;
}
