// The floor of a broadcast: frames are made once, those that have come together in one piece, and each
// member gets that by one send.
#include <stdlib.h>
#include <sys/socket.h>

#include "floors/floor.h"

enum { MEMBERS = 1 << 20 };

static struct floor_client *members[MEMBERS];
static int sockets[MEMBERS]; // of the same: the loop of sends is to look at nothing else
static size_t count;
static uint8_t *output, *out;

static void enter(struct floor_client *client) {
    if (count == MEMBERS) {
        abort(); // more than any system has sockets for by default
    }
    client->at = count;
    sockets[count] = client->fd;
    members[count++] = client;
}

static void leave(struct floor_client *client) {
    members[client->at] = members[--count];
    members[client->at]->at = client->at;
    sockets[client->at] = sockets[count];
}

static void tell_all(void) {
    size_t n = (size_t)(out - output);
    out = output;
    for (size_t i = 0; n > 0 && i < count; i++) {
        if (floor_behind > 0) {
            floor_send(members[i], output, n);
            continue;
        }
        ssize_t taken = send(sockets[i], output, n, MSG_NOSIGNAL);
        if (taken != (ssize_t)n) {
            size_t sent = taken > 0 ? (size_t)taken : 0;
            floor_send_later(members[i], output + sent, n - sent);
        }
    }
}

static void gather(struct floor_client *client, const uint8_t *in, size_t n) {
    struct floor_frame frame;
    if ((size_t)(out - output) >= floor_room()) {
        tell_all();
    }
    while (floor_next(&in, &n, &frame)) {
        if ((frame.first & 15) < FLOOR_OP_CLOSE) {
            out = floor_write(&frame, out);
        }
    }
    if (n > 0 || client->kept) {
        floor_keep(client, in, n);
    }
}

int main(void) {
    output = out = malloc(2 * floor_room()); // what was gathered, and one read more
    if (!output) {
        return 1;
    }
    floor_serve(&(struct floor_server){
        .on_open = enter, .on_frames = gather, .on_turn = tell_all, .on_end = leave});
}
