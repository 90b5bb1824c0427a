// Engine::Repair, see engine.h: the host's side of the data path is compared with what it should be.
#include <utility>

#include "datapath/engine.h"
#include "datapath/loads.h"
#include "netlink/system_error.h"

namespace skep::datapath {

uint32_t Engine::Repair() {
  RecountLoads(*maps_, tables_->NeedsLoads());
  if (!devices_->Intact()) {
    Configure(options_);
    AttachAll();
    return 1;
  }
  const uint32_t ports = ReservedPorts(*maps_).Apply(published_ports_) ? 1 : 0;
  return devices_->Tune() + ports + RepairHostLeg() + RepairPrograms();
}

uint32_t Engine::RepairHostLeg() {
  uint32_t repaired = 0;
  const skep_config config = tables_->Config();
  const auto addresses = devices_->HostAddresses();
  const auto routes = devices_->HostRoutes();
  const auto address = [&](uint32_t wanted) {
    if (wanted == 0 || addresses.contains(wanted)) return;
    devices_->AddHostAddress(wanted);
    repaired++;
  };
  const auto route = [&](uint32_t destination, uint8_t prefix_length, uint32_t source) {
    if (routes.contains({destination, prefix_length})) return;
    devices_->AddHostRoute(destination, prefix_length, source);
    repaired++;
  };
  address(config.dns_address_be);
  address(config.node_id_be);
  const auto networks = tables_->Networks();
  for (const NetworkRow& row : networks) address(row.node_address);
  // Routes after the addresses they prefer as source.
  if (config.node_id_be != 0) {
    route(config.frontend_be, 32, config.node_id_be);
    route(config.fronts_be, kFrontsPrefixLength, config.node_id_be);
  }
  for (const NetworkRow& row : networks) {
    route(row.subnet, row.prefix_length,
          row.node_address != 0 ? row.node_address : config.node_id_be);
  }
  return repaired;
}

uint32_t Engine::RepairPrograms() {
  uint32_t repaired = 0;
  netlink::Rtnetlink rtnetlink;
  for (const Ingress& each : WantedIngress()) {
    if (attachments_->IsAttached(each.role, each.ifindex)) continue;
    try {
      attachments_->AttachIngress(each.role, each.ifindex, programs_->Fd(each.program));
      repaired++;
    } catch (const SystemError& failure) {
      // A container's device that has just gone: the engine plugin hears of it.
      if (failure.error() != ENODEV && failure.error() != EINVAL) throw;
    }
  }
  bool sockets = true;
  for (const auto& [name, attach_type] : Programs::SocketHooks()) {
    sockets &= attachments_->IsCgroupAttached(name);
  }
  if (!sockets) {
    AttachSockets();
    repaired++;
  }
  return repaired;
}

}  // namespace skep::datapath
