// What a request asks of a file that it may have already, wants a part of, or takes compressed.
// RFC 9110 sections 12.5.3, 13 and 14
#pragma once

#include <time.h>

#include "proto/request.h"

/// What tells one version of a file from another.
struct peri_version {
    struct peri_str tag; ///< an entity tag, quoted
    bool dated;          ///< `changed` is known
    time_t changed;
};

struct peri_range {
    uint64_t at, n;
};

/// By If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since, in that order.
/// @return 200: send it; 304: the client has it; 412: it is not what the client thinks
int peri_conditions_status(const struct peri_request *request, const struct peri_version *version);

/// By Range and If-Range. Anything but one well-formed range of bytes is as if there were none.
/// @param range filled always: what is to be sent; empty for 416
/// @return 200: all; 206: a part; 416: nothing lies there
int peri_range_status(const struct peri_request *request, const struct peri_version *version,
                      uint64_t size, struct peri_range *range);

/// By Accept-Encoding: gzip is acceptable, and not less welcome than the file as it is.
bool peri_accepts_gzip(const struct peri_request *request);

/// Any of HTTP's three forms of a date. RFC 9110 section 5.6.7
/// @return false for anything else
bool peri_http_date(struct peri_str text, time_t *when);
