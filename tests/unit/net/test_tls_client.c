// The client's side of TLS against the host's, over a socket pair: which certificates it takes.
#include "net/tls_client.h"

#include <sys/socket.h>

#include "base/alloc.h"
#include "net/certificates.h"
#include "net/tls.h"
#include "support/certificate.h"
#include "support/cmocka.h"

static struct certificate_files files;
static uint8_t bytes[PERI_TLS_READ_BYTES];

static int begin(void **state) {
    (void)state;
    certificate_begin(&files);
    return 0;
}

static int end(void **state) {
    (void)state;
    certificate_end(&files);
    return peri_alloc_live() == 0 ? 0 : -1;
}

/// What became of a handshake, and the first words both ways.
struct outcome {
    int rc;
    char why[128];
};

static int talk(struct peri_tls_client *client, struct peri_tls *tls) {
    enum peri_tls_wait wait;
    size_t n = 0, taken = 0;
    bool more;
    int rc = PERI_AGAIN;
    for (int i = 0; i < 100 && rc == PERI_AGAIN; i++) {
        rc = peri_tls_client_shake_hands(client, &wait);
        int read = peri_tls_read(tls, bytes, &n, &more);
        assert_true(read == PERI_OK || read == PERI_AGAIN || rc != PERI_OK);
    }
    if (rc != PERI_OK) {
        return rc;
    }
    const struct iovec hello = {(char[]){"hello"}, 5};
    assert_int_equal(peri_tls_client_write(client, (const uint8_t *)"hi", 2, &taken), PERI_OK);
    while (peri_tls_read(tls, bytes, &n, &more) == PERI_OK && n == 0) {
    }
    assert_int_equal(n, 2);
    assert_int_equal(peri_tls_send(tls, &hello, 1, &taken), PERI_OK);
    assert_int_equal(peri_tls_client_read(client, bytes, sizeof bytes, &n), PERI_OK);
    assert_int_equal(n, 5);
    assert_memory_equal(bytes, "hello", 5);
    assert_int_equal(peri_tls_client_read(client, bytes, sizeof bytes, &n), PERI_AGAIN);
    assert_int_equal(peri_tls_end(tls), PERI_OK);
    assert_int_equal(peri_tls_client_read(client, bytes, sizeof bytes, &n), PERI_OK);
    assert_int_equal(n, 0);
    return PERI_OK;
}

static struct outcome connect_to(const char *host, const struct peri_tls_trust *trust) {
    struct outcome outcome = {PERI_E_MEMORY, ""};
    struct peri_tls_pair pair = {files.certificate, files.key};
    struct peri_buffer error = {0};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct peri_certificates *certificates = peri_certificates_new(&pair, 1, &error);
    struct peri_tls_loop *loop = certificates ? peri_tls_loop_new(certificates) : NULL;
    struct peri_tls *tls = loop ? peri_tls_new(loop, fds[0]) : NULL;
    struct peri_tls_client *client = NULL;
    if (tls) {
        outcome.rc = peri_tls_client_new(&client, fds[1], peri_str_of(host), trust, &error);
    }
    if (client) {
        outcome.rc = talk(client, tls);
        (void)snprintf(outcome.why, sizeof outcome.why, "%s", peri_tls_client_why(client));
    } else {
        (void)snprintf(outcome.why, sizeof outcome.why, "%.*s", (int)error.len,
                       error.len > 0 ? (const char *)error.ptr : "");
    }
    peri_tls_client_free(client);
    peri_tls_free(tls);
    peri_tls_loop_free(loop);
    peri_certificates_free(certificates);
    peri_buffer_deinit(&error);
    (void)close(fds[0]);
    (void)close(fds[1]);
    return outcome;
}

static void check(const char *host, int rc, const char *why) {
    const struct peri_tls_trust trust = {.ca = files.certificate};
    struct outcome outcome = connect_to(host, &trust);
    assert_int_equal(outcome.rc, rc);
    assert_string_equal(outcome.why, why);
}

static void a_certificate_has_to_name_the_host(void **state) {
    (void)state;
    check("localhost", PERI_OK, "nothing is wrong");
    check("LOCALHOST", PERI_OK, "nothing is wrong");
    check("localhost.", PERI_OK, "nothing is wrong"); // RFC 6066 section 3: asked for without
    check("other.example", PERI_E_INVALID, "hostname mismatch");
    check("127.0.0.1", PERI_E_INVALID, "IP address mismatch");
    check("fe80::1%eth0", PERI_E_INVALID, "IP address mismatch");
    check("", PERI_E_INVALID, "no certificate can name this host");
    certificate_write(&files, "*.wild.example", 1);
    check("a.wild.example", PERI_OK, "nothing is wrong");
    check("a.b.wild.example", PERI_E_INVALID, "hostname mismatch");
    check("wild.example", PERI_E_INVALID, "hostname mismatch");
    certificate_write(&files, "localhost", -1);
    check("localhost", PERI_E_INVALID, "certificate has expired");
}

static void trust_decides(void **state) {
    (void)state;
    const struct peri_tls_trust system = {0}, anybody = {.anybody = true};
    struct outcome outcome = connect_to("localhost", &system);
    assert_int_equal(outcome.rc, PERI_E_INVALID);
    assert_string_equal(outcome.why, "self-signed certificate");
    assert_int_equal(connect_to("other.example", &anybody).rc, PERI_OK);
    const struct peri_tls_trust key = {.ca = files.key}, missing = {.ca = "/nowhere"};
    outcome = connect_to("localhost", &key);
    assert_int_equal(outcome.rc, PERI_E_INVALID);
    assert_non_null(strstr(outcome.why, "holds no certificate in PEM form"));
    outcome = connect_to("localhost", &missing);
    assert_int_equal(outcome.rc, PERI_E_INVALID);
    assert_string_equal(outcome.why, "/nowhere can't be read: No such file or directory");
}

static void without_memory_there_is_none(void **state) {
    (void)state;
    const struct peri_tls_trust anybody = {.anybody = true};
    int rc;
    uint64_t n = 0;
    do {
        peri_alloc_fail_from(++n);
        rc = connect_to("localhost", &anybody).rc;
        peri_alloc_fail_from(0);
        assert_int_equal(peri_alloc_live(), 0);
    } while (rc != PERI_OK);
    assert_true(n > 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_certificate_has_to_name_the_host, begin, end),
        cmocka_unit_test_setup_teardown(trust_decides, begin, end),
        cmocka_unit_test_setup_teardown(without_memory_there_is_none, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
