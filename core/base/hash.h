// Hashes that a peer cannot predict, and the kernel's random bytes that make them so.
#pragma once

#include "base/status.h"

/// 64-bit SipHash-1-3 of the bytes under the process's random key.
uint64_t peri_hash(const void *bytes, size_t n);

/// As peri_hash, under a key of the caller's: the same bytes give the same hash everywhere.
uint64_t peri_siphash(const uint8_t key[16], const void *bytes, size_t n);

/// Fills with random bytes from the kernel. @return PERI_OK or PERI_E_SYSTEM
PERI_MUST_CHECK int peri_random(void *bytes, size_t n);
