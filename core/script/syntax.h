// Lua 5.4 as a tree: what `perigee check` reads. Names are resolved to the locals that they mean, and
// every node knows where it stands. Whether a text is Lua at all is Lua's own compiler to say; this
// parser is for what it has accepted, and survives anything else.
#pragma once

#include <stdbool.h>

#include "base/status.h"

enum peri_node_kind {
    PERI_NODE_NIL,
    PERI_NODE_TRUE,
    PERI_NODE_FALSE,
    PERI_NODE_NUMBER,     ///< number; integer where is_integer
    PERI_NODE_STRING,     ///< text, its escapes resolved
    PERI_NODE_VARARG,     ///< ...
    PERI_NODE_NAME,       ///< text; local
    PERI_NODE_INDEX,      ///< a[b], or a.text where b is a string
    PERI_NODE_CALL,       ///< a(b, ...)
    PERI_NODE_METHOD,     ///< a:text(b, ...); name_at
    PERI_NODE_FUNCTION,   ///< b: parameters, c: body
    PERI_NODE_TABLE,      ///< b: items
    PERI_NODE_ITEM,       ///< a: key, NULL for one by position; b: value
    PERI_NODE_BINARY,     ///< a op b
    PERI_NODE_UNARY,      ///< op a
    PERI_NODE_PAREN,      ///< (a)
    PERI_NODE_LOCAL,      ///< b: names, c: values
    PERI_NODE_ASSIGN,     ///< b: targets, c: values; `function a.b() end` too
    PERI_NODE_EXPRESSION, ///< a: a call as a statement
    PERI_NODE_BLOCK,      ///< do c end
    PERI_NODE_WHILE,      ///< a: condition, c: body
    PERI_NODE_REPEAT,     ///< the same
    PERI_NODE_IF,         ///< b: clauses
    PERI_NODE_CLAUSE,     ///< a: condition, NULL for else; c: body
    PERI_NODE_FOR,        ///< a: start, limit, step; b: name; c: body
    PERI_NODE_FOR_IN,     ///< a: expressions; b: names; c: body
    PERI_NODE_RETURN,     ///< b: values
    PERI_NODE_BREAK,
    PERI_NODE_GOTO,  ///< text
    PERI_NODE_LABEL, ///< text
    PERI_NODE_CHUNK, ///< c: body
};

/// Operators, and the tokens of the lexer that are more than one character.
enum peri_token {
    PERI_TOKEN_END = 256,
    PERI_TOKEN_NAME,
    PERI_TOKEN_STRING,
    PERI_TOKEN_NUMBER,
    PERI_TOKEN_BROKEN, ///< what is no token of Lua
    PERI_TOKEN_CONCAT, ///< ..
    PERI_TOKEN_DOTS,   ///< ...
    PERI_TOKEN_EQ,
    PERI_TOKEN_NE,
    PERI_TOKEN_LE,
    PERI_TOKEN_GE,
    PERI_TOKEN_SHL,
    PERI_TOKEN_SHR,
    PERI_TOKEN_IDIV,
    PERI_TOKEN_DBCOLON,
    PERI_TOKEN_AND, ///< the first keyword
    PERI_TOKEN_BREAK,
    PERI_TOKEN_DO,
    PERI_TOKEN_ELSE,
    PERI_TOKEN_ELSEIF,
    PERI_TOKEN_ENDWORD, ///< end
    PERI_TOKEN_FALSE,
    PERI_TOKEN_FOR,
    PERI_TOKEN_FUNCTION,
    PERI_TOKEN_GOTO,
    PERI_TOKEN_IF,
    PERI_TOKEN_IN,
    PERI_TOKEN_LOCAL,
    PERI_TOKEN_NIL,
    PERI_TOKEN_NOT,
    PERI_TOKEN_OR,
    PERI_TOKEN_REPEAT,
    PERI_TOKEN_RETURN,
    PERI_TOKEN_THEN,
    PERI_TOKEN_TRUE,
    PERI_TOKEN_UNTIL,
    PERI_TOKEN_WHILE,
    PERI_TOKENS,
};

struct peri_node;

/// A local variable or a parameter.
struct peri_local {
    struct peri_str name;
    struct peri_local *outer;      ///< the one declared before it that is in scope with it
    const struct peri_node *value; ///< what it is declared with; NULL: nothing, or not by itself
    bool assigned;                 ///< it gets another value later
    int kind;                      ///< for whoever reads the tree; 0 at first
};

struct peri_node {
    enum peri_node_kind kind;
    uint32_t at; ///< byte of the text at which it begins; of INDEX: its key, of METHOD: its name
    int op;      ///< of BINARY and UNARY: the token
    bool is_integer;        ///< of NUMBER
    struct peri_node *next; ///< in a list
    struct peri_node *a, *b, *c;
    struct peri_local *local; ///< of NAME: what it means; NULL: a global
    struct peri_str text;
    double number;
    int64_t integer;
};

/// Memory that is freed together. Zero-initialised is empty.
struct peri_arena {
    struct peri_arena_block *blocks;
    size_t used;
};

/// @return zeroed; NULL when out of memory
PERI_MUST_CHECK void *peri_arena_take(struct peri_arena *arena, size_t size);
void peri_arena_free(struct peri_arena *arena);

/// The lexer, token by token. It allocates for strings with escapes only.
struct peri_lexer {
    struct peri_arena *arena;
    struct peri_str source;
    size_t next; ///< where the next token may begin
    int status;  ///< PERI_E_MEMORY, PERI_E_INVALID: only PERI_TOKEN_END comes from here on

    int token;
    uint32_t at;          ///< of the token
    struct peri_str text; ///< of names and strings
    bool is_integer;
    double number;
    int64_t integer;
};

void peri_lexer_next(struct peri_lexer *lexer);

/// Parses a whole text.
/// @param source borrowed as long as the tree; under 2 GiB
/// @param arena  gets the tree
/// @param chunk  on PERI_OK: the tree, a PERI_NODE_CHUNK
/// @return PERI_OK; PERI_E_INVALID: no Lua; PERI_E_LIMIT: nested deeper than Lua takes;
///         PERI_E_MEMORY
PERI_MUST_CHECK int peri_syntax_parse(struct peri_str source, struct peri_arena *arena,
                                      struct peri_node **chunk);
