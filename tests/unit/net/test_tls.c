// TLS between two ends of a socket pair: the host's, and a client of OpenSSL's own.
#include "net/tls.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "net/certificates.h"
#include "support/certificate.h"
#include "support/cmocka.h"

enum { BIG = 300 * 1000 };

static struct certificate_files files;
static struct peri_tls_pair pair;
static struct peri_certificates *certificates;
static SSL_CTX *client_context;
static uint8_t big[BIG], heard[BIG + PERI_TLS_READ_BYTES];

/// Both ends, and what went over.
struct ends {
    struct peri_tls_loop *loop;
    struct peri_tls *tls;
    SSL *client;
    BIO *to_client, *from_client; ///< borrowed by the client
    int fds[2];                   ///< ours, and the client's
};

static int begin(void **state) {
    (void)state;
    struct peri_buffer error = {0};
    certificate_begin(&files);
    pair = (struct peri_tls_pair){files.certificate, files.key};
    certificates = peri_certificates_new(&pair, 1, &error);
    client_context = SSL_CTX_new(TLS_client_method());
    for (size_t i = 0; i < BIG; i++) {
        big[i] = (uint8_t)(i * 7 + i / 251);
    }
    return certificates && client_context ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    SSL_CTX_free(client_context);
    peri_certificates_free(certificates);
    certificate_end(&files);
    return peri_alloc_live() == 0 ? 0 : -1;
}

static void close_ends(struct ends *ends) {
    peri_tls_free(ends->tls);
    peri_tls_loop_free(ends->loop);
    SSL_free(ends->client);
    (void)close(ends->fds[0]);
    (void)close(ends->fds[1]);
}

/// @return PERI_OK, or PERI_E_MEMORY with all given back
static int open_ends(struct ends *ends, int version) {
    *ends = (struct ends){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends->fds), 0);
    ends->client = SSL_new(client_context);
    ends->to_client = BIO_new(BIO_s_mem());
    ends->from_client = BIO_new(BIO_s_mem());
    assert_true(ends->client && ends->to_client && ends->from_client);
    SSL_set_bio(ends->client, ends->to_client, ends->from_client);
    SSL_set_connect_state(ends->client);
    (void)SSL_set_min_proto_version(ends->client, version);
    (void)SSL_set_max_proto_version(ends->client, version);
    ends->loop = peri_tls_loop_new(certificates);
    ends->tls = ends->loop ? peri_tls_new(ends->loop, ends->fds[0]) : NULL;
    if (!ends->tls) {
        close_ends(ends);
        return PERI_E_MEMORY;
    }
    return PERI_OK;
}

/// Brings what the client has to say to our end's socket, at most n bytes.
static void client_says(struct ends *ends, size_t n) {
    char bytes[4096];
    int got;
    while (n > 0 && (got = BIO_read(ends->from_client, bytes,
                                    n < sizeof bytes ? (int)n : (int)sizeof bytes)) > 0) {
        assert_int_equal(send(ends->fds[1], bytes, (size_t)got, 0), got);
        n -= (size_t)got;
    }
}

/// Brings what has come for the client to it.
static void client_hears(struct ends *ends) {
    char bytes[4096];
    ssize_t got;
    while ((got = recv(ends->fds[1], bytes, sizeof bytes, 0)) > 0) {
        assert_int_equal(BIO_write(ends->to_client, bytes, (int)got), got);
    }
}

/// Reads as an event loop would. Bytes go to `heard`.
static int read_all(struct ends *ends, size_t *n) {
    int rc;
    size_t came;
    bool more;
    while ((rc = peri_tls_read(ends->tls, heard + *n, &came, &more)) == PERI_OK) {
        *n += came;
        assert_true(*n <= BIG);
    }
    return rc;
}

/// @param step bytes of the client's that come at once
static int shake_hands(struct ends *ends, size_t step) {
    size_t n = 0;
    for (int i = 0;
         i < 20000 && !(SSL_is_init_finished(ends->client) && peri_tls_is_open(ends->tls) &&
                        BIO_pending(ends->from_client) == 0);
         i++) {
        (void)SSL_do_handshake(ends->client);
        client_says(ends, step);
        int rc = read_all(ends, &n);
        if (rc != PERI_AGAIN) {
            return rc;
        }
        client_hears(ends);
    }
    assert_int_equal(n, 0);
    return peri_tls_is_open(ends->tls) ? PERI_OK : PERI_E_INVALID;
}

static void check_client_hears(struct ends *ends, const uint8_t *expected, size_t n) {
    static uint8_t got[BIG];
    size_t at = 0, more, sent;
    while (at < n) {
        client_hears(ends);
        if (SSL_read_ex(ends->client, got + at, sizeof got - at, &more) == 1) {
            at += more;
        } else {
            assert_int_equal(SSL_get_error(ends->client, 0), SSL_ERROR_WANT_READ);
            assert_true(peri_tls_is_full(ends->tls));
            assert_int_equal(peri_tls_flush(ends->tls, &sent), PERI_OK);
        }
    }
    assert_int_equal(at, n);
    assert_memory_equal(got, expected, n);
}

static void bytes_come_whole_however_they_are_cut(void **state) {
    (void)state;
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    const size_t steps[] = {1, 5, 1000, SIZE_MAX};
    for (int v = 0; v < 2; v++) {
        for (int s = 0; s < 4; s++) {
            struct ends ends;
            size_t n = 0, written;
            assert_int_equal(open_ends(&ends, versions[v]), PERI_OK);
            assert_int_equal(shake_hands(&ends, steps[s]), PERI_OK);
            assert_int_equal(SSL_write_ex(ends.client, big, 40000, &written), 1);
            while (BIO_pending(ends.from_client) > 0) {
                client_says(&ends, steps[s]);
                assert_int_equal(read_all(&ends, &n), PERI_AGAIN);
            }
            assert_int_equal(n, 40000);
            assert_memory_equal(heard, big, n);
            close_ends(&ends);
        }
    }
}

static void pieces_of_any_size_are_sent_in_order(void **state) {
    (void)state;
    const size_t sizes[] = {1, 0, 16383, 16384, 1, 16385, 2, 3, 40000, 20000, 7};
    enum { N = sizeof sizes / sizeof sizes[0] };
    struct iovec iov[N];
    struct ends ends;
    size_t total = 0, taken = 0;
    for (int i = 0; i < N; i++) {
        iov[i] = (struct iovec){big + total, sizes[i]};
        total += sizes[i];
    }
    assert_int_equal(open_ends(&ends, TLS1_3_VERSION), PERI_OK);
    assert_int_equal(shake_hands(&ends, SIZE_MAX), PERI_OK);
    assert_int_equal(peri_tls_send(ends.tls, iov, N, &taken), PERI_OK);
    assert_int_equal(taken, total);
    check_client_hears(&ends, big, total);
    close_ends(&ends);
}

static void a_full_socket_takes_whole_records_and_the_rest_waits(void **state) {
    (void)state;
    struct ends ends;
    size_t at = 0, taken = 0, sent = 0;
    int small = 4096;
    assert_int_equal(open_ends(&ends, TLS1_3_VERSION), PERI_OK);
    assert_int_equal(shake_hands(&ends, SIZE_MAX), PERI_OK);
    assert_int_equal(setsockopt(ends.fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    const struct iovec all = {big, BIG};
    assert_int_equal(peri_tls_send(ends.tls, &all, 1, &taken), PERI_OK);
    assert_true(peri_tls_is_full(ends.tls));
    assert_true(taken > 0 && taken < BIG);
    at = taken;
    assert_int_equal(peri_tls_send(ends.tls, &all, 1, &taken), PERI_OK);
    assert_int_equal(taken, 0);
    assert_int_equal(peri_tls_flush(ends.tls, &sent), PERI_OK);
    assert_int_equal(sent, 0);
    check_client_hears(&ends, big, at);
    assert_false(peri_tls_is_full(ends.tls));
    const struct iovec rest = {big + at, 1000};
    assert_int_equal(peri_tls_send(ends.tls, &rest, 1, &taken), PERI_OK);
    assert_int_equal(taken, 1000);
    check_client_hears(&ends, big + at, 1000);
    close_ends(&ends);
}

static void a_file_is_sent_and_one_that_ends_early_is_an_error(void **state) {
    (void)state;
    struct ends ends;
    size_t taken = 0;
    int fd = open(files.folder, O_TMPFILE | O_RDWR, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, big, 50000), 50000);
    assert_int_equal(open_ends(&ends, TLS1_2_VERSION), PERI_OK);
    assert_int_equal(shake_hands(&ends, SIZE_MAX), PERI_OK);
    assert_int_equal(peri_tls_send_file(ends.tls, fd, 100, 40000, &taken), PERI_OK);
    assert_int_equal(taken, 40000);
    check_client_hears(&ends, big + 100, 40000);
    assert_int_equal(peri_tls_send_file(ends.tls, fd, 50000, 1, &taken), PERI_E_SYSTEM);
    (void)close(fd);
    close_ends(&ends);
}

static void a_goodbye_is_told_once_the_bytes_before_it_are_read(void **state) {
    (void)state;
    struct ends ends;
    size_t n = 0, none = 0, written;
    bool more;
    assert_int_equal(open_ends(&ends, TLS1_3_VERSION), PERI_OK);
    assert_int_equal(shake_hands(&ends, SIZE_MAX), PERI_OK);
    assert_int_equal(SSL_write_ex(ends.client, big, 10, &written), 1);
    (void)SSL_shutdown(ends.client);
    client_says(&ends, SIZE_MAX);
    assert_int_equal(peri_tls_read(ends.tls, heard, &n, &more), PERI_OK);
    assert_int_equal(n, 10);
    assert_true(peri_tls_has_ended(ends.tls));
    assert_int_equal(peri_tls_read(ends.tls, heard, &none, &more), PERI_E_CLOSED);
    const struct iovec still = {big, 20};
    assert_int_equal(peri_tls_send(ends.tls, &still, 1, &written), PERI_OK);
    assert_int_equal(peri_tls_end(ends.tls), PERI_OK);
    client_hears(&ends);
    assert_int_equal(SSL_read_ex(ends.client, heard, sizeof heard, &n), 1);
    assert_int_equal(n, 20);
    assert_int_equal(SSL_read_ex(ends.client, heard, sizeof heard, &n), 0);
    assert_int_equal(SSL_get_error(ends.client, 0), SSL_ERROR_ZERO_RETURN);
    close_ends(&ends);
}

static void a_read_tells_whether_the_socket_may_have_more(void **state) {
    (void)state;
    struct ends ends;
    size_t n = 0, all = 0, written;
    bool more = true;
    assert_int_equal(open_ends(&ends, TLS1_3_VERSION), PERI_OK);
    assert_int_equal(shake_hands(&ends, SIZE_MAX), PERI_OK);
    assert_int_equal(SSL_write_ex(ends.client, big, 100000, &written), 1);
    client_says(&ends, SIZE_MAX);
    for (int reads = 0; more; reads++) {
        assert_int_equal(peri_tls_read(ends.tls, heard, &n, &more), PERI_OK);
        assert_true(more == (reads < 2)); // of less than 64 KiB each
        all += n;
    }
    assert_int_equal(all, 100000);
    assert_int_equal(peri_tls_read(ends.tls, heard, &n, &more), PERI_AGAIN);
    close_ends(&ends);
}

static void what_is_no_tls_is_told_apart(void **state) {
    (void)state;
    const struct {
        const char *bytes;
        int rc;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", PERI_E_INVALID},
        {"P", PERI_E_INVALID},
        {"get / HTTP/1.1\r\n\r\n", PERI_E_PROTOCOL},
        {"\x15\x03\x01\x00\x02\x02\x28", PERI_E_PROTOCOL}, // an alert
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", PERI_E_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ends ends;
        size_t n = i == 3 ? 7 : strlen(cases[i].bytes);
        assert_int_equal(open_ends(&ends, TLS1_3_VERSION), PERI_OK);
        bool more;
        assert_int_equal(send(ends.fds[1], cases[i].bytes, n, 0), n);
        assert_int_equal(peri_tls_read(ends.tls, heard, &n, &more), cases[i].rc);
        if (cases[i].rc == PERI_E_PROTOCOL) {
            assert_true(strlen(peri_tls_why(ends.tls)) > 0);
            assert_int_equal(send(ends.fds[1], "more", 4, 0), 4);
            assert_int_equal(peri_tls_read(ends.tls, heard, &n, &more), PERI_OK); // thrown away
            assert_int_equal(n, 0);
        }
        close_ends(&ends);
    }
}

static void a_flood_of_key_updates_is_cut_off_and_a_few_at_once_are_none(void **state) {
    (void)state;
    struct {
        int at_once, rc;
    } cases[] = {{16, PERI_AGAIN}, {17, PERI_E_PROTOCOL}, {2000, PERI_E_PROTOCOL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ends ends;
        size_t n = 0, written;
        assert_int_equal(open_ends(&ends, TLS1_3_VERSION), PERI_OK);
        assert_int_equal(shake_hands(&ends, SIZE_MAX), PERI_OK);
        for (int round = 0; round < 3 && i == 0; round++) { // each time anew
            for (int k = 0; k < cases[i].at_once; k++) {
                assert_int_equal(SSL_key_update(ends.client, SSL_KEY_UPDATE_REQUESTED), 1);
                assert_int_equal(SSL_do_handshake(ends.client), 1);
            }
            client_says(&ends, SIZE_MAX);
            assert_int_equal(read_all(&ends, &n), PERI_AGAIN);
            client_hears(&ends);
        }
        for (int k = 0; k < cases[i].at_once; k++) {
            assert_int_equal(SSL_key_update(ends.client, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
            assert_int_equal(SSL_do_handshake(ends.client), 1);
        }
        assert_int_equal(SSL_write_ex(ends.client, "behind", 6, &written), 1);
        client_says(&ends, SIZE_MAX);
        assert_int_equal(read_all(&ends, &n), cases[i].rc);
        assert_int_equal(n, cases[i].rc == PERI_AGAIN ? 6 : 0);
        if (cases[i].rc == PERI_E_PROTOCOL) {
            assert_string_equal(peri_tls_why(ends.tls),
                                "too many key updates or renegotiations at once");
        }
        close_ends(&ends);
    }
}

static void who_asks_for_key_updates_and_reads_nothing_is_cut_off(void **state) {
    (void)state;
    struct ends ends;
    int small = 4096, rc = PERI_AGAIN;
    size_t n = 0;
    assert_int_equal(open_ends(&ends, TLS1_3_VERSION), PERI_OK);
    assert_int_equal(shake_hands(&ends, SIZE_MAX), PERI_OK);
    assert_int_equal(setsockopt(ends.fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    int updates = 0;
    for (; updates < 20000 && rc == PERI_AGAIN; updates++) {
        assert_int_equal(SSL_key_update(ends.client, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(ends.client), 1);
        client_says(&ends, SIZE_MAX);
        rc = read_all(&ends, &n);
    }
    assert_int_equal(rc, PERI_E_PROTOCOL);
    assert_string_equal(peri_tls_why(ends.tls), "it takes nothing of what it asks for");
    close_ends(&ends);
}

/// @return PERI_OK when all went well
static int talk_and_fill(struct ends *ends) {
    size_t n = 0, taken = 0, written;
    int small = 4096;
    int rc = open_ends(ends, TLS1_3_VERSION);
    if (rc != PERI_OK) {
        return rc;
    }
    rc = shake_hands(ends, SIZE_MAX);
    if (rc == PERI_OK) {
        assert_int_equal(SSL_write_ex(ends->client, big, 30000, &written), 1);
        client_says(ends, SIZE_MAX);
        rc = read_all(ends, &n);
        rc = rc == PERI_AGAIN ? PERI_OK : rc;
    }
    if (rc == PERI_OK) {
        (void)setsockopt(ends->fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        const struct iovec all = {big, BIG};
        rc = peri_tls_send(ends->tls, &all, 1, &taken);
    }
    if (rc == PERI_OK) {
        check_client_hears(ends, big, taken);
    }
    close_ends(ends);
    return rc;
}

static void without_memory_a_connection_fails_and_keeps_nothing(void **state) {
    (void)state;
    uint64_t before = peri_alloc_live(), n = 0;
    int rc;
    do {
        struct ends ends;
        peri_alloc_fail_from(++n);
        rc = talk_and_fill(&ends);
        peri_alloc_fail_from(0);
        assert_int_equal(peri_alloc_live(), before);
    } while (rc != PERI_OK);
    assert_true(n > 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_whole_however_they_are_cut),
        cmocka_unit_test(pieces_of_any_size_are_sent_in_order),
        cmocka_unit_test(a_full_socket_takes_whole_records_and_the_rest_waits),
        cmocka_unit_test(a_file_is_sent_and_one_that_ends_early_is_an_error),
        cmocka_unit_test(a_goodbye_is_told_once_the_bytes_before_it_are_read),
        cmocka_unit_test(a_read_tells_whether_the_socket_may_have_more),
        cmocka_unit_test(what_is_no_tls_is_told_apart),
        cmocka_unit_test(a_flood_of_key_updates_is_cut_off_and_a_few_at_once_are_none),
        cmocka_unit_test(who_asks_for_key_updates_and_reads_nothing_is_cut_off),
        cmocka_unit_test(without_memory_a_connection_fails_and_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
