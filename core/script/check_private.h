// What the files of the check share.
#pragma once

#include <lua.h>

#include "script/check.h"
#include "script/host_private.h"
#include "script/syntax.h"

/// What a value plainly is. Each has its names, as the VM's own tables have them.
enum peri_kind {
    PERI_KIND_NONE, ///< not seen; its names are the globals
    PERI_KIND_WS,
    PERI_KIND_ROOM,
    PERI_KIND_CONN,
    PERI_KIND_REQ,
    PERI_KIND_LIMITER,
    PERI_KIND_JSON,
    PERI_KIND_LOG,
    PERI_KINDS,
};

/// A name that a file gives a value (`is_set`), or asks for before it uses it.
struct peri_check_name {
    struct peri_check_name *next;
    enum peri_kind kind; ///< whose name: NONE for a global
    bool is_set;
    struct peri_str library; ///< of a library's field: "string"; else empty
    struct peri_str name;
};

/// A field that a table gets: in its constructor or by an assignment.
struct peri_check_member {
    struct peri_check_member *next;
    const struct peri_node *table, *value; ///< value: NULL where it is one of several
    struct peri_str name;
    uint32_t at;
};

struct peri_check_file {
    char *path;                 ///< owned
    struct peri_script *script; ///< NULL: a module
    struct peri_buffer source;
    struct peri_arena arena;
    const struct peri_node *chunk; ///< NULL: it does not compile
    const struct peri_node *table; ///< what a script returns; NULL: not seen
    struct peri_check_name *names;
    struct peri_check_member *members, **members_end;
    bool any_global; ///< it may make any global: whatever it uses may be one
};

struct peri_check_run {
    struct peri_host *host;
    struct peri_vm *vm;
    int api; ///< index of the first of PERI_KINDS tables of names on the VM's stack
    struct peri_check_file *files;
    size_t file_count;
    struct peri_finding *findings;
    size_t finding_count;
    int status;
    peri_config_set *set; ///< takes what perigee.lua sets
    void *set_arg;
    struct peri_buffer *error;
};

// check.c

/// Notes that something is wrong at a byte of the file.
void peri_check_add(struct peri_check_run *run, const struct peri_check_file *file, size_t at,
                    enum peri_severity severity, const char *rule, const char *format, ...)
    PERI_PRINTF(6, 7);

// check_names.c: what the API has

/// Pushes the tables of names. [-0, +PERI_KINDS]; may raise
void peri_check_names_open(lua_State *L, struct peri_check_run *run);

bool peri_check_has(const struct peri_check_run *run, enum peri_kind kind, struct peri_str name);

/// The same of a library's field: `string.rep`. True also when there is no such library.
bool peri_check_library_has(const struct peri_check_run *run, struct peri_str library,
                            struct peri_str name);

/// The name most like it; NULL: none is.
const char *peri_check_nearest(const struct peri_check_run *run, enum peri_kind kind,
                               struct peri_str name);
const char *peri_check_library_nearest(const struct peri_check_run *run, struct peri_str library,
                                       struct peri_str name);

/// A field of conn, room, req or limiter that is called: `send`.
bool peri_check_is_method(const struct peri_check_run *run, enum peri_kind kind,
                          struct peri_str name);

/// "conn"
const char *peri_check_kind_name(enum peri_kind kind);

/// What raises while a file is loaded: "ws.sleep", "room:broadcast".
bool peri_check_acts(enum peri_kind kind, struct peri_str name);

// check_values.c: what a value is

/// The expression itself, or what the local that it names was declared with.
const struct peri_node *peri_check_resolve(const struct peri_node *e);

/// The table constructor that an expression gives; NULL: not seen.
const struct peri_node *peri_check_table(const struct peri_check_file *file,
                                         const struct peri_node *e);

enum peri_kind peri_check_kind(const struct peri_node *e);

/// Whether it is the global function, called: `require "x"`.
bool peri_check_calls_global(const struct peri_node *call, const char *name);

/// Pushes what the expression gives wherever the file runs; a function becomes one that does
/// nothing, and fields that are no constants are left out. [-0, +1 when true]; may raise
bool peri_check_push_constant(lua_State *L, const struct peri_node *e);

/// Reads the tree once: the names it sets, the fields its tables get, the table it returns.
/// @return PERI_OK or PERI_E_MEMORY
PERI_MUST_CHECK int peri_check_collect(struct peri_check_file *file);

/// The field of a table that is set once; NULL: never, or *several.
const struct peri_check_member *peri_check_member(const struct peri_check_file *file,
                                                  const struct peri_node *table, const char *name,
                                                  bool *several);

/// Whether all fields of a table are seen: nothing else gets hold of it.
bool peri_check_is_closed(const struct peri_node *table);

// check_rules.c, check_calls.c

/// Looks for what is wrong in the file's tree. May raise.
void peri_check_tree(lua_State *L, struct peri_check_run *run, struct peri_check_file *file);

/// The call that goes on: where it stands.
struct peri_check_place {
    bool at_top; ///< of a script: it runs while the file is loaded
    int handler; ///< in the handler itself, no function within; -1: in none
};

/// Looks at one call's name, form and arguments. May raise.
void peri_check_call(lua_State *L, struct peri_check_run *run, const struct peri_check_file *file,
                     const struct peri_node *call, struct peri_check_place place);
