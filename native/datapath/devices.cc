// See devices.h.
#include "datapath/devices.h"

#include <algorithm>
#include <cerrno>
#include <random>

#include "datapath/host_settings.h"
#include "netlink/system_error.h"

namespace skep::datapath {
namespace {

constexpr uint32_t kMtuMin = 576;

uint32_t Ensure(const std::string& family, const std::string& device, const std::string& name,
                const std::string& value) {
  return EnsureSetting(SettingOf(family, device, name), value) ? 1 : 0;
}

uint32_t TuneOwn(const std::string& device) {
  uint32_t changed = Ensure("ipv4", device, "forwarding", "1");
  changed += Ensure("ipv4", device, "rp_filter", "0");
  changed += Ensure("ipv4", device, "send_redirects", "0");
  return changed;
}

/// No IPv6 of the kernel's own on a device that only programs look at.
uint32_t TuneWithout6(const std::string& device) {
  return Ensure("ipv6", device, "disable_ipv6", "1");
}

/// Addresses and routes on the host's leg are ours alone: no link-local ones, nothing from routers.
uint32_t TuneHost6(const std::string& device) {
  uint32_t changed = Ensure("ipv6", device, "addr_gen_mode", "1");
  changed += Ensure("ipv6", device, "accept_ra", "0");
  changed += Ensure("ipv6", device, "disable_ipv6", "0");
  return changed;
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

Devices::Devices(const Options& options, HostRecord& record) : record_(record) {
  uint32_t mtu = UINT32_MAX;
  for (const std::string& name : options.underlay_interfaces) {
    underlay_.push_back(rtnetlink_.GetLink(name));
    mtu = std::min(mtu, underlay_.back().mtu);
  }
  if (underlay_.empty()) mtu = 1500;
  const uint32_t overhead =
      options.tunnel_over_ipv6 ? kTunnelOverhead6Bytes : kTunnelOverheadBytes;
  container_mtu_ = std::max(mtu, kMtuMin + overhead) - overhead;
  EnsureTunnel(options);
  EnsureHostLeg();
  Tune();
  has_ipv6_ = ReadSetting(SettingOf("ipv6", kHostDevice, "disable_ipv6")) == "0";
  AddHostAddress(IpAddress::V4(options.dns_address));
}

uint32_t Devices::Tune() {
  uint32_t changed = 0;
  for (const netlink::Link& link : underlay_) {
    changed += record_.Set(SettingOf("ipv4", link.name, "forwarding"), "1") ? 1 : 0;
  }
  for (const char* name : {kTunnelDevice, kHostDevice, kHostFarDevice}) changed += TuneOwn(name);
  // Host sockets bound to 127.0.0.1 reach published ports over this device, and are answered on it.
  // Only the host and our programs send into it, and these let nothing else to 127.0.0.0/8 pass.
  changed += Ensure("ipv4", kHostDevice, "route_localnet", "1");
  // The tunnel device needs none to carry it, nor to send over it.
  for (const char* name : {kTunnelDevice, kHostFarDevice}) changed += TuneWithout6(name);
  changed += TuneHost6(kHostDevice);
  return changed;
}

bool Devices::Intact() {
  for (const netlink::Link* each : {&tunnel_, &host_, &host_far_}) {
    const auto link = rtnetlink_.FindLink(each->name);
    if (!link || link->index != each->index || !link->up) return false;
  }
  return true;
}

std::set<IpAddress> Devices::HostAddresses() {
  std::set<IpAddress> addresses;
  for (const netlink::Address& each : rtnetlink_.Addresses()) {
    if (each.ifindex == host_.index) addresses.insert(each.address);
  }
  return addresses;
}

std::set<std::pair<IpAddress, uint8_t>> Devices::HostRoutes() {
  std::set<std::pair<IpAddress, uint8_t>> routes;
  for (const netlink::Route& each : rtnetlink_.RoutesOver(host_.index)) {
    routes.emplace(each.destination, each.prefix_length);
  }
  return routes;
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
    if (link.mtu != container_mtu_) rtnetlink_.SetMtu(link.index, container_mtu_);
    rtnetlink_.SetNoArp(link.index);
    if (!link.up) rtnetlink_.SetUp(link.index, true);
  }
  host_ = rtnetlink_.GetLink(kHostDevice);
  host_far_ = rtnetlink_.GetLink(kHostFarDevice);
}

void Devices::Silence(const std::string& name) {
  TuneWithout6(name);
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
    const std::string name = SettingOf("ipv6", link.name, "accept_ra");
    if (ReadSetting(name) == "1") record_.Set(name, "2");
  }
  record_.ForwardIpv6();
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

void Devices::Quiet(const std::string& device) {
  TuneWithout6(device);
}

void Devices::Remove() {
  netlink::Rtnetlink rtnetlink;
  rtnetlink.DeleteLink(kTunnelDevice);
  rtnetlink.DeleteLink(kHostDevice);
}

}  // namespace skep::datapath
