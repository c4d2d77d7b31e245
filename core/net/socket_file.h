// Listening sockets of the file system.
#pragma once

#include <sys/types.h>

/// The file of one that was made here. Zero-initialised is none.
struct peri_socket_file {
    const char *path; ///< borrowed
    dev_t device;     ///< that of the file that was made
    ino_t inode;
};

/// Binds and listens, without waiting. A file whose host was killed is replaced.
/// @param path outlives the file
/// @param mode of the file; 0: as the umask has it
/// @return 0 with *file and *fd (owned by the caller) set; or an errno
int peri_socket_file_open(struct peri_socket_file *file, const char *path, mode_t mode, int *fd);

/// That errno, in words for the user.
const char *peri_socket_file_why(int why);

/// Removes the file if it is still the one that was made.
void peri_socket_file_remove(const struct peri_socket_file *file);
