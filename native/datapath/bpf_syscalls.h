// The bpf(2) calls the data path needs, without libbpf: maps, programs, links, pins. Failures are
// SystemErrors; what may be absent comes back as an empty optional or an invalid descriptor.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "netlink/unique_fd.h"

namespace skep::datapath::bpf {

// Newer than the headers of the oldest system we build on.
constexpr uint32_t kTcxIngress = 46;

struct MapSpec {
  const char* name;
  uint32_t type;
  uint32_t key_size;
  uint32_t value_size;
  uint32_t entries;
  uint32_t flags;
};

struct ProgramSpec {
  std::string name;
  uint32_t type = 0;
  uint32_t attach_type = 0;
  std::vector<uint64_t> instructions;
};

/// What BPF_PROG_TEST_RUN gives back.
struct TestResult {
  int32_t verdict = 0;
  std::vector<uint8_t> packet;
  uint32_t duration_ns = 0;
};

UniqueFd CreateMap(const MapSpec& spec);
/// Loads a program; a refusal carries the end of the verifier's log.
UniqueFd LoadProgram(const ProgramSpec& spec);
/// Ids of the maps a program uses.
std::set<uint32_t> MapsOf(int program_fd);
/// Instructions the verifier walked through to accept a program; 0 before Linux 5.16.
uint32_t VerifiedInstructions(int program_fd);
/// Type, sizes, entries and flags of an existing map.
bpf_map_info MapInfo(int fd);

void MapUpdate(int fd, const char* name, const void* key, const void* value);
bool MapLookup(int fd, const void* key, void* value);
/// True if the key was there.
bool MapDelete(int fd, const void* key);
/// The key after `key`, or the first one for nullptr. False at the end.
bool MapNextKey(int fd, const void* key, void* next);

/// The next rows of a hash table after `position` (nullptr: the first ones), at most `*count`, whose
/// number comes back in `*count`. False at the end.
bool MapNextBatch(int fd, const uint32_t* position, uint32_t* next, void* keys, void* values,
                  uint32_t* count);

/// Pins a descriptor under `path`.
void Pin(int fd, const std::string& path);
/// Names of what is pinned in a directory; none if there is no such directory.
std::vector<std::string> Pins(const std::string& directory);
/// The pinned object, or an invalid descriptor if there is none.
UniqueFd OpenPin(const std::string& path);

/// Whether the kernel has tcx hooks (Linux 6.6), asked on the loopback interface.
bool KnowsTcx();
/// Whether a hook on bind may say which error the process gets (Linux 6.1), asked with a program.
bool KnowsBindErrors();
UniqueFd CreateTcxLink(int program_fd, int ifindex);
UniqueFd CreateCgroupLink(int program_fd, int cgroup_fd, uint32_t attach_type);
/// Puts another program into a link, atomically for packets.
void UpdateLink(int link_fd, int program_fd);
/// Takes the program off the hook at once, also if someone else still holds the link.
void DetachLink(int link_fd);
/// Interface a tcx link is on; 0 once the device is gone.
int LinkInterface(int link_fd);

/// False once a link's device or cgroup is gone, or somebody took the program off by force.
bool LinkAttached(int link_fd);

TestResult TestRun(int program_fd, const std::vector<uint8_t>& packet, uint32_t ifindex,
                   uint32_t repeat);

}  // namespace skep::datapath::bpf
