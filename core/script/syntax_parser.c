// The grammar of Lua 5.4 (manual, section 9), by recursive descent. The first failure ends the input:
// from there on every loop sees PERI_TOKEN_END and comes back.
#include "script/syntax.h"

/// Lua itself stops at 200.
enum { DEPTH_MAX = 220 };

struct parser {
    struct peri_lexer lexer;
    struct peri_arena *arena;
    struct peri_local *scope; ///< the local declared last
    int depth;
    struct peri_node spare; ///< stands in for a node that there was no memory for
};

// Nodes --------------------------------------------------------------------------------------

static void fail(struct parser *p, int status) {
    if (p->lexer.status == PERI_OK) {
        p->lexer.status = status;
    }
    p->lexer.token = PERI_TOKEN_END;
}

static struct peri_node *node(struct parser *p, enum peri_node_kind kind, uint32_t at) {
    struct peri_node *made = peri_arena_take(p->arena, sizeof *made);
    if (!made) {
        fail(p, PERI_E_MEMORY);
        p->spare = (struct peri_node){0};
        made = &p->spare;
    }
    made->kind = kind;
    made->at = at;
    return made;
}

/// A list that grows at its end.
struct list {
    struct peri_node *first, *last;
};

static void add(const struct parser *p, struct list *list, struct peri_node *item) {
    if (item == &p->spare) {
        return; // no memory: a node that is there twice would close a circle
    }
    if (list->last) {
        list->last->next = item;
    } else {
        list->first = item;
    }
    list->last = item;
}

// Tokens -------------------------------------------------------------------------------------

static void next(struct parser *p) {
    peri_lexer_next(&p->lexer);
}

static bool accept(struct parser *p, int token) {
    if (p->lexer.token != token) {
        return false;
    }
    next(p);
    return true;
}

static void expect(struct parser *p, int token) {
    if (!accept(p, token)) {
        fail(p, PERI_E_INVALID);
    }
}

static struct peri_str take_name(struct parser *p) {
    struct peri_str name = p->lexer.text;
    if (p->lexer.token != PERI_TOKEN_NAME) {
        fail(p, PERI_E_INVALID);
        return peri_str("", 0);
    }
    next(p);
    return name;
}

static bool enter(struct parser *p) {
    if (p->depth >= DEPTH_MAX) {
        fail(p, PERI_E_LIMIT);
        return false;
    }
    p->depth++;
    return true;
}

// Scopes -------------------------------------------------------------------------------------

/// A name node with its local, which is not in scope before `open_scope`.
static struct peri_node *declared(struct parser *p, struct peri_str name, uint32_t at) {
    struct peri_node *made = node(p, PERI_NODE_NAME, at);
    struct peri_local *local = peri_arena_take(p->arena, sizeof *local);
    if (!local) {
        fail(p, PERI_E_MEMORY);
        return made;
    }
    local->name = name;
    made->text = name;
    made->local = local;
    return made;
}

/// Brings the declared names of a list into scope.
static void open_scope(struct parser *p, struct peri_node *names) {
    for (; names; names = names->next) {
        if (names->local) {
            names->local->outer = p->scope;
            p->scope = names->local;
        }
    }
}

static struct peri_local *find(const struct parser *p, struct peri_str name) {
    for (struct peri_local *at = p->scope; at; at = at->outer) {
        if (peri_str_equal(at->name, name)) {
            return at;
        }
    }
    return NULL;
}

static struct peri_node *name_node(struct parser *p) {
    struct peri_node *made = node(p, PERI_NODE_NAME, p->lexer.at);
    made->text = take_name(p);
    made->local = find(p, made->text);
    return made;
}

// Expressions --------------------------------------------------------------------------------

static struct peri_node *expression(struct parser *p, int above);
static struct peri_node *block(struct parser *p);

static struct peri_node *string_node(struct parser *p, uint32_t at, struct peri_str text) {
    struct peri_node *made = node(p, PERI_NODE_STRING, at);
    made->text = text;
    return made;
}

static struct peri_node *expressions(struct parser *p) {
    struct list list = {0};
    do {
        add(p, &list, expression(p, 0));
    } while (accept(p, ','));
    return list.first;
}

static struct peri_node *function_body(struct parser *p, uint32_t at, bool is_method) {
    struct peri_node *made = node(p, PERI_NODE_FUNCTION, at);
    struct peri_local *outer = p->scope;
    struct list parameters = {0};
    if (!enter(p)) {
        return made;
    }
    if (is_method) {
        add(p, &parameters, declared(p, PERI_STR("self"), at));
    }
    expect(p, '(');
    while (p->lexer.token != ')' && p->lexer.token != PERI_TOKEN_END) {
        if (accept(p, PERI_TOKEN_DOTS)) {
            break;
        }
        uint32_t name_at = p->lexer.at;
        add(p, &parameters, declared(p, take_name(p), name_at));
        if (!accept(p, ',')) {
            break;
        }
    }
    expect(p, ')');
    made->b = parameters.first;
    open_scope(p, made->b);
    made->c = block(p);
    expect(p, PERI_TOKEN_ENDWORD);
    p->scope = outer;
    p->depth--;
    return made;
}

static struct peri_node *table(struct parser *p) {
    struct peri_node *made = node(p, PERI_NODE_TABLE, p->lexer.at);
    struct list items = {0};
    expect(p, '{');
    while (p->lexer.token != '}' && p->lexer.token != PERI_TOKEN_END) {
        struct peri_node *item = node(p, PERI_NODE_ITEM, p->lexer.at);
        if (accept(p, '[')) {
            item->a = expression(p, 0);
            expect(p, ']');
            expect(p, '=');
        } else if (p->lexer.token == PERI_TOKEN_NAME) {
            struct peri_lexer before = p->lexer;
            next(p);
            if (accept(p, '=')) {
                item->a = string_node(p, before.at, before.text);
            } else if (p->lexer.status == PERI_OK) {
                p->lexer = before; // an expression that begins with a name
            }
        }
        item->b = expression(p, 0);
        add(p, &items, item);
        if (!accept(p, ',') && !accept(p, ';')) {
            break;
        }
    }
    expect(p, '}');
    made->b = items.first;
    return made;
}

static struct peri_node *arguments(struct parser *p) {
    struct peri_node *list = NULL;
    if (p->lexer.token == PERI_TOKEN_STRING) {
        list = string_node(p, p->lexer.at, p->lexer.text);
        next(p);
    } else if (p->lexer.token == '{') {
        list = table(p);
    } else {
        expect(p, '(');
        if (p->lexer.token != ')') {
            list = expressions(p);
        }
        expect(p, ')');
    }
    return list;
}

static struct peri_node *primary(struct parser *p) {
    if (p->lexer.token == PERI_TOKEN_NAME) {
        return name_node(p);
    }
    struct peri_node *made = node(p, PERI_NODE_PAREN, p->lexer.at);
    expect(p, '(');
    made->a = expression(p, 0);
    expect(p, ')');
    return made;
}

/// A name or parenthesis, and what is indexed and called of it.
static struct peri_node *suffixed(struct parser *p) {
    struct peri_node *whole = primary(p);
    for (;;) {
        struct peri_node *made;
        switch (p->lexer.token) {
        case '.':
        case ':': {
            bool is_method = p->lexer.token == ':';
            next(p);
            uint32_t at = p->lexer.at;
            made = node(p, is_method ? PERI_NODE_METHOD : PERI_NODE_INDEX, at);
            made->a = whole;
            made->text = take_name(p);
            if (is_method) {
                made->b = arguments(p);
            } else {
                made->b = string_node(p, at, made->text);
            }
            break;
        }
        case '[':
            next(p);
            made = node(p, PERI_NODE_INDEX, p->lexer.at);
            made->a = whole;
            made->b = expression(p, 0);
            if (made->b->kind == PERI_NODE_STRING) {
                made->text = made->b->text;
            }
            expect(p, ']');
            break;
        case '(':
        case '{':
        case PERI_TOKEN_STRING:
            made = node(p, PERI_NODE_CALL, whole->at);
            made->a = whole;
            made->b = arguments(p);
            break;
        default: return whole;
        }
        if (made == &p->spare) {
            return made;
        }
        whole = made;
    }
}

static struct peri_node *simple(struct parser *p) {
    enum peri_node_kind kind;
    struct peri_node *made;
    switch (p->lexer.token) {
    case PERI_TOKEN_NUMBER:
        made = node(p, PERI_NODE_NUMBER, p->lexer.at);
        made->is_integer = p->lexer.is_integer;
        made->integer = p->lexer.integer;
        made->number = p->lexer.number;
        next(p);
        return made;
    case PERI_TOKEN_STRING:
        made = string_node(p, p->lexer.at, p->lexer.text);
        next(p);
        return made;
    case PERI_TOKEN_NIL: kind = PERI_NODE_NIL; break;
    case PERI_TOKEN_TRUE: kind = PERI_NODE_TRUE; break;
    case PERI_TOKEN_FALSE: kind = PERI_NODE_FALSE; break;
    case PERI_TOKEN_DOTS: kind = PERI_NODE_VARARG; break;
    case '{': return table(p);
    case PERI_TOKEN_FUNCTION: {
        uint32_t at = p->lexer.at;
        next(p);
        return function_body(p, at, false);
    }
    default: return suffixed(p);
    }
    made = node(p, kind, p->lexer.at);
    next(p);
    return made;
}

enum { UNARY_BINDS = 12 };

/// How tight a binary operator holds its left side, and how tight its right; 0: it is none.
static int left_binds(int token) {
    switch (token) {
    case PERI_TOKEN_OR: return 1;
    case PERI_TOKEN_AND: return 2;
    case '<':
    case '>':
    case PERI_TOKEN_LE:
    case PERI_TOKEN_GE:
    case PERI_TOKEN_NE:
    case PERI_TOKEN_EQ: return 3;
    case '|': return 4;
    case '~': return 5;
    case '&': return 6;
    case PERI_TOKEN_SHL:
    case PERI_TOKEN_SHR: return 7;
    case PERI_TOKEN_CONCAT: return 9;
    case '+':
    case '-': return 10;
    case '*':
    case '/':
    case PERI_TOKEN_IDIV:
    case '%': return 11;
    case '^': return 14;
    default: return 0;
    }
}

static int right_binds(int token) {
    return token == PERI_TOKEN_CONCAT || token == '^' ? left_binds(token) - 1 : left_binds(token);
}

/// An expression whose operators hold tighter than `above`.
static struct peri_node *expression(struct parser *p, int above) {
    struct peri_node *left;
    int token = p->lexer.token;
    if (!enter(p)) {
        return node(p, PERI_NODE_NIL, p->lexer.at);
    }
    if (token == PERI_TOKEN_NOT || token == '-' || token == '~' || token == '#') {
        left = node(p, PERI_NODE_UNARY, p->lexer.at);
        left->op = token;
        next(p);
        left->a = expression(p, UNARY_BINDS);
    } else {
        left = simple(p);
    }
    while (left_binds(p->lexer.token) > above) {
        struct peri_node *made = node(p, PERI_NODE_BINARY, p->lexer.at);
        if (made == &p->spare) {
            break;
        }
        made->op = p->lexer.token;
        made->a = left;
        next(p);
        made->b = expression(p, right_binds(made->op));
        left = made;
    }
    p->depth--;
    return left;
}

// Statements ---------------------------------------------------------------------------------

static bool ends_block(int token) {
    return token == PERI_TOKEN_END || token == PERI_TOKEN_ENDWORD || token == PERI_TOKEN_ELSE ||
           token == PERI_TOKEN_ELSEIF || token == PERI_TOKEN_UNTIL;
}

static void clause(struct parser *p, struct list *clauses, bool has_condition) {
    struct peri_node *made = node(p, PERI_NODE_CLAUSE, p->lexer.at);
    if (has_condition) {
        made->a = expression(p, 0);
        expect(p, PERI_TOKEN_THEN);
    }
    made->c = block(p);
    add(p, clauses, made);
}

static struct peri_node *if_statement(struct parser *p, uint32_t at) {
    struct peri_node *made = node(p, PERI_NODE_IF, at);
    struct list clauses = {0};
    clause(p, &clauses, true);
    while (accept(p, PERI_TOKEN_ELSEIF)) {
        clause(p, &clauses, true);
    }
    if (accept(p, PERI_TOKEN_ELSE)) {
        clause(p, &clauses, false);
    }
    expect(p, PERI_TOKEN_ENDWORD);
    made->b = clauses.first;
    return made;
}

static struct peri_node *for_statement(struct parser *p, uint32_t at) {
    struct list names = {0};
    struct peri_local *outer = p->scope;
    do {
        uint32_t name_at = p->lexer.at;
        add(p, &names, declared(p, take_name(p), name_at));
    } while (accept(p, ','));
    bool counts = p->lexer.token == '=';
    struct peri_node *made = node(p, counts ? PERI_NODE_FOR : PERI_NODE_FOR_IN, at);
    expect(p, counts ? '=' : PERI_TOKEN_IN);
    made->a = expressions(p);
    made->b = names.first;
    open_scope(p, made->b);
    expect(p, PERI_TOKEN_DO);
    made->c = block(p);
    expect(p, PERI_TOKEN_ENDWORD);
    p->scope = outer;
    return made;
}

static struct peri_node *repeat_statement(struct parser *p, uint32_t at) {
    struct peri_node *made = node(p, PERI_NODE_REPEAT, at);
    struct peri_local *outer = p->scope;
    made->c = block(p);
    expect(p, PERI_TOKEN_UNTIL);
    made->a = expression(p, 0);
    p->scope = outer;
    return made;
}

static struct peri_node *local_function(struct parser *p, uint32_t at) {
    struct peri_node *made = node(p, PERI_NODE_LOCAL, at);
    uint32_t name_at = p->lexer.at;
    made->b = declared(p, take_name(p), name_at);
    open_scope(p, made->b); // in scope in its own body
    made->c = function_body(p, at, false);
    if (made->b->local) {
        made->b->local->value = made->c;
    }
    return made;
}

/// A name is declared with the value at its own place, unless that may be one of several.
static void pair_values(struct peri_node *names, const struct peri_node *value) {
    for (; names && value; names = names->next, value = value->next) {
        bool is_open = !value->next && names->next &&
                       (value->kind == PERI_NODE_CALL || value->kind == PERI_NODE_METHOD ||
                        value->kind == PERI_NODE_VARARG);
        if (names->local && !is_open) {
            names->local->value = value;
        }
    }
}

static struct peri_node *local_statement(struct parser *p, uint32_t at) {
    struct peri_node *made = node(p, PERI_NODE_LOCAL, at);
    struct list names = {0};
    do {
        uint32_t name_at = p->lexer.at;
        add(p, &names, declared(p, take_name(p), name_at));
        if (accept(p, '<')) {
            (void)take_name(p);
            expect(p, '>');
        }
    } while (accept(p, ','));
    made->b = names.first;
    if (accept(p, '=')) {
        made->c = expressions(p);
    }
    pair_values(made->b, made->c);
    open_scope(p, made->b);
    return made;
}

/// `function a.b.c:d() end`
static struct peri_node *function_statement(struct parser *p, uint32_t at) {
    struct peri_node *made = node(p, PERI_NODE_ASSIGN, at);
    struct peri_node *target = name_node(p);
    bool is_method = false;
    while (!is_method && (p->lexer.token == '.' || p->lexer.token == ':')) {
        is_method = p->lexer.token == ':';
        next(p);
        struct peri_node *index = node(p, PERI_NODE_INDEX, p->lexer.at);
        if (index == &p->spare) {
            break;
        }
        index->a = target;
        index->text = take_name(p);
        index->b = string_node(p, index->at, index->text);
        target = index;
    }
    if (target->kind == PERI_NODE_NAME && target->local) {
        target->local->assigned = true;
    }
    made->b = target;
    made->c = function_body(p, at, is_method);
    return made;
}

static struct peri_node *assignment(struct parser *p, struct peri_node *first) {
    struct peri_node *made = node(p, PERI_NODE_ASSIGN, first->at);
    struct list targets = {0};
    add(p, &targets, first);
    while (accept(p, ',')) {
        add(p, &targets, suffixed(p));
    }
    for (const struct peri_node *at = targets.first; at; at = at->next) {
        if (at->kind == PERI_NODE_NAME && at->local) {
            at->local->assigned = true;
        } else if (at->kind != PERI_NODE_NAME && at->kind != PERI_NODE_INDEX) {
            fail(p, PERI_E_INVALID);
        }
    }
    expect(p, '=');
    made->b = targets.first;
    made->c = expressions(p);
    return made;
}

static struct peri_node *other_statement(struct parser *p) {
    struct peri_node *first = suffixed(p);
    if (p->lexer.token == '=' || p->lexer.token == ',') {
        return assignment(p, first);
    }
    struct peri_node *made = node(p, PERI_NODE_EXPRESSION, first->at);
    if (first->kind != PERI_NODE_CALL && first->kind != PERI_NODE_METHOD) {
        fail(p, PERI_E_INVALID);
    }
    made->a = first;
    return made;
}

static struct peri_node *named(struct parser *p, enum peri_node_kind kind, uint32_t at) {
    struct peri_node *made = node(p, kind, at);
    made->text = take_name(p);
    return made;
}

static struct peri_node *enclosed(struct parser *p, enum peri_node_kind kind, uint32_t at) {
    struct peri_node *made = node(p, kind, at);
    if (kind == PERI_NODE_WHILE) {
        made->a = expression(p, 0);
        expect(p, PERI_TOKEN_DO);
    }
    made->c = block(p);
    expect(p, PERI_TOKEN_ENDWORD);
    return made;
}

static struct peri_node *returned(struct parser *p, uint32_t at) {
    struct peri_node *made = node(p, PERI_NODE_RETURN, at);
    if (!ends_block(p->lexer.token) && p->lexer.token != ';') {
        made->b = expressions(p);
    }
    (void)accept(p, ';');
    if (!ends_block(p->lexer.token)) {
        fail(p, PERI_E_INVALID);
    }
    return made;
}

static struct peri_node *statement(struct parser *p) {
    uint32_t at = p->lexer.at;
    int token = p->lexer.token;
    struct peri_node *made;
    switch (token) {
    case PERI_TOKEN_IF: next(p); return if_statement(p, at);
    case PERI_TOKEN_WHILE: next(p); return enclosed(p, PERI_NODE_WHILE, at);
    case PERI_TOKEN_DO: next(p); return enclosed(p, PERI_NODE_BLOCK, at);
    case PERI_TOKEN_FOR: next(p); return for_statement(p, at);
    case PERI_TOKEN_REPEAT: next(p); return repeat_statement(p, at);
    case PERI_TOKEN_FUNCTION: next(p); return function_statement(p, at);
    case PERI_TOKEN_LOCAL:
        next(p);
        return accept(p, PERI_TOKEN_FUNCTION) ? local_function(p, at) : local_statement(p, at);
    case PERI_TOKEN_DBCOLON:
        next(p);
        made = named(p, PERI_NODE_LABEL, at);
        expect(p, PERI_TOKEN_DBCOLON);
        return made;
    case PERI_TOKEN_RETURN: next(p); return returned(p, at);
    case PERI_TOKEN_BREAK: next(p); return node(p, PERI_NODE_BREAK, at);
    case PERI_TOKEN_GOTO: next(p); return named(p, PERI_NODE_GOTO, at);
    default: return other_statement(p);
    }
}

/// Statements until the block's end. Its locals go out of scope but in `repeat`, whose condition
/// still sees them.
static struct peri_node *block(struct parser *p) {
    struct peri_local *outer = p->scope;
    struct list statements = {0};
    if (!enter(p)) {
        return NULL;
    }
    while (!ends_block(p->lexer.token)) {
        if (!accept(p, ';')) {
            add(p, &statements, statement(p));
        }
    }
    if (p->lexer.token != PERI_TOKEN_UNTIL) {
        p->scope = outer;
    }
    p->depth--;
    return statements.first;
}

int peri_syntax_parse(struct peri_str source, struct peri_arena *arena, struct peri_node **chunk) {
    struct parser p = {.arena = arena, .lexer = {.arena = arena, .source = source}};
    if (source.len > INT32_MAX) {
        return PERI_E_LIMIT;
    }
    next(&p);
    struct peri_node *whole = node(&p, PERI_NODE_CHUNK, 0);
    whole->c = block(&p);
    if (p.lexer.token != PERI_TOKEN_END) {
        fail(&p, PERI_E_INVALID);
    }
    if (p.lexer.status == PERI_OK) {
        *chunk = whole;
    }
    return p.lexer.status;
}
