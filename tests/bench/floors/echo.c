// The floor of an echo: one recv, one send, and each payload unmasked on the way.
//
//     floor_echo             plain
//     floor_echo CERT KEY    by TLS: SSL_read in place of recv, and SSL_write with one send of what it made
#include <stdio.h>
#include <stdlib.h>

#include "floors/floor.h"

static uint8_t *output;

static void echo(struct floor_client *client, const uint8_t *in, size_t n) {
    struct floor_frame frame;
    uint8_t *out = output;
    while (floor_next(&in, &n, &frame)) {
        out = floor_write(&frame, out);
        client->ends |= (frame.first & 15) == FLOOR_OP_CLOSE;
    }
    if (n > 0 || client->kept) {
        floor_keep(client, in, n);
    }
    if (out > output) {
        floor_send(client, output, (size_t)(out - output));
    }
}

static SSL_CTX *context(const char *cert, const char *key) {
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (!tls || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "can't serve with %s and %s\n", cert, key);
        exit(1);
    }
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(tls, 1); // a recv for what has come, not one for each part of a record
    SSL_CTX_set_default_read_buffer_len(tls, 64 * 1024UL);
    return tls;
}

int main(int argc, char **argv) {
    output = malloc(floor_room());
    if (!output || (argc != 1 && argc != 3)) {
        fputs("usage: floor_echo [CERT KEY]\n", stderr);
        return 1;
    }
    SSL_CTX *tls = argc == 3 ? context(argv[1], argv[2]) : NULL;
    floor_serve(&(struct floor_server){.tls = tls, .on_frames = echo});
}
