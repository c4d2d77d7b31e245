// The scripts' sections of the files of settings: DIR/perigee.lua, and the operator's.
#pragma once

#include "base/buffer.h"
#include "script/host.h"

struct yyjson_doc;

/// One script's, as JSON: config is data, and each script's VM makes its own of it.
struct peri_section {
    struct peri_buffer name;
    struct peri_buffer json[PERI_CONFIG_LAYERS]; ///< of each file; empty: it has none
    struct peri_buffer merged;                   ///< empty until peri_section_merge
};

/// The section of this name, made when there is none. @return borrowed; NULL without memory
PERI_MUST_CHECK struct peri_section *peri_section_get(struct peri_host *host, struct peri_str name);

/// Fills `merged`: the folder's table with the operator's keys over its own. A list has no keys:
/// where either is one, the operator's wins as a whole.
/// @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_section_merge(struct peri_section *section);

/// Merges all and gives each to its script. One that no script has is a warning: its name is
/// probably misspelt.
/// @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_sections_give(struct peri_host *host);

/// A script's section, as JSON, once they are merged. @return borrowed; empty: there is none
struct peri_str peri_sections_find(const struct peri_host *host, const char *name);

/// A text of a section as a document. @return owned; NULL when it is empty, or without memory
struct yyjson_doc *peri_section_read(const struct peri_buffer *json);

void peri_sections_free(struct peri_host *host);
