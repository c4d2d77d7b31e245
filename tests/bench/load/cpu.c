// The CPU that a process tree has used. /proc tells it in ticks of 10 ms, but for the clock of a process,
// which tells nanoseconds and counts its threads, those that are gone too.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "load/load.h"

/// What its children that are gone and were waited for have used, in ns.
static uint64_t of_the_gone(pid_t pid) {
    char path[64];
    char line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) {
        return 0;
    }
    size_t n = fread(line, 1, sizeof line - 1, file);
    (void)fclose(file);
    line[n] = 0;
    // Behind the name, which may have any character: state is field 3, cutime and cstime 16 and 17.
    const char *at = strrchr(line, ')');
    for (int field = 2; at && field < 16; field++) {
        at = strchr(at + 1, ' ');
    }
    if (!at) {
        return 0;
    }
    char *end;
    uint64_t ticks = strtoull(at, &end, 10);
    ticks += strtoull(end, NULL, 10);
    return ticks * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK));
}

static uint64_t of_a_tree(pid_t pid);

/// @param path  a thread's list of children
static uint64_t of_children(const char *path) {
    FILE *file = fopen(path, "re");
    uint64_t sum = 0;
    long child;
    if (!file) {
        return 0;
    }
    while (fscanf(file, "%ld", &child) == 1) { // NOLINT(cert-err34-c): the kernel's own numbers
        sum += of_a_tree((pid_t)child);
    }
    (void)fclose(file);
    return sum;
}

static uint64_t of_a_tree(pid_t pid) {
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return 0; // gone meanwhile
    }
    uint64_t sum = (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec + of_the_gone(pid);

    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    struct dirent *entry;
    while (threads && (entry = readdir(threads))) {
        if (entry->d_name[0] != '.') {
            char list[sizeof path + sizeof entry->d_name + 16];
            snprintf(list, sizeof list, "%s/%s/children", path, entry->d_name);
            sum += of_children(list);
        }
    }
    if (threads) {
        (void)closedir(threads);
    }
    return sum;
}

uint64_t load_cpu_ns(pid_t pid) {
    uint64_t used = of_a_tree(pid);
    if (used == 0) {
        load_fail("there is no process %d, or it has done nothing", (int)pid);
    }
    return used;
}

struct load_core load_core(unsigned number) {
    char line[512], name[16];
    struct load_core core = {0};
    FILE *file = fopen("/proc/stat", "re");
    snprintf(name, sizeof name, "cpu%u ", number);
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) != 0) {
            continue;
        }
        // user nice system idle iowait irq softirq steal; what follows is in user and nice already
        char *at = line + strlen(name);
        for (int field = 0; field < 8; field++) {
            uint64_t ticks = strtoull(at, &at, 10);
            core.all += ticks;
            core.busy += field == 3 || field == 4 ? 0 : ticks;
        }
    }
    if (file) {
        (void)fclose(file);
    }
    if (core.all == 0) {
        load_fail("there is no processor %u", number);
    }
    return core;
}
