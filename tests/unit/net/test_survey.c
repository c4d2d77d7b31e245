// What a look at a folder finds, and that it costs nothing when memory runs out. What comes of it:
// test_watch.c.
#include "net/survey.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "support/cmocka.h"

static char root[64];
static struct peri_survey survey;

static void shell(const char *command) {
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): the commands are ours
}

static int begin(void **state) {
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/perigee-survey-XXXXXX");
    if (!mkdtemp(root) || chdir(root) < 0) {
        return -1;
    }
    shell("mkdir -p real/games/public/in real/.git && echo a >real/chat.lua && "
          "echo b >real/games/quiz.lua && echo c >real/games/public/in/page.lua && "
          "echo d >real/notes.txt && ln -s ../store/x real/linked.lua && ln -s real scripts");
    return 0;
}

static int end(void **state) {
    (void)state;
    char command[80];
    (void)snprintf(command, sizeof command, "rm -rf %s", root);
    peri_survey_deinit(&survey);
    int rc = chdir("/");
    shell(command);
    return rc == 0 && peri_alloc_live() == 0 ? 0 : -1;
}

static uint64_t look(void) {
    assert_int_equal(peri_survey_take(&survey, "scripts"), PERI_OK);
    return survey.digest;
}

static void expect_places(const char *wanted) {
    char got[512] = "";
    for (size_t i = 0; i < survey.place_count; i++) {
        struct peri_place place = peri_survey_place(&survey, i);
        assert_int_equal(place.key.len, strlen(place.path) + 1 + strlen(place.name));
        (void)snprintf(got + strlen(got), sizeof got - strlen(got), "[%s %s]", place.path,
                       place.name);
    }
    assert_string_equal(got, wanted);
}

static void folders_and_names_on_the_way_are_places(void **state) {
    (void)state;
    assert_int_equal(peri_survey_take(&survey, "real/games"), PERI_OK);
    expect_places("[./real games][real/games ]");
    assert_int_equal(peri_survey_take(&survey, "."), PERI_OK);
    assert_int_equal(peri_survey_take(&survey, "not/there"), PERI_OK);
    expect_places("[. not]"); // whatever is to come begins with it
    shell("rm real/linked.lua && rm -r real/games && ln -s scripts/../scripts again");
    assert_int_equal(peri_survey_take(&survey, "again/"), PERI_OK);
    expect_places("[. again][. scripts][./real/.. scripts][./real/.. real][again/ ]");
}

static void tick(void) {
    const struct timespec ticks = {.tv_nsec = 20000000};
    (void)nanosleep(&ticks, NULL);
}

static void the_digest_is_of_scripts_only(void **state) {
    (void)state;
    uint64_t first = look();
    shell("echo more >>real/notes.txt && echo >real/games/public/in/page.lua && "
          "echo >real/.git/x.lua && mkdir real/empty && cat real/*.lua >/dev/null 2>&1; true");
    assert_true(look() == first);
    static const char *const changes[] = {
        "echo more >>real/chat.lua",
        "touch -d '2020-01-01' real/chat.lua",
        "chmod 600 real/chat.lua",
        "mv real/chat.lua real/talk.lua",
        "cp -p real/talk.lua new && mv new real/talk.lua",
        "mkdir store && echo >store/x", // a link leads there
        "echo more >>store/x",
        "rm real/talk.lua",
        "mv real elsewhere",
        "mv elsewhere real && rm real/games/quiz.lua",
    };
    uint64_t before = first;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        tick(); // of the file system's clock, which some changes show by alone
        shell(changes[i]);
        uint64_t after = look();
        if (after == before) {
            fail_msg("not seen: %s", changes[i]);
        }
        before = after;
    }
}

static void links_in_a_circle_come_to_an_end(void **state) {
    (void)state;
    shell("ln -s .. real/up && ln -s round real/round && ln -s . real/games/here && "
          "ln -s one.lua real/two.lua && ln -s two.lua real/one.lua");
    (void)look();
    assert_true(survey.place_count < 200);
}

static void folders_without_end_are_bounded(void **state) {
    (void)state;
    // Each link doubles the ways: 2^16 of them, without a circle.
    shell("for i in $(seq 16); do mkdir real/d$i; ln -s ../d$((i + 1)) real/d$i/a; "
          "ln -s ../d$((i + 1)) real/d$i/b; done; mkdir real/d17");
    (void)look();
    assert_true(survey.is_cut && survey.is_full);
    assert_int_equal(survey.place_count, PERI_SURVEY_PLACES);
    shell("rm -r real/d*");
    (void)look();
    assert_false(survey.is_cut || survey.is_full);
}

static void without_memory_there_is_no_look_and_no_leak(void **state) {
    (void)state;
    uint64_t digest = look(), failed = 0;
    for (int status = PERI_E_MEMORY; status != PERI_OK; failed++) {
        peri_survey_deinit(&survey);
        survey = (struct peri_survey){0};
        uint64_t live = peri_alloc_live();
        peri_alloc_fail_from(failed + 1);
        status = peri_survey_take(&survey, "scripts");
        peri_alloc_fail_from(0);
        assert_true(status == PERI_OK || status == PERI_E_MEMORY);
        peri_survey_deinit(&survey);
        assert_int_equal(peri_alloc_live(), live);
    }
    assert_true(failed > 10);
    assert_true(look() == digest);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(folders_and_names_on_the_way_are_places),
        TEST(the_digest_is_of_scripts_only),
        TEST(links_in_a_circle_come_to_an_end),
        TEST(folders_without_end_are_bounded),
        TEST(without_memory_there_is_no_look_and_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
