// The part of the data path that belongs to direct return (bpf/lib/direct.h): which ways between nodes
// are proven to carry it, and the probes that prove them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "datapath/map_set.h"

namespace skep::datapath {

using DirectNonce = std::array<uint8_t, sizeof(skep_direct_nonce)>;

/// A probe that is awaited here, and how long the IP packet was that came; 0: none came yet.
struct AwaitedProbe {
  DirectNonce nonce;
  uint32_t bytes = 0;
};

/// Makes `ways` (SKEP_DIRECT_* by tunnel address in host byte order) the ones in force.
void SetDirectWays(const MapSet& maps, const std::map<uint32_t, uint32_t>& ways);

/// Awaits probes with these nonces and no others; what is known of one that was awaited stays.
void AwaitProbes(const MapSet& maps, const std::vector<DirectNonce>& nonces);

/// The probes that are awaited.
std::vector<AwaitedProbe> AwaitedProbes(const MapSet& maps);

/// Sends a probe to the entry node at `tunnel` (network byte order) under that node's own address, as
/// replies of backends here would leave: an IP packet of `bytes` bytes that no router may fragment. A
/// node with several underlay interfaces sends none, and returns nothing directly either: false. That a
/// probe was lost on its way is no error: its absence says it.
/// @throws SystemError EINVAL if `bytes` is no length of a probe; whatever is thrown for sockets
bool SendProbe(const skep_config& config, uint32_t tunnel, const DirectNonce& nonce, uint32_t bytes);

}  // namespace skep::datapath
