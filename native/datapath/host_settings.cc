// See host_settings.h.
#include "datapath/host_settings.h"

#include <fstream>

namespace skep::datapath {
namespace {

const std::string kRoot = "/proc/sys/net/";

}  // namespace

std::string SettingOf(const std::string& family, const std::string& device,
                      const std::string& name) {
  return family + "/conf/" + device + "/" + name;
}

std::string ReadSetting(const std::string& name) {
  std::string value;
  std::ifstream(kRoot + name) >> value;
  return value;
}

void WriteSetting(const std::string& name, const std::string& value) {
  std::ofstream(kRoot + name) << value;
}

bool EnsureSetting(const std::string& name, const std::string& value) {
  const std::string now = ReadSetting(name);
  if (now.empty() || now == value) return false;
  WriteSetting(name, value);
  return true;
}

}  // namespace skep::datapath
