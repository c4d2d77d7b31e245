// Signals become a byte in a pipe, so that poll(2) wakes up for them.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include "cli/connect.h"

// A handler reaches nothing but globals.
static volatile sig_atomic_t came[CONNECT_SUSPEND + 1];
static volatile sig_atomic_t is_ending;
static int wake[2] = {-1, -1};
static struct termios terminal;
static bool has_terminal;

static const struct {
    int number;
    enum connect_signal kind;
} taken[] = {
    {SIGINT, CONNECT_INTERRUPT}, {SIGTERM, CONNECT_STOP},    {SIGHUP, CONNECT_STOP},
    {SIGWINCH, CONNECT_RESIZED}, {SIGTSTP, CONNECT_SUSPEND},
};

enum { TAKEN = sizeof taken / sizeof taken[0] };

static void on_signal(int number) {
    int error = errno;
    enum connect_signal kind = CONNECT_STOP;
    for (size_t i = 0; i < TAKEN; i++) {
        kind = taken[i].number == number ? taken[i].kind : kind;
    }
    if (kind == CONNECT_INTERRUPT || kind == CONNECT_STOP) {
        if (is_ending) {
            if (has_terminal) {
                (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
            }
            _exit(PERI_EXIT_FAILED);
        }
        is_ending = 1;
    }
    came[kind] = 1;
    PERI_IGNORE(write(wake[1], "", 1)); // a full pipe wakes up too
    errno = error;
}

int connect_signals_begin(void) {
    struct sigaction action = {.sa_handler = on_signal};
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -1;
    }
    has_terminal = tcgetattr(STDIN_FILENO, &terminal) == 0;
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < TAKEN; i++) {
        struct sigaction old;
        bool ignored = sigaction(taken[i].number, NULL, &old) == 0 && old.sa_handler == SIG_IGN;
        if (!ignored && sigaction(taken[i].number, &action, NULL) < 0) { // nohup's stays ignored
            return -1;
        }
    }
    return wake[0];
}

void connect_signals_end(void) {
    for (size_t i = 0; i < TAKEN; i++) {
        (void)signal(taken[i].number, SIG_DFL);
    }
    for (size_t i = 0; i < 2; i++) {
        (void)close(wake[i]);
        wake[i] = -1;
    }
}

unsigned connect_signals_take(void) {
    char bytes[64];
    unsigned kinds = 0;
    while (read(wake[0], bytes, sizeof bytes) > 0) {
    }
    for (size_t i = 0; i < TAKEN; i++) {
        if (came[taken[i].kind]) {
            came[taken[i].kind] = 0;
            kinds |= taken[i].kind;
        }
    }
    return kinds;
}
