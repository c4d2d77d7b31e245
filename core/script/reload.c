#include "script/reload.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/api.h"
#include "script/handover.h"
#include "script/host_private.h"
#include "script/load.h"
#include "script/probation.h"
#include "script/report.h"
#include "script/watchdog.h"

/// Between two looks at whether the last connection of a script that is gone has ended.
static const uint64_t GONE_LOOK_NS = 200000000;

static uint64_t now_of(const struct peri_script *script) {
    return peri_alarms_now(peri_host_alarms(script->host));
}

static void set_judge(struct peri_script *script, uint64_t at_ns,
                      void (*due)(struct peri_alarm *alarm)) {
    struct peri_alarm *judge = &script->reloader.judge;
    peri_alarms_clear(peri_host_alarms(script->host), judge);
    judge->due = due;
    peri_alarms_set(peri_host_alarms(script->host), judge, at_ns);
}

// What is said ---------------------------------------------------------------------------------

/// Finds "FILE:LINE: message" in an error of a VM.
static void find_place(const struct peri_vm *vm, struct peri_news *news) {
    const struct peri_source *source = NULL;
    if (vm) {
        source = peri_sources_find(&vm->sources, news->message, &news->line);
    }
    if (source) {
        news->file = peri_str_of(source->path);
        const char *colon = memchr(news->message.ptr, ':', news->message.len);
        size_t at = (size_t)(colon - news->message.ptr); // the path and the line are there
        while (at < news->message.len && news->message.ptr[at] != ' ') {
            at++;
        }
        at += at < news->message.len;
        news->message = peri_str(news->message.ptr + at, news->message.len - at);
    }
}

/// Tells ports, and keeps it for who asks later.
/// @param about the VM whose error `why` is; NULL for none
static void tell(struct peri_script *script, enum peri_reload outcome, const struct peri_vm *about,
                 const char *why) {
    struct peri_reloader *reloader = &script->reloader;
    reloader->outcome = outcome;
    reloader->at_ns = now_of(script);
    (void)snprintf(reloader->why, sizeof reloader->why, "%s", why);
    const struct peri_ports *ports = peri_hub_ports(script->host->hub);
    struct peri_news news = {
        .script = peri_str_of(script->name),
        .file = peri_str_of(script->path),
        .generation = script->vm ? script->vm->generation : 0,
        .what = outcome,
        .was_asked = reloader->was_asked,
        .on_probation = script->vm && peri_probation_lasts(script->vm),
        .message = peri_str_of(reloader->why),
    };
    find_place(about, &news);
    if (ports->news) {
        ports->news(ports->self, &news);
    }
}

static void log_text(const struct peri_vm *vm, int level, const char *format, unsigned number) {
    char text[160];
    (void)snprintf(text, sizeof text, format, number);
    peri_report_vm(vm, level, peri_str_of(text));
}

// Holding --------------------------------------------------------------------------------------

/// No event is given to rules that have failed their probation: they would lose it, and loops in them
/// would hold up everybody, one connection after the other.
static void hold(struct peri_script *script) {
    script->reloader.holds = script->traits.held = true;
}

void peri_reload_let_go(struct peri_script *script) {
    if (script->reloader.holds) {
        script->reloader.holds = script->traits.held = false;
        peri_hub_release(script->host->hub, script->number);
    }
}

/// Events wait for as long as something is to come of it, and no longer.
static void hold_no_longer_than_needed(struct peri_script *script) {
    const struct peri_reloader *reloader = &script->reloader;
    if (!reloader->loading && !reloader->wanted) {
        peri_reload_let_go(script);
    }
}

// Loading --------------------------------------------------------------------------------------

static void load_run(struct peri_work *work) {
    struct peri_reloader *reloader = PERI_CONTAINER(work, struct peri_reloader, work);
    const struct peri_script *script = PERI_CONTAINER(reloader, struct peri_script, reloader);
    peri_watchdog_join(script->host->watchdog);
    reloader->loaded = peri_load_run(reloader->candidate, script->config, reloader->from);
    peri_watchdog_leave(script->host->watchdog);
}

static void load_done(struct peri_work *work);

/// Begins what is wanted, if nothing is in its way.
static void begin(struct peri_script *script) {
    struct peri_reloader *reloader = &script->reloader;
    const struct peri_ports *ports = peri_hub_ports(script->host->hub);
    if (!reloader->wanted || reloader->loading || script->host->stopping ||
        peri_handover_lasts(script)) {
        return;
    }
    reloader->wanted = false;
    reloader->was_asked = reloader->asked;
    reloader->asked = false;
    reloader->candidate = peri_load_new(script);
    if (!reloader->candidate) {
        reloader->takes_back = false;
        peri_reload_let_go(script);
        tell(script, PERI_RELOAD_FAILED, NULL, "out of memory");
        return;
    }
    reloader->loading = true;
    reloader->from = reloader->takes_back ? &reloader->good : NULL;
    reloader->work = (struct peri_work){.run = load_run, .done = load_done};
    ports->work(ports->self, &reloader->work);
}

void peri_reload_want(struct peri_script *script, bool asked) {
    struct peri_reloader *reloader = &script->reloader;
    reloader->wanted = true;
    reloader->asked |= asked;
    reloader->takes_back &= reloader->loading; // newer bytes go before those of before
    begin(script);
}

static void fail(struct peri_script *script, struct peri_vm *candidate) {
    struct peri_reloader *reloader = &script->reloader;
    reloader->has_failed = true;
    reloader->missed_module = candidate->missed_module;
    peri_sources_free(&reloader->tried);
    PERI_IGNORE(peri_sources_share(&reloader->tried, &candidate->sources)); // empty: tried again
    if (script->vm) {
        log_text(candidate, PERI_LOG_ERROR, "not loaded: generation %u goes on",
                 script->vm->generation);
    } else {
        peri_report_vm(candidate, PERI_LOG_ERROR, PERI_STR("not loaded: its route answers 503"));
    }
    tell(script, PERI_RELOAD_FAILED, candidate,
         candidate->last_error[0] ? candidate->last_error : "see the log");
    peri_vm_free(candidate);
}

static bool has_any(const struct peri_vm *vm, enum peri_slot slot) {
    peri_vm_push(vm->L, slot);
    lua_pushnil(vm->L);
    bool found = lua_next(vm->L, -2) != 0;
    lua_settop(vm->L, 0);
    return found;
}

/// Whether it may change what it is given: what is parked may be of any version.
static bool migrates(const struct peri_script *script, const struct peri_vm *candidate) {
    const struct peri_vm *vm = script->vm;
    return vm && (vm->version != candidate->version || has_any(vm, PERI_SLOT_PARKED)) &&
           has_any(candidate, PERI_SLOT_MIGRATE);
}

static void probation_over(struct peri_alarm *alarm);

static void report_swap(const struct peri_script *script, const struct peri_handover_report *r) {
    struct peri_buffer text = {0};
    int status = peri_buffer_append_str(&text, PERI_STR("loaded"));
    if (status == PERI_OK && r->timers > 0) {
        status = peri_buffer_printf(&text, ", %u timers kept", r->timers);
    }
    if (status == PERI_OK && r->functions > 0) {
        status = peri_buffer_printf(&text, ", %u timers ended that were functions", r->functions);
    }
    if (status == PERI_OK && r->names > 0) {
        status = peri_buffer_printf(&text, ", %u timers ended whose names are gone", r->names);
    }
    peri_report_vm(script->vm, PERI_LOG_INFO,
                   status == PERI_OK ? peri_buffer_str(&text) : PERI_STR("loaded"));
    peri_buffer_deinit(&text);
}

/// Whether the generation that serves is what to go back to from the candidate.
static bool becomes_good(const struct peri_script *script, const struct peri_vm *candidate) {
    const struct peri_vm *vm = script->vm;
    return vm && !peri_sources_equal(&vm->sources, &candidate->sources) &&
           (peri_probation_does_well(vm) || script->reloader.good.count == 0);
}

/// @param is_good whether what served before is what to go back to
/// @param into    what was migrated; NULL: nothing, or what is kept is from before that already
static void swapped(struct peri_script *script, struct peri_vault *into, bool is_good,
                    const struct peri_handover_report *report) {
    peri_reload_let_go(script);
    struct peri_reloader *reloader = &script->reloader;
    struct peri_vm *vm = script->vm;
    const struct peri_vm *elder = vm->handover ? vm->handover->elder : NULL;
    bool was_taken_back = reloader->takes_back;
    reloader->takes_back = false;
    reloader->has_failed = false;
    report_swap(script, report);
    if (was_taken_back) {
        peri_free(vm->probation);
        vm->probation = NULL;
        reloader->spent = reloader->vault;
        reloader->vault = NULL;
        reloader->has_failed = true; // the file still holds them, and is not tried until it changes
        reloader->missed_module = false;
        peri_sources_free(&reloader->tried);
        PERI_IGNORE(peri_sources_share(&reloader->tried, &reloader->bad)); // empty: tried again
        char why[PERI_RELOAD_WHY_MAX];
        (void)snprintf(why, sizeof why, "%s", elder ? elder->last_error : "");
        tell(script, PERI_RELOAD_REVERTED, elder, why);
        return;
    }
    if (is_good) {
        peri_sources_free(&reloader->good);
        PERI_IGNORE(peri_sources_share(&reloader->good, &elder->sources)); // empty: nothing is
    }
    if (is_good || into) { // else it belongs to what has been good since before
        peri_vault_free(reloader->vault);
        reloader->vault = into;
    }
    if (vm->probation) {
        set_judge(script, vm->probation->until_ns, probation_over);
    }
    tell(script, PERI_RELOAD_DONE, NULL, "");
}

static void take_over(struct peri_script *script, struct peri_vm *candidate) {
    struct peri_reloader *reloader = &script->reloader;
    struct peri_handover_report report;
    struct peri_vault *into = NULL, *from = reloader->takes_back ? reloader->vault : NULL;
    bool is_good = !reloader->takes_back && becomes_good(script, candidate);
    if (!reloader->takes_back && (is_good || !reloader->vault) &&
        script->host->limits->probation_ms > 0 && migrates(script, candidate)) {
        into = peri_vault_new(candidate);
        if (!into) {
            (void)snprintf(candidate->last_error, sizeof candidate->last_error, "out of memory");
            fail(script, candidate);
            return;
        }
    }
    if (peri_handover_begin(script, candidate, from, into, &report)) {
        swapped(script, into, is_good, &report);
        return;
    }
    reloader->takes_back = false;
    peri_vault_free(into);
    fail(script, candidate);
}

static void end_probation(struct peri_script *script) {
    peri_reload_let_go(script);
    peri_free(script->vm->probation);
    script->vm->probation = NULL;
    peri_vault_free(script->reloader.vault);
    script->reloader.vault = NULL;
}

/// Whether what serves has not stood its probation.
static bool has_failed_probation(const struct peri_script *script) {
    return script->vm && !script->is_gone && script->vm->probation && script->vm->probation->failed;
}

/// Has the last good generation come back, unless newer bytes are on their way.
static void go_back(struct peri_script *script) {
    struct peri_reloader *reloader = &script->reloader;
    if (has_failed_probation(script) && reloader->good.count > 0 && !reloader->wanted &&
        !reloader->loading) {
        reloader->takes_back = true;
        reloader->wanted = true;
        begin(script);
    }
}

static void load_done(struct peri_work *work) {
    struct peri_reloader *reloader = PERI_CONTAINER(work, struct peri_reloader, work);
    struct peri_script *script = PERI_CONTAINER(reloader, struct peri_script, reloader);
    struct peri_vm *candidate = reloader->candidate;
    reloader->candidate = NULL;
    reloader->loading = false;
    bool newer = reloader->wanted;
    bool same = script->vm && !script->is_gone &&
                peri_sources_equal(&candidate->sources, &script->vm->sources);
    bool went_back = reloader->takes_back;
    if (script->host->stopping || newer) {
        reloader->takes_back = false;
        reloader->asked |= reloader->was_asked; // the newer one is the answer
        peri_vm_free(candidate);
    } else if (!reloader->loaded) {
        reloader->takes_back = false;
        fail(script, candidate);
    } else if (!reloader->was_asked && !reloader->takes_back && same) {
        peri_vm_free(candidate);
        if (reloader->has_failed) { // what failed has been undone
            reloader->has_failed = false;
            tell(script, PERI_RELOAD_DONE, NULL, "as it was");
        }
    } else if (!reloader->takes_back && reloader->bad.count > 0 &&
               peri_sources_equal(&candidate->sources, &reloader->bad)) {
        (void)snprintf(candidate->last_error, sizeof candidate->last_error,
                       "%s: these rules were taken back after errors: change them first",
                       script->path);
        peri_log(PERI_LOG_ERROR, "%s", candidate->last_error);
        fail(script, candidate);
    } else {
        take_over(script, candidate);
    }
    if (went_back && !newer && has_failed_probation(script)) {
        end_probation(script); // there is no way back
    }
    go_back(script); // nothing has come of what was newer
    begin(script);
    hold_no_longer_than_needed(script);
}

void peri_script_load(struct peri_script *script) {
    struct peri_handover_report report;
    struct peri_vm *candidate = peri_load_new(script);
    if (!candidate) {
        return;
    }
    if (peri_load_run(candidate, script->config, NULL) &&
        peri_handover_begin(script, candidate, NULL, NULL, &report)) {
        peri_report_vm(candidate, PERI_LOG_INFO, PERI_STR("loaded"));
        return;
    }
    if (candidate->route_count > 0) {
        peri_script_take_routes(script, candidate); // they answer 503
    }
    fail(script, candidate);
}

// Probation ------------------------------------------------------------------------------------

static void probation_over(struct peri_alarm *alarm) {
    struct peri_reloader *reloader = PERI_CONTAINER(alarm, struct peri_reloader, judge);
    struct peri_script *script = PERI_CONTAINER(reloader, struct peri_script, reloader);
    if (!script->vm || !script->vm->probation) {
        return;
    }
    if (peri_handover_lasts(script)) { // the vault may still be filled
        set_judge(script, now_of(script) + GONE_LOOK_NS, probation_over);
        return;
    }
    end_probation(script);
    tell(script, PERI_RELOAD_DONE, NULL, "");
}

static void verdict(struct peri_alarm *alarm) {
    struct peri_reloader *reloader = PERI_CONTAINER(alarm, struct peri_reloader, judge);
    struct peri_script *script = PERI_CONTAINER(reloader, struct peri_script, reloader);
    const struct peri_vm *vm = script->vm;
    if (!vm || !vm->probation || script->is_gone) {
        peri_reload_let_go(script);
        return;
    }
    char text[PERI_RELOAD_WHY_MAX];
    bool can = reloader->good.count > 0;
    (void)snprintf(
        text, sizeof text, "taken back: %llu of %llu events lost to errors, on %zu connections%s",
        (unsigned long long)vm->errors, (unsigned long long)vm->events, vm->probation->key_count,
        can ? "" : "; but what was before is not known any more");
    peri_report_vm(vm, PERI_LOG_ERROR, peri_str_of(text));
    peri_sources_free(&reloader->bad);
    PERI_IGNORE(peri_sources_share(&reloader->bad, &vm->sources)); // else it may be tried again
    go_back(script);
    hold_no_longer_than_needed(script);
}

void peri_reload_take_back(struct peri_script *script) {
    if (script->reloader.good.count > 0) {
        hold(script);
    }
    set_judge(script, now_of(script), verdict);
}

void peri_reload_moved(struct peri_script *script) {
    peri_vault_free(script->reloader.spent);
    script->reloader.spent = NULL;
    begin(script);
}

// The end of a script --------------------------------------------------------------------------

static void look_at_gone(struct peri_alarm *alarm) {
    struct peri_reloader *reloader = PERI_CONTAINER(alarm, struct peri_reloader, judge);
    struct peri_script *script = PERI_CONTAINER(reloader, struct peri_script, reloader);
    uint32_t cursor = 0;
    const struct peri_conn *conn;
    if (!script->is_gone || !script->vm) {
        return;
    }
    while ((conn = peri_hub_next_conn(script->host->hub, &cursor))) {
        if (peri_conn_script(conn) == script->number) {
            set_judge(script, now_of(script) + GONE_LOOK_NS, look_at_gone);
            return;
        }
    }
    peri_handover_finish(script);
    peri_reload_moved(script);
    if (!peri_list_is_empty(&script->vm->waiting)) {
        peri_door_cut_waits(script->vm);
    }
    end_probation(script);
    struct peri_vm *vm = script->vm;
    script->vm = NULL;
    script->traits = (struct peri_traits){.limits = script->host->limits};
    peri_vm_free(vm);
}

void peri_reload_remove(struct peri_script *script) {
    struct peri_hub *hub = script->host->hub;
    struct peri_buffer error = {0};
    uint32_t cursor = 0;
    size_t count = 0;
    struct peri_conn *conn;
    script->is_gone = true;
    if (peri_host_route(script->host, NULL, NULL, &error) != PERI_OK) {
        peri_log(PERI_LOG_ERROR, "%s: %.*s", script->path, (int)error.len,
                 error.ptr ? (const char *)error.ptr : "");
    }
    peri_buffer_deinit(&error);
    while ((conn = peri_hub_next_conn(hub, &cursor))) {
        if (peri_conn_script(conn) == script->number && peri_conn_is_connected(conn)) {
            peri_hub_end(hub, peri_conn_key(conn), PERI_END_HOST, 1001, PERI_STR(""));
            count++;
        }
    }
    peri_log(PERI_LOG_WARN, "%s is gone: its routes end, and %zu connections are closed (1001)",
             script->path, count);
    script->reloader.wanted = false;
    script->reloader.was_asked = false;
    peri_reload_let_go(script); // `close` of those connections waits as well
    tell(script, PERI_RELOAD_GONE, NULL, "the file is gone");
    if (script->vm) {
        peri_timers_end(script->vm);
        set_judge(script, now_of(script), look_at_gone);
    }
}

void peri_reloader_deinit(struct peri_script *script) {
    struct peri_reloader *reloader = &script->reloader;
    peri_alarms_clear(peri_host_alarms(script->host), &reloader->judge);
    peri_vault_free(reloader->vault);
    peri_vault_free(reloader->spent);
    reloader->vault = reloader->spent = NULL;
    peri_sources_free(&reloader->good);
    peri_sources_free(&reloader->bad);
    peri_sources_free(&reloader->tried);
}

// policy ---------------------------------------------------------------------------------------

int peri_host_reload(void *self, struct peri_str name, struct peri_buffer *error) {
    struct peri_host *host = self;
    int count = 0;
    for (size_t i = 0; i < host->script_count; i++) {
        struct peri_script *script = host->scripts[i];
        if (!script->is_gone &&
            (name.len == 0 || peri_str_equal(peri_str_of(script->name), name))) {
            peri_reload_want(script, true);
            count++;
        }
    }
    if (count == 0 && name.len > 0) {
        return PERI_TELL(error, "there is no script '%.*s'", (int)name.len, name.ptr);
    }
    return count;
}
