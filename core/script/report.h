// What the log says when a script raises: script, generation, handler, connection, traceback.
#pragma once

#include <lua.h>

#include "script/door.h"

/// As a message handler: turns the error object into text with a traceback, whatever the object
/// is. [-1, +1]; a `__tostring` that raises is named, not passed on.
int peri_report_traceback(lua_State *L);

/// Logs the error on top of the stack for the running task. [-0, +0]; never raises.
void peri_report_error(lua_State *L, const struct peri_task *task);

/// Logs a text for a task, as an error.
void peri_report(const struct peri_task *task, struct peri_str text);

/// Logs a text for a task, at any level.
void peri_report_task(const struct peri_task *task, int level, struct peri_str text);

/// Logs that the watchdog stopped the task's event, and where; or that it took long. Until forgiven.
void peri_report_stopped(const struct peri_task *task);
void peri_report_late(const struct peri_task *task);

/// For a binding that a limit refuses: logs the message on top of the stack, which names the
/// limit, and answers nil and the message. [-0, +1]
/// @return how many values the binding returns
int peri_report_refusal(lua_State *L, const struct peri_vm *vm);

/// Logs for a VM outside of any task.
void peri_report_vm(const struct peri_vm *vm, int level, struct peri_str text);

/// Logs that a timer was too late for so many of its beats.
void peri_report_skipped(const struct peri_vm *vm, long long timer, unsigned long long beats);

/// Logs what a script printed.
void peri_report_print(const struct peri_vm *vm, struct peri_str text);
