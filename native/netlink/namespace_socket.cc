// See namespace_socket.h.
#include "netlink/namespace_socket.h"

#include <sys/socket.h>

#include <cerrno>

#include "netlink/namespace.h"
#include "netlink/system_error.h"

namespace skep::netlink {

UniqueFd OpenTcpSocketIn(const std::string& path) {
  UniqueFd opened;
  Namespace(path).Run([&opened] {
    opened = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!opened.valid()) throw SystemError(errno, "socket");
  });
  return opened;
}

}  // namespace skep::netlink
