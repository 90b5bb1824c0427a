// One node's packet side as a whole: devices, maps, programs and attachments, opened together and
// taken over from a former process where they are pinned.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "datapath/attachments.h"
#include "datapath/devices.h"
#include "datapath/map_set.h"
#include "datapath/programs.h"
#include "datapath/tables.h"

namespace skep::datapath {

struct EngineOptions {
  std::string pin_directory;
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
  bool uses_tcx() const { return attachments_->mode() == AttachMode::kTcx; }

  void SetNodeId(uint32_t node_id);
  void SetLocalAddresses(const std::vector<IpAddress>& addresses);
  void PutNetwork(const NetworkRow& row);
  void RemoveNetwork(uint32_t vni);
  void AttachLink(LinkRow row);
  void DetachLink(const std::string& name);
  /// One echo to each tunnel address. Unreachable peers are no error.
  void SendEchoes(const std::vector<IpAddress>& tunnels);

  /// Detaches everything and removes pins and devices.
  void Destroy();

 private:
  void Configure(const EngineOptions& options);
  void AttachAll();
  void AttachSockets();
  /// Routes of a network's IPv6 subnet and the node's own address there.
  void AddHostSide6(const NetworkRow& row);
  void RemoveHostSide6(const NetworkRow& row);

  EngineOptions options_;
  std::string maps_directory_;
  std::string links_directory_;
  std::unique_ptr<MapSet> maps_;
  std::unique_ptr<Tables> tables_;
  std::unique_ptr<Devices> devices_;
  std::unique_ptr<Programs> programs_;
  std::unique_ptr<Attachments> attachments_;
};

}  // namespace skep::datapath
