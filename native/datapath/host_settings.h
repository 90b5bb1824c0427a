// Kernel settings below /proc/sys/net, by names such as "ipv4/conf/eth0/forwarding".
#pragma once

#include <string>

namespace skep::datapath {

/// The name of a device's setting; "all" and "default" are devices here.
std::string SettingOf(const std::string& family, const std::string& device,
                      const std::string& name);

/// Its value; empty where there is no such setting (IPv6 switched off, a device that is gone).
std::string ReadSetting(const std::string& name);

/// Writes it; what cannot be written stays as it is.
void WriteSetting(const std::string& name, const std::string& value);

/// True if the setting was another and has been changed; absent ones need none.
bool EnsureSetting(const std::string& name, const std::string& value);

}  // namespace skep::datapath
