// A hashed timer wheel: a slot holds the timers of every tick that falls on it, whatever the round.
#include "net/wheel.h"

_Static_assert(((uint64_t)UINT32_MAX + 1) % PERI_WHEEL_SLOTS == 0,
               "a tick has the same slot in 32 bits as in 64");

/// How many ticks a timer's is ahead of a tick; negative: behind. No timer is 2^31 from the present.
static int32_t ahead_of(const struct peri_wheel_timer *timer, uint64_t tick) {
    return (int32_t)(timer->tick_ - (uint32_t)tick);
}

/// How many ticks ahead of the next one a timer for due_ms has to be.
static uint32_t wanted_ahead(const struct peri_wheel *wheel, uint64_t due_ms) {
    uint64_t tick = due_ms / PERI_WHEEL_TICK_MS + (due_ms % PERI_WHEEL_TICK_MS > 0);
    uint64_t ahead = tick > wheel->tick_ ? tick - wheel->tick_ : 0;
    return ahead < INT32_MAX ? (uint32_t)ahead : INT32_MAX;
}

void peri_wheel_init(struct peri_wheel *wheel, uint64_t now_ms) {
    for (size_t i = 0; i < PERI_WHEEL_SLOTS; i++) {
        peri_list_init(&wheel->slots_[i]);
    }
    peri_list_init(&wheel->due_);
    wheel->tick_ = now_ms / PERI_WHEEL_TICK_MS + 1;
    wheel->count = 0;
}

void peri_wheel_set(struct peri_wheel *wheel, struct peri_wheel_timer *timer, uint64_t due_ms) {
    peri_wheel_unset(wheel, timer);
    timer->tick_ = (uint32_t)wheel->tick_ + wanted_ahead(wheel, due_ms);
    peri_list_push(&wheel->slots_[timer->tick_ % PERI_WHEEL_SLOTS], &timer->link_);
    wheel->count++;
}

bool peri_wheel_is_after(const struct peri_wheel *wheel, const struct peri_wheel_timer *timer,
                         uint64_t due_ms) {
    if (!peri_wheel_is_set(timer)) {
        return true;
    }
    int32_t ahead = ahead_of(timer, wheel->tick_);
    return ahead > 0 && due_ms <= (wheel->tick_ + (uint32_t)ahead - 1) * PERI_WHEEL_TICK_MS;
}

void peri_wheel_unset(struct peri_wheel *wheel, struct peri_wheel_timer *timer) {
    if (!peri_wheel_is_set(timer)) {
        return;
    }
    peri_list_remove(&timer->link_);
    timer->link_.next = timer->link_.prev = NULL;
    wheel->count--;
}

/// Moves what is due out of a slot; later rounds stay.
static void collect(struct peri_wheel *wheel, struct peri_list *slot, uint64_t now_tick) {
    for (struct peri_list *at = slot->next, *next; at != slot; at = next) {
        next = at->next;
        if (ahead_of(PERI_CONTAINER(at, struct peri_wheel_timer, link_), now_tick) <= 0) {
            peri_list_remove(at);
            peri_list_push(&wheel->due_, at);
        }
    }
}

struct peri_wheel_timer *peri_wheel_next(struct peri_wheel *wheel, uint64_t now_ms) {
    uint64_t now_tick = now_ms / PERI_WHEEL_TICK_MS;
    if (now_tick >= wheel->tick_ + PERI_WHEEL_SLOTS) {
        wheel->tick_ = now_tick - PERI_WHEEL_SLOTS + 1; // each slot once is all of them
    }
    while (peri_list_is_empty(&wheel->due_)) {
        if (wheel->tick_ > now_tick) {
            return NULL;
        }
        collect(wheel, &wheel->slots_[wheel->tick_ % PERI_WHEEL_SLOTS], now_tick);
        wheel->tick_++;
    }
    struct peri_wheel_timer *timer =
        PERI_CONTAINER(wheel->due_.next, struct peri_wheel_timer, link_);
    peri_wheel_unset(wheel, timer);
    return timer;
}
