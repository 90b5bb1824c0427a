// An nftables table that turns what a namespace's processes send to 127.0.0.11:53 over to sockets
// of ours on other ports of that address. The table belongs to the netlink socket that made it
// (NFT_TABLE_F_OWNER, Linux 5.12): when the socket closes, in whatever way its process ends, the
// kernel removes the table and the questions reach the engine's resolver again.
//
// Ports are rewritten packet by packet, before connection tracking (priority raw), not by NAT: a
// client that keeps its socket for long is turned over at once, and back at once.
//
// Several may be in one namespace, each with a name of its own: the first one made gets the questions
// until it releases them, then the next. So one process can follow another without a gap.
#pragma once

#include <cstdint>
#include <vector>

#include "netlink/unique_fd.h"

namespace skep::netlink {

/// Address of the engine's resolver in every container, in network byte order.
constexpr uint32_t kResolverAddress = __builtin_bswap32(0x7f00000b);
/// Port of DNS.
constexpr uint16_t kResolverPort = 53;
/// Packets with this mark are left alone: they are meant for the engine's resolver.
constexpr uint32_t kEngineMark = 0x736b6470;

class RedirectTable {
 public:
  RedirectTable() = default;
  /// Makes the table in the namespace of the calling thread.
  /// @throws SystemError EOPNOTSUPP on kernels without owned tables, EPERM, EEXIST
  RedirectTable(uint16_t udp_port, uint16_t tcp_port);

  /// Questions go on to whoever is next from now on; what is still answered reaches its client.
  /// `clients`: source ports of TCP connections that are to stay. @throws SystemError
  void Release(const std::vector<uint16_t>& clients);

  /// Removes the table; safe to repeat.
  void Reset() { socket_.Reset(); }

 private:
  UniqueFd socket_;
  uint16_t udp_port_ = 0;
  uint16_t tcp_port_ = 0;
};

}  // namespace skep::netlink
