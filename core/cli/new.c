// perigee new: a script folder to start from, written out of the program itself.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/nearest.h"
#include "cli/builtin.h"
#include "cli/command.h"

static const struct {
    const char *name; ///< of what is built in, and of its script
    const char *what;
} templates[] = {
    {"echo", "every message goes back to its sender; the shortest start"},
    {"chat", "rooms, names, commands, a limit for talkers, a page"},
    {"feed", "devices send readings, screens show the latest of each"},
    {"lobby", "people who wait are put together in pairs"},
};

enum { TEMPLATES = sizeof templates / sizeof templates[0] };

/// What goes into every folder, whatever the template.
static const char EVERY[] = "every";

struct options {
    const char *name;
    const char *template; ///< its name in `templates`
    bool help;
};

static void print_help(void) {
    (void)fputs("usage: perigee new NAME [--template TEMPLATE]\n"
                "\n"
                "Makes the folder NAME with a script, a page and a README, ready to be served.\n"
                "What is there already is never overwritten.\n"
                "\n"
                "templates:\n",
                stdout);
    for (size_t i = 0; i < TEMPLATES; i++) {
        (void)printf("  %-6s  %s%s\n", templates[i].name, templates[i].what,
                     i == 0 ? " (the default)" : "");
    }
}

/// @return NULL when there is none of that name, which was said
static const char *find_template(const char *name) {
    struct peri_nearest nearest = peri_nearest(peri_str_of(name));
    for (size_t i = 0; i < TEMPLATES; i++) {
        if (strcmp(templates[i].name, name) == 0) {
            return templates[i].name;
        }
        peri_nearest_try(&nearest, templates[i].name);
    }
    if (nearest.found) {
        peri_complain("there is no template \"%s\": did you mean %s?", name, nearest.found);
    } else {
        peri_complain("there is no template \"%s\": see perigee new --help", name);
    }
    return NULL;
}

/// The last segment of the path that was given: what the folder is called.
static const char *folder_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/// Such names need no quotes in a shell, and are no options and no hidden files.
static bool is_name(const char *name) {
    for (size_t i = 0; name[i] != '\0'; i++) {
        unsigned char c = (unsigned char)name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
        bool other = (c >= '0' && c <= '9') || c == '_';
        bool inside = i > 0 && (c == '-' || c == '.');
        if (!letter && !other && !inside) {
            return false;
        }
    }
    return name[0] != '\0' && strlen(name) <= NAME_MAX;
}

static enum peri_exit read_options(struct options *options, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        const char *value = NULL;
        int found = peri_option(argc, argv, &i, "--template", &value);
        if (found < 0) {
            return PERI_EXIT_USAGE;
        }
        if (found) {
            options->template = find_template(value);
            if (!options->template) {
                return PERI_EXIT_USAGE;
            }
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options->help = true;
        } else if (argv[i][0] == '-') {
            peri_complain("new has no option \"%s\": see perigee new --help", argv[i]);
            return PERI_EXIT_USAGE;
        } else if (options->name) {
            peri_complain("one folder is made, not both \"%s\" and \"%s\"", options->name, argv[i]);
            return PERI_EXIT_USAGE;
        } else {
            options->name = argv[i];
        }
    }
    if (!options->name && !options->help) {
        peri_complain("how is the folder to be called? As in: perigee new my-scripts");
        return PERI_EXIT_USAGE;
    }
    if (options->name && !is_name(folder_name(options->name))) {
        peri_complain(
            "a folder's name is made of letters, digits, - _ and . (not first), not \"%s\"",
            folder_name(options->name));
        return PERI_EXIT_USAGE;
    }
    return PERI_EXIT_DONE;
}

/// The path in the new folder of the i-th thing that is built in; NULL when it doesn't belong
/// there.
static const char *place_of(size_t i, const char *template) {
    const char *name = peri_builtins[i].name;
    const char *const prefixes[] = {template, EVERY};
    for (size_t j = 0; j < 2; j++) {
        size_t n = strlen(prefixes[j]);
        if (strncmp(name, prefixes[j], n) == 0 && name[n] == '/') {
            return name + n + 1;
        }
    }
    return NULL;
}

/// Those on the way to a file. @return 0, or -1 and errno
static int make_folders(int dir, const char *path) {
    char folder[NAME_MAX + 1];
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        if (mkdirat(dir, folder, 0777) < 0 && errno != EEXIST) {
            return -1;
        }
    }
    return 0;
}

/// @return 0, or -1 and errno
static int write_file(int dir, const char *path, struct peri_str content) {
    if (make_folders(dir, path) < 0) {
        return -1;
    }
    int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        return -1;
    }
    while (content.len > 0) {
        ssize_t n = write(fd, content.ptr, content.len);
        if (n < 0 && errno != EINTR) {
            int why = errno;
            close(fd);
            errno = why;
            return -1;
        }
        if (n > 0) {
            content = peri_str(content.ptr + n, content.len - (size_t)n);
        }
    }
    return close(fd); // a network's file system may say only here that it is full
}

/// Takes away what was written, and the folder if nothing else has come into it.
static void undo(int dir, const struct options *options) {
    char folder[NAME_MAX + 1];
    for (size_t i = 0; i < peri_builtin_count; i++) {
        const char *path = place_of(i, options->template);
        if (path) {
            (void)unlinkat(dir, path, 0);
        }
    }
    // Only now are the folders empty; each is tried as often as a file lay in it.
    for (size_t i = 0; i < peri_builtin_count; i++) {
        const char *path = place_of(i, options->template);
        const char *slash = path ? strrchr(path, '/') : NULL;
        if (slash) {
            (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
            (void)unlinkat(dir, folder, AT_REMOVEDIR);
        }
    }
    (void)rmdir(options->name);
}

static enum peri_exit make(const struct options *options) {
    if (mkdir(options->name, 0777) < 0) {
        if (errno == EEXIST) {
            peri_complain("there is a \"%s\" already: choose another name", options->name);
        } else {
            peri_complain("the folder \"%s\" can't be made: %s", options->name, strerror(errno));
        }
        return PERI_EXIT_FAILED;
    }
    int dir = open(options->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0) {
        peri_complain("the folder \"%s\" can't be opened: %s", options->name, strerror(errno));
        (void)rmdir(options->name);
        return PERI_EXIT_FAILED;
    }
    enum peri_exit status = PERI_EXIT_DONE;
    for (size_t i = 0; i < peri_builtin_count && status == PERI_EXIT_DONE; i++) {
        const char *path = place_of(i, options->template);
        if (path && write_file(dir, path, peri_builtins[i].content) < 0) {
            peri_complain("\"%s/%s\" can't be written: %s; nothing of it was kept", options->name,
                          path, strerror(errno));
            undo(dir, options);
            status = PERI_EXIT_FAILED;
        }
    }
    close(dir);
    return status;
}

static void say_what_next(const struct options *options) {
    (void)printf("made %s from the template %s:\n", options->name, options->template);
    for (size_t i = 0; i < peri_builtin_count; i++) {
        const char *path = place_of(i, options->template);
        if (path) {
            (void)printf("  %s/%s\n", options->name, path);
        }
    }
    (void)printf("\nNow run it, and open the address that it prints:\n"
                 "  perigee serve %s\n"
                 "Its rules are in %s/%s.lua, and there to be changed.\n",
                 options->name, options->name, options->template);
}

enum peri_exit peri_command_new(int argc, char **argv) {
    struct options options = {.template = templates[0].name};
    enum peri_exit status = read_options(&options, argc, argv);
    if (status == PERI_EXIT_DONE && options.help) {
        print_help();
    } else if (status == PERI_EXIT_DONE) {
        status = make(&options);
        if (status == PERI_EXIT_DONE) {
            say_what_next(&options);
        }
    }
    return status;
}
