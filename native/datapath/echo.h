// The data-path echo: a VXLAN frame on the mesh VNI that the peer's BPF program turns round, so that
// a dead node can be told from a dead agent.
#pragma once

#include <cstdint>
#include <vector>

namespace skep::datapath {

/// Sends one echo to each tunnel address from `source`; all but counts in network byte order. A peer
/// that cannot be reached is not an error: its missing reply says it.
void SendEchoes(uint32_t source, uint16_t port, uint32_t node_id,
                const std::vector<uint32_t>& tunnels);

}  // namespace skep::datapath
