// Engine::Repair, see engine.h: the host's side of the data path is compared with what it should be.
#include <utility>

#include "datapath/engine.h"
#include "datapath/loads.h"
#include "netlink/system_error.h"

namespace skep::datapath {

uint32_t Engine::Repair() {
  RecountLoads(*maps_, tables_->NeedsLoads());
  const uint32_t pins = maps_->RepairPins();
  record_.Keep();
  if (!devices_->Intact()) {
    Configure(options_);
    AttachAll();
    return pins + 1;
  }
  const uint32_t ports = ReservedPorts(record_).Apply(published_ports_) ? 1 : 0;
  return pins + devices_->Tune() + ports + RepairHostLeg() + RepairPrograms();
}

uint32_t Engine::RepairHostLeg() {
  uint32_t repaired = 0;
  const skep_config config = tables_->Config();
  const auto addresses = devices_->HostAddresses();
  const auto routes = devices_->HostRoutes();
  const auto address = [&](const IpAddress& wanted) {
    if (!wanted.given() || addresses.contains(wanted)) return;
    devices_->AddHostAddress(wanted);
    repaired++;
  };
  const auto route = [&](const IpAddress& destination, uint8_t prefix_length,
                         const IpAddress& source) {
    if (routes.contains({destination, prefix_length})) return;
    devices_->AddHostRoute(destination, prefix_length, source);
    repaired++;
  };
  const auto some = [](uint32_t member) {
    return member != 0 ? IpAddress::V4(member) : IpAddress{};
  };
  const IpAddress own = some(config.node_id_be);
  address(some(config.dns_address_be));
  address(own);
  const auto networks = tables_->Networks();
  for (const NetworkRow& row : networks) address(some(row.node_address));
  // Routes after the addresses they prefer as source.
  if (own.given()) {
    route(some(config.frontend_be), 32, own);
    route(some(config.fronts_be), kFrontsPrefixLength, own);
  }
  for (const NetworkRow& row : networks) {
    route(some(row.subnet), row.prefix_length, row.node_address != 0 ? some(row.node_address) : own);
    if (!row.subnet6.given() || !devices_->has_ipv6()) continue;
    const IpAddress own6 = row.node_address != 0 ? row.Derive6(row.node_address) : IpAddress{};
    address(own6);
    route(row.subnet6, row.prefix6_length, own6);
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
