// Walks the folder as scripts are looked for in it, through links, and notes on the way what it
// depends on.
#include "net/survey.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

enum { LINKS_MAX = 40 }; ///< on one way, as in the kernel

/// A place as it is kept: its texts lie in a buffer that grows.
struct kept {
    size_t at, path_len, name_len;
    dev_t device;
    ino_t inode;
};

/// A folder that is being walked, and those that it was found in.
struct inside {
    dev_t device;
    ino_t inode;
    int depth;
    const struct inside *above; ///< NULL for the first
};

bool peri_survey_skips(const char *name) {
    return name[0] == '.' || strcmp(name, "public") == 0;
}

bool peri_survey_is_lua(const char *name) {
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".lua") == 0;
}

/// A path that grows and shrinks by a name, always NUL-terminated behind its `len`.
static int enter(struct peri_buffer *path, const char *name) {
    size_t n = strlen(name), slash = path->len > 0 && path->ptr[path->len - 1] != '/';
    int status = peri_buffer_reserve(path, slash + n + 1);
    if (status == PERI_OK) {
        memcpy(path->ptr + path->len, "/", slash);
        memcpy(path->ptr + path->len + slash, name, n + 1);
        path->len += slash + n;
    }
    return status;
}

static void leave(struct peri_buffer *path, size_t len) {
    path->len = len;
    path->ptr[len] = '\0';
}

static const char *text(const struct peri_buffer *path) {
    return (const char *)path->ptr;
}

static int add_place(struct peri_survey *survey, const char *path, const char *name,
                     const struct stat *folder) {
    if (survey->place_count == PERI_SURVEY_PLACES) {
        survey->is_full = true;
        return PERI_OK;
    }
    struct kept kept = {survey->texts_.len, strlen(path), strlen(name), folder->st_dev,
                        folder->st_ino};
    int status = peri_buffer_append(&survey->texts_, path, kept.path_len + 1);
    if (status == PERI_OK) {
        status = peri_buffer_append(&survey->texts_, name, kept.name_len + 1);
    }
    if (status == PERI_OK) {
        status = peri_buffer_append(&survey->places_, &kept, sizeof kept);
    }
    survey->place_count += status == PERI_OK;
    return status;
}

// The way to a file, link by link ------------------------------------------------------------

/// A name in a folder decides: what it is may change.
static int add_name(struct peri_survey *survey, const struct peri_buffer *folder,
                    const char *name) {
    struct stat info;
    return stat(text(folder), &info) == 0 ? add_place(survey, text(folder), name, &info) : PERI_OK;
}

/// Takes the first name off a path. @return false: there is none
static bool next_name(struct peri_buffer *rest, char name[static NAME_MAX + 1]) {
    const char *begin = text(rest);
    size_t slashes = strspn(begin, "/"), n = strcspn(begin + slashes, "/");
    if (n == 0 || n > NAME_MAX) {
        return false;
    }
    memcpy(name, begin + slashes, n);
    name[n] = '\0';
    peri_buffer_consume(rest, slashes + n);
    return true;
}

/// Puts what a link says before the rest of the way. @return PERI_OK, PERI_E_MEMORY
static int follow(struct peri_buffer *at, struct peri_buffer *rest, const char *target) {
    struct peri_buffer way = {0};
    int status = peri_buffer_printf(&way, "%s/%s%c", target, text(rest), 0);
    if (status == PERI_OK && target[0] == '/') {
        leave(at, 0);
        status = enter(at, "/");
    }
    struct peri_buffer old = *rest;
    *rest = way;
    peri_buffer_deinit(&old);
    return status;
}

/// Goes one name further.
/// @param more set to false where the way ends
static int step(struct peri_survey *survey, struct peri_buffer *at, struct peri_buffer *rest,
                const char *name, bool *more) {
    char target[PATH_MAX];
    struct stat info;
    size_t before = at->len;
    if (strcmp(name, ".") == 0) {
        return PERI_OK;
    }
    int status = enter(at, name);
    if (status != PERI_OK || strcmp(name, "..") == 0) {
        return status;
    }
    bool is_last = text(rest)[strspn(text(rest), "/")] == '\0';
    bool found = lstat(text(at), &info) == 0;
    bool is_link = found && S_ISLNK(info.st_mode);
    if (found && !is_link && !is_last) {
        return PERI_OK;
    }
    ssize_t n = is_link ? readlink(text(at), target, sizeof target - 1) : 0;
    leave(at, before);
    status = add_name(survey, at, name);
    *more = n > 0 && survey->links_++ < LINKS_MAX;
    if (*more && status == PERI_OK) {
        target[n] = '\0';
        status = follow(at, rest, target);
    }
    return status;
}

/// Goes a path as the kernel does, and notes each name that decides where it leads: every link, what
/// is not there, and the last one.
/// @param from where it begins; "" for the folder of the process
static int trace(struct peri_survey *survey, const char *from, const char *path) {
    struct peri_buffer at = {0}, rest = {0};
    char name[NAME_MAX + 1];
    bool more = true;
    int status = enter(&at, path[0] == '/' ? "/" : from[0] ? from : ".");
    if (status == PERI_OK) {
        status = peri_buffer_append(&rest, path, strlen(path) + 1);
    }
    while (status == PERI_OK && more && at.len < PATH_MAX && next_name(&rest, name)) {
        status = step(survey, &at, &rest, name, &more);
    }
    peri_buffer_deinit(&at);
    peri_buffer_deinit(&rest);
    return status;
}

// The walk -----------------------------------------------------------------------------------

/// A link to a folder that it lies in would be gone into for ever.
static bool is_inside(const struct inside *folder, const struct stat *info) {
    while (folder && (folder->device != info->st_dev || folder->inode != info->st_ino)) {
        folder = folder->above;
    }
    return folder != NULL;
}

static void add_file(struct peri_survey *survey, const struct peri_buffer *path,
                     const struct stat *info) {
    const uint64_t mark[] = {
        peri_hash(path->ptr, path->len), (uint64_t)info->st_dev,
        (uint64_t)info->st_ino,          (uint64_t)info->st_size,
        (uint64_t)info->st_mtim.tv_sec,  (uint64_t)info->st_mtim.tv_nsec,
        (uint64_t)info->st_ctim.tv_sec,  (uint64_t)info->st_ctim.tv_nsec,
    };
    survey->digest += peri_hash(mark, sizeof mark); // a sum: folders are read in any order
}

/// What else is wrong says nothing of what is in a folder.
static bool means_nothing_there(int error) {
    return error == ENOENT || error == ENOTDIR || error == EACCES || error == ELOOP ||
           error == ENAMETOOLONG;
}

static int walk(struct peri_survey *survey, struct peri_buffer *path, const struct inside *above);

/// The way from a link in a folder to where it leads.
/// @param folder length of the folder's path, which the link's begins with
static int trace_link(struct peri_survey *survey, const struct peri_buffer *link, size_t folder) {
    char target[PATH_MAX];
    struct peri_buffer from = {0};
    ssize_t n = readlink(text(link), target, sizeof target - 1);
    int status = peri_buffer_printf(&from, "%.*s%c", (int)folder, text(link), 0);
    if (status == PERI_OK && n > 0) {
        target[n] = '\0';
        survey->links_ = 0;
        status = trace(survey, (const char *)from.ptr, target);
    }
    peri_buffer_deinit(&from);
    return status;
}

/// @param kind of the entry, as readdir says it
static int take_entry(struct peri_survey *survey, struct peri_buffer *path, unsigned char kind,
                      const char *name, const struct inside *folder) {
    bool is_lua = peri_survey_is_lua(name);
    struct stat info;
    if (peri_survey_skips(name) || (kind == DT_REG && !is_lua) ||
        (kind != DT_REG && kind != DT_DIR && kind != DT_LNK && kind != DT_UNKNOWN)) {
        return PERI_OK;
    }
    size_t before = path->len;
    int status = enter(path, name);
    bool is_link = kind == DT_LNK;
    if (status == PERI_OK && kind == DT_UNKNOWN) {
        is_link = lstat(text(path), &info) == 0 && S_ISLNK(info.st_mode);
    }
    bool found = status == PERI_OK && stat(text(path), &info) == 0;
    bool is_folder = found && S_ISDIR(info.st_mode);
    if (status == PERI_OK && is_link && (is_lua || is_folder || !found)) {
        status = trace_link(survey, path, before);
    }
    if (status == PERI_OK && is_folder && folder->depth < PERI_SURVEY_DEPTH &&
        !is_inside(folder, &info)) {
        status = walk(survey, path, folder);
    } else if (status == PERI_OK && found && is_lua && S_ISREG(info.st_mode)) {
        add_file(survey, path, &info);
    }
    if (path->ptr) {
        leave(path, before);
    }
    return status;
}

static int walk(struct peri_survey *survey, struct peri_buffer *path, const struct inside *above) {
    struct stat info;
    if (survey->folders_ == PERI_SURVEY_FOLDERS) {
        survey->is_cut = true;
        return PERI_OK;
    }
    survey->folders_++;
    DIR *dir = opendir(text(path));
    int fd = dir ? dirfd(dir) : -1;
    if (fd < 0 || fstat(fd, &info) < 0) {
        bool nothing = !dir && means_nothing_there(errno);
        if (dir) {
            closedir(dir);
        }
        return nothing ? PERI_OK : PERI_E_SYSTEM;
    }
    const struct inside folder = {info.st_dev, info.st_ino, above ? above->depth + 1 : 0, above};
    int status = add_place(survey, text(path), "", &info);
    while (status == PERI_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            status = errno == 0 || means_nothing_there(errno) ? PERI_OK : PERI_E_SYSTEM;
            break;
        }
        status = take_entry(survey, path, entry->d_type, entry->d_name, &folder);
    }
    closedir(dir);
    return status;
}

int peri_survey_take(struct peri_survey *survey, const char *dir) {
    struct peri_buffer path = {0};
    survey->digest = 0;
    survey->place_count = survey->folders_ = survey->links_ = 0;
    survey->is_cut = survey->is_full = false;
    peri_buffer_clear(&survey->places_, SIZE_MAX);
    peri_buffer_clear(&survey->texts_, SIZE_MAX);
    int status = trace(survey, "", dir);
    if (status == PERI_OK) {
        status = enter(&path, dir);
    }
    if (status == PERI_OK) {
        status = walk(survey, &path, NULL);
    }
    peri_buffer_deinit(&path);
    return status;
}

struct peri_place peri_survey_place(const struct peri_survey *survey, size_t i) {
    struct kept kept;
    memcpy(&kept, survey->places_.ptr + i * sizeof kept, sizeof kept);
    const char *path = (const char *)survey->texts_.ptr + kept.at;
    return (struct peri_place){
        .key = peri_str(path, kept.path_len + 1 + kept.name_len),
        .path = path,
        .name = path + kept.path_len + 1,
        .device = kept.device,
        .inode = kept.inode,
    };
}

void peri_survey_deinit(struct peri_survey *survey) {
    peri_buffer_deinit(&survey->places_);
    peri_buffer_deinit(&survey->texts_);
}
