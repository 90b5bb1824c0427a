// The part of the data path that belongs to encrypted networks: Engine::SetWireguard, the tables
// behind it, and the method JavaScript calls.
#include "datapath/encryption.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>

#include "datapath/datapath_object.h"
#include "datapath/engine.h"
#include "datapath/js_values.h"
#include "datapath/self_test.h"
#include "netlink/system_error.h"

namespace skep::datapath {

std::vector<netlink::Link> Engine::WireguardDevices() {
  netlink::Rtnetlink rtnetlink;
  std::vector<netlink::Link> devices;
  for (const char* name : kWireguardDevices) {
    if (auto link = rtnetlink.FindLink(name)) devices.push_back(std::move(*link));
  }
  return devices;
}

void Engine::SetWireguard(const std::vector<WireguardPeer>& peers) {
  std::map<std::string, uint32_t> devices;
  for (const netlink::Link& link : WireguardDevices()) {
    // The program before the rows that make peers send here.
    Devices::Quiet(link.name);
    // Aggregated tunnel packets keep their marks when the header is taken off by hand, and a network
    // card that segments tunnels would cut them wrongly: replies of the mesh may leave by one.
    if (tables_->Config().mesh_encrypted != 0) KeepPacketsApart(link.name);
    attachments_->AttachIngress(kWireguardRole, link.index, programs_->Fd("from_wireguard"));
    devices[link.name] = static_cast<uint32_t>(link.index);
  }
  std::map<uint32_t, skep_wireguard_peer> rows;
  for (const WireguardPeer& peer : peers) {
    const auto device = devices.find(peer.device);
    if (device != devices.end()) {
      rows[ntohl(peer.tunnel)] = {device->second, peer.source, ntohl(peer.underlay)};
    }
  }
  tables_->SetWireguardPeers(rows);
  attachments_->Attached(kWireguardRole);  // drops the pins of devices that are gone
}

void Tables::SetWireguardPeers(const std::map<uint32_t, skep_wireguard_peer>& peers) {
  for (const auto& [tunnel, peer] : peers) maps_.sw_wireguard().Put(tunnel, peer);
  for (const auto& [tunnel, peer] : maps_.sw_wireguard().Rows()) {
    if (!peers.contains(tunnel)) maps_.sw_wireguard().Remove(tunnel);
  }
}

void Tables::CountEncryptedNetworks(uint32_t at_least) {
  skep_config config = Config();
  uint32_t count = 0;
  for (const NetworkRow& row : Networks()) count += row.encrypted ? 1 : 0;
  count = std::max(count, at_least);
  if (count == config.encrypted_networks) return;
  config.encrypted_networks = count;
  SetConfig(config);
}

void DatapathObject::SetWireguard(Info info) {
  std::vector<Engine::WireguardPeer> peers;
  js::ForEach(info[0], [&peers](const Napi::Value& value) {
    const Napi::Object row = value.As<Napi::Object>();
    peers.push_back({js::Address(row, "tunnelAddress"), js::Text(row, "interfaceName"),
                     js::Address(row, "source"), js::Address(row, "underlayAddress")});
  });
  Guarded(info.Env(), [&] { Open(info.Env()).SetWireguard(peers); });
}

}  // namespace skep::datapath
