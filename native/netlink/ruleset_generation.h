// Whether anybody changed the packet filter: nf_tables numbers every change of a namespace's rules.
#pragma once

#include <cstdint>

namespace skep::netlink {

/// Number of the last change of nf_tables' rules in the namespace of the calling thread, whoever made it;
/// iptables' rules count where it writes nf_tables. @throws SystemError
uint32_t RulesetGeneration();

}  // namespace skep::netlink
