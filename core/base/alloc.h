// The one way to the heap: counted, and able to fail on request, so that tests can walk every
// out-of-memory path.
#pragma once

#include "base/status.h"

/// @return owned, to be given to peri_free; NULL when out of memory. A size of 0 is a size of 1.
PERI_MUST_CHECK void *peri_alloc(size_t size);

/// As peri_alloc; zeroed. NULL also when count * size overflows.
PERI_MUST_CHECK void *peri_calloc(size_t count, size_t size);

/// As peri_alloc; at an address that is a multiple of alignment, a power of two from the size of a
/// pointer on.
PERI_MUST_CHECK void *peri_alloc_aligned(size_t alignment, size_t size);

/// As realloc(3): on NULL the old block stands. A NULL block allocates.
PERI_MUST_CHECK void *peri_realloc(void *block, size_t size);

/// @param block NULL does nothing
void peri_free(void *block);

/// Makes this thread's nth allocation from now (1 is the next) fail, and all after it until
/// called again. 0 switches failing off. For tests.
void peri_alloc_fail_from(uint64_t nth);

/// Blocks this thread allocated less those it freed. For tests of leaks.
uint64_t peri_alloc_live(void);
