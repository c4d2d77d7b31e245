// libwebsockets, one thread: an echo, and with --broadcast what anyone sends goes to all.
//
//     server [--broadcast] [--deflate] [--tls CERT KEY]
#include <libwebsockets.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RING = 4096 }; // messages that a member may lag behind

struct message {
    struct message *next; // in an echo
    size_t len;
    unsigned users; // who has it to send, in a broadcast
    bool binary;
    unsigned char bytes[]; // LWS_PRE of room, then the payload
};

struct member {
    struct lws_dll2 list;
    struct lws *wsi;
    struct message *coming;       // fragments of one that is not whole
    struct message *first, *last; // to send, in an echo
    uint64_t at;                  // the next one to send, in a broadcast
};

static struct message *ring[RING];
static uint64_t ring_end;
static struct lws_dll2_owner members;
static bool to_all;

static struct message *append(struct message *message, const void *in, size_t len, bool binary) {
    size_t had = message ? message->len : 0;
    struct message *more = realloc(message, sizeof *more + LWS_PRE + had + len);
    if (!more) {
        abort();
    }
    if (!message) {
        *more = (struct message){.binary = binary};
    }
    memcpy(more->bytes + LWS_PRE + had, in, len);
    more->len = had + len;
    return more;
}

static void tell_all(struct message *message) {
    struct message **place = &ring[ring_end++ % RING];
    if (*place && (*place)->users > 0) {
        abort(); // nobody lags that far behind here
    }
    free(*place);
    *place = message;
    message->users = (unsigned)members.count;
    lws_start_foreach_dll(struct lws_dll2 *, entry, members.head) {
        lws_callback_on_writable(lws_container_of(entry, struct member, list)->wsi);
    }
    lws_end_foreach_dll(entry);
}

static void hear(struct member *member, const void *in, size_t len) {
    bool binary = lws_frame_is_binary(member->wsi);
    member->coming = append(member->coming, in, len, binary);
    if (lws_remaining_packet_payload(member->wsi) > 0 || !lws_is_final_fragment(member->wsi)) {
        return;
    }
    struct message *message = member->coming;
    member->coming = NULL;
    if (to_all) {
        tell_all(message);
        return;
    }
    message->next = NULL;
    if (member->last) {
        member->last->next = message;
    } else {
        member->first = message;
    }
    member->last = message;
    lws_callback_on_writable(member->wsi);
}

// lws_write wants room before the payload that it may write to, so that a message that others have to
// send as well is not spoiled: the frame's head is all that it writes there.
static int put(struct member *member, struct message *message) {
    int kind = message->binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT;
    return lws_write(member->wsi, message->bytes + LWS_PRE, message->len, kind) < 0 ? -1 : 0;
}

static int say(struct member *member) {
    do {
        if (to_all) {
            if (member->at == ring_end) {
                return 0;
            }
            struct message *message = ring[member->at++ % RING];
            message->users--;
            if (put(member, message) != 0) {
                return -1;
            }
        } else {
            struct message *message = member->first;
            if (!message) {
                return 0;
            }
            member->first = message->next;
            member->last = message->next ? member->last : NULL;
            int status = put(member, message);
            free(message);
            if (status != 0) {
                return -1;
            }
        }
    } while (!lws_send_pipe_choked(member->wsi));
    lws_callback_on_writable(member->wsi);
    return 0;
}

static void leave(struct member *member) {
    for (; to_all && member->at != ring_end; member->at++) {
        ring[member->at % RING]->users--;
    }
    while (member->first) {
        struct message *message = member->first;
        member->first = message->next;
        free(message);
    }
    free(member->coming);
    lws_dll2_remove(&member->list);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons why, void *user, void *in,
                    size_t len) {
    struct member *member = user;
    switch (why) {
    case LWS_CALLBACK_ESTABLISHED:
        member->wsi = wsi;
        member->at = ring_end;
        lws_dll2_add_tail(&member->list, &members);
        return 0;
    case LWS_CALLBACK_RECEIVE: hear(member, in, len); return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE: return say(member);
    case LWS_CALLBACK_CLOSED: leave(member); return 0;
    default: return 0;
    }
}

int main(int argc, char **argv) {
    static const struct lws_protocols protocols[] = {
        {.name = "",
         .callback = on_event,
         .per_session_data_size = sizeof(struct member),
         .rx_buffer_size = 65536},
        {0},
    };
    static const struct lws_extension extensions[] = {
        {"permessage-deflate", lws_extension_callback_pm_deflate,
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
         "server_max_window_bits=12"},
        {0},
    };
    struct lws_context_creation_info info = {.iface = "127.0.0.1",
                                             .port = 0,
                                             .protocols = protocols,
                                             .fd_limit_per_thread = 19000,
                                             .listen_accept_role = NULL,
                                             .options = LWS_SERVER_OPTION_DISABLE_IPV6};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--broadcast") == 0) {
            to_all = true;
        } else if (strcmp(argv[i], "--deflate") == 0) {
            info.extensions = extensions;
        } else if (strcmp(argv[i], "--tls") == 0 && i + 2 < argc) {
            info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
            info.ssl_cert_filepath = argv[++i];
            info.ssl_private_key_filepath = argv[++i];
        }
    }
    lws_set_log_level(LLL_ERR, NULL);
    info.options |= LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
    struct lws_context *context = lws_create_context(&info);
    struct lws_vhost *host = context ? lws_create_vhost(context, &info) : NULL;
    if (!host) {
        return 1;
    }
    printf("listening on 127.0.0.1:%d\n", lws_get_vhost_listen_port(host));
    fflush(stdout);
    while (lws_service(context, 0) >= 0) {
    }
    lws_context_destroy(context);
    return 0;
}
