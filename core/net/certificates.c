#include "net/certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <time.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "net/tls_context.h"

struct certificate {
    const struct peri_tls_pair *files;
    SSL_CTX *context;
    uint64_t tried; ///< what the files were when they were last read
    uint64_t seen;  ///< and when they were last looked at
};

struct peri_certificates {
    struct peri_tickets tickets; ///< of all contexts, so that a reload keeps sessions
    size_t count;
    struct certificate each[];
};

// Files

/// A number that is another one when one of the files has changed.
static uint64_t mark_of(const struct peri_tls_pair *files) {
    const char *const paths[] = {files->certificate, files->key};
    uint64_t marks[2][7] = {0};
    for (int i = 0; i < 2; i++) {
        struct stat stat_;
        if (stat(paths[i], &stat_) == 0) {
            const uint64_t mark[7] = {
                stat_.st_dev,
                stat_.st_ino,
                (uint64_t)stat_.st_size,
                (uint64_t)stat_.st_mtim.tv_sec,
                (uint64_t)stat_.st_mtim.tv_nsec,
                (uint64_t)stat_.st_ctim.tv_sec, // one that was moved here keeps its mtime
                (uint64_t)stat_.st_ctim.tv_nsec,
            };
            memcpy(marks[i], mark, sizeof mark);
        }
    }
    return peri_hash(marks, sizeof marks);
}

static int no_passphrase(char *buffer, int size, int writing, void *asked) {
    (void)buffer;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return -1; // OpenSSL would ask at the terminal
}

/// What OpenSSL said first, in words.
static const char *reason(void) {
    unsigned long code = ERR_peek_error();
    const char *text =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    return text ? text : "it can't be read";
}

static bool first_error_is(int library, int why) {
    unsigned long code = ERR_peek_error();
    return ERR_GET_LIB(code) == library && ERR_GET_REASON(code) == why;
}

static int read_certificate(SSL_CTX *context, const char *path, struct peri_buffer *error) {
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(context, path) == 1) {
        return PERI_OK;
    }
    if (first_error_is(ERR_LIB_PEM, PEM_R_NO_START_LINE)) {
        return PERI_TELL(error, "%s holds no certificate in PEM form", path);
    }
    return PERI_TELL(error, "the certificate %s can't be used: %s", path, reason());
}

static int read_key(SSL_CTX *context, const struct peri_tls_pair *files,
                    struct peri_buffer *error) {
    bool asked = false;
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb_userdata(context, &asked);
    int done = SSL_CTX_use_PrivateKey_file(context, files->key, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    if (asked) {
        return PERI_TELL(error,
                         "the key %s has a passphrase, which nobody is there to type: store it "
                         "without one",
                         files->key);
    }
    bool fits = done == 1 ? SSL_CTX_check_private_key(context) == 1
                          : ERR_GET_LIB(ERR_peek_error()) != ERR_LIB_X509;
    if (done != 1 && fits) {
        return ERR_SYSTEM_ERROR(ERR_peek_error())
                   ? PERI_TELL(error, "the key %s can't be read: %s", files->key, reason())
                   : PERI_TELL(error, "%s holds no private key in PEM form", files->key);
    }
    return fits ? PERI_OK
                : PERI_TELL(error, "the key %s does not belong to the certificate %s", files->key,
                            files->certificate);
}

// Time

static void print_day(char out[16], const ASN1_TIME *time) {
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1 || strftime(out, 16, "%Y-%m-%d", &tm) == 0) {
        memcpy(out, "?", sizeof "?");
    }
}

/// @return what is wrong with it today; NULL: nothing
static const char *wrong_today(const X509 *leaf) {
    return X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0    ? "has expired"
           : X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0 ? "is not valid yet"
                                                                  : NULL;
}

static void tell(const struct certificate *certificate, const char *what) {
    char day[16];
    const X509 *leaf = SSL_CTX_get0_certificate(certificate->context);
    print_day(day, X509_get0_notAfter(leaf));
    const struct peri_log_field fields[] = {
        {"file", peri_str_of(certificate->files->certificate)},
        {"expires", peri_str_of(day)},
        {0},
    };
    const char *wrong = wrong_today(leaf);
    if (wrong) {
        peri_log(PERI_LOG_WARN, "the certificate %s %s: clients will refuse it",
                 certificate->files->certificate, wrong);
    } else {
        peri_log_fields(PERI_LOG_INFO, peri_str_of(what), fields);
    }
}

// Names

/// Server Name Indication. RFC 6066 section 3: nobody is refused for a name that we do not know.
static int choose(SSL *ssl, int *alert, void *arg) {
    const struct peri_certificates *certificates = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    for (size_t i = 0; name && i < certificates->count; i++) {
        SSL_CTX *context = certificates->each[i].context;
        if (X509_check_host(SSL_CTX_get0_certificate(context), name, 0, 0, NULL) == 1) {
            return SSL_set_SSL_CTX(ssl, context) ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
        }
    }
    return SSL_TLSEXT_ERR_NOACK;
}

// Reading and reading anew

/// @return owned; NULL on failure
static SSL_CTX *load(struct peri_certificates *certificates, const struct peri_tls_pair *files,
                     struct peri_buffer *error) {
    SSL_CTX *context = peri_tls_context_new(&certificates->tickets);
    if (!context) {
        return NULL;
    }
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    (void)SSL_CTX_set_tlsext_servername_callback(context, choose);
    (void)SSL_CTX_set_tlsext_servername_arg(context, certificates);
    if (read_certificate(context, files->certificate, error) != PERI_OK ||
        read_key(context, files, error) != PERI_OK) {
        SSL_CTX_free(context);
        ERR_clear_error();
        return NULL;
    }
    return context;
}

struct peri_certificates *peri_certificates_new(const struct peri_tls_pair *pairs, size_t count,
                                                struct peri_buffer *error) {
    struct peri_certificates *certificates =
        peri_calloc(1, sizeof *certificates + count * sizeof certificates->each[0]);
    if (!certificates) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        struct certificate *each = &certificates->each[i];
        each->files = &pairs[i];
        each->tried = each->seen = mark_of(each->files);
        each->context = load(certificates, each->files, error);
        if (!each->context) {
            peri_certificates_free(certificates);
            return NULL;
        }
        certificates->count++;
        tell(each, "certificate read");
    }
    return certificates;
}

void peri_certificates_free(struct peri_certificates *certificates) {
    for (size_t i = 0; certificates && i < certificates->count; i++) {
        SSL_CTX_free(certificates->each[i].context);
    }
    peri_free(certificates);
}

SSL_CTX *peri_certificates_context(const struct peri_certificates *certificates) {
    return certificates->each[0].context;
}

/// Puts what the files hold now in place of what they held, if it is any good.
static void reload(struct peri_certificates *certificates, struct certificate *each) {
    struct peri_buffer error = {0};
    SSL_CTX *context = load(certificates, each->files, &error);
    const char *wrong = context ? wrong_today(SSL_CTX_get0_certificate(context)) : NULL;
    if (wrong) {
        peri_log(PERI_LOG_WARN, "the certificate %s %s: the one before serves on",
                 each->files->certificate, wrong);
        SSL_CTX_free(context);
    } else if (!context) {
        peri_log(PERI_LOG_WARN, "%.*s: the one before serves on",
                 error.len > 0 ? (int)error.len : 13,
                 error.len > 0 ? (const char *)error.ptr : "out of memory");
    } else {
        SSL_CTX_free(each->context); // connections that were made of it hold it
        each->context = context;
        tell(each, "certificate read anew");
    }
    peri_buffer_deinit(&error);
}

void peri_certificates_poll(struct peri_certificates *certificates) {
    for (size_t i = 0; i < certificates->count; i++) {
        struct certificate *each = &certificates->each[i];
        uint64_t mark = mark_of(each->files);
        bool settled = mark == each->seen;
        each->seen = mark;
        if (settled && mark != each->tried) {
            each->tried = mark;
            reload(certificates, each);
        }
    }
}

void peri_certificates_reload(struct peri_certificates *certificates) {
    for (size_t i = 0; i < certificates->count; i++) {
        struct certificate *each = &certificates->each[i];
        each->tried = each->seen = mark_of(each->files);
        reload(certificates, each);
    }
}
