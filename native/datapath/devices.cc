// See devices.h.
#include "datapath/devices.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <random>

#include "netlink/system_error.h"

namespace skep::datapath {
namespace {

constexpr uint32_t kMtuMin = 576;

void WriteSysctl(const std::string& family, const std::string& device, const std::string& name,
                 const std::string& value) {
  // Absent files (IPv6 switched off) need no setting.
  std::ofstream file("/proc/sys/net/" + family + "/conf/" + device + "/" + name);
  if (!file) return;
  file << value;
}

std::string ReadSysctl(const std::string& family, const std::string& device,
                       const std::string& name) {
  std::ifstream file("/proc/sys/net/" + family + "/conf/" + device + "/" + name);
  std::string value;
  file >> value;
  return value;
}

void TuneRouted(const std::string& device) { WriteSysctl("ipv4", device, "forwarding", "1"); }

void TuneOwn(const std::string& device) {
  WriteSysctl("ipv4", device, "rp_filter", "0");
  WriteSysctl("ipv4", device, "send_redirects", "0");
  // Addresses and routes there are ours alone: no link-local ones, nothing from routers.
  WriteSysctl("ipv6", device, "addr_gen_mode", "1");
  WriteSysctl("ipv6", device, "disable_ipv6", "0");
  WriteSysctl("ipv6", device, "accept_ra", "0");
  TuneRouted(device);
}

/// Locally administered, and random: a receiver drops frames whose inner source is its own MAC.
netlink::MacAddress RandomMac() {
  std::random_device random;
  netlink::MacAddress mac;
  for (uint8_t& byte : mac) byte = static_cast<uint8_t>(random());
  mac[0] = 0x06;
  return mac;
}

}  // namespace

Devices::Devices(const Options& options) {
  uint32_t mtu = UINT32_MAX;
  for (const std::string& name : options.underlay_interfaces) {
    underlay_.push_back(rtnetlink_.GetLink(name));
    mtu = std::min(mtu, underlay_.back().mtu);
    TuneRouted(name);
  }
  if (underlay_.empty()) mtu = 1500;
  const uint32_t overhead =
      options.tunnel_over_ipv6 ? kTunnelOverhead6Bytes : kTunnelOverheadBytes;
  container_mtu_ = std::max(mtu, kMtuMin + overhead) - overhead;
  EnsureTunnel(options);
  EnsureHostLeg();
  has_ipv6_ = ReadSysctl("ipv6", kHostDevice, "disable_ipv6") == "0";
  AddHostAddress(IpAddress::V4(options.dns_address));
}

void Devices::EnsureTunnel(const Options& options) {
  auto link = rtnetlink_.FindLink(kTunnelDevice);
  if (link && (options.new_tunnel || link->kind != "vxlan")) {
    rtnetlink_.DeleteLink(kTunnelDevice);
    link.reset();
  }
  const std::string port = "UDP port " + std::to_string(options.tunnel_port);
  try {
    if (!link) {
      rtnetlink_.CreateExternalVxlan(kTunnelDevice, options.tunnel_port, RandomMac(),
                                     container_mtu_);
    }
    tunnel_ = rtnetlink_.GetLink(kTunnelDevice);
    if (tunnel_.mtu != container_mtu_) rtnetlink_.SetMtu(tunnel_.index, container_mtu_);
    TuneOwn(kTunnelDevice);
    if (!tunnel_.up) rtnetlink_.SetUp(tunnel_.index, true);
  } catch (const SystemError& failure) {
    if (!link) rtnetlink_.DeleteLink(kTunnelDevice);
    // A second "external" tunnel on the same port is reported as EEXIST.
    if (failure.error() == EADDRINUSE || failure.error() == EEXIST) {
      throw SystemError(EADDRINUSE, "tunnel", port + " is already used by " + TunnelRival());
    }
    throw;
  }
}

std::string Devices::TunnelRival() {
  for (const netlink::Link& link : rtnetlink_.Links()) {
    if (link.kind == "vxlan" && link.name != kTunnelDevice) {
      return "the VXLAN device " + link.name;
    }
  }
  return "another process, or a VXLAN device that was moved into another network namespace";
}

void Devices::EnsureHostLeg() {
  if (!rtnetlink_.FindLink(kHostDevice)) {
    netlink::VethPair pair{kHostDevice, kHostFarDevice, {}, {}, container_mtu_};
    rtnetlink_.CreateVethPair(pair);
  }
  for (const char* name : {kHostFarDevice, kHostDevice}) {
    const netlink::Link link = rtnetlink_.GetLink(name);
    TuneOwn(name);
    if (link.mtu != container_mtu_) rtnetlink_.SetMtu(link.index, container_mtu_);
    rtnetlink_.SetNoArp(link.index);
    if (!link.up) rtnetlink_.SetUp(link.index, true);
  }
  host_ = rtnetlink_.GetLink(kHostDevice);
  host_far_ = rtnetlink_.GetLink(kHostFarDevice);
}

void Devices::AddHostAddress(const IpAddress& address) {
  rtnetlink_.AddAddress({host_.index, address, address.bits()});
}

void Devices::RemoveHostAddress(const IpAddress& address) {
  rtnetlink_.RemoveAddress({host_.index, address, address.bits()});
}

void Devices::AddHostRoute(const IpAddress& destination, uint8_t prefix_length,
                           const IpAddress& source) {
  rtnetlink_.ReplaceRoute({destination, prefix_length, host_.index, {}, source});
}

void Devices::RemoveHostRoute(const IpAddress& destination, uint8_t prefix_length) {
  rtnetlink_.RemoveRoute({destination, prefix_length, host_.index, {}, {}});
}

void Devices::ForwardIpv6() {
  // A host that forwards ignores routers' advertisements where accept_ra is 1.
  for (const netlink::Link& link : underlay_) {
    if (ReadSysctl("ipv6", link.name, "accept_ra") == "1") {
      WriteSysctl("ipv6", link.name, "accept_ra", "2");
    }
  }
  if (ReadSysctl("ipv6", "all", "forwarding") == "0") WriteSysctl("ipv6", "all", "forwarding", "1");
}

int Devices::UnderlayOf(const IpAddress& address) {
  for (const netlink::Address& each : rtnetlink_.Addresses()) {
    if (each.address != address) continue;
    for (const netlink::Link& link : underlay_) {
      if (link.index == each.ifindex) return link.index;
    }
  }
  return 0;
}

void Devices::Remove() {
  netlink::Rtnetlink rtnetlink;
  rtnetlink.DeleteLink(kTunnelDevice);
  rtnetlink.DeleteLink(kHostDevice);
}

}  // namespace skep::datapath
