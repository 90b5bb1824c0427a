// CRC-32 (IEEE), the checksum of memberlist's packets.
#pragma once

#include "gossip/bytes.h"

namespace skep::gossip {

uint32_t Crc32(ByteView bytes);

}  // namespace skep::gossip
