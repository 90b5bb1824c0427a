// See rtnetlink.h.
#include "netlink/rtnetlink.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#include "netlink/message_builder.h"
#include "netlink/system_error.h"

namespace skep::netlink {
namespace {

constexpr size_t kReceiveBytes = 64 * 1024;
constexpr uint16_t kAck = NLM_F_ACK;
constexpr uint16_t kCreate = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
constexpr uint16_t kReplace = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
constexpr uint32_t kFilterHandle = 1;

/// Calls `visit` for each attribute in [first, end).
template <typename Visit>
void ForEachAttribute(const void* first, size_t size, Visit&& visit) {
  const auto* attribute = static_cast<const rtattr*>(first);
  int left = static_cast<int>(size);
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) visit(*attribute);
}

template <typename Body, typename Visit>
const Body* Parse(const nlmsghdr* header, Visit&& visit) {
  if (header->nlmsg_len < NLMSG_LENGTH(sizeof(Body))) return nullptr;
  const auto* body = static_cast<const Body*>(NLMSG_DATA(header));
  const auto* first = reinterpret_cast<const uint8_t*>(body) + NLMSG_ALIGN(sizeof(Body));
  ForEachAttribute(first, header->nlmsg_len - NLMSG_LENGTH(sizeof(Body)), visit);
  return body;
}

template <typename Value>
Value Read(const rtattr& attribute) {
  Value value{};
  std::memcpy(&value, RTA_DATA(&attribute), std::min<size_t>(sizeof value, RTA_PAYLOAD(&attribute)));
  return value;
}

IpAddress ReadAddress(const rtattr& attribute) {
  return IpAddress::FromBytes(RTA_DATA(&attribute), RTA_PAYLOAD(&attribute));
}

std::string ReadText(const rtattr& attribute) {
  const auto* text = static_cast<const char*>(RTA_DATA(&attribute));
  return std::string(text, strnlen(text, RTA_PAYLOAD(&attribute)));
}

ifinfomsg LinkBody(int ifindex = 0) {
  ifinfomsg body{};
  body.ifi_family = AF_UNSPEC;
  body.ifi_index = ifindex;
  return body;
}

std::optional<Link> ParseLink(const nlmsghdr* header) {
  if (header->nlmsg_type != RTM_NEWLINK) return std::nullopt;
  Link link;
  const auto* body = Parse<ifinfomsg>(header, [&link](const rtattr& attribute) {
    switch (attribute.rta_type & NLA_TYPE_MASK) {
      case IFLA_IFNAME: link.name = ReadText(attribute); break;
      case IFLA_MTU: link.mtu = Read<uint32_t>(attribute); break;
      case IFLA_LINK: link.peer = Read<int>(attribute); break;
      case IFLA_LINK_NETNSID: link.peer_is_away = true; break;
      case IFLA_ADDRESS:
        if (RTA_PAYLOAD(&attribute) == link.mac.size()) link.mac = Read<MacAddress>(attribute);
        break;
      case IFLA_LINKINFO:
        ForEachAttribute(RTA_DATA(&attribute), RTA_PAYLOAD(&attribute), [&link](const rtattr& inner) {
          if (inner.rta_type == IFLA_INFO_KIND) link.kind = ReadText(inner);
        });
        break;
      default: break;
    }
  });
  if (body == nullptr) return std::nullopt;
  link.index = body->ifi_index;
  link.up = (body->ifi_flags & IFF_UP) != 0;
  return link;
}

rtmsg RouteBody(const Route& route) {
  rtmsg body{};
  body.rtm_family = static_cast<uint8_t>(route.destination.family());
  body.rtm_dst_len = route.prefix_length;
  body.rtm_table = RT_TABLE_MAIN;
  body.rtm_protocol = RTPROT_STATIC;
  body.rtm_scope = !route.gateway.given() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  body.rtm_type = RTN_UNICAST;
  return body;
}

ifaddrmsg AddressBody(const Address& address) {
  ifaddrmsg body{};
  body.ifa_family = static_cast<uint8_t>(address.address.family());
  body.ifa_prefixlen = address.prefix_length;
  body.ifa_index = static_cast<uint32_t>(address.ifindex);
  return body;
}

tcmsg ClsactBody(int ifindex) {
  tcmsg body{};
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = ifindex;
  body.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
  body.tcm_parent = TC_H_CLSACT;
  return body;
}

void AddAttribute(MessageBuilder& request, uint16_t type, const IpAddress& address) {
  request.Attribute(type, address.bytes(), address.size());
}

}  // namespace

Rtnetlink::Rtnetlink() : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)) {
  if (!socket_.valid()) throw SystemError(errno, "socket(AF_NETLINK)");
}

void Rtnetlink::Exchange(std::vector<uint8_t>& request, const char* what,
                         const OnMessage& on_message) {
  auto* header = reinterpret_cast<nlmsghdr*>(request.data());
  header->nlmsg_seq = ++sequence_;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(socket_.get(), request.data(), request.size(), 0,
               reinterpret_cast<sockaddr*>(&kernel), sizeof kernel) < 0) {
    throw SystemError(errno, what);
  }
  const bool until_done = (header->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  const bool until_ack = (header->nlmsg_flags & NLM_F_ACK) != 0;
  std::vector<uint8_t> buffer(kReceiveBytes);
  for (;;) {
    const ssize_t received = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (received < 0) {
      if (errno == EINTR) continue;
      throw SystemError(errno, what);
    }
    auto left = static_cast<uint32_t>(received);
    bool answered = false;
    for (auto* answer = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(answer, left);
         answer = NLMSG_NEXT(answer, left)) {
      if (answer->nlmsg_seq != sequence_) continue;  // the rest of an exchange that threw
      if (answer->nlmsg_type == NLMSG_ERROR) {
        const auto* failure = static_cast<const nlmsgerr*>(NLMSG_DATA(answer));
        if (failure->error != 0) throw SystemError(-failure->error, what);
        return;
      }
      if (answer->nlmsg_type == NLMSG_DONE) return;
      if (on_message) on_message(answer);
      answered = true;
    }
    if (answered && !until_done && !until_ack) return;
  }
}

std::vector<Link> Rtnetlink::Links() {
  MessageBuilder request(RTM_GETLINK, NLM_F_DUMP, LinkBody());
  std::vector<Link> links;
  Exchange(request.Finish(), "netlink(RTM_GETLINK)", [&links](const nlmsghdr* header) {
    if (auto link = ParseLink(header)) links.push_back(std::move(*link));
  });
  return links;
}

std::optional<Link> Rtnetlink::FindLink(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) return std::nullopt;
  MessageBuilder request(RTM_GETLINK, 0, LinkBody());
  request.Text(IFLA_IFNAME, name);
  std::optional<Link> found;
  try {
    Exchange(request.Finish(), "netlink(RTM_GETLINK)",
             [&found](const nlmsghdr* header) { found = ParseLink(header); });
  } catch (const SystemError& failure) {
    if (failure.error() != ENODEV) throw;
  }
  return found;
}

Link Rtnetlink::GetLink(const std::string& name) {
  if (auto link = FindLink(name)) return *link;
  throw SystemError(ENODEV, "netlink(RTM_GETLINK)", name);
}

Link Rtnetlink::GetLink(int ifindex) {
  MessageBuilder request(RTM_GETLINK, 0, LinkBody(ifindex));
  std::optional<Link> found;
  Exchange(request.Finish(), "netlink(RTM_GETLINK)",
           [&found](const nlmsghdr* header) { found = ParseLink(header); });
  if (!found) throw SystemError(ENODEV, "netlink(RTM_GETLINK)", std::to_string(ifindex));
  return *found;
}

void Rtnetlink::CreateVethPair(const VethPair& pair) {
  MessageBuilder request(RTM_NEWLINK, kCreate, LinkBody());
  request.Text(IFLA_IFNAME, pair.name).Value(IFLA_MTU, pair.mtu);
  if (pair.mac) request.Value(IFLA_ADDRESS, *pair.mac);
  const size_t info = request.Open(IFLA_LINKINFO);
  request.Text(IFLA_INFO_KIND, "veth");
  const size_t data = request.Open(IFLA_INFO_DATA);
  const size_t peer = request.Open(VETH_INFO_PEER);
  request.Struct(LinkBody()).Text(IFLA_IFNAME, pair.peer).Value(IFLA_MTU, pair.mtu);
  if (pair.peer_mac) request.Value(IFLA_ADDRESS, *pair.peer_mac);
  request.Close(peer);
  request.Close(data);
  request.Close(info);
  Exchange(request.Finish(), "netlink(RTM_NEWLINK veth)");
}

void Rtnetlink::CreateExternalVxlan(const std::string& name, uint16_t port, const MacAddress& mac,
                                    uint32_t mtu) {
  MessageBuilder request(RTM_NEWLINK, kCreate, LinkBody());
  request.Text(IFLA_IFNAME, name).Value(IFLA_MTU, mtu).Value(IFLA_ADDRESS, mac);
  const size_t info = request.Open(IFLA_LINKINFO);
  request.Text(IFLA_INFO_KIND, "vxlan");
  const size_t data = request.Open(IFLA_INFO_DATA);
  request.Value(IFLA_VXLAN_COLLECT_METADATA, uint8_t{1})
      .Value(IFLA_VXLAN_LEARNING, uint8_t{0})
      .Value(IFLA_VXLAN_PORT, htons(port));
  request.Close(data);
  request.Close(info);
  Exchange(request.Finish(), "netlink(RTM_NEWLINK vxlan)");
}

void Rtnetlink::CreateWireguard(const std::string& name) {
  MessageBuilder request(RTM_NEWLINK, kCreate, LinkBody());
  request.Text(IFLA_IFNAME, name);
  const size_t info = request.Open(IFLA_LINKINFO);
  request.Text(IFLA_INFO_KIND, "wireguard");
  request.Close(info);
  Exchange(request.Finish(), "netlink(RTM_NEWLINK wireguard)");
}

void Rtnetlink::SetUp(int ifindex, bool up) {
  ifinfomsg body = LinkBody(ifindex);
  body.ifi_change = IFF_UP;
  body.ifi_flags = up ? IFF_UP : 0;
  MessageBuilder request(RTM_NEWLINK, kAck, body);
  Exchange(request.Finish(), "netlink(RTM_NEWLINK up)");
}

void Rtnetlink::SetMtu(int ifindex, uint32_t mtu) {
  MessageBuilder request(RTM_NEWLINK, kAck, LinkBody(ifindex));
  request.Value(IFLA_MTU, mtu);
  Exchange(request.Finish(), "netlink(RTM_NEWLINK mtu)");
}

void Rtnetlink::SetNoArp(int ifindex) {
  ifinfomsg body = LinkBody(ifindex);
  body.ifi_change = IFF_NOARP;
  body.ifi_flags = IFF_NOARP;
  MessageBuilder request(RTM_NEWLINK, kAck, body);
  Exchange(request.Finish(), "netlink(RTM_NEWLINK noarp)");
}

bool Rtnetlink::DeleteLink(const std::string& name) {
  const auto link = FindLink(name);
  if (!link) return false;
  MessageBuilder request(RTM_DELLINK, kAck, LinkBody(link->index));
  try {
    Exchange(request.Finish(), "netlink(RTM_DELLINK)");
  } catch (const SystemError& failure) {
    if (failure.error() != ENODEV) throw;
    return false;
  }
  return true;
}

std::vector<Address> Rtnetlink::Addresses() {
  ifaddrmsg body{};
  body.ifa_family = AF_UNSPEC;
  MessageBuilder request(RTM_GETADDR, NLM_F_DUMP, body);
  std::vector<Address> addresses;
  Exchange(request.Finish(), "netlink(RTM_GETADDR)", [&addresses](const nlmsghdr* header) {
    if (header->nlmsg_type != RTM_NEWADDR) return;
    Address address;
    const auto* answer = Parse<ifaddrmsg>(header, [&address](const rtattr& attribute) {
      // IFA_LOCAL is the own address; IFA_ADDRESS is the far end on point-to-point devices.
      if (attribute.rta_type == IFA_LOCAL) address.address = ReadAddress(attribute);
      if (attribute.rta_type == IFA_ADDRESS && !address.address.given()) {
        address.address = ReadAddress(attribute);
      }
    });
    if (answer == nullptr || !address.address.given()) return;
    address.ifindex = static_cast<int>(answer->ifa_index);
    address.prefix_length = answer->ifa_prefixlen;
    addresses.push_back(address);
  });
  return addresses;
}

void Rtnetlink::AddAddress(const Address& address) {
  ifaddrmsg body = AddressBody(address);
  body.ifa_scope = RT_SCOPE_UNIVERSE;
  // Our own devices have nobody else on them whom the address could belong to.
  if (!address.address.is_v4()) body.ifa_flags = IFA_F_NODAD;
  MessageBuilder request(RTM_NEWADDR, kCreate, body);
  request.Attribute(IFA_LOCAL, address.address.bytes(), address.address.size())
      .Attribute(IFA_ADDRESS, address.address.bytes(), address.address.size());
  try {
    Exchange(request.Finish(), "netlink(RTM_NEWADDR)");
  } catch (const SystemError& failure) {
    if (failure.error() != EEXIST) throw;
  }
}

void Rtnetlink::RemoveAddress(const Address& address) {
  const ifaddrmsg body = AddressBody(address);
  MessageBuilder request(RTM_DELADDR, kAck, body);
  request.Attribute(IFA_LOCAL, address.address.bytes(), address.address.size())
      .Attribute(IFA_ADDRESS, address.address.bytes(), address.address.size());
  try {
    Exchange(request.Finish(), "netlink(RTM_DELADDR)");
  } catch (const SystemError& failure) {
    if (failure.error() != EADDRNOTAVAIL && failure.error() != ENODEV) throw;
  }
}

void Rtnetlink::ReplaceRoute(const Route& route) {
  MessageBuilder request(RTM_NEWROUTE, kReplace, RouteBody(route));
  if (route.prefix_length > 0) AddAttribute(request, RTA_DST, route.destination);
  if (route.ifindex != 0) request.Value(RTA_OIF, route.ifindex);
  if (route.gateway.given()) AddAttribute(request, RTA_GATEWAY, route.gateway);
  if (route.preferred_source.given()) AddAttribute(request, RTA_PREFSRC, route.preferred_source);
  if (route.metric != 0) request.Value(RTA_PRIORITY, route.metric);
  Exchange(request.Finish(), "netlink(RTM_NEWROUTE)");
}

void Rtnetlink::RemoveRoute(const Route& route) {
  rtmsg body = RouteBody(route);
  body.rtm_scope = RT_SCOPE_NOWHERE;
  body.rtm_protocol = RTPROT_UNSPEC;
  body.rtm_type = RTN_UNSPEC;
  MessageBuilder request(RTM_DELROUTE, kAck, body);
  if (route.prefix_length > 0) AddAttribute(request, RTA_DST, route.destination);
  if (route.ifindex != 0) request.Value(RTA_OIF, route.ifindex);
  try {
    Exchange(request.Finish(), "netlink(RTM_DELROUTE)");
  } catch (const SystemError& failure) {
    if (failure.error() != ESRCH && failure.error() != ENODEV) throw;
  }
}

std::vector<Route> Rtnetlink::RoutesOver(int ifindex) {
  rtmsg body{};
  body.rtm_family = AF_UNSPEC;
  MessageBuilder request(RTM_GETROUTE, NLM_F_DUMP, body);
  std::vector<Route> routes;
  Exchange(request.Finish(), "netlink(RTM_GETROUTE)", [&](const nlmsghdr* header) {
    if (header->nlmsg_type != RTM_NEWROUTE) return;
    Route route;
    const auto* answer = Parse<rtmsg>(header, [&route](const rtattr& attribute) {
      switch (attribute.rta_type) {
        case RTA_DST: route.destination = ReadAddress(attribute); break;
        case RTA_OIF: route.ifindex = Read<int>(attribute); break;
        case RTA_GATEWAY: route.gateway = ReadAddress(attribute); break;
        case RTA_PREFSRC: route.preferred_source = ReadAddress(attribute); break;
        default: break;
      }
    });
    if (answer == nullptr || answer->rtm_table != RT_TABLE_MAIN || route.ifindex != ifindex) return;
    route.prefix_length = answer->rtm_dst_len;
    routes.push_back(route);
  });
  return routes;
}

RouteAnswer Rtnetlink::RouteTo(const IpAddress& destination) {
  rtmsg body{};
  body.rtm_family = static_cast<uint8_t>(destination.family());
  body.rtm_dst_len = destination.bits();
  MessageBuilder request(RTM_GETROUTE, 0, body);
  AddAttribute(request, RTA_DST, destination);
  RouteAnswer answer;
  Exchange(request.Finish(), "netlink(RTM_GETROUTE)", [&answer](const nlmsghdr* header) {
    Parse<rtmsg>(header, [&answer](const rtattr& attribute) {
      if (attribute.rta_type == RTA_OIF) answer.ifindex = Read<int>(attribute);
      if (attribute.rta_type == RTA_PREFSRC) answer.preferred_source = ReadAddress(attribute);
    });
  });
  return answer;
}

bool Rtnetlink::EnsureClsact(int ifindex) {
  MessageBuilder request(RTM_NEWQDISC, kCreate, ClsactBody(ifindex));
  request.Text(TCA_KIND, "clsact");
  try {
    Exchange(request.Finish(), "netlink(RTM_NEWQDISC)");
  } catch (const SystemError& failure) {
    if (failure.error() != EEXIST) throw;
    return false;
  }
  return true;
}

void Rtnetlink::RemoveClsact(int ifindex) {
  MessageBuilder request(RTM_DELQDISC, kAck, ClsactBody(ifindex));
  request.Text(TCA_KIND, "clsact");
  try {
    Exchange(request.Finish(), "netlink(RTM_DELQDISC)");
  } catch (const SystemError& failure) {
    const int error = failure.error();
    if (error != ENOENT && error != EINVAL && error != ENODEV) throw;
  }
}

bool Rtnetlink::HasFilters(int ifindex) {
  bool found = false;
  for (const uint32_t side : {TC_H_MIN_INGRESS, TC_H_MIN_EGRESS}) {
    VisitFilters(ifindex, side, [&found](const tcmsg&) { found = true; });
  }
  return found;
}

void Rtnetlink::ReplaceIngressFilter(int ifindex, uint16_t priority, int program_fd,
                                     const std::string& name) {
  tcmsg body{};
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = ifindex;
  body.tcm_handle = kFilterHandle;
  body.tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
  body.tcm_info = TC_H_MAKE(static_cast<uint32_t>(priority) << 16, htons(0x0003 /* ETH_P_ALL */));
  MessageBuilder request(RTM_NEWTFILTER, kReplace, body);
  request.Text(TCA_KIND, "bpf");
  const size_t options = request.Open(TCA_OPTIONS);
  request.Value(TCA_BPF_FD, program_fd)
      .Text(TCA_BPF_NAME, name)
      .Value(TCA_BPF_FLAGS, uint32_t{TCA_BPF_FLAG_ACT_DIRECT});
  request.Close(options);
  Exchange(request.Finish(), "netlink(RTM_NEWTFILTER)");
}

void Rtnetlink::VisitFilters(int ifindex, uint32_t side,
                             const std::function<void(const tcmsg&)>& visit) {
  tcmsg body{};
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = ifindex;
  body.tcm_parent = TC_H_MAKE(TC_H_CLSACT, side);
  MessageBuilder request(RTM_GETTFILTER, NLM_F_DUMP, body);
  try {
    Exchange(request.Finish(), "netlink(RTM_GETTFILTER)", [&](const nlmsghdr* header) {
      if (header->nlmsg_type != RTM_NEWTFILTER) return;
      const auto* answer = Parse<tcmsg>(header, [](const rtattr&) {});
      if (answer != nullptr) visit(*answer);
    });
  } catch (const SystemError& failure) {
    // No clsact qdisc, or no device.
    if (failure.error() != EINVAL && failure.error() != ENODEV) throw;
  }
}

bool Rtnetlink::HasIngressFilter(int ifindex, uint16_t priority) {
  bool found = false;
  VisitFilters(ifindex, TC_H_MIN_INGRESS, [&](const tcmsg& filter) {
    found |= filter.tcm_handle == kFilterHandle && TC_H_MAJ(filter.tcm_info) >> 16 == priority;
  });
  return found;
}

void Rtnetlink::RemoveIngressFilter(int ifindex, uint16_t priority) {
  tcmsg body{};
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = ifindex;
  body.tcm_handle = kFilterHandle;
  body.tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
  body.tcm_info = TC_H_MAKE(static_cast<uint32_t>(priority) << 16, htons(0x0003 /* ETH_P_ALL */));
  MessageBuilder request(RTM_DELTFILTER, kAck, body);
  request.Text(TCA_KIND, "bpf");
  try {
    Exchange(request.Finish(), "netlink(RTM_DELTFILTER)");
  } catch (const SystemError& failure) {
    const int error = failure.error();
    if (error != ENOENT && error != EINVAL && error != ENODEV) throw;
  }
}

}  // namespace skep::netlink
