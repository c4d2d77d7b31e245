// Saves of every kind are told once they are done, by events and by looking alone, with a real loop
// and real files. Nothing else is told.
#include "net/watch.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/log.h"
#include "support/cmocka.h"

enum { PATIENCE_MS = 20000, QUIET_MS = 150, TICK_MS = 5, PERIOD_MS = 100 };

/// Who finds out.
enum means { BY_EVENTS, BY_LOOKING };

static char root[64];
static char said[4096];
static uv_loop_t loop;
static uv_timer_t tick;
static struct peri_watch *watch;
static int calls;

static void keep_line(void *arg, struct peri_str line) {
    (void)arg;
    size_t n = strlen(said);
    (void)snprintf(said + n, sizeof said - n, "%.*s", (int)line.len, line.ptr);
}

// Files, all below the root, which is the folder of the process -----------------------------------

static void shell(const char *format, ...) PERI_PRINTF(1, 2);
static void shell(const char *format, ...) {
    char command[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(command, sizeof command, format, args);
    va_end(args);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): the commands are ours
}

static int open_file(const char *path, int flags) {
    int fd = open(path, flags | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    return fd;
}

static void put(int fd, const char *text) {
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void write_file(const char *path, const char *text) {
    int fd = open_file(path, O_CREAT | O_TRUNC);
    put(fd, text);
    close(fd);
}

// The loop ---------------------------------------------------------------------------------------

static void on_changed(void *arg) {
    assert_ptr_equal(arg, &calls);
    calls++;
}

static void on_tick(uv_timer_t *timer) {
    void (*act)(void) = (void (*)(void))timer->data;
    if (act) {
        act();
    }
}

static void run_for(uint64_t ms) {
    for (uint64_t end = uv_hrtime() + ms * 1000000; uv_hrtime() < end;) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
}

/// Runs until it was told more than n times.
static void expect_more_than(int n) {
    for (int i = 0; i < PATIENCE_MS / TICK_MS && calls <= n; i++) {
        run_for(TICK_MS);
    }
    assert_true(calls > n);
}

/// Until nothing is told for a while: what was noticed by now has been.
static void settle(void) {
    int before;
    do {
        before = calls;
        run_for(QUIET_MS);
    } while (calls != before);
}

static void expect_quiet(void) {
    int before = calls;
    run_for((uint64_t)QUIET_MS * 3);
    assert_int_equal(calls, before);
}

/// A save that is told of, and not before it has begun.
static void expect_told(void (*save)(void)) {
    settle();
    int before = calls;
    save();
    assert_int_equal(calls, before);
    expect_more_than(before);
}

static void start(const char *dir, enum means means) {
    const struct peri_watch_options options = {
        .dir = dir,
        .events_max = means == BY_EVENTS ? PERI_WATCH_EVENTS : 0,
        .period_ms = means == BY_EVENTS ? 0 : PERIOD_MS,
        .changed = on_changed,
        .arg = &calls,
    };
    calls = 0;
    watch = peri_watch_new(&loop, &options);
    assert_non_null(watch);
}

static int begin(void **state) {
    (void)state;
    said[0] = '\0';
    peri_log_set_sink(keep_line, NULL);
    (void)snprintf(root, sizeof root, "/tmp/perigee-watch-XXXXXX");
    if (!mkdtemp(root) || chdir(root) < 0 || uv_loop_init(&loop) < 0) {
        return -1;
    }
    (void)uv_timer_init(&loop, &tick);
    tick.data = NULL;
    (void)uv_timer_start(&tick, on_tick, TICK_MS, TICK_MS);
    shell("mkdir -p scripts/games scripts/lib scripts/public && touch scripts/games/quiz.lua");
    write_file("scripts/chat.lua", "first");
    return 0;
}

static int end(void **state) {
    (void)state;
    peri_watch_close(watch);
    watch = NULL;
    uv_close((uv_handle_t *)&tick, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    peri_log_set_sink(NULL, NULL);
    shell("rm -rf %s", root);
    return uv_loop_close(&loop) == 0 && chdir("/") == 0 ? 0 : -1;
}

// Saves --------------------------------------------------------------------------------------

static void save_in_place(void) {
    write_file("scripts/chat.lua", "other");
}

static void save_as_vim(void) { // with its swap file, backup, and the probe of a folder's rights
    write_file("scripts/.chat.lua.swp", "b0VIM");
    write_file("scripts/4913", "");
    assert_int_equal(unlink("scripts/4913"), 0);
    assert_int_equal(rename("scripts/chat.lua", "scripts/chat.lua~"), 0);
    write_file("scripts/chat.lua", "second");
    assert_int_equal(unlink("scripts/chat.lua~"), 0);
    assert_int_equal(unlink("scripts/.chat.lua.swp"), 0);
}

static void move_over(void) {
    write_file("new", "third!");
    assert_int_equal(rename("new", "scripts/chat.lua"), 0);
}

static void delete_it(void) {
    assert_int_equal(unlink("scripts/chat.lua"), 0);
}

static void save_module(void) {
    write_file("scripts/lib/words.lua", "words");
}

static void save_as_old(void) { // the same length and the same time: rsync -t, cp -p
    shell("printf again >new && touch -r scripts/chat.lua new && mv new scripts/chat.lua");
}

static void new_folder(void) {
    shell("mkdir -p scripts/more/deep && printf x >scripts/more/deep/one.lua");
}

static void save_in_new_folder(void) {
    write_file("scripts/more/deep/one.lua", "other");
}

static void remove_folder(void) {
    shell("rm -r scripts/more");
}

static void each_kind_of_save(void) {
    expect_told(save_in_place);
    expect_told(save_as_vim);
    expect_told(move_over);
    expect_told(delete_it);
    run_for(3000);
    expect_told(save_in_place);
    expect_told(save_module);
    expect_told(save_as_old);
    expect_told(new_folder);
    expect_told(save_in_new_folder);
    expect_told(remove_folder);
    expect_told(new_folder); // often with the same inodes
    expect_told(save_in_new_folder);
    settle();
    expect_quiet();
}

static void every_kind_of_save_is_told_by_events(void **state) {
    (void)state;
    start("scripts", BY_EVENTS);
    each_kind_of_save();
}

static void every_kind_of_save_is_found_by_looking_alone(void **state) {
    (void)state;
    start("scripts", BY_LOOKING);
    each_kind_of_save();
    assert_string_equal(said, "");
}

static void what_changes_before_the_loop_runs_is_told(void **state) {
    (void)state;
    start("scripts", BY_EVENTS);
    save_in_place();
    expect_more_than(0);
}

static void reads_and_other_files_are_not_told(void **state) {
    (void)state;
    start("scripts", BY_EVENTS);
    expect_quiet();
    shell("cat scripts/*.lua >/dev/null && ls -lR scripts >/dev/null");
    write_file("scripts/app.log", "a line");
    write_file("scripts/public/page.lua", "no script");
    write_file("scripts/.chat.lua", "a lock of an editor");
    shell("mkdir -p scripts/.git/x && printf x >scripts/.git/x/y.lua");
    shell("printf x >scripts/data.db-journal && rm scripts/data.db-journal");
    shell("printf x >beside.lua && mkdir scripts/empty");
    expect_quiet();
    assert_int_equal(calls, 0);
    expect_told(save_in_place); // and yet it is awake
}

static void many_files_at_once_are_told_once(void **state) {
    (void)state;
    start("scripts", BY_EVENTS);
    expect_quiet();
    for (int i = 0; i < 200; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "scripts/games/s%d.lua", i);
        write_file(path, "return {}");
    }
    expect_more_than(0);
    expect_quiet();
    assert_int_equal(calls, 1);
}

static void a_checkout_of_a_folder_is_told(void **state) {
    (void)state;
    shell("export GIT_CONFIG_GLOBAL=/dev/null; cd scripts && git init -q . && git add -A && "
          "git -c user.name=a -c user.email=a@b commit -qm one && git checkout -q -b two && "
          "printf 'the second' >chat.lua && mkdir new && printf x >new/a.lua && git add -A && "
          "git -c user.name=a -c user.email=a@b commit -qm two");
    start("scripts", BY_EVENTS);
    expect_quiet();
    assert_int_equal(calls, 0);
    shell("cd scripts && git checkout -q -");
    expect_more_than(0);
    settle();
    int before = calls;
    shell("cd scripts && git checkout -q two");
    expect_more_than(before);
    settle();
    before = calls;
    write_file("scripts/new/a.lua", "it is watched anew");
    expect_more_than(before);
}

static int writer;
static int writes;

static void write_on(void) {
    put(writer, "another line\n");
    writes++;
}

static void writing_that_never_ends_is_told_nevertheless(void **state) {
    (void)state;
    start("scripts", BY_EVENTS);
    expect_quiet();
    writer = open_file("scripts/chat.lua", O_APPEND);
    writes = 0;
    tick.data = (void *)write_on;
    expect_more_than(1); // while it goes on
    tick.data = NULL;
    assert_true(writes > 0);
    int before = calls;
    put(writer, "the last line\n");
    close(writer);
    expect_more_than(before);
    settle();
}

static int rest;

static void write_rest(void) {
    if (rest > 0) {
        put(writer, "a part");
        rest--;
    }
}

static void a_save_in_pieces_is_told_when_its_end_is_written(void **state) {
    (void)state;
    start("scripts", BY_EVENTS);
    expect_quiet();
    writer = open_file("scripts/chat.lua", O_TRUNC);
    rest = 40;
    tick.data = (void *)write_rest;
    while (rest > 0) {
        run_for(TICK_MS);
    }
    tick.data = NULL;
    int before = calls; // on a slow machine there may have been pauses
    put(writer, "the end");
    close(writer);
    expect_more_than(before);
    settle();
    expect_quiet();
}

// Links and folders that move ----------------------------------------------------------------

static void make_releases(void) {
    shell("mkdir -p releases/41 releases/42 && printf old >releases/41/chat.lua && "
          "printf new >releases/42/chat.lua && ln -s releases/41 current");
}

static void switch_by_ln(void) {
    shell("ln -sfn releases/42 current");
}

static void switch_by_mv(void) {
    shell("ln -s releases/41 next && mv -T next current");
}

static void save_in_release(void) {
    write_file("releases/41/chat.lua", "mended");
}

static void replace_release(void) {
    shell("rm -r releases/41 && mkdir releases/41 && printf fresh >releases/41/chat.lua");
}

static void links_switched(enum means means) {
    make_releases();
    start("current", means);
    expect_told(switch_by_ln);
    expect_told(switch_by_mv);
    expect_told(save_in_release);
    expect_told(replace_release);
    expect_told(save_in_release);
    settle();
    expect_quiet();
}

static void a_link_that_is_switched_is_told(void **state) {
    (void)state;
    links_switched(BY_EVENTS);
}

static void a_link_that_is_switched_is_found_by_looking(void **state) {
    (void)state;
    links_switched(BY_LOOKING);
}

static void a_link_on_the_way_is_followed_too(void **state) {
    (void)state;
    shell(
        "mkdir -p a/scripts b/scripts && printf a >a/scripts/x.lua && printf b >b/scripts/x.lua && "
        "ln -s a one && ln -s %s/one two",
        root);
    char dir[128];
    (void)snprintf(dir, sizeof dir, "%s/two/scripts", root);
    start(dir, BY_EVENTS);
    expect_quiet();
    shell("ln -sfn b one");
    expect_more_than(0);
    settle();
    int before = calls;
    write_file("b/scripts/x.lua", "more");
    expect_more_than(before);
}

static void save_behind_link(void) {
    write_file("store/a-file", "it was written in place");
}

static void replace_behind_link(void) {
    write_file("store/new", "it was moved there");
    assert_int_equal(rename("store/new", "store/a-file"), 0);
}

static void save_in_linked_folder(void) {
    write_file("store/folder/in.lua", "x");
}

static void put_what_a_link_names(void) {
    write_file("store/later", "x");
}

static void links_inside_lead_to_what_is_watched(void **state) {
    (void)state;
    shell("mkdir -p store/folder && printf x >store/a-file && touch store/folder/in.lua && "
          "ln -s ../store/a-file scripts/linked.lua && ln -s %s/store/folder scripts/games/far && "
          "ln -s ../store/later scripts/later.lua && ln -s .. scripts/loop && "
          "ln -s self scripts/self",
          root);
    start("scripts", BY_EVENTS);
    expect_told(save_behind_link);
    expect_told(replace_behind_link);
    expect_told(save_in_linked_folder);
    expect_told(put_what_a_link_names);
    settle();
    expect_quiet();
}

static void move_away(void) {
    assert_int_equal(rename("scripts", "elsewhere"), 0);
}

static void move_back(void) {
    assert_int_equal(rename("elsewhere", "scripts"), 0);
}

static void a_folder_that_moves_away_and_back_is_told_of(void **state) {
    (void)state;
    start("scripts", BY_EVENTS);
    expect_told(move_away);
    expect_quiet();
    expect_told(move_back);
    expect_told(save_in_place);
    shell("mv scripts/games scripts/played && mv scripts/played scripts/games");
    expect_quiet();
    int before = calls;
    write_file("scripts/games/quiz.lua", "other");
    expect_more_than(before);
}

// Bounds -------------------------------------------------------------------------------------

static void what_is_over_the_bound_is_found_by_looking_and_said_once(void **state) {
    (void)state;
    const struct peri_watch_options options = {"scripts", 2, PERIOD_MS, on_changed, &calls};
    watch = peri_watch_new(&loop, &options);
    assert_non_null(watch);
    assert_non_null(strstr(said, "scripts can't be watched whole: too many folders and links: "
                                 "changes are looked for each second"));
    size_t n = strlen(said);
    expect_told(save_in_place);
    expect_told(save_module);
    expect_told(new_folder);
    assert_int_equal(strlen(said), n);
}

static void closing_in_the_midst_of_a_look_or_a_span_is_clean(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        start("scripts", BY_EVENTS);
        save_in_place();
        for (int turns = i; turns > 0; turns--) {
            (void)uv_run(&loop, UV_RUN_NOWAIT);
            if (i % 3 == 0) {
                run_for(1);
            }
        }
        if (i % 2 == 0) {
            run_for((uint64_t)i);
        }
        peri_watch_close(watch);
        calls = 0;
    }
    watch = NULL;
    run_for(100);
    assert_int_equal(calls, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_kind_of_save_is_told_by_events),
        TEST(every_kind_of_save_is_found_by_looking_alone),
        TEST(what_changes_before_the_loop_runs_is_told),
        TEST(reads_and_other_files_are_not_told),
        TEST(many_files_at_once_are_told_once),
        TEST(a_checkout_of_a_folder_is_told),
        TEST(writing_that_never_ends_is_told_nevertheless),
        TEST(a_save_in_pieces_is_told_when_its_end_is_written),
        TEST(a_link_that_is_switched_is_told),
        TEST(a_link_that_is_switched_is_found_by_looking),
        TEST(a_link_on_the_way_is_followed_too),
        TEST(links_inside_lead_to_what_is_watched),
        TEST(a_folder_that_moves_away_and_back_is_told_of),
        TEST(what_is_over_the_bound_is_found_by_looking_and_said_once),
        TEST(closing_in_the_midst_of_a_look_or_a_span_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
