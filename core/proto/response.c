// Response heads: the status line, Date and checked fields.
#include "proto/response.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "proto/text.h"

const char *peri_status_text(int status) {
    switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 418: return "I'm a teapot";
    case 422: return "Unprocessable Content";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "";
    }
}

/// The value of Date, built once a second. RFC 9110 section 5.6.7
static struct peri_str date_now(void) {
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static _Thread_local time_t built_at = -1;
    static _Thread_local char text[64];
    static _Thread_local size_t length;

    time_t now = time(NULL);
    if (now != built_at) {
        struct tm utc = {0};
        (void)gmtime_r(&now, &utc);
        int n = snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                         days[utc.tm_wday], utc.tm_mday, months[utc.tm_mon], utc.tm_year + 1900,
                         utc.tm_hour, utc.tm_min, utc.tm_sec);
        assert(n > 0 && (size_t)n < sizeof text);
        length = (size_t)n;
        built_at = now;
    }
    return peri_str(text, length);
}

int peri_response_begin(struct peri_buffer *out, int status) {
    assert(status >= 100 && status <= 999);
    const char code[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
                         (char)('0' + status % 10), ' '};
    const struct peri_str pieces[] = {
        PERI_STR("HTTP/1.1 "),  {code, sizeof code}, peri_str_of(peri_status_text(status)),
        PERI_STR("\r\nDate: "), date_now(),          PERI_STR("\r\n"),
    };
    size_t before = out->len;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        if (peri_buffer_append_str(out, pieces[i]) != PERI_OK) {
            out->len = before;
            return PERI_E_MEMORY;
        }
    }
    return PERI_OK;
}

bool peri_field_is_valid(struct peri_str name, struct peri_str value) {
    if (!peri_text_is_token(name)) {
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

int peri_response_field(struct peri_buffer *out, struct peri_str name, struct peri_str value) {
    if (!peri_field_is_valid(name, value)) {
        return PERI_E_INVALID;
    }
    const size_t punctuation = 4; // ": " and CRLF
    if (value.len > SIZE_MAX - punctuation - name.len ||
        peri_buffer_reserve(out, name.len + value.len + punctuation) != PERI_OK) {
        return PERI_E_MEMORY;
    }
    const struct peri_str parts[] = {name, PERI_STR(": "), value, PERI_STR("\r\n")};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int rc = peri_buffer_append_str(out, parts[i]);
        assert(rc == PERI_OK); // reserved
        (void)rc;
    }
    return PERI_OK;
}

int peri_response_end(struct peri_buffer *out) {
    return peri_buffer_append(out, "\r\n", 2);
}
