// A TCP socket that lives in another network namespace, for the event loop to connect.
#pragma once

#include <string>

#include "netlink/unique_fd.h"

namespace skep::netlink {

/// A new, unconnected IPv4 TCP socket in the namespace `path` stands for.
/// @throws SystemError as Namespace does
UniqueFd OpenTcpSocketIn(const std::string& path);

}  // namespace skep::netlink
