// See ruleset_generation.h.
#include "netlink/ruleset_generation.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "netlink/message_builder.h"
#include "netlink/system_error.h"
#include "netlink/unique_fd.h"

namespace skep::netlink {
namespace {

constexpr char kWhat[] = "netlink(NFT_MSG_GETGEN)";
constexpr size_t kReceiveBytes = 4096;
constexpr uint16_t kRequest = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
constexpr uint16_t kAnswer = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN;

void Send(int socket) {
  MessageBuilder request(kRequest, 0, nfgenmsg{AF_UNSPEC, NFNETLINK_V0, 0});
  const auto& bytes = request.Finish();
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(socket, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel),
               sizeof kernel) < 0) {
    throw SystemError(errno, kWhat);
  }
}

uint32_t GenerationIn(const nlmsghdr& answer) {
  const auto* at = static_cast<const uint8_t*>(NLMSG_DATA(&answer)) + NLMSG_ALIGN(sizeof(nfgenmsg));
  auto left = static_cast<int>(NLMSG_PAYLOAD(&answer, NLMSG_ALIGN(sizeof(nfgenmsg))));
  for (auto* attribute = reinterpret_cast<const rtattr*>(at); RTA_OK(attribute, left);
       attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type != NFTA_GEN_ID || RTA_PAYLOAD(attribute) != sizeof(uint32_t)) continue;
    uint32_t generation = 0;
    std::memcpy(&generation, RTA_DATA(attribute), sizeof generation);
    return ntohl(generation);
  }
  throw SystemError(EBADMSG, kWhat);
}

}  // namespace

uint32_t RulesetGeneration() {
  const UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!socket.valid()) throw SystemError(errno, "socket(AF_NETLINK)");
  Send(socket.get());
  alignas(nlmsghdr) std::array<uint8_t, kReceiveBytes> buffer;
  // The kernel has answered before `sendto` returns.
  const ssize_t received = ::recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (received < 0) throw SystemError(errno, kWhat);
  const auto* answer = reinterpret_cast<const nlmsghdr*>(buffer.data());
  if (!NLMSG_OK(answer, static_cast<uint32_t>(received))) throw SystemError(EBADMSG, kWhat);
  if (answer->nlmsg_type == NLMSG_ERROR) {
    throw SystemError(-static_cast<const nlmsgerr*>(NLMSG_DATA(answer))->error, kWhat);
  }
  if (answer->nlmsg_type != kAnswer) throw SystemError(EBADMSG, kWhat);
  return GenerationIn(*answer);
}

}  // namespace skep::netlink
