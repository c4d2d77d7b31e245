// Requests, one at a time for each client, and the one that is answered later: a reload.
#include "admin/admin.h"

#include <stdio.h>

#include "admin/answers.h"
#include "admin/json.h"
#include "base/alloc.h"
#include "base/list.h"

/// After this long without news, a reload of which nothing is under way has ended unheard.
static const uint64_t SILENCE_NS = 2000000000;

struct peri_admin {
    struct peri_hub *hub;
    const struct peri_admin_about *about;
    uint64_t began_ns;
    struct peri_list clients;
    size_t measuring; ///< clients that have asked for it
};

struct peri_admin_client {
    struct peri_admin *admin;
    struct peri_list link;
    bool measures;

    // A reload that is under way
    bool reloads, waits, lost; ///< lost: there was no memory to keep an outcome
    struct peri_buffer script; ///< its name; empty for all
    size_t expected;           ///< outcomes
    struct peri_outcome *outcomes;
    size_t count;
    uint64_t heard_ns; ///< when it was begun, or something was heard of it
};

static const struct peri_policy *policy_of(const struct peri_admin *admin) {
    return peri_hub_policy(admin->hub);
}

static uint64_t now_ns(const struct peri_admin *admin) {
    const struct peri_ports *ports = peri_hub_ports(admin->hub);
    return ports->now_ns(ports->self);
}

struct peri_admin *peri_admin_new(struct peri_hub *hub, const struct peri_admin_about *about) {
    struct peri_admin *admin = peri_calloc(1, sizeof *admin);
    if (admin) {
        admin->hub = hub;
        admin->about = about;
        admin->began_ns = now_ns(admin);
        peri_list_init(&admin->clients);
    }
    return admin;
}

void peri_admin_free(struct peri_admin *admin) {
    peri_free(admin);
}

struct peri_admin_client *peri_admin_open(struct peri_admin *admin) {
    struct peri_admin_client *client = peri_calloc(1, sizeof *client);
    if (client) {
        client->admin = admin;
        peri_list_push(&admin->clients, &client->link);
    }
    return client;
}

static void set_measures(struct peri_admin_client *client, bool on) {
    struct peri_admin *admin = client->admin;
    const struct peri_policy *policy = policy_of(admin);
    if (client->measures == on) {
        return;
    }
    client->measures = on;
    admin->measuring += on ? 1 : (size_t)-1;
    if (admin->measuring == (on ? 1 : 0)) {
        policy->measure(policy->self, on);
    }
}

static void end_reload(struct peri_admin_client *client) {
    for (size_t i = 0; i < client->count; i++) {
        peri_buffer_deinit(&client->outcomes[i].text);
    }
    peri_free(client->outcomes);
    peri_buffer_deinit(&client->script);
    client->outcomes = NULL;
    client->count = 0;
    client->reloads = client->waits = client->lost = false;
}

void peri_admin_close(struct peri_admin_client *client) {
    if (client) {
        set_measures(client, false);
        end_reload(client);
        peri_list_remove(&client->link);
        peri_free(client);
    }
}

// Reload --------------------------------------------------------------------------------------

static struct peri_outcome *find(const struct peri_admin_client *client, struct peri_str script) {
    for (size_t i = 0; i < client->count; i++) {
        if (peri_str_equal(client->outcomes[i].news.script, script)) {
            return &client->outcomes[i];
        }
    }
    return NULL;
}

/// @return PERI_OK or PERI_E_MEMORY
static int add(struct peri_admin_client *client, const struct peri_news *news) {
    size_t bytes = (client->count + 1) * sizeof *client->outcomes;
    struct peri_outcome *grown = peri_realloc(client->outcomes, bytes);
    if (!grown) {
        return PERI_E_MEMORY;
    }
    client->outcomes = grown;
    int status = peri_outcome_keep(&grown[client->count], news);
    client->count += status == PERI_OK;
    return status;
}

static void hear(struct peri_admin_client *client, const struct peri_news *news) {
    struct peri_str script = peri_buffer_str(&client->script);
    struct peri_outcome *known = find(client, news->script), outcome;
    if (script.len > 0 && !peri_str_equal(script, news->script)) {
        return;
    }
    if (!known) {
        // What a save does beside it is no answer, unless it ends what was asked for.
        client->lost = (news->was_asked && add(client, news) != PERI_OK) || client->lost;
        return;
    }
    if (peri_outcome_keep(&outcome, news) != PERI_OK) {
        client->lost = true;
        return;
    }
    peri_buffer_deinit(&known->text);
    *known = outcome;
}

void peri_admin_news(struct peri_admin *admin, const struct peri_news *news) {
    for (struct peri_list *at = admin->clients.next; at != &admin->clients; at = at->next) {
        struct peri_admin_client *client = PERI_CONTAINER(at, struct peri_admin_client, link);
        if (client->reloads) {
            client->heard_ns = now_ns(admin);
            hear(client, news);
        }
    }
}

/// Which outcomes are no longer on probation; a revert that was not heard of is found here.
/// @return whether one still is
static bool look_at_probation(struct peri_admin_client *client) {
    const struct peri_policy *policy = policy_of(client->admin);
    struct peri_script_status status;
    bool still = false;
    for (size_t i = 0; i < client->count; i++) {
        client->outcomes[i].news.on_probation = client->outcomes[i].news.on_probation &&
                                                client->outcomes[i].news.what == PERI_RELOAD_DONE;
    }
    for (size_t cursor = 0; policy->status(policy->self, &cursor, &status);) {
        struct peri_outcome *outcome = find(client, status.name);
        if (!outcome || !outcome->news.on_probation) {
            continue;
        }
        // While another generation loads, it may be the one before that comes back.
        bool lasts = status.is_on_probation || status.is_loading;
        outcome->news.on_probation = lasts;
        still = still || lasts;
        if (!lasts && status.reload == PERI_RELOAD_REVERTED) {
            struct peri_news news = outcome->news;
            news.what = PERI_RELOAD_REVERTED;
            news.generation = status.generation;
            news.message = status.reload_why;
            hear(client, &news);
        }
    }
    return still;
}

/// Whether policy is at work on any script.
static bool is_loading(const struct peri_admin *admin) {
    const struct peri_policy *policy = policy_of(admin);
    struct peri_script_status status;
    for (size_t cursor = 0; policy->status(policy->self, &cursor, &status);) {
        if (status.is_loading) {
            return true;
        }
    }
    return false;
}

static int answer_reload(struct peri_admin_client *client, struct peri_buffer *out) {
    char text[80] = "";
    size_t bad = 0;
    for (size_t i = 0; i < client->count; i++) {
        enum peri_reload what = client->outcomes[i].news.what;
        bad += what == PERI_RELOAD_FAILED || what == PERI_RELOAD_REVERTED;
    }
    if (bad > 0) {
        (void)snprintf(text, sizeof text, "%zu of %zu did not reload", bad, client->count);
    } else if (client->count < client->expected) {
        (void)snprintf(text, sizeof text, "nothing was heard of %zu of %zu",
                       client->expected - client->count, client->expected);
    }
    int status = client->lost
                     ? PERI_E_MEMORY
                     : peri_answer_reload(out, client->outcomes, client->count, peri_str_of(text));
    end_reload(client);
    return status;
}

int peri_admin_later(struct peri_admin_client *client, struct peri_buffer *out) {
    const struct peri_admin *admin = client->admin;
    if (!client->reloads) {
        return PERI_OK;
    }
    bool heard_all = client->count >= client->expected || client->lost;
    if (!heard_all && (now_ns(admin) - client->heard_ns < SILENCE_NS || is_loading(admin))) {
        return PERI_AGAIN;
    }
    if (client->waits && look_at_probation(client)) {
        return PERI_AGAIN;
    }
    return answer_reload(client, out);
}

// Requests ------------------------------------------------------------------------------------

struct request {
    struct peri_str what, script, code;
    bool wait, measure;
};

/// A key that a request may have. One of text or flag is set.
struct key {
    const char *name;
    struct peri_str *text;
    bool *flag;
};

/// @return PERI_OK; PERI_E_INVALID, and why appended
static int take_key(const struct key *keys, yyjson_val *name, yyjson_val *value,
                    struct peri_buffer *why) {
    for (; keys->name; keys++) {
        if (!yyjson_equals_str(name, keys->name)) {
            continue;
        }
        if (keys->text ? !yyjson_is_str(value) : !yyjson_is_bool(value)) {
            return PERI_TELL(why, "\"%s\" is %s", keys->name,
                             keys->text ? "a text" : "true or false");
        }
        if (keys->text) {
            *keys->text = peri_admin_text_of(value);
        } else {
            *keys->flag = yyjson_get_bool(value);
        }
        return PERI_OK;
    }
    return PERI_TELL(why, "unknown key \"%.*s\"", PERI_SHOWN(peri_admin_text_of(name)));
}

static int read_request(struct request *request, yyjson_val *root, struct peri_buffer *why) {
    const struct key keys[] = {
        {"do", &request->what, NULL},         {"script", &request->script, NULL},
        {"code", &request->code, NULL},       {"wait", NULL, &request->wait},
        {"measure", NULL, &request->measure}, {0},
    };
    size_t at, count;
    yyjson_val *name, *value;
    yyjson_obj_foreach(root, at, count, name, value) {
        int status = take_key(keys, name, value, why);
        if (status != PERI_OK) {
            return status;
        }
    }
    return PERI_OK;
}

static int do_status(struct peri_admin_client *client, const struct request *request,
                     struct peri_buffer *out) {
    const struct peri_admin *admin = client->admin;
    set_measures(client, request->measure);
    return peri_answer_status(out, admin->hub, admin->about, now_ns(admin) - admin->began_ns,
                              request->measure);
}

static int do_eval(struct peri_admin_client *client, const struct request *request,
                   struct peri_buffer *out) {
    const struct peri_policy *policy = policy_of(client->admin);
    struct peri_buffer text = {0};
    int status = policy->eval(policy->self, request->script, request->code, &text);
    if (status != PERI_E_MEMORY) {
        status = status == PERI_OK ? peri_answer_text(out, peri_buffer_str(&text))
                                   : peri_answer_error(out, peri_buffer_str(&text));
    }
    peri_buffer_deinit(&text);
    return status;
}

static int do_reload(struct peri_admin_client *client, const struct request *request,
                     struct peri_buffer *out) {
    const struct peri_policy *policy = policy_of(client->admin);
    struct peri_buffer error = {0};
    if (!policy->reload) {
        return peri_answer_error(out, PERI_STR("this host can't reload: restart it"));
    }
    int status = peri_buffer_append_str(&client->script, request->script);
    if (status != PERI_OK) {
        return status;
    }
    // Before it is asked: a script may be done with at once.
    client->reloads = true;
    client->waits = request->wait;
    client->heard_ns = now_ns(client->admin);
    int begun = policy->reload(policy->self, request->script, &error);
    if (begun >= 0) {
        client->expected = (size_t)begun;
        status = peri_admin_later(client, out);
    } else {
        end_reload(client);
        status = begun == PERI_E_MEMORY ? begun : peri_answer_error(out, peri_buffer_str(&error));
    }
    peri_buffer_deinit(&error);
    return status;
}

_Static_assert(PERI_ADMIN_LINE_MAX == 65536, "what is said of it");

int peri_admin_line(struct peri_admin_client *client, struct peri_str line,
                    struct peri_buffer *out) {
    struct request request = {0};
    struct peri_buffer why = {0};
    if (line.len > PERI_ADMIN_LINE_MAX) {
        return peri_answer_error(out, PERI_STR("a request has 65536 bytes at most"));
    }
    yyjson_doc *doc = peri_admin_parse(line);
    if (!doc) {
        return peri_answer_error(out, PERI_STR("a request is a JSON object on a line of its own"));
    }
    int status = read_request(&request, yyjson_doc_get_root(doc), &why);
    if (status == PERI_E_INVALID) {
        status = peri_answer_error(out, peri_buffer_str(&why));
    } else if (status == PERI_OK) {
        status =
            peri_str_equal(request.what, PERI_STR("status"))   ? do_status(client, &request, out)
            : peri_str_equal(request.what, PERI_STR("reload")) ? do_reload(client, &request, out)
            : peri_str_equal(request.what, PERI_STR("eval"))
                ? do_eval(client, &request, out)
                : peri_answer_error(out, PERI_STR("\"do\" is \"status\", \"reload\" or \"eval\""));
    }
    peri_buffer_deinit(&why);
    yyjson_doc_free(doc);
    return status;
}
