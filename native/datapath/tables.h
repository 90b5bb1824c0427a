// The rows of the data path: turns what the control plane says about nodes, networks, links,
// endpoints, backends and services into map entries, in an order that never shows a packet half a
// change. Members of networks are known by their IPv4 address (network byte order); their IPv6
// addresses follow from the network's subnets.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "datapath/map_set.h"
#include "datapath/port_set.h"
#include "datapath/slots.h"
#include "datapath/tunnel_numbers.h"
#include "netlink/ip_address.h"

namespace skep::datapath {

struct NodeRow {
  uint32_t node_id;
  IpAddress tunnel;
  uint32_t wireguard = 0;  // tunnel address for an encrypted ingress network, 0: none known
};

/// Longest frame that fits the tunnels of the mesh, by the rest of the settings.
uint32_t MeshFrameBytes(const skep_config& config);

struct NetworkRow {
  uint32_t vni;
  uint32_t subnet;
  uint8_t prefix_length;
  uint32_t gateway;
  uint32_t node_address;  // 0: none
  bool internal;
  bool encrypted;
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

/// vni, address, port, protocol; network byte order.
struct ServiceKey {
  uint32_t vni = 0;
  IpAddress address;  // none: any own address; of a member its IPv4 address
  uint16_t port = 0;
  uint8_t protocol = 0;
  auto operator<=>(const ServiceKey&) const = default;
  bool published() const { return vni == 0; }
  bool landing() const { return vni != 0 && port != 0; }
};

/// A network of clients, of either family; an IPv4 address stands in the first word.
struct ClientNetwork {
  uint32_t family = 0;  // SKEP_FAMILY_*
  std::array<uint32_t, 4> address{};
  uint8_t prefix_length = 0;
  auto operator<=>(const ClientNetwork&) const = default;
};

struct ServiceRow {
  ServiceKey key;
  uint16_t target_port = 0;
  uint16_t ports = 1;  // published from the key's port on
  skep_policy policy = SKEP_POLICY_MAGLEV;
  std::vector<Place> backends;
  std::optional<std::vector<ClientNetwork>> allow;  // none: everybody
  bool addressed = false;
  bool retired = false;
  bool direct = false;  // replies from elsewhere go straight to the client
};

class Tables {
 public:
  /// Reads what the maps already hold (after a take-over).
  explicit Tables(const MapSet& maps);

  /// Forgets what is known about services and reads the maps again.
  void Reload();
  /// Whether the place has an endpoint row at all; whoever put it there.
  bool HasEndpoint(const Place& place) const;

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
  /// Ports that services have now, on whatever address of this node; those of a row that only says
  /// where others are, or keeps old flows, are free.
  PortSet PublishedPorts() const;
  /// Whether they may have changed since the last call.
  bool PortsChanged() { return std::exchange(ports_changed_, false); }
  /// Whether a service chooses by the number of connections.
  bool NeedsLoads() const;

  /// Ways through WireGuard by the peer's tunnel address; replaces the former set.
  void SetWireguardPeers(const std::map<uint32_t, skep_wireguard_peer>& peers);

  /// The tunnel address behind a number of the maps; none if nobody has it.
  IpAddress TunnelOf(uint32_t number) const { return tunnels_.AddressOf(number); }

  std::vector<NodeRow> Nodes() const;
  std::vector<NetworkRow> Networks() const;
  std::vector<LinkRow> Links() const;
  std::vector<EndpointRow> RemoteEndpoints() const;
  std::vector<BackendRow> Backends() const;
  std::vector<ServiceRow> Services() const;

 private:
  struct AllowList {
    uint32_t id;
    std::vector<ClientNetwork> networks;
  };

  /// Replaces an endpoint but keeps the note that it has flows.
  void PutEndpoint(const Place& place, skep_endpoint endpoint);
  void RemoveEndpoint(const Place& place, skep_endpoint_kind kind);
  /// Writes a new slot table for a service and switches to it.
  void Rebuild(const ServiceRow& row);
  void RebuildUsersOf(const std::vector<Place>& places);
  /// Leads a range's ports to its row, and none that `former` had besides; nullptr if there was none.
  void WriteRange(const ServiceKey& key, const skep_service& service, const skep_service* former);
  /// The list of the clients of a row, written if it is new. The one it replaces comes back in
  /// `stale`, to be removed once the row no longer names it.
  uint32_t ListFor(const ServiceRow& row, std::optional<AllowList>* stale);
  void RemoveList(const AllowList& list);
  /// The address host sockets are given for an own address; 0 for a row of all addresses.
  uint32_t FrontFor(const ServiceKey& key);
  void ReleaseFront(const IpAddress& address);
  /// Orders a service's backends, those that may be chosen first, and counts these.
  std::vector<Place> Ordered(const ServiceRow& row, uint32_t* choosable) const;
  /// Works out which network carries published backends, and who else has an address there.
  void UpdateIngressNetwork();
  /// The programs look networks up only while some are encrypted; `at_least` counts one to come.
  void CountEncryptedNetworks(uint32_t at_least);
  void PutPeer(const skep_config& config, uint32_t node_id, uint32_t tunnel_number);
  void PutSubnet(const IpAddress& subnet, uint8_t prefix_length, uint32_t vni);
  void RemoveSubnet(const IpAddress& subnet, uint8_t prefix_length, uint32_t vni);
  /// Tells the links of a network what its addresses look like.
  void UpdateLinksOf(uint32_t vni, const skep_subnets& subnets);

  const MapSet& maps_;
  Slots slots_;
  TunnelNumbers tunnels_;
  std::map<ServiceKey, AllowList> lists_;
  std::map<IpAddress, uint32_t> fronts_;  // by own address
  uint32_t next_list_ = 1;
  std::map<ServiceKey, ServiceRow> services_;
  std::map<Place, std::set<ServiceKey>> users_;
  uint32_t next_table_ = 1;
  bool ports_changed_ = true;
};

}  // namespace skep::datapath
