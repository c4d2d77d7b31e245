// The walk from a public folder to a file: one openat a segment, none of them through a link.
#include "net/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "proto/text.h"
#include "proto/url.h"

#define TEXT(type) PERI_STR("text/" type "; charset=utf-8")

enum { OPEN_DIR = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

static const struct {
    struct peri_str extension;
    struct peri_str type;
} types[] = {
    {PERI_STR("html"), TEXT("html")},
    {PERI_STR("htm"), TEXT("html")},
    {PERI_STR("css"), TEXT("css")},
    {PERI_STR("js"), TEXT("javascript")},
    {PERI_STR("mjs"), TEXT("javascript")},
    {PERI_STR("txt"), TEXT("plain")},
    {PERI_STR("md"), TEXT("markdown")},
    {PERI_STR("csv"), TEXT("csv")},
    {PERI_STR("xml"), TEXT("xml")},
    {PERI_STR("json"), PERI_STR("application/json")},
    {PERI_STR("map"), PERI_STR("application/json")},
    {PERI_STR("webmanifest"), PERI_STR("application/manifest+json")},
    {PERI_STR("wasm"), PERI_STR("application/wasm")},
    {PERI_STR("pdf"), PERI_STR("application/pdf")},
    {PERI_STR("zip"), PERI_STR("application/zip")},
    {PERI_STR("gz"), PERI_STR("application/gzip")},
    {PERI_STR("svg"), PERI_STR("image/svg+xml")},
    {PERI_STR("png"), PERI_STR("image/png")},
    {PERI_STR("jpg"), PERI_STR("image/jpeg")},
    {PERI_STR("jpeg"), PERI_STR("image/jpeg")},
    {PERI_STR("gif"), PERI_STR("image/gif")},
    {PERI_STR("webp"), PERI_STR("image/webp")},
    {PERI_STR("avif"), PERI_STR("image/avif")},
    {PERI_STR("ico"), PERI_STR("image/x-icon")},
    {PERI_STR("woff"), PERI_STR("font/woff")},
    {PERI_STR("woff2"), PERI_STR("font/woff2")},
    {PERI_STR("ttf"), PERI_STR("font/ttf")},
    {PERI_STR("otf"), PERI_STR("font/otf")},
    {PERI_STR("mp3"), PERI_STR("audio/mpeg")},
    {PERI_STR("ogg"), PERI_STR("audio/ogg")},
    {PERI_STR("wav"), PERI_STR("audio/wav")},
    {PERI_STR("mp4"), PERI_STR("video/mp4")},
    {PERI_STR("webm"), PERI_STR("video/webm")},
};

struct peri_str peri_file_content_type(struct peri_str name) {
    size_t dot = name.len;
    while (dot > 0 && name.ptr[dot - 1] != '.') {
        dot--;
    }
    struct peri_str extension = peri_str(name.ptr + dot, name.len - dot);
    for (size_t i = 0; dot > 0 && i < sizeof types / sizeof types[0]; i++) {
        if (peri_text_equal(types[i].extension, extension)) {
            return types[i].type;
        }
    }
    return PERI_STR("application/octet-stream");
}

/// What an error of openat says about the request: no such file, or the host's trouble.
static int status_of_errno(void) {
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP: // a link
    case ENAMETOOLONG:
    case ENXIO: // a socket, or a pipe that nobody reads
    case ENODEV: return PERI_AGAIN;
    case EMFILE:
    case ENFILE:
    case ENOMEM: return PERI_E_MEMORY;
    default: return PERI_E_SYSTEM;
    }
}

/// @return less than, equal to or greater than 0
static int compare_times(const struct timespec *a, const struct timespec *b) {
    if (a->tv_sec != b->tv_sec) {
        return a->tv_sec < b->tv_sec ? -1 : 1;
    }
    return (a->tv_nsec > b->tv_nsec) - (a->tv_nsec < b->tv_nsec);
}

static struct peri_file_mark mark_of(const struct stat *stat_) {
    return (struct peri_file_mark){stat_->st_mtim, (uint64_t)stat_->st_size};
}

bool peri_file_is_unchanged(int fd, const struct peri_file_mark *mark) {
    struct stat stat_;
    if (fstat(fd, &stat_) < 0) {
        return false;
    }
    struct peri_file_mark now = mark_of(&stat_);
    return now.size == mark->size && compare_times(&now.modified, &mark->modified) == 0;
}

/// Opens a regular file in the folder `at`.
static int open_regular(int at, const char *name, int *fd, struct peri_file_mark *mark) {
    // O_NONBLOCK: opening a pipe must not wait for its other end.
    *fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0) {
        return status_of_errno();
    }
    struct stat stat_;
    if (fstat(*fd, &stat_) < 0 || !S_ISREG(stat_.st_mode)) {
        close(*fd);
        return PERI_AGAIN;
    }
    *mark = mark_of(&stat_);
    return PERI_OK;
}

/// Looks for the file with .gz behind its name. An older one is of an earlier version.
static void look_for_gzip(struct peri_file *file, int at, const char *name, bool wanted) {
    char path[NAME_MAX + 1];
    struct peri_file_mark mark = {0};
    int fd = -1;
    int n = snprintf(path, sizeof path, "%s.gz", name);
    if (n < 0 || (size_t)n >= sizeof path || open_regular(at, path, &fd, &mark) != PERI_OK) {
        return;
    }
    file->varies = compare_times(&mark.modified, &file->mark.modified) >= 0;
    file->compressed = file->varies && wanted;
    if (file->compressed) {
        close(file->fd);
        file->fd = fd;
        file->mark = mark;
    } else {
        close(fd);
    }
}

/// Opens one file in the folder `at`.
static int open_file(struct peri_file *file, int at, const char *name, bool gzip) {
    *file = (struct peri_file){.content_type = peri_file_content_type(peri_str_of(name))};
    int rc = open_regular(at, name, &file->fd, &file->mark);
    if (rc != PERI_OK) {
        return rc;
    }
    look_for_gzip(file, at, name, gzip);
    const struct timespec *modified = &file->mark.modified;
    (void)snprintf(file->tag, sizeof file->tag, "\"%llx.%lx-%llx%s\"",
                   (unsigned long long)modified->tv_sec, (unsigned long)modified->tv_nsec,
                   (unsigned long long)file->mark.size, file->compressed ? "-gz" : "");
    struct tm utc = {0};
    (void)gmtime_r(&modified->tv_sec, &utc);
    if (strftime(file->date, sizeof file->date, "%a, %d %b %Y %H:%M:%S GMT", &utc) == 0) {
        file->date[0] = '\0';
    }
    return PERI_OK;
}

/// Opens what the last segment names: a file, or a folder's index.
static int open_last(struct peri_file *file, int at, const char *name, bool slash, bool gzip) {
    if (name[0] == '\0') {
        return open_file(file, at, "index.html", gzip);
    }
    int folder = openat(at, name, OPEN_DIR);
    if (folder < 0) {
        return slash ? status_of_errno() : open_file(file, at, name, gzip);
    }
    int rc = open_file(file, folder, "index.html", gzip);
    close(folder);
    if (rc == PERI_OK && !slash) {
        close(file->fd);
        return PERI_E_EXISTS;
    }
    return rc;
}

/// Cuts the first segment off a path that stands behind a slash. @return false when it was the last
static bool cut_segment(struct peri_str *path, struct peri_str *segment) {
    const char *slash = path->len > 0 ? memchr(path->ptr, '/', path->len) : NULL;
    size_t n = slash ? (size_t)(slash - path->ptr) : path->len;
    *segment = peri_str(path->ptr, n);
    *path = slash ? peri_str(slash + 1, path->len - n - 1) : peri_str(path->ptr + n, 0);
    return slash != NULL;
}

/// Decodes a segment into a NUL-terminated name. Empty ones, dotfiles and ".." are no such file.
static int decode_name(struct peri_buffer *name, struct peri_str segment) {
    name->len = 0;
    int rc = peri_url_decode_segment(name, segment);
    if (rc == PERI_E_MEMORY) {
        return rc;
    }
    if (rc != PERI_OK || name->len == 0 || name->ptr[0] == '.') {
        return PERI_AGAIN;
    }
    return peri_buffer_append(name, "", 1);
}

int peri_file_open(struct peri_file *file, const char *dir, struct peri_str path, bool gzip) {
    if (path.len == 0 || path.ptr[0] != '/') {
        return PERI_AGAIN;
    }
    path = peri_str(path.ptr + 1, path.len - 1);
    int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC); // the folder itself may be a link
    if (at < 0) {
        return status_of_errno();
    }
    struct peri_buffer name = {0};
    int rc;
    for (;;) {
        struct peri_str segment;
        bool slash = cut_segment(&path, &segment);
        if (!slash && segment.len == 0) {
            rc = open_last(file, at, "", true, gzip);
            break;
        }
        rc = decode_name(&name, segment);
        if (rc != PERI_OK) {
            break;
        }
        if (path.len == 0) {
            rc = open_last(file, at, (const char *)name.ptr, slash, gzip);
            break;
        }
        int next = openat(at, (const char *)name.ptr, OPEN_DIR);
        if (next < 0) {
            rc = status_of_errno();
            break;
        }
        close(at);
        at = next;
    }
    close(at);
    peri_buffer_deinit(&name);
    return rc;
}
