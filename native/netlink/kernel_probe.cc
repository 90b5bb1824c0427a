// See kernel_probe.h.
#include "netlink/kernel_probe.h"

#include <linux/bpf.h>

#include <functional>
#include <string>

#include "datapath/bpf_syscalls.h"
#include "netlink/rtnetlink.h"
#include "netlink/system_error.h"

namespace skep::netlink {
namespace {

constexpr char kDevice[] = "skprobe0";
constexpr char kPeerDevice[] = "skprobe1";
/// Any port will do: what is tried is the kind of device, the port check is another one.
constexpr uint16_t kProbePort = 47899;
constexpr uint32_t kMtu = 1450;
constexpr uint64_t kReturnZero = 0xb7;
constexpr uint64_t kReturnOne = 0x1000000b7;
constexpr uint64_t kExit = 0x95;

/// Deletes the probe's device when it leaves scope.
class ProbeDevice {
 public:
  explicit ProbeDevice(Rtnetlink& rtnetlink) : rtnetlink_(rtnetlink) {}
  ~ProbeDevice() {
    try {
      rtnetlink_.DeleteLink(kDevice);
    } catch (const SystemError&) {
      // Nothing more can be done; the next probe finds and removes it.
    }
  }

 private:
  Rtnetlink& rtnetlink_;
};

void TryVeth() {
  Rtnetlink rtnetlink;
  rtnetlink.DeleteLink(kDevice);
  ProbeDevice device(rtnetlink);
  VethPair pair;
  pair.name = kDevice;
  pair.peer = kPeerDevice;
  pair.mtu = kMtu;
  rtnetlink.CreateVethPair(pair);
  rtnetlink.EnsureClsact(rtnetlink.GetLink(kDevice).index);
}

void TryVxlan() {
  Rtnetlink rtnetlink;
  rtnetlink.DeleteLink(kDevice);
  ProbeDevice device(rtnetlink);
  rtnetlink.CreateExternalVxlan(kDevice, kProbePort, MacAddress{2, 0x77, 0, 0, 0, 1}, kMtu);
}

void TryMap(uint32_t type, uint32_t key_size, uint32_t flags) {
  datapath::bpf::CreateMap({"skep_probe", type, key_size, 8, 16, flags});
}

void TryProgram(uint32_t type, uint32_t attach_type, uint64_t result) {
  datapath::bpf::ProgramSpec program;
  program.name = "skep_probe";
  program.type = type;
  program.attach_type = attach_type;
  program.instructions = {result, kExit};
  datapath::bpf::LoadProgram(program);
}

Probe Try(const char* feature, const std::function<void()>& attempt) {
  try {
    attempt();
    return {feature, "", ""};
  } catch (const SystemError& failure) {
    return {feature, failure.code(), failure.what()};
  }
}

}  // namespace

std::vector<Probe> ProbeKernel() {
  return {
      Try("veth", TryVeth),
      Try("vxlan", TryVxlan),
      Try("bpf-lru-map", [] { TryMap(BPF_MAP_TYPE_LRU_HASH, 8, 0); }),
      Try("bpf-trie-map", [] { TryMap(BPF_MAP_TYPE_LPM_TRIE, 8, BPF_F_NO_PREALLOC); }),
      Try("bpf-tc-program", [] { TryProgram(BPF_PROG_TYPE_SCHED_CLS, 0, kReturnZero); }),
      Try("bpf-socket-program",
          [] {
            TryProgram(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_GETPEERNAME, kReturnOne);
          }),
  };
}

}  // namespace skep::netlink
