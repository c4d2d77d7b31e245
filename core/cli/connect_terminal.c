// The line that is typed, by libedit. It is asked for a whole line and reads its keys through us, so
// the conversation goes on while it waits for one. What comes in meanwhile takes the line's place,
// and libedit draws the line again below.
#include <errno.h>
#include <histedit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "base/alloc.h"
#include "cli/connect.h"

enum { PROMPT_COLUMNS = 2, HISTORY_LINES = 1000 };

struct connect_terminal {
    EditLine *edit;
    History *history;
    bool (*wait)(void *arg);
    void *arg;
    bool is_editing;   ///< the line is on the screen
    mbstate_t partial; ///< of a character whose bytes have not all come
    struct peri_buffer line;
    struct peri_buffer path; ///< of the history's file, NUL-terminated; empty: kept nowhere
};

// Where things are on the screen

/// A place, counted from where the prompt begins.
struct place {
    size_t row, column;
};

/// Goes past a character as libedit draws it.
static void pass(struct place *place, wchar_t c, size_t columns) {
    int width = wcwidth(c);
    size_t n = width >= 0 ? (size_t)width : c < 0x100 ? 2 : c > 0xffff ? 8 : 7; // ^C or \U+202e
    if (place->column + n > columns) { // what is wide does not go over the edge
        place->row++;
        place->column = 0;
    }
    place->column += n;
    if (place->column >= columns) {
        place->row++;
        place->column = 0;
    }
}

static size_t rows_before(const wchar_t *from, const wchar_t *to) {
    size_t columns = connect_terminal_columns();
    struct place place = {.column = PROMPT_COLUMNS};
    for (; from < to && *from != L'\n'; from++) {
        pass(&place, *from, columns);
    }
    return place.row;
}

/// Clears from the row that is so far up. The sequences are ANSI's, as every terminal that can edit
/// a line today has them.
static void clear_from(size_t rows_up) {
    (void)fputc('\r', stdout);
    if (rows_up > 0) {
        (void)printf("\x1b[%zuA", rows_up);
    }
    (void)fputs("\x1b[J", stdout);
}

size_t connect_terminal_columns(void) {
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : 80;
}

// History

/// $XDG_STATE_HOME/perigee/history, whose folders are made. Where it can't be kept, it is not.
static void find_history(struct connect_terminal *terminal) {
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int rc = PERI_E_INVALID;
    if (state && state[0] == '/') {
        rc = peri_buffer_printf(&terminal->path, "%s/perigee/history", state);
    } else if (home && home[0] == '/') {
        rc = peri_buffer_printf(&terminal->path, "%s/.local/state/perigee/history", home);
    }
    if (rc != PERI_OK || peri_buffer_append(&terminal->path, "", 1) != PERI_OK) {
        terminal->path.len = 0;
        return;
    }
    char *path = (char *)terminal->path.ptr;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, S_IRWXU); // the file tells whether it worked
        *slash = '/';
    }
}

static void load_history(struct connect_terminal *terminal) {
    HistEvent event;
    find_history(terminal);
    (void)history(terminal->history, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(terminal->history, &event, H_SETUNIQUE, 1);
    if (terminal->path.len > 0) {
        (void)history(terminal->history, &event, H_LOAD, (const char *)terminal->path.ptr);
    }
}

static void save_history(struct connect_terminal *terminal) {
    HistEvent event;
    if (terminal->path.len > 0) {
        mode_t mask = umask(S_IRWXG | S_IRWXO); // what was typed is nobody else's
        (void)history(terminal->history, &event, H_SAVE, (const char *)terminal->path.ptr);
        (void)umask(mask);
    }
}

/// As in a shell: what begins with a space is not kept.
static void remember(struct connect_terminal *terminal, const char *line) {
    HistEvent event;
    if (line[0] != ' ' && line[0] != '\0') {
        (void)history(terminal->history, &event, H_ENTER, line);
    }
}

// Keys

static char *prompt(EditLine *edit) {
    static char text[] = "> "; // libedit wants it changeable, and leaves it
    (void)edit;
    return text;
}

/// What libedit calls for a character. @return how many it got; 0 at the end
static int get_character(EditLine *edit, wchar_t *character) {
    struct connect_terminal *terminal = NULL;
    (void)el_get(edit, EL_CLIENTDATA, &terminal);
    while (terminal->wait(terminal->arg)) {
        char byte;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (n <= 0) {
            return 0;
        }
        size_t used = mbrtowc(character, &byte, 1, &terminal->partial);
        if (used == 0 || used == 1) {
            return 1;
        }
        if (used == (size_t)-1) {
            terminal->partial = (mbstate_t){0}; // no character begins like that: left out
        }
    }
    return 0;
}

// Life

struct connect_terminal *connect_terminal_new(bool (*wait)(void *arg), void *arg) {
    struct connect_terminal *terminal = peri_calloc(1, sizeof *terminal);
    if (!terminal) {
        return NULL;
    }
    terminal->wait = wait;
    terminal->arg = arg;
    terminal->history = history_init();
    terminal->edit = el_init("perigee", stdin, stdout, stderr);
    if (!terminal->history || !terminal->edit) {
        connect_terminal_free(terminal);
        return NULL;
    }
    load_history(terminal);
    (void)el_set(terminal->edit, EL_CLIENTDATA, terminal);
    (void)el_set(terminal->edit, EL_EDITOR, "emacs");
    (void)el_set(terminal->edit, EL_PROMPT, prompt);
    (void)el_set(terminal->edit, EL_HIST, history, terminal->history);
    (void)el_set(terminal->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_source(terminal->edit, NULL); // the user's own ways win
    (void)el_set(terminal->edit, EL_GETCFN, get_character);
    return terminal;
}

void connect_terminal_free(struct connect_terminal *terminal) {
    if (!terminal) {
        return;
    }
    if (terminal->history && terminal->edit) {
        save_history(terminal);
    }
    if (terminal->edit) {
        el_end(terminal->edit);
    }
    if (terminal->history) {
        history_end(terminal->history);
    }
    peri_buffer_deinit(&terminal->line);
    peri_buffer_deinit(&terminal->path);
    peri_free(terminal);
}

bool connect_terminal_line(struct connect_terminal *terminal, struct peri_str *line) {
    int n = 0;
    // libedit does so at the first key only, and until then the system would echo what is typed.
    (void)el_set(terminal->edit, EL_PREP_TERM, 1);
    terminal->is_editing = true;
    const char *text = el_gets(terminal->edit, &n);
    terminal->is_editing = false;
    const LineInfoW *drawn = el_wline(terminal->edit);
    bool is_line = text && n > 0 && text[n - 1] == '\n';
    // Enter has taken the cursor to the row below the last one.
    clear_from(is_line ? rows_before(drawn->buffer, drawn->lastchar) + 1
                       : rows_before(drawn->buffer, drawn->cursor));
    (void)fflush(stdout);
    if (!is_line) {
        return false;
    }
    terminal->line.len = 0;
    if (peri_buffer_append(&terminal->line, text, (size_t)n) != PERI_OK) {
        return false;
    }
    terminal->line.ptr[n - 1] = '\0';
    remember(terminal, (const char *)terminal->line.ptr);
    *line = peri_str((const char *)terminal->line.ptr, (size_t)n - 1);
    return true;
}

/// Takes the line that is being typed off the screen.
static void erase(struct connect_terminal *terminal) {
    if (terminal->is_editing) {
        const LineInfoW *typed = el_wline(terminal->edit);
        clear_from(rows_before(typed->buffer, typed->cursor));
    }
}

static void draw_again(struct connect_terminal *terminal) {
    (void)fflush(stdout);
    if (terminal->is_editing) {
        (void)el_set(terminal->edit, EL_REFRESH);
    }
}

void connect_terminal_print(struct connect_terminal *terminal, struct peri_str lines) {
    erase(terminal);
    (void)fwrite(lines.ptr, 1, lines.len, stdout);
    draw_again(terminal);
}

void connect_terminal_resized(struct connect_terminal *terminal) {
    erase(terminal);
    el_resize(terminal->edit);
    draw_again(terminal);
}

void connect_terminal_suspend(struct connect_terminal *terminal) {
    if (terminal) {
        (void)el_set(terminal->edit, EL_PREP_TERM, 0);
    }
    (void)raise(SIGSTOP);
    if (terminal) {
        (void)el_set(terminal->edit, EL_PREP_TERM, 1);
        draw_again(terminal);
    }
}
