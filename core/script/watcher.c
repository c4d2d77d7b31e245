// A look at DIR is taken on another thread, and compares bytes: neither times nor sizes are believed.
// What it found is done between two turns.
#include "script/watcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/host_private.h"

/// A file that somebody still writes is looked at again so soon, and for so long.
static const uint64_t WRITING_LOOK_NS = 50000000, WRITING_MAX_NS = 10000000000;

enum verdict {
    SAME,
    CHANGED,
    WRITTEN, ///< somebody has it open to write
    MISSING, ///< a file that it was loaded from
    GONE,    ///< the script itself
};

/// One script, as it was when the look began.
struct item {
    struct peri_script *script;
    struct peri_sources texts; ///< what the files held when they were last read
    bool retries;              ///< the last load failed for want of a module
    enum verdict verdict;
};

/// A file that no script is made of yet.
struct found {
    struct found *next;
    bool written;
    char relative[];
};

struct look {
    struct item *items;
    size_t count;
    struct found *found;
    int status;
};

struct peri_watcher {
    struct peri_host *host;
    struct peri_work work;
    struct peri_alarm again;
    uint64_t written_ns; ///< since when files have been found that are being written; 0: none
    bool looking;
    bool wanted; ///< something has changed since
    struct look look;
};

// The look, on another thread -------------------------------------------------------------------

/// Whether somebody has the file open to write: then nobody is granted a lease to read it. Where
/// leases can't be had (another's file, some file systems), the answer is no.
static bool is_written(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    (void)fcntl(fd, F_SETSIG, SIGURG); // who opens it meanwhile has us told by what is ignored
    bool refused = fcntl(fd, F_SETLEASE, F_RDLCK) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    if (!refused) {
        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    }
    (void)close(fd);
    return refused;
}

static enum verdict compare(const struct peri_source *source) {
    struct peri_buffer text = {0};
    enum verdict verdict = SAME;
    errno = 0;
    int status = peri_folder_read(source->path, &text);
    if (status == PERI_E_SYSTEM && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) {
        verdict = MISSING;
    } else if (status == PERI_OK &&
               !peri_str_equal(peri_buffer_str(&text), peri_buffer_str(&source->text))) {
        verdict = is_written(source->path) ? WRITTEN : CHANGED;
    }
    peri_buffer_deinit(&text);
    return verdict;
}

/// The verdict on all texts of a script: a file that is being written or missing goes before one
/// that has changed, since it would be read too.
static enum verdict judge(const struct item *item) {
    enum verdict worst = SAME;
    for (size_t i = 0; i < item->texts.count; i++) {
        const struct peri_source *source = item->texts.at[i];
        enum verdict verdict = compare(source);
        if (verdict == MISSING && strcmp(source->path, item->script->path) == 0) {
            return GONE;
        }
        worst = verdict > worst ? verdict : worst;
    }
    if (item->texts.count == 0) { // it could never be read
        worst = access(item->script->path, F_OK) == 0 ? CHANGED : GONE;
    }
    return worst == SAME && item->retries ? CHANGED : worst;
}

static int note_found(void *arg, const char *relative) {
    struct peri_watcher *watcher = arg;
    const char *dir = watcher->host->dir;
    size_t len = strlen(relative);
    for (size_t i = 0; i < watcher->look.count; i++) {
        const struct peri_script *script = watcher->look.items[i].script;
        if (strcmp(script->path + strlen(dir) + 1, relative) == 0) {
            return PERI_OK;
        }
    }
    struct found *found = peri_alloc(sizeof *found + len + 1);
    struct peri_buffer path = {0};
    if (!found || peri_buffer_printf(&path, "%s/%s%c", dir, relative, 0) != PERI_OK) {
        peri_free(found);
        return PERI_E_MEMORY;
    }
    memcpy(found->relative, relative, len + 1);
    found->written = is_written((const char *)path.ptr);
    found->next = watcher->look.found;
    watcher->look.found = found;
    peri_buffer_deinit(&path);
    return PERI_OK;
}

static void look_run(struct peri_work *work) {
    struct peri_watcher *watcher = PERI_CONTAINER(work, struct peri_watcher, work);
    struct look *look = &watcher->look;
    look->status = peri_folder_walk(watcher->host->dir, note_found, watcher, NULL);
    for (size_t i = 0; i < look->count; i++) {
        look->items[i].verdict = judge(&look->items[i]);
    }
}

// What follows from it --------------------------------------------------------------------------

static void look_deinit(struct look *look) {
    for (size_t i = 0; i < look->count; i++) {
        peri_sources_free(&look->items[i].texts);
    }
    while (look->found) {
        struct found *found = look->found;
        look->found = found->next;
        peri_free(found);
    }
    peri_free(look->items);
    *look = (struct look){0};
}

static void again_due(struct peri_alarm *alarm) {
    peri_host_files_changed(PERI_CONTAINER(alarm, struct peri_watcher, again)->host);
}

static void look_again(struct peri_watcher *watcher, uint64_t at_ns) {
    struct peri_alarms *alarms = watcher->host->alarms;
    if (peri_alarm_is_set(&watcher->again) && watcher->again.at_ns <= at_ns) {
        return;
    }
    peri_alarms_clear(alarms, &watcher->again);
    watcher->again.due = again_due;
    peri_alarms_set(alarms, &watcher->again, at_ns);
}

/// Something is missing: editors and uploads delete, then write.
static void act_on_missing(struct peri_watcher *watcher, struct item *item, uint64_t now_ns) {
    struct peri_script *script = item->script;
    struct peri_reloader *reloader = &script->reloader;
    uint64_t patience_ns = watcher->host->limits->gone_ms * 1000000;
    if (script->is_gone) {
        return;
    }
    if (reloader->gone_ns == 0) {
        reloader->gone_ns = now_ns;
    }
    if (now_ns - reloader->gone_ns < patience_ns) {
        look_again(watcher, reloader->gone_ns + patience_ns);
    } else if (item->verdict == GONE) {
        peri_reload_remove(script);
    } else if (!reloader->has_failed) {
        peri_reload_want(script, false); // to say what is missing
    }
}

static void act(struct peri_watcher *watcher, struct item *item, uint64_t now_ns, bool waits) {
    struct peri_script *script = item->script;
    enum verdict verdict = item->verdict;
    if (verdict == MISSING || verdict == GONE) {
        act_on_missing(watcher, item, now_ns);
        return;
    }
    script->reloader.gone_ns = 0;
    if (verdict == CHANGED || (verdict == WRITTEN && !waits) ||
        (script->is_gone && verdict == SAME)) {
        peri_reload_want(script, false);
    }
}

static void add_found(struct peri_watcher *watcher, bool waits) {
    struct peri_host *host = watcher->host;
    for (const struct found *found = watcher->look.found; found; found = found->next) {
        if (found->written && waits) {
            continue;
        }
        if (peri_host_add_script(host, found->relative) != PERI_OK) {
            peri_log(PERI_LOG_ERROR, "%s/%s: out of memory", host->dir, found->relative);
            return;
        }
        struct peri_script *script = host->scripts[host->script_count - 1];
        script->config = peri_sections_find(host, script->name);
        peri_reload_want(script, false);
    }
}

static bool sees_writing(const struct look *look) {
    bool written = false;
    for (size_t i = 0; i < look->count; i++) {
        written |= look->items[i].verdict == WRITTEN;
    }
    for (const struct found *found = look->found; found; found = found->next) {
        written |= found->written;
    }
    return written;
}

static void look_done(struct peri_work *work) {
    struct peri_watcher *watcher = PERI_CONTAINER(work, struct peri_watcher, work);
    struct look *look = &watcher->look;
    watcher->looking = false;
    if (!watcher->host->stopping) {
        uint64_t now_ns = peri_alarms_now(watcher->host->alarms);
        bool written = sees_writing(look);
        if (written && watcher->written_ns == 0) {
            watcher->written_ns = now_ns;
        }
        bool waits = written && now_ns - watcher->written_ns < WRITING_MAX_NS;
        for (size_t i = 0; i < look->count; i++) {
            act(watcher, &look->items[i], now_ns, waits);
        }
        add_found(watcher, waits);
        if (waits) {
            look_again(watcher, now_ns + WRITING_LOOK_NS);
        } else {
            watcher->written_ns = 0;
        }
    }
    look_deinit(look);
    if (watcher->wanted) {
        watcher->wanted = false;
        peri_host_files_changed(watcher->host);
    }
}

static int prepare(struct peri_watcher *watcher) {
    const struct peri_host *host = watcher->host;
    struct look *look = &watcher->look;
    look->items = peri_calloc(host->script_count + 1, sizeof *look->items);
    if (!look->items) {
        return PERI_E_MEMORY;
    }
    for (; look->count < host->script_count; look->count++) {
        struct peri_script *script = host->scripts[look->count];
        struct item *item = &look->items[look->count];
        const struct peri_reloader *reloader = &script->reloader;
        const struct peri_sources *texts = reloader->has_failed ? &reloader->tried
                                           : script->vm         ? &script->vm->sources
                                                                : &item->texts;
        item->script = script;
        item->retries = reloader->has_failed && reloader->missed_module;
        if (peri_sources_share(&item->texts, texts) != PERI_OK) {
            look_deinit(look);
            return PERI_E_MEMORY;
        }
    }
    return PERI_OK;
}

void peri_host_files_changed(void *self) {
    struct peri_host *host = self;
    struct peri_watcher *watcher = host->watcher;
    if (watcher->looking || host->stopping) {
        watcher->wanted = true;
        return;
    }
    if (prepare(watcher) != PERI_OK) {
        peri_log(PERI_LOG_ERROR, "out of memory: changed scripts are looked at later");
        look_again(watcher, peri_alarms_now(host->alarms) + 1000000000);
        return;
    }
    const struct peri_ports *ports = peri_hub_ports(host->hub);
    watcher->looking = true;
    watcher->work = (struct peri_work){.run = look_run, .done = look_done};
    ports->work(ports->self, &watcher->work);
}

struct peri_watcher *peri_watcher_new(struct peri_host *host) {
    struct peri_watcher *watcher = peri_calloc(1, sizeof *watcher);
    if (watcher) {
        watcher->host = host;
    }
    return watcher;
}

void peri_watcher_free(struct peri_watcher *watcher) {
    if (watcher) {
        peri_alarms_clear(watcher->host->alarms, &watcher->again);
        look_deinit(&watcher->look);
        peri_free(watcher);
    }
}
