// An intrusive, circular, doubly linked list: the links live in the items, so adding and removing
// allocate nothing and cannot fail.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct peri_list {
    struct peri_list *prev, *next;
};

static inline void peri_list_init(struct peri_list *list) {
    list->prev = list->next = list;
}

static inline bool peri_list_is_empty(const struct peri_list *list) {
    return list->next == list;
}

static inline void peri_list_push(struct peri_list *list, struct peri_list *item) {
    item->prev = list->prev;
    item->next = list;
    list->prev->next = item;
    list->prev = item;
}

/// Leaves the item linked to itself: removing it again does nothing.
static inline void peri_list_remove(struct peri_list *item) {
    item->prev->next = item->next;
    item->next->prev = item->prev;
    peri_list_init(item);
}

#define PERI_CONTAINER(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
