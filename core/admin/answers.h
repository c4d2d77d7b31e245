// What the host says, as JSON.
#pragma once

#include "admin/admin.h"

/// A script's news, kept.
struct peri_outcome {
    struct peri_news news;   ///< its texts lie in `text`
    struct peri_buffer text; ///< owned
};

/// @return PERI_OK or PERI_E_MEMORY (*outcome is untouched)
PERI_MUST_CHECK int peri_outcome_keep(struct peri_outcome *outcome, const struct peri_news *news);

// Each appends a line. @return PERI_OK or PERI_E_MEMORY

PERI_MUST_CHECK int peri_answer_error(struct peri_buffer *out, struct peri_str error);
PERI_MUST_CHECK int peri_answer_text(struct peri_buffer *out, struct peri_str text);
PERI_MUST_CHECK int peri_answer_reload(struct peri_buffer *out, const struct peri_outcome *outcomes,
                                       size_t count, struct peri_str error);
PERI_MUST_CHECK int peri_answer_status(struct peri_buffer *out, struct peri_hub *hub,
                                       const struct peri_admin_about *about, uint64_t up_ns,
                                       bool is_measured);
