// The loop: when the hub's turns run, when sessions get theirs, and the order in which all ends.
#include "net/server.h"

#include <assert.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/certificates.h"
#include "net/internal.h"
#include "net/service.h"

enum {
    LAST_TURNS = 1000, ///< for `close` handlers, once the host ends
    LOG_TICK_MS = 250,
    CERTIFICATES_MS = 1000, ///< between two looks at their files
};

static void on_log(uv_timer_t *timer) {
    (void)timer;
    peri_log_tick();
}

static void on_poll_certificates(uv_timer_t *timer) {
    struct peri_server *server = timer->data;
    peri_certificates_poll(server->certificates);
}

static void on_hangup(uv_signal_t *signal, int number) {
    struct peri_server *server = signal->data;
    struct peri_buffer error = {0};
    (void)number;
    peri_log(PERI_LOG_INFO, "SIGHUP: the scripts%s are read anew",
             server->tls ? " and the certificates" : "");
    if (server->tls) {
        peri_certificates_reload(server->certificates);
    }
    if (server->policy->reload) {
        (void)server->policy->reload(server->policy->self, PERI_STR(""), &error); // says so itself
    }
    peri_buffer_deinit(&error);
}

static void on_idle(uv_idle_t *idle) {
    (void)idle; // it is there so that the loop does not wait
}

void peri_server_turns(struct peri_server *server) {
    struct peri_session *next = server->turns;
    server->turns = NULL;
    while (next) {
        struct peri_session *session = next;
        next = session->next_turn; // closed by what runs now, maybe, but there until the sweep
        session->queued = false;
        if (!session->closing) {
            peri_session_turn(session);
        }
    }
}

void peri_server_sweep(struct peri_server *server) {
    for (struct peri_list *at = server->closing.next, *next; at != &server->closing; at = next) {
        struct peri_session *session = PERI_CONTAINER(at, struct peri_session, link);
        next = at->next;
        if (!session->queued) {
            peri_session_release(session);
        }
    }
}

/// The end of a round: of timers, of a look at the sockets. libuv before 1.45 runs timers ahead of the
/// poll, so this is called after both: what a timer did must go out before the loop waits.
static void turn(struct peri_server *server) {
    if (server->turns) { // as a rule there are none, and none to be freed
        peri_server_turns(server);
    }
    bool more = peri_control_turn(server);
    server->turn_asked = false;
    more = peri_hub_turn(server->hub) || more;
    if (!peri_list_is_empty(&server->closing)) {
        peri_server_sweep(server);
    }
    if (peri_log_waits() && !uv_is_active((uv_handle_t *)&server->log)) {
        (void)uv_timer_start(&server->log, on_log, LOG_TICK_MS, 0);
    }
    if (more || server->turn_asked || server->wake_late || server->turns) {
        (void)uv_idle_start(&server->idle, on_idle);
    } else {
        (void)uv_idle_stop(&server->idle);
    }
}

static void on_prepare(uv_prepare_t *prepare) {
    struct peri_server *server = prepare->data;
    server->has_polled = false;
    turn(server);
}

/// After each look at the sockets.
static void turn_polled(struct peri_server *server) {
    if (server->wake_late) {
        peri_server_wake(server);
    }
    server->has_polled = true;
    turn(server);
}

static void between_looks(struct peri_poller *poller) {
    turn_polled(PERI_CONTAINER(poller, struct peri_server, poller));
}

static void on_check(uv_check_t *check) {
    turn_polled(check->data);
}

static void on_tick(uv_timer_t *timer) {
    struct peri_server *server = timer->data;
    struct peri_wheel_timer *due;
    while ((due = peri_wheel_next(&server->wheel, peri_server_now(server)))) {
        peri_session_on_timer(PERI_CONTAINER(due, struct peri_session, timer));
    }
    if (server->wheel.count == 0) {
        (void)uv_timer_stop(timer);
    }
}

void peri_server_want_ticks(struct peri_server *server) {
    if (!uv_is_active((uv_handle_t *)&server->tick)) {
        (void)uv_timer_start(&server->tick, on_tick, PERI_WHEEL_TICK_MS, PERI_WHEEL_TICK_MS);
    }
}

static void on_signal(uv_signal_t *signal, int number) {
    struct peri_server *server = signal->data;
    const char *name = number == SIGINT ? "SIGINT" : "SIGTERM";
    if (server->draining) {
        peri_log(PERI_LOG_INFO, "%s again: stopping at once", name);
    } else {
        peri_log(PERI_LOG_INFO, "%s: stopping; connections end over %g s (drain_s)", name,
                 (double)server->limits->drain_ms / 1000);
    }
    peri_server_stop(server);
}

void peri_server_stop(struct peri_server *server) {
    if (server->draining) {
        uv_stop(&server->loop);
    } else {
        peri_server_drain(server);
    }
}

static sigset_t signals_of_end(void) {
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    return signals;
}

struct peri_server *peri_server_new(const struct peri_server_options *options) {
    struct peri_server *server = peri_calloc(1, sizeof *server);
    if (!server || uv_loop_init(&server->loop) < 0) {
        peri_free(server);
        return NULL;
    }
    if (peri_poller_open(&server->poller, &server->loop, peri_session_on_ready, between_looks) !=
        PERI_OK) {
        (void)uv_loop_close(&server->loop);
        peri_free(server);
        return NULL;
    }
    server->options = *options;
    server->limits = options->limits;
    server->hub = options->hub;
    server->wake_at_ns = UINT64_MAX;
    peri_slabs_init(&server->small);
    peri_list_init(&server->sessions);
    peri_list_init(&server->closing);
    peri_list_init(&server->feed);
    peri_addresses_init(&server->uses);
    uv_timer_t *const timers[] = {&server->tick, &server->wake,   &server->drain, &server->resume,
                                  &server->log,  &server->forget, &server->poll};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        (void)uv_timer_init(&server->loop, timers[i]);
        timers[i]->data = server;
    }
    (void)uv_prepare_init(&server->loop, &server->prepare);
    (void)uv_check_init(&server->loop, &server->check);
    (void)uv_idle_init(&server->loop, &server->idle);
    server->prepare.data = server->check.data = server;
    for (size_t i = 0; i < 2; i++) {
        (void)uv_signal_init(&server->loop, &server->signals[i]);
        server->signals[i].data = server;
    }
    (void)uv_signal_init(&server->loop, &server->hangup);
    server->hangup.data = server;
    for (size_t i = 0; i < WORKS_AT_ONCE; i++) {
        peri_desk_open(&server->seats[i].desk, &server->loop);
        server->seats[i].server = server;
    }
    peri_wheel_init(&server->wheel, peri_server_now(server));
    (void)signal(SIGPIPE, SIG_IGN);
    struct peri_ports ports = peri_server_ports(server);
    peri_hub_set_ports(server->hub, &ports);
    return server;
}

/// As many descriptors as the system grants, less a tenth for files, scripts and libraries.
static size_t descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return 1000;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0 && getrlimit(RLIMIT_NOFILE, &limit) < 0) {
            return 1000;
        }
    }
    rlim_t most = (rlim_t)1 << 24; // a key has no room for more
    size_t descriptors = (size_t)(limit.rlim_cur < most ? limit.rlim_cur : most);
    return descriptors - descriptors / 10;
}

/// @return PERI_OK; PERI_E_INVALID or PERI_E_MEMORY
static int begin_tls(struct peri_server *server, struct peri_buffer *error) {
    const struct peri_server_options *options = &server->options;
    if (options->tls_pair_count == 0) {
        return PERI_OK;
    }
    server->certificates =
        peri_certificates_new(options->tls_pairs, options->tls_pair_count, error);
    if (!server->certificates) {
        return error->len > 0 ? PERI_E_INVALID : PERI_E_MEMORY;
    }
    server->tls = peri_tls_loop_new(server->certificates);
    return server->tls ? PERI_OK : PERI_E_MEMORY;
}

static void on_files_changed(void *arg) {
    struct peri_server *server = arg;
    if (!server->draining && server->policy->files_changed) {
        server->policy->files_changed(server->policy->self);
    }
}

/// Begins before scripts are loaded, so that no change falls between. @return PERI_OK, PERI_E_MEMORY
static int begin_watch(struct peri_server *server) {
    const struct peri_watch_options options = {
        .dir = server->options.watch_dir,
        .events_max = PERI_WATCH_EVENTS,
        .period_ms = PERI_WATCH_PERIOD_MS,
        .changed = on_files_changed,
        .arg = server,
    };
    if (!options.dir) {
        return PERI_OK;
    }
    server->watch = peri_watch_new(&server->loop, &options);
    return server->watch ? PERI_OK : PERI_E_MEMORY;
}

int peri_server_listen(struct peri_server *server, struct peri_buffer *error) {
    int rc = begin_tls(server, error);
    if (rc == PERI_OK) {
        rc = begin_watch(server);
    }
    if (rc != PERI_OK) {
        return rc;
    }
    size_t most = descriptor_limit();
    size_t wanted = (size_t)server->limits->connections;
    if (wanted > most) {
        peri_log(PERI_LOG_WARN, "connections=%zu is more than descriptors allow (ulimit -n): %zu",
                 wanted, most);
    }
    server->connection_limit = wanted > 0 && wanted < most ? wanted : most;
    return peri_listener_open(server, error);
}

struct peri_str peri_server_addresses(const struct peri_server *server) {
    return peri_buffer_str(&server->addresses);
}

uint16_t peri_server_port(const struct peri_server *server) {
    return server->port;
}

/// Every session is closed, every wait cut, and what `close` handlers still do is done.
static void end_all(struct peri_server *server) {
    peri_listener_close(server);
    peri_control_close(server);
    while (!peri_list_is_empty(&server->sessions)) {
        peri_session_close(PERI_CONTAINER(server->sessions.next, struct peri_session, link));
    }
    peri_server_turns(server); // nobody gets one: it takes them out of the queue
    peri_server_sweep(server);
    (void)uv_timer_stop(&server->drain);
    peri_server_finish_work(server);
    for (int i = 0; i < LAST_TURNS; i++) {
        server->options.cut_waits(server->options.arg);
        if (!peri_hub_turn(server->hub) && peri_hub_count(server->hub) == 0) {
            break;
        }
    }
    peri_server_finish_work(server); // what the last handlers have asked for
}

int peri_server_start(struct peri_server *server) {
    if (uv_signal_start(&server->hangup, on_hangup, SIGHUP) < 0 ||
        (server->tls && uv_timer_start(&server->poll, on_poll_certificates, CERTIFICATES_MS,
                                       CERTIFICATES_MS) < 0)) {
        return PERI_E_SYSTEM;
    }
    return uv_signal_start(&server->signals[0], on_signal, SIGINT) < 0 ||
                   uv_signal_start(&server->signals[1], on_signal, SIGTERM) < 0
               ? PERI_E_SYSTEM
               : PERI_OK;
}

void peri_server_run(struct peri_server *server) {
    server->policy = peri_hub_policy(server->hub);
    (void)uv_prepare_start(&server->prepare, on_prepare);
    (void)uv_check_start(&server->check, on_check);
    peri_listener_start(server);
    peri_control_start(server);
    peri_service_notify("READY=1");
    (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    end_all(server);
}

static void close_handle(uv_handle_t *handle, void *arg) {
    (void)arg;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

void peri_server_free(struct peri_server *server) {
    if (!server) {
        return;
    }
    // Once libuv lets go of them, a signal would kill a program that is about to end well.
    sigset_t signals = signals_of_end();
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    peri_listener_close(server);
    peri_control_close(server);
    peri_watch_close(server->watch);
    for (size_t i = 0; i < WORKS_AT_ONCE; i++) {
        peri_desk_close(&server->seats[i].desk, NULL, NULL);
    }
    peri_poller_close(&server->poller);
    uv_walk(&server->loop, close_handle, NULL);
    (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&server->loop);
    assert(rc == 0);
    (void)rc;
    peri_addresses_deinit(&server->uses);
    peri_tls_loop_free(server->tls);
    peri_certificates_free(server->certificates);
    peri_map_deinit(&server->exchanges);
    peri_buffer_deinit(&server->addresses);
    peri_slabs_deinit(&server->small);
    peri_free(server);
}
