// What proxies say about their clients: headers of the PROXY protocol, in pieces that must not matter;
// Forwarded and X-Forwarded-For; and the addresses and ranges in all of them.
#include "fuzz.h"
#include "proto/forwarded.h"
#include "proto/proxy_header.h"

static void check_ip(const struct peri_ip *ip) {
    char text[PERI_IP_TEXT];
    struct peri_ip again = {0};
    FUZZ_CHECK(ip->family <= PERI_IP_UNIX);
    peri_ip_print(text, ip);
    bool has_text = ip->family == PERI_IP_V4 || ip->family == PERI_IP_V6;
    FUZZ_CHECK(peri_ip_read(&again, peri_str_of(text)) == has_text);
    FUZZ_CHECK(!has_text || peri_ip_equal(ip, &again));
}

// The PROXY protocol -------------------------------------------------------------------------

static struct fuzz_seen read_header(struct peri_str bytes, const struct fuzz_cuts *cuts) {
    struct fuzz_seen seen = {0};
    struct peri_proxy_header header = {0};
    struct peri_ip source = {0};
    struct peri_span piece;
    size_t turn = 0;
    int rc = PERI_AGAIN;
    while (rc == PERI_AGAIN && fuzz_piece(&bytes, cuts, &turn, &piece)) {
        struct peri_span in = piece;
        rc = peri_proxy_header_feed(&header, &in, &source);
        FUZZ_CHECK(in.ptr + in.len == piece.ptr + piece.len);
        FUZZ_CHECK(rc != PERI_AGAIN || in.len == 0);
        if (rc == PERI_OK) {
            check_ip(&source);
            fuzz_note_number(&seen, in.len + bytes.len); // the client's own
        }
        free(piece.ptr);
    }
    fuzz_note_number(&seen, (uint64_t)rc);
    fuzz_note_number(&seen, source.family);
    fuzz_note(&seen, source.bytes, sizeof source.bytes);
    return seen;
}

static void header(struct peri_str in) {
    struct fuzz_cuts cuts = fuzz_cuts(&in);
    struct fuzz_seen whole = read_header(in, &fuzz_whole), pieces = read_header(in, &cuts);
    fuzz_same(&whole, &pieces);
}

// Addresses, ranges and fields ---------------------------------------------------------------

enum { RANGES_MAX = 8 };

/// Ranges, separated by spaces.
static size_t read_ranges(struct peri_str line, struct peri_ip_range ranges[RANGES_MAX]) {
    size_t count = 0;
    while (line.len > 0 && count < RANGES_MAX) {
        const char *space = memchr(line.ptr, ' ', line.len);
        struct peri_str word = fuzz_bytes(&line, space ? (size_t)(space - line.ptr) : line.len);
        (void)fuzz_byte(&line);
        char *copy = fuzz_copy(word);
        if (peri_ip_range_read(&ranges[count], peri_str(copy, word.len))) {
            const struct peri_ip_set set = {&ranges[count], 1};
            FUZZ_CHECK(peri_ip_set_has(&set, &ranges[count].first));
            count++;
        }
        struct peri_ip ip;
        if (peri_ip_read(&ip, peri_str(copy, word.len))) {
            check_ip(&ip);
        }
        free(copy);
    }
    return count;
}

static void fields(struct peri_str in) {
    const struct peri_request_limits limits = {1 << 16, 200, 1 << 16};
    struct peri_ip_range ranges[RANGES_MAX];
    struct peri_ip_set believed = {ranges, read_ranges(fuzz_line(&in), ranges)};
    struct peri_request_parser *parser = peri_request_parser_new(&limits);
    FUZZ_CHECK(parser);
    char *copy = fuzz_copy(in);
    struct peri_span span = {(uint8_t *)copy, in.len};
    struct peri_request *request;
    if (peri_request_parser_feed(parser, &span, &request) == PERI_OK) {
        struct peri_ip client = {0};
        if (peri_forwarded_find(request, &believed, &client) == PERI_FORWARDED_NAMED) {
            FUZZ_CHECK(client.family != PERI_IP_NONE);
            check_ip(&client);
        } else {
            FUZZ_CHECK(client.family == PERI_IP_NONE);
        }
        peri_request_unref(request);
    }
    peri_request_parser_free(parser);
    free(copy);
}

/// The input: which of the two, then pieces and a header, or ranges on a line and a request.
void fuzz_one(struct peri_str in) {
    if (fuzz_byte(&in) % 2 == 0) {
        header(in);
    } else {
        fields(in);
    }
}
