#include "cli/control_place.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"

#define PREFIX "perigee-"
#define SUFFIX ".sock"

/// Of the service, whose user is nobody's but its own: root may ask it.
#define SERVICE_FOLDER "/run/perigee"

/// XDG_RUNTIME_DIR; NULL where there is none that is this user's.
static const char *runtime_folder(void) {
    const char *path = getenv("XDG_RUNTIME_DIR");
    struct stat info;
    return path && path[0] == '/' && stat(path, &info) == 0 && S_ISDIR(info.st_mode) &&
                   info.st_uid == geteuid()
               ? path
               : NULL;
}

static void name_temporary(char path[static PATH_MAX]) {
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(path, PATH_MAX, "%s/" PREFIX "%u",
                   temporary && temporary[0] == '/' ? temporary : "/tmp", (unsigned)geteuid());
}

/// Anybody may make a folder of that name there: it counts only if it is the user's and nobody else
/// may enter it.
static bool is_private(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid() &&
           (info.st_mode & 077) == 0;
}

int peri_control_place(uint16_t port, struct peri_buffer *path, struct peri_buffer *error) {
    char temporary[PATH_MAX];
    const char *folder = runtime_folder();
    int status = PERI_OK;
    if (!folder) {
        name_temporary(temporary);
        folder = temporary;
        bool made = mkdir(folder, 0700) == 0;
        int why = errno;
        if (!made && why != EEXIST) {
            status = peri_buffer_printf(error, "no control socket: cannot make %s: %s", folder,
                                        strerror(why));
            return status == PERI_OK ? PERI_E_SYSTEM : status;
        }
        if (!is_private(folder)) {
            status = peri_buffer_printf(error,
                                        "no control socket: %s is not a folder of this user's that "
                                        "only this user may enter",
                                        folder);
            return status == PERI_OK ? PERI_E_SYSTEM : status;
        }
    }
    // A host without a port has no number that the next one after it would have too.
    status = port > 0
                 ? peri_buffer_printf(path, "%s/" PREFIX "%u" SUFFIX, folder, (unsigned)port)
                 : peri_buffer_printf(path, "%s/" PREFIX "unix-%ld" SUFFIX, folder, (long)getpid());
    return status == PERI_OK ? peri_buffer_append(path, "", 1) : status;
}

int peri_control_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, n);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

/// Somebody listens there. A killed host leaves its file.
static bool is_alive(const char *path) {
    int fd = peri_control_connect(path);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static bool is_name(const char *name) {
    size_t n = strlen(name);
    return n > strlen(PREFIX SUFFIX) && strncmp(name, PREFIX, strlen(PREFIX)) == 0 &&
           strcmp(name + n - strlen(SUFFIX), SUFFIX) == 0;
}

/// @return how many were appended, or PERI_E_MEMORY
static int list_folder(const char *folder, struct peri_buffer *paths) {
    struct dirent **names = NULL;
    int found = scandir(folder, &names, NULL, alphasort);
    int count = 0;
    for (int i = 0; i < found; i++) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (count >= 0 && n < (int)sizeof path && is_name(names[i]->d_name) && is_alive(path)) {
            int status = peri_buffer_append(paths, path, (size_t)n + 1);
            count = status == PERI_OK ? count + 1 : status;
        }
        free(names[i]); // scandir's own
    }
    free(names);
    return count;
}

int peri_control_list(struct peri_buffer *paths) {
    char temporary[PATH_MAX];
    const char *runtime = runtime_folder();
    int count = runtime ? list_folder(runtime, paths) : 0;
    name_temporary(temporary);
    if (count >= 0 && is_private(temporary)) {
        int more = list_folder(temporary, paths);
        count = more >= 0 ? count + more : more;
    }
    if (count >= 0 && geteuid() == 0) {
        int more = list_folder(SERVICE_FOLDER, paths);
        count = more >= 0 ? count + more : more;
    }
    return count;
}
