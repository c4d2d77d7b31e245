// ports.work on a real loop: what runs elsewhere, in which order it is done, and that the host's end
// waits for it.
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "net/server.h"
#include "support/cmocka.h"

enum { WORKS = 40 };

struct piece {
    struct peri_work work; ///< first
    pthread_t ran_on;
    size_t stack_bytes;
    bool ran, done;
    struct piece *then; ///< to be asked for once this one is done
};

static struct peri_hub *hub;
static struct peri_server *server;
static struct peri_limits limits;
static struct piece pieces[WORKS];
static atomic_int running, most;
static size_t done_count, stop_at, cuts, threads_before;
static bool here; ///< no other thread can be had
static _Atomic bool in_handler;
static pthread_t loop_thread;
static struct peri_str heard;

static size_t stack_of(pthread_t thread) {
    pthread_attr_t attr;
    size_t bytes = 0;
    assert_int_equal(pthread_getattr_np(thread, &attr), 0);
    assert_int_equal(pthread_attr_getstacksize(&attr, &bytes), 0);
    assert_int_equal(pthread_attr_destroy(&attr), 0);
    return bytes;
}

static void run(struct peri_work *work) {
    struct piece *piece = (struct piece *)work;
    int now = atomic_fetch_add(&running, 1) + 1, seen = atomic_load(&most);
    assert_false(in_handler && pthread_equal(pthread_self(), loop_thread));
    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now)) {
    }
    const struct timespec while_ = {.tv_nsec = 2000000};
    nanosleep(&while_, NULL);
    piece->ran_on = pthread_self();
    piece->stack_bytes = stack_of(piece->ran_on);
    piece->ran = true;
    atomic_fetch_sub(&running, 1);
}

static const struct peri_ports *ports(void) {
    return peri_hub_ports(hub);
}

static void done(struct peri_work *work) {
    struct piece *piece = (struct piece *)work;
    assert_true(piece->ran);
    assert_false(piece->done);
    assert_int_equal(pthread_equal(piece->ran_on, pthread_self()) != 0, here);
    piece->done = true;
    done_count++;
    if (piece->then) {
        ports()->work(ports()->self, &piece->then->work);
    }
    if (done_count == stop_at) {
        peri_server_stop(server);
    }
}

static void ask_for(size_t first, size_t n) {
    for (size_t i = first; i < first + n; i++) {
        pieces[i].work = (struct peri_work){.run = run, .done = done};
        ports()->work(ports()->self, &pieces[i].work);
    }
}

static void begin(void *self) {
    (void)self;
    in_handler = true;
    loop_thread = pthread_self();
    ask_for(0, stop_at > 0 ? stop_at : WORKS - 1);
    if (stop_at == 0) { // in their midst
        peri_server_stop(server);
    }
    in_handler = false;
}

static void note_cut(void *arg) {
    (void)arg;
    cuts++;
}

static void note_news(void *arg, const struct peri_news *news) {
    assert_ptr_equal(arg, &heard);
    heard = news->script;
}

static size_t thread_count(void) {
    DIR *tasks = opendir("/proc/self/task");
    size_t n = 0;
    assert_non_null(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        n += task->d_name[0] != '.';
    }
    closedir(tasks);
    return n;
}

static int set_up(void **state) {
    (void)state;
    const struct peri_policy policy = {.wake = begin};
    peri_limits_init(&limits);
    hub = peri_hub_new(0, &limits);
    assert_non_null(hub);
    const struct peri_server_options options = {
        .limits = &limits, .hub = hub, .cut_waits = note_cut, .news = note_news, .arg = &heard};
    server = peri_server_new(&options);
    assert_non_null(server);
    peri_hub_set_policy(hub, &policy);
    memset(pieces, 0, sizeof pieces);
    done_count = stop_at = cuts = 0;
    threads_before = thread_count();
    here = false;
    atomic_store(&most, 0);
    assert_int_equal(peri_server_start(server), PERI_OK);
    ports()->wake_at(ports()->self, 1); // begin() is called once the loop runs
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    peri_hub_free(hub);
    peri_server_free(server);
    return 0;
}

static void work_runs_on_other_threads_a_few_at_a_time(void **state) {
    (void)state;
    stop_at = WORKS;
    peri_server_run(server);
    assert_int_equal(done_count, WORKS);
    assert_in_range(atomic_load(&most), 1, 4);
}

/// One that has just ended may still be listed.
static void a_thread_ends_with_its_work(void **state) {
    (void)state;
    stop_at = WORKS;
    peri_server_run(server);
    const struct timespec while_ = {.tv_nsec = 1000000};
    for (int i = 0; i < 5000 && thread_count() > threads_before; i++) {
        nanosleep(&while_, NULL);
    }
    assert_true(thread_count() <= threads_before); // one of the last test may have been among them
}

/// All of the work, where a thread's stack is so large as a rule.
static void run_with_stacks_of(size_t bytes) {
    pthread_attr_t before, attr;
    assert_int_equal(pthread_getattr_default_np(&before), 0);
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, bytes), 0);
    assert_int_equal(pthread_setattr_default_np(&attr), 0);
    stop_at = WORKS;
    peri_server_run(server);
    assert_int_equal(pthread_setattr_default_np(&before), 0);
    assert_int_equal(done_count, WORKS);
}

static void a_thread_has_the_stack_that_a_script_may_need(void **state) {
    (void)state;
    run_with_stacks_of((size_t)128 * 1024);
    assert_true(pieces[0].stack_bytes >= (size_t)8 * 1024 * 1024);
}

static void without_a_thread_work_is_done_all_the_same(void **state) {
    (void)state;
    here = true;
    run_with_stacks_of((size_t)1 << 60); // none is granted that
}

static void the_end_waits_for_work_and_for_what_it_leads_to(void **state) {
    (void)state;
    struct piece *last = &pieces[WORKS - 1];
    last->work = (struct peri_work){.run = run, .done = done};
    pieces[WORKS - 2].then = last;
    stop_at = 0;
    peri_server_run(server);
    assert_int_equal(done_count, WORKS);
    assert_true(last->done);
    assert_true(cuts > 0);
}

static void a_server_that_never_ran_waits_for_work_that_has_begun(void **state) {
    (void)state;
    ask_for(0, 3);
    peri_hub_free(hub);
    peri_server_free(server);
    hub = NULL;
    server = NULL;
    assert_true(pieces[0].ran && pieces[1].ran);
    assert_int_equal(done_count, 0); // who asked may be gone
}

static void news_reach_the_listener(void **state) {
    (void)state;
    stop_at = 1;
    const struct peri_news news = {.script = PERI_STR("chat"), .what = PERI_RELOAD_DONE};
    ports()->news(ports()->self, &news);
    assert_str_equal(heard, "chat");
    peri_server_run(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(work_runs_on_other_threads_a_few_at_a_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_thread_ends_with_its_work, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_thread_has_the_stack_that_a_script_may_need, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_a_thread_work_is_done_all_the_same, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_end_waits_for_work_and_for_what_it_leads_to, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_server_that_never_ran_waits_for_work_that_has_begun,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(news_reach_the_listener, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
