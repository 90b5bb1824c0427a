// See loads.h.
#include "datapath/loads.h"

#include <netinet/in.h>

#include <map>

#include "datapath/coarse_clock.h"
#include "datapath/slots.h"

namespace skep::datapath {
namespace {

bool IsOpen(const skep_flow& flow, const skep_connection& connection, uint32_t now) {
  const uint32_t idle = now - connection.last;
  if (flow.protocol != IPPROTO_TCP) return idle <= SKEP_TIMEOUT_UDP_REPLIED_S;
  if (connection.state == SKEP_STATE_NEW) return idle <= SKEP_TIMEOUT_SYN_S;
  return connection.state == SKEP_STATE_ESTABLISHED;
}

}  // namespace

void RecountLoads(const MapSet& maps, bool needed) {
  std::map<Place, uint32_t> loads;
  if (needed) {
    const uint32_t now = CoarseNow();
    const auto add = [&](const skep_flow& flow, const skep_connection& connection) {
      if (flow.kind != SKEP_FLOW_SERVICE || !connection.counted) return;
      if (IsOpen(flow, connection, now)) loads[{connection.vni, connection.backend_be}]++;
    };
    maps.sw_connection().Each(add);
    maps.sw_opening().Each(add);
  }
  for (const auto& [key, load] : maps.sw_load().Rows()) {
    if (!loads.contains({key.vni, key.address_be})) maps.sw_load().Remove(key);
  }
  for (const auto& [place, load] : loads) maps.sw_load().Put(KeyOf(place), load);
}

}  // namespace skep::datapath
