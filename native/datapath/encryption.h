// WireGuard's devices as the data path knows them; a node has one, and a second while its key
// changes. They are made and given keys in TypeScript (src/network/encryption).
#pragma once

namespace skep::datapath {

inline constexpr char kWireguardRole[] = "wireguard";
inline constexpr const char* kWireguardDevices[] = {"sw-wg0", "sw-wg1"};

}  // namespace skep::datapath
