// A growing run of bytes with one owner.
#pragma once

#include "base/status.h"

/// Zero-initialised is empty and owns nothing.
struct peri_buffer {
    uint8_t *ptr;
    size_t len;
    size_t cap;
};

/// Frees the bytes; the buffer is empty again and may be used.
void peri_buffer_deinit(struct peri_buffer *buffer);

/// Makes room for n more bytes: afterwards cap - len >= n. Growth is geometric.
/// @return PERI_OK or PERI_E_MEMORY (the buffer is unchanged)
PERI_MUST_CHECK int peri_buffer_reserve(struct peri_buffer *buffer, size_t n);

/// @return PERI_OK or PERI_E_MEMORY (the buffer is unchanged)
PERI_MUST_CHECK int peri_buffer_append(struct peri_buffer *buffer, const void *bytes, size_t n);
PERI_MUST_CHECK int peri_buffer_append_str(struct peri_buffer *buffer, struct peri_str text);
PERI_MUST_CHECK int peri_buffer_printf(struct peri_buffer *buffer, const char *format, ...)
    PERI_PRINTF(2, 3);

/// Appends what is wrong with some input. @return PERI_E_INVALID; PERI_E_MEMORY when it can't be told
#define PERI_TELL(buffer, ...) \
    (peri_buffer_printf((buffer), __VA_ARGS__) == PERI_OK ? PERI_E_INVALID : PERI_E_MEMORY)

/// For "%.*s": at most 80 bytes of a user's text.
#define PERI_SHOWN(text) (int)((text).len < 80 ? (text).len : 80), (text).ptr ? (text).ptr : ""

/// Drops the first n bytes (n <= len).
void peri_buffer_consume(struct peri_buffer *buffer, size_t n);

/// Empties the buffer; keeps its memory when cap is at most keep_bytes, else frees it.
void peri_buffer_clear(struct peri_buffer *buffer, size_t keep_bytes);

static inline struct peri_str peri_buffer_str(const struct peri_buffer *buffer) {
    return (struct peri_str){(const char *)buffer->ptr, buffer->len};
}
