// The devices of one node: sw-vx0, the tunnel, and sw-h0/sw-h1, the host's leg into the overlay
// networks, with their addresses, routes and sysctls.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "datapath/host_record.h"
#include "netlink/rtnetlink.h"

namespace skep::datapath {

inline constexpr char kTunnelDevice[] = "sw-vx0";
inline constexpr char kHostDevice[] = "sw-h0";
inline constexpr char kHostFarDevice[] = "sw-h1";

/// Bytes a frame grows by in the tunnel: outer IP, UDP, VXLAN, inner Ethernet.
inline constexpr uint32_t kTunnelOverheadBytes = 50;
inline constexpr uint32_t kTunnelOverhead6Bytes = 70;

class Devices {
 public:
  struct Options {
    std::vector<std::string> underlay_interfaces;
    uint16_t tunnel_port = 4789;
    uint32_t dns_address = 0;  // network byte order
    bool tunnel_over_ipv6 = false;
    bool new_tunnel = false;   // the tunnel that may be there has another port
  };

  /// Makes what is missing and keeps what is there. @throws SystemError EADDRINUSE: port taken
  Devices(const Options& options, HostRecord& record);

  uint32_t container_mtu() const { return container_mtu_; }
  const netlink::Link& tunnel() const { return tunnel_; }
  const netlink::Link& host() const { return host_; }
  const netlink::Link& host_far() const { return host_far_; }
  const std::vector<netlink::Link>& underlay() const { return underlay_; }

  /// Sets the devices' sysctls where they differ; how many did.
  uint32_t Tune();
  /// False if a device of ours was deleted, made anew or switched off.
  bool Intact();
  /// What is on the host's leg now: addresses, and routes by destination and prefix length.
  std::set<IpAddress> HostAddresses();
  std::set<std::pair<IpAddress, uint8_t>> HostRoutes();

  /// Keeps the host's stack from speaking on the host side of a container's interface by itself
  /// (IPv6 neighbour discovery and the like).
  static void Silence(const std::string& name);

  /// Puts an address on the host's leg.
  void AddHostAddress(const IpAddress& address);
  void RemoveHostAddress(const IpAddress& address);
  /// Sends a prefix over the host's leg; with no `source` the kernel chooses.
  void AddHostRoute(const IpAddress& destination, uint8_t prefix_length, const IpAddress& source);
  void RemoveHostRoute(const IpAddress& destination, uint8_t prefix_length);
  /// False if IPv6 is switched off on this host: no addresses and routes of it then.
  bool has_ipv6() const { return has_ipv6_; }
  /// Lets the host forward IPv6; its interfaces go on taking their own addresses from routers.
  void ForwardIpv6();

  /// Keeps the kernel from sending packets of its own into a device.
  static void Quiet(const std::string& device);

  /// Interface index of the underlay device that owns an address, or 0.
  int UnderlayOf(const IpAddress& address);

  /// Removes the devices. No error if they are gone.
  static void Remove();

 private:
  void EnsureTunnel(const Options& options);
  void EnsureHostLeg();
  /// Who holds the tunnel's port, as far as it can be known.
  std::string TunnelRival();

  HostRecord& record_;
  netlink::Rtnetlink rtnetlink_;
  std::vector<netlink::Link> underlay_;
  netlink::Link tunnel_;
  netlink::Link host_;
  netlink::Link host_far_;
  uint32_t container_mtu_ = 1450;
  bool has_ipv6_ = false;
};

}  // namespace skep::datapath
