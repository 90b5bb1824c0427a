// Maglev tables (Eisenbud et al., NSDI 2016): which backend a cell of a service's table leads to.
// The table depends on the backends' addresses alone, so every node that knows the same backends has
// the same table, and a flow whose entry was lost is given the same backend again, on any node.
// One backend more or less moves few cells between the others.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "bpf/lib/consts.h"

namespace skep::datapath {

/// Cells of the table for so many backends: both sizes are primes, and at least forty times the
/// number of backends for up to a hundred of them.
constexpr uint32_t MaglevCells(size_t backends) {
  return backends <= SKEP_MAGLEV_SMALL_BACKENDS ? SKEP_MAGLEV_SMALL_CELLS
                                                : SKEP_MAGLEV_LARGE_CELLS;
}

/// A table of `cells` (a prime) numbers of backends. `identities` are what tells the backends apart
/// on every node, sorted and without repetition; numbers are positions in it. Every backend gets
/// cells/backends of the cells, rounded up or down; with more backends than cells the last ones get
/// none. Empty without backends.
std::vector<uint16_t> MaglevTable(const std::vector<std::string_view>& identities, uint32_t cells);

}  // namespace skep::datapath
