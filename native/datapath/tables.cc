// See tables.h.
#include "datapath/tables.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "datapath/encryption.h"
#include "netlink/system_error.h"

namespace skep::datapath {
namespace {

uint32_t MaskOf(uint8_t prefix_length) {
  return prefix_length == 0 ? 0 : htonl(~uint32_t{0} << (32 - prefix_length));
}

uint8_t PrefixOf(uint32_t mask) {
  return static_cast<uint8_t>(__builtin_popcount(mask));
}

/// Bits before an IPv4 address in its IPv6 form.
constexpr uint32_t kMappedBits = 96;

skep_subnet_key SubnetKey(const IpAddress& subnet, uint8_t prefix_length) {
  const uint32_t mapped = subnet.is_v4() ? kMappedBits : 0;
  return {mapped + prefix_length, ToMap(subnet)};
}

/// What fronts of IPv6 begin with: outside what members' addresses can be.
IpAddress Fronts6In(const NetworkRow& network) {
  IpAddress address = network.subnet6;
  if (!address.given() || network.prefix6_length > 64) return {};
  address.word[2] = htonl(1);
  address.word[3] = 0;
  return address;
}

skep_subnets SubnetsOf(const NetworkRow& row) {
  const uint32_t mask = MaskOf(row.prefix_length);
  return {row.subnet & mask, mask, ToMap(row.subnet6)};
}

skep_service_key KeyOf(const ServiceKey& key) {
  return {key.vni, ToMap(key.address), key.port, key.protocol, 0};
}

/// The key of the second row of a port on one address, under the front of that address.
skep_service_key TwinKey(uint32_t front, uint16_t port, uint8_t protocol) {
  return {0, ToMap(IpAddress::V4(front)), port, protocol, 0};
}

constexpr uint32_t kListBits = 64;  // list and family, before the address

skep_allow_key KeyOf(uint32_t list, const ClientNetwork& network) {
  skep_allow_key key{kListBits + network.prefix_length, list, network.family, {}};
  std::memcpy(key.address_be, network.address.data(), sizeof key.address_be);
  return key;
}

ClientNetwork NetworkOf(const skep_allow_key& key) {
  ClientNetwork network{key.family, {}, static_cast<uint8_t>(key.prefix_length - kListBits)};
  std::memcpy(network.address.data(), key.address_be, sizeof key.address_be);
  return network;
}

/// How many ports from the key's on are the service's and nobody else's now.
uint32_t PortsHeld(const ServiceRow& row) {
  const bool yields = row.backends.empty() && (row.retired || row.addressed);
  return row.key.published() && !yields ? row.ports : 0;
}

bool IsTwin(const skep_service_key& key, const skep_service& service) {
  return service.front_be != 0 && FromMap(key.address) == IpAddress::V4(service.front_be);
}

}  // namespace

IpAddress NetworkRow::Derive6(uint32_t member) const {
  IpAddress address = subnet6;
  if (address.given()) address.word[3] |= member & ~MaskOf(prefix_length);
  return address;
}

Tables::Tables(const MapSet& maps) : maps_(maps), slots_(maps), tunnels_(maps) { Reload(); }

void Tables::Reload() {
  ports_changed_ = true;
  services_.clear();
  users_.clear();
  lists_.clear();
  fronts_.clear();
  std::map<uint32_t, std::vector<ClientNetwork>> lists;
  for (const auto& [key, allowed] : maps_.sw_allow().Rows()) {
    lists[key.list].push_back(NetworkOf(key));
  }
  if (!lists.empty()) next_list_ = std::max(next_list_, lists.rbegin()->first + 1);
  for (const auto& [key, service] : maps_.sw_service().Rows()) {
    if (IsTwin(key, service)) continue;
    // A row that lost its twin is not what it should be: it will be written again.
    skep_service twin{};
    const skep_service_key twin_key = TwinKey(service.front_be, key.port_be, key.protocol);
    if (service.front_be != 0 && !maps_.sw_service().Get(twin_key, &twin)) continue;
    ServiceRow row;
    row.key = {key.vni, FromMap(key.address), key.port_be, key.protocol};
    row.target_port = service.target_port_be;
    row.ports = std::max<uint16_t>(service.ports, 1);
    row.policy = static_cast<skep_policy>(service.policy);
    row.backends = slots_.Read(service);
    row.addressed = (service.flags & SKEP_SERVICE_ADDRESSED) != 0;
    row.retired = (service.flags & SKEP_SERVICE_RETIRED) != 0;
    row.direct = (service.flags & SKEP_SERVICE_DIRECT) != 0;
    if (service.front_be != 0) fronts_[row.key.address] = service.front_be;
    if (service.allow != 0) {
      row.allow = lists[service.allow];
      lists_[row.key] = {service.allow, lists[service.allow]};
      lists.erase(service.allow);
      next_list_ = std::max(next_list_, service.allow + 1);
    }
    for (const Place& place : row.backends) users_[place].insert(row.key);
    next_table_ = std::max(next_table_, service.table + 1);
    services_.emplace(row.key, std::move(row));
  }
  // Left by a process that ended between two writes.
  for (const auto& [id, networks] : lists) RemoveList({id, networks});
}

bool Tables::HasEndpoint(const Place& place) const {
  skep_endpoint endpoint{};
  return maps_.sw_endpoint().Get(KeyOf(place), &endpoint);
}

skep_config Tables::Config() const {
  skep_config config{};
  maps_.sw_config().Get(0, &config);
  return config;
}

uint32_t MeshFrameBytes(const skep_config& config) {
  const uint32_t wireguard = config.mesh_encrypted != 0 ? kWireguardOverheadBytes : 0;
  return config.frame_bytes_max - wireguard;
}

void Tables::SetConfig(const skep_config& config) { maps_.sw_config().Put(0, config); }

void Tables::SetNodeId(uint32_t node_id) {
  skep_config config = Config();
  config.node_id_be = node_id;
  SetConfig(config);
  UpdateIngressNetwork();
}

void Tables::UpdateIngressNetwork() {
  skep_config config = Config();
  uint32_t vni = 0;
  IpAddress fronts6;
  for (const NetworkRow& network : Networks()) {
    const uint32_t mask = MaskOf(network.prefix_length);
    if (config.node_id_be != 0 && (config.node_id_be & mask) == (network.subnet & mask)) {
      vni = network.vni;
      fronts6 = Fronts6In(network);
    }
  }
  // Before the node's own address is known, the published backends tell.
  for (const auto& [key, row] : services_) {
    if (vni == 0 && key.published() && !row.backends.empty()) vni = row.backends.front().first;
  }
  const auto ingress = FindNetwork(vni);
  const uint32_t encrypted = ingress && ingress->encrypted ? 1 : 0;
  if (vni != 0 && (vni != config.ingress_vni || FromMap(config.fronts6) != fronts6 ||
                   encrypted != config.mesh_encrypted)) {
    config.ingress_vni = vni;
    config.fronts6 = ToMap(fronts6);
    config.mesh_encrypted = encrypted;
    config.mesh_frame_bytes_max = MeshFrameBytes(config);
    SetConfig(config);
  }
  for (const auto& [tunnel, node] : maps_.sw_node().Rows()) PutPeer(config, node.node_id_be, tunnel);
}

void Tables::PutPeer(const skep_config& config, uint32_t node_id,
                     uint32_t tunnel_number) {
  if (config.ingress_vni == 0 || node_id == config.node_id_be) return;
  skep_endpoint peer{};
  peer.kind = SKEP_ENDPOINT_PEER;
  peer.tunnel = tunnel_number;
  // What every node's own address on a network has, a stock engine's too.
  peer.mac[0] = 0x02;
  peer.mac[1] = 0x42;
  std::memcpy(peer.mac + 2, &node_id, sizeof node_id);
  PutEndpoint({config.ingress_vni, node_id}, peer);
}

void Tables::SetLocalAddresses(const std::map<IpAddress, uint32_t>& addresses) {
  for (const auto& [address, ifindex] : addresses) maps_.sw_local().Put(ToMap(address), {ifindex});
  for (const auto& [address, row] : maps_.sw_local().Rows()) {
    if (!addresses.contains(FromMap(address))) maps_.sw_local().Remove(address);
  }
}

void Tables::PutNode(const NodeRow& row) {
  const uint32_t number = tunnels_.NumberOf(row.tunnel);
  for (const auto& [tunnel, node] : maps_.sw_node().Rows()) {
    if (node.node_id_be == row.node_id && tunnel != number) {
      maps_.sw_node().Remove(tunnel);
      tunnels_.Remove(tunnel);
    }
  }
  maps_.sw_node().Put(number, {row.node_id, ntohl(row.wireguard)});
  PutPeer(Config(), row.node_id, number);
}

void Tables::RemoveNode(uint32_t node_id) {
  for (const auto& [tunnel, node] : maps_.sw_node().Rows()) {
    if (node.node_id_be == node_id) {
      maps_.sw_node().Remove(tunnel);
      maps_.sw_echo().Remove(tunnel);
      tunnels_.Remove(tunnel);
    }
  }
  // Also when the tunnel has gone over to another id.
  RemoveEndpoint({Config().ingress_vni, node_id}, SKEP_ENDPOINT_PEER);
}

void Tables::PutNetwork(const NetworkRow& row) {
  const auto former = FindNetwork(row.vni);
  if (former && (former->subnet != row.subnet || former->prefix_length != row.prefix_length)) {
    RemoveSubnet(IpAddress::V4(former->subnet), former->prefix_length, row.vni);
  }
  if (former && former->subnet6.given() &&
      (former->subnet6 != row.subnet6 || former->prefix6_length != row.prefix6_length)) {
    RemoveSubnet(former->subnet6, former->prefix6_length, row.vni);
  }
  if (former && former->node_address != 0 && former->node_address != row.node_address) {
    RemoveEndpoint({row.vni, former->node_address}, SKEP_ENDPOINT_NODE);
  }
  skep_network network{};
  network.subnets = SubnetsOf(row);
  network.gateway_be = row.gateway;
  network.node_address_be = row.node_address;
  network.flags = (row.internal ? SKEP_NETWORK_INTERNAL : 0) |
                  (row.encrypted ? SKEP_NETWORK_ENCRYPTED : 0);
  network.prefix6_length = row.prefix6_length;
  if (row.encrypted) CountEncryptedNetworks(1);
  maps_.sw_network().Put(row.vni, network);
  CountEncryptedNetworks(0);
  PutSubnet(IpAddress::V4(network.subnets.subnet_be), row.prefix_length, row.vni);
  if (row.subnet6.given()) PutSubnet(row.subnet6, row.prefix6_length, row.vni);
  UpdateLinksOf(row.vni, network.subnets);
  // Services that call themselves get an answer through one of these two.
  skep_endpoint own{};
  own.kind = SKEP_ENDPOINT_NODE;
  own.ifindex = row.node_address != 0 ? 1 : 0;
  const uint32_t own_address = row.node_address != 0 ? row.node_address : row.gateway;
  PutEndpoint({row.vni, own_address}, own);
  UpdateIngressNetwork();
}

std::optional<NetworkRow> Tables::FindNetwork(uint32_t vni) const {
  skep_network network{};
  if (!maps_.sw_network().Get(vni, &network)) return std::nullopt;
  return NetworkRow{vni,
                    network.subnets.subnet_be,
                    PrefixOf(network.subnets.mask_be),
                    network.gateway_be,
                    network.node_address_be,
                    (network.flags & SKEP_NETWORK_INTERNAL) != 0,
                    (network.flags & SKEP_NETWORK_ENCRYPTED) != 0,
                    FromMap(network.subnets.subnet6),
                    static_cast<uint8_t>(network.prefix6_length)};
}

void Tables::UpdateLinksOf(uint32_t vni, const skep_subnets& subnets) {
  for (const auto& [ifindex, row] : maps_.sw_link().Rows()) {
    if (row.vni != vni || std::memcmp(&row.subnets, &subnets, sizeof subnets) == 0) continue;
    skep_link link = row;
    link.subnets = subnets;
    maps_.sw_link().Put(ifindex, link);
  }
}

void Tables::PutSubnet(const IpAddress& subnet, uint8_t prefix_length, uint32_t vni) {
  maps_.sw_subnet().Put(SubnetKey(subnet, prefix_length), vni);
}

void Tables::RemoveSubnet(const IpAddress& subnet, uint8_t prefix_length, uint32_t vni) {
  uint32_t owner = 0;
  const skep_subnet_key key = SubnetKey(subnet, prefix_length);
  if (maps_.sw_subnet().Get(key, &owner) && owner == vni) maps_.sw_subnet().Remove(key);
}

void Tables::RemoveNetwork(uint32_t vni) {
  const auto row = FindNetwork(vni);
  if (!row) return;
  const uint32_t own = row->node_address != 0 ? row->node_address : row->gateway;
  RemoveEndpoint({vni, own}, SKEP_ENDPOINT_NODE);
  RemoveSubnet(IpAddress::V4(row->subnet), row->prefix_length, vni);
  if (row->subnet6.given()) RemoveSubnet(row->subnet6, row->prefix6_length, vni);
  maps_.sw_network().Remove(vni);
  CountEncryptedNetworks(0);
}

void Tables::PutEndpoint(const Place& place, skep_endpoint endpoint) {
  skep_endpoint former{};
  if (maps_.sw_endpoint().Get(KeyOf(place), &former)) endpoint.replies = former.replies;
  maps_.sw_endpoint().Put(KeyOf(place), endpoint);
}

void Tables::RemoveEndpoint(const Place& place, skep_endpoint_kind kind) {
  skep_endpoint endpoint{};
  if (maps_.sw_endpoint().Get(KeyOf(place), &endpoint) && endpoint.kind == kind) {
    maps_.sw_endpoint().Remove(KeyOf(place));
  }
}

void Tables::PutLink(const LinkRow& row) {
  skep_link link{};
  skep_link former{};
  link.vni = row.vni;
  link.address_be = row.address;
  if (const auto network = FindNetwork(row.vni)) link.subnets = SubnetsOf(*network);
  std::memcpy(link.mac, row.mac.data(), sizeof link.mac);
  std::strncpy(link.name, row.name.c_str(), sizeof link.name - 1);
  if (maps_.sw_link().Get(row.ifindex, &former)) {
    link.replies = former.replies;
    link.asks = former.asks;
    if (former.vni != row.vni || former.address_be != row.address) {
      RemoveEndpoint({former.vni, former.address_be}, SKEP_ENDPOINT_LOCAL);
    }
  }
  maps_.sw_link().Put(row.ifindex, link);
  skep_endpoint endpoint{};
  endpoint.ifindex = row.ifindex;
  endpoint.kind = SKEP_ENDPOINT_LOCAL;
  std::memcpy(endpoint.mac, row.mac.data(), sizeof endpoint.mac);
  PutEndpoint({row.vni, row.address}, endpoint);
}

uint32_t Tables::RemoveLink(const std::string& name) {
  for (const LinkRow& row : Links()) {
    if (row.name != name) continue;
    skep_endpoint endpoint{};
    const skep_endpoint_key key{row.vni, row.address};
    // The address may have moved to another link or node meanwhile.
    if (maps_.sw_endpoint().Get(key, &endpoint) && endpoint.kind == SKEP_ENDPOINT_LOCAL &&
        endpoint.ifindex == row.ifindex) {
      maps_.sw_endpoint().Remove(key);
    }
    maps_.sw_link().Remove(row.ifindex);
    return row.ifindex;
  }
  return 0;
}

void Tables::PutRemoteEndpoint(const EndpointRow& row) {
  skep_endpoint former{};
  const Place place{row.vni, row.address};
  // This host's own address never is elsewhere; a container's may have moved.
  if (maps_.sw_endpoint().Get(KeyOf(place), &former) && former.kind == SKEP_ENDPOINT_NODE) return;
  skep_endpoint endpoint{};
  endpoint.kind = SKEP_ENDPOINT_REMOTE;
  endpoint.tunnel = tunnels_.NumberOf(row.tunnel);
  std::memcpy(endpoint.mac, row.mac.data(), sizeof endpoint.mac);
  PutEndpoint(place, endpoint);
}

void Tables::RemoveRemoteEndpoint(const Place& place) {
  RemoveEndpoint(place, SKEP_ENDPOINT_REMOTE);
}

void Tables::PutBackends(const std::vector<BackendRow>& rows) {
  std::vector<Place> changed;
  for (const BackendRow& row : rows) {
    const skep_endpoint_key key{row.vni, row.address};
    skep_backend former{};
    const uint32_t state = row.draining ? SKEP_BACKEND_DRAINING : SKEP_BACKEND_ACTIVE;
    if (!maps_.sw_backend().Get(key, &former) || former.state != state) {
      changed.emplace_back(row.vni, row.address);
    }
    maps_.sw_backend().Put(key, {tunnels_.NumberOf(row.tunnel), state});
  }
  RebuildUsersOf(changed);
}

void Tables::RemoveBackends(const std::vector<Place>& places) {
  for (const Place& place : places) maps_.sw_backend().Remove(KeyOf(place));
  RebuildUsersOf(places);
}

void Tables::RebuildUsersOf(const std::vector<Place>& places) {
  std::set<ServiceKey> affected;
  for (const Place& place : places) {
    const auto found = users_.find(place);
    if (found != users_.end()) affected.insert(found->second.begin(), found->second.end());
  }
  for (const ServiceKey& key : affected) Rebuild(services_.at(key));
}

std::vector<Place> Tables::Ordered(const ServiceRow& row, uint32_t* choosable) const {
  std::vector<Place> ordered = row.backends;
  // Every node has the same order, as byte strings: the choice depends on it.
  std::sort(ordered.begin(), ordered.end(), ComesBefore);
  const auto part = [&](auto first, auto&& test) {
    return std::stable_partition(first, ordered.end(), [&](const Place& place) {
      skep_backend backend{};
      return maps_.sw_backend().Get(KeyOf(place), &backend) && test(backend);
    });
  };
  const auto is_active = [](const skep_backend& backend) {
    return backend.state == SKEP_BACKEND_ACTIVE;
  };
  auto end = ordered.begin();
  if (row.policy == SKEP_POLICY_LOCAL_FIRST) {
    end = part(end, [&](const skep_backend& backend) {
      return is_active(backend) && backend.tunnel == 0;
    });
  }
  // Without one here, any will do.
  if (end == ordered.begin()) end = part(end, is_active);
  *choosable = static_cast<uint32_t>(end - ordered.begin());
  return ordered;
}

void Tables::Rebuild(const ServiceRow& row) {
  skep_service service{};
  const std::vector<Place> ordered = Ordered(row, &service.active);
  service.table = next_table_++;
  service.target_port_be = row.target_port;
  service.flags = static_cast<uint16_t>((row.addressed ? SKEP_SERVICE_ADDRESSED : 0) |
                                        (row.retired ? SKEP_SERVICE_RETIRED : 0) |
                                        (row.direct ? SKEP_SERVICE_DIRECT : 0));
  service.front_be = FrontFor(row.key);
  std::optional<AllowList> stale;
  service.allow = ListFor(row, &stale);
  service.first_port_be = row.key.port;
  service.ports = row.key.port != 0 ? row.ports : 0;
  service.policy = static_cast<uint16_t>(row.policy);
  skep_service former{};
  const bool existed = maps_.sw_service().Get(KeyOf(row.key), &former);
  if (existed) {
    service.next = former.next;
    service.former_target_port_be = former.target_port_be != service.target_port_be
                                        ? former.target_port_be
                                        : former.former_target_port_be;
  }
  slots_.Write(ordered, &service);
  maps_.sw_service().Put(KeyOf(row.key), service);
  if (service.front_be != 0) {
    maps_.sw_service().Put(TwinKey(service.front_be, row.key.port, row.key.protocol), service);
  }
  WriteRange(row.key, service, existed ? &former : nullptr);
  if (existed) slots_.Remove(former);
  if (stale) RemoveList(*stale);
}

uint32_t Tables::ListFor(const ServiceRow& row, std::optional<AllowList>* stale) {
  const auto found = lists_.find(row.key);
  if (row.allow && found != lists_.end() && found->second.networks == *row.allow) {
    return found->second.id;
  }
  if (found != lists_.end()) {
    *stale = found->second;
    lists_.erase(found);
  }
  if (!row.allow) return 0;
  const uint32_t id = next_list_++;
  for (const ClientNetwork& network : *row.allow) maps_.sw_allow().Put(KeyOf(id, network), 1);
  lists_[row.key] = {id, *row.allow};
  return id;
}

void Tables::RemoveList(const AllowList& list) {
  for (const ClientNetwork& network : list.networks) {
    maps_.sw_allow().Remove(KeyOf(list.id, network));
  }
}

uint32_t Tables::FrontFor(const ServiceKey& key) {
  if (!key.published() || !key.address.given()) return 0;
  const auto known = fronts_.find(key.address);
  if (known != fronts_.end()) return known->second;
  std::set<uint32_t> taken;
  for (const auto& [address, front] : fronts_) taken.insert(front);
  const uint32_t first = ntohl(Config().fronts_be);
  for (uint32_t index = 1; index < SKEP_FRONTS; index++) {
    const uint32_t front = htonl(first + index);
    if (taken.contains(front)) continue;
    fronts_[key.address] = front;
    return front;
  }
  throw SystemError(ENOSPC, "fronts", "too many addresses with ports of their own");
}

void Tables::ReleaseFront(const IpAddress& address) {
  for (const auto& [key, row] : services_) {
    if (key.published() && key.address == address) return;
  }
  fronts_.erase(address);
}

void Tables::WriteRange(const ServiceKey& key, const skep_service& service,
                        const skep_service* former) {
  if (!key.published() || key.address.given()) return;
  slots_.WriteRange(key.protocol, service);
  if (former != nullptr) slots_.RemoveRange(key.protocol, *former, &service);
}

void Tables::PutService(const ServiceRow& row) {
  const auto former = services_.find(row.key);
  ports_changed_ |= PortsHeld(row) != (former == services_.end() ? 0 : PortsHeld(former->second));
  if (former != services_.end()) {
    for (const Place& place : former->second.backends) {
      users_[place].erase(row.key);
      if (users_[place].empty()) users_.erase(place);
    }
  }
  services_[row.key] = row;
  for (const Place& place : row.backends) users_[place].insert(row.key);
  Rebuild(row);
  if (row.key.published()) {
    UpdateIngressNetwork();
  } else if (!row.key.landing()) {
    skep_endpoint endpoint{};
    endpoint.kind = SKEP_ENDPOINT_VIP;
    PutEndpoint({row.key.vni, row.key.address.v4()}, endpoint);
  }
}

void Tables::RemoveService(const ServiceKey& key) {
  const auto found = services_.find(key);
  if (found != services_.end()) {
    ports_changed_ |= PortsHeld(found->second) != 0;
    for (const Place& place : found->second.backends) {
      users_[place].erase(key);
      if (users_[place].empty()) users_.erase(place);
    }
    services_.erase(found);
  }
  if (!key.published() && !key.landing()) {
    RemoveEndpoint({key.vni, key.address.v4()}, SKEP_ENDPOINT_VIP);
  }
  skep_service service{};
  if (!maps_.sw_service().Get(KeyOf(key), &service)) return;
  if (key.published() && !key.address.given()) {
    slots_.RemoveRange(key.protocol, service, nullptr);
  }
  maps_.sw_service().Remove(KeyOf(key));
  if (service.front_be != 0) {
    maps_.sw_service().Remove(TwinKey(service.front_be, key.port, key.protocol));
    ReleaseFront(key.address);
  }
  slots_.Remove(service);
  const auto list = lists_.find(key);
  if (list == lists_.end()) return;
  RemoveList(list->second);
  lists_.erase(list);
}

PortSet Tables::PublishedPorts() const {
  PortSet ports;
  for (const auto& [key, row] : services_) {
    const uint32_t first = ntohs(key.port);
    const uint32_t end = std::min<uint32_t>(first + PortsHeld(row), kPorts);
    for (uint32_t port = first; port < end; port++) ports.set(port);
  }
  return ports;
}

bool Tables::NeedsLoads() const {
  return std::any_of(services_.begin(), services_.end(), [](const auto& each) {
    return each.second.policy == SKEP_POLICY_LEAST_CONN;
  });
}

std::vector<NodeRow> Tables::Nodes() const {
  std::vector<NodeRow> rows;
  for (const auto& [tunnel, node] : maps_.sw_node().Rows()) {
    rows.push_back({node.node_id_be, TunnelOf(tunnel), htonl(node.wireguard)});
  }
  return rows;
}

std::vector<NetworkRow> Tables::Networks() const {
  std::vector<NetworkRow> rows;
  for (const auto& [vni, network] : maps_.sw_network().Rows()) {
    if (auto row = FindNetwork(vni)) rows.push_back(*row);
  }
  return rows;
}

std::vector<LinkRow> Tables::Links() const {
  std::vector<LinkRow> rows;
  for (const auto& [ifindex, link] : maps_.sw_link().Rows()) {
    LinkRow row{ifindex, std::string(link.name, strnlen(link.name, sizeof link.name)), link.vni,
                link.address_be, {}};
    std::memcpy(row.mac.data(), link.mac, sizeof link.mac);
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<EndpointRow> Tables::RemoteEndpoints() const {
  std::vector<EndpointRow> rows;
  for (const auto& [key, endpoint] : maps_.sw_endpoint().Rows()) {
    if (endpoint.kind != SKEP_ENDPOINT_REMOTE) continue;
    EndpointRow row{key.vni, key.address_be, {}, TunnelOf(endpoint.tunnel)};
    std::memcpy(row.mac.data(), endpoint.mac, sizeof endpoint.mac);
    rows.push_back(row);
  }
  return rows;
}

std::vector<BackendRow> Tables::Backends() const {
  std::vector<BackendRow> rows;
  for (const auto& [key, backend] : maps_.sw_backend().Rows()) {
    rows.push_back({key.vni, key.address_be, TunnelOf(backend.tunnel),
                    backend.state == SKEP_BACKEND_DRAINING});
  }
  return rows;
}

std::vector<ServiceRow> Tables::Services() const {
  std::vector<ServiceRow> rows;
  for (const auto& [key, row] : services_) rows.push_back(row);
  return rows;
}

}  // namespace skep::datapath
