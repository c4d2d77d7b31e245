// Conditions, ranges and codings of requests for files.
#include "net/conditions.h"

#include <string.h>

#include "proto/text.h"

enum { DATE_MAX = 40, WEIGHT_ONE = 1000 };

bool peri_http_date(struct peri_str text, time_t *when) {
    static const char *const forms[] = {
        "%a, %d %b %Y %H:%M:%S GMT", // IMF-fixdate
        "%a, %d-%b-%y %H:%M:%S GMT", // RFC 850: the day's name may be long, as %a takes it
        "%a %b %e %H:%M:%S %Y",      // asctime
    };
    char copy[DATE_MAX];
    if (text.len >= sizeof copy) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct tm utc = {0};
        const char *end = strptime(copy, forms[i], &utc);
        if (end && *end == '\0' && end == copy + text.len) {
            *when = timegm(&utc);
            return true;
        }
    }
    return false;
}

static bool is_weak(struct peri_str tag) {
    return tag.len >= 2 && tag.ptr[0] == 'W' && tag.ptr[1] == '/';
}

/// True when any field of that name lists the tag, or is "*".
static bool lists_tag(const struct peri_request *request, struct peri_str name, struct peri_str tag,
                      bool weakly) {
    for (size_t i = 0; i < request->field_count; i++) {
        if (!peri_str_equal(request->fields[i].name, name)) {
            continue;
        }
        struct peri_str rest = request->fields[i].value;
        struct peri_str item;
        while (peri_text_next_item(&rest, &item)) {
            if (weakly && is_weak(item)) {
                item = peri_str(item.ptr + 2, item.len - 2);
            }
            if (peri_str_equal(item, tag) || peri_str_equal(item, PERI_STR("*"))) {
                return true;
            }
        }
    }
    return false;
}

static bool date_field(const struct peri_request *request, struct peri_str name, time_t *when) {
    struct peri_str value = {0};
    return peri_request_field(request, name, &value) && peri_http_date(value, when);
}

int peri_conditions_status(const struct peri_request *request, const struct peri_version *version) {
    time_t when = 0;
    if (peri_request_count(request, PERI_STR("if-match")) > 0) {
        if (!lists_tag(request, PERI_STR("if-match"), version->tag, false)) {
            return 412;
        }
    } else if (version->dated && date_field(request, PERI_STR("if-unmodified-since"), &when) &&
               version->changed > when) {
        return 412;
    }
    if (peri_request_count(request, PERI_STR("if-none-match")) > 0) {
        return lists_tag(request, PERI_STR("if-none-match"), version->tag, true) ? 304 : 200;
    }
    return version->dated && date_field(request, PERI_STR("if-modified-since"), &when) &&
                   version->changed <= when
               ? 304
               : 200;
}

/// Takes digits off the text. A number that is too large to hold is larger than any file.
/// @return false where there is none
static bool take_number(struct peri_str *text, uint64_t *number) {
    size_t n = 0;
    *number = 0;
    for (; n < text->len && peri_text_is_digit(text->ptr[n]); n++) {
        uint64_t digit = (uint64_t)(text->ptr[n] - '0'); // 0 to 9
        *number = *number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *number * 10 + digit;
    }
    *text = peri_str(text->ptr + n, text->len - n);
    return n > 0;
}

static bool take_char(struct peri_str *text, char c) {
    if (text->len == 0 || text->ptr[0] != c) {
        return false;
    }
    *text = peri_str(text->ptr + 1, text->len - 1);
    return true;
}

/// One range of bytes in a file of that size. @return as peri_range_status
static int read_range(struct peri_str text, uint64_t size, struct peri_range *range) {
    uint64_t first = 0, last = 0;
    if (text.len < 6 || !peri_text_equal(peri_str(text.ptr, 6), PERI_STR("bytes="))) {
        return 200;
    }
    text = peri_text_trim(peri_str(text.ptr + 6, text.len - 6));
    if (take_char(&text, '-')) { // that many from the end
        if (!take_number(&text, &last) || text.len > 0 || (size == 0 && last > 0)) {
            return 200; // all of nothing is no range
        }
        first = last < size ? size - last : 0;
        *range = (struct peri_range){first, last == 0 ? 0 : size - first};
        return last == 0 ? 416 : 206;
    }
    if (!take_number(&text, &first) || !take_char(&text, '-')) {
        return 200;
    }
    bool to_the_end = !take_number(&text, &last);
    if (text.len > 0 || (!to_the_end && last < first)) {
        return 200; // several ranges, or none
    }
    if (first >= size) {
        *range = (struct peri_range){0, 0};
        return 416;
    }
    last = to_the_end || last >= size ? size - 1 : last;
    *range = (struct peri_range){first, last - first + 1};
    return 206;
}

/// If-Range: a part is of use only if the rest, which the client has, is of the same version.
static bool is_same_version(const struct peri_request *request,
                            const struct peri_version *version) {
    struct peri_str value = {0};
    time_t when = 0;
    if (!peri_request_field(request, PERI_STR("if-range"), &value)) {
        return true;
    }
    return peri_str_equal(value, version->tag) ||
           (version->dated && peri_http_date(value, &when) && when == version->changed);
}

int peri_range_status(const struct peri_request *request, const struct peri_version *version,
                      uint64_t size, struct peri_range *range) {
    struct peri_str value = {0};
    *range = (struct peri_range){0, size};
    if (!peri_str_equal(request->method, PERI_STR("GET")) || // RFC 9110 section 14.2
        peri_request_count(request, PERI_STR("range")) != 1 || !is_same_version(request, version)) {
        return 200;
    }
    (void)peri_request_field(request, PERI_STR("range"), &value);
    return read_range(value, size, range);
}

/// The weight of a coding, in thousandths; one that can't be read is 0. RFC 9110 section 12.4.2
static int read_weight(struct peri_str parameters) {
    parameters = peri_text_trim(parameters);
    if (parameters.len == 0) {
        return WEIGHT_ONE;
    }
    if (parameters.len < 3 || !peri_text_equal(peri_str(parameters.ptr, 2), PERI_STR("q="))) {
        return 0;
    }
    int weight = 0, unit = WEIGHT_ONE;
    for (size_t i = 2; i < parameters.len; i++) {
        char c = parameters.ptr[i];
        if (i == 3 ? c != '.' : !peri_text_is_digit(c)) {
            return 0;
        }
        if (i != 3) {
            weight += (c - '0') * unit;
            unit /= 10;
        }
    }
    return weight <= WEIGHT_ONE ? weight : 0;
}

bool peri_accepts_gzip(const struct peri_request *request) {
    int gzip = -1, identity = -1, any = -1; // -1: not named
    for (size_t i = 0; i < request->field_count; i++) {
        if (!peri_str_equal(request->fields[i].name, PERI_STR("accept-encoding"))) {
            continue;
        }
        struct peri_str rest = request->fields[i].value;
        struct peri_str item;
        while (peri_text_next_item(&rest, &item)) {
            const char *mark = memchr(item.ptr, ';', item.len);
            size_t n = mark ? (size_t)(mark - item.ptr) : item.len; // within the item
            struct peri_str coding = peri_text_trim(peri_str(item.ptr, n));
            int weight = read_weight(mark ? peri_str(mark + 1, item.len - n - 1) : PERI_STR(""));
            if (peri_text_equal(coding, PERI_STR("gzip")) ||
                peri_text_equal(coding, PERI_STR("x-gzip"))) {
                gzip = weight;
            } else if (peri_text_equal(coding, PERI_STR("identity"))) {
                identity = weight;
            } else if (peri_str_equal(coding, PERI_STR("*"))) {
                any = weight;
            }
        }
    }
    gzip = gzip >= 0 ? gzip : any;
    return gzip > 0 && gzip >= identity;
}
