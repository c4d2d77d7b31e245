// All scripts of a folder, and the policy that they make together.
#include "script/host.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "script/api.h"
#include "script/handover.h"
#include "script/host_private.h"
#include "script/watcher.h"

struct peri_host *peri_host_new(const char *dir, const struct peri_limits *limits,
                                struct peri_hub *hub) {
    struct peri_host *host = peri_calloc(1, sizeof *host);
    if (!host) {
        return NULL;
    }
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/') {
        len--;
    }
    host->limits = limits;
    host->hub = hub;
    host->dir = peri_alloc(len + 1);
    host->alarms = peri_alarms_new(hub);
    host->watcher = peri_watcher_new(host);
    if (!host->dir || !host->alarms || !host->watcher || peri_ids_init(&host->ids) != PERI_OK) {
        peri_host_free(host);
        return NULL;
    }
    memcpy(host->dir, dir, len);
    host->dir[len] = '\0';
    peri_host_set_policy(host);
    return host;
}

void peri_host_trust(struct peri_host *host) {
    host->trusted = true;
}

int peri_host_watch(struct peri_host *host) {
    if (host->watchdog) {
        peri_watchdog_set(host->watchdog, host->limits);
        return PERI_OK;
    }
    host->watchdog = peri_watchdog_new(host->limits);
    peri_watchdog_join(host->watchdog);
    return host->watchdog ? PERI_OK : PERI_E_SYSTEM;
}

void peri_host_free(struct peri_host *host) {
    if (!host) {
        return;
    }
    host->stopping = true;
    // All VMs first: closing one may give back what another script has paid for a shared room.
    for (size_t i = 0; i < host->script_count; i++) {
        struct peri_script *script = host->scripts[i];
        peri_handover_finish(script);
        peri_reloader_deinit(script);
        peri_vm_free(script->vm);
        script->vm = NULL;
    }
    peri_watcher_free(host->watcher);
    for (size_t i = 0; i < host->script_count; i++) {
        peri_script_free(host->scripts[i]);
    }
    peri_watchdog_leave(host->watchdog);
    peri_watchdog_free(host->watchdog);
    peri_free(host->scripts);
    peri_alarms_free(host->alarms);
    peri_sections_free(host);
    peri_free(host->dir);
    peri_free(host);
}

static int add_route(const struct peri_host *host, const struct peri_script *script,
                     const char *route, struct peri_router *router, struct peri_buffer *error) {
    uint32_t other = 0;
    int status = peri_router_add(router, peri_str_of(route), script->number, &other);
    if (status == PERI_E_EXISTS) {
        PERI_IGNORE(peri_buffer_printf(error, "%s and %s both have the route %s: change one",
                                       host->scripts[other - 1]->path, script->path, route));
    }
    if (status == PERI_E_INVALID) {
        PERI_IGNORE(peri_buffer_printf(error, "%s: '%s' is no route: /a, /a/:name or /a/*",
                                       script->path, route));
    }
    return status;
}

int peri_host_add_routes(const struct peri_host *host, const struct peri_script *script,
                         struct peri_router *router, struct peri_buffer *error) {
    int status = PERI_OK;
    for (size_t i = 0; i < script->route_count && status == PERI_OK; i++) {
        status = add_route(host, script, script->routes[i], router, error);
    }
    return status;
}

void peri_script_take_routes(struct peri_script *script, struct peri_vm *vm) {
    script->has_said = true;
    if (vm->route_count > 0) {
        peri_script_free_routes(script->routes, script->route_count);
        script->routes = vm->routes;
        script->route_count = vm->route_count;
        vm->routes = NULL;
        vm->route_count = 0;
    }
}

/// A file that never got to say its route answers 503 at the one of its path, unless a script that
/// did speak has it.
static int add_guessed_route(const struct peri_script *script, struct peri_router *router) {
    uint32_t other = 0;
    int status = script->route_count == 0 ? PERI_OK
                                          : peri_router_add(router, peri_str_of(script->routes[0]),
                                                            script->number, &other);
    return status == PERI_E_EXISTS || status == PERI_E_INVALID ? PERI_OK : status;
}

/// Adds the routes of all scripts; those that are guesses last.
static int add_all_routes(const struct peri_host *host, const struct peri_script *script,
                          const struct peri_vm *vm, struct peri_router *router,
                          struct peri_buffer *error) {
    int status = PERI_OK;
    for (size_t i = 0; i < host->script_count && status == PERI_OK; i++) {
        const struct peri_script *at = host->scripts[i];
        bool is_new = script && at == script;
        if (is_new && vm && vm->route_count > 0) {
            for (size_t n = 0; n < vm->route_count && status == PERI_OK; n++) {
                status = add_route(host, at, vm->routes[n], router, error);
            }
        } else if (is_new || (at->has_said && !at->is_gone)) {
            status = peri_host_add_routes(host, at, router, error);
        }
    }
    for (size_t i = 0; i < host->script_count && status == PERI_OK; i++) {
        const struct peri_script *at = host->scripts[i];
        if (at != script && !at->has_said && !at->is_gone) {
            status = add_guessed_route(at, router);
        }
    }
    return status;
}

int peri_host_route(struct peri_host *host, const struct peri_script *script,
                    const struct peri_vm *vm, struct peri_buffer *error) {
    if (!host->router) {
        return PERI_OK; // the host starts: all routes are added at once
    }
    struct peri_router *router = peri_router_new();
    int status = router ? add_all_routes(host, script, vm, router, error) : PERI_E_MEMORY;
    if (status == PERI_OK) {
        peri_router_exchange(host->router, router);
    }
    peri_router_free(router);
    return status;
}

int peri_host_load(struct peri_host *host, struct peri_router *router, struct peri_buffer *error) {
    int status = peri_folder_scan(host, error);
    if (status == PERI_OK) {
        status = peri_sections_give(host);
    }
    for (size_t i = 0; i < host->script_count && status == PERI_OK; i++) {
        peri_script_load(host->scripts[i]);
    }
    host->router = router;
    return status == PERI_OK ? peri_host_route(host, NULL, NULL, error) : status;
}

const struct peri_policy *peri_host_policy(struct peri_host *host) {
    return &host->policy;
}

static struct peri_route route_at(const struct peri_host *host, size_t n) {
    for (size_t i = 0; i < host->script_count; i++) {
        const struct peri_script *script = host->scripts[i];
        if (script->is_gone) {
            continue;
        }
        if (n < script->route_count) {
            return (struct peri_route){
                .pattern = peri_str_of(script->routes[n]),
                .file = peri_str_of(script->path + strlen(host->dir) + 1),
                .loaded = script->vm != NULL,
            };
        }
        n -= script->route_count;
    }
    return (struct peri_route){0};
}

bool peri_host_next_route(const struct peri_host *host, size_t *cursor, struct peri_route *route) {
    *route = route_at(host, *cursor);
    (*cursor)++;
    return route->pattern.ptr != NULL;
}

void peri_host_cut_waits(struct peri_host *host) {
    host->stopping = true;
    for (size_t i = 0; i < host->script_count; i++) {
        peri_handover_finish(host->scripts[i]);
        peri_reload_let_go(host->scripts[i]);
        if (host->scripts[i]->vm) {
            peri_door_cut_waits(host->scripts[i]->vm);
        }
    }
}
