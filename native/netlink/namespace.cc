// See namespace.h.
#include "netlink/namespace.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <exception>
#include <thread>

#include "netlink/system_error.h"

namespace skep::netlink {
namespace {

constexpr char kOwn[] = "/proc/thread-self/ns/net";

bool IsNetworkNamespace(int fd) {
  struct statfs system {};
  // Before the engine has mounted the namespace, its path is an empty file.
  if (::fstatfs(fd, &system) != 0 || system.f_type != NSFS_MAGIC) return false;
  return ::ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
}

bool IsSame(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

}  // namespace

Namespace::Namespace(const std::string& path)
    : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (!fd_.valid()) throw SystemError(errno, "open", path);
  if (!IsNetworkNamespace(fd_.get())) {
    throw SystemError(EINVAL, "setns", path + " is no network namespace");
  }
  if (IsAt(kOwn)) throw SystemError(EINVAL, "setns", path + " is the host's own namespace");
}

void Namespace::Run(const std::function<void()>& work) const {
  std::exception_ptr failure;
  std::thread([&] {
    try {
      if (::setns(fd_.get(), CLONE_NEWNET) != 0) throw SystemError(errno, "setns");
      work();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
}

bool Namespace::IsAt(const std::string& path) const {
  struct stat here {}, there {};
  if (::fstat(fd_.get(), &here) != 0 || ::stat(path.c_str(), &there) != 0) return false;
  return IsSame(here, there);
}

}  // namespace skep::netlink
