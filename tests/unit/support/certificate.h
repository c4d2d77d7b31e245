// A certificate and its key in files of a temporary folder, for tests of TLS.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/cmocka.h"

struct certificate_files {
    char folder[32], certificate[64], key[64];
};

static FILE *certificate_open(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file) {
        perror(path);
        abort();
    }
    return file;
}

/// Writes a certificate for one name, signed by its own key.
/// @param days from now; negative: it has expired
static void certificate_write(const struct certificate_files *files, const char *name, long days) {
    char names[128];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *leaf = X509_new();
    assert_non_null(key);
    assert_non_null(leaf);
    (void)snprintf(names, sizeof names, "DNS:%s", name);
    (void)X509_set_version(leaf, X509_VERSION_3);
    (void)X509_gmtime_adj(X509_getm_notBefore(leaf), (days < 0 ? 2 * days : -1) * 24 * 3600);
    (void)X509_gmtime_adj(X509_getm_notAfter(leaf), days * 24 * 3600);
    (void)X509_set_pubkey(leaf, key);
    X509_NAME *subject = X509_get_subject_name(leaf);
    (void)X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                     -1, 0);
    (void)X509_set_issuer_name(leaf, subject);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    assert_non_null(extension);
    (void)X509_add_ext(leaf, extension, -1);
    assert_true(X509_sign(leaf, key, EVP_sha256()) > 0);

    FILE *certificate = certificate_open(files->certificate);
    FILE *secret = certificate_open(files->key);
    assert_int_equal(PEM_write_X509(certificate, leaf), 1);
    assert_int_equal(PEM_write_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(certificate), 0);
    assert_int_equal(fclose(secret), 0);
    X509_EXTENSION_free(extension);
    X509_free(leaf);
    EVP_PKEY_free(key);
}

static void certificate_begin(struct certificate_files *files) {
    (void)snprintf(files->folder, sizeof files->folder, "/tmp/perigee-XXXXXX");
    assert_non_null(mkdtemp(files->folder));
    (void)snprintf(files->certificate, sizeof files->certificate, "%s/cert.pem", files->folder);
    (void)snprintf(files->key, sizeof files->key, "%s/key.pem", files->folder);
    certificate_write(files, "localhost", 1);
}

static void certificate_end(const struct certificate_files *files) {
    (void)unlink(files->certificate);
    (void)unlink(files->key);
    (void)rmdir(files->folder);
}
