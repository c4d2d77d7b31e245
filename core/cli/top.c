// `perigee top`: what each script does, live on a terminal, or one sample.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/control.h"

enum { SECOND_MS = 1000, ANSWER_MS = 10000 };

static void print_help(void) {
    (void)fputs(
        "usage: perigee top [OPTIONS]\n"
        "\n"
        "What each script of a running host does: messages a second, how long handlers took\n"
        "in the last 5 to 10 seconds (half of them, and 99 of 100, were not slower), memory,\n"
        "errors, connections. On a terminal it is drawn anew each second until q or Ctrl-C;\n"
        "elsewhere it is one sample, of a second.\n"
        "\n"
        "  --once           one sample, on a terminal too\n" CONTROL_OPTIONS_HELP "\n"
        "Exit codes: 0 done, 1 no host answers, or it is gone, 2 wrong usage.\n",
        stdout);
}

struct top {
    struct control_options options;
    bool is_once;
    struct control_link link;
    struct peri_buffer request;
    struct peri_reading *before, *now;
};

/// Takes a sample beside the one before.
static enum peri_exit sample(struct top *top) {
    struct peri_str error;
    struct peri_reading *reading = NULL;
    if (peri_ask_status(&top->request, true) != PERI_OK) {
        peri_complain("out of memory");
        return PERI_EXIT_FAILED;
    }
    enum peri_exit status = control_ask(&top->link, &top->request, ANSWER_MS, &reading);
    if (status != PERI_EXIT_DONE) {
        return status;
    }
    if (!peri_reading_is_ok(reading, &error)) {
        peri_complain("%.*s", PERI_SHOWN(error));
        peri_reading_free(reading);
        return PERI_EXIT_FAILED;
    }
    peri_reading_free(top->before);
    top->before = top->now;
    top->now = reading;
    return PERI_EXIT_DONE;
}

// Drawing -------------------------------------------------------------------------------------

/// What ends a line: on a terminal, what was there before is cleared too.
struct look {
    const char *end;
    size_t rows; ///< that there is room for
};

static void print_name(struct peri_str name, size_t width) {
    peri_print_text(stdout, name);
    (void)printf("%*s", (int)(width - name.len), "");
}

static void print_script(const struct top *top, size_t i, size_t width, const struct look *look) {
    struct peri_script_status script;
    struct peri_rates rates = {0};
    if (!peri_reading_script(top->now, i, &script)) {
        return;
    }
    if (top->before) {
        rates = peri_reading_rates(top->before, top->now, i);
    }
    print_name(script.name, width);
    (void)printf("  %10.1f  %10s  %10s  %9s  %8llu  %8.1f  %11llu%s%s", rates.messages,
                 control_time(script.p50_ns).text, control_time(script.p99_ns).text,
                 control_bytes(script.memory).text, (unsigned long long)script.errors, rates.errors,
                 (unsigned long long)script.connections,
                 script.generation == 0   ? "  not loaded"
                 : script.is_on_probation ? "  on probation"
                 : script.is_loading      ? "  loading"
                                          : "",
                 look->end);
}

static void print_head(const struct top *top, const struct look *look) {
    struct peri_host_status host;
    peri_reading_host(top->now, &host);
    (void)fputs("perigee ", stdout);
    peri_print_text(stdout, host.version);
    (void)printf(", process %lld, up %s, %llu connection%s, ", (long long)host.process,
                 control_age(host.up_ns).text, (unsigned long long)host.connections,
                 host.connections == 1 ? "" : "s");
    peri_print_text(stdout, host.dir);
    (void)printf("%s%s", look->end, look->end);
}

static void print_table(const struct top *top, const struct look *look) {
    struct peri_script_status script;
    size_t width = strlen("script"), count = 0, head = 4;
    print_head(top, look);
    for (; peri_reading_script(top->now, count, &script); count++) {
        width = script.name.len > width ? script.name.len : width;
    }
    print_name(PERI_STR("script"), width);
    (void)printf(
        "  messages/s         p50         p99     memory    errors  errors/s  connections%s",
        look->end);
    size_t shown = count + head <= look->rows ? count : look->rows > head ? look->rows - head : 0;
    for (size_t i = 0; i < shown; i++) {
        print_script(top, i, width, look);
    }
    if (shown < count) {
        (void)printf("and %zu more%s", count - shown, look->end);
    }
}

/// @return false when it can't be written, or for want of memory
static bool print_sample(const struct top *top, const struct look *look) {
    struct peri_buffer line = {0};
    bool is_ok = true;
    if (!top->options.is_json) {
        print_table(top, look);
    } else {
        is_ok = peri_reading_print(top->before, top->now, &line) == PERI_OK;
        (void)fwrite(line.ptr ? (char *)line.ptr : "", 1, line.len, stdout);
        peri_buffer_deinit(&line);
    }
    return fflush(stdout) == 0 && is_ok;
}

// One sample ------------------------------------------------------------------------------------

static enum peri_exit show_once(struct top *top) {
    const struct look look = {.end = "\n", .rows = SIZE_MAX};
    const struct timespec second = {.tv_sec = 1};
    enum peri_exit status = sample(top); // from here on it is measured
    if (status == PERI_EXIT_DONE) {
        (void)nanosleep(&second, NULL);
        status = sample(top);
    }
    if (status == PERI_EXIT_DONE && !print_sample(top, &look)) {
        peri_complain("the sample can't be written");
        status = PERI_EXIT_FAILED;
    }
    return status;
}

// Live ------------------------------------------------------------------------------------------

// A handler reaches nothing but globals.
static volatile sig_atomic_t ends, suspends;

static void on_signal(int number) {
    if (number == SIGTSTP) {
        suspends = 1;
    } else if (number != SIGWINCH) {
        ends = 1;
    }
}

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH};
enum { SIGNALS = sizeof signals / sizeof signals[0] };

static struct termios usual;

/// The screen beside the one of the shell, without a cursor; keys come as they are pressed.
static void take_terminal(void) {
    struct termios raw = usual;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    (void)fputs("\x1b[?1049h\x1b[?25l", stdout);
}

static void give_terminal_back(void) {
    (void)fputs("\x1b[?25h\x1b[?1049l", stdout);
    (void)fflush(stdout);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &usual);
}

static void suspend(void) {
    suspends = 0;
    give_terminal_back();
    (void)raise(SIGSTOP);
    take_terminal();
}

static void draw(const struct top *top) {
    struct winsize size = {0};
    // Beside each other, so that nothing flickers: what is longer than before is written over.
    struct look look = {.end = "\x1b[K\n", .rows = 24};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1) {
        look.rows = (size_t)size.ws_row - 1;
    }
    (void)fputs("\x1b[H", stdout);
    (void)print_sample(top, &look); // a terminal that is gone sends SIGHUP
    (void)fputs("\x1b[J", stdout);
    (void)fflush(stdout);
}

/// Waits for the next second. @return false: that was it
static bool wait_for_key(const sigset_t *mask) {
    struct pollfd polled = {.fd = STDIN_FILENO, .events = POLLIN};
    const struct timespec second = {.tv_sec = 1};
    char key = 0;
    int ready = ppoll(&polled, 1, &second, mask);
    if (ready > 0 && (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q')) {
        return false;
    }
    return !ends;
}

static enum peri_exit show_live(struct top *top) {
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t ours, before;
    // They come only while ppoll waits, so that none comes between a look and the wait.
    (void)sigemptyset(&ours);
    for (size_t i = 0; i < SIGNALS; i++) {
        (void)sigaction(signals[i], &action, NULL);
        (void)sigaddset(&ours, signals[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &ours, &before);
    take_terminal();
    enum peri_exit status = PERI_EXIT_DONE;
    do {
        if (suspends) {
            suspend();
        }
        status = sample(top);
        if (status == PERI_EXIT_DONE) {
            draw(top);
        }
    } while (status == PERI_EXIT_DONE && wait_for_key(&before));
    give_terminal_back();
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    if (status != PERI_EXIT_DONE) {
        peri_complain("the host is gone"); // why went away with the other screen
    }
    return status;
}

enum peri_exit peri_command_top(int argc, char **argv) {
    struct top top = {.link = {.fd = -1}};
    for (int i = 0; i < argc; i++) {
        int taken = control_option(&top.options, argc, argv, &i);
        if (taken == 0 && strcmp(argv[i], "--once") == 0) {
            top.is_once = true;
        } else if (taken <= 0) {
            if (taken == 0) {
                control_refuse("top", argv[i]);
            }
            return PERI_EXIT_USAGE;
        }
    }
    if (top.options.help) {
        print_help();
        return PERI_EXIT_DONE;
    }
    enum peri_exit status = control_open(&top.link, &top.options);
    if (status == PERI_EXIT_DONE) {
        bool is_live = !top.is_once && !top.options.is_json && isatty(STDOUT_FILENO) &&
                       tcgetattr(STDIN_FILENO, &usual) == 0;
        status = is_live ? show_live(&top) : show_once(&top);
    }
    control_close(&top.link);
    peri_reading_free(top.before);
    peri_reading_free(top.now);
    peri_buffer_deinit(&top.request);
    return status;
}
