// See maglev.h.
#include "datapath/maglev.h"

namespace skep::datapath {
namespace {

// Part of the agreement between nodes: another value gives other tables.
constexpr uint64_t kOffsetSeed = 0x736b65702d6f6666;
constexpr uint64_t kSkipSeed = 0x736b65702d736b69;
constexpr uint16_t kEmpty = 0xffff;

/// The finalizer of SplitMix64: every bit of the input reaches every bit of the result.
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

uint64_t Hash(std::string_view bytes, uint64_t seed) {
  uint64_t hash = Mix(seed + bytes.size());
  for (const char byte : bytes) hash = Mix(hash + static_cast<uint8_t>(byte) + 1);
  return hash;
}

/// The order in which one backend asks for cells.
struct Permutation {
  uint32_t next;
  uint32_t skip;
};

}  // namespace

std::vector<uint16_t> MaglevTable(const std::vector<std::string_view>& identities,
                                  uint32_t cells) {
  std::vector<uint16_t> table;
  if (identities.empty()) return table;
  std::vector<Permutation> permutations;
  permutations.reserve(identities.size());
  for (const std::string_view identity : identities) {
    permutations.push_back(
        {static_cast<uint32_t>(Hash(identity, kOffsetSeed) % cells),
         static_cast<uint32_t>(Hash(identity, kSkipSeed) % (cells - 1)) + 1});
  }
  table.assign(cells, kEmpty);
  for (uint32_t filled = 0; filled < cells;) {
    for (size_t backend = 0; backend < permutations.size() && filled < cells; backend++) {
      Permutation& permutation = permutations[backend];
      // Ends, since a prime number of cells makes the permutation visit all of them.
      while (table[permutation.next] != kEmpty) {
        permutation.next = (permutation.next + permutation.skip) % cells;
      }
      table[permutation.next] = static_cast<uint16_t>(backend);
      filled++;
    }
  }
  return table;
}

}  // namespace skep::datapath
