// See passed_socket.h.
#include "process/passed_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "netlink/system_error.h"

namespace skep::process {
namespace {

int OptionOf(int fd, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(fd, SOL_SOCKET, option, &value, &size) != 0) {
    throw SystemError(errno, "getsockopt");
  }
  return value;
}

std::string PathOf(int fd) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw SystemError(errno, "getsockname");
  }
  constexpr size_t kStart = offsetof(sockaddr_un, sun_path);
  if (size <= kStart) return {};
  // Names without a path begin with a zero, and a full one has none at its end.
  const char* begin = address.sun_path;
  return std::string(begin, std::find(begin, begin + (size - kStart), '\0'));
}

}  // namespace

PassedSocket TakePassedSocket(int fd) {
  PassedSocket taken;
  const int family = OptionOf(fd, SO_DOMAIN);
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) throw SystemError(errno, "fcntl");
  if (family != AF_UNIX) return taken;
  taken.is_listening_stream =
      OptionOf(fd, SO_TYPE) == SOCK_STREAM && OptionOf(fd, SO_ACCEPTCONN) != 0;
  taken.path = PathOf(fd);
  return taken;
}

}  // namespace skep::process
