// A growing run of bytes.
#include "base/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"

enum { SMALLEST = 64 };

void peri_buffer_deinit(struct peri_buffer *buffer) {
    peri_free(buffer->ptr);
    *buffer = (struct peri_buffer){0};
}

int peri_buffer_reserve(struct peri_buffer *buffer, size_t n) {
    if (n <= buffer->cap - buffer->len) {
        return PERI_OK;
    }
    if (n > SIZE_MAX - buffer->len) {
        return PERI_E_MEMORY;
    }
    size_t needed = buffer->len + n;
    size_t cap = buffer->cap > SIZE_MAX / 2 ? SIZE_MAX : buffer->cap * 2;
    if (cap < SMALLEST) {
        cap = SMALLEST;
    }
    if (cap < needed) {
        cap = needed;
    }
    uint8_t *ptr = peri_realloc(buffer->ptr, cap);
    if (!ptr) {
        return PERI_E_MEMORY;
    }
    buffer->ptr = ptr;
    buffer->cap = cap;
    return PERI_OK;
}

int peri_buffer_append(struct peri_buffer *buffer, const void *bytes, size_t n) {
    if (n == 0) {
        return PERI_OK; // bytes and ptr may both be NULL, which memcpy refuses
    }
    int rc = peri_buffer_reserve(buffer, n);
    if (rc != PERI_OK) {
        return rc;
    }
    memcpy(buffer->ptr + buffer->len, bytes, n);
    buffer->len += n;
    return PERI_OK;
}

int peri_buffer_append_str(struct peri_buffer *buffer, struct peri_str text) {
    return peri_buffer_append(buffer, text.ptr, text.len);
}

int peri_buffer_printf(struct peri_buffer *buffer, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) {
        return PERI_E_MEMORY;
    }
    size_t n = (size_t)length;
    int rc = peri_buffer_reserve(buffer, n + 1); // vsnprintf ends with a NUL, which is not kept
    if (rc != PERI_OK) {
        return rc;
    }
    va_start(args, format);
    (void)vsnprintf((char *)buffer->ptr + buffer->len, n + 1, format, args);
    va_end(args);
    buffer->len += n;
    return PERI_OK;
}

void peri_buffer_consume(struct peri_buffer *buffer, size_t n) {
    assert(n <= buffer->len);
    if (n == 0) {
        return;
    }
    buffer->len -= n;
    memmove(buffer->ptr, buffer->ptr + n, buffer->len);
}

void peri_buffer_clear(struct peri_buffer *buffer, size_t keep_bytes) {
    if (buffer->cap > keep_bytes) {
        peri_buffer_deinit(buffer);
    } else {
        buffer->len = 0;
    }
}
