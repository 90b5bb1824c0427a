// How many connections each backend has from this node, for services that choose by that. The
// programs count flows as they open and close; those that end without a word, or are pushed out of
// their table, are found here.
#pragma once

#include "datapath/map_set.h"

namespace skep::datapath {

/// Counts anew. `needed` is false if no service chooses by it: then all counts are removed.
void RecountLoads(const MapSet& maps, bool needed);

}  // namespace skep::datapath
