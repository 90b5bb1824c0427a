// One node's packet side as a whole: devices, maps, programs and attachments, opened together and
// taken over from a former process where they are pinned.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "datapath/attachments.h"
#include "datapath/devices.h"
#include "datapath/host_record.h"
#include "datapath/map_set.h"
#include "datapath/programs.h"
#include "datapath/reserved_ports.h"
#include "datapath/tables.h"
#include "datapath/trace.h"

namespace skep::datapath {

/// Of the addresses that stand for single own addresses towards host sockets.
constexpr uint8_t kFrontsPrefixLength = 24;
static_assert(SKEP_FRONTS == 1 << (32 - kFrontsPrefixLength));

struct EngineOptions {
  std::string pin_directory;
  std::string record_file;
  Devices::Options devices;
  IpAddress tunnel_address;
  MapSet::Entries entries;
  bool force_clsact = false;
  bool force_tunnel_device = false;
};

class Engine {
 public:
  /// Makes or takes over everything; from the inside out, so that no hook sees half a state.
  explicit Engine(const EngineOptions& options);

  Tables& tables() { return *tables_; }
  const MapSet& maps() const { return *maps_; }
  const Programs& programs() const { return *programs_; }
  Devices& devices() { return *devices_; }
  Trace& trace() { return *trace_; }
  bool uses_tcx() const { return attachments_->mode() == AttachMode::kTcx; }

  void SetNodeId(uint32_t node_id);
  /// Makes those of the interfaces that exist the underlay; if none does, the former ones stay. True if
  /// one came, went, was made anew or has another MTU. Own addresses have to be set again afterwards.
  bool SetUnderlay(const std::vector<std::string>& names);
  void SetLocalAddresses(const std::vector<IpAddress>& addresses);
  void PutNetwork(const NetworkRow& row);
  void RemoveNetwork(uint32_t vni);
  void AttachLink(LinkRow row);
  void DetachLink(const std::string& name);
  /// One echo to each tunnel address. Unreachable peers are no error.
  void SendEchoes(const std::vector<IpAddress>& tunnels);

  /// True while packets into tunnels get their checksums before a network card sees them.
  bool software_checksums() const { return software_checksums_; }
  /// Switches to that, until the tunnel device is removed: everything goes through that device, which
  /// completes checksums and cuts packets to size.
  void UseSoftwareChecksums();

  /// Makes the WireGuard devices part of the data path, and `peers` the ways through them; a peer
  /// whose device is gone is left out. Replaces the former set.
  struct WireguardPeer {
    uint32_t tunnel;     // network byte order
    std::string device;  // own device that leads there
    uint32_t source;     // own tunnel address on it, network byte order
    uint32_t underlay;   // the peer's address on the underlay, network byte order
  };
  void SetWireguard(const std::vector<WireguardPeer>& peers);

  /// Keeps the kernel from picking published ports, as they are now. Nothing to do while they stay.
  void ReservePorts();

  /// Puts back devices, addresses, routes, settings and programs that somebody else took away. How
  /// many things were missing.
  uint32_t Repair();

  /// Detaches everything and removes pins and devices.
  void Destroy();

 private:
  /// One program that must be on the ingress of a device.
  struct Ingress {
    const char* role;
    int ifindex;
    const char* program;
  };

  std::vector<Ingress> WantedIngress() const;
  /// Those of kWireguardDevices that exist.
  static std::vector<netlink::Link> WireguardDevices();
  uint32_t RepairHostLeg();
  uint32_t RepairPrograms();
  void Configure(const EngineOptions& options);
  void AttachAll();
  /// Routes of a network's IPv6 subnet and the node's own address there.
  void AddHostSide6(const NetworkRow& row);
  void RemoveHostSide6(const NetworkRow& row);
  void AttachSockets();

  EngineOptions options_;
  bool software_checksums_ = false;
  std::string maps_directory_;
  std::string links_directory_;
  std::string programs_directory_;
  HostRecord record_;
  std::unique_ptr<MapSet> maps_;
  std::unique_ptr<Tables> tables_;
  std::unique_ptr<Trace> trace_;
  PortSet published_ports_;
  std::unique_ptr<Devices> devices_;
  std::unique_ptr<Programs> programs_;
  std::unique_ptr<Attachments> attachments_;
};

}  // namespace skep::datapath
