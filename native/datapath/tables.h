// The rows of the data path: turns what the control plane says about nodes, networks, links,
// endpoints, backends and services into map entries, in an order that never shows a packet half a
// change. Members of networks are known by their IPv4 address (network byte order); their IPv6
// addresses follow from the network's subnets.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "datapath/map_set.h"
#include "netlink/ip_address.h"

namespace skep::datapath {

struct NodeRow {
  uint32_t node_id;
  IpAddress tunnel;
};

struct NetworkRow {
  uint32_t vni;
  uint32_t subnet;
  uint8_t prefix_length;
  uint32_t gateway;
  uint32_t node_address;  // 0: none
  bool internal;
  IpAddress subnet6;  // none: IPv4 only
  uint8_t prefix6_length = 0;

  /// A member's IPv6 address; none if the network has no IPv6.
  IpAddress Derive6(uint32_t member) const;
};

struct LinkRow {
  uint32_t ifindex;
  std::string name;
  uint32_t vni;
  uint32_t address;
  std::array<uint8_t, 6> mac;
};

struct EndpointRow {
  uint32_t vni;
  uint32_t address;
  std::array<uint8_t, 6> mac;
  IpAddress tunnel;
};

struct BackendRow {
  uint32_t vni;
  uint32_t address;
  IpAddress tunnel;  // none: here
  bool draining;
};

/// A backend or endpoint by (vni, address).
using Place = std::pair<uint32_t, uint32_t>;

/// vni, address, port, protocol; network byte order.
struct ServiceKey {
  uint32_t vni = 0;
  uint32_t address = 0;
  uint16_t port = 0;
  uint8_t protocol = 0;
  auto operator<=>(const ServiceKey&) const = default;
  bool published() const { return vni == 0; }
};

struct ServiceRow {
  ServiceKey key;
  uint16_t target_port = 0;
  std::vector<Place> backends;
};

/// Addresses as the maps hold them.
skep_address ToMap(const IpAddress& address);
IpAddress FromMap(const skep_address& address);

class Tables {
 public:
  /// Reads what the maps already hold (after a take-over).
  explicit Tables(const MapSet& maps);

  skep_config Config() const;
  void SetConfig(const skep_config& config);
  void SetNodeId(uint32_t node_id);
  /// Own addresses with the uplink that owns each (0: none); replaces the former set.
  void SetLocalAddresses(const std::map<IpAddress, uint32_t>& addresses);

  void PutNode(const NodeRow& row);
  void RemoveNode(uint32_t node_id);
  void PutNetwork(const NetworkRow& row);
  std::optional<NetworkRow> FindNetwork(uint32_t vni) const;
  void RemoveNetwork(uint32_t vni);
  void PutLink(const LinkRow& row);
  /// Index of the link that was removed, 0 if there was none of that name.
  uint32_t RemoveLink(const std::string& name);
  void PutRemoteEndpoint(const EndpointRow& row);
  void RemoveRemoteEndpoint(const Place& place);
  void PutBackends(const std::vector<BackendRow>& rows);
  void RemoveBackends(const std::vector<Place>& places);
  void PutService(const ServiceRow& row);
  void RemoveService(const ServiceKey& key);

  std::vector<NodeRow> Nodes() const;
  std::vector<NetworkRow> Networks() const;
  std::vector<LinkRow> Links() const;
  std::vector<EndpointRow> RemoteEndpoints() const;
  std::vector<BackendRow> Backends() const;
  std::vector<ServiceRow> Services() const;

 private:
  /// Replaces an endpoint but keeps the note that it has flows.
  void PutEndpoint(const Place& place, skep_endpoint endpoint);
  void RemoveEndpoint(const Place& place, skep_endpoint_kind kind);
  /// Writes a new slot table for a service and switches to it.
  void Rebuild(const ServiceRow& row);
  void RebuildUsersOf(const std::vector<Place>& places);
  void RemoveSlots(const skep_service& service);
  void RemoveSubnet(const IpAddress& subnet, uint8_t prefix_length, uint32_t vni);
  /// Tells the links of a network what its addresses look like.
  void UpdateLinksOf(uint32_t vni, const skep_subnets& subnets);
  bool IsActive(const Place& place) const;
  /// Works out which network carries published backends, and who else has an address there.
  void UpdateIngressNetwork();
  void PutPeer(const skep_config& config, uint32_t node_id, const IpAddress& tunnel);

  const MapSet& maps_;
  std::map<ServiceKey, ServiceRow> services_;
  std::map<Place, std::set<ServiceKey>> users_;
  uint32_t next_table_ = 1;
};

}  // namespace skep::datapath
