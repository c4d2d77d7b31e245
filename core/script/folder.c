// Which files of DIR are scripts, and the routes that their paths give.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "script/host_private.h"

enum { DEPTH_MAX = 32, FILE_MAX = 16 << 20 };

char *peri_text_copy(struct peri_str text) {
    char *copy = peri_alloc(text.len + 1);
    if (copy) {
        memcpy(copy, text.ptr, text.len);
        copy[text.len] = '\0';
    }
    return copy;
}

static bool ends_with(const char *text, const char *end) {
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static bool is_script_name(const char *name, bool at_top) {
    return ends_with(name, ".lua") && strlen(name) > 4 && name[0] != '_' && name[0] != '.' &&
           !ends_with(name, "_test.lua") && !(at_top && strcmp(name, "perigee.lua") == 0);
}

static bool is_script_folder(const char *name) {
    static const char *const others[] = {"lib", "meta", "public", NULL};
    for (int i = 0; others[i]; i++) {
        if (strcmp(name, others[i]) == 0) {
            return false;
        }
    }
    return name[0] != '_' && name[0] != '.';
}

/// "games/quiz" -> "/games/quiz"; "games/index" -> "/games"; "index" -> "/"
static char *default_route(const char *name) {
    size_t len = strlen(name);
    if (strcmp(name, "index") == 0) {
        len = 0;
    } else if (ends_with(name, "/index")) {
        len -= strlen("/index");
    }
    struct peri_buffer route = {0};
    if (peri_buffer_append(&route, "/", 1) != PERI_OK ||
        peri_buffer_append(&route, name, len) != PERI_OK) {
        peri_buffer_deinit(&route);
        return NULL;
    }
    char *text = peri_text_copy(peri_buffer_str(&route));
    peri_buffer_deinit(&route);
    return text;
}

void peri_script_free_routes(char **routes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        peri_free(routes[i]);
    }
    peri_free(routes);
}

void peri_script_free(struct peri_script *script) {
    if (!script) {
        return;
    }
    peri_vm_free(script->vm);
    peri_script_free_routes(script->routes, script->route_count);
    peri_free(script->record.timing);
    peri_free(script->name);
    peri_free(script->path);
    peri_free(script);
}

int peri_host_add_script(struct peri_host *host, const char *relative) {
    struct peri_script **scripts =
        peri_realloc(host->scripts, (host->script_count + 1) * sizeof(struct peri_script *));
    if (!scripts) {
        return PERI_E_MEMORY;
    }
    host->scripts = scripts;
    struct peri_script *script = peri_calloc(1, sizeof *script);
    struct peri_buffer path = {0};
    if (!script || peri_buffer_printf(&path, "%s/%s", host->dir, relative) != PERI_OK) {
        goto fail;
    }
    script->path = peri_text_copy(peri_buffer_str(&path));
    script->name = peri_text_copy(peri_str(relative, strlen(relative) - strlen(".lua")));
    script->routes = peri_calloc(1, sizeof(char *));
    if (!script->path || !script->name || !script->routes) {
        goto fail;
    }
    script->routes[0] = default_route(script->name);
    if (!script->routes[0]) {
        goto fail;
    }
    script->route_count = 1;
    script->host = host;
    script->traits.limits = host->limits;
    peri_buffer_deinit(&path);
    scripts[host->script_count++] = script;
    script->number = (uint32_t)host->script_count;
    return PERI_OK;
fail:
    peri_buffer_deinit(&path);
    peri_script_free(script);
    return PERI_E_MEMORY;
}

/// A folder that is being read, and those that it was found in.
struct inside {
    dev_t device;
    ino_t inode;
    int depth;
    const struct inside *above; ///< NULL for DIR itself
};

/// A link to a folder that it lies in would be gone into for ever.
static bool is_inside(const struct inside *folder, const struct stat *info) {
    while (folder && (folder->device != info->st_dev || folder->inode != info->st_ino)) {
        folder = folder->above;
    }
    return folder != NULL;
}

/// What a walk needs wherever it is.
struct walk {
    const char *dir;
    peri_folder_found *found;
    void *arg;
    struct peri_buffer *error;
};

static int walk_folder(const struct walk *walk, const char *relative, const struct inside *above);

static int take_entry(const struct walk *walk, const char *relative, const char *name,
                      const struct inside *folder) {
    struct peri_buffer path = {0};
    struct stat info;
    int status = peri_buffer_printf(&path, "%s/%s%s%s%c", walk->dir, relative, *relative ? "/" : "",
                                    name, 0);
    if (status == PERI_OK && stat((const char *)path.ptr, &info) == 0) {
        const char *inner = (const char *)path.ptr + strlen(walk->dir) + 1;
        if (S_ISDIR(info.st_mode)) {
            bool enters = is_script_folder(name) && folder->depth < DEPTH_MAX;
            bool circles = enters && is_inside(folder, &info);
            if (circles && walk->error) {
                peri_log(PERI_LOG_WARN, "%s: a link to a folder above it is left out",
                         (const char *)path.ptr);
            } else if (enters && !circles) {
                status = walk_folder(walk, inner, folder);
            }
        } else if (S_ISREG(info.st_mode) && is_script_name(name, folder->depth == 0)) {
            status = walk->found(walk->arg, inner);
        }
    }
    peri_buffer_deinit(&path);
    return status;
}

static int walk_folder(const struct walk *walk, const char *relative, const struct inside *above) {
    struct peri_buffer path = {0};
    struct stat info;
    if (peri_buffer_printf(&path, "%s/%s%c", walk->dir, relative, 0) != PERI_OK) {
        return PERI_E_MEMORY;
    }
    bool found = stat((const char *)path.ptr, &info) == 0;
    DIR *dir = found ? opendir((const char *)path.ptr) : NULL;
    if (!dir) {
        if (walk->error) {
            PERI_IGNORE(
                peri_buffer_printf(walk->error, "%s: %s", (const char *)path.ptr, strerror(errno)));
        }
        peri_buffer_deinit(&path);
        return PERI_E_SYSTEM;
    }
    peri_buffer_deinit(&path);
    const struct inside folder = {info.st_dev, info.st_ino, above ? above->depth + 1 : 0, above};
    int status = PERI_OK;
    for (struct dirent *entry; status == PERI_OK && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            status = take_entry(walk, relative, entry->d_name, &folder);
        }
    }
    closedir(dir);
    return status;
}

int peri_folder_walk(const char *dir, peri_folder_found *found, void *arg,
                     struct peri_buffer *error) {
    const struct walk walk = {dir, found, arg, error};
    return walk_folder(&walk, "", NULL);
}

static int add_found(void *arg, const char *relative) {
    return peri_host_add_script(arg, relative);
}

static int by_name(const void *a, const void *b) {
    const struct peri_script *const *one = a, *const *other = b;
    return strcmp((*one)->name, (*other)->name);
}

int peri_folder_scan(struct peri_host *host, struct peri_buffer *error) {
    int status = peri_folder_walk(host->dir, add_found, host, error);
    if (status == PERI_OK && host->script_count > 0) {
        qsort(host->scripts, host->script_count, sizeof(struct peri_script *), by_name);
        for (size_t i = 0; i < host->script_count; i++) {
            host->scripts[i]->number = (uint32_t)i + 1;
        }
    }
    return status;
}

int peri_folder_read(const char *path, struct peri_buffer *out) {
    int status = PERI_E_SYSTEM;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return PERI_E_SYSTEM;
    }
    for (;;) {
        if (out->len > FILE_MAX) {
            status = PERI_E_LIMIT;
            break;
        }
        if (peri_buffer_reserve(out, 1 << 14) != PERI_OK) {
            status = PERI_E_MEMORY;
            break;
        }
        ssize_t n = read(fd, out->ptr + out->len, out->cap - out->len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            status = n == 0 ? PERI_OK : PERI_E_SYSTEM;
            break;
        }
        out->len += (size_t)n;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return status;
}

const char *peri_folder_why(int status) {
    switch (status) {
    case PERI_E_SYSTEM: return strerror(errno);
    case PERI_E_LIMIT: return "over 16 MiB";
    default: return "out of memory";
    }
}
