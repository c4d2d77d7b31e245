// A span begins with the first event and ends with a look, 50 ms after the last one or a second
// after the first. What a look finds that no event has told is a span too.
#include "net/watch.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/map.h"
#include "net/desk.h"
#include "net/survey.h"

enum {
    SETTLE_MS = 50,
    SPAN_MS = 1000,  ///< a span ends, also while events come
    LOOK_SHARE = 20, ///< looking takes at most this part of a thread's time
    REPEATS = 3,     ///< looks right behind one that has found new folders
};

/// A place that the system tells about.
struct watched {
    uv_fs_event_t event;
    struct peri_watch *watch;
    dev_t device; ///< of the folder that is watched
    ino_t inode;
    uint64_t round; ///< of the look that has last found it
    bool is_stale;  ///< the folder may be another one, also if it has the same number
    struct peri_str key;
    const char *name; ///< the only one that counts; "": all
    const char *self; ///< what libuv calls the folder itself in events
    char text[];
};

struct peri_watch {
    struct peri_watch_options options;
    uv_loop_t *loop;
    uv_timer_t settle, period;
    struct peri_desk desk;
    size_t uses; ///< by libuv: two timers and the desk

    // The other thread's while the desk is taken.
    struct peri_survey survey;
    int status;
    uint64_t took_ms;

    struct peri_map watched;
    uint64_t round;
    uint64_t told;     ///< the digest that was last acted upon
    uint64_t seen;     ///< while is_untold: that of the last look
    uint64_t began_ms; ///< the span
    int repeats;
    bool in_span;
    bool is_certain;  ///< an event in it was of a script: told whatever the digest says
    bool is_untold;   ///< it began with a look: ends when two looks are the same
    bool is_wanted;   ///< another look, behind this one
    bool is_due;      ///< the next look ends the span
    bool ends_span;   ///< this look does
    bool was_certain; ///< is_certain when it began
    bool is_closing;
    bool has_told_of_limit, has_told_of_cut;
};

static void look(struct peri_watch *watch);

// Events -------------------------------------------------------------------------------------

static void on_settle(uv_timer_t *timer) {
    struct peri_watch *watch = timer->data;
    watch->is_due = true;
    look(watch);
}

/// Something has happened: the span goes on, or begins.
static void note(struct peri_watch *watch) {
    uint64_t now = uv_now(watch->loop);
    if (!watch->in_span) {
        watch->in_span = true;
        watch->began_ms = now;
    }
    uint64_t end = watch->began_ms + SPAN_MS, due = now + SETTLE_MS < end ? now + SETTLE_MS : end;
    (void)uv_timer_start(&watch->settle, on_settle, due > now ? due - now : 0, 0);
}

static void on_event(uv_fs_event_t *event, const char *name, int events, int status) {
    struct watched *watched = event->data;
    struct peri_watch *watch = watched->watch;
    bool is_self = status < 0 || !name || strcmp(name, watched->self) == 0;
    bool is_content = false;
    if (status < 0 || !name) {
        watched->is_stale = true;
    } else if (watched->name[0] != '\0') {
        bool is_it = strcmp(name, watched->name) == 0;
        if (!is_it && !is_self) {
            return;
        }
        is_content = is_it && (events & UV_CHANGE);
    } else {
        bool is_lua = peri_survey_is_lua(name);
        // A folder or a link may have come or gone, but only a script's content matters.
        if (!is_self && (peri_survey_skips(name) || (!is_lua && !(events & UV_RENAME)))) {
            return;
        }
        is_content = is_lua && !peri_survey_skips(name);
    }
    watched->is_stale |= is_self && (events & UV_RENAME);
    watch->is_certain |= is_content;
    note(watch);
}

// What is watched ----------------------------------------------------------------------------

static void on_watched_closed(uv_handle_t *handle) {
    peri_free(handle->data);
}

static void drop(struct watched *watched) {
    (void)peri_map_take(&watched->watch->watched, watched->key);
    uv_close((uv_handle_t *)&watched->event, on_watched_closed);
}

/// @return what libuv says
static int begin(struct watched *watched, const struct peri_place *place) {
    (void)uv_fs_event_stop(&watched->event);
    watched->device = place->device;
    watched->inode = place->inode;
    watched->is_stale = false;
    return uv_fs_event_start(&watched->event, on_event, watched->text, 0);
}

/// @return 0 or what libuv says
static int add(struct peri_watch *watch, const struct peri_place *place) {
    struct watched *watched = peri_alloc(sizeof *watched + place->key.len + 1);
    if (!watched) {
        return UV_ENOMEM;
    }
    *watched = (struct watched){.watch = watch, .round = watch->round};
    memcpy(watched->text, place->key.ptr, place->key.len);
    watched->text[place->key.len] = '\0';
    watched->key = peri_str(watched->text, place->key.len);
    watched->name = watched->text + strlen(watched->text) + 1;
    const char *slash = strrchr(watched->text, '/');
    watched->self = slash ? slash + 1 : watched->text;
    (void)uv_fs_event_init(watch->loop, &watched->event);
    watched->event.data = watched;
    int error = begin(watched, place);
    if (error == 0 && peri_map_put(&watch->watched, watched->key, watched) != PERI_OK) {
        error = UV_ENOMEM;
    }
    if (error != 0) {
        uv_close((uv_handle_t *)&watched->event, on_watched_closed);
    }
    return error;
}

static void tell_of_limit(struct peri_watch *watch, int error) {
    const char *which = error == UV_ENOSPC   ? " (fs.inotify.max_user_watches)"
                        : error == UV_EMFILE ? " (fs.inotify.max_user_instances)"
                                             : "";
    if (!watch->has_told_of_limit) {
        peri_log(
            PERI_LOG_WARN, "%s can't be watched whole: %s%s: changes are looked for each second",
            watch->options.dir, error ? uv_strerror(error) : "too many folders and links", which);
    }
    watch->has_told_of_limit = true;
}

/// Watches the places of the look, and nothing else. @return how many it did not watch before
static size_t rewatch(struct peri_watch *watch) {
    size_t added = 0;
    int error = 0;
    watch->round++;
    bool is_full = watch->survey.is_full && watch->options.events_max > 0;
    for (size_t i = 0; i < watch->survey.place_count; i++) {
        struct peri_place place = peri_survey_place(&watch->survey, i);
        struct watched *watched = peri_map_get(&watch->watched, place.key);
        int failed = 0;
        if (watched) {
            watched->round = watch->round;
            if (!watched->is_stale && watched->device == place.device &&
                watched->inode == place.inode) {
                continue;
            }
            failed = begin(watched, &place);
            if (failed) {
                drop(watched);
            }
        } else if (watch->watched.count >= watch->options.events_max) {
            is_full = watch->options.events_max > 0;
            continue;
        } else if (error == 0) {
            failed = add(watch, &place);
        }
        added += failed == 0 && error == 0;
        // The others say that the folder is gone again, or may not be read.
        error = failed == UV_ENOSPC || failed == UV_EMFILE || failed == UV_ENOMEM ? failed : error;
    }
    struct watched *watched;
    for (size_t cursor = 0; (watched = peri_map_next(&watch->watched, &cursor));) {
        if (watched->round != watch->round) {
            drop(watched);
        }
    }
    if (error || is_full) {
        tell_of_limit(watch, error);
    }
    if (watch->survey.is_cut && !watch->has_told_of_cut) {
        watch->has_told_of_cut = true;
        peri_log(PERI_LOG_WARN, "%s holds more than %d folders: no change in the others is noticed",
                 watch->options.dir, PERI_SURVEY_FOLDERS);
    }
    return added;
}

// Looks --------------------------------------------------------------------------------------

static void on_handle_closed(uv_handle_t *handle) {
    struct peri_watch *watch = handle->data;
    if (--watch->uses == 0) {
        peri_survey_deinit(&watch->survey);
        peri_map_deinit(&watch->watched);
        peri_free(watch);
    }
}

static void take(void *arg) {
    struct peri_watch *watch = arg;
    uint64_t began = uv_hrtime();
    watch->status = peri_survey_take(&watch->survey, watch->options.dir);
    watch->took_ms = (uv_hrtime() - began) / 1000000;
}

/// What the last look found and no event has told: libuv may have lost what it watches.
static void begin_untold(struct peri_watch *watch) {
    struct watched *watched;
    for (size_t cursor = 0; (watched = peri_map_next(&watch->watched, &cursor));) {
        watched->is_stale = true;
    }
    watch->is_untold = true;
    watch->seen = watch->survey.digest;
    note(watch);
}

/// The look that may end the span has been taken.
static void judge(struct peri_watch *watch) {
    bool is_over = uv_now(watch->loop) >= watch->began_ms + SPAN_MS;
    bool goes_on = uv_is_active((uv_handle_t *)&watch->settle) || watch->is_due;
    bool is_known = watch->status == PERI_OK;
    bool differs = is_known && watch->survey.digest != watch->told;
    if (goes_on && !is_over) {
        watch->is_certain |= watch->was_certain;
        return;
    }
    if (watch->is_untold && is_known && watch->survey.digest != watch->seen && !is_over) {
        watch->is_certain |= watch->was_certain;
        watch->seen = watch->survey.digest;
        note(watch);
        return;
    }
    watch->in_span = watch->is_untold = watch->is_due = false;
    if (goes_on) { // what has happened since the look began is of a new span
        note(watch);
    }
    watch->told = is_known ? watch->survey.digest : watch->told;
    if (watch->was_certain || differs) {
        watch->options.changed(watch->options.arg);
    }
}

static void on_period(uv_timer_t *timer) {
    struct peri_watch *watch = timer->data;
    watch->repeats = 0;
    look(watch);
}

static void await_period(struct peri_watch *watch) {
    uint64_t period = watch->options.period_ms, pause = watch->took_ms * LOOK_SHARE;
    if (period > 0) {
        (void)uv_timer_start(&watch->period, on_period, pause > period ? pause : period, 0);
    }
}

static void on_looked(void *arg) {
    struct peri_watch *watch = arg;
    size_t added = watch->status == PERI_OK ? rewatch(watch) : 0;
    bool repeats = added > 0 && watch->repeats++ < REPEATS;
    if (repeats) { // something may have happened there before it was watched
        watch->is_due |= watch->ends_span;
        watch->is_certain |= watch->was_certain;
        watch->is_wanted = true;
    } else if (watch->ends_span) {
        watch->repeats = 0;
        judge(watch);
    } else if (!watch->in_span && watch->status == PERI_OK && watch->survey.digest != watch->told) {
        begin_untold(watch);
    }
    if (watch->is_closing) { // by whom we have told
        return;
    }
    await_period(watch);
    if (watch->is_wanted) {
        look(watch);
    }
}

/// Takes a look on another thread, or one more once this is taken.
static void look(struct peri_watch *watch) {
    if (peri_desk_is_taken(&watch->desk)) {
        watch->is_wanted = true;
        return;
    }
    watch->is_wanted = false;
    watch->ends_span = watch->is_due;
    watch->was_certain = watch->is_due && watch->is_certain;
    watch->is_certain &= !watch->is_due;
    watch->is_due = false;
    peri_desk_take(&watch->desk, take, on_looked, watch);
}

struct peri_watch *peri_watch_new(uv_loop_t *loop, const struct peri_watch_options *options) {
    struct peri_watch *watch = peri_calloc(1, sizeof *watch);
    if (!watch) {
        return NULL;
    }
    watch->options = *options;
    watch->loop = loop;
    watch->uses = 3;
    peri_desk_open(&watch->desk, loop);
    (void)uv_timer_init(loop, &watch->settle);
    (void)uv_timer_init(loop, &watch->period);
    watch->settle.data = watch->period.data = watch;
    for (int i = 0; i <= REPEATS; i++) {
        take(watch);
        if (watch->status != PERI_OK || rewatch(watch) == 0) {
            break;
        }
    }
    watch->told = watch->survey.digest;
    await_period(watch);
    return watch;
}

void peri_watch_close(struct peri_watch *watch) {
    if (!watch || watch->is_closing) {
        return;
    }
    watch->is_closing = true;
    struct watched *watched;
    for (size_t cursor = 0; (watched = peri_map_next(&watch->watched, &cursor));) {
        drop(watched);
    }
    uv_close((uv_handle_t *)&watch->settle, on_handle_closed);
    uv_close((uv_handle_t *)&watch->period, on_handle_closed);
    peri_desk_close(&watch->desk, on_handle_closed, watch);
}
