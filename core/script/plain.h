// Plain data, and the one way to copy it: within a VM, and from one VM to the next.
//
// Plain are: nil, booleans, numbers, strings, conns, json.null, room values, and tables of these
// without metatables (a JSON array's mark excepted), as keys too.
#pragma once

#include <lua.h>

#include "base/buffer.h"
#include "script/vm.h"

/// How many tables may stand within each other, the outermost counted. Copying needs no stack for
/// them: this is for what walks them afterwards.
enum { PERI_PLAIN_DEPTH_MAX = 10000 };

/// Pushes a deep copy of the value at `index`: cycles and shared references kept.
/// [-0, +1]; raises on what is not plain data, naming its path after `what`
/// @param as the table at this index stands for the root where the root refers to itself; 0: the
///           copy does
void peri_plain_copy(lua_State *L, int index, int as, const char *what);

/// The tables that were copied from one VM to another (or within one), and what they became. It
/// outlives a copy: a table that is reached from two places is one table again, whenever they are
/// copied. It keeps both of each pair alive.
struct peri_move;

enum peri_move_mode {
    PERI_MOVE_STRICT, ///< what can't be kept raises
    PERI_MOVE_LEAVE,  ///< what can't be kept is left out
};

/// @param from, to borrowed, until it is freed; may be the same
/// @return owned; NULL without memory
PERI_MUST_CHECK struct peri_move *peri_move_new(struct peri_vm *from, struct peri_vm *to);

/// Forgets the pairs. Never raises. Both VMs are still there.
void peri_move_free(struct peri_move *move); ///< NULL does nothing

// `from` is a state of move->from, `to` of move->to; where the VMs are the same, so may the states be.
// All runs under a protection of `to`: nothing ever raises in `from`. What `from` needs for the map
// it gets even when it is at its cap; what `to` gets counts against to's limit.

/// The table at from_index will become the one at to_index, which is there already, when it is
/// reached: what it holds is put there, and nothing taken away. A table is bound once, and before
/// it was copied. [-0, +0]; may raise in `to`, then nothing is bound
void peri_move_bind(struct peri_move *move, lua_State *from, int from_index, lua_State *to,
                    int to_index);

/// Copies the value at `index` of `from` to the top of `to`. [from -0 +0, to -0 +1]
///
/// Raises in `to` for want of memory and, in PERI_MOVE_STRICT, when something can't be kept, naming
/// its path after `what`: "state.players[3].on_hit can't be kept: a function". Then the move is as
/// it was before the call (but bound tables that it reached may hold a part).
/// @param left PERI_MOVE_LEAVE: the message on the first thing left out is appended; may be NULL
void peri_move_value(struct peri_move *move, lua_State *from, int index, lua_State *to,
                     const char *what, enum peri_move_mode mode, struct peri_buffer *left);

/// How many tables were copied.
size_t peri_move_count(const struct peri_move *move);

/// Empties every table of `from` that was copied since the last call (or since the beginning), and
/// gives it the metatable on top of from's stack. [from -1, +0]; needs 8 free slots; never raises
void peri_move_strip(struct peri_move *move, lua_State *from);
