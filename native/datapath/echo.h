// The data-path echo: a VXLAN frame on the mesh VNI that the peer's BPF program turns round, so that
// a dead node can be told from a dead agent.
#pragma once

#include <cstdint>
#include <vector>

#include "netlink/ip_address.h"

namespace skep::datapath {

/// Sends one echo to each tunnel address from `source`; port and id in network byte order. A peer
/// that cannot be reached is not an error: its missing reply says it.
void SendEchoes(const IpAddress& source, uint16_t port, uint32_t node_id,
                const std::vector<IpAddress>& tunnels);

}  // namespace skep::datapath
