#include "script/probation.h"

#include "base/alloc.h"
#include "base/log.h"
#include "script/host_private.h"
#include "script/reload.h"

static double rate(const struct peri_vm *vm) {
    return vm->events > 0 ? (double)vm->errors / (double)vm->events : 0;
}

bool peri_probation_does_well(const struct peri_vm *vm) {
    return !vm->probation || vm->errors == 0;
}

void peri_probation_begin(struct peri_vm *vm, const struct peri_vm *before) {
    const struct peri_limits *limits = vm->host->limits;
    if (limits->probation_ms == 0) {
        return;
    }
    vm->probation = peri_calloc(1, sizeof *vm->probation);
    if (!vm->probation) {
        peri_log(PERI_LOG_WARN, "%s: out of memory: no probation for generation %u", vm->file,
                 (unsigned)vm->generation);
        return;
    }
    vm->probation->until_ns =
        peri_alarms_now(peri_host_alarms(vm->host)) + limits->probation_ms * 1000000;
    // One that does badly itself is no measure for its mend.
    vm->probation->rate_before =
        peri_probation_does_well(before) ? rate(before) : before->probation->rate_before;
}

static bool is_new(struct peri_probation *probation, peri_key key) {
    for (size_t i = 0; i < probation->key_count; i++) {
        if (probation->keys[i] == key) {
            return false;
        }
    }
    return true;
}

void peri_probation_note(struct peri_vm *vm, peri_key key) {
    struct peri_probation *probation = vm->probation;
    const struct peri_limits *limits = vm->host->limits;
    vm->errors++;
    if (!peri_probation_lasts(vm) || key == 0) {
        return;
    }
    if (probation->key_count < PERI_PROBATION_KEYS_MAX && is_new(probation, key)) {
        probation->keys[probation->key_count++] = key;
    }
    if (probation->key_count >= limits->probation_connections &&
        rate(vm) > (double)limits->probation_factor * probation->rate_before) {
        probation->failed = true;
        peri_reload_take_back(vm->host->scripts[vm->script - 1]);
    }
}

bool peri_probation_lasts(const struct peri_vm *vm) {
    return vm->probation && !vm->probation->failed &&
           peri_alarms_now(peri_host_alarms(vm->host)) < vm->probation->until_ns;
}
