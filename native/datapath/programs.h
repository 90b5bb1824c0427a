// The embedded programs, loaded against one set of maps.
#pragma once

#include <map>
#include <string>

#include "datapath/map_set.h"

namespace skep::datapath {

class Programs {
 public:
  /// Loads all programs. @throws SystemError with the end of the verifier's log
  explicit Programs(const MapSet& maps);

  /// Descriptor of a program, by its function's name. @throws SystemError ENOENT
  int Fd(const std::string& name) const;

  /// Instructions the verifier walked through, by program.
  std::map<std::string, uint32_t> VerifiedInstructions() const;

  /// Socket hooks this kernel has: function name and where it attaches.
  static const std::map<std::string, uint32_t>& SocketHooks();

 private:
  std::map<std::string, UniqueFd> fds_;
};

}  // namespace skep::datapath
