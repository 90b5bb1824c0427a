// The devices of one node: sw-vx0, the tunnel, and sw-h0/sw-h1, the host's leg into the overlay
// networks, with their addresses, routes and sysctls.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "netlink/rtnetlink.h"

namespace skep::datapath {

inline constexpr char kTunnelDevice[] = "sw-vx0";
inline constexpr char kHostDevice[] = "sw-h0";
inline constexpr char kHostFarDevice[] = "sw-h1";

/// Bytes a frame grows by in the tunnel: outer IPv4, UDP, VXLAN, inner Ethernet.
inline constexpr uint32_t kTunnelOverheadBytes = 50;

class Devices {
 public:
  struct Options {
    std::vector<std::string> underlay_interfaces;
    uint16_t tunnel_port = 4789;
    uint32_t dns_address = 0;  // network byte order
    bool new_tunnel = false;   // the tunnel that may be there has another port
  };

  /// Makes what is missing and keeps what is there. @throws SystemError EADDRINUSE: port taken
  explicit Devices(const Options& options);

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
  std::set<uint32_t> HostAddresses();
  std::set<std::pair<uint32_t, uint8_t>> HostRoutes();

  /// Keeps the host's stack from speaking on the host side of a container's interface by itself
  /// (IPv6 neighbour discovery and the like).
  static void Silence(const std::string& name);

  /// Puts an address on the host's leg.
  void AddHostAddress(uint32_t address);
  void RemoveHostAddress(uint32_t address);
  /// Sends a prefix over the host's leg; `source` 0 lets the kernel choose.
  void AddHostRoute(uint32_t destination, uint8_t prefix_length, uint32_t source);
  void RemoveHostRoute(uint32_t destination, uint8_t prefix_length);

  /// Keeps the kernel from sending packets of its own into a device.
  static void Quiet(const std::string& device);

  /// Interface index of the underlay device that owns an address, or 0.
  int UnderlayOf(uint32_t address);

  /// Removes the devices. No error if they are gone.
  static void Remove();

 private:
  void EnsureTunnel(const Options& options);
  void EnsureHostLeg();
  /// Who holds the tunnel's port, as far as it can be known.
  std::string TunnelRival();

  netlink::Rtnetlink rtnetlink_;
  std::vector<netlink::Link> underlay_;
  netlink::Link tunnel_;
  netlink::Link host_;
  netlink::Link host_far_;
  uint32_t container_mtu_ = 1450;
};

}  // namespace skep::datapath
