#include "net/tls_context.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <time.h>

// What has forward secrecy and authenticated encryption, the fastest first.
static const char ciphers[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                              "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                              "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

static const char ciphers13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

// The first that this OpenSSL knows: key exchange that outlasts quantum computers came with 3.5.
static const char *const groups[] = {"X25519MLKEM768:X25519:P-256:P-384", "X25519:P-256:P-384"};

// ALPN

/// RFC 7301 section 3.2: who offers protocols, but not ours, is refused.
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *offered, unsigned offered_len, void *arg) {
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)arg;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

// Tickets. RFC 5077 section 4, RFC 8446 section 4.6.1

static uint64_t now_s(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec + 1; // 0 is never
}

bool peri_tickets_rotate(struct peri_tickets *tickets, uint64_t now) {
    struct peri_ticket_key *key = &tickets->keys[0];
    if (key->made_s != 0 && now - key->made_s < PERI_TICKET_S) {
        return true;
    }
    struct peri_ticket_key fresh = {.made_s = now};
    if (RAND_bytes(fresh.name, sizeof fresh.name) != 1 ||
        RAND_priv_bytes(fresh.cipher, sizeof fresh.cipher) != 1 ||
        RAND_priv_bytes(fresh.mac, sizeof fresh.mac) != 1) {
        return false;
    }
    tickets->keys[1] = *key;
    *key = fresh;
    return true;
}

static bool set_mac(EVP_MAC_CTX *mac, struct peri_ticket_key *key) {
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int seal(struct peri_tickets *tickets, unsigned char *name, unsigned char *iv,
                EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac) {
    struct peri_ticket_key *key = &tickets->keys[0];
    if (!peri_tickets_rotate(tickets, now_s()) || RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1 ||
        EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) != 1 ||
        !set_mac(mac, key)) {
        return -1;
    }
    memcpy(name, key->name, sizeof key->name);
    return 1;
}

/// @return 1; 2 when the client should get another ticket; 0 when nobody can open this one
static int unseal(struct peri_tickets *tickets, const unsigned char *name, unsigned char *iv,
                  EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac) {
    uint64_t now = now_s();
    if (!peri_tickets_rotate(tickets, now)) {
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        struct peri_ticket_key *key = &tickets->keys[i];
        bool counts = key->made_s != 0 && now - key->made_s < 2 * (uint64_t)PERI_TICKET_S;
        if (counts && memcmp(name, key->name, sizeof key->name) == 0) {
            bool set = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) == 1 &&
                       set_mac(mac, key);
            return set ? i + 1 : -1;
        }
    }
    return 0;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt) {
    struct peri_tickets *tickets = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    return encrypt ? seal(tickets, name, iv, cipher, mac) : unseal(tickets, name, iv, cipher, mac);
}

// The whole

SSL_CTX *peri_tls_context_new(struct peri_tickets *tickets) {
    static const unsigned char id[] = "perigee"; // sessions of other programs are not ours
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context) {
        return NULL;
    }
    SSL_CTX_set_app_data(context, tickets);
    SSL_CTX_set_security_level(context, 2); // whatever the system's configuration says
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    // An idle connection keeps no buffers. The context's cache would keep sessions, tickets don't.
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(context, PERI_TICKET_S);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    bool done = SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
                SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
                SSL_CTX_set_cipher_list(context, ciphers) == 1 &&
                SSL_CTX_set_ciphersuites(context, ciphers13) == 1 &&
                (SSL_CTX_set1_groups_list(context, groups[0]) == 1 ||
                 SSL_CTX_set1_groups_list(context, groups[1]) == 1) &&
                SSL_CTX_set_session_id_context(context, id, sizeof id - 1) == 1 &&
                SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) == 1;
    if (!done) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}
