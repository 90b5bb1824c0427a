// Sets of ports, and the text the kernel has for them.
#pragma once

#include <bitset>
#include <cstddef>
#include <string>

namespace skep::datapath {

constexpr size_t kPorts = 65536;
/// One bit a port; the protocol makes no difference.
using PortSet = std::bitset<kPorts>;

/// Writes a set as the kernel does: "80,8000-8010".
std::string TextOf(const PortSet& ports);

/// Reads the kernel's list; what is no port is left out.
PortSet PortsOf(const std::string& text);

}  // namespace skep::datapath
