// What the control socket says, over a policy that the tests decide about.
#include "admin/admin.h"

#include <stdio.h>

#include "admin/ask.h"
#include "base/alloc.h"
#include "support/cmocka.h"

enum { SCRIPTS = 2 };

static struct {
    struct peri_script_status scripts[SCRIPTS];
    struct peri_limits limits;
    struct peri_hub *hub;
    struct peri_admin *admin;
    struct peri_admin_client *client;
    struct peri_buffer out, asked;
    uint64_t now_ns, live;
    int begun;              ///< what policy.reload answers
    bool fails_at_once;     ///< and then tells before it answers
    int measured, measures; ///< how often it was switched, and as what
    int eval_status;
} world;

static const struct peri_admin_about about = {
    .version = {"1.2.3", 5},
    .dir = {"scripts", 7},
    .addresses = {"http://localhost:8000\nunix:/run/x\n", 34},
    .process = 42,
};

static uint64_t fake_now(void *self) {
    (void)self;
    return world.now_ns;
}

static bool fake_status(void *self, size_t *cursor, struct peri_script_status *out) {
    (void)self;
    if (*cursor == SCRIPTS) {
        return false;
    }
    *out = world.scripts[(*cursor)++];
    return true;
}

static struct peri_news news_of(const char *script, enum peri_reload what) {
    return (struct peri_news){.script = peri_str_of(script),
                              .file = PERI_STR("scripts/a.lua"),
                              .line = what == PERI_RELOAD_FAILED ? 7 : 0,
                              .generation = 2,
                              .what = what,
                              .was_asked = true,
                              .on_probation = what == PERI_RELOAD_DONE,
                              .message = PERI_STR("it is so")};
}

static void tell(const char *script, enum peri_reload what) {
    struct peri_news news = news_of(script, what);
    peri_admin_news(world.admin, &news);
}

static int fake_reload(void *self, struct peri_str script, struct peri_buffer *error) {
    (void)self;
    peri_buffer_clear(&world.asked, SIZE_MAX);
    PERI_IGNORE(peri_buffer_append_str(&world.asked, script));
    if (world.begun == PERI_E_INVALID) {
        return PERI_TELL(error, "there is no script \"%.*s\"", PERI_SHOWN(script));
    }
    if (world.fails_at_once) {
        tell("a", PERI_RELOAD_FAILED);
    }
    return world.begun;
}

static int fake_eval(void *self, struct peri_str script, struct peri_str code,
                     struct peri_buffer *out) {
    (void)self;
    if (world.eval_status != PERI_E_MEMORY) {
        PERI_IGNORE(
            peri_buffer_printf(out, "%.*s: %.*s\xff", PERI_SHOWN(script), PERI_SHOWN(code)));
    }
    return world.eval_status;
}

static void fake_measure(void *self, bool on) {
    (void)self;
    world.measured++;
    world.measures = on;
}

static void set_policy(bool reloads) {
    const struct peri_policy policy = {.status = fake_status,
                                       .eval = fake_eval,
                                       .measure = fake_measure,
                                       .reload = reloads ? fake_reload : NULL};
    peri_hub_set_policy(world.hub, &policy);
}

static int set_up(void **state) {
    (void)state;
    const struct peri_ports ports = {.now_ns = fake_now};
    memset(&world, 0, sizeof world);
    world.live = peri_alloc_live();
    peri_limits_init(&world.limits);
    world.hub = peri_hub_new(0, &world.limits);
    assert_non_null(world.hub);
    peri_hub_set_ports(world.hub, &ports);
    set_policy(true);
    world.scripts[0] = (struct peri_script_status){.name = PERI_STR("a"),
                                                   .file = PERI_STR("scripts/a.lua"),
                                                   .generation = 3,
                                                   .version = -2,
                                                   .is_moving = true,
                                                   .connections = 5,
                                                   .rooms = 4,
                                                   .timers = 6,
                                                   .waiting = 1,
                                                   .memory = 1234,
                                                   .memory_max = 1 << 20,
                                                   .messages = UINT64_MAX,
                                                   .errors = 9,
                                                   .last_error = PERI_STR("a\x80"
                                                                          "b"),
                                                   .error_age_ns = 2500000000,
                                                   .reload = PERI_RELOAD_FAILED,
                                                   .reload_why = PERI_STR("scripts/a.lua:7: no"),
                                                   .reload_age_ns = 61000000000,
                                                   .p50_ns = 1500,
                                                   .p99_ns = 40000};
    world.scripts[1] = (struct peri_script_status){.name = PERI_STR("games/b")};
    world.now_ns = 1000000000;
    world.admin = peri_admin_new(world.hub, &about);
    assert_non_null(world.admin);
    world.client = peri_admin_open(world.admin);
    assert_non_null(world.client);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    peri_admin_close(world.client);
    peri_admin_free(world.admin);
    peri_hub_free(world.hub);
    peri_buffer_deinit(&world.out);
    peri_buffer_deinit(&world.asked);
    assert_int_equal(peri_alloc_live(), world.live);
    return 0;
}

static int ask(const char *line) {
    peri_buffer_clear(&world.out, SIZE_MAX);
    return peri_admin_line(world.client, peri_str_of(line), &world.out);
}

/// The answer, whole and on one line.
static struct peri_reading *reading(void) {
    struct peri_reading *made = NULL;
    struct peri_str line = peri_buffer_str(&world.out);
    assert_true(line.len > 0 && line.ptr[line.len - 1] == '\n');
    assert_ptr_equal(memchr(line.ptr, '\n', line.len), line.ptr + line.len - 1);
    assert_int_equal(peri_reading_new(line, &made), PERI_OK);
    return made;
}

#define assert_error(literal) \
    do { \
        struct peri_str error_; \
        struct peri_reading *reading_ = reading(); \
        assert_false(peri_reading_is_ok(reading_, &error_)); \
        assert_str_equal(error_, literal); \
        peri_reading_free(reading_); \
    } while (0)

static void status_tells_of_the_host_and_each_script(void **state) {
    (void)state;
    struct peri_host_status host;
    struct peri_script_status script;
    struct peri_str text;
    world.now_ns += 90000000000;
    assert_int_equal(ask("{\"do\":\"status\",\"measure\":true}"), PERI_OK);
    struct peri_reading *it = reading();
    assert_true(peri_reading_is_ok(it, &text));
    peri_reading_host(it, &host);
    assert_str_equal(host.version, "1.2.3");
    assert_str_equal(host.dir, "scripts");
    assert_int_equal(host.process, 42);
    assert_int_equal(host.up_ns, 90000000000);
    assert_true(peri_reading_address(it, 0, &text));
    assert_str_equal(text, "http://localhost:8000");
    assert_true(peri_reading_address(it, 1, &text));
    assert_str_equal(text, "unix:/run/x");
    assert_false(peri_reading_address(it, 2, &text));

    assert_true(peri_reading_script(it, 0, &script));
    const struct peri_script_status *is = &world.scripts[0];
    assert_str_equal(script.name, "a");
    assert_str_equal(script.file, "scripts/a.lua");
    assert_int_equal(script.generation, 3);
    assert_int_equal(script.version, -2);
    assert_true(script.is_moving && !script.is_loading && !script.is_on_probation);
    assert_int_equal(script.connections, is->connections);
    assert_int_equal(script.rooms, is->rooms);
    assert_int_equal(script.timers, is->timers);
    assert_int_equal(script.waiting, is->waiting);
    assert_int_equal(script.memory, is->memory);
    assert_int_equal(script.memory_max, is->memory_max);
    assert_true(script.messages == UINT64_MAX);
    assert_int_equal(script.errors, is->errors);
    assert_str_equal(script.last_error, "a\xef\xbf\xbd"
                                        "b");
    assert_int_equal(script.error_age_ns, is->error_age_ns);
    assert_int_equal(script.reload, PERI_RELOAD_FAILED);
    assert_str_equal(script.reload_why, "scripts/a.lua:7: no");
    assert_int_equal(script.reload_age_ns, is->reload_age_ns);
    assert_int_equal(script.p50_ns, is->p50_ns);
    assert_int_equal(script.p99_ns, is->p99_ns);

    assert_true(peri_reading_script(it, 1, &script));
    assert_str_equal(script.name, "games/b");
    assert_int_equal(script.reload, PERI_RELOAD_NONE);
    assert_int_equal(script.last_error.len, 0);
    assert_false(peri_reading_script(it, 2, &script));
    peri_reading_free(it);
}

static void measuring_lasts_while_a_client_that_asked_for_it_is_there(void **state) {
    (void)state;
    assert_int_equal(ask("{\"do\":\"status\"}"), PERI_OK);
    assert_int_equal(world.measured, 0);
    assert_int_equal(ask("{\"do\":\"status\",\"measure\":true}"), PERI_OK);
    assert_int_equal(ask("{\"do\":\"status\",\"measure\":true}"), PERI_OK);
    assert_true(world.measured == 1 && world.measures);
    struct peri_admin_client *other = peri_admin_open(world.admin);
    assert_non_null(other);
    struct peri_str line = PERI_STR("{\"do\":\"status\",\"measure\":true}");
    assert_int_equal(peri_admin_line(other, line, &world.out), PERI_OK);
    assert_int_equal(ask("{\"do\":\"status\",\"measure\":false}"), PERI_OK);
    assert_int_equal(world.measured, 1);
    peri_admin_close(other);
    assert_true(world.measured == 2 && !world.measures);
}

static void what_is_no_request_gets_an_answer_that_says_why(void **state) {
    (void)state;
    static const char *const no_objects[] = {"",
                                             "status",
                                             "[]",
                                             "1",
                                             "{\"do\":\"status\"",
                                             "{}x",
                                             "null",
                                             "\"do\"",
                                             "{\"do\":\"st\xff\"}"};
    for (size_t i = 0; i < sizeof no_objects / sizeof no_objects[0]; i++) {
        assert_int_equal(ask(no_objects[i]), PERI_OK);
        assert_error("a request is a JSON object on a line of its own");
    }
    assert_int_equal(ask("{}"), PERI_OK);
    assert_error("\"do\" is \"status\", \"reload\" or \"eval\"");
    assert_int_equal(ask("{\"do\":\"stop\"}"), PERI_OK);
    assert_error("\"do\" is \"status\", \"reload\" or \"eval\"");
    assert_int_equal(ask("{\"do\":\"reload\",\"waite\":true}"), PERI_OK);
    assert_error("unknown key \"waite\"");
    assert_int_equal(ask("{\"do\":\"reload\",\"wait\":1}"), PERI_OK);
    assert_error("\"wait\" is true or false");
    assert_int_equal(ask("{\"do\":\"reload\",\"script\":[\"a\"]}"), PERI_OK);
    assert_error("\"script\" is a text");
}

static void eval_gives_text_or_an_error(void **state) {
    (void)state;
    assert_int_equal(ask("{\"do\":\"eval\",\"script\":\"a\",\"code\":\"1 + 1\"}"), PERI_OK);
    struct peri_reading *it = reading();
    struct peri_str text;
    assert_true(peri_reading_is_ok(it, &text));
    assert_str_equal(peri_reading_text(it), "a: 1 + 1\xef\xbf\xbd");
    peri_reading_free(it);
    world.eval_status = PERI_E_INVALID;
    assert_int_equal(ask("{\"do\":\"eval\",\"script\":\"a\",\"code\":\"x\"}"), PERI_OK);
    assert_error("a: x\xef\xbf\xbd");
    world.eval_status = PERI_E_MEMORY;
    assert_int_equal(ask("{\"do\":\"eval\",\"script\":\"a\",\"code\":\"x\"}"), PERI_E_MEMORY);
    assert_int_equal(world.out.len, 0);
}

// Reload --------------------------------------------------------------------------------------

static int later(void) {
    return peri_admin_later(world.client, &world.out);
}

static void expect_reload(const char *script, enum peri_reload what, bool ok) {
    struct peri_news news;
    struct peri_str error;
    struct peri_reading *it = reading();
    assert_int_equal(peri_reading_is_ok(it, &error), ok);
    for (size_t i = 0; peri_reading_reload(it, i, &news); i++) {
        if (peri_str_equal(news.script, peri_str_of(script))) {
            assert_int_equal(news.what, what);
            assert_int_equal(news.generation, 2);
            assert_int_equal(news.line, what == PERI_RELOAD_FAILED ? 7 : 0);
            assert_str_equal(news.file, "scripts/a.lua");
            peri_reading_free(it);
            return;
        }
    }
    fail_msg("no outcome of %s", script);
}

static void a_reload_is_answered_when_every_script_was_heard_of(void **state) {
    (void)state;
    world.begun = 2;
    assert_int_equal(ask("{\"do\":\"reload\"}"), PERI_AGAIN);
    assert_int_equal(world.asked.len, 0);
    tell("a", PERI_RELOAD_DONE);
    assert_int_equal(later(), PERI_AGAIN);
    tell("a", PERI_RELOAD_DONE); // again: that is still one script
    assert_int_equal(later(), PERI_AGAIN);
    assert_int_equal(world.out.len, 0);
    tell("games/b", PERI_RELOAD_DONE);
    assert_int_equal(later(), PERI_OK);
    expect_reload("a", PERI_RELOAD_DONE, true);
    expect_reload("games/b", PERI_RELOAD_DONE, true);
    assert_int_equal(ask("{\"do\":\"status\"}"), PERI_OK);
}

static void a_reload_of_one_hears_of_no_other_and_of_no_save(void **state) {
    (void)state;
    struct peri_news saved = news_of("a", PERI_RELOAD_FAILED);
    saved.was_asked = false;
    world.begun = 1;
    assert_int_equal(ask("{\"do\":\"reload\",\"script\":\"a\"}"), PERI_AGAIN);
    assert_str_equal(peri_buffer_str(&world.asked), "a");
    tell("games/b", PERI_RELOAD_DONE);
    peri_admin_news(world.admin, &saved);
    assert_int_equal(later(), PERI_AGAIN);
    tell("a", PERI_RELOAD_DONE);
    assert_int_equal(later(), PERI_OK);
    expect_reload("a", PERI_RELOAD_DONE, true);
}

static void one_that_fails_is_told_with_its_place(void **state) {
    (void)state;
    world.begun = 1;
    assert_int_equal(ask("{\"do\":\"reload\",\"script\":\"a\"}"), PERI_AGAIN);
    tell("a", PERI_RELOAD_FAILED);
    assert_int_equal(later(), PERI_OK);
    expect_reload("a", PERI_RELOAD_FAILED, false);
    assert_error("1 of 1 did not reload");
}

static void one_that_fails_before_policy_has_answered_is_heard(void **state) {
    (void)state;
    world.begun = 1;
    world.fails_at_once = true;
    assert_int_equal(ask("{\"do\":\"reload\",\"script\":\"a\"}"), PERI_OK);
    expect_reload("a", PERI_RELOAD_FAILED, false);
}

static void no_such_script_is_told_at_once(void **state) {
    (void)state;
    world.begun = PERI_E_INVALID;
    assert_int_equal(ask("{\"do\":\"reload\",\"script\":\"c\"}"), PERI_OK);
    assert_error("there is no script \"c\"");
    assert_int_equal(later(), PERI_OK); // nothing is owed
}

static void with_nothing_to_reload_it_is_answered_at_once(void **state) {
    (void)state;
    assert_int_equal(ask("{\"do\":\"reload\"}"), PERI_OK);
    struct peri_str error;
    struct peri_reading *it = reading();
    assert_true(peri_reading_is_ok(it, &error));
    peri_reading_free(it);
}

static void waiting_lasts_until_the_probation_is_over(void **state) {
    (void)state;
    world.begun = 1;
    assert_int_equal(ask("{\"do\":\"reload\",\"script\":\"a\",\"wait\":true}"), PERI_AGAIN);
    world.scripts[0].is_on_probation = true;
    tell("a", PERI_RELOAD_DONE);
    for (int i = 0; i < 100; i++) {
        world.now_ns += 1000000000;
        assert_int_equal(later(), PERI_AGAIN);
    }
    world.scripts[0].is_on_probation = false;
    world.scripts[0].reload = PERI_RELOAD_DONE;
    assert_int_equal(later(), PERI_OK);
    expect_reload("a", PERI_RELOAD_DONE, true);
}

static void a_revert_ends_the_waiting_as_a_failure(void **state) {
    (void)state;
    for (int heard = 0; heard < 2; heard++) {
        world.begun = 1;
        assert_int_equal(ask("{\"do\":\"reload\",\"script\":\"a\",\"wait\":true}"), PERI_AGAIN);
        world.scripts[0].is_on_probation = true;
        tell("a", PERI_RELOAD_DONE);
        assert_int_equal(later(), PERI_AGAIN);
        world.scripts[0].is_on_probation = false;
        world.scripts[0].reload = PERI_RELOAD_DONE;
        world.scripts[0].is_loading = true; // the one before
        assert_int_equal(later(), PERI_AGAIN);
        world.scripts[0].is_loading = false;
        world.scripts[0].reload = PERI_RELOAD_REVERTED;
        world.scripts[0].generation = 2;
        if (heard) {
            struct peri_news news = news_of("a", PERI_RELOAD_REVERTED);
            news.was_asked = false; // nobody asks for a revert
            peri_admin_news(world.admin, &news);
        }
        assert_int_equal(later(), PERI_OK);
        expect_reload("a", PERI_RELOAD_REVERTED, false);
    }
}

static void a_reload_that_is_never_heard_of_is_answered_in_the_end(void **state) {
    (void)state;
    world.begun = 2;
    assert_int_equal(ask("{\"do\":\"reload\"}"), PERI_AGAIN);
    tell("a", PERI_RELOAD_DONE);
    world.now_ns += 3000000000;
    world.scripts[1].is_loading = true;
    assert_int_equal(later(), PERI_AGAIN);
    world.scripts[1].is_loading = false;
    assert_int_equal(later(), PERI_OK);
    expect_reload("a", PERI_RELOAD_DONE, false);
    assert_error("nothing was heard of 1 of 2");
}

static void a_policy_that_cannot_reload_says_so(void **state) {
    (void)state;
    set_policy(false);
    assert_int_equal(ask("{\"do\":\"reload\"}"), PERI_OK);
    assert_error("this host can't reload: restart it");
}

static void a_client_may_leave_in_the_midst_of_a_reload(void **state) {
    (void)state;
    struct peri_admin_client *other = peri_admin_open(world.admin);
    assert_non_null(other);
    world.begun = 2;
    struct peri_str line = PERI_STR("{\"do\":\"reload\"}");
    assert_int_equal(peri_admin_line(other, line, &world.out), PERI_AGAIN);
    tell("a", PERI_RELOAD_DONE);
    peri_admin_close(other);
    tell("games/b", PERI_RELOAD_DONE);
}

// Both sides ------------------------------------------------------------------------------------

static void requests_are_written_as_they_are_read(void **state) {
    (void)state;
    struct peri_buffer line = {0};
    world.begun = PERI_E_INVALID;
    assert_int_equal(peri_ask_status(&line, true), PERI_OK);
    assert_str_equal(peri_buffer_str(&line), "{\"do\":\"status\",\"measure\":true}\n");
    line.len = 0;
    assert_int_equal(peri_ask_reload(&line, PERI_STR("a\"b"), true), PERI_OK);
    assert_str_equal(peri_buffer_str(&line),
                     "{\"do\":\"reload\",\"script\":\"a\\\"b\",\"wait\":true}\n");
    line.len = 0;
    assert_int_equal(peri_ask_reload(&line, PERI_STR(""), false), PERI_OK);
    assert_str_equal(peri_buffer_str(&line), "{\"do\":\"reload\",\"wait\":false}\n");
    line.len = 0;
    assert_int_equal(peri_ask_eval(&line, PERI_STR("a"), PERI_STR("x = 1\ny()")), PERI_OK);
    assert_str_equal(peri_buffer_str(&line),
                     "{\"do\":\"eval\",\"script\":\"a\",\"code\":\"x = 1\\ny()\"}\n");
    peri_buffer_deinit(&line);
}

static void an_answer_of_something_else_is_refused(void **state) {
    (void)state;
    static const char *const lines[] = {"", "HTTP/1.1 400 Bad Request", "{}", "{\"ok\":1}",
                                        "[true]"};
    struct peri_reading *it = NULL;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_int_equal(peri_reading_new(peri_str_of(lines[i]), &it), PERI_E_INVALID);
    }
    // Of another version: what is not as expected is nothing.
    const char *odd = "{\"ok\":true,\"scripts\":[{\"name\":7,\"memory\":-1,\"p50\":\"x\"},3],"
                      "\"reloads\":{},\"listening\":\"here\",\"up\":-5}";
    struct peri_script_status script;
    struct peri_news news;
    struct peri_host_status host;
    struct peri_str text;
    assert_int_equal(peri_reading_new(peri_str_of(odd), &it), PERI_OK);
    assert_true(peri_reading_script(it, 0, &script));
    assert_true(script.name.len == 0 && script.memory == 0 && script.p50_ns == 0);
    assert_true(peri_reading_script(it, 1, &script));
    assert_false(peri_reading_reload(it, 0, &news));
    assert_false(peri_reading_address(it, 0, &text));
    peri_reading_host(it, &host);
    assert_int_equal(host.up_ns, 0);
    peri_reading_free(it);
}

static struct peri_reading *read_line(const char *line) {
    struct peri_reading *it = NULL;
    assert_int_equal(peri_reading_new(peri_str_of(line), &it), PERI_OK);
    return it;
}

static void rates_are_of_the_time_between_two_answers(void **state) {
    (void)state;
    struct peri_reading *before = read_line(
        "{\"ok\":true,\"up\":10,\"scripts\":[{\"name\":\"gone\",\"messages\":9},"
        "{\"name\":\"a\",\"messages\":100,\"errors\":1},{\"name\":\"b\",\"messages\":50}]}");
    struct peri_reading *after = read_line(
        "{\"ok\":true,\"up\":12.5,\"scripts\":[{\"name\":\"a\",\"messages\":600,\"errors\":2},"
        "{\"name\":\"b\",\"messages\":40},{\"name\":\"new\",\"messages\":7}]}");
    struct peri_rates rates = peri_reading_rates(before, after, 0);
    assert_true(rates.messages == 200 && rates.errors == 0.4);
    assert_true(peri_reading_rates(before, after, 1).messages == 0); // it went back
    assert_true(peri_reading_rates(before, after, 2).messages == 0); // it was not there
    assert_true(peri_reading_rates(before, after, 3).messages == 0); // there is none
    assert_true(peri_reading_rates(after, before, 1).messages == 0); // another host
    struct peri_buffer line = {0};
    assert_int_equal(peri_reading_print(before, after, &line), PERI_OK);
    assert_int_equal(peri_buffer_append(&line, "", 1), PERI_OK);
    assert_non_null(
        strstr((char *)line.ptr, "\"errors\":2,\"messages_s\":200.0,\"errors_s\":0.4}"));
    peri_buffer_deinit(&line);
    peri_reading_free(before);
    peri_reading_free(after);
}

/// Everything that a client does, with the nth allocation and all later ones failing.
static bool run_starved(uint64_t nth) {
    static const char *const lines[] = {"{\"do\":\"status\",\"measure\":true}",
                                        "{\"do\":\"eval\",\"script\":\"a\",\"code\":\"1\"}",
                                        "{\"do\":\"nothing\"}", "{\"wait\":1}",
                                        "{\"do\":\"reload\",\"script\":\"a\",\"wait\":true}"};
    bool whole = true;
    peri_alloc_fail_from(nth);
    struct peri_admin_client *client = peri_admin_open(world.admin);
    for (size_t i = 0; client && i < sizeof lines / sizeof lines[0]; i++) {
        struct peri_buffer out = {0};
        int status = peri_admin_line(client, peri_str_of(lines[i]), &out);
        if (status == PERI_AGAIN) {
            tell("a", PERI_RELOAD_DONE);
            tell("a", PERI_RELOAD_REVERTED);
            status = peri_admin_later(client, &out);
        }
        whole = whole && status == PERI_OK && out.ptr[out.len - 1] == '\n';
        assert_true(status == PERI_OK || (status == PERI_E_MEMORY && out.len == 0));
        peri_buffer_deinit(&out);
    }
    peri_alloc_fail_from(0);
    peri_admin_close(client);
    return client && whole;
}

static void without_memory_nothing_is_half_said_and_nothing_leaks(void **state) {
    (void)state;
    uint64_t nth = 1, live = peri_alloc_live();
    world.begun = 1;
    while (!run_starved(nth)) {
        nth++;
        assert_true(nth < 10000);
        world.asked.len = 0;
    }
    assert_true(nth > 20);
    peri_buffer_deinit(&world.asked);
    assert_int_equal(peri_alloc_live(), live);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(status_tells_of_the_host_and_each_script),
        TEST(measuring_lasts_while_a_client_that_asked_for_it_is_there),
        TEST(what_is_no_request_gets_an_answer_that_says_why),
        TEST(eval_gives_text_or_an_error),
        TEST(a_reload_is_answered_when_every_script_was_heard_of),
        TEST(a_reload_of_one_hears_of_no_other_and_of_no_save),
        TEST(one_that_fails_is_told_with_its_place),
        TEST(one_that_fails_before_policy_has_answered_is_heard),
        TEST(no_such_script_is_told_at_once),
        TEST(with_nothing_to_reload_it_is_answered_at_once),
        TEST(waiting_lasts_until_the_probation_is_over),
        TEST(a_revert_ends_the_waiting_as_a_failure),
        TEST(a_reload_that_is_never_heard_of_is_answered_in_the_end),
        TEST(a_policy_that_cannot_reload_says_so),
        TEST(a_client_may_leave_in_the_midst_of_a_reload),
        TEST(requests_are_written_as_they_are_read),
        TEST(an_answer_of_something_else_is_refused),
        TEST(rates_are_of_the_time_between_two_answers),
        TEST(without_memory_nothing_is_half_said_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
