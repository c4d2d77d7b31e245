// Rooms and who is in them. A room keeps its members in the order in which they joined, in an array
// with a hole where one has left, so that it may be walked while members leave.
#include "hub/room.h"

#include <assert.h>

#include "base/alloc.h"
#include "hub/internal.h"

struct peri_info {
    uint32_t charged; ///< bytes
    uint16_t len;
    char text[];
};

enum { FIRST_MEMBERS = 4, FIRST_OWNERS = 16, FIRST_MERGE = 8 };

// Owners and rooms.

static struct peri_owner *owner_of(const struct peri_hub *hub, uint32_t owner) {
    return owner < hub->owner_count ? &hub->owners[owner] : NULL;
}

static struct peri_owner *need_owner(struct peri_hub *hub, uint32_t owner) {
    if (owner >= hub->owner_count) {
        uint32_t count = hub->owner_count ? hub->owner_count : FIRST_OWNERS;
        while (count <= owner) {
            if (count > UINT32_MAX / 2) {
                return NULL;
            }
            count *= 2;
        }
        struct peri_owner *owners = peri_realloc(hub->owners, count * sizeof *owners);
        if (!owners) {
            return NULL;
        }
        memset(owners + hub->owner_count, 0, (count - hub->owner_count) * sizeof *owners);
        hub->owners = owners;
        hub->owner_count = count;
    }
    return &hub->owners[owner];
}

static int charge(struct peri_hub *hub, uint32_t script, int64_t bytes) {
    if (hub->freeing || bytes == 0) {
        return PERI_OK;
    }
    return hub->policy.charge(hub->policy.self, script, bytes);
}

static void give_back(struct peri_hub *hub, uint32_t script, size_t bytes) {
    (void)charge(hub, script, -(int64_t)bytes); // names and infos are small; giving back succeeds
}

/// @param name empty for `all`
static struct peri_room *make_room(struct peri_hub *hub, uint32_t owner, struct peri_str name,
                                   uint32_t charged_to) {
    struct peri_room *room = peri_alloc(sizeof *room + name.len);
    if (!room) {
        return NULL;
    }
    if (charge(hub, charged_to, (int64_t)name.len) != PERI_OK) {
        peri_free(room);
        return NULL;
    }
    char *text = (char *)(room + 1);
    if (name.len > 0) {
        memcpy(text, name.ptr, name.len);
    }
    *room = (struct peri_room){
        .id = ++hub->last_room_id,
        .owner = owner,
        .charged_to = charged_to,
        .name = peri_str(text, name.len),
    };
    return room;
}

static void free_room(struct peri_hub *hub, struct peri_room *room) {
    struct peri_owner *owner = owner_of(hub, room->owner);
    if (room->is_all) {
        owner->all = NULL;
    } else {
        (void)peri_map_take(&owner->rooms, room->name);
        give_back(hub, room->charged_to, room->name.len);
    }
    peri_free(room->members);
    peri_free(room);
}

static void free_if_unused(struct peri_hub *hub, struct peri_room *room) {
    if (room->member_count == 0 && room->refs == 0) {
        free_room(hub, room);
    }
}

size_t peri_room_peopled(const struct peri_hub *hub, uint32_t owner) {
    const struct peri_owner *found = owner_of(hub, owner);
    return found ? (size_t)found->peopled : 0;
}

struct peri_room *peri_room_find(const struct peri_hub *hub, uint32_t owner, struct peri_str name) {
    const struct peri_owner *found = owner_of(hub, owner);
    return found ? peri_map_get(&found->rooms, name) : NULL;
}

struct peri_room *peri_room_all(const struct peri_hub *hub, uint32_t script) {
    const struct peri_owner *found = owner_of(hub, script);
    return found ? found->all : NULL;
}

struct peri_room *peri_room_ref(struct peri_room *room) {
    room->refs++;
    return room;
}

void peri_room_unref(struct peri_hub *hub, struct peri_room *room) {
    assert(room->refs > 0);
    room->refs--;
    free_if_unused(hub, room);
}

struct peri_str peri_room_name(const struct peri_room *room) {
    return room->name;
}

uint32_t peri_room_owner(const struct peri_room *room) {
    return room->owner;
}

bool peri_room_is_all(const struct peri_room *room) {
    return room->is_all;
}

size_t peri_room_count(const struct peri_room *room) {
    return room->member_count;
}

/// Closes the holes.
static void compact(struct peri_room *room) {
    uint32_t end = 0;
    for (uint32_t i = 0; i < room->member_end; i++) {
        struct peri_membership *m = room->members[i];
        if (m) {
            m->at = end;
            room->members[end++] = m;
        }
    }
    room->member_end = end;
}

void peri_room_compact(struct peri_hub *hub, struct peri_room *room) {
    if (!hub->iterating && room->member_end - room->member_count > room->member_count) {
        compact(room);
    }
}

/// Makes room for one more member at the end.
static int reserve_member(struct peri_hub *hub, struct peri_room *room) {
    if (room->member_end < room->member_cap) {
        return PERI_OK;
    }
    peri_room_compact(hub, room);
    if (room->member_end < room->member_cap) {
        return PERI_OK;
    }
    uint32_t cap = room->member_cap ? 2 * room->member_cap : FIRST_MEMBERS;
    struct peri_membership **members =
        peri_realloc(room->members, cap * sizeof(struct peri_membership *));
    if (!members) {
        return PERI_E_MEMORY;
    }
    room->members = members;
    room->member_cap = cap;
    return PERI_OK;
}

static void add_member(struct peri_hub *hub, struct peri_room *room, struct peri_membership *m) {
    m->at = room->member_end;
    m->cursor = peri_settle_end(room);
    room->members[room->member_end++] = m;
    if (room->member_count++ == 0 && !room->is_all) {
        owner_of(hub, room->owner)->peopled++;
    }
}

/// The room itself stays, though nobody may be in it.
static void remove_member(struct peri_hub *hub, struct peri_room *room, struct peri_membership *m) {
    room->members[m->at] = NULL;
    m->at = NOT_MEMBER;
    while (room->member_end > 0 && !room->members[room->member_end - 1]) {
        room->member_end--;
    }
    if (--room->member_count == 0) {
        peri_free(room->members);
        room->members = NULL;
        room->member_cap = 0;
        if (!room->is_all) {
            owner_of(hub, room->owner)->peopled--;
        }
    }
}

static void free_info(struct peri_hub *hub, struct peri_joined *joined) {
    if (joined->info) {
        give_back(hub, joined->conn->script, joined->info->charged);
        peri_free(joined->info);
        joined->info = NULL;
    }
}

/// Replaces the info; on failure the old one stands.
static int set_info(struct peri_hub *hub, struct peri_joined *joined, struct peri_str text) {
    struct peri_info *info = NULL;
    if (text.len > 0) {
        info = peri_alloc(sizeof *info + text.len);
        if (!info || charge(hub, joined->conn->script, (int64_t)text.len) != PERI_OK) {
            peri_free(info);
            return PERI_E_MEMORY;
        }
        info->charged = (uint32_t)text.len; // at most PERI_INFO_MAX, as is len
        info->len = (uint16_t)text.len;
        memcpy(info->text, text.ptr, text.len);
    }
    free_info(hub, joined);
    joined->info = info;
    return PERI_OK;
}

// Membership.

int peri_room_enter_all(struct peri_hub *hub, struct peri_conn *conn) {
    struct peri_owner *owner = need_owner(hub, conn->script);
    if (!owner) {
        return PERI_E_MEMORY;
    }
    if (!owner->all) {
        owner->all = make_room(hub, conn->script, (struct peri_str){0}, conn->script);
        if (!owner->all) {
            return PERI_E_MEMORY;
        }
        owner->all->is_all = true;
    }
    struct peri_room *room = owner->all;
    if (reserve_member(hub, room) != PERI_OK) {
        free_if_unused(hub, room);
        return PERI_E_MEMORY;
    }
    add_member(hub, room, &conn->all);
    return PERI_OK;
}

/// Its place in the connection's list; *NULL: it has not joined that one.
static struct peri_joined **find_joined(struct peri_conn *conn, const struct peri_room *room) {
    struct peri_joined **at = &conn->all.next;
    while (*at && (*at)->room != room) {
        at = &(*at)->m.next;
    }
    return at;
}

struct peri_membership *peri_room_membership(struct peri_conn *conn, const struct peri_room *room) {
    struct peri_membership *m = NULL;
    if (!room->is_all) {
        struct peri_joined *joined = *find_joined(conn, room);
        m = joined ? &joined->m : NULL;
    } else if (room->owner == conn->script) {
        m = &conn->all;
    }
    return m && m->at != NOT_MEMBER ? m : NULL;
}

bool peri_conn_is_member(struct peri_conn *conn, const struct peri_room *room) {
    return peri_room_membership(conn, room) != NULL;
}

/// Settling merges the rooms of a connection in an array that must have a place for each.
static int reserve_merge(struct peri_hub *hub, uint32_t room_count) {
    if (room_count + 1 < hub->merge_cap) { // one more for `all`
        return PERI_OK;
    }
    uint32_t cap = hub->merge_cap ? 2 * hub->merge_cap : FIRST_MERGE;
    struct peri_behind *merge = peri_realloc(hub->merge, cap * sizeof *merge);
    if (!merge) {
        return PERI_E_MEMORY;
    }
    hub->merge = merge;
    hub->merge_cap = cap;
    return PERI_OK;
}

/// How many rooms it has joined.
static uint32_t count_joined(const struct peri_conn *conn) {
    uint32_t count = 0;
    for (const struct peri_joined *joined = conn->all.next; joined; joined = joined->m.next) {
        count++;
    }
    return count;
}

/// @param joined how many rooms it has
/// @return NULL when one more room is within limits; else static text that names the one it is over
static const char *over_limit(const struct peri_hub *hub, const struct peri_conn *conn,
                              uint32_t joined, uint32_t owner, const struct peri_room *room,
                              struct peri_str name) {
    const struct peri_limits *limits = peri_hub_limits_of(hub, conn->script);
    const struct peri_owner *found = owner_of(hub, owner);
    if (name.len > limits->room_name_bytes) {
        return "over the limit room_name_bytes";
    }
    if (joined >= limits->conn_rooms) {
        return "over the limit conn_rooms";
    }
    if ((!room || room->member_count == 0) &&
        (found ? found->peopled : 0) >= peri_hub_limits_of(hub, owner)->rooms) {
        return "over the limit rooms";
    }
    return NULL;
}

/// Makes a room. @return shared(1 ref); NULL without memory
static struct peri_room *new_room(struct peri_hub *hub, uint32_t owner, struct peri_str name,
                                  uint32_t script) {
    struct peri_owner *found = need_owner(hub, owner);
    struct peri_room *room = found ? make_room(hub, owner, name, script) : NULL;
    if (room && peri_map_put(&found->rooms, room->name, room) != PERI_OK) {
        give_back(hub, script, name.len);
        peri_free(room);
        return NULL;
    }
    if (room) {
        peri_room_ref(room);
    }
    return room;
}

static void free_joined(struct peri_hub *hub, struct peri_joined *joined) {
    peri_slabs_free(&hub->small, joined, sizeof *joined);
}

/// @param count of rooms that it has joined
static int join(struct peri_hub *hub, struct peri_conn *conn, uint32_t count,
                struct peri_room *room, struct peri_str info) {
    if (reserve_merge(hub, count + 1) != PERI_OK || reserve_member(hub, room) != PERI_OK) {
        return PERI_E_MEMORY;
    }
    struct peri_joined *joined = peri_slabs_alloc(&hub->small, sizeof *joined);
    if (!joined) {
        return PERI_E_MEMORY;
    }
    *joined = (struct peri_joined){.conn = conn, .room = room};
    if (set_info(hub, joined, info) != PERI_OK) {
        free_joined(hub, joined);
        return PERI_E_MEMORY;
    }
    add_member(hub, room, &joined->m);
    *find_joined(conn, NULL) = joined; // at the end
    return PERI_OK;
}

int peri_room_join(struct peri_hub *hub, struct peri_conn *conn, uint32_t owner,
                   struct peri_str name, struct peri_str info, const char **why) {
    if (conn->stage != STAGE_OPEN) {
        return PERI_E_CLOSED;
    }
    if (info.len > PERI_INFO_MAX) {
        *why = "info is larger than 1 KiB";
        return PERI_E_LIMIT;
    }
    struct peri_room *room = peri_room_find(hub, owner, name);
    struct peri_joined *joined = room ? *find_joined(conn, room) : NULL;
    if (joined) {
        return set_info(hub, joined, info);
    }
    if (room) {
        peri_room_ref(room); // policy's may be the only one, and it is asked for limits and charged
    }
    int rc = PERI_E_LIMIT;
    uint32_t count = count_joined(conn);
    const char *over = over_limit(hub, conn, count, owner, room, name);
    if (over) {
        *why = over;
    } else {
        room = room ? room : new_room(hub, owner, name, conn->script);
        rc = room ? join(hub, conn, count, room, info) : PERI_E_MEMORY;
    }
    if (room) {
        peri_room_unref(hub, room);
    }
    return rc;
}

int peri_room_leave(struct peri_hub *hub, struct peri_conn *conn, struct peri_room *room) {
    if (conn->stage != STAGE_OPEN) {
        return PERI_E_CLOSED;
    }
    if (!*find_joined(conn, room)) {
        return PERI_AGAIN;
    }
    peri_settle(hub, conn);
    if (conn->stage != STAGE_OPEN) {
        return PERI_E_CLOSED;
    }
    struct peri_joined **at = find_joined(conn, room), *joined = *at;
    assert(joined); // to settle leaves no room
    *at = joined->m.next;
    remove_member(hub, room, &joined->m);
    free_info(hub, joined);
    free_joined(hub, joined);
    free_if_unused(hub, room);
    return PERI_OK;
}

void peri_room_leave_all(struct peri_hub *hub, struct peri_conn *conn) {
    struct peri_room *all = peri_conn_all(hub, conn);
    remove_member(hub, all, &conn->all);
    free_if_unused(hub, all);
    for (struct peri_joined *joined = conn->all.next; joined; joined = joined->m.next) {
        peri_room_ref(joined->room); // it is listed until `close` has run
        remove_member(hub, joined->room, &joined->m);
        free_info(hub, joined);
    }
}

void peri_room_unlist(struct peri_hub *hub, struct peri_conn *conn) {
    struct peri_joined *joined = conn->all.next;
    conn->all.next = NULL;
    while (joined) {
        struct peri_joined *next = joined->m.next;
        peri_room_unref(hub, joined->room);
        free_joined(hub, joined);
        joined = next;
    }
}

static struct peri_str info_of(const struct peri_room *room, const struct peri_membership *m) {
    const struct peri_info *info =
        room->is_all ? NULL : PERI_CONTAINER(m, struct peri_joined, m)->info;
    return info ? peri_str(info->text, info->len) : (struct peri_str){0};
}

peri_key peri_room_next(const struct peri_room *room, size_t *cursor, struct peri_str *info) {
    while (*cursor < room->member_end) {
        const struct peri_membership *m = room->members[(*cursor)++];
        if (!m) {
            continue;
        }
        if (info) {
            *info = info_of(room, m);
        }
        return peri_member_of(room, m)->key;
    }
    return 0;
}

size_t peri_room_close(struct peri_hub *hub, struct peri_room *room, int code,
                       struct peri_str reason) {
    size_t closed = 0;
    bool was_iterating = hub->iterating;
    hub->iterating = true;
    peri_room_ref(room);
    for (uint32_t i = 0; i < room->member_end; i++) {
        struct peri_membership *m = room->members[i];
        closed += m && peri_conn_close(hub, peri_member_of(room, m), code, reason) == PERI_OK;
    }
    hub->iterating = was_iterating;
    peri_room_unref(hub, room);
    return closed;
}

struct peri_room *peri_conn_next_room(const struct peri_conn *conn, void **cursor) {
    struct peri_joined *joined = *cursor;
    joined = joined ? joined->m.next : conn->all.next;
    *cursor = joined;
    return joined ? joined->room : NULL;
}

void peri_room_free_all(struct peri_hub *hub) {
    for (uint32_t i = 0; i < hub->owner_count; i++) {
        struct peri_owner *owner = &hub->owners[i];
        size_t cursor = 0;
        for (struct peri_room *room; (room = peri_map_next(&owner->rooms, &cursor));) {
            free_room(hub, room);
        }
        if (owner->all) {
            free_room(hub, owner->all);
        }
        peri_map_deinit(&owner->rooms);
    }
    peri_free(hub->owners);
    peri_free(hub->merge);
}
