// The certificates that a server shows: one context of OpenSSL for each pair of files, chosen by
// the name that the client asks for, and made anew when the files change.
#pragma once

#include <openssl/ssl.h>

#include "base/buffer.h"
#include "net/server.h"

struct peri_certificates;

/// Reads all pairs. One that has expired is taken, with a warning in the log.
/// @param pairs borrowed until peri_certificates_free
/// @param count at least 1; the first pair is for clients who ask for no name, or for an unknown one
/// @param error on failure: appended with one line for the user; empty when out of memory
/// @return owned; NULL on failure
PERI_MUST_CHECK struct peri_certificates *
peri_certificates_new(const struct peri_tls_pair *pairs, size_t count, struct peri_buffer *error);
void peri_certificates_free(struct peri_certificates *certificates); ///< NULL does nothing

/// What a connection begins with. Borrowed until the next reload; an SSL made of it stays whole.
SSL_CTX *peri_certificates_context(const struct peri_certificates *certificates);

/// Reads the pairs whose files are other ones than before, once they have stayed the same since the
/// last call: a pair is two files, which nobody writes at once. What can't be used, or has expired,
/// is said in the log, and the one before serves on.
void peri_certificates_poll(struct peri_certificates *certificates);

/// Reads all pairs now, changed or not; else as peri_certificates_poll.
void peri_certificates_reload(struct peri_certificates *certificates);
