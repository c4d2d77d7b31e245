// ports.work on a real loop: what runs elsewhere, in which order it is done, and that the host's end
// waits for it.
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "net/server.h"
#include "support/cmocka.h"

enum { WORKS = 40 };

struct piece {
    struct peri_work work; ///< first
    pthread_t ran_on;
    bool ran, done;
    struct piece *then; ///< to be asked for once this one is done
};

static struct peri_hub *hub;
static struct peri_server *server;
static struct peri_limits limits;
static struct piece pieces[WORKS];
static atomic_int running, most;
static size_t done_count, stop_at, cuts;
static struct peri_str heard;

static void run(struct peri_work *work) {
    struct piece *piece = (struct piece *)work;
    int now = atomic_fetch_add(&running, 1) + 1, seen = atomic_load(&most);
    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now)) {
    }
    const struct timespec while_ = {.tv_nsec = 2000000};
    nanosleep(&while_, NULL);
    piece->ran_on = pthread_self();
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
    assert_false(pthread_equal(piece->ran_on, pthread_self()));
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
    ask_for(0, stop_at > 0 ? stop_at : WORKS - 1);
    if (stop_at == 0) { // in their midst
        peri_server_stop(server);
    }
}

static void note_cut(void *arg) {
    (void)arg;
    cuts++;
}

static void note_news(void *arg, const struct peri_news *news) {
    assert_ptr_equal(arg, &heard);
    heard = news->script;
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
        cmocka_unit_test_setup_teardown(the_end_waits_for_work_and_for_what_it_leads_to, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(news_reach_the_listener, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
