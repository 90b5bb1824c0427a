// See host_record.h. One line an entry; words are separated by blanks, which no name of a device has.
#include "datapath/host_record.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <utility>

#include "datapath/host_settings.h"
#include "netlink/unique_fd.h"

namespace skep::datapath {
namespace {

constexpr char kPortsWord[] = "ports";
constexpr char kClsactWord[] = "clsact";
constexpr char kSettingWord[] = "setting";
constexpr char kMade[] = "made";
constexpr char kFound[] = "found";
constexpr char kOn[] = "1";

std::string BootId() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

/// Devices with IPv6 settings; "all" and "default" among them.
std::vector<std::string> Ipv6Devices() {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc/sys/net/ipv6/conf"),
                                                      ::closedir);
  if (!directory) return names;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  return names;
}

bool IsOfAll(const std::string& name) { return name.find("/conf/all/") != std::string::npos; }

/// Whether a setting of one device would be what it is now without us too: since a host that forwards
/// IPv4 at all forwards on every device. Engines switch that on for themselves.
bool IsWantedByOthers(const std::string& name) {
  return name.starts_with("ipv4/") && name.ends_with("/forwarding") &&
         ReadSetting("ipv4/conf/all/forwarding") == kOn;
}

}  // namespace

HostRecord::HostRecord(std::string file, uint64_t namespace_cookie)
    : file_(std::move(file)),
      heading_("boot " + BootId() + " namespace " + std::to_string(namespace_cookie)) {
  Load();
}

void HostRecord::Load() {
  std::ifstream file(file_);
  std::string line;
  if (!std::getline(file, line) || line != heading_) return;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string kind;
    words >> kind;
    if (kind == kPortsWord) {
      std::string list;
      words >> list;
      ports_ = PortsOf(list);
    } else if (kind == kClsactWord) {
      int ifindex = 0;
      std::string whose;
      if (words >> ifindex >> whose) clsact_[ifindex] = whose == kMade;
    } else if (kind == kSettingWord) {
      std::string name;
      Change change;
      if (words >> name >> change.found >> change.ours) settings_[name] = change;
    }
  }
}

std::string HostRecord::Text() const {
  std::string text = heading_ + "\n";
  if (ports_.any()) text += std::string(kPortsWord) + " " + TextOf(ports_) + "\n";
  for (const auto& [ifindex, made] : clsact_) {
    text += std::string(kClsactWord) + " " + std::to_string(ifindex) + " ";
    text += std::string(made ? kMade : kFound) + "\n";
  }
  for (const auto& [name, change] : settings_) {
    text += std::string(kSettingWord) + " " + name + " " + change.found + " " + change.ours + "\n";
  }
  return text;
}

void HostRecord::Save() {
  const std::string text = Text();
  const std::string beside = file_ + ".tmp";
  saved_ = false;
  {
    // Not flushed: what it speaks of ends with the boot, and processes may only end before that.
    const UniqueFd file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file.valid()) return;
    const ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written != static_cast<ssize_t>(text.size())) return;
  }
  saved_ = ::rename(beside.c_str(), file_.c_str()) == 0;
}

void HostRecord::Keep() {
  if (!saved_) Save();
}

void HostRecord::SetPorts(const PortSet& ports) {
  if (ports == ports_) return;
  ports_ = ports;
  Save();
}

bool HostRecord::Set(const std::string& name, const std::string& value) {
  const std::string now = ReadSetting(name);
  if (now.empty() || now == value) return false;
  const auto known = settings_.find(name);
  // Somebody's newer wish is what comes back; what we wrote ourselves is nobody's.
  const bool is_ours = known != settings_.end() && now == known->second.ours;
  settings_[name] = {is_ours ? known->second.found : now, value};
  Save();
  WriteSetting(name, value);
  return true;
}

void HostRecord::ForwardIpv6() {
  const std::string all = SettingOf("ipv6", "all", "forwarding");
  const std::string now = ReadSetting(all);
  if (now.empty() || now == kOn) return;
  // Switching it back later switches all devices: these did forward before.
  for (const std::string& device : Ipv6Devices()) {
    const std::string name = SettingOf("ipv6", device, "forwarding");
    if (device != "all" && ReadSetting(name) == kOn) settings_[name] = {kOn, kOn};
  }
  Set(all, kOn);
}

void HostRecord::NoteClsact(int ifindex, bool made_qdisc) {
  const auto known = clsact_.find(ifindex);
  if (known != clsact_.end() && (known->second || !made_qdisc)) return;
  clsact_[ifindex] = made_qdisc;
  Save();
}

void HostRecord::ForgetClsact(int ifindex) {
  if (clsact_.erase(ifindex) != 0) Save();
}

void HostRecord::PutBack() {
  std::vector<std::pair<std::string, std::string>> writes;
  for (const auto& [name, change] : settings_) {
    if (ReadSetting(name) != change.ours || IsWantedByOthers(name)) continue;
    // Those of all devices first: the kernel writes them to each.
    const auto at = IsOfAll(name) ? writes.begin() : writes.end();
    writes.insert(at, {name, change.found});
  }
  for (const auto& [name, value] : writes) WriteSetting(name, value);
  settings_.clear();
  ::unlink((file_ + ".tmp").c_str());
  ::unlink(file_.c_str());
}

}  // namespace skep::datapath
