// The embedded programs, for one set of maps. They are pinned, and those that a former process left for the
// same maps are used again: the verifier takes nearly a second of processor time for all of them.
#pragma once

#include <map>
#include <set>
#include <string>

#include "datapath/map_set.h"

namespace skep::datapath {

namespace embedded {
struct Program;
}

class Programs {
 public:
  /// Takes over the programs pinned in `directory` that are the same in every instruction and every map,
  /// and loads the others. @throws SystemError with the end of the verifier's log
  Programs(std::string directory, MapSet& maps);

  /// All are attached: what else is pinned in the directory goes.
  void Commit() const;

  /// Removes all pins.
  void Destroy() const;

  /// Descriptor of a program, by its function's name. @throws SystemError ENOENT
  int Fd(const std::string& name) const;

  /// Instructions the verifier walked through, by program.
  std::map<std::string, uint32_t> VerifiedInstructions() const;

  /// Socket hooks this kernel has: function name and where it attaches.
  static const std::map<std::string, uint32_t>& SocketHooks();

 private:
  std::string PinOf(const embedded::Program& program) const;
  /// The pinned program, if it is the one that would be loaded.
  UniqueFd Former(const embedded::Program& program, const MapSet& maps) const;
  UniqueFd Load(const embedded::Program& program, const MapSet& maps) const;
  void Sweep(const std::set<std::string>& kept) const;

  std::string directory_;
  std::map<std::string, UniqueFd> fds_;
};

}  // namespace skep::datapath
