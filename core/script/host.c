// All scripts of a folder, and the policy that they make together.
#include "script/host.h"

#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "script/api.h"
#include "script/host_private.h"

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
    char real[PATH_MAX];
    const char *resolved = realpath(dir, real) ? real : dir; // a missing DIR is said when read
    host->limits = limits;
    host->hub = hub;
    host->dir = peri_alloc(len + 1);
    host->real_dir = peri_alloc(strlen(resolved) + 1);
    host->alarms = peri_alarms_new(hub);
    if (!host->dir || !host->real_dir || !host->alarms || peri_ids_init(&host->ids) != PERI_OK) {
        peri_host_free(host);
        return NULL;
    }
    memcpy(host->dir, dir, len);
    host->dir[len] = '\0';
    memcpy(host->real_dir, resolved, strlen(resolved) + 1);
    peri_host_set_policy(host);
    return host;
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
    // All VMs first: closing one may give back what another script has paid for a shared room.
    for (size_t i = 0; i < host->script_count; i++) {
        peri_vm_free(host->scripts[i]->vm);
        host->scripts[i]->vm = NULL;
    }
    for (size_t i = 0; i < host->script_count; i++) {
        peri_script_free(host->scripts[i]);
    }
    peri_watchdog_leave(host->watchdog);
    peri_watchdog_free(host->watchdog);
    peri_free(host->scripts);
    peri_alarms_free(host->alarms);
    peri_sections_free(host);
    peri_buffer_deinit(&host->json);
    peri_free(host->dir);
    peri_free(host->real_dir);
    peri_free(host);
}

int peri_host_add_routes(const struct peri_host *host, const struct peri_script *script,
                         struct peri_router *router, struct peri_buffer *error) {
    for (size_t i = 0; i < script->route_count; i++) {
        uint32_t other = 0;
        struct peri_str route = peri_str_of(script->routes[i]);
        int status = peri_router_add(router, route, script->number, &other);
        if (status == PERI_E_EXISTS) {
            PERI_IGNORE(peri_buffer_printf(error, "%s and %s both have the route %s: change one",
                                           host->scripts[other - 1]->path, script->path,
                                           script->routes[i]));
            return status;
        }
        if (status == PERI_E_INVALID) {
            PERI_IGNORE(peri_buffer_printf(error, "%s: '%s' is no route: /a, /a/:name or /a/*",
                                           script->path, script->routes[i]));
            return status;
        }
        if (status != PERI_OK) {
            return status;
        }
    }
    return PERI_OK;
}

/// A file that never got to say its route answers 503 at the one of its path, unless a script that
/// did speak has it.
static int add_guessed_route(struct peri_script *script, struct peri_router *router) {
    uint32_t other = 0;
    int status = peri_router_add(router, peri_str_of(script->routes[0]), script->number, &other);
    if (status == PERI_E_EXISTS || status == PERI_E_INVALID) {
        peri_script_free_routes(script->routes, script->route_count);
        script->routes = NULL;
        script->route_count = 0;
        return PERI_OK;
    }
    return status;
}

int peri_host_load(struct peri_host *host, struct peri_router *router, struct peri_buffer *error) {
    int status = peri_folder_scan(host, error);
    if (status == PERI_OK) {
        status = peri_sections_give(host);
    }
    for (size_t i = 0; i < host->script_count && status == PERI_OK; i++) {
        peri_script_load(host, host->scripts[i]);
        if (host->scripts[i]->has_said) {
            status = peri_host_add_routes(host, host->scripts[i], router, error);
        }
    }
    for (size_t i = 0; i < host->script_count && status == PERI_OK; i++) {
        if (!host->scripts[i]->has_said) {
            status = add_guessed_route(host->scripts[i], router);
        }
    }
    return status;
}

const struct peri_policy *peri_host_policy(struct peri_host *host) {
    return &host->policy;
}

static struct peri_route route_at(const struct peri_host *host, size_t n) {
    for (size_t i = 0; i < host->script_count; i++) {
        const struct peri_script *script = host->scripts[i];
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
    for (size_t i = 0; i < host->script_count; i++) {
        if (host->scripts[i]->vm) {
            peri_door_cut_waits(host->scripts[i]->vm);
        }
    }
}
