// What every function that can fail returns, and the two ways to point at bytes.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PERI_MUST_CHECK __attribute__((warn_unused_result))
#define PERI_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))

/// Results by out-parameter are untouched unless the status is PERI_OK.
enum peri_status {
    PERI_OK = 0,
    PERI_AGAIN = 1,       ///< not an error: more input, or another turn, is needed
    PERI_E_MEMORY = -1,   ///< an allocation failed
    PERI_E_LIMIT = -2,    ///< over a configured limit or a fixed bound
    PERI_E_INVALID = -3,  ///< malformed input
    PERI_E_CLOSED = -4,   ///< the connection has ended, or never was
    PERI_E_PROTOCOL = -5, ///< the peer broke the protocol
    PERI_E_EXISTS = -6,   ///< there already is one
    PERI_E_SYSTEM = -7,   ///< the operating system refused; errno says why
};

/// Borrowed, read-only bytes; not NUL-terminated.
struct peri_str {
    const char *ptr;
    size_t len;
};

/// Borrowed bytes that the callee may change in place.
struct peri_span {
    uint8_t *ptr;
    size_t len;
};

#define PERI_STR(literal) ((struct peri_str){(literal), sizeof(literal) - 1})

static inline struct peri_str peri_str(const char *ptr, size_t len) {
    return (struct peri_str){ptr, len};
}

/// @param text NUL-terminated; NULL gives the empty string
static inline struct peri_str peri_str_of(const char *text) {
    return (struct peri_str){text, text ? strlen(text) : 0};
}

static inline int peri_str_equal(struct peri_str a, struct peri_str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/// For the rare call whose failure changes nothing; say beside it why.
#define PERI_IGNORE(call) ((void)!(call))
