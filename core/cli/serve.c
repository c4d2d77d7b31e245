// perigee serve: limits, scripts, hub and server put together, and what is said once it runs.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cli/command.h"
#include "net/server.h"
#include "script/host.h"

struct options {
    const char *dir;
    struct peri_endpoint *endpoints; ///< the first is that of --host and --port
    size_t endpoint_count;
    bool host_or_port; ///< was given
    int limit_count;
    const char **limits; ///< each NAME=VALUE, in the order given
    enum peri_log_format log_format;
    bool help;
};

/// What a running host is made of. Zero-initialised owns nothing.
struct whole {
    struct peri_limits limits;
    struct peri_hub *hub;
    struct peri_host *host;
    struct peri_server *server;
    struct peri_router *router;
    struct peri_buffer public_dir; ///< NUL-terminated
    struct peri_buffer error;      ///< one line for the user
};

static void print_help(void) {
    (void)fputs(
        "usage: perigee serve [DIR] [--host HOST] [--port PORT] [--listen WHERE]...\n"
        "                     [--limit NAME=VALUE]...\n"
        "                     [--log-format FORMAT] [--log-level LEVEL]\n"
        "\n"
        "Serves the scripts in DIR (default: scripts), and the files in DIR/public.\n"
        "\n"
        "  --host HOST         address or name to listen on (default: localhost, which is\n"
        "                      127.0.0.1 and ::1; 0.0.0.0 or :: for every interface)\n"
        "  --port PORT         default: 8000; 0: one that the system picks\n"
        "  --listen WHERE      HOST:PORT or unix:PATH, in place of the two above, or beside them\n"
        "                      if they are given; sockets of a service manager (LISTEN_FDS) are\n"
        "                      taken in place of all\n"
        "  --limit NAME=VALUE  sets a limit; also in DIR/perigee.lua, over which this wins\n"
        "  --log-format FORMAT logfmt, short or json (default: short at a terminal, else\n"
        "                      logfmt); the log is on stderr\n"
        "  --log-level LEVEL   debug, info, warn or error; what is below is left out\n"
        "                      (default: info)\n"
        "\n"
        "limits (times in seconds; sizes in bytes, or as 64 KiB, 1 MiB, 1 GiB):\n",
        stdout);
    for (size_t i = 0; i < peri_limit_spec_count; i++) {
        const struct peri_limit_spec *spec = &peri_limit_specs[i];
        (void)printf("  %-18s  %-8s  %s\n", spec->name, spec->initial, spec->what);
    }
}

static bool read_port(const char *text, uint16_t *port) {
    char *end;
    long number = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || number > UINT16_MAX) {
        peri_complain("--port is a number from 0 to 65535, not \"%s\"", text);
        return false;
    }
    *port = (uint16_t)number;
    return true;
}

/// @return 1: it was one of the log's options; 0: another; -1: it was wrong, which was said
static int read_log_option(struct options *options, int argc, char **argv, int *at) {
    static const char *const formats[] = {"logfmt", "json", "short", NULL}; // as in the enums
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    const char *value = NULL, *name = "--log-format";
    const char *const *names = formats;
    int found = peri_option(argc, argv, at, name, &value);
    if (found == 0) {
        name = "--log-level";
        names = levels;
        found = peri_option(argc, argv, at, name, &value);
    }
    if (found != 1) {
        return found;
    }
    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) != 0) {
            continue;
        }
        if (names == levels) {
            peri_log_set_level((enum peri_log_level)i);
        } else if (i != PERI_LOG_SHORT || options->log_format != PERI_LOG_COLOURED) {
            options->log_format = (enum peri_log_format)i; // at a terminal, short is coloured
        }
        return 1;
    }
    peri_complain("%s is one of those in perigee serve --help, not \"%s\"", name, value);
    return -1;
}

/// @return 1: it was an option of where to listen; 0: another; -1: it was wrong, which was said
static int read_listen_option(struct options *options, int argc, char **argv, int *at) {
    struct peri_endpoint *endpoint = &options->endpoints[0];
    const char *value = NULL;
    int found = peri_option(argc, argv, at, "--host", &value);
    if (found == 1) {
        if (value[0] == '\0' || strlen(value) >= sizeof endpoint->host) {
            peri_complain("--host is an address or a name, not \"%.80s\"", value);
            return -1;
        }
        (void)snprintf(endpoint->host, sizeof endpoint->host, "%s", value);
        options->host_or_port = true;
    }
    if (found == 0) {
        found = peri_option(argc, argv, at, "--port", &value);
        if (found == 1 && !read_port(value, &endpoint->port)) {
            return -1;
        }
        options->host_or_port = options->host_or_port || found == 1;
    }
    if (found == 0) {
        found = peri_option(argc, argv, at, "--listen", &value);
        if (found == 1 &&
            !peri_endpoint_read(&options->endpoints[options->endpoint_count], value)) {
            peri_complain("--listen is HOST:PORT, [IPV6]:PORT or unix:PATH, not \"%s\"", value);
            return -1;
        }
        options->endpoint_count += found == 1;
    }
    return found;
}

/// @return PERI_EXIT_DONE, or PERI_EXIT_USAGE after saying what is wrong
static enum peri_exit read_options(struct options *options, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        const char *value = NULL;
        int is_limit = 0;
        int is_log = read_log_option(options, argc, argv, &i);
        if (is_log < 0) {
            return PERI_EXIT_USAGE;
        }
        if (is_log) {
            continue;
        }
        int is_listen = read_listen_option(options, argc, argv, &i);
        if (is_listen == 0) {
            is_limit = peri_option(argc, argv, &i, "--limit", &value);
        }
        if (is_listen < 0 || is_limit < 0) {
            return PERI_EXIT_USAGE;
        }
        if (is_listen) {
            continue;
        }
        if (is_limit) {
            options->limits[options->limit_count++] = value;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options->help = true;
        } else if (argv[i][0] == '-') {
            peri_complain("serve has no option \"%s\": see perigee serve --help", argv[i]);
            return PERI_EXIT_USAGE;
        } else if (options->dir) {
            peri_complain("one folder is served, not both \"%s\" and \"%s\"", options->dir,
                          argv[i]);
            return PERI_EXIT_USAGE;
        } else {
            options->dir = argv[i];
        }
    }
    return PERI_EXIT_DONE;
}

static int set_limits(struct peri_limits *limits, const struct options *options,
                      struct peri_buffer *error) {
    for (int i = 0; i < options->limit_count; i++) {
        const char *text = options->limits[i];
        const char *equals = strchr(text, '=');
        if (!equals) {
            int rc = peri_buffer_printf(error, "--limit is NAME=VALUE, not \"%s\"", text);
            return rc == PERI_OK ? PERI_E_INVALID : rc;
        }
        int rc = peri_limits_set(limits, peri_str(text, (size_t)(equals - text)),
                                 peri_str_of(equals + 1), error);
        if (rc != PERI_OK) {
            return rc;
        }
    }
    return PERI_OK;
}

static void free_whole(struct whole *whole) {
    peri_host_free(whole->host);
    peri_hub_free(whole->hub);
    peri_server_free(whole->server); // the others use its ports until here
    peri_router_free(whole->router);
    peri_buffer_deinit(&whole->public_dir);
    peri_buffer_deinit(&whole->error);
}

static void cut_waits(void *arg) {
    peri_host_cut_waits(arg);
}

static int find_public(struct whole *whole, const char *dir) {
    int rc = peri_buffer_printf(&whole->public_dir, "%s/public", dir);
    return rc == PERI_OK ? peri_buffer_append(&whole->public_dir, "", 1) : rc;
}

/// Everything up to the loop.
static int assemble(struct whole *whole, const struct options *options) {
    whole->hub = peri_hub_new(0, &whole->limits);
    whole->router = peri_router_new();
    whole->host = whole->hub ? peri_host_new(options->dir, &whole->limits, whole->hub) : NULL;
    if (!whole->router || !whole->host || find_public(whole, options->dir) != PERI_OK) {
        return PERI_E_MEMORY;
    }
    int rc = peri_host_configure(whole->host, &whole->limits, &whole->error);
    if (rc == PERI_OK) {
        rc = set_limits(&whole->limits, options, &whole->error);
    }
    if (rc != PERI_OK) {
        return rc;
    }
    bool other = options->endpoint_count > 1 && !options->host_or_port;
    const struct peri_server_options server = {
        .endpoints = options->endpoints + other,
        .endpoint_count = options->endpoint_count - other,
        .limits = &whole->limits,
        .router = whole->router,
        .public_dir = (const char *)whole->public_dir.ptr,
        .hub = whole->hub,
        .cut_waits = cut_waits,
        .arg = whole->host,
    };
    whole->server = peri_server_new(&server);
    if (!whole->server) {
        return PERI_E_MEMORY;
    }
    peri_hub_set_policy(whole->hub, peri_host_policy(whole->host));
    // Before the scripts run: where the port is in use, they have not done anything yet.
    rc = peri_server_listen(whole->server, &whole->error);
    return rc == PERI_OK ? peri_host_load(whole->host, whole->router, &whole->error) : rc;
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

static void announce(const struct whole *whole, const struct options *options) {
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
        (void)printf("  no script is in %s\n", options->dir);
    }
    (void)fflush(stdout);
}

static enum peri_exit serve(const struct options *options) {
    struct whole whole = {0};
    struct stat stat_;
    enum peri_exit status = PERI_EXIT_FAILED;
    int rc;
    peri_limits_init(&whole.limits);
    // Once more after perigee.lua, over which these win; a wrong one is told first.
    if (set_limits(&whole.limits, options, &whole.error) != PERI_OK) {
        peri_complain("%.*s", (int)whole.error.len, (const char *)whole.error.ptr);
        status = PERI_EXIT_USAGE;
        goto done;
    }
    peri_limits_init(&whole.limits);
    if (stat(options->dir, &stat_) < 0 || !S_ISDIR(stat_.st_mode)) {
        peri_complain("there is no folder \"%s\": name one, as in perigee serve DIR", options->dir);
        goto done;
    }
    rc = assemble(&whole, options);
    if (rc != PERI_OK) {
        if (whole.error.len > 0) {
            peri_complain("%.*s", (int)whole.error.len, (const char *)whole.error.ptr);
        } else {
            peri_complain("out of memory");
        }
        goto done;
    }
    if (peri_server_start(whole.server) != PERI_OK) {
        peri_complain("SIGINT and SIGTERM can't be watched");
        goto done;
    }
    announce(&whole, options); // a signal that answers it must find us ready
    peri_server_run(whole.server);
    status = PERI_EXIT_DONE;
done:
    free_whole(&whole);
    return status;
}

enum peri_exit peri_command_serve(int argc, char **argv) {
    struct options options = {
        .log_format = peri_log_format_for(STDERR_FILENO),
    };
    options.limits = peri_calloc((size_t)argc + 1, sizeof *options.limits);
    options.endpoints = peri_calloc((size_t)argc + 1, sizeof *options.endpoints);
    enum peri_exit status = PERI_EXIT_FAILED;
    if (!options.limits || !options.endpoints) {
        peri_complain("out of memory");
        goto done;
    }
    options.endpoints[options.endpoint_count++] =
        (struct peri_endpoint){.host = "localhost", .port = 8000};
    status = read_options(&options, argc, argv);
    if (status == PERI_EXIT_DONE && options.help) {
        print_help();
    } else if (status == PERI_EXIT_DONE) {
        options.dir = options.dir ? options.dir : "scripts";
        peri_log_set_format(options.log_format);
        peri_log_set_output(STDERR_FILENO);
        status = serve(&options);
        peri_log_end();
    }
done:
    peri_free(options.endpoints);
    peri_free(options.limits);
    return status;
}
