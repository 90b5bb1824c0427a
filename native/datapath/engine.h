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
  uint32_t tunnel_address = 0;  // network byte order
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
  void SetLocalAddresses(const std::vector<uint32_t>& addresses);
  void PutNetwork(const NetworkRow& row);
  void RemoveNetwork(uint32_t vni);
  void AttachLink(LinkRow row);
  void DetachLink(const std::string& name);
  /// One echo to each tunnel address (network byte order). Unreachable peers are no error.
  void SendEchoes(const std::vector<uint32_t>& tunnels);

  /// Detaches everything and removes pins and devices.
  void Destroy();

 private:
  void Configure(const EngineOptions& options);
  void AttachAll();
  void AttachSockets();

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
