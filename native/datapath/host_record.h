// What this data path has changed on the host outside of its own devices, on disk: so that `leave`
// puts back what was there before, whoever made the changes, and whatever became of pins and maps.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "datapath/port_set.h"

namespace skep::datapath {

class HostRecord {
 public:
  /// Reads the file. A record of another boot or network namespace says nothing about this one: such
  /// a host has none of these changes any more.
  HostRecord(std::string file, uint64_t namespace_cookie);

  /// Ports of ours in the kernel's list of reserved ones.
  const PortSet& ports() const { return ports_; }
  void SetPorts(const PortSet& ports);

  /// Sets a setting, and notes what it was if that was not ours. True if it has been changed.
  bool Set(const std::string& name, const std::string& value);
  /// Switches the forwarding of IPv6 on, for all devices: the kernel has no finer switch.
  void ForwardIpv6();

  /// Underlay devices with a clsact filter of ours; whether their qdisc is ours as well.
  const std::map<int, bool>& clsact() const { return clsact_; }
  void NoteClsact(int ifindex, bool made_qdisc);
  void ForgetClsact(int ifindex);

  /// Tries again what could not be written, say since the disk was full.
  void Keep();
  /// Puts settings back that still are what we made them, and removes the file.
  void PutBack();

 private:
  struct Change {
    std::string found;
    std::string ours;
  };

  void Load();
  void Save();
  std::string Text() const;

  std::string file_;
  std::string heading_;  // boot and namespace
  PortSet ports_;
  std::map<std::string, Change> settings_;
  std::map<int, bool> clsact_;
  bool saved_ = true;
};

}  // namespace skep::datapath
