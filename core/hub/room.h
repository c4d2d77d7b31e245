// Rooms: named sets of connections, and the broadcasts of a turn, kept once for all members.
#pragma once

#include "hub/hub.h"

/// Owns shared rooms (`ws.shared`); scripts are numbered from 1.
enum { PERI_SHARED = 0 };

enum { PERI_INFO_MAX = 1024 };

struct peri_room;

/// @return borrowed, NULL when the room has neither members nor references
struct peri_room *peri_room_find(const struct peri_hub *hub, uint32_t owner, struct peri_str name);

/// The room of all connections of a script.
/// @return borrowed, NULL before the first one
struct peri_room *peri_room_all(const struct peri_hub *hub, uint32_t script);

/// How many rooms of an owner have members, `all` not counted.
size_t peri_room_peopled(const struct peri_hub *hub, uint32_t owner);

/// A room lives while it has members or references.
struct peri_room *peri_room_ref(struct peri_room *room);
void peri_room_unref(struct peri_hub *hub, struct peri_room *room);

struct peri_str peri_room_name(const struct peri_room *room); ///< "" for `all`
uint32_t peri_room_owner(const struct peri_room *room);
bool peri_room_is_all(const struct peri_room *room);
size_t peri_room_count(const struct peri_room *room);

/// Joins, making the room when it is not there; joining again replaces the info and keeps the
/// place. Sees only later broadcasts.
/// @param info JSON text, at most PERI_INFO_MAX bytes, copied; len 0 for none
/// @param why  on PERI_E_LIMIT: static text that names the limit
/// @return PERI_OK; PERI_E_CLOSED; PERI_E_LIMIT (conn_rooms, room_name_bytes, rooms);
///         PERI_E_MEMORY
PERI_MUST_CHECK int peri_room_join(struct peri_hub *hub, struct peri_conn *conn, uint32_t owner,
                                   struct peri_str name, struct peri_str info, const char **why);

/// @return PERI_OK; PERI_AGAIN when it was no member; PERI_E_CLOSED
PERI_MUST_CHECK int peri_room_leave(struct peri_hub *hub, struct peri_conn *conn,
                                    struct peri_room *room);

enum peri_slow { PERI_SLOW_CLOSE, PERI_SLOW_DROP, PERI_SLOW_LATEST };

struct peri_broadcast {
    struct peri_outgoing out;
    enum peri_slow slow;
    struct peri_str key;    ///< for PERI_SLOW_LATEST; len 0: the room is the key
    const peri_key *except; ///< connections left out; not members: ignored
    size_t except_count;
};

/// Addresses a message to every member but the excepted. It is in the outboxes by the end of the
/// turn, in the order in which broadcasts and sends were made.
/// @param addressed how many members
/// @return PERI_OK; PERI_E_LIMIT: larger than the hard limit, nothing sent; PERI_E_MEMORY
PERI_MUST_CHECK int peri_room_broadcast(struct peri_hub *hub, struct peri_room *room,
                                        const struct peri_broadcast *broadcast, size_t *addressed);

/// Members in the order in which they joined: start with *cursor = 0. Nothing may join or leave
/// between two calls.
/// @param info borrowed; may be NULL
/// @return 0 at the end
peri_key peri_room_next(const struct peri_room *room, size_t *cursor, struct peri_str *info);

/// Closes every member, as each one's script's own close.
/// @return how many
size_t peri_room_close(struct peri_hub *hub, struct peri_room *room, int code,
                       struct peri_str reason);

/// The rooms a connection is in, less `all`, in the order in which it joined; after its end those
/// it was in then. Start with *cursor = NULL. @return borrowed; NULL at the end
struct peri_room *peri_conn_next_room(const struct peri_conn *conn, void **cursor);

bool peri_conn_is_member(struct peri_conn *conn, const struct peri_room *room);
