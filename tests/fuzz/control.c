// The control socket's words. Whatever is asked, the answer is one line, which the asking side reads,
// and which says why where something is wrong. Whatever answers, the asking side reads it or refuses.
//
// The input: a number that the policy's answers depend on, then lines: "=ANSWER" is read by the asking
// side, "!" and a byte is news of a script, "?" looks for what is owed, anything else is a request.
#include "admin/ask.h"
#include "fuzz.h"

static const struct peri_admin_about about = {
    .version = {"1", 1}, .dir = {"d\xff", 2}, .addresses = {"http://x:1\n\n", 12}, .process = 1};
static const char *const names[] = {"a", "games/b", "\"\n\xc3"};
enum { NAMES = sizeof names / sizeof names[0] };

static uint32_t mood; ///< of the policy
static uint64_t now_ns;

static uint64_t fake_now(void *self) {
    (void)self;
    return now_ns;
}

static bool fake_status(void *self, size_t *cursor, struct peri_script_status *out) {
    (void)self;
    if (*cursor == NAMES) {
        return false;
    }
    struct peri_str text = peri_str_of(names[(*cursor)++]);
    *out = (struct peri_script_status){.name = text,
                                       .file = text,
                                       .generation = mood,
                                       .is_loading = mood & 1,
                                       .is_on_probation = mood & 2,
                                       .memory = UINT64_MAX,
                                       .last_error = mood & 4 ? text : PERI_STR(""),
                                       .error_age_ns = mood,
                                       .reload = mood % (PERI_RELOAD_GONE + 1),
                                       .reload_why = text,
                                       .p50_ns = UINT64_MAX};
    return true;
}

static int fake_reload(void *self, struct peri_str script, struct peri_buffer *error) {
    (void)self;
    return mood & 8 ? PERI_TELL(error, "no %.*s", PERI_SHOWN(script)) : (int)(mood >> 4 & 3);
}

/// Gives the code back.
static int fake_eval(void *self, struct peri_str script, struct peri_str code,
                     struct peri_buffer *out) {
    (void)self;
    (void)script;
    PERI_IGNORE(peri_buffer_append_str(out, code));
    return mood & 16 || out->len == 0 ? PERI_TELL(out, "!") : PERI_OK;
}

static void fake_measure(void *self, bool on) {
    bool *measures = self;
    FUZZ_CHECK(*measures != on);
    *measures = on;
}

/// Everything that an answer may hold.
static void walk(const struct peri_reading *reading) {
    struct peri_host_status host;
    struct peri_script_status script;
    struct peri_news news;
    struct peri_str text;
    struct peri_buffer line = {0};
    (void)peri_reading_is_ok(reading, &text);
    (void)peri_reading_text(reading);
    peri_reading_host(reading, &host);
    for (size_t i = 0; peri_reading_address(reading, i, &text); i++) {
    }
    for (size_t i = 0; peri_reading_script(reading, i, &script); i++) {
        FUZZ_CHECK(script.reload <= PERI_RELOAD_GONE);
        (void)peri_reading_rates(reading, reading, i);
    }
    for (size_t i = 0; peri_reading_reload(reading, i, &news); i++) {
        FUZZ_CHECK(news.what <= PERI_RELOAD_GONE);
    }
    FUZZ_CHECK(peri_reading_print(reading, reading, &line) == PERI_OK);
    peri_buffer_deinit(&line);
}

static void check_answer(struct peri_buffer *out) {
    struct peri_reading *reading = NULL;
    struct peri_str error;
    FUZZ_CHECK(out->len > 1 && memchr(out->ptr, '\n', out->len) == out->ptr + out->len - 1);
    FUZZ_CHECK(peri_reading_new(peri_buffer_str(out), &reading) == PERI_OK);
    FUZZ_CHECK(peri_reading_is_ok(reading, &error) || error.len > 0);
    walk(reading);
    peri_reading_free(reading);
    peri_buffer_clear(out, SIZE_MAX);
}

static void tell(struct peri_admin *admin, uint8_t about_what) {
    struct peri_str text = peri_str_of(names[about_what % NAMES]);
    const struct peri_news news = {.script = text,
                                   .file = text,
                                   .what = 1 + (about_what >> 2) % PERI_RELOAD_GONE,
                                   .was_asked = about_what & 16,
                                   .on_probation = about_what & 32,
                                   .message = text};
    peri_admin_news(admin, &news);
}

static void read_answer(struct peri_str line) {
    struct peri_reading *reading = NULL;
    char *copy = fuzz_copy(line);
    if (peri_reading_new(peri_str(copy, line.len), &reading) == PERI_OK) {
        walk(reading);
    }
    peri_reading_free(reading);
    free(copy);
}

void fuzz_one(struct peri_str in) {
    bool measures = false, owed = false;
    struct peri_limits limits;
    struct peri_buffer out = {0};
    const struct peri_ports ports = {.now_ns = fake_now};
    const struct peri_policy policy = {.self = &measures,
                                       .status = fake_status,
                                       .reload = fake_reload,
                                       .eval = fake_eval,
                                       .measure = fake_measure};
    peri_limits_init(&limits);
    mood = fuzz_number(&in);
    now_ns = 1;
    struct peri_hub *hub = peri_hub_new(0, &limits);
    FUZZ_CHECK(hub);
    peri_hub_set_ports(hub, &ports);
    peri_hub_set_policy(hub, &policy);
    struct peri_admin *admin = peri_admin_new(hub, &about);
    struct peri_admin_client *client = admin ? peri_admin_open(admin) : NULL;
    FUZZ_CHECK(client);
    while (in.len > 0) {
        struct peri_str line = fuzz_line(&in);
        char kind = line.len > 0 ? line.ptr[0] : '\0';
        if (kind == '=') {
            read_answer(peri_str(line.ptr + 1, line.len - 1));
        } else if (kind == '!') {
            tell(admin, line.len > 1 ? (uint8_t)line.ptr[1] : 0);
        } else if (kind == '?' || owed) {
            now_ns += 1000000000;
            mood = mood * 5 + 1;
            int status = peri_admin_later(client, &out);
            FUZZ_CHECK(status == PERI_OK || (status == PERI_AGAIN && owed && out.len == 0));
            FUZZ_CHECK(owed || out.len == 0);
            if (owed && status == PERI_OK) {
                check_answer(&out);
            }
            owed = status == PERI_AGAIN;
        } else {
            char *copy = fuzz_copy(line);
            int status = peri_admin_line(client, peri_str(copy, line.len), &out);
            FUZZ_CHECK(status == PERI_OK || (status == PERI_AGAIN && out.len == 0));
            owed = status == PERI_AGAIN;
            free(copy);
            if (!owed) {
                check_answer(&out);
            }
        }
    }
    peri_admin_close(client);
    FUZZ_CHECK(!measures);
    peri_admin_free(admin);
    peri_hub_free(hub);
    peri_buffer_deinit(&out);
}
