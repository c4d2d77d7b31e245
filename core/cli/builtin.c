#include "cli/builtin.h"

#include <string.h>

struct peri_str peri_builtin(const char *name) {
    size_t i = 0;
    while (strcmp(peri_builtins[i].name, name) != 0) {
        i++;
    }
    return peri_builtins[i].content;
}
