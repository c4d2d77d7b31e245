// `perigee check` over a folder with the input as its script, which is read and not run.
#include "script/check.h"

#include "cli/sources.h"
#include "world.h"

static void check_finding(const struct peri_finding *finding) {
    FUZZ_CHECK(finding->line >= 1 && finding->column >= 1);
    FUZZ_CHECK(finding->file && finding->rule && finding->message && finding->message[0]);
    FUZZ_CHECK(finding->source.len == 0 || !memchr(finding->source.ptr, '\n', finding->source.len));
    volatile uint8_t sum = 0; // each byte is there
    for (size_t i = 0; i < finding->source.len; i++) {
        sum = (uint8_t)(sum + (uint8_t)finding->source.ptr[i]);
    }
}

static void run(void) {
    struct peri_settings settings;
    struct peri_check check;
    struct peri_buffer error = {0};
    FUZZ_CHECK(peri_settings_init(&settings) == PERI_OK);
    int status =
        peri_check_folder(world.host, peri_settings_take_of_folder, &settings, &check, &error);
    FUZZ_CHECK(status == PERI_OK);
    for (size_t i = 0; i < check.count; i++) {
        check_finding(&check.findings[i]);
    }
    peri_check_free(&check);
    peri_settings_deinit(&settings);
    peri_buffer_deinit(&error);
}

void fuzz_one(struct peri_str in) {
    world_begin();
    world_write("play.lua", in);
    run();
    world_end();
}
