// Finds out what this kernel can do by doing it: a map, a program, a device each, gone again at once.
#pragma once

#include <string>
#include <vector>

namespace skep::netlink {

/// One thing tried. `code` is empty if it worked, else the errno's name.
struct Probe {
  std::string feature;
  std::string code;
  std::string message;
};

/// Tries everything the data path is built from, in the namespace of the calling thread.
std::vector<Probe> ProbeKernel();

}  // namespace skep::netlink
