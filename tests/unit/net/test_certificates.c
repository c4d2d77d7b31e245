// Pairs of files become contexts, also when they change. What a client sees of it: e2e/test_tls_certificates.py.
#include "net/certificates.h"

#include "base/alloc.h"
#include "base/log.h"
#include "net/tls_context.h"
#include "support/certificate.h"
#include "support/cmocka.h"

static struct certificate_files files;
static struct peri_tls_pair pair;
static struct peri_buffer error;
static char said[8192];

static void keep_line(void *arg, struct peri_str line) {
    (void)arg;
    size_t n = strlen(said);
    (void)snprintf(said + n, sizeof said - n, "%.*s", (int)line.len, line.ptr);
}

static int begin(void **state) {
    (void)state;
    said[0] = '\0';
    peri_log_set_sink(keep_line, NULL);
    certificate_begin(&files);
    pair = (struct peri_tls_pair){files.certificate, files.key};
    return 0;
}

static int end(void **state) {
    (void)state;
    peri_log_set_sink(NULL, NULL);
    peri_buffer_deinit(&error);
    certificate_end(&files);
    return peri_alloc_live() == 0 ? 0 : -1;
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (!file) {
        fail_msg("can't write %s", path);
        return;
    }
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_changed_pair_is_read_once_it_has_settled(void **state) {
    (void)state;
    struct peri_certificates *certificates = peri_certificates_new(&pair, 1, &error);
    assert_non_null(certificates);
    const SSL_CTX *first = peri_certificates_context(certificates);
    peri_certificates_poll(certificates);
    peri_certificates_poll(certificates);
    assert_ptr_equal(peri_certificates_context(certificates), first);

    certificate_write(&files, "renewed.example", 2);
    peri_certificates_poll(certificates);
    assert_ptr_equal(peri_certificates_context(certificates), first);
    write_file(files.key, "half a key"); // it changes between two looks: not settled
    peri_certificates_poll(certificates);
    assert_null(strstr(said, "half"));
    assert_null(strstr(said, "serves on"));
    certificate_write(&files, "renewed.example", 2);
    peri_certificates_poll(certificates);
    peri_certificates_poll(certificates);
    assert_non_null(strstr(said, "certificate read anew"));
    const X509 *leaf = SSL_CTX_get0_certificate(peri_certificates_context(certificates));
    assert_int_equal(X509_check_host((X509 *)(uintptr_t)leaf, "renewed.example", 0, 0, NULL), 1);
    peri_certificates_free(certificates);
}

static void a_bad_pair_is_told_once_and_the_one_before_stays(void **state) {
    (void)state;
    struct peri_certificates *certificates = peri_certificates_new(&pair, 1, &error);
    assert_non_null(certificates);
    const SSL_CTX *first = peri_certificates_context(certificates);
    write_file(files.key, "half a key");
    for (int i = 0; i < 5; i++) {
        peri_certificates_poll(certificates);
    }
    assert_ptr_equal(peri_certificates_context(certificates), first);
    const char *told = strstr(said, "holds no private key in PEM form: the one before serves on");
    assert_non_null(told);
    const char *rest = told ? strchr(told, '\n') : NULL;
    assert_true(rest && !strstr(rest, "serves on"));
    peri_certificates_free(certificates);
}

static void an_expired_pair_begins_with_a_warning_and_replaces_nothing(void **state) {
    (void)state;
    certificate_write(&files, "localhost", -1);
    struct peri_certificates *certificates = peri_certificates_new(&pair, 1, &error);
    assert_non_null(certificates);
    assert_non_null(strstr(said, "has expired: clients will refuse it"));
    const SSL_CTX *first = peri_certificates_context(certificates);
    peri_certificates_reload(certificates);
    assert_ptr_equal(peri_certificates_context(certificates), first);
    assert_non_null(strstr(said, "has expired: the one before serves on"));
    certificate_write(&files, "localhost", 1);
    peri_certificates_reload(certificates);
    assert_ptr_not_equal(peri_certificates_context(certificates), first);
    peri_certificates_free(certificates);
}

static void without_memory_there_are_none_and_a_reload_changes_none(void **state) {
    (void)state;
    struct peri_certificates *certificates = NULL;
    for (uint64_t n = 1; !certificates; n++) {
        peri_alloc_fail_from(n);
        certificates = peri_certificates_new(&pair, 1, &error);
        peri_alloc_fail_from(0);
        assert_int_equal(error.len, 0);
        assert_true(certificates || peri_alloc_live() == 0);
    }
    write_file(files.key, "half a key");
    peri_alloc_fail_from(1); // the reason can't be told then
    peri_certificates_reload(certificates);
    peri_alloc_fail_from(0);
    assert_non_null(strstr(said, "out of memory: the one before serves on"));
    peri_certificates_free(certificates);
}

static void a_key_of_tickets_is_used_for_an_hour_and_kept_for_another(void **state) {
    (void)state;
    struct peri_tickets tickets = {0};
    assert_true(peri_tickets_rotate(&tickets, 10));
    struct peri_ticket_key first = tickets.keys[0];
    assert_int_equal(first.made_s, 10);
    assert_true(peri_tickets_rotate(&tickets, 10 + PERI_TICKET_S - 1));
    assert_memory_equal(&tickets.keys[0], &first, sizeof first);
    assert_true(peri_tickets_rotate(&tickets, 10 + PERI_TICKET_S));
    assert_memory_equal(&tickets.keys[1], &first, sizeof first);
    assert_memory_not_equal(tickets.keys[0].cipher, first.cipher, sizeof first.cipher);
    assert_memory_not_equal(tickets.keys[0].mac, first.mac, sizeof first.mac);
    assert_memory_not_equal(tickets.keys[0].name, first.name, sizeof first.name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_changed_pair_is_read_once_it_has_settled, begin, end),
        cmocka_unit_test_setup_teardown(a_bad_pair_is_told_once_and_the_one_before_stays, begin,
                                        end),
        cmocka_unit_test_setup_teardown(an_expired_pair_begins_with_a_warning_and_replaces_nothing,
                                        begin, end),
        cmocka_unit_test_setup_teardown(without_memory_there_are_none_and_a_reload_changes_none,
                                        begin, end),
        cmocka_unit_test_setup_teardown(a_key_of_tickets_is_used_for_an_hour_and_kept_for_another,
                                        begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
