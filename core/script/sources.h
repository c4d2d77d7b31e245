// The texts that a VM runs, as they were when they were loaded: files on disk may have changed since.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/buffer.h"

enum {
    PERI_SOURCES_MAX = 32 << 20, ///< bytes of all texts of a VM; what is over it is not kept
    PERI_EXCERPT_MAX = 1536,     ///< bytes of an excerpt
};

/// A file's text. Never changes, and may be read by any thread that holds a reference.
struct peri_source {
    atomic_uint refs_;
    char *path; ///< as messages say it: "scripts/chat.lua"; owned
    struct peri_buffer text;
};

/// Zero-initialised is empty.
struct peri_sources {
    struct peri_source **at; ///< owned, each shared(ref)
    size_t count;
    size_t bytes;
};

void peri_sources_free(struct peri_sources *sources);

/// Adds all texts of another one. @return PERI_OK; PERI_E_MEMORY, and `sources` is empty
PERI_MUST_CHECK int peri_sources_share(struct peri_sources *sources,
                                       const struct peri_sources *with);

/// @return borrowed; NULL: there is no file of that path
const struct peri_source *peri_sources_get(const struct peri_sources *sources, const char *path);

/// Whether both hold the same texts under the same paths.
bool peri_sources_equal(const struct peri_sources *a, const struct peri_sources *b);

/// Keeps a text; one of the same path gives way.
/// @param text taken over and left empty when it is kept
/// @return borrowed; NULL: it is not kept, for want of memory or over PERI_SOURCES_MAX
const struct peri_source *peri_sources_keep(struct peri_sources *sources, const char *path,
                                            struct peri_buffer *text);

/// Finds "PATH:LINE:" of a file that is kept at the beginning of a text; the path may be a long one
/// as Lua shows it.
/// @param line the number, on success
/// @return NULL when there is none
const struct peri_source *peri_sources_find(const struct peri_sources *sources,
                                            struct peri_str text, uint32_t *line);

/// One line of a text, counted from 1 as Lua does, without its end. @return false: there is none
bool peri_source_line(const struct peri_source *source, uint32_t line, struct peri_str *out);

/// The first line in which a name stands as a word. @return 0: in none, or the file is not kept
uint32_t peri_sources_line_of(const struct peri_sources *sources, const char *path,
                              struct peri_str name);

/// Writes a line with up to two before and two behind it, numbered, the line itself marked with ">".
/// @return its bytes; 0: there is no such line
size_t peri_source_excerpt(const struct peri_source *source, uint32_t line,
                           char out[PERI_EXCERPT_MAX]);
