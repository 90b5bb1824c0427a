// See tables.h.
#include "datapath/tables.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "netlink/system_error.h"

namespace skep::datapath {
namespace {

/// Bits before an IPv4 address in its IPv6 form.
constexpr uint32_t kMappedBits = 96;

uint32_t MaskOf(uint8_t prefix_length) {
  return prefix_length == 0 ? 0 : htonl(~uint32_t{0} << (32 - prefix_length));
}

uint8_t PrefixOf(uint32_t mask) {
  return static_cast<uint8_t>(__builtin_popcount(mask));
}

skep_endpoint_key KeyOf(const Place& place) { return {place.first, place.second}; }

skep_service_key KeyOf(const ServiceKey& key) {
  return {key.vni, key.address, key.port, key.protocol, 0};
}

skep_subnet_key SubnetKey(const IpAddress& subnet, uint8_t prefix_length) {
  const uint32_t mapped = subnet.is_v4() ? kMappedBits : 0;
  return {mapped + prefix_length, ToMap(subnet)};
}

/// Where host sockets reach published ports over IPv6: outside what members' addresses can be.
IpAddress FrontendIn(const NetworkRow& network) {
  IpAddress address = network.subnet6;
  if (!address.given() || network.prefix6_length > 64) return {};
  address.word[2] = htonl(1);
  address.word[3] = htonl(1);
  return address;
}

skep_subnets SubnetsOf(const NetworkRow& row) {
  const uint32_t mask = MaskOf(row.prefix_length);
  return {row.subnet & mask, mask, ToMap(row.subnet6)};
}

}  // namespace

skep_address ToMap(const IpAddress& address) {
  skep_address mapped{};
  std::memcpy(mapped.word_be, address.word.data(), sizeof mapped.word_be);
  return mapped;
}

IpAddress FromMap(const skep_address& address) {
  IpAddress plain;
  std::memcpy(plain.word.data(), address.word_be, sizeof address.word_be);
  return plain;
}

IpAddress NetworkRow::Derive6(uint32_t member) const {
  IpAddress address = subnet6;
  if (address.given()) address.word[3] |= member & ~MaskOf(prefix_length);
  return address;
}

Tables::Tables(const MapSet& maps) : maps_(maps) {
  for (const auto& [key, service] : maps_.sw_service().Rows()) {
    ServiceRow row;
    row.key = {key.vni, key.address_be, key.port_be, key.protocol};
    row.target_port = service.target_port_be;
    for (uint32_t index = 0; index < service.total; index++) {
      skep_endpoint_key slot{};
      if (maps_.sw_slot().Get({service.table, index}, &slot)) {
        row.backends.emplace_back(slot.vni, slot.address_be);
      }
    }
    for (const Place& place : row.backends) users_[place].insert(row.key);
    next_table_ = std::max(next_table_, service.table + 1);
    services_.emplace(row.key, std::move(row));
  }
}

skep_config Tables::Config() const {
  skep_config config{};
  maps_.sw_config().Get(0, &config);
  return config;
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
  IpAddress frontend;
  for (const NetworkRow& network : Networks()) {
    const uint32_t mask = MaskOf(network.prefix_length);
    if (config.node_id_be != 0 && (config.node_id_be & mask) == (network.subnet & mask)) {
      vni = network.vni;
      frontend = FrontendIn(network);
    }
  }
  // Before the node's own address is known, the published backends tell.
  for (const auto& [key, row] : services_) {
    if (vni == 0 && key.published() && !row.backends.empty()) vni = row.backends.front().first;
  }
  if (vni != 0 && (vni != config.ingress_vni || FromMap(config.frontend6) != frontend)) {
    config.ingress_vni = vni;
    config.frontend6 = ToMap(frontend);
    SetConfig(config);
  }
  for (const NodeRow& node : Nodes()) PutPeer(config, node.node_id, node.tunnel);
}

void Tables::PutPeer(const skep_config& config, uint32_t node_id, const IpAddress& tunnel) {
  if (config.ingress_vni == 0 || node_id == config.node_id_be) return;
  skep_endpoint peer{};
  peer.kind = SKEP_ENDPOINT_PEER;
  peer.tunnel = ToMap(tunnel);
  PutEndpoint({config.ingress_vni, node_id}, peer);
}

void Tables::SetLocalAddresses(const std::map<IpAddress, uint32_t>& addresses) {
  for (const auto& [address, ifindex] : addresses) maps_.sw_local().Put(ToMap(address), {ifindex});
  for (const auto& [address, row] : maps_.sw_local().Rows()) {
    if (!addresses.contains(FromMap(address))) maps_.sw_local().Remove(address);
  }
}

void Tables::PutNode(const NodeRow& row) {
  for (const auto& [tunnel, node] : maps_.sw_node().Rows()) {
    if (node.node_id_be == row.node_id && FromMap(tunnel) != row.tunnel) {
      maps_.sw_node().Remove(tunnel);
    }
  }
  maps_.sw_node().Put(ToMap(row.tunnel), {row.node_id});
  PutPeer(Config(), row.node_id, row.tunnel);
}

void Tables::RemoveNode(uint32_t node_id) {
  for (const auto& [tunnel, node] : maps_.sw_node().Rows()) {
    if (node.node_id_be == node_id) {
      maps_.sw_node().Remove(tunnel);
      maps_.sw_echo().Remove(tunnel);
    }
  }
  // Also when the tunnel has gone over to another id.
  RemoveEndpoint({Config().ingress_vni, node_id}, SKEP_ENDPOINT_PEER);
}

void Tables::PutNetwork(const NetworkRow& row) {
  const auto former = FindNetwork(row.vni);
  if (former && (former->subnet != row.subnet || former->prefix_length != row.prefix_length)) {
    maps_.sw_subnet().Remove(SubnetKey(IpAddress::V4(former->subnet), former->prefix_length));
  }
  if (former && former->subnet6.given() &&
      (former->subnet6 != row.subnet6 || former->prefix6_length != row.prefix6_length)) {
    maps_.sw_subnet().Remove(SubnetKey(former->subnet6, former->prefix6_length));
  }
  if (former && former->node_address != 0 && former->node_address != row.node_address) {
    RemoveEndpoint({row.vni, former->node_address}, SKEP_ENDPOINT_NODE);
  }
  skep_network network{};
  network.subnets = SubnetsOf(row);
  network.gateway_be = row.gateway;
  network.node_address_be = row.node_address;
  network.flags = row.internal ? SKEP_NETWORK_INTERNAL : 0;
  network.prefix6_length = row.prefix6_length;
  maps_.sw_network().Put(row.vni, network);
  const IpAddress subnet = IpAddress::V4(network.subnets.subnet_be);
  maps_.sw_subnet().Put(SubnetKey(subnet, row.prefix_length), row.vni);
  if (row.subnet6.given()) {
    maps_.sw_subnet().Put(SubnetKey(row.subnet6, row.prefix6_length), row.vni);
  }
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
  endpoint.tunnel = ToMap(row.tunnel);
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
    maps_.sw_backend().Put(key, {ToMap(row.tunnel), state});
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

bool Tables::IsActive(const Place& place) const {
  skep_backend backend{};
  return maps_.sw_backend().Get(KeyOf(place), &backend) && backend.state == SKEP_BACKEND_ACTIVE;
}

void Tables::Rebuild(const ServiceRow& row) {
  std::vector<Place> ordered = row.backends;
  const auto inactive = std::stable_partition(
      ordered.begin(), ordered.end(), [this](const Place& place) { return IsActive(place); });
  skep_service service{};
  service.table = next_table_++;
  service.active = static_cast<uint32_t>(inactive - ordered.begin());
  service.total = static_cast<uint32_t>(ordered.size());
  service.target_port_be = row.target_port;
  skep_service former{};
  const bool existed = maps_.sw_service().Get(KeyOf(row.key), &former);
  if (existed) service.next = former.next;
  for (uint32_t index = 0; index < service.total; index++) {
    maps_.sw_slot().Put({service.table, index}, KeyOf(ordered[index]));
  }
  maps_.sw_service().Put(KeyOf(row.key), service);
  if (existed) RemoveSlots(former);
}

void Tables::RemoveSlots(const skep_service& service) {
  for (uint32_t index = 0; index < service.total; index++) {
    maps_.sw_slot().Remove({service.table, index});
  }
}

void Tables::PutService(const ServiceRow& row) {
  const auto former = services_.find(row.key);
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
  } else {
    skep_endpoint endpoint{};
    endpoint.kind = SKEP_ENDPOINT_VIP;
    PutEndpoint({row.key.vni, row.key.address}, endpoint);
  }
}

void Tables::RemoveService(const ServiceKey& key) {
  const auto found = services_.find(key);
  if (found != services_.end()) {
    for (const Place& place : found->second.backends) {
      users_[place].erase(key);
      if (users_[place].empty()) users_.erase(place);
    }
    services_.erase(found);
  }
  if (!key.published()) RemoveEndpoint({key.vni, key.address}, SKEP_ENDPOINT_VIP);
  skep_service service{};
  if (!maps_.sw_service().Get(KeyOf(key), &service)) return;
  maps_.sw_service().Remove(KeyOf(key));
  RemoveSlots(service);
}

std::vector<NodeRow> Tables::Nodes() const {
  std::vector<NodeRow> rows;
  for (const auto& [tunnel, node] : maps_.sw_node().Rows()) {
    rows.push_back({node.node_id_be, FromMap(tunnel)});
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
    EndpointRow row{key.vni, key.address_be, {}, FromMap(endpoint.tunnel)};
    std::memcpy(row.mac.data(), endpoint.mac, sizeof endpoint.mac);
    rows.push_back(row);
  }
  return rows;
}

std::vector<BackendRow> Tables::Backends() const {
  std::vector<BackendRow> rows;
  for (const auto& [key, backend] : maps_.sw_backend().Rows()) {
    rows.push_back({key.vni, key.address_be, FromMap(backend.tunnel),
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
