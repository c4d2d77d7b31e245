// The load's command line.
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load/load.h"

enum { MOST_PIDS = 1 << 22 }; // as Linux has it: the clock of a larger one is that of another

static const char HELP[] =
    "usage: bench_load --port PORT [OPTION]...\n"
    "\n"
    "Puts load on a WebSocket server at 127.0.0.1, checks all that comes back, and prints one "
    "line\n"
    "of JSON.\n"
    "\n"
    "  --mode MODE        echo (default), broadcast (the first connection sends, every delivery\n"
    "                     counts), connect (connections come, close in order, and come again) or\n"
    "                     idle (they stay until stdin ends; a line tells when all are there)\n"
    "  --path PATH        (default: /)\n"
    "  --connections N    (default: 1); in mode connect, so many at once\n"
    "  --in-flight N      messages of each connection, or in all where they are broadcast\n"
    "                     (default: 1)\n"
    "  --size BYTES       of a message, 8 at least (default: 64)\n"
    "  --binary           binary messages in place of text\n"
    "  --separate         each frame by a write of its own; else all that are due in one\n"
    "  --deflate WHAT     offer: permessage-deflate is agreed on, what is sent is plain;\n"
    "                     send: it is compressed too\n"
    "  --tls              TLS 1.3 with AES-256, whatever certificate the server has\n"
    "  --warm S           of load before it is measured (default: 0.5)\n"
    "  --seconds S        that are measured (default: 2)\n"
    "  --count N          messages that are measured, in place of a time\n"
    "  --pid PID          the server's: CPU of that process and its children is told as cpu_us,\n"
    "                     microseconds a message\n"
    "  --core N           tells how busy that processor was; may be repeated\n";

enum {
    OPT_MODE = 256,
    OPT_PORT,
    OPT_PATH,
    OPT_CONNECTIONS,
    OPT_IN_FLIGHT,
    OPT_SIZE,
    OPT_BINARY,
    OPT_SEPARATE,
    OPT_DEFLATE,
    OPT_TLS,
    OPT_WARM,
    OPT_SECONDS,
    OPT_COUNT,
    OPT_PID,
    OPT_CORE,
    OPT_HELP,
};

static const struct option OPTIONS[] = {
    {"mode", required_argument, NULL, OPT_MODE},
    {"port", required_argument, NULL, OPT_PORT},
    {"path", required_argument, NULL, OPT_PATH},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"in-flight", required_argument, NULL, OPT_IN_FLIGHT},
    {"size", required_argument, NULL, OPT_SIZE},
    {"binary", no_argument, NULL, OPT_BINARY},
    {"separate", no_argument, NULL, OPT_SEPARATE},
    {"deflate", required_argument, NULL, OPT_DEFLATE},
    {"tls", no_argument, NULL, OPT_TLS},
    {"warm", required_argument, NULL, OPT_WARM},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"count", required_argument, NULL, OPT_COUNT},
    {"pid", required_argument, NULL, OPT_PID},
    {"core", required_argument, NULL, OPT_CORE},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static uint64_t number(const char *text, uint64_t least, uint64_t most) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value < least || value > most) {
        load_fail("\"%s\" is no number from %" PRIu64 " to %" PRIu64, text, least, most);
    }
    return value;
}

static double duration(const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 86400)) {
        load_fail("\"%s\" is no number of seconds", text);
    }
    return value;
}

/// Which of those names it is.
static unsigned one_of(const char *text, const char *const *names) {
    for (unsigned i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            return i;
        }
    }
    load_fail("there is no \"%s\": see --help", text);
}

void load_options_parse(struct load_options *options, int argc, char **argv) {
    static const char *const MODES[] = {"echo", "broadcast", "connect", "idle", NULL};
    static const char *const DEFLATES[] = {"off", "offer", "send", NULL};
    *options = (struct load_options){
        .path = "/", .connections = 1, .in_flight = 1, .size = 64, .warm_s = 0.5, .seconds = 2};
    int option;
    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        switch (option) {
        case OPT_MODE: options->mode = (enum load_mode)one_of(optarg, MODES); break;
        case OPT_PORT: options->port = (uint16_t)number(optarg, 1, 65535); break;
        case OPT_PATH: options->path = optarg; break;
        case OPT_CONNECTIONS: options->connections = (unsigned)number(optarg, 1, 1000000); break;
        case OPT_IN_FLIGHT: options->in_flight = (unsigned)number(optarg, 1, 100000); break;
        case OPT_SIZE: options->size = number(optarg, LOAD_SEQUENCE, 256 << 20); break;
        case OPT_BINARY: options->binary = true; break;
        case OPT_SEPARATE: options->separate = true; break;
        case OPT_DEFLATE: options->deflate = (enum load_deflate)one_of(optarg, DEFLATES); break;
        case OPT_TLS: options->tls = true; break;
        case OPT_WARM: options->warm_s = duration(optarg); break;
        case OPT_SECONDS: options->seconds = duration(optarg); break;
        case OPT_COUNT: options->count = number(optarg, 1, UINT64_MAX / 2); break;
        case OPT_PID: options->pid = (pid_t)number(optarg, 1, MOST_PIDS); break;
        case OPT_CORE:
            if (options->core_count == LOAD_CORES) {
                load_fail("of processors it looks at %d at most", LOAD_CORES);
            }
            options->cores[options->core_count++] = (unsigned)number(optarg, 0, 1 << 20);
            break;
        case OPT_HELP: fputs(HELP, stdout); exit(0);
        default: exit(2);
        }
    }
    if (optind < argc || options->port == 0) {
        fputs(HELP, stderr);
        exit(2);
    }
}
