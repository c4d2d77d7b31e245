#include "cli/serve_control.h"

#include <unistd.h>

#include "base/log.h"
#include "cli/control_place.h"
#include "version.h"

// What net asks of whoever answers, by what admin has.

static void *open_client(void *self) {
    return peri_admin_open(self);
}

static int take_line(void *client, struct peri_str line, struct peri_buffer *out) {
    return peri_admin_line(client, line, out);
}

static int look_later(void *client, struct peri_buffer *out) {
    return peri_admin_later(client, out);
}

static void close_client(void *client) {
    peri_admin_close(client);
}

/// @param path NUL-terminated
static int open_at(struct peri_serve_control *control, struct peri_server *server, const char *path,
                   struct peri_buffer *error) {
    const struct peri_control table = {
        .self = control->admin,
        .line_max = PERI_ADMIN_LINE_MAX,
        .open = open_client,
        .line = take_line,
        .later = look_later,
        .close = close_client,
    };
    return peri_server_open_control(server, path, &table, error);
}

/// Nobody has asked for this one: without it the host serves all the same.
static int open_default(struct peri_serve_control *control, struct peri_server *server) {
    struct peri_buffer path = {0}, error = {0};
    int status = peri_control_place(peri_server_port(server), &path, &error);
    if (status == PERI_OK) {
        status = open_at(control, server, (const char *)path.ptr, &error);
    }
    if (status == PERI_E_SYSTEM) {
        peri_log(PERI_LOG_WARN, "%.*s; perigee status and the like need --control PATH",
                 (int)error.len, (const char *)error.ptr);
        status = PERI_OK;
    }
    peri_buffer_deinit(&path);
    peri_buffer_deinit(&error);
    return status;
}

int peri_serve_control_open(struct peri_serve_control *control,
                            const struct peri_settings *settings, struct peri_server *server,
                            struct peri_hub *hub, const char *dir, struct peri_buffer *error) {
    const char *path = peri_settings_text(settings, PERI_SETTING_CONTROL);
    if (strcmp(path, "off") == 0) {
        return PERI_OK;
    }
    control->about = (struct peri_admin_about){
        .version = PERI_STR(PERIGEE_VERSION),
        .dir = peri_str_of(dir),
        .addresses = peri_server_addresses(server),
        .process = getpid(),
    };
    control->admin = peri_admin_new(hub, &control->about);
    if (!control->admin) {
        return PERI_E_MEMORY;
    }
    return path[0] != '\0' ? open_at(control, server, path, error) : open_default(control, server);
}

void peri_serve_control_news(const struct peri_serve_control *control,
                             const struct peri_news *news) {
    if (control->admin) {
        peri_admin_news(control->admin, news);
    }
}

void peri_serve_control_deinit(struct peri_serve_control *control) {
    peri_admin_free(control->admin);
    control->admin = NULL;
}
