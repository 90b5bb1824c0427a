// What a descriptor is that whoever started this process has left open for it.
#pragma once

#include <string>

namespace skep::process {

struct PassedSocket {
  /// A unix stream socket that others can connect to.
  bool is_listening_stream = false;
  /// Where it is bound; empty if at no path.
  std::string path;
};

/// Looks at the descriptor, and keeps children of this process from getting it too.
/// @throws SystemError EBADF, ENOTSOCK
PassedSocket TakePassedSocket(int fd);

}  // namespace skep::process
