// perigee serve: settings, scripts, hub and server put together, and what is said once it runs.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/notes.h"
#include "base/alloc.h"
#include "base/log.h"
#include "cli/builtin.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/serve_control.h"
#include "cli/sources.h"
#include "version.h"

/// Served when none is named.
#define DEFAULT_DIR "scripts"

/// What a running host is made of. Zero-initialised owns nothing.
struct whole {
    const char *dir;
    struct peri_settings settings;
    struct peri_hub *hub;
    struct peri_host *host;
    struct peri_server *server;
    struct peri_serve_control control;
    struct peri_router *router;
    bool is_dev;                     ///< pages are told what became of a save
    struct peri_asset client[2];     ///< for pages: /perigee.js, and the notes of development
    struct peri_buffer client_text;  ///< of the first, in development
    struct peri_buffer public_dir;   ///< NUL-terminated
    struct peri_endpoint *endpoints; ///< as the settings have them
    struct peri_ip_range *proxies;   ///< that are trusted, likewise
    struct peri_tls_pair *pairs;     ///< the same
    struct peri_buffer error;        ///< one line for the user
};

static void free_whole(struct whole *whole) {
    peri_host_free(whole->host);
    peri_hub_free(whole->hub);
    peri_server_free(whole->server); // the others use its ports until here
    peri_serve_control_deinit(&whole->control);
    peri_router_free(whole->router);
    peri_free(whole->endpoints);
    peri_free(whole->proxies);
    peri_free(whole->pairs);
    peri_settings_deinit(&whole->settings);
    peri_buffer_deinit(&whole->client_text);
    peri_buffer_deinit(&whole->public_dir);
    peri_buffer_deinit(&whole->error);
}

static void cut_waits(void *arg) {
    const struct whole *whole = arg;
    peri_host_cut_waits(whole->host);
}

static void hear_news(void *arg, const struct peri_news *news) {
    const struct whole *whole = arg;
    peri_serve_control_news(&whole->control, news);
    struct peri_buffer event = {0};
    if (whole->is_dev && peri_notes_news(news, &event) == PERI_OK) {
        peri_server_publish(whole->server, peri_buffer_str(&event));
    }
    peri_buffer_deinit(&event);
}

static int greet_page(void *self, struct peri_buffer *out) {
    const struct whole *whole = self;
    return peri_notes_state(whole->hub, out);
}

/// What pages get from the program itself. In production perigee.js knows nothing of notes.
/// @param count how many of whole->client there are
/// @return PERI_OK or PERI_E_MEMORY
static int prepare_client(struct whole *whole, size_t *count) {
    const struct peri_settings *settings = &whole->settings;
    struct peri_str client = peri_builtin("client/perigee.js");
    whole->is_dev = peri_settings_is_set(settings, PERI_SETTING_DEV)
                        ? peri_settings_is_on(settings, PERI_SETTING_DEV)
                        : isatty(STDOUT_FILENO) == 1;
    int status = PERI_OK;
    if (whole->is_dev) {
        status = peri_buffer_append_str(&whole->client_text, client);
    }
    if (whole->is_dev && status == PERI_OK) {
        status = peri_buffer_append_str(
            &whole->client_text,
            PERI_STR("\nimport(\"./perigee/dev.js\").catch(console.error); // serve --dev\n"));
        client = peri_buffer_str(&whole->client_text);
    }
    whole->client[0] = (struct peri_asset){PERI_STR("/perigee.js"), client};
    whole->client[1] =
        (struct peri_asset){PERI_STR("/perigee/dev.js"), peri_builtin("client/perigee-dev.js")};
    *count = whole->is_dev ? 2 : 1;
    return status;
}

static int find_public(struct whole *whole) {
    int rc = peri_buffer_printf(&whole->public_dir, "%s/public", whole->dir);
    return rc == PERI_OK ? peri_buffer_append(&whole->public_dir, "", 1) : rc;
}

static void set_log(const struct peri_settings *settings) {
    static const char *const levels[] = {"debug", "info", "warn", "error"}; // as in the enum
    const char *level = peri_settings_text(settings, PERI_SETTING_LOG_LEVEL);
    for (int i = 0; i < (int)(sizeof levels / sizeof levels[0]); i++) {
        if (strcmp(level, levels[i]) == 0) {
            peri_log_set_level((enum peri_log_level)i);
        }
    }
    const char *format = peri_settings_text(settings, PERI_SETTING_LOG_FORMAT);
    enum peri_log_format suits = peri_log_format_for(STDERR_FILENO);
    peri_log_set_format(strcmp(format, "json") == 0     ? PERI_LOG_JSON
                        : strcmp(format, "logfmt") == 0 ? PERI_LOG_LOGFMT
                        : strcmp(format, "auto") == 0   ? suits
                        : suits == PERI_LOG_COLOURED    ? suits // at a terminal, short is coloured
                                                        : PERI_LOG_SHORT);
}

/// @return how many there are in whole->endpoints; 0 without memory
static size_t list_endpoints(struct whole *whole) {
    const struct peri_settings *settings = &whole->settings;
    size_t count = 0;
    const char *item = NULL;
    whole->endpoints =
        peri_calloc(settings->values[PERI_SETTING_LISTEN].count + 1, sizeof *whole->endpoints);
    if (!whole->endpoints) {
        return 0;
    }
    if (peri_settings_has_host(settings)) {
        struct peri_endpoint *endpoint = &whole->endpoints[count++];
        (void)snprintf(endpoint->host, sizeof endpoint->host, "%s",
                       peri_settings_text(settings, PERI_SETTING_HOST));
        endpoint->port =
            (uint16_t)strtoul(peri_settings_text(settings, PERI_SETTING_PORT), NULL, 10);
    }
    while ((item = peri_settings_next(settings, PERI_SETTING_LISTEN, item))) {
        count += peri_endpoint_read(&whole->endpoints[count], item); // true: it has been checked
    }
    return count;
}

/// @return PERI_OK or PERI_E_MEMORY
static int list_proxies(struct whole *whole, struct peri_ip_set *trusted) {
    const struct peri_settings *settings = &whole->settings;
    const char *item = NULL;
    size_t count = 0;
    whole->proxies = peri_calloc(settings->values[PERI_SETTING_TRUSTED_PROXIES].count + 1,
                                 sizeof *whole->proxies);
    if (!whole->proxies) {
        return PERI_E_MEMORY;
    }
    while ((item = peri_settings_next(settings, PERI_SETTING_TRUSTED_PROXIES, item))) {
        count += peri_ip_range_read(&whole->proxies[count], peri_str_of(item)); // it is checked
    }
    *trusted = (struct peri_ip_set){whole->proxies, count};
    return PERI_OK;
}

/// Fills whole->pairs. @return PERI_OK, PERI_E_INVALID, PERI_E_MEMORY
static int pair_up(struct whole *whole, size_t *count) {
    const struct peri_settings *settings = &whole->settings;
    const struct peri_value *certificates = &settings->values[PERI_SETTING_TLS_CERT];
    const struct peri_value *keys = &settings->values[PERI_SETTING_TLS_KEY];
    const char *certificate = NULL, *key = NULL;
    if (certificates->count != keys->count) {
        return PERI_TELL(&whole->error,
                         "tls_cert and tls_key go in pairs: there are %zu and %zu files",
                         certificates->count, keys->count);
    }
    whole->pairs = peri_calloc(keys->count + 1, sizeof *whole->pairs);
    if (!whole->pairs) {
        return PERI_E_MEMORY;
    }
    *count = 0;
    while ((certificate = peri_settings_next(settings, PERI_SETTING_TLS_CERT, certificate))) {
        key = peri_settings_next(settings, PERI_SETTING_TLS_KEY, key);
        whole->pairs[(*count)++] = (struct peri_tls_pair){certificate, key};
    }
    return PERI_OK;
}

static int watch(struct whole *whole) {
    int status = peri_host_watch(whole->host);
    if (status != PERI_OK) {
        PERI_IGNORE(peri_buffer_append_str( // if it can't be told, it is "out of memory"
            &whole->error, PERI_STR("no thread can be started for the watchdog")));
    }
    return status;
}

/// The hub, the scripts' host and the files of settings: nothing listens, and no script runs.
static int configure(struct whole *whole) {
    struct peri_limits *limits = &whole->settings.limits;
    whole->hub = peri_hub_new(0, limits);
    whole->host = whole->hub ? peri_host_new(whole->dir, limits, whole->hub) : NULL;
    if (!whole->host) {
        return PERI_E_MEMORY;
    }
    set_log(&whole->settings); // a file of settings may print
    int status = watch(whole); // and run for ever
    if (status == PERI_OK) {
        status = peri_settings_read_files(&whole->settings, whole->host, &whole->error);
    }
    set_log(&whole->settings);
    if (peri_settings_is_on(&whole->settings, PERI_SETTING_TRUSTED)) {
        peri_host_trust(whole->host);
    }
    return status == PERI_OK ? watch(whole) : status; // with the limits that those have set
}

/// Everything from there to the loop.
static int assemble(struct whole *whole) {
    size_t endpoint_count = list_endpoints(whole), pair_count = 0, asset_count = 0;
    struct peri_ip_set trusted = {0};
    int status = pair_up(whole, &pair_count);
    if (status != PERI_OK) {
        return status;
    }
    whole->router = peri_router_new();
    if (!whole->router || endpoint_count == 0 || list_proxies(whole, &trusted) != PERI_OK ||
        find_public(whole) != PERI_OK || prepare_client(whole, &asset_count) != PERI_OK) {
        return PERI_E_MEMORY;
    }
    const struct peri_server_options server = {
        .endpoints = whole->endpoints,
        .endpoint_count = endpoint_count,
        .trusted_proxies = trusted,
        .tls_pairs = whole->pairs,
        .tls_pair_count = pair_count,
        .limits = &whole->settings.limits,
        .router = whole->router,
        .public_dir = (const char *)whole->public_dir.ptr,
        .watch_dir = peri_settings_is_on(&whole->settings, PERI_SETTING_WATCH) ? whole->dir : NULL,
        .assets = whole->client,
        .asset_count = asset_count,
        .feed = {whole->is_dev ? PERI_STR("/perigee/dev") : PERI_STR(""), whole, greet_page},
        .hub = whole->hub,
        .cut_waits = cut_waits,
        .news = hear_news,
        .arg = whole,
    };
    whole->server = peri_server_new(&server);
    if (!whole->server) {
        return PERI_E_MEMORY;
    }
    peri_hub_set_policy(whole->hub, peri_host_policy(whole->host));
    // Before the scripts run: where the port is in use, they have not done anything yet.
    status = peri_server_listen(whole->server, &whole->error);
    if (status == PERI_OK) {
        status = peri_serve_control_open(&whole->control, &whole->settings, whole->server,
                                         whole->hub, whole->dir, &whole->error);
    }
    if (status == PERI_OK) {
        status = peri_host_load(whole->host, whole->router, &whole->error);
    }
    if (status == PERI_OK && peri_server_start(whole->server) != PERI_OK) {
        peri_buffer_clear(&whole->error, 0);
        PERI_IGNORE(peri_buffer_append_str( // if it can't be told, it is "out of memory"
            &whole->error, PERI_STR("SIGINT and SIGTERM can't be watched")));
        status = PERI_E_SYSTEM;
    }
    return status;
}

/// Names of files may hold anything; a terminal should not.
static void print_text(struct peri_str text, size_t width) {
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        (void)putchar(c < 0x20 || c == 0x7f ? '?' : c);
    }
    for (size_t i = text.len; i < width; i++) {
        (void)putchar(' ');
    }
}

static void announce(const struct whole *whole) {
    struct peri_str lines = peri_server_addresses(whole->server);
    while (lines.len > 0) {
        const char *end = memchr(lines.ptr, '\n', lines.len);
        size_t n = end ? (size_t)(end - lines.ptr) : lines.len; // within the lines
        (void)fputs("listening on ", stdout);
        print_text(peri_str(lines.ptr, n), 0);
        (void)putchar('\n');
        lines = end ? peri_str(end + 1, lines.len - n - 1) : peri_str("", 0);
    }
    struct peri_route route;
    size_t width = 0, routes = 0;
    for (size_t cursor = 0; peri_host_next_route(whole->host, &cursor, &route); routes++) {
        width = route.pattern.len > width ? route.pattern.len : width;
    }
    for (size_t cursor = 0; peri_host_next_route(whole->host, &cursor, &route);) {
        (void)fputs("  ", stdout);
        print_text(route.pattern, width);
        (void)fputs("  ", stdout);
        print_text(route.file, 0);
        (void)fputs(route.loaded ? "\n" : "  not loaded, answers 503: see the log\n", stdout);
    }
    if (routes == 0) {
        (void)printf("  no script is in %s\n", whole->dir);
    }
    (void)fflush(stdout);
}

static int print_config(struct whole *whole) {
    struct peri_buffer text = {0};
    int status = peri_settings_print(&whole->settings, whole->host, &text);
    if (status == PERI_OK) {
        (void)fwrite(text.ptr, 1, text.len, stdout);
    }
    peri_buffer_deinit(&text);
    return status;
}

static int run(struct whole *whole) {
    int status = assemble(whole);
    if (status == PERI_OK) {
        announce(whole); // a signal that answers it must find us ready
        peri_server_run(whole->server);
    }
    return status;
}

static enum peri_exit fail(const struct whole *whole, enum peri_exit status) {
    if (whole->error.len > 0) {
        peri_complain("%.*s", (int)whole->error.len, (const char *)whole->error.ptr);
    } else {
        peri_complain("out of memory");
    }
    return status;
}

static bool is_folder(const char *path) {
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

/// The scripts that were installed with the program, found from where it lies.
/// @return false where there are none, as beside a program in its build folder
static bool find_samples(char path[static PATH_MAX]) {
    char program[PATH_MAX], beside[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n < 0 ? 0 : n] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash) {
        return false;
    }
    *slash = '\0';
    n = snprintf(beside, sizeof beside, "%s/%s", program, PERIGEE_SAMPLES);
    return n < (ssize_t)sizeof beside && realpath(beside, path) && is_folder(path);
}

static void complain_of_no_folder(const char *dir) {
    char samples[PATH_MAX];
    if (strcmp(dir, DEFAULT_DIR) != 0) {
        peri_complain("there is no folder \"%s\": name one, as in perigee serve DIR", dir);
    } else if (find_samples(samples)) {
        peri_complain(
            "there is no folder \"%s\" here: name one, as in perigee serve DIR; begin one "
            "with perigee new NAME; or try the samples: perigee serve %s",
            dir, samples);
    } else {
        peri_complain("there is no folder \"%s\" here: name one, as in perigee serve DIR, or begin "
                      "one with perigee new NAME",
                      dir);
    }
}

static enum peri_exit serve(struct whole *whole, const struct peri_serve_options *options) {
    if (peri_settings_read_environment(&whole->settings, environ, &whole->error) != PERI_OK) {
        return fail(whole, PERI_EXIT_USAGE);
    }
    whole->dir = options->dir ? options->dir : DEFAULT_DIR;
    if (!is_folder(whole->dir)) {
        complain_of_no_folder(whole->dir);
        return PERI_EXIT_FAILED;
    }
    int status = configure(whole);
    if (status == PERI_OK) {
        status = options->print_config ? print_config(whole) : run(whole);
    }
    return status == PERI_OK ? PERI_EXIT_DONE : fail(whole, PERI_EXIT_FAILED);
}

enum peri_exit peri_command_serve(int argc, char **argv) {
    struct whole whole = {0};
    struct peri_serve_options options = {0};
    enum peri_exit status = PERI_EXIT_USAGE;
    if (peri_settings_init(&whole.settings) != PERI_OK) {
        return fail(&whole, PERI_EXIT_FAILED);
    }
    int read = peri_serve_options_read(&options, &whole.settings, argc, argv);
    if (read == PERI_OK && options.help) {
        peri_serve_help();
        status = PERI_EXIT_DONE;
    } else if (read == PERI_OK) {
        peri_log_set_output(STDERR_FILENO);
        status = serve(&whole, &options);
        peri_log_end();
    }
    free_whole(&whole);
    return status;
}
