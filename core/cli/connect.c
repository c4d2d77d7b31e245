// perigee connect: what the command line asks for.
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/connect.h"
#include "proto/response.h"
#include "proto/text.h"

static void print_help(void) {
    (void)fputs(
        "usage: perigee connect URL [--header 'NAME: VALUE']... [--protocol NAME]...\n"
        "                       [--origin ORIGIN] [--binary | --echo] [--ping SECONDS]\n"
        "                       [--count N] [--wait SECONDS|forever]\n"
        "                       [--ca FILE | --insecure] [--no-deflate] [--verbose]\n"
        "\n"
        "A WebSocket client. URL is ws://HOST[:PORT][/PATH], or wss:// for TLS; http:// and\n"
        "https:// mean the same. On a terminal, each line that you type is a message. Ctrl-D\n"
        "ends, Ctrl-C too, a second one at once.\n"
        "In a pipe, each line of stdin is a message, and each message a line on stdout.\n"
        "\n"
        "  --header 'NAME: VALUE'  sent with the opening request; may be given again\n"
        "  --protocol NAME         offers a subprotocol; may be given again, the best first\n"
        "  --origin ORIGIN         says which page is asking, as a browser would\n"
        "  --binary                lines go as binary messages\n"
        "  --echo                  sends each message back as it came, until the other side "
        "closes;\n"
        "                          reads no stdin, and shows messages only on a terminal\n"
        "  --ping SECONDS          sends a ping that often; no answer by the next: the end\n"
        "  --count N               ends after N messages; the end of stdin does not end it\n"
        "  --wait SECONDS          listens that long after the end of stdin (default: 0, or with\n"
        "                          --count forever)\n"
        "  --ca FILE               trusts those whose certificates are in there, not the system's\n"
        "  --insecure              trusts anybody, so that TLS protects from listeners only\n"
        "  --no-deflate            offers no compression\n"
        "  --verbose               says what happens where stderr is no terminal too, and on "
        "opening\n"
        "                          all that was agreed on\n"
        "\n"
        "exit status: 0 when it ended as it should: by you, or by the other side with 1000, 1001 "
        "or\n"
        "no code; 1 for anything else; 2 for wrong usage.\n",
        stdout);
}

static bool read_seconds(const char *name, const char *text, int64_t *ms) {
    char *end;
    double seconds = strtod(text, &end); // locale: LC_NUMERIC is C's
    if (!peri_text_is_digit(text[0]) || *end != '\0' || !isfinite(seconds) || seconds > 1e9) {
        peri_complain("%s is a number of seconds, not \"%s\"", name, text);
        return false;
    }
    *ms = (int64_t)(seconds * 1000); // at most 1e12
    return true;
}

static bool read_header(struct connect_options *options, const char *text) {
    const char *colon = strchr(text, ':');
    struct peri_str name = peri_str(text, colon ? (size_t)(colon - text) : 0);
    struct peri_str value = peri_text_trim(peri_str_of(colon ? colon + 1 : ""));
    if (!colon || !peri_field_is_valid(name, value)) {
        peri_complain("--header is 'NAME: VALUE', not \"%s\"", text);
        return false;
    }
    if (!peri_opening_may_add(name)) {
        peri_complain(
            "--header can't set %.*s, which belongs to the handshake%s", (int)name.len, name.ptr,
            peri_text_equal(name, PERI_STR("Sec-WebSocket-Protocol")) ? ": use --protocol" : "");
        return false;
    }
    options->fields[options->field_count++] = (struct peri_field){name, value};
    return true;
}

static bool read_protocol(struct connect_options *options, const char *text) {
    struct peri_str name = peri_str_of(text);
    for (size_t i = 0; i < options->protocol_count; i++) {
        if (peri_str_equal(options->protocols[i], name)) {
            peri_complain("--protocol %s is given twice", text);
            return false;
        }
    }
    if (!peri_text_is_token(name)) {
        peri_complain("--protocol is one name, not \"%s\"", text);
        return false;
    }
    options->protocols[options->protocol_count++] = name;
    return true;
}

static bool read_origin(struct connect_options *options, const char *text) {
    struct peri_field field = {PERI_STR("Origin"), peri_str_of(text)};
    if (field.value.len == 0 || !peri_field_is_valid(field.name, field.value)) {
        peri_complain("--origin is as in https://example.org, not \"%s\"", text);
        return false;
    }
    options->fields[options->field_count++] = field;
    return true;
}

static bool read_wait(struct connect_options *options, const char *text) {
    options->has_wait = true;
    options->wait_ms = -1;
    return strcmp(text, "forever") == 0 || read_seconds("--wait", text, &options->wait_ms);
}

static bool read_ping(struct connect_options *options, const char *text) {
    if (!read_seconds("--ping", text, &options->ping_ms)) {
        return false;
    }
    if (options->ping_ms < 10) {
        peri_complain("--ping is 0.01 seconds or more");
        return false;
    }
    return true;
}

static bool read_ca(struct connect_options *options, const char *text) {
    options->trust.ca = text;
    return true;
}

static bool read_count(struct connect_options *options, const char *text) {
    char *end;
    unsigned long long count = strtoull(text, &end, 10);
    if (!peri_text_is_digit(text[0]) || *end != '\0' || count == 0) {
        peri_complain("--count is a number from 1, not \"%s\"", text);
        return false;
    }
    options->count = count;
    return true;
}

/// Takes the option at argv[*at] that has a value.
/// @return 1; 0: another; -1: it was wrong, which was said
static int read_valued(struct connect_options *options, int argc, char **argv, int *at) {
    static const struct {
        const char *name;
        bool (*read)(struct connect_options *options, const char *text);
    } valued[] = {
        {"--header", read_header}, {"--protocol", read_protocol}, {"--origin", read_origin},
        {"--wait", read_wait},     {"--ping", read_ping},         {"--count", read_count},
        {"--ca", read_ca},
    };
    for (size_t i = 0; i < sizeof valued / sizeof valued[0]; i++) {
        const char *value = NULL;
        int found = peri_option(argc, argv, at, valued[i].name, &value);
        if (found != 0) {
            return found == 1 && valued[i].read(options, value) ? 1 : -1;
        }
    }
    return 0;
}

/// Takes an option that has no value. @return false: it is another
static bool read_switch(struct connect_options *options, const char *text) {
    const struct {
        const char *name;
        bool *on;
    } switches[] = {
        {"--binary", &options->binary},          {"--echo", &options->echo},
        {"--insecure", &options->trust.anybody}, {"--no-deflate", &options->no_deflate},
        {"--verbose", &options->verbose},
    };
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        if (strcmp(text, switches[i].name) == 0) {
            *switches[i].on = true;
            return true;
        }
    }
    return false;
}

/// @return PERI_EXIT_DONE, or PERI_EXIT_USAGE after saying what is wrong
static enum peri_exit read_options(struct connect_options *options, bool *help, int argc,
                                   char **argv) {
    for (int i = 0; i < argc; i++) {
        int found = read_valued(options, argc, argv, &i);
        if (found < 0) {
            return PERI_EXIT_USAGE;
        }
        if (found) {
            continue;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *help = true;
        } else if (read_switch(options, argv[i])) {
            continue;
        } else if (argv[i][0] == '-') {
            peri_complain("connect has no option \"%s\": see perigee connect --help", argv[i]);
            return PERI_EXIT_USAGE;
        } else if (options->url) {
            peri_complain("one URL is connected to, not both \"%s\" and \"%s\"", options->url,
                          argv[i]);
            return PERI_EXIT_USAGE;
        } else {
            options->url = argv[i];
        }
    }
    if (!options->url && !*help) {
        peri_complain("where to? As in perigee connect ws://localhost:8000/echo");
        return PERI_EXIT_USAGE;
    }
    if (options->trust.anybody && options->trust.ca) {
        peri_complain("either --ca or --insecure: with the latter nobody's certificate is checked");
        return PERI_EXIT_USAGE;
    }
    if (options->echo && options->binary) {
        peri_complain("either --echo or --binary: what is sent back is of the kind that came");
        return PERI_EXIT_USAGE;
    }
    if (!options->has_wait && (options->count > 0 || options->echo)) {
        options->wait_ms = -1;
    }
    return PERI_EXIT_DONE;
}

static void look_around(struct connect_options *options) {
    const char *term = getenv("TERM");
    const char *no_colour = getenv("NO_COLOR");
    bool able = term && term[0] != '\0' && strcmp(term, "dumb") != 0;
    options->shows = isatty(STDOUT_FILENO);
    options->tells = options->verbose || isatty(STDERR_FILENO);
    options->is_terminal = options->shows && isatty(STDIN_FILENO);
    options->edits = options->is_terminal && able && !options->echo;
    options->colour = options->shows && able && !(no_colour && no_colour[0] != '\0');
}

/// A socket must not become descriptor 0, 1 or 2.
static bool hold_standard_descriptors(void) {
    for (;;) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0 || fd > STDERR_FILENO) {
            return fd >= 0 && close(fd) == 0;
        }
    }
}

static enum peri_exit dial_and_talk(const struct connect_options *options) {
    struct connect_opened opened = {.wire = {.fd = -1}};
    enum peri_exit status = connect_dial(options, &opened);
    if (status == PERI_EXIT_DONE) {
        status = connect_talk(options, &opened);
    }
    peri_buffer_deinit(&opened.greeting);
    return status;
}

enum peri_exit peri_command_connect(int argc, char **argv) {
    struct connect_options options = {0};
    bool help = false;
    enum peri_exit status = PERI_EXIT_FAILED;
    options.fields = peri_calloc((size_t)argc + 1, sizeof *options.fields);
    options.protocols = peri_calloc((size_t)argc + 1, sizeof *options.protocols);
    if (!options.fields || !options.protocols) {
        peri_complain("out of memory");
        goto done;
    }
    status = read_options(&options, &help, argc, argv);
    if (status == PERI_EXIT_DONE && help) {
        print_help();
    } else if (status == PERI_EXIT_DONE) {
        // What goes over the wire is UTF-8, whatever the user's language.
        if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) {
            (void)setlocale(LC_CTYPE, "C.UTF-8");
        }
        look_around(&options);
        (void)signal(SIGPIPE, SIG_IGN);
        if (!hold_standard_descriptors()) {
            peri_complain("/dev/null can't be opened");
            status = PERI_EXIT_FAILED;
        } else {
            status = dial_and_talk(&options);
        }
    }
done:
    peri_free(options.fields);
    peri_free(options.protocols);
    return status;
}
