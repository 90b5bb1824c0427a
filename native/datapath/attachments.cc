// See attachments.h.
#include "datapath/attachments.h"

#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "datapath/bpf_syscalls.h"
#include "netlink/system_error.h"

namespace skep::datapath {
namespace {

// Place of our filter on a clsact qdisc that others may use too.
constexpr uint16_t kFilterPriority = 0x5ce9;
constexpr int kLoopback = 1;

}  // namespace

Attachments::Attachments(std::string directory, bool force_clsact, HostRecord& record)
    : directory_(std::move(directory)),
      mode_(force_clsact || !bpf::KnowsTcx() ? AttachMode::kClsact : AttachMode::kTcx),
      record_(record) {}

std::string Attachments::PinOf(const std::string& role, int ifindex) const {
  return directory_ + "/" + role + "-" + std::to_string(ifindex);
}

void Attachments::AttachIngress(const std::string& role, int ifindex, int program_fd) {
  if (mode_ == AttachMode::kTcx) {
    const std::string path = PinOf(role, ifindex);
    if (UniqueFd link = bpf::OpenPin(path); link.valid()) {
      if (bpf::LinkInterface(link.get()) == ifindex) {
        bpf::UpdateLink(link.get(), program_fd);
        return;
      }
      ::unlink(path.c_str());
    }
    UniqueFd link = bpf::CreateTcxLink(program_fd, ifindex);
    bpf::Pin(link.get(), path);
    // A process before this one may have been told to attach the other way.
    if (netlink::Rtnetlink().HasIngressFilter(ifindex, kFilterPriority)) DropFilter(ifindex);
    return;
  }
  netlink::Rtnetlink rtnetlink;
  const bool made_qdisc = rtnetlink.EnsureClsact(ifindex);
  if (role == kUplinkRole) record_.NoteClsact(ifindex, made_qdisc);
  rtnetlink.ReplaceIngressFilter(ifindex, kFilterPriority, program_fd, "skep_" + role);
  DropLink(role, ifindex);
}

void Attachments::DropLink(const std::string& role, int ifindex) {
  const std::string path = PinOf(role, ifindex);
  const UniqueFd link = bpf::OpenPin(path);
  if (!link.valid()) return;
  if (bpf::LinkInterface(link.get()) != 0) bpf::DetachLink(link.get());
  ::unlink(path.c_str());
}

void Attachments::DropFilter(int ifindex) {
  netlink::Rtnetlink rtnetlink;
  rtnetlink.RemoveIngressFilter(ifindex, kFilterPriority);
  const auto noted = record_.clsact().find(ifindex);
  if (noted == record_.clsact().end()) return;
  if (noted->second && !rtnetlink.HasFilters(ifindex)) rtnetlink.RemoveClsact(ifindex);
  record_.ForgetClsact(ifindex);
}

bool Attachments::IsAttached(const std::string& role, int ifindex) const {
  if (mode_ == AttachMode::kClsact) {
    return netlink::Rtnetlink().HasIngressFilter(ifindex, kFilterPriority);
  }
  const UniqueFd link = bpf::OpenPin(PinOf(role, ifindex));
  return link.valid() && bpf::LinkInterface(link.get()) == ifindex;
}

bool Attachments::IsCgroupAttached(const std::string& hook) const {
  const UniqueFd link = bpf::OpenPin(directory_ + "/" + hook);
  return link.valid() && bpf::LinkAttached(link.get());
}

void Attachments::DetachIngress(const std::string& role, int ifindex) {
  DropLink(role, ifindex);
  const bool filtered = mode_ == AttachMode::kClsact || record_.clsact().contains(ifindex);
  if (filtered && ifindex > kLoopback) DropFilter(ifindex);
}

std::vector<int> Attachments::Attached(const std::string& role) {
  std::vector<int> found;
  const std::string prefix = role + "-";
  for (const std::string& name : bpf::Pins(directory_)) {
    if (name.compare(0, prefix.size(), prefix) != 0) continue;
    const std::string path = directory_ + "/" + name;
    const UniqueFd link = bpf::OpenPin(path);
    if (!link.valid()) continue;
    const int ifindex = bpf::LinkInterface(link.get());
    if (ifindex == 0) {
      ::unlink(path.c_str());
    } else {
      found.push_back(ifindex);
    }
  }
  if (role == kUplinkRole) {
    for (const auto& [ifindex, made_qdisc] : record_.clsact()) found.push_back(ifindex);
  }
  return found;
}

void Attachments::Sweep(const std::set<std::string>& known) {
  for (const std::string& name : bpf::Pins(directory_)) {
    const std::string path = directory_ + "/" + name;
    const UniqueFd link = bpf::OpenPin(path);
    if (!link.valid()) continue;
    const bool attached = bpf::LinkAttached(link.get());
    if (attached && known.contains(name.substr(0, name.find('-')))) continue;
    if (attached) bpf::DetachLink(link.get());
    ::unlink(path.c_str());
  }
}

void Attachments::AttachCgroup(const std::string& hook, int program_fd, int cgroup_fd,
                               uint32_t attach_type) {
  const std::string path = directory_ + "/" + hook;
  if (UniqueFd link = bpf::OpenPin(path); link.valid()) {
    if (bpf::LinkAttached(link.get())) {
      bpf::UpdateLink(link.get(), program_fd);
      return;
    }
    ::unlink(path.c_str());
  }
  UniqueFd link = bpf::CreateCgroupLink(program_fd, cgroup_fd, attach_type);
  bpf::Pin(link.get(), path);
}

void Attachments::DetachAll() {
  for (const std::string& name : bpf::Pins(directory_)) {
    const std::string path = directory_ + "/" + name;
    if (UniqueFd link = bpf::OpenPin(path); link.valid()) {
      try {
        bpf::DetachLink(link.get());
      } catch (const SystemError& failure) {
        // ENOLINK and the like: its device or cgroup is gone already, which is what we want.
        if (failure.error() == EPERM) throw;
      }
    }
    ::unlink(path.c_str());
  }
}

std::string FindCgroup2() {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const size_t dash = line.find(" - cgroup2 ");
    if (dash == std::string::npos) continue;
    std::istringstream fields(line);
    std::string id, parent, device, root, mount_point;
    fields >> id >> parent >> device >> root >> mount_point;
    if (root == "/") return mount_point;
  }
  return {};
}

}  // namespace skep::datapath
