// Messages through zlib's raw deflate and back, and the memory that this takes. RFC 7692 section 7.2
//
// What keeps no context from one message to the next is shared by all connections of a loop: one
// decompressor, and one compressor a window size. Contexts of a connection's own are counted
// against a budget, and leave a quarter of it to what is shared.
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "proto/extension.h"

/// Memory of all compressors and decompressors. Zero it, then set max_bytes.
struct peri_deflate_budget {
    uint64_t max_bytes;
    uint64_t used_; ///< reserved by decompressors, allocated by compressors
};

struct peri_deflater;
struct peri_inflater;

/// What the connections of a loop share. Zero it, then set the budget.
struct peri_deflate_pool {
    struct peri_deflate_budget *budget; ///< outlives the pool
    struct peri_inflater *inflater_;
    struct peri_deflater *deflaters_[PERI_WINDOW_MAX - PERI_WINDOW_MIN + 1];
};

/// All connections have given back theirs.
void peri_deflate_pool_deinit(struct peri_deflate_pool *pool);

// Compressing.

/// @return borrowed, of the pool; NULL when there is no memory for it
struct peri_deflater *peri_deflater_shared(struct peri_deflate_pool *pool, unsigned bits);

/// One that remembers messages from one to the next. Its memory is taken when it is first used.
/// @param bits PERI_WINDOW_MIN to PERI_WINDOW_MAX
/// @return owned; NULL when the budget has no room for it now, or without memory
struct peri_deflater *peri_deflater_new(struct peri_deflate_pool *pool, unsigned bits);

void peri_deflater_free(struct peri_deflater *deflater); ///< NULL, or a shared one: does nothing

bool peri_deflater_is_own(const struct peri_deflater *deflater);
unsigned peri_deflater_bits(const struct peri_deflater *deflater);

/// Takes the memory that it needs, if it has not yet.
/// @return false when there is none: it compresses nothing
bool peri_deflater_is_ready(struct peri_deflater *deflater);

/// Compresses one message. What comes out must be sent, in order with others of this one.
/// @param out replaced by the payload of the frame, which gets RSV1
/// @return false when it got no shorter, or without memory: to be sent as it is
bool peri_deflater_message(struct peri_deflater *deflater, struct peri_str payload,
                           struct peri_buffer *out);

/// What it compressed last was not sent: it forgets all messages.
void peri_deflater_reset(struct peri_deflater *deflater);

// Decompressing.

/// @return borrowed, of the pool; NULL when there is no memory for it
struct peri_inflater *peri_inflater_shared(struct peri_deflate_pool *pool);

/// One that remembers messages from one to the next. Its memory is reserved, so that it can be
/// had: a peer's context can't be declined later.
/// @param bits the peer's window, 8 to 15. A peer that reaches back further breaks its word, and it
///             depends on the pieces whether that is refused: zlib looks only beyond the piece.
/// @return owned; NULL when the budget has no room for it, or without memory
struct peri_inflater *peri_inflater_new(struct peri_deflate_pool *pool, unsigned bits);

void peri_inflater_free(struct peri_inflater *inflater); ///< NULL, or a shared one: does nothing

bool peri_inflater_is_own(const struct peri_inflater *inflater);

/// Decompresses a piece of a message. A shared one must get all of it at once.
/// @param first,last   whether the message begins and ends with it
/// @param max_bytes    of the whole message
/// @param out          appended to, also when an error follows; never grows over max_bytes
/// @return PERI_OK; PERI_E_LIMIT: over max_bytes; PERI_E_INVALID: not deflated, or cut short;
///         PERI_E_MEMORY. After an error it is of no use to this connection.
PERI_MUST_CHECK int peri_inflater_take(struct peri_inflater *inflater, struct peri_str piece,
                                       bool first, bool last, size_t max_bytes,
                                       struct peri_buffer *out);
