// Links, addresses, routes and tc filters of the network namespace the calling thread is in, spoken
// straight over a NETLINK_ROUTE socket. Every failure is a SystemError; "already so" (EEXIST when
// adding the same thing, ENOENT/ENODEV when removing) is no failure where a method says idempotent.
#pragma once

#include <linux/rtnetlink.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "netlink/ip_address.h"
#include "netlink/unique_fd.h"

struct nlmsghdr;

namespace skep::netlink {

using MacAddress = std::array<uint8_t, 6>;

/// One network device as the kernel reports it.
struct Link {
  int index = 0;
  std::string name;
  std::string kind;  // "veth", "vxlan", ... or empty for physical devices
  uint32_t mtu = 0;
  bool up = false;
  MacAddress mac{};
  int peer = 0;              // interface index of a veth's other end, there
  bool peer_is_away = false; // it is in another network namespace
};

/// One address on a device.
struct Address {
  int ifindex = 0;
  IpAddress address;
  uint8_t prefix_length = 32;
};

/// A route over a device; `destination` says the family, other addresses may be absent.
struct Route {
  IpAddress destination;
  uint8_t prefix_length = 0;
  int ifindex = 0;
  IpAddress gateway;
  IpAddress preferred_source;
  uint32_t metric = 0;
};

/// What the kernel answers for a destination.
struct RouteAnswer {
  int ifindex = 0;
  IpAddress preferred_source;
};

/// Both ends of a veth pair to be made; a missing MAC is chosen by the kernel.
struct VethPair {
  std::string name;
  std::string peer;
  std::optional<MacAddress> mac;
  std::optional<MacAddress> peer_mac;
  uint32_t mtu = 1500;
};

class Rtnetlink {
 public:
  /// Opens a socket in the namespace of the calling thread. @throws SystemError
  Rtnetlink();

  std::vector<Link> Links();
  /// The device of that name, or nothing.
  std::optional<Link> FindLink(const std::string& name);
  /// Same, but a missing device is ENODEV.
  Link GetLink(const std::string& name);

  void CreateVethPair(const VethPair& pair);
  /// A collect-metadata VXLAN device ("external"), no learning. EADDRINUSE if the port is taken.
  void CreateExternalVxlan(const std::string& name, uint16_t port, const MacAddress& mac,
                           uint32_t mtu);
  /// A device of the kernel's own WireGuard. @throws SystemError EOPNOTSUPP where it has none
  void CreateWireguard(const std::string& name);
  void SetUp(int ifindex, bool up);
  void SetMtu(int ifindex, uint32_t mtu);
  /// The device with that index. @throws SystemError ENODEV
  Link GetLink(int ifindex);
  /// Switches ARP off on a device (IFF_NOARP).
  void SetNoArp(int ifindex);
  /// True if the device existed.
  bool DeleteLink(const std::string& name);

  /// Of both families.
  std::vector<Address> Addresses();
  /// Idempotent.
  void AddAddress(const Address& address);
  /// Idempotent.
  void RemoveAddress(const Address& address);

  /// Adds or replaces a route in the main table.
  void ReplaceRoute(const Route& route);
  /// Idempotent.
  void RemoveRoute(const Route& route);
  /// Routes of the main table over one device.
  std::vector<Route> RoutesOver(int ifindex);
  /// The route the kernel would take. @throws SystemError ENETUNREACH
  RouteAnswer RouteTo(const IpAddress& destination);

  /// Makes sure the device has a clsact qdisc, or an ingress one of somebody; true if it had none.
  bool EnsureClsact(int ifindex);
  /// True if filters of anybody hang on that qdisc, in either direction.
  bool HasFilters(int ifindex);
  /// Takes the qdisc off, and what hangs on it. Idempotent.
  void RemoveClsact(int ifindex);
  /// Puts a direct-action BPF program at (priority, handle 1) of the ingress hook, replacing atomically.
  void ReplaceIngressFilter(int ifindex, uint16_t priority, int program_fd,
                            const std::string& name);
  /// True if a BPF filter is at that place.
  bool HasIngressFilter(int ifindex, uint16_t priority);
  /// Idempotent.
  void RemoveIngressFilter(int ifindex, uint16_t priority);

 private:
  using OnMessage = std::function<void(const nlmsghdr*)>;
  /// Calls `visit` for each filter on one side of the clsact qdisc; none if there is no such qdisc.
  void VisitFilters(int ifindex, uint32_t side, const std::function<void(const tcmsg&)>& visit);
  /// Sends one request, hands each answer to `on_message`, throws on an error answer.
  void Exchange(std::vector<uint8_t>& request, const char* what, const OnMessage& on_message = {});

  UniqueFd socket_;
  uint32_t sequence_ = 0;
};

}  // namespace skep::netlink
