// Where a target begins: called by libFuzzer, or by a main of its own that runs each stored input
// once (FUZZ_REPLAY), so that what was found once is tested by every compiler.
#include <dirent.h>

#include "base/log.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

void fuzz_fail(const char *file, int line, const char *claim) {
    (void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, claim);
    abort();
}

static void quiet_sink(void *arg, struct peri_str line) {
    (void)arg;
    (void)line;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    uint64_t live = peri_alloc_live();
    peri_log_set_sink(quiet_sink, NULL);
    fuzz_one(peri_str((const char *)bytes, n));
    peri_alloc_fail_from(0);
    FUZZ_CHECK(peri_alloc_live() == live);
    return 0;
}

#ifdef FUZZ_REPLAY

static void run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    FUZZ_CHECK(file);
    FUZZ_CHECK(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    FUZZ_CHECK(size >= 0);
    rewind(file);
    uint8_t *bytes = malloc((size_t)size); // its own size: a byte read past it is seen
    FUZZ_CHECK(bytes || size == 0);
    FUZZ_CHECK(fread(bytes, 1, (size_t)size, file) == (size_t)size);
    (void)fclose(file);
    printf("%s\n", path);
    (void)fflush(stdout); // the last one named is the one that failed
    LLVMFuzzerTestOneInput(bytes, (size_t)size);
    free(bytes);
}

static int is_input(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static size_t run_folder(const char *folder) {
    struct dirent **entries;
    int count = scandir(folder, &entries, is_input, alphasort);
    for (int i = 0; i < count; i++) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        run_file(path);
        free(entries[i]);
    }
    if (count >= 0) {
        free(entries);
    }
    return count > 0 ? (size_t)count : 0;
}

/// Reports as cmocka does, which tests/run reads.
int main(int argc, char **argv) {
    static const char name[] = "every_stored_input_runs";
    size_t count = 0;
    printf("[ RUN      ] %s\n", name);
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        count += run_folder(argv[i]);
    }
    printf("[ %s ] %s\n", count > 0 ? "      OK" : " FAILED ", name);
    return count > 0 ? 0 : 1; // no corpus: it looked in the wrong place
}

#endif
