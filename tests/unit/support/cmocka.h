// cmocka and what must come before it.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/// Compares borrowed bytes with a literal.
#define assert_str_equal(actual, literal) \
    do { \
        struct peri_str actual_ = (actual); \
        assert_int_equal(actual_.len, sizeof(literal) - 1); \
        assert_memory_equal(actual_.len ? actual_.ptr : "", literal, sizeof(literal) - 1); \
    } while (0)
