#include "net/tls_client.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "base/alloc.h"

enum { NAME_MAX_BYTES = 256 };

struct peri_tls_client {
    SSL_CTX *context;
    SSL *ssl;
    const char *why;
};

/// Whom the certificate has to name, and whom the other side is asked for. RFC 6066 section 3: not
/// an address. RFC 9525 section 6.3
static bool set_host(SSL *ssl, struct peri_str host) {
    char name[NAME_MAX_BYTES];
    if (host.len == 0 || host.len >= sizeof name) {
        return false;
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)host.len, host.ptr);
    char *zone = strchr(name, '%'); // of an IPv6 address, which certificates know nothing of
    if (zone) {
        *zone = '\0';
    }
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1) {
        return true;
    }
    ERR_clear_error();
    if (host.len > 1 && name[host.len - 1] == '.') {
        name[host.len - 1] = '\0';
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static int trust_in(SSL_CTX *context, const struct peri_tls_trust *trust, struct peri_buffer *why) {
    if (trust->anybody) {
        return PERI_OK;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (!trust->ca) {
        return SSL_CTX_set_default_verify_paths(context) == 1 ? PERI_OK : PERI_E_MEMORY;
    }
    ERR_clear_error();
    if (SSL_CTX_load_verify_file(context, trust->ca) == 1) {
        return PERI_OK;
    }
    unsigned long code = ERR_peek_error();
    return ERR_SYSTEM_ERROR(code)
               ? PERI_TELL(why, "%s can't be read: %s", trust->ca, strerror(ERR_GET_REASON(code)))
               : PERI_TELL(why, "%s holds no certificate in PEM form", trust->ca);
}

static SSL_CTX *new_context(void) {
    static const unsigned char protocols[] = "\x08http/1.1"; // RFC 7301
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context) {
        SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
        SSL_CTX_set_mode(context,
                         SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
            SSL_CTX_set_alpn_protos(context, protocols, sizeof protocols - 1) != 0) {
            SSL_CTX_free(context);
            return NULL;
        }
    }
    return context;
}

int peri_tls_client_new(struct peri_tls_client **client, int fd, struct peri_str host,
                        const struct peri_tls_trust *trust, struct peri_buffer *why) {
    struct peri_tls_client *made = peri_calloc(1, sizeof *made);
    int rc = PERI_E_MEMORY;
    if (!made || !(made->context = new_context())) {
        goto fail;
    }
    rc = trust_in(made->context, trust, why);
    if (rc != PERI_OK) {
        goto fail;
    }
    rc = PERI_E_MEMORY;
    made->ssl = SSL_new(made->context);
    if (!made->ssl || SSL_set_fd(made->ssl, fd) != 1) {
        goto fail;
    }
    if (!set_host(made->ssl, host)) {
        rc = PERI_TELL(why, "no certificate can name this host");
        goto fail;
    }
    SSL_set_connect_state(made->ssl);
    *client = made;
    return PERI_OK;
fail:
    ERR_clear_error();
    peri_tls_client_free(made);
    return rc;
}

void peri_tls_client_free(struct peri_tls_client *client) {
    if (!client) {
        return;
    }
    if (client->ssl && !client->why && SSL_is_init_finished(client->ssl)) {
        (void)SSL_shutdown(client->ssl);
        ERR_clear_error();
    }
    SSL_free(client->ssl);
    SSL_CTX_free(client->context);
    peri_free(client);
}

/// What a call of OpenSSL's that did not succeed means.
static int judge(struct peri_tls_client *client, enum peri_tls_wait *wait) {
    int failed = errno;
    switch (SSL_get_error(client->ssl, 0)) {
    case SSL_ERROR_WANT_READ: *wait = PERI_TLS_WAIT_READ; return PERI_AGAIN;
    case SSL_ERROR_WANT_WRITE: *wait = PERI_TLS_WAIT_WRITE; return PERI_AGAIN;
    case SSL_ERROR_SYSCALL:
        client->why = failed != 0 ? strerror(failed) : "the other side has hung up";
        ERR_clear_error();
        return PERI_E_SYSTEM;
    default: break;
    }
    unsigned long code = ERR_peek_last_error();
    long verified = SSL_get_verify_result(client->ssl);
    const char *text = ERR_reason_error_string(code);
    bool distrusted = ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    client->why = distrusted ? X509_verify_cert_error_string(verified) : text ? text : "TLS failed";
    ERR_clear_error();
    return distrusted ? PERI_E_INVALID : PERI_E_PROTOCOL;
}

static void clear_errors(void) {
    ERR_clear_error();
    errno = 0; // an end in the midst of a record is told by no other sign
}

int peri_tls_client_shake_hands(struct peri_tls_client *client, enum peri_tls_wait *wait) {
    clear_errors();
    return SSL_do_handshake(client->ssl) == 1 ? PERI_OK : judge(client, wait);
}

int peri_tls_client_read(struct peri_tls_client *client, uint8_t *bytes, size_t size, size_t *n) {
    enum peri_tls_wait wait;
    assert(size >= PERI_TLS_CLIENT_READ_BYTES);
    clear_errors();
    if (SSL_read_ex(client->ssl, bytes, size, n) == 1) {
        return PERI_OK;
    }
    // A FIN without a goodbye is an end, too: that no Close frame came is told by WebSocket.
    int error = SSL_get_error(client->ssl, 0);
    bool cut_off = error == SSL_ERROR_SSL &&
                   ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    if (error == SSL_ERROR_ZERO_RETURN || cut_off) {
        ERR_clear_error();
        *n = 0;
        return PERI_OK;
    }
    return judge(client, &wait);
}

int peri_tls_client_write(struct peri_tls_client *client, const uint8_t *bytes, size_t size,
                          size_t *n) {
    enum peri_tls_wait wait;
    clear_errors();
    return SSL_write_ex(client->ssl, bytes, size, n) == 1 ? PERI_OK : judge(client, &wait);
}

const char *peri_tls_client_why(const struct peri_tls_client *client) {
    return client->why ? client->why : "nothing is wrong";
}
