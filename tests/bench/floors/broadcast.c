// The floor of a broadcast: frames are made once, those that have come together in one piece, and each
// member gets that by one send.
#include <stdlib.h>

#include "floors/floor.h"

enum { MEMBERS = 1 << 20 };

static struct floor_client *members[MEMBERS];
static size_t count;
static uint8_t *output, *out;

static void enter(struct floor_client *client) {
    if (count == MEMBERS) {
        abort(); // more than any system has sockets for by default
    }
    client->at = count;
    members[count++] = client;
}

static void leave(struct floor_client *client) {
    members[client->at] = members[--count];
    members[client->at]->at = client->at;
}

static void tell_all(void) {
    size_t n = (size_t)(out - output);
    out = output;
    for (size_t i = 0; n > 0 && i < count; i++) {
        floor_send(members[i], output, n);
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
