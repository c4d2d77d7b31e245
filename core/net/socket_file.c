// A socket of the file system: made where a killed host has left one, and removed at the end if it
// is still ours.
#include "net/socket_file.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

/// Removes the file of a socket that nobody listens on: its host was killed. Two hosts that start
/// in the same moment may both find it so; the later one has the path.
/// @return 0: the path is free; or an errno
static int remove_stale(const struct sockaddr_un *address) {
    struct stat stat_;
    if (lstat(address->sun_path, &stat_) < 0) {
        return errno == ENOENT ? 0 : errno;
    }
    if (!S_ISSOCK(stat_.st_mode)) {
        return ENOTSOCK;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    int why = connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? errno : 0;
    close(fd);
    if (why != ECONNREFUSED) {
        return why == 0 || why == EAGAIN ? EADDRINUSE : why;
    }
    return unlink(address->sun_path) < 0 && errno != ENOENT ? errno : 0;
}

int peri_socket_file_open(struct peri_socket_file *file, const char *path, mode_t mode, int *fd) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat stat_;
    size_t n = strlen(path);
    if (n >= sizeof address.sun_path) {
        return ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, n);
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made < 0) {
        return errno;
    }
    const struct sockaddr *any = (const struct sockaddr *)&address;
    // The file gets the socket's own mode, so there is no moment in which others may connect.
    int why = mode != 0 && fchmod(made, mode) < 0 ? errno : 0;
    if (why == 0 && bind(made, any, sizeof address) < 0) {
        why = errno;
    }
    if (why == EADDRINUSE) {
        why = remove_stale(&address);
        if (why == 0 && bind(made, any, sizeof address) < 0) {
            why = errno;
        }
    }
    if (why == 0 && (listen(made, BACKLOG) < 0 || lstat(path, &stat_) < 0)) {
        why = errno;
    }
    if (why == 0 && mode != 0 && (stat_.st_mode & 0777 & ~mode) != 0) {
        why = EPERM; // a system whose files of sockets have no mode of their own
    }
    if (why != 0) {
        close(made);
        return why;
    }
    *file = (struct peri_socket_file){path, stat_.st_dev, stat_.st_ino};
    *fd = made;
    return 0;
}

const char *peri_socket_file_why(int why) {
    return why == EADDRINUSE     ? "another program listens there"
           : why == ENOTSOCK     ? "a file that is no socket is there"
           : why == ENAMETOOLONG ? "the path of a socket has 107 bytes at most"
                                 : strerror(why);
}

void peri_socket_file_remove(const struct peri_socket_file *file) {
    struct stat stat_;
    // Only the file that is ours still: another host may have taken the path by now.
    if (file->path && lstat(file->path, &stat_) == 0 && stat_.st_dev == file->device &&
        stat_.st_ino == file->inode) {
        (void)unlink(file->path);
    }
}
