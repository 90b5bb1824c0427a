// What the self-test of paths between nodes needs of the kernel: packets whose checksum no offload
// touches, and tunnels whose checksums are computed before the network card sees them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace skep::datapath {

/// A UDP datagram over IPv4.
struct Datagram {
  uint32_t source = 0;       // network byte order
  uint32_t destination = 0;  // network byte order
  uint16_t port = 0;         // of both ends, host byte order
  std::vector<uint8_t> payload;
};

/// Sends a datagram whose checksum is complete when it leaves this function, and which no router may
/// fragment. That it could not be sent is not an error: the missing answer says it.
/// @throws SystemError if there is no socket to be had
void SendSummed(const Datagram& datagram);

/// True if packets may leave a device with checksums that a device below has to complete.
/// @throws SystemError ENODEV
bool LeavesChecksums(const std::string& device);

/// From now on checksums are complete when packets leave the device, and packets cut to size.
/// @throws SystemError ENODEV
void CompleteChecksums(const std::string& device);

/// The kernel joins no packets that arrive on this device.
void KeepPacketsApart(const std::string& device);

}  // namespace skep::datapath
