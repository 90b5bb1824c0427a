// Sockets of the gossip thread: owned descriptors, binding, and endpoints as the kernel writes
// them.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "gossip/bytes.h"

namespace skep::gossip {

/// An owned file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// A failed system call, Node-style: which, and why.
struct SystemFailure {
  int error = 0;
  std::string syscall;
};

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// `family` is that of the socket: an IPv4 endpoint on an IPv6 socket becomes a mapped address.
SocketAddress ToSocketAddress(const Endpoint& endpoint, int family);
Endpoint FromSocketAddress(const sockaddr_storage& storage);

/// Non-blocking sockets bound to one address and port. Throws SystemFailure.
Fd BindUdp(const Endpoint& address);
Fd BindTcp(const Endpoint& address);
/// A non-blocking connection under way. The descriptor is empty when it failed at once.
Fd StartConnect(const Endpoint& to);

}  // namespace skep::gossip
