// A pairing heap of alarms: intrusive, so that neither setting nor clearing allocates.
#include "script/alarm.h"

#include "base/alloc.h"
#include "hub/hub.h"

/// At one wake-up: the loop must come round for everybody else.
enum { RUN_MAX = 1024, RUN_NS = 10000000 };

struct peri_alarms {
    struct peri_hub *hub;
    struct peri_alarm *root;
    uint64_t order;
    uint64_t woken_at; ///< what ports was last asked for
    bool running;
};

struct peri_alarms *peri_alarms_new(struct peri_hub *hub) {
    struct peri_alarms *alarms = peri_calloc(1, sizeof *alarms);
    if (alarms) {
        alarms->hub = hub;
        alarms->woken_at = UINT64_MAX;
    }
    return alarms;
}

void peri_alarms_free(struct peri_alarms *alarms) {
    peri_free(alarms);
}

uint64_t peri_alarms_now(const struct peri_alarms *alarms) {
    const struct peri_ports *ports = peri_hub_ports(alarms->hub);
    return ports->now_ns(ports->self);
}

static bool is_before(const struct peri_alarm *a, const struct peri_alarm *b) {
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order_ < b->order_;
}

/// Joins two heaps; either may be NULL. The one that is due later becomes the other's first child.
static struct peri_alarm *meld(struct peri_alarm *a, struct peri_alarm *b) {
    if (!a || !b) {
        return a ? a : b;
    }
    if (is_before(b, a)) {
        struct peri_alarm *swap = a;
        a = b;
        b = swap;
    }
    b->next_ = a->child_;
    if (b->next_) {
        b->next_->prev_ = b;
    }
    b->prev_ = a;
    a->child_ = b;
    return a;
}

/// Melds a list of siblings into one heap, in pairs from the left, then from the right.
static struct peri_alarm *meld_siblings(struct peri_alarm *first) {
    struct peri_alarm *pairs = NULL;
    while (first) {
        struct peri_alarm *second = first->next_;
        struct peri_alarm *rest = second ? second->next_ : NULL;
        first->next_ = NULL;
        if (second) {
            second->next_ = NULL;
        }
        struct peri_alarm *pair = meld(first, second);
        pair->next_ = pairs;
        pairs = pair;
        first = rest;
    }
    struct peri_alarm *heap = NULL;
    while (pairs) {
        struct peri_alarm *next = pairs->next_;
        pairs->next_ = NULL;
        heap = meld(heap, pairs);
        pairs = next;
    }
    return heap;
}

static void set_root(struct peri_alarms *alarms, struct peri_alarm *root) {
    alarms->root = root;
    if (root) {
        root->prev_ = root;
        root->next_ = NULL;
    }
}

/// Asks to be woken for the first alarm, if that is news.
static void wake(struct peri_alarms *alarms) {
    uint64_t at_ns = alarms->root ? alarms->root->at_ns : UINT64_MAX;
    if (!alarms->running && at_ns != alarms->woken_at) {
        alarms->woken_at = at_ns;
        const struct peri_ports *ports = peri_hub_ports(alarms->hub);
        ports->wake_at(ports->self, at_ns);
    }
}

void peri_alarms_set(struct peri_alarms *alarms, struct peri_alarm *alarm, uint64_t at_ns) {
    alarm->at_ns = at_ns;
    alarm->order_ = alarms->order++;
    alarm->child_ = alarm->next_ = NULL;
    set_root(alarms, meld(alarms->root, alarm));
    wake(alarms);
}

void peri_alarms_clear(struct peri_alarms *alarms, struct peri_alarm *alarm) {
    if (!alarm->prev_) {
        return;
    }
    struct peri_alarm *children = meld_siblings(alarm->child_);
    if (alarm == alarms->root) {
        set_root(alarms, children);
    } else {
        if (alarm->prev_->child_ == alarm) {
            alarm->prev_->child_ = alarm->next_;
        } else {
            alarm->prev_->next_ = alarm->next_;
        }
        if (alarm->next_) {
            alarm->next_->prev_ = alarm->prev_;
        }
        set_root(alarms, meld(alarms->root, children));
    }
    alarm->prev_ = alarm->next_ = alarm->child_ = NULL;
    wake(alarms);
}

bool peri_alarm_is_set(const struct peri_alarm *alarm) {
    return alarm->prev_ != NULL;
}

void peri_alarms_run(struct peri_alarms *alarms) {
    uint64_t now_ns = peri_alarms_now(alarms);
    alarms->running = true;
    alarms->woken_at = UINT64_MAX; // it has come
    for (int i = 0; i < RUN_MAX && alarms->root && alarms->root->at_ns <= now_ns; i++) {
        struct peri_alarm *alarm = alarms->root;
        peri_alarms_clear(alarms, alarm);
        alarm->due(alarm);
        if (peri_alarms_now(alarms) - now_ns >= RUN_NS) {
            break;
        }
    }
    alarms->running = false;
    wake(alarms);
}
