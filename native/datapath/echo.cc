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

sockaddr_in At(uint32_t address, uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = address;
  at.sin_port = port;
  return at;
}

}  // namespace

void SendEchoes(uint32_t source, uint16_t port, uint32_t node_id,
                const std::vector<uint32_t>& tunnels) {
  if (tunnels.empty()) return;
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) throw SystemError(errno, "socket");
  // The peer takes tunnel frames from known addresses only, so ours must be the source.
  const sockaddr_in from = At(source, 0);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&from), sizeof from) < 0) {
    throw SystemError(errno, "bind");
  }
  const Frame frame = EchoFrame(node_id);
  for (const uint32_t tunnel : tunnels) {
    const sockaddr_in to = At(tunnel, port);
    // A result would only say that the frame left; what counts is whether it comes back.
    (void)::sendto(socket.get(), frame.data(), frame.size(), 0,
                   reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
}

}  // namespace skep::datapath
