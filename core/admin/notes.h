// What pages are told in development: events for net's feed, worded as text/event-stream. The page's
// side is client/perigee-dev.js.
#pragma once

#include "hub/hub.h"

/// What a page hears first: a `state` of all scripts, so that it shows what has failed however late
/// it comes. Between two turns only.
/// @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_notes_state(struct peri_hub *hub, struct peri_buffer *out);

/// A `news`.
/// @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_notes_news(const struct peri_news *news, struct peri_buffer *out);
