// The texts that a VM runs: lines as Lua counts them, excerpts, and the names in Lua's messages.
#include "script/sources.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "support/cmocka.h"

static struct peri_sources sources;

static const struct peri_source *keep(const char *path, const char *text) {
    struct peri_buffer buffer = {0};
    assert_int_equal(peri_buffer_append(&buffer, text, strlen(text)), PERI_OK);
    const struct peri_source *source = peri_sources_keep(&sources, path, &buffer);
    assert_non_null(source);
    assert_null(buffer.ptr);
    return source;
}

static void has_line(const char *text, uint32_t line, const char *expected) {
    struct peri_str found;
    const struct peri_source *source = keep("x.lua", text);
    assert_int_equal(peri_source_line(source, line, &found), expected != NULL);
    if (expected) {
        assert_int_equal(found.len, strlen(expected));
        assert_memory_equal(found.ptr, expected, found.len);
    }
}

static void lines_end_as_lua_counts_them(void **state) {
    (void)state;
    has_line("one\ntwo\nthree", 2, "two");
    has_line("one\r\ntwo\r\nthree", 3, "three");
    has_line("one\n\rtwo\rthree", 2, "two");
    has_line("one\n\ntwo", 2, "");
    has_line("one\r\rtwo", 3, "two");
    has_line("one", 1, "one");
    has_line("one\n", 2, "");
    has_line("one", 2, NULL);
    has_line("one", 0, NULL);
    has_line("one\n", 4000000000u, NULL);
}

static void has_excerpt(const char *text, uint32_t line, const char *expected) {
    char out[PERI_EXCERPT_MAX];
    size_t len = peri_source_excerpt(keep("x.lua", text), line, out);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(out, expected, len);
}

static void an_excerpt_has_two_lines_before_and_behind(void **state) {
    (void)state;
    has_excerpt("a\nb\nc\nd\ne\nf\ng\n", 4,
                "     2 | b\n     3 | c\n>    4 | d\n     5 | e\n     6 | f");
    has_excerpt("a\nb\nc\n", 1, ">    1 | a\n     2 | b\n     3 | c");
    has_excerpt("a\nb\nc\n", 3, "     1 | a\n     2 | b\n>    3 | c");
    has_excerpt("a\n\n\tb", 3, "     1 | a\n     2 |\n>    3 |   b");
    has_excerpt("a", 2, "");
    has_excerpt("", 0, "");
}

static void long_lines_are_cut_at_a_whole_character(void **state) {
    static char text[4096];
    char out[PERI_EXCERPT_MAX];
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        for (int j = 0; j < 150; j++) {
            (void)strcat(text, j % 3 ? "\xe2\x82\xac" : "\t");
        }
        (void)strcat(text, "\n");
    }
    size_t len = peri_source_excerpt(keep("x.lua", text), 3, out);
    assert_in_range(len, 900, sizeof out);
    assert_memory_equal(out + len - 3, "...", 3);
    assert_true((out[len - 4] & 0xc0) != 0xc0); // no first byte without the rest
}

static uint32_t line_in(const char *message, const char *path) {
    uint32_t line = 0;
    const struct peri_source *found = peri_sources_find(&sources, peri_str_of(message), &line);
    if (found) {
        assert_string_equal(found->path, path);
    }
    return found ? line : 0;
}

static void a_place_is_found_as_lua_writes_it(void **state) {
    static const char path[] = "/a/very/long/path/to/a/folder/of/scripts/and/even/longer/chat.lua";
    (void)state;
    peri_sources_free(&sources);
    (void)keep("scripts/chat.lua", "x");
    (void)keep(path, "x");
    assert_int_equal(line_in("scripts/chat.lua:12: boom", "scripts/chat.lua"), 12);
    assert_int_equal(line_in("scripts/chat.lua:12:", "scripts/chat.lua"), 12);
    assert_int_equal(line_in("scripts/chat.lua: boom", ""), 0);
    assert_int_equal(line_in("scripts/chat.lua:x: boom", ""), 0);
    assert_int_equal(line_in("scripts/chat.lua:99999999999999999999: boom", ""), 0);
    assert_int_equal(line_in("scripts/chat.lua", ""), 0);
    assert_int_equal(line_in("scripts/other.lua:12: boom", ""), 0);
    assert_int_equal(line_in("", ""), 0);
    char message[128];
    (void)snprintf(message, sizeof message, "...%s:7: boom", path + strlen(path) - 56);
    assert_int_equal(line_in(message, path), 7);
    (void)snprintf(message, sizeof message, "%s:8: boom", path);
    assert_int_equal(line_in(message, path), 8);
}

static void a_name_is_found_as_a_word(void **state) {
    (void)state;
    (void)keep("x.lua", "-- onmessages\nlocal x\nfunction x.onmessage() end");
    assert_int_equal(peri_sources_line_of(&sources, "x.lua", PERI_STR("onmessage")), 3);
    assert_int_equal(peri_sources_line_of(&sources, "x.lua", PERI_STR("message")), 0);
    assert_int_equal(peri_sources_line_of(&sources, "y.lua", PERI_STR("x")), 0);
}

static void a_text_of_the_same_path_gives_way(void **state) {
    struct peri_str line;
    (void)state;
    peri_sources_free(&sources);
    (void)keep("x.lua", "old and long");
    const struct peri_source *source = keep("x.lua", "new");
    assert_int_equal(sources.bytes, 3);
    assert_true(peri_source_line(source, 1, &line));
    assert_str_equal(line, "new");
    assert_int_equal(sources.count, 1);
}

static void what_is_too_much_is_not_kept(void **state) {
    struct peri_buffer buffer = {0};
    (void)state;
    peri_sources_free(&sources);
    (void)keep("x.lua", "x");
    assert_int_equal(peri_buffer_reserve(&buffer, PERI_SOURCES_MAX), PERI_OK);
    memset(buffer.ptr, ' ', PERI_SOURCES_MAX);
    buffer.len = PERI_SOURCES_MAX;
    assert_null(peri_sources_keep(&sources, "y.lua", &buffer));
    assert_int_equal(buffer.len, PERI_SOURCES_MAX); // still the caller's
    assert_int_equal(sources.bytes, 1);
    assert_non_null(peri_sources_keep(&sources, "x.lua", &buffer)); // in its place there is room
    peri_buffer_deinit(&buffer);
}

static void without_memory_it_is_not_kept(void **state) {
    (void)state;
    peri_sources_free(&sources);
    for (uint64_t n = 1; n <= 2; n++) {
        struct peri_buffer buffer = {0};
        assert_int_equal(peri_buffer_append(&buffer, "x", 1), PERI_OK);
        peri_alloc_fail_from(n);
        assert_null(peri_sources_keep(&sources, "x.lua", &buffer));
        peri_alloc_fail_from(0);
        assert_int_equal(sources.count, 0);
        peri_buffer_deinit(&buffer);
    }
}

static int teardown(void **state) {
    (void)state;
    peri_sources_free(&sources);
    return peri_alloc_live() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_as_lua_counts_them),
        cmocka_unit_test(an_excerpt_has_two_lines_before_and_behind),
        cmocka_unit_test(long_lines_are_cut_at_a_whole_character),
        cmocka_unit_test(a_place_is_found_as_lua_writes_it),
        cmocka_unit_test(a_name_is_found_as_a_word),
        cmocka_unit_test(a_text_of_the_same_path_gives_way),
        cmocka_unit_test(what_is_too_much_is_not_kept),
        cmocka_unit_test(without_memory_it_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
