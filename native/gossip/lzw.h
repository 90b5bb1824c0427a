// LZW as memberlist compresses with it: least significant bit first, 8-bit literals, codes up to 12
// bits.
#pragma once

#include "gossip/bytes.h"

namespace skep::gossip {

/// Unfolds `input` into `out`. False for a broken code, a missing end, or more than `bytes_max`
/// bytes.
bool LzwDecode(ByteView input, size_t bytes_max, Bytes* out);

}  // namespace skep::gossip
