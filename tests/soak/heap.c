// Counts what a program holds of the heap, whoever has asked for it: LD_PRELOAD this. The sum is in the
// file that SOAK_HEAP names, for whoever maps or reads it. Needs glibc.
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static _Atomic int64_t before_main;
static _Atomic int64_t *live = &before_main;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SOAK_HEAP");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *shared =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *live, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) {
        _exit(127);
    }
    close(fd);
    *(_Atomic int64_t *)shared = before_main;
    live = shared;
}

static void *count(void *block) {
    if (block) {
        *live += (int64_t)malloc_usable_size(block);
    }
    return block;
}

void *malloc(size_t size) {
    return count(__libc_malloc(size));
}

void *calloc(size_t many, size_t size) {
    return count(__libc_calloc(many, size));
}

void *realloc(void *block, size_t size) {
    int64_t before = block ? (int64_t)malloc_usable_size(block) : 0;
    void *moved = __libc_realloc(block, size);
    if (moved || size == 0) {
        *live -= before;
    }
    return count(moved);
}

void *memalign(size_t alignment, size_t size) {
    return count(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size) {
    return memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    *block = memalign(alignment, size);
    return *block ? 0 : 12; // ENOMEM
}

void free(void *block) {
    if (block) {
        *live -= (int64_t)malloc_usable_size(block);
    }
    __libc_free(block);
}
