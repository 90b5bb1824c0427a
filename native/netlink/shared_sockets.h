// Sockets of a name server at an address of this namespace that may be taken by two processes at once,
// so that one can follow the other without a moment in which nobody listens.
#pragma once

#include <cstdint>
#include <string>

#include "netlink/unique_fd.h"

namespace skep::netlink {

/// A bound UDP socket and a listening TCP socket on the same port.
struct SharedSockets {
  UniqueFd udp;
  UniqueFd tcp;
};

/// Port 0: one of the kernel's choice. @throws SystemError EADDRINUSE, EADDRNOTAVAIL, EINVAL
SharedSockets OpenSharedSockets(const std::string& address, uint16_t port);

/// A UDP socket gets no more questions: others at its address do. What it has is still read, and it
/// still sends. @throws SystemError
void TurnAway(int udp);

}  // namespace skep::netlink
