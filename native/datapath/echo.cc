// See echo.h.
#include "datapath/echo.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "bpf/lib/consts.h"
#include "netlink/system_error.h"
#include "netlink/unique_fd.h"

namespace skep::datapath {
namespace {

constexpr size_t kVxlanBytes = 8;
constexpr size_t kEthernetBytes = 14;
constexpr size_t kPaddingBytes = 46;  // the shortest payload Ethernet allows
constexpr uint8_t kVniValid = 0x08;

using Frame = std::array<uint8_t, kVxlanBytes + kEthernetBytes + kPaddingBytes>;

Frame EchoFrame(uint32_t node_id) {
  Frame frame{};
  frame[0] = kVniValid;
  frame[6] = SKEP_MESH_VNI;
  uint8_t* ethernet = frame.data() + kVxlanBytes;
  ethernet[0] = SKEP_MAC_LOCAL;
  ethernet[1] = SKEP_MAC_ECHO_REQUEST;
  std::memcpy(ethernet + 2, &node_id, sizeof node_id);
  ethernet[6] = SKEP_MAC_LOCAL;
  ethernet[7] = SKEP_MAC_NODE;
  std::memcpy(ethernet + 8, &node_id, sizeof node_id);
  ethernet[12] = SKEP_ETHERTYPE_ECHO >> 8;
  ethernet[13] = SKEP_ETHERTYPE_ECHO & 0xff;
  return frame;
}

/// A socket address of either family, and its length.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress At(const IpAddress& address, uint16_t port) {
  SocketAddress at;
  if (address.is_v4()) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&at.storage);
    v4->sin_family = AF_INET;
    v4->sin_addr.s_addr = address.v4();
    v4->sin_port = port;
    at.length = sizeof *v4;
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&at.storage);
    v6->sin6_family = AF_INET6;
    std::memcpy(&v6->sin6_addr, address.bytes(), address.size());
    v6->sin6_port = port;
    at.length = sizeof *v6;
  }
  return at;
}

}  // namespace

void SendEchoes(const IpAddress& source, uint16_t port, uint32_t node_id,
                const std::vector<IpAddress>& tunnels) {
  if (tunnels.empty()) return;
  const UniqueFd socket(
      ::socket(source.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) throw SystemError(errno, "socket");
  // The peer takes tunnel frames from known addresses only, so ours must be the source.
  const SocketAddress from = At(source, 0);
  if (::bind(socket.get(), from.get(), from.length) < 0) throw SystemError(errno, "bind");
  const Frame frame = EchoFrame(node_id);
  for (const IpAddress& tunnel : tunnels) {
    const SocketAddress to = At(tunnel, port);
    // A result would only say that the frame left; what counts is whether it comes back.
    (void)::sendto(socket.get(), frame.data(), frame.size(), 0, to.get(), to.length);
  }
}

}  // namespace skep::datapath
