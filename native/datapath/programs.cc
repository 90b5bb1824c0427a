// See programs.h.
#include "datapath/programs.h"

#include <linux/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <utility>
#include <vector>

#include "netlink/system_error.h"
#include "skep_bpf.h"

namespace skep::datapath {
namespace {

/// Program type and expected attach type by ELF section.
bpf::ProgramSpec SpecFor(const embedded::Program& program) {
  bpf::ProgramSpec spec;
  spec.name = program.name;
  const auto hook = Programs::SocketHooks().find(program.name);
  if (hook != Programs::SocketHooks().end()) {
    spec.type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
    spec.attach_type = hook->second;
  } else {
    spec.type = BPF_PROG_TYPE_SCHED_CLS;
  }
  spec.instructions.assign(program.instructions,
                           program.instructions + program.instruction_count);
  return spec;
}

bool IsSocketHook(const std::string& name) { return name.starts_with("socket_"); }

/// Makes a 64-bit load an access to a map: source register 1 and the descriptor as immediate.
void PointAtMap(uint64_t& instruction, int fd) {
  constexpr uint64_t kSourceRegister = uint64_t{BPF_PSEUDO_MAP_FD} << 12;
  instruction = (instruction & 0xffff0fffULL) | kSourceRegister;
  instruction |= static_cast<uint64_t>(static_cast<uint32_t>(fd)) << 32;
}

/// Programs that others go on in.
constexpr std::pair<uint32_t, const char*> kCalls[] = {
    {SKEP_CALL_OPEN_PUBLISHED, "open_published_flow"},
    {SKEP_CALL_OPEN_VIRTUAL, "open_virtual_flow"},
    {SKEP_CALL_REFUSED, "refused_by_node"},
    {SKEP_CALL_FILE_PUBLISHED, "file_published_flow"},
    {SKEP_CALL_REFUSE_CLIENT, "refuse_client"},
    {SKEP_CALL_ANSWER_NEIGHBOUR, "answer_neighbour"},
    {SKEP_CALL_ANSWER_TOO_LONG, "answer_too_long"},
    {SKEP_CALL_TUNNEL6, "leave_over_ipv6"},
};
static_assert(std::size(kCalls) == SKEP_CALLS);

}  // namespace

const std::map<std::string, uint32_t>& Programs::SocketHooks() {
  static const std::map<std::string, uint32_t> kHooks = [] {
    std::map<std::string, uint32_t> hooks = {
        {"socket_connect4", BPF_CGROUP_INET4_CONNECT},
        {"socket_sendmsg4", BPF_CGROUP_UDP4_SENDMSG},
        {"socket_recvmsg4", BPF_CGROUP_UDP4_RECVMSG},
        {"socket_getpeername4", BPF_CGROUP_INET4_GETPEERNAME},
        {"socket_connect6", BPF_CGROUP_INET6_CONNECT},
        {"socket_sendmsg6", BPF_CGROUP_UDP6_SENDMSG},
        {"socket_recvmsg6", BPF_CGROUP_UDP6_RECVMSG},
        {"socket_getpeername6", BPF_CGROUP_INET6_GETPEERNAME},
    };
    if (bpf::KnowsBindErrors()) {
      hooks.emplace("socket_bind4", BPF_CGROUP_INET4_BIND);
      hooks.emplace("socket_bind6", BPF_CGROUP_INET6_BIND);
    }
    return hooks;
  }();
  return kHooks;
}

Programs::Programs(std::string directory, MapSet& maps) : directory_(std::move(directory)) {
  std::vector<const embedded::Program*> wanted;
  bool all_there = true;
  for (const embedded::Program& program : embedded::kPrograms) {
    // A hook this kernel does not have.
    if (IsSocketHook(program.name) && !SocketHooks().contains(program.name)) continue;
    wanted.push_back(&program);
    all_there = all_there && Former(program, maps).valid();
  }
  // Programs in force call others through the former array: it must not get others' under them.
  if (!all_there) maps.RenewProgramArrays();
  for (const embedded::Program* program : wanted) {
    UniqueFd fd = Former(*program, maps);
    if (!fd.valid()) {
      fd = Load(*program, maps);
      ::unlink(PinOf(*program).c_str());
      bpf::Pin(fd.get(), PinOf(*program));
    }
    fds_.emplace(program->name, std::move(fd));
  }
  for (const auto& [call, name] : kCalls) {
    const uint32_t descriptor = static_cast<uint32_t>(Fd(name));
    maps.sw_calls().Put(call, descriptor);
  }
}

std::string Programs::PinOf(const embedded::Program& program) const {
  return directory_ + "/" + program.name + "-" + program.digest;
}

UniqueFd Programs::Former(const embedded::Program& program, const MapSet& maps) const {
  UniqueFd fd = bpf::OpenPin(PinOf(program));
  if (!fd.valid()) return fd;
  std::set<uint32_t> ids;
  for (uint32_t i = 0; i < program.relocation_count; i++) {
    ids.insert(bpf::MapInfo(maps.Fd(program.relocations[i].map)).id);
  }
  return bpf::MapsOf(fd.get()) == ids ? std::move(fd) : UniqueFd();
}

UniqueFd Programs::Load(const embedded::Program& program, const MapSet& maps) const {
  bpf::ProgramSpec spec = SpecFor(program);
  for (uint32_t i = 0; i < program.relocation_count; i++) {
    const embedded::Relocation& at = program.relocations[i];
    PointAtMap(spec.instructions.at(at.instruction), maps.Fd(at.map));
  }
  return bpf::LoadProgram(spec);
}

void Programs::Sweep(const std::set<std::string>& kept) const {
  for (const std::string& name : bpf::Pins(directory_)) {
    const std::string path = directory_ + "/" + name;
    if (!kept.contains(path)) ::unlink(path.c_str());
  }
}

void Programs::Commit() const {
  std::set<std::string> kept;
  for (const embedded::Program& program : embedded::kPrograms) {
    if (fds_.contains(program.name)) kept.insert(PinOf(program));
  }
  Sweep(kept);
}

void Programs::Destroy() const {
  Sweep({});
  ::rmdir(directory_.c_str());
}

std::map<std::string, uint32_t> Programs::VerifiedInstructions() const {
  std::map<std::string, uint32_t> counts;
  for (const auto& [name, fd] : fds_) counts[name] = bpf::VerifiedInstructions(fd.get());
  return counts;
}

int Programs::Fd(const std::string& name) const {
  const auto found = fds_.find(name);
  if (found == fds_.end()) throw SystemError(ENOENT, "program", name);
  return found->second.get();
}

}  // namespace skep::datapath
