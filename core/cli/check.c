// `perigee check [DIR]`: what is wrong in a folder of scripts, for a person, an editor or CI.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_line.h"
#include "cli/command.h"
#include "cli/sources.h"
#include "script/check.h"

enum format { FORMAT_TEXT, FORMAT_GCC, FORMAT_JSON };

struct options {
    const char *dir;
    enum format format;
    bool strict, trusted, help, coloured;
};

static void print_help(void) {
    (void)fputs(
        "usage: perigee check [DIR] [OPTIONS]\n"
        "\n"
        "Reads every script and module of DIR (default: scripts) for what is wrong in it. Nothing\n"
        "runs.\n"
        "\n"
        "  --format=text    with the line of the source (default)\n"
        "  --format=gcc     file:line:column: error: message, as editors read it\n"
        "  --format=json    one list of objects\n"
        "  --strict         exit 1 for warnings too\n"
        "  --trusted        the scripts are served so: see perigee serve --help\n"
        "  --help           say this\n"
        "\n"
        "Exit codes: 0 nothing is wrong (warnings aside), 1 something is, 2 wrong usage.\n"
        "A line that ends with \"-- check: ignore\" is not complained about.\n",
        stdout);
}

static bool read_format(const char *word, enum format *format) {
    static const char *const words[] = {"text", "gcc", "json"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(word, words[i]) == 0) {
            *format = (enum format)i;
            return true;
        }
    }
    peri_complain("--format is text, gcc or json, not \"%s\"", word);
    return false;
}

static enum peri_exit read_options(struct options *options, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        const char *value = NULL;
        int taken = peri_option(argc, argv, &i, "--format", &value);
        if (taken < 0 || (taken > 0 && !read_format(value, &options->format))) {
            return PERI_EXIT_USAGE;
        }
        if (taken > 0) {
            continue;
        }
        if (strcmp(argv[i], "--strict") == 0) {
            options->strict = true;
        } else if (strcmp(argv[i], "--trusted") == 0) {
            options->trusted = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options->help = true;
        } else if (argv[i][0] == '-') {
            peri_complain("check has no option \"%s\": see perigee check --help", argv[i]);
            return PERI_EXIT_USAGE;
        } else if (options->dir) {
            peri_complain("one folder is checked, not both \"%s\" and \"%s\"", options->dir,
                          argv[i]);
            return PERI_EXIT_USAGE;
        } else {
            options->dir = argv[i];
        }
    }
    return PERI_EXIT_DONE;
}

static const char *word_of(enum peri_severity severity) {
    return severity == PERI_SEVERITY_ERROR ? "error" : "warning";
}

static void print_json(struct peri_str text) {
    (void)putchar('"');
    for (size_t i = 0; i < text.len;) {
        uint32_t c = 0;
        size_t size = peri_log_decode(text.ptr + i, text.len - i, &c);
        if (size == 0) {
            (void)fputs("\\ufffd", stdout);
        } else if (peri_log_misleads(c) || c == '"' || c == '\\') {
            (void)printf("\\u%04x", (unsigned)c);
        } else {
            (void)fwrite(text.ptr + i, 1, size, stdout);
        }
        i += size > 0 ? size : 1;
    }
    (void)putchar('"');
}

/// "scripts/chat.lua:12:8: error: what is wrong [rule]"
static void print_line(const struct peri_finding *finding, const struct options *options) {
    bool is_error = finding->severity == PERI_SEVERITY_ERROR;
    const char *colour = !options->coloured ? "" : is_error ? "\x1b[1;31m" : "\x1b[33m";
    const char *bold = options->coloured ? "\x1b[1m" : "",
               *end = options->coloured ? "\x1b[0m" : "";
    (void)fputs(bold, stdout);
    peri_print_text(stdout, peri_str_of(finding->file));
    (void)printf(":%u:%u:%s %s%s:%s ", (unsigned)finding->line, (unsigned)finding->column, end,
                 colour, word_of(finding->severity), end);
    peri_print_text(stdout, peri_str_of(finding->message));
    (void)printf(" [%s]\n", finding->rule);
}

/// The line of the source, and a caret below the place.
static void print_source(const struct peri_finding *finding, const struct options *options) {
    enum { SHOWN_MAX = 160 };
    struct peri_str source = finding->source;
    size_t before = finding->column - 1 < source.len ? finding->column - 1 : source.len;
    if (source.len > SHOWN_MAX) {
        if (before > SHOWN_MAX - 20) {
            return; // the place would not be in it
        }
        source.len = SHOWN_MAX;
        while (source.len > before && ((unsigned char)source.ptr[source.len] & 0xc0) == 0x80) {
            source.len--;
        }
    }
    (void)printf("%6u | ", (unsigned)finding->line);
    peri_print_text(stdout, source);
    (void)fputs("\n       | ", stdout);
    for (size_t i = 0; i < before;) {
        uint32_t c;
        size_t size = peri_log_decode(source.ptr + i, before - i, &c);
        (void)putchar(' ');
        i += size > 0 ? size : 1;
    }
    (void)fputs(options->coloured ? "\x1b[1;32m^\x1b[0m\n" : "^\n", stdout);
}

static void print_object(const struct peri_finding *finding) {
    (void)fputs("{\"file\":", stdout);
    print_json(peri_str_of(finding->file));
    (void)printf(",\"line\":%u,\"column\":%u,\"severity\":\"%s\",\"rule\":\"%s\",\"message\":",
                 (unsigned)finding->line, (unsigned)finding->column, word_of(finding->severity),
                 finding->rule);
    print_json(peri_str_of(finding->message));
    (void)putchar('}');
}

static void print_findings(const struct peri_check *check, const struct options *options) {
    size_t errors = 0;
    if (options->format == FORMAT_JSON) {
        (void)fputs("[", stdout);
    }
    for (size_t i = 0; i < check->count; i++) {
        const struct peri_finding *finding = &check->findings[i];
        errors += finding->severity == PERI_SEVERITY_ERROR;
        switch (options->format) {
        case FORMAT_TEXT:
            print_line(finding, options);
            print_source(finding, options);
            break;
        case FORMAT_GCC: print_line(finding, options); break;
        case FORMAT_JSON:
            (void)fputs(i > 0 ? ",\n " : "", stdout);
            print_object(finding);
            break;
        }
    }
    if (options->format == FORMAT_JSON) {
        (void)fputs("]\n", stdout);
    } else if (options->format == FORMAT_TEXT) {
        size_t warnings = check->count - errors;
        (void)printf("%zu file%s: %zu error%s, %zu warning%s\n", check->files,
                     check->files == 1 ? "" : "s", errors, errors == 1 ? "" : "s", warnings,
                     warnings == 1 ? "" : "s");
    }
}

static enum peri_exit exit_for(const struct peri_check *check, const struct options *options) {
    for (size_t i = 0; i < check->count; i++) {
        if (options->strict || check->findings[i].severity == PERI_SEVERITY_ERROR) {
            return PERI_EXIT_FAILED;
        }
    }
    return PERI_EXIT_DONE;
}

static enum peri_exit check_folder(const struct options *options) {
    struct peri_settings settings;
    struct peri_buffer error = {0};
    struct peri_check check = {0};
    enum peri_exit status = PERI_EXIT_FAILED;
    int rc = peri_settings_init(&settings);
    struct peri_hub *hub = rc == PERI_OK ? peri_hub_new(0, &settings.limits) : NULL;
    struct peri_host *host = hub ? peri_host_new(options->dir, &settings.limits, hub) : NULL;
    if (host && options->trusted) {
        peri_host_trust(host);
    }
    rc = host ? peri_check_folder(host, peri_settings_take_of_folder, &settings, &check, &error)
              : PERI_E_MEMORY;
    if (rc == PERI_OK) {
        print_findings(&check, options);
        status = exit_for(&check, options);
    } else if (error.len > 0) {
        peri_complain("%.*s", (int)error.len, (const char *)error.ptr);
    } else {
        peri_complain("out of memory");
    }
    if (fflush(stdout) != 0) {
        peri_complain("the findings can't be written");
        status = PERI_EXIT_FAILED;
    }
    peri_check_free(&check);
    peri_host_free(host);
    peri_hub_free(hub);
    peri_settings_deinit(&settings);
    peri_buffer_deinit(&error);
    return status;
}

enum peri_exit peri_command_check(int argc, char **argv) {
    struct options options = {
        .coloured = peri_log_format_for(STDOUT_FILENO) == PERI_LOG_COLOURED,
    };
    struct stat info;
    enum peri_exit status = read_options(&options, argc, argv);
    if (status != PERI_EXIT_DONE) {
        return status;
    }
    if (options.help) {
        print_help();
        return PERI_EXIT_DONE;
    }
    options.dir = options.dir ? options.dir : "scripts";
    options.coloured = options.coloured && options.format == FORMAT_TEXT;
    if (stat(options.dir, &info) < 0 || !S_ISDIR(info.st_mode)) {
        peri_complain("there is no folder \"%s\": name one, as in perigee check DIR", options.dir);
        return PERI_EXIT_USAGE;
    }
    return check_folder(&options);
}
