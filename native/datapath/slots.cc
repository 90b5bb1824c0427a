// See slots.h.
#include "datapath/slots.h"

#include <arpa/inet.h>

#include <algorithm>
#include <string_view>

#include "datapath/maglev.h"

namespace skep::datapath {
namespace {

// What stands before the port in a range's key.
constexpr uint32_t kRangeHeadBits = 16;
constexpr uint32_t kPortBits = 16;

std::string_view IdentityOf(const Place& place) {
  return {reinterpret_cast<const char*>(&place.second), sizeof place.second};
}

/// The fewest aligned blocks that are ports first..first+count-1.
std::vector<skep_range_key> BlocksOf(uint8_t protocol, uint32_t first, uint32_t count) {
  std::vector<skep_range_key> blocks;
  for (const uint32_t end = first + count; first < end;) {
    uint32_t bits = first == 0 ? kPortBits : static_cast<uint32_t>(__builtin_ctz(first));
    while (bits > 0 && first + (1u << bits) > end) bits--;
    blocks.push_back({kRangeHeadBits + kPortBits - bits, protocol, 0,
                      htons(static_cast<uint16_t>(first))});
    first += 1u << bits;
  }
  return blocks;
}

std::vector<skep_range_key> BlocksOf(uint8_t protocol, const skep_service& service) {
  if (service.ports <= 1) return {};
  return BlocksOf(protocol, ntohs(service.first_port_be), service.ports);
}

bool Same(const skep_range_key& a, const skep_range_key& b) {
  return a.prefix_length == b.prefix_length && a.protocol == b.protocol && a.port_be == b.port_be;
}

}  // namespace

bool ComesBefore(const Place& a, const Place& b) { return IdentityOf(a) < IdentityOf(b); }

void Slots::Write(const std::vector<Place>& backends, skep_service* service) const {
  service->total = static_cast<uint32_t>(backends.size());
  for (uint32_t index = 0; index < service->total; index++) {
    maps_.sw_slot().Put({service->table, index}, KeyOf(backends[index]));
  }
  service->cells = 0;
  if (service->active > 1 && service->policy != SKEP_POLICY_LEAST_CONN) {
    WriteMaglev({backends.begin(), backends.begin() + service->active}, service);
  }
}

void Slots::WriteMaglev(const std::vector<Place>& choosable, skep_service* service) const {
  std::vector<std::string_view> identities;
  identities.reserve(choosable.size());
  for (const Place& place : choosable) identities.push_back(IdentityOf(place));
  const uint32_t cells = MaglevCells(identities.size());
  const std::vector<uint16_t> table = MaglevTable(identities, cells);
  service->cells = static_cast<uint16_t>(cells);
  if (cells == SKEP_MAGLEV_SMALL_CELLS) {
    skep_maglev small{};
    for (uint32_t cell = 0; cell < cells; cell++) {
      small.slot[cell] = static_cast<uint8_t>(table[cell]);
    }
    maps_.sw_maglev().Put(service->table, small);
  } else {
    skep_maglev_large large{};
    for (uint32_t cell = 0; cell < cells; cell++) large.slot[cell] = table[cell];
    maps_.sw_maglev_large().Put(service->table, large);
  }
}

std::vector<Place> Slots::Read(const skep_service& service) const {
  std::vector<Place> backends;
  for (uint32_t index = 0; index < service.total; index++) {
    skep_endpoint_key slot{};
    if (maps_.sw_slot().Get({service.table, index}, &slot)) {
      backends.emplace_back(slot.vni, slot.address_be);
    }
  }
  return backends;
}

void Slots::Remove(const skep_service& service) const {
  for (uint32_t index = 0; index < service.total; index++) {
    maps_.sw_slot().Remove({service.table, index});
  }
  if (service.cells == SKEP_MAGLEV_SMALL_CELLS) maps_.sw_maglev().Remove(service.table);
  if (service.cells == SKEP_MAGLEV_LARGE_CELLS) maps_.sw_maglev_large().Remove(service.table);
}

void Slots::WriteRange(uint8_t protocol, const skep_service& service) const {
  for (const skep_range_key& block : BlocksOf(protocol, service)) {
    maps_.sw_range().Put(block, service.first_port_be);
  }
}

void Slots::RemoveRange(uint8_t protocol, const skep_service& former,
                        const skep_service* kept) const {
  std::vector<skep_range_key> still;
  if (kept != nullptr) still = BlocksOf(protocol, *kept);
  for (const skep_range_key& block : BlocksOf(protocol, former)) {
    const bool stays = std::any_of(still.begin(), still.end(), [&](const skep_range_key& other) {
      return Same(block, other);
    });
    uint16_t first_be = 0;
    // The block may have gone over to another range meanwhile.
    if (!stays && maps_.sw_range().Get(block, &first_be) && first_be == former.first_port_be) {
      maps_.sw_range().Remove(block);
    }
  }
}

}  // namespace skep::datapath
