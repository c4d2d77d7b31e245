// (placeholder until merged)
#pragma once
#include "script/vm.h"
struct peri_move;
enum peri_move_mode { PERI_MOVE_STRICT, PERI_MOVE_LEAVE };
PERI_MUST_CHECK struct peri_move *peri_move_new(struct peri_vm *from, struct peri_vm *to);
void peri_move_free(struct peri_move *move);
void peri_move_bind(struct peri_move *move, lua_State *from, int from_index, lua_State *to, int to_index);
void peri_move_value(struct peri_move *move, lua_State *from, int index, lua_State *to, const char *what, enum peri_move_mode mode, struct peri_buffer *left);
size_t peri_move_count(const struct peri_move *move);
void peri_move_strip(struct peri_move *move, lua_State *from);
