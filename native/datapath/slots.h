// The backends of a service as the programs choose among them: slots, the Maglev table over the
// first of them, and the blocks of its port range. What a row names is written whole before the row
// names it, and removed after no row does.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "datapath/map_set.h"

namespace skep::datapath {

/// A backend or endpoint by (vni, address).
using Place = std::pair<uint32_t, uint32_t>;

inline skep_endpoint_key KeyOf(const Place& place) { return {place.first, place.second}; }

/// The order of backends in slots and Maglev tables: by address, byte by byte.
bool ComesBefore(const Place& a, const Place& b);

class Slots {
 public:
  explicit Slots(const MapSet& maps) : maps_(maps) {}

  /// Writes slots for `backends`, and the table that leads to the first `service->active` of them
  /// unless the policy needs none. `service->table` must be unused; `total` and `cells` are filled in.
  void Write(const std::vector<Place>& backends, skep_service* service) const;
  /// Backends of a row in force.
  std::vector<Place> Read(const skep_service& service) const;
  void Remove(const skep_service& service) const;

  /// Leads the ports of a row that has more than one to its first. Protocol as in IP headers.
  void WriteRange(uint8_t protocol, const skep_service& service) const;
  /// Blocks of `former` that lead to it and are not `kept`'s any more; `kept` may be nullptr.
  void RemoveRange(uint8_t protocol, const skep_service& former, const skep_service* kept) const;

 private:
  void WriteMaglev(const std::vector<Place>& choosable, skep_service* service) const;

  const MapSet& maps_;
};

}  // namespace skep::datapath
