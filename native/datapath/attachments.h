// Where programs hang: tcx links (or clsact filters on kernels without tcx) on devices, cgroup links
// for the host's sockets. Links are pinned, so that they outlive the process; attaching again swaps
// the program inside the pinned link, atomically for packets.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "datapath/host_record.h"
#include "netlink/rtnetlink.h"
#include "netlink/unique_fd.h"

namespace skep::datapath {

enum class AttachMode { kTcx, kClsact };

/// The role on devices of the host, which stay when we go.
inline constexpr char kUplinkRole[] = "uplink";

class Attachments {
 public:
  /// `directory` holds the pinned links. tcx where the kernel knows it, unless `force_clsact`.
  Attachments(std::string directory, bool force_clsact, HostRecord& record);

  AttachMode mode() const { return mode_; }

  /// Puts a program on the ingress of a device, under a role such as "container". Idempotent.
  void AttachIngress(const std::string& role, int ifindex, int program_fd);
  /// False if somebody took it off.
  bool IsAttached(const std::string& role, int ifindex) const;
  /// Takes it off again; no error if the device or the link is gone.
  void DetachIngress(const std::string& role, int ifindex);
  /// Interface indexes with a pinned link of this role, or an underlay's filter, whose device still
  /// exists; drops dead pins.
  std::vector<int> Attached(const std::string& role);

  /// Drops pins of links whose device is gone, and takes off what hangs under a role or hook that is
  /// none of `known`: a former version had it.
  void Sweep(const std::set<std::string>& known);

  void AttachCgroup(const std::string& hook, int program_fd, int cgroup_fd, uint32_t attach_type);
  bool IsCgroupAttached(const std::string& hook) const;

  /// Takes everything off that has a pin here.
  void DetachAll();

 private:
  /// The tcx link of a role on a device goes, if there is one.
  void DropLink(const std::string& role, int ifindex);
  /// Our filter goes, and the qdisc if it is ours and nobody else's filter hangs on it.
  void DropFilter(int ifindex);
  std::string PinOf(const std::string& role, int ifindex) const;

  std::string directory_;
  const AttachMode mode_;
  HostRecord& record_;
};

/// Mount point of the unified cgroup hierarchy (also in hybrid layouts); empty if there is none.
std::string FindCgroup2();

}  // namespace skep::datapath
