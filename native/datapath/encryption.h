// WireGuard's devices as the data path knows them; a node has one, and a second while its key
// changes. They are made and given keys in TypeScript (src/network/encryption).
#pragma once

#include <cstdint>

namespace skep::datapath {

/// Outer IPv4 and UDP header, and WireGuard's own 32 bytes.
inline constexpr uint32_t kWireguardOverheadBytes = 60;

inline constexpr char kWireguardRole[] = "wireguard";
inline constexpr const char* kWireguardDevices[] = {"sw-wg0", "sw-wg1"};

}  // namespace skep::datapath
