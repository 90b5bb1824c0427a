// See engine.h.
#include "datapath/engine.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <set>

#include "datapath/echo.h"
#include "datapath/encryption.h"
#include "datapath/self_test.h"
#include "netlink/system_error.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace skep::datapath {
namespace {

constexpr char kContainerRole[] = "container";
constexpr char kOverlayRole[] = "overlay";
constexpr char kHostRole[] = "host";

void MakeDirectory(const std::string& path) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0700) < 0 && errno != EEXIST) {
      // bpffs answers EPERM for an existing directory on some kernels.
      struct stat status {};
      const int error = errno;
      if (::stat(part.c_str(), &status) < 0) throw SystemError(error, "mkdir", part);
    }
    if (at == std::string::npos) break;
  }
  struct statfs filesystem {};
  if (::statfs(path.c_str(), &filesystem) < 0) throw SystemError(errno, "statfs", path);
  if (filesystem.f_type != BPF_FS_MAGIC) {
    throw SystemError(EINVAL, "statfs", path + " is not on a bpf file system");
  }
}

/// Identity of the namespace this thread is in, as the socket hooks see it.
uint64_t NamespaceCookie() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) throw SystemError(errno, "socket");
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0) {
    throw SystemError(errno, "getsockopt(SO_NETNS_COOKIE)");
  }
  return cookie;
}

constexpr uint32_t kEthernetBytes = 14;

/// Whether programs may say which source a tunnel packet gets. Nothing tells before a packet is sent, so
/// the version has to.
bool TakesTunnelSources() {
  constexpr int kSince = 6;
  utsname name{};
  return ::uname(&name) == 0 && std::atoi(name.release) >= kSince;
}
static_assert(sizeof(bpf_tunnel_key) ==
              offsetof(bpf_tunnel_key, local_ipv4) + SKEP_TUNNEL_SOURCE_BYTES);

/// Host sockets reach published ports under the link-local neighbour of the DNS address.
uint32_t FrontendFor(uint32_t dns_address) { return dns_address ^ htonl(1); }

/// Those that are published on single addresses: under the network beside the DNS address's.
uint32_t FrontsFor(uint32_t dns_address) {
  return (dns_address ^ htonl(SKEP_FRONTS)) & htonl(~uint32_t{SKEP_FRONTS - 1});
}

}  // namespace

Engine::Engine(const EngineOptions& options)
    : options_(options),
      maps_directory_(options.pin_directory + "/maps"),
      links_directory_(options.pin_directory + "/links"),
      programs_directory_(options.pin_directory + "/programs"),
      record_(options.record_file, NamespaceCookie()) {
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  ::setrlimit(RLIMIT_MEMLOCK, &unlimited);  // kernels before 5.11 charge maps to it
  MakeDirectory(options.pin_directory);
  MakeDirectory(maps_directory_);
  MakeDirectory(links_directory_);
  MakeDirectory(programs_directory_);
  maps_ = std::make_unique<MapSet>(maps_directory_, options.entries);
  tables_ = std::make_unique<Tables>(*maps_);
  trace_ = std::make_unique<Trace>(*maps_);
  Configure(options);
  programs_ = std::make_unique<Programs>(programs_directory_, *maps_);
  attachments_ = std::make_unique<Attachments>(links_directory_, options.force_clsact, record_);
  AttachAll();
  maps_->Commit();
  programs_->Commit();
  ReservePorts();
}

void Engine::Configure(const EngineOptions& options) {
  skep_config config = tables_->Config();
  Devices::Options wanted = options.devices;
  const uint16_t port = htons(wanted.tunnel_port);
  wanted.new_tunnel = config.tunnel_port_be != 0 && config.tunnel_port_be != port;
  devices_ = std::make_unique<Devices>(wanted, record_);
  config.netns_cookie = NamespaceCookie();
  config.vxlan_ifindex = static_cast<uint32_t>(devices_->tunnel().index);
  config.host_ifindex = static_cast<uint32_t>(devices_->host().index);
  config.dns_address_be = wanted.dns_address;
  config.frontend_be = FrontendFor(wanted.dns_address);
  config.fronts_be = FrontsFor(wanted.dns_address);
  config.tunnel_port_be = port;
  const bool is_ipv4 = options.tunnel_address.is_v4();
  config.tunnel_address_be = is_ipv4 ? options.tunnel_address.v4() : 0;
  config.tunnel_address6 = ToMap(is_ipv4 ? IpAddress{} : options.tunnel_address);
  config.tunnel_source_bytes = TakesTunnelSources() ? SKEP_TUNNEL_SOURCE_BYTES : 0;
  const auto& underlay = devices_->underlay();
  // A former process may have switched them; a device that had to be made anew has to be told again.
  if (software_checksums_) CompleteChecksums(kTunnelDevice);
  software_checksums_ = !LeavesChecksums(kTunnelDevice);
  const bool single =
      underlay.size() == 1 && !options.force_tunnel_device && !software_checksums_;
  config.uplink_ifindex = single ? static_cast<uint32_t>(underlay.front().index) : 0;
  config.frame_bytes_max = devices_->container_mtu() + kEthernetBytes;
  config.mesh_frame_bytes_max = MeshFrameBytes(config);
  std::memcpy(config.host_mac, devices_->host().mac.data(), sizeof config.host_mac);
  tables_->SetConfig(config);
  if (config.node_id_be != 0) SetNodeId(config.node_id_be);
  for (const NetworkRow& row : tables_->Networks()) PutNetwork(row);
}

std::vector<Engine::Ingress> Engine::WantedIngress() const {
  std::vector<Ingress> wanted;
  for (const LinkRow& row : tables_->Links()) {
    wanted.push_back({kContainerRole, static_cast<int>(row.ifindex), "from_container"});
  }
  wanted.push_back({kOverlayRole, devices_->tunnel().index, "from_overlay"});
  wanted.push_back({kHostRole, devices_->host_far().index, "from_host"});
  for (const netlink::Link& link : devices_->underlay()) {
    wanted.push_back({kUplinkRole, link.index, "from_uplink"});
  }
  for (const netlink::Link& link : WireguardDevices()) {
    wanted.push_back({kWireguardRole, link.index, "from_wireguard"});
  }
  return wanted;
}

void Engine::AttachAll() {
  netlink::Rtnetlink rtnetlink;
  for (const LinkRow& row : tables_->Links()) {
    const auto link = rtnetlink.FindLink(row.name);
    // Deleted while nobody watched.
    if (!link || link->index != static_cast<int>(row.ifindex)) DetachLink(row.name);
  }
  for (const Ingress& each : WantedIngress()) {
    attachments_->AttachIngress(each.role, each.ifindex, programs_->Fd(each.program));
  }
  for (const int ifindex : attachments_->Attached(kUplinkRole)) {
    bool wanted = false;
    for (const netlink::Link& link : devices_->underlay()) wanted |= link.index == ifindex;
    if (!wanted) attachments_->DetachIngress(kUplinkRole, ifindex);
  }
  AttachSockets();
  std::set<std::string> known = {kContainerRole, kOverlayRole, kHostRole, kUplinkRole,
                                 kWireguardRole};
  for (const auto& [name, attach_type] : Programs::SocketHooks()) known.insert(name);
  attachments_->Sweep(known);
}

void Engine::AttachSockets() {
  const std::string path = FindCgroup2();
  if (path.empty()) throw SystemError(ENOENT, "cgroup2", "no cgroup2 hierarchy is mounted");
  const UniqueFd cgroup(::open(path.c_str(), O_DIRECTORY | O_RDONLY | O_CLOEXEC));
  if (!cgroup.valid()) throw SystemError(errno, "open", path);
  for (const auto& [name, attach_type] : Programs::SocketHooks()) {
    attachments_->AttachCgroup(name, programs_->Fd(name), cgroup.get(), attach_type);
  }
}

void Engine::SetNodeId(uint32_t node_id) {
  const skep_config config = tables_->Config();
  if (config.node_id_be != 0 && config.node_id_be != node_id) {
    devices_->RemoveHostAddress(IpAddress::V4(config.node_id_be));
  }
  const IpAddress own = IpAddress::V4(node_id);
  const IpAddress frontend = IpAddress::V4(config.frontend_be);
  devices_->AddHostAddress(own);
  devices_->AddHostRoute(frontend, frontend.bits(), own);
  devices_->AddHostRoute(IpAddress::V4(config.fronts_be), kFrontsPrefixLength, own);
  tables_->SetNodeId(node_id);
}

void Engine::ReservePorts() {
  if (!tables_->PortsChanged()) return;
  published_ports_ = tables_->PublishedPorts();
  ReservedPorts(record_).Apply(published_ports_);
}

bool Engine::SetUnderlay(const std::vector<std::string>& names) {
  netlink::Rtnetlink rtnetlink;
  std::map<int, uint32_t> wanted;  // MTU by interface index
  std::map<int, uint32_t> former;
  std::vector<std::string> existing;
  for (const std::string& name : names) {
    const auto link = rtnetlink.FindLink(name);
    if (!link) continue;
    wanted.emplace(link->index, link->mtu);
    existing.push_back(name);
  }
  for (const netlink::Link& link : devices_->underlay()) former.emplace(link.index, link.mtu);
  if (existing.empty() || wanted == former) return false;
  options_.devices.underlay_interfaces = existing;
  Configure(options_);
  for (const auto& [ifindex, mtu] : former) {
    if (!wanted.contains(ifindex)) attachments_->DetachIngress(kUplinkRole, ifindex);
  }
  AttachAll();
  return true;
}

void Engine::SetLocalAddresses(const std::vector<IpAddress>& addresses) {
  std::map<IpAddress, uint32_t> rows;
  for (const IpAddress& address : addresses) {
    rows[address] = static_cast<uint32_t>(devices_->UnderlayOf(address));
  }
  tables_->SetLocalAddresses(rows);
}

void Engine::PutNetwork(const NetworkRow& row) {
  const auto former = tables_->FindNetwork(row.vni);
  if (former && (former->subnet != row.subnet || former->prefix_length != row.prefix_length)) {
    devices_->RemoveHostRoute(IpAddress::V4(former->subnet), former->prefix_length);
  }
  if (former && former->subnet6.given() &&
      (former->subnet6 != row.subnet6 || former->prefix6_length != row.prefix6_length ||
       former->node_address != row.node_address)) {
    RemoveHostSide6(*former);
  }
  const uint32_t node_id = tables_->Config().node_id_be;
  if (former && former->node_address != 0 && former->node_address != row.node_address &&
      former->node_address != node_id) {
    devices_->RemoveHostAddress(IpAddress::V4(former->node_address));
  }
  if (row.node_address != 0) devices_->AddHostAddress(IpAddress::V4(row.node_address));
  tables_->PutNetwork(row);
  const auto stored = tables_->FindNetwork(row.vni);
  const uint32_t own = row.node_address != 0 ? row.node_address : node_id;
  devices_->AddHostRoute(IpAddress::V4(stored->subnet), row.prefix_length,
                         own != 0 ? IpAddress::V4(own) : IpAddress{});
  if (row.subnet6.given()) AddHostSide6(row);
}

void Engine::AddHostSide6(const NetworkRow& row) {
  if (!devices_->has_ipv6()) return;
  devices_->ForwardIpv6();
  const IpAddress own = row.node_address != 0 ? row.Derive6(row.node_address) : IpAddress{};
  if (own.given()) devices_->AddHostAddress(own);
  devices_->AddHostRoute(row.subnet6, row.prefix6_length, own);
}

void Engine::RemoveHostSide6(const NetworkRow& row) {
  if (!devices_->has_ipv6()) return;
  devices_->RemoveHostRoute(row.subnet6, row.prefix6_length);
  if (row.node_address != 0) devices_->RemoveHostAddress(row.Derive6(row.node_address));
}

void Engine::RemoveNetwork(uint32_t vni) {
  const auto row = tables_->FindNetwork(vni);
  if (!row) return;
  devices_->RemoveHostRoute(IpAddress::V4(row->subnet), row->prefix_length);
  if (row->subnet6.given()) RemoveHostSide6(*row);
  if (row->node_address != 0 && row->node_address != tables_->Config().node_id_be) {
    devices_->RemoveHostAddress(IpAddress::V4(row->node_address));
  }
  tables_->RemoveNetwork(vni);
}

void Engine::AttachLink(LinkRow row) {
  netlink::Rtnetlink rtnetlink;
  const netlink::Link link = rtnetlink.GetLink(row.name);
  row.ifindex = static_cast<uint32_t>(link.index);
  Devices::Silence(row.name);
  for (const LinkRow& other : tables_->Links()) {
    // The device was deleted and made again under the same name.
    if (other.name == row.name && other.ifindex != row.ifindex) DetachLink(row.name);
  }
  // The row first: a program without a row drops everything.
  tables_->PutLink(row);
  attachments_->AttachIngress(kContainerRole, link.index, programs_->Fd("from_container"));
}

void Engine::DetachLink(const std::string& name) {
  const uint32_t ifindex = tables_->RemoveLink(name);
  if (ifindex != 0) attachments_->DetachIngress(kContainerRole, static_cast<int>(ifindex));
}

void Engine::SendEchoes(const std::vector<IpAddress>& tunnels) {
  const skep_config config = tables_->Config();
  skep::datapath::SendEchoes(options_.tunnel_address, config.tunnel_port_be, config.node_id_be,
                             tunnels);
}

void Engine::UseSoftwareChecksums() {
  CompleteChecksums(kTunnelDevice);
  software_checksums_ = true;
  skep_config config = tables_->Config();
  config.uplink_ifindex = 0;
  tables_->SetConfig(config);
}

void Engine::Destroy() {
  for (const int ifindex : attachments_->Attached(kUplinkRole)) {
    attachments_->DetachIngress(kUplinkRole, ifindex);
  }
  if (!uses_tcx()) {
    for (const LinkRow& row : tables_->Links()) {
      attachments_->DetachIngress(kContainerRole, static_cast<int>(row.ifindex));
    }
  }
  attachments_->DetachAll();
  ReservedPorts(record_).Apply({});
  for (const auto& [name, fd] : maps_->fds()) ::unlink((maps_directory_ + "/" + name).c_str());
  programs_->Destroy();
  ::rmdir(maps_directory_.c_str());
  ::rmdir(links_directory_.c_str());
  ::rmdir(options_.pin_directory.c_str());
  Devices::Remove();
  record_.PutBack();
}

}  // namespace skep::datapath
