// See self_test.h.
#include "datapath/self_test.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "netlink/system_error.h"
#include "netlink/unique_fd.h"

namespace skep::datapath {
namespace {

constexpr uint8_t kHops = 64;

/// Ones' complement sum of bytes as the Internet checksum takes them, added to `sum`.
uint32_t Add(uint32_t sum, const void* bytes, size_t length) {
  const auto* at = static_cast<const uint8_t*>(bytes);
  for (size_t i = 0; i + 1 < length; i += 2) sum += (at[i] << 8) | at[i + 1];
  if (length % 2 != 0) sum += at[length - 1] << 8;
  return sum;
}

uint16_t Fold(uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint16_t Checksum(const Datagram& datagram, const udphdr& udp) {
  uint32_t sum = IPPROTO_UDP + ntohs(udp.len);
  sum = Add(sum, &datagram.source, sizeof datagram.source);
  sum = Add(sum, &datagram.destination, sizeof datagram.destination);
  sum = Add(sum, &udp, sizeof udp);
  sum = Add(sum, datagram.payload.data(), datagram.payload.size());
  const uint16_t check = static_cast<uint16_t>(~Fold(sum));
  return check == 0 ? 0xffff : check;  // 0 means that there is none
}

uint32_t Ethtool(const std::string& device, uint32_t command, uint32_t data) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) throw SystemError(errno, "socket");
  ethtool_value value{command, data};
  ifreq request{};
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&value);
  if (::ioctl(socket.get(), SIOCETHTOOL, &request) < 0) {
    throw SystemError(errno, "ioctl(SIOCETHTOOL)", device);
  }
  return value.data;
}

}  // namespace

void SendSummed(const Datagram& datagram) {
  const UniqueFd socket(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW));
  if (!socket.valid()) throw SystemError(errno, "socket");
  struct {
    iphdr ip;
    udphdr udp;
  } headers{};
  static_assert(sizeof headers == sizeof(iphdr) + sizeof(udphdr));
  const size_t length = sizeof headers + datagram.payload.size();
  if (length > IP_MAXPACKET) throw SystemError(EMSGSIZE, "sendto");
  // The kernel fills in the header's own checksum and its identification.
  headers.ip.version = 4;
  headers.ip.ihl = sizeof(iphdr) / 4;
  headers.ip.tot_len = htons(static_cast<uint16_t>(length));
  headers.ip.frag_off = htons(IP_DF);
  headers.ip.ttl = kHops;
  headers.ip.protocol = IPPROTO_UDP;
  headers.ip.saddr = datagram.source;
  headers.ip.daddr = datagram.destination;
  headers.udp.source = htons(datagram.port);
  headers.udp.dest = htons(datagram.port);
  headers.udp.len = htons(static_cast<uint16_t>(length - sizeof(iphdr)));
  headers.udp.check = htons(Checksum(datagram, headers.udp));
  std::vector<uint8_t> packet(length);
  std::memcpy(packet.data(), &headers, sizeof headers);
  if (!datagram.payload.empty()) {
    std::memcpy(packet.data() + sizeof headers, datagram.payload.data(), datagram.payload.size());
  }
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = datagram.destination;
  (void)::sendto(socket.get(), packet.data(), packet.size(), 0,
                 reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

bool LeavesChecksums(const std::string& device) { return Ethtool(device, ETHTOOL_GTXCSUM, 0) != 0; }

void CompleteChecksums(const std::string& device) { Ethtool(device, ETHTOOL_STXCSUM, 0); }

void KeepPacketsApart(const std::string& device) { Ethtool(device, ETHTOOL_SGRO, 0); }

}  // namespace skep::datapath
