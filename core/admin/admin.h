// What operators ask of a running host, and what it answers: one JSON object a line each way, as
// docs/operations.md has it. Lines in, lines out: whoever owns the socket brings them.
#pragma once

#include "hub/hub.h"

struct peri_admin;
struct peri_admin_client;

/// What a host says of itself. All borrowed.
struct peri_admin_about {
    struct peri_str version;   ///< of the program
    struct peri_str dir;       ///< that is served, as the user named it
    struct peri_str addresses; ///< where it listens, a line each
    int64_t process;
};

/// Requests that are longer are refused.
enum { PERI_ADMIN_LINE_MAX = 64 * 1024 };

/// @param hub   borrowed, outlives it: its policy answers, its ports tell the time
/// @param about borrowed, outlives it; read at each request
/// @return owned; NULL when out of memory
PERI_MUST_CHECK struct peri_admin *peri_admin_new(struct peri_hub *hub,
                                                  const struct peri_admin_about *about);

/// Every client must be closed.
void peri_admin_free(struct peri_admin *admin); ///< NULL does nothing

/// ports.news: what clients wait for may have happened. Does not enter policy.
void peri_admin_news(struct peri_admin *admin, const struct peri_news *news);

/// Somebody who asks. @return owned; NULL when out of memory
PERI_MUST_CHECK struct peri_admin_client *peri_admin_open(struct peri_admin *admin);

/// What it has waited for is dropped. Between two turns only.
void peri_admin_close(struct peri_admin_client *client); ///< NULL does nothing

/// Takes one request. Between two turns only, and not while an answer is owed.
/// @param line without its newline
/// @param out  appended with the answer, newline included
/// @return PERI_OK: it is answered; PERI_AGAIN: it will be, by peri_admin_later; PERI_E_MEMORY: it
///         can't be
PERI_MUST_CHECK int peri_admin_line(struct peri_admin_client *client, struct peri_str line,
                                    struct peri_buffer *out);

/// Looks whether the answer that is owed can be given: to be called after news, and every now and
/// then. Between two turns only. @return as peri_admin_line
PERI_MUST_CHECK int peri_admin_later(struct peri_admin_client *client, struct peri_buffer *out);
