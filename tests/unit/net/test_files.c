#include "net/files.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "support/cmocka.h"

// A folder `public` beside a secret, made anew for the whole run.
static char root[64];
static char public_dir[96];

static const char *at(const char *name) {
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void write_file(const char *name) {
    int fd = open(at(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "12345", 5), 5);
    assert_int_equal(close(fd), 0);
}

static int make_folder(void **state) {
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/perigee-files-XXXXXX");
    assert_non_null(mkdtemp(root));
    static const char *const folders[] = {"public", "public/sub", "public/bare", "public/.hidden"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        assert_int_equal(mkdir(at(folders[i]), 0700), 0);
    }
    static const char *const files[] = {
        "secret",      "public/index.html", "public/a.js",           "public/a b.txt",
        "public/.env", "public/.hidden/x",  "public/sub/index.html", "public/sub/b.css"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        write_file(files[i]);
    }
    (void)snprintf(public_dir, sizeof public_dir, "%s/public", root);
    assert_int_equal(symlink("../secret", at("public/link")), 0);
    assert_int_equal(symlink("..", at("public/up")), 0);
    assert_int_equal(symlink("a.js", at("public/inside")), 0);
    assert_int_equal(mkfifo(at("public/pipe"), 0600), 0);
    return 0;
}

static int remove_one(const char *path, const struct stat *stat_, int flag, struct FTW *ftw) {
    (void)stat_;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int remove_folder(void **state) {
    (void)state;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int open_path(const char *path) {
    struct peri_file file = {.fd = -1};
    int rc = peri_file_open(&file, public_dir, peri_str_of(path), false);
    if (rc == PERI_OK) {
        assert_int_equal(close(file.fd), 0);
    }
    return rc;
}

static size_t count_descriptors(void) {
    size_t n = 0;
    for (int fd = 0; fd < 1024; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static void test_a_path_finds_its_file(void **state) {
    (void)state;
    struct peri_file file;
    assert_int_equal(peri_file_open(&file, public_dir, PERI_STR("/a%20b.txt"), false), PERI_OK);
    char bytes[8];
    assert_int_equal(read(file.fd, bytes, sizeof bytes), 5);
    assert_int_equal(close(file.fd), 0);
    assert_int_equal(file.mark.size, 5);
    assert_str_equal(file.content_type, "text/plain; charset=utf-8");
    assert_int_equal(file.tag[0], '"');
    assert_int_equal(file.tag[strlen(file.tag) - 1], '"');
    assert_string_equal(file.date + strlen(file.date) - 4, " GMT");
    assert_int_equal(open_path("/sub/b.css"), PERI_OK);
}

static void test_a_folder_is_its_index(void **state) {
    (void)state;
    assert_int_equal(open_path("/"), PERI_OK);
    assert_int_equal(open_path("/sub/"), PERI_OK);
    assert_int_equal(open_path("/sub"), PERI_E_EXISTS);
    assert_int_equal(open_path("/bare"), PERI_AGAIN);
    assert_int_equal(open_path("/bare/"), PERI_AGAIN);
    assert_int_equal(open_path("/a.js/"), PERI_AGAIN);
}

static void test_no_path_leads_out(void **state) {
    (void)state;
    static const char *const paths[] = {
        "",
        "a.js",
        "*",
        "/..",
        "/../secret",
        "/%2e%2e/secret",
        "/sub/../a.js",
        "/./a.js",
        "//a.js",
        "//",
        "/sub//b.css",
        "/.env",
        "/%2Eenv",
        "/.hidden/x",
        "/link",
        "/inside",
        "/up/secret",
        "/pipe",
        "/..%2fsecret",
        "/a.js%00",
        "/%",
        "/%zz",
        "/%ff",
        "/nowhere",
        "/nowhere/a.js",
        "/a.js/x",
        "/a.js/../a.js",
    };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_int_equal(open_path(paths[i]), PERI_AGAIN);
    }
    char long_path[600];
    memset(long_path, 'a', sizeof long_path);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = '\0';
    assert_int_equal(open_path(long_path), PERI_AGAIN);
}

static void set_time(const char *name, time_t seconds) {
    const struct timespec times[2] = {{seconds, 0}, {seconds, 0}};
    assert_int_equal(utimensat(AT_FDCWD, at(name), times, 0), 0);
}

static void test_the_compressed_file_beside_it_is_taken_if_wanted_and_not_older(void **state) {
    (void)state;
    struct peri_file plain = {0}, gzip = {0};
    write_file("public/page.html");
    write_file("public/page.html.gz");
    for (time_t age = -1; age <= 1; age++) {
        set_time("public/page.html", 1000);
        set_time("public/page.html.gz", 1000 + age);
        assert_int_equal(peri_file_open(&plain, public_dir, PERI_STR("/page.html"), false), 0);
        assert_int_equal(peri_file_open(&gzip, public_dir, PERI_STR("/page.html"), true), 0);
        assert_int_equal(plain.varies, age >= 0);
        assert_int_equal(gzip.varies, age >= 0);
        assert_false(plain.compressed);
        assert_int_equal(gzip.compressed, age >= 0);
        assert_int_equal(strcmp(plain.tag, gzip.tag) != 0, age >= 0);
        assert_str_equal(gzip.content_type, "text/html; charset=utf-8");
        assert_int_equal(close(plain.fd), 0);
        assert_int_equal(close(gzip.fd), 0);
    }
    // One that is no regular file, or there alone, is none.
    assert_int_equal(unlink(at("public/page.html.gz")), 0);
    assert_int_equal(symlink("page.html", at("public/page.html.gz")), 0);
    assert_int_equal(peri_file_open(&gzip, public_dir, PERI_STR("/page.html"), true), 0);
    assert_false(gzip.varies);
    assert_int_equal(close(gzip.fd), 0);
    write_file("public/alone.gz");
    assert_int_equal(peri_file_open(&gzip, public_dir, PERI_STR("/alone"), true), PERI_AGAIN);
}

static void test_a_change_of_the_file_shows(void **state) {
    (void)state;
    struct peri_file file = {0};
    write_file("public/log.txt");
    set_time("public/log.txt", 1000);
    assert_int_equal(peri_file_open(&file, public_dir, PERI_STR("/log.txt"), false), 0);
    assert_true(peri_file_is_unchanged(file.fd, &file.mark));
    set_time("public/log.txt", 1001);
    assert_false(peri_file_is_unchanged(file.fd, &file.mark));
    set_time("public/log.txt", 1000);
    assert_int_equal(truncate(at("public/log.txt"), 4), 0);
    set_time("public/log.txt", 1000);
    assert_false(peri_file_is_unchanged(file.fd, &file.mark));
    assert_int_equal(close(file.fd), 0);
}

static void test_no_descriptor_or_memory_is_kept(void **state) {
    (void)state;
    static const char *const paths[] = {"/", "/sub", "/sub/b.css", "/bare/", "/up/x", "/sub/x/y"};
    size_t before = count_descriptors();
    uint64_t live = peri_alloc_live();
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        (void)open_path(paths[i]);
        peri_alloc_fail_from(1);
        (void)open_path(paths[i]);
        peri_alloc_fail_from(0);
    }
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(peri_alloc_live(), live);
}

static void test_without_memory_it_says_so(void **state) {
    (void)state;
    peri_alloc_fail_from(1);
    int rc = open_path("/a.js");
    peri_alloc_fail_from(0);
    assert_int_equal(rc, PERI_E_MEMORY);
}

static void test_a_folder_that_no_descriptor_is_left_for_is_not_missing(void **state) {
    (void)state;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC); // the lowest that is free
    struct rlimit limit;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit few = {(rlim_t)fd + 1, limit.rlim_max}; // the public folder takes it
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    int with_slash = open_path("/sub/"), without = open_path("/sub"), below = open_path("/sub/b");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(with_slash, PERI_E_MEMORY);
    assert_int_equal(without, PERI_E_MEMORY);
    assert_int_equal(below, PERI_E_MEMORY);
}

static void test_a_missing_folder_has_no_files(void **state) {
    (void)state;
    struct peri_file file;
    assert_int_equal(peri_file_open(&file, "/nowhere/at/all", PERI_STR("/"), false), PERI_AGAIN);
}

static void test_the_type_goes_by_the_extension_in_any_case(void **state) {
    (void)state;
    assert_str_equal(peri_file_content_type(PERI_STR("a.html")), "text/html; charset=utf-8");
    assert_str_equal(peri_file_content_type(PERI_STR("A.HTML")), "text/html; charset=utf-8");
    assert_str_equal(peri_file_content_type(PERI_STR("a.min.js")),
                     "text/javascript; charset=utf-8");
    assert_str_equal(peri_file_content_type(PERI_STR("a.wasm")), "application/wasm");
    assert_str_equal(peri_file_content_type(PERI_STR("a.woff2")), "font/woff2");
    assert_str_equal(peri_file_content_type(PERI_STR("html")), "application/octet-stream");
    assert_str_equal(peri_file_content_type(PERI_STR("a.")), "application/octet-stream");
    assert_str_equal(peri_file_content_type(PERI_STR("")), "application/octet-stream");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_path_finds_its_file),
        cmocka_unit_test(test_a_folder_is_its_index),
        cmocka_unit_test(test_no_path_leads_out),
        cmocka_unit_test(test_the_compressed_file_beside_it_is_taken_if_wanted_and_not_older),
        cmocka_unit_test(test_a_change_of_the_file_shows),
        cmocka_unit_test(test_no_descriptor_or_memory_is_kept),
        cmocka_unit_test(test_without_memory_it_says_so),
        cmocka_unit_test(test_a_folder_that_no_descriptor_is_left_for_is_not_missing),
        cmocka_unit_test(test_a_missing_folder_has_no_files),
        cmocka_unit_test(test_the_type_goes_by_the_extension_in_any_case),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
