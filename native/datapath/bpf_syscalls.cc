// See bpf_syscalls.h.
#include "datapath/bpf_syscalls.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <memory>

#include "netlink/system_error.h"

namespace skep::datapath::bpf {
namespace {

constexpr size_t kLogBytes = 1 << 20;
constexpr size_t kLogTailBytes = 2000;
constexpr size_t kPacketBytesMax = 64 * 1024;

int Call(int command, bpf_attr& attr) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attr, sizeof attr));
}

uint64_t Pointer(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

void CopyName(char* to, const std::string& name) {
  std::strncpy(to, name.c_str(), BPF_OBJ_NAME_LEN - 1);
}

}  // namespace

UniqueFd CreateMap(const MapSpec& spec) {
  bpf_attr attr{};
  attr.map_type = spec.type;
  attr.key_size = spec.key_size;
  attr.value_size = spec.value_size;
  attr.max_entries = spec.entries;
  attr.map_flags = spec.flags;
  CopyName(attr.map_name, spec.name);
  UniqueFd fd(Call(BPF_MAP_CREATE, attr));
  if (!fd.valid()) throw SystemError(errno, "bpf(BPF_MAP_CREATE)", spec.name);
  return fd;
}

UniqueFd LoadProgram(const ProgramSpec& spec) {
  static const char kLicense[] = "GPL";
  bpf_attr attr{};
  attr.prog_type = spec.type;
  attr.expected_attach_type = spec.attach_type;
  attr.insns = Pointer(spec.instructions.data());
  attr.insn_cnt = static_cast<uint32_t>(spec.instructions.size());
  attr.license = Pointer(kLicense);
  CopyName(attr.prog_name, spec.name);
  UniqueFd fd(Call(BPF_PROG_LOAD, attr));
  if (fd.valid()) return fd;
  const int error = errno;
  std::vector<char> log(kLogBytes);
  attr.log_buf = Pointer(log.data());
  attr.log_size = static_cast<uint32_t>(log.size());
  attr.log_level = 1;
  UniqueFd again(Call(BPF_PROG_LOAD, attr));
  if (again.valid()) return again;
  std::string text(log.data(), strnlen(log.data(), log.size()));
  if (text.size() > kLogTailBytes) text.erase(0, text.size() - kLogTailBytes);
  throw SystemError(error, "bpf(BPF_PROG_LOAD)", spec.name + "\n" + text);
}

namespace {

/// What the kernel says of a program; `info` says where lists go.
void ReadProgramInfo(int program_fd, bpf_prog_info& info) {
  bpf_attr attr{};
  attr.info.bpf_fd = static_cast<uint32_t>(program_fd);
  attr.info.info_len = sizeof info;
  attr.info.info = Pointer(&info);
  if (Call(BPF_OBJ_GET_INFO_BY_FD, attr) < 0) {
    throw SystemError(errno, "bpf(BPF_OBJ_GET_INFO_BY_FD)");
  }
}

}  // namespace

std::set<uint32_t> MapsOf(int program_fd) {
  bpf_prog_info count{};
  ReadProgramInfo(program_fd, count);
  std::vector<uint32_t> ids(count.nr_map_ids);
  bpf_prog_info list{};
  list.nr_map_ids = static_cast<uint32_t>(ids.size());
  list.map_ids = Pointer(ids.data());
  ReadProgramInfo(program_fd, list);
  return {ids.begin(), ids.end()};
}

uint32_t VerifiedInstructions(int program_fd) {
  bpf_prog_info info{};
  ReadProgramInfo(program_fd, info);
  return info.verified_insns;
}

bpf_map_info MapInfo(int fd) {
  bpf_map_info info{};
  bpf_attr attr{};
  attr.info.bpf_fd = static_cast<uint32_t>(fd);
  attr.info.info_len = sizeof info;
  attr.info.info = Pointer(&info);
  if (Call(BPF_OBJ_GET_INFO_BY_FD, attr) < 0) {
    throw SystemError(errno, "bpf(BPF_OBJ_GET_INFO_BY_FD)");
  }
  return info;
}

void MapUpdate(int fd, const char* name, const void* key, const void* value) {
  bpf_attr attr{};
  attr.map_fd = static_cast<uint32_t>(fd);
  attr.key = Pointer(key);
  attr.value = Pointer(value);
  if (Call(BPF_MAP_UPDATE_ELEM, attr) == 0) return;
  const bool full = errno == E2BIG || errno == ENOSPC;
  throw SystemError(errno, "bpf(BPF_MAP_UPDATE_ELEM)",
                    full ? std::string("table ") + name + " is full" : name);
}

bool MapLookup(int fd, const void* key, void* value) {
  bpf_attr attr{};
  attr.map_fd = static_cast<uint32_t>(fd);
  attr.key = Pointer(key);
  attr.value = Pointer(value);
  if (Call(BPF_MAP_LOOKUP_ELEM, attr) == 0) return true;
  if (errno == ENOENT) return false;
  throw SystemError(errno, "bpf(BPF_MAP_LOOKUP_ELEM)");
}

bool MapDelete(int fd, const void* key) {
  bpf_attr attr{};
  attr.map_fd = static_cast<uint32_t>(fd);
  attr.key = Pointer(key);
  if (Call(BPF_MAP_DELETE_ELEM, attr) == 0) return true;
  if (errno == ENOENT) return false;
  throw SystemError(errno, "bpf(BPF_MAP_DELETE_ELEM)");
}

bool MapNextKey(int fd, const void* key, void* next) {
  bpf_attr attr{};
  attr.map_fd = static_cast<uint32_t>(fd);
  attr.key = Pointer(key);
  attr.next_key = Pointer(next);
  if (Call(BPF_MAP_GET_NEXT_KEY, attr) == 0) return true;
  if (errno == ENOENT) return false;
  throw SystemError(errno, "bpf(BPF_MAP_GET_NEXT_KEY)");
}

bool MapNextBatch(int fd, const uint32_t* position, uint32_t* next, void* keys, void* values,
                  uint32_t* count) {
  bpf_attr attr{};
  attr.batch.map_fd = static_cast<uint32_t>(fd);
  attr.batch.in_batch = Pointer(position);
  attr.batch.out_batch = Pointer(next);
  attr.batch.keys = Pointer(keys);
  attr.batch.values = Pointer(values);
  attr.batch.count = *count;
  const bool more = Call(BPF_MAP_LOOKUP_BATCH, attr) == 0;
  if (!more && errno != ENOENT) throw SystemError(errno, "bpf(BPF_MAP_LOOKUP_BATCH)");
  *count = attr.batch.count;
  return more;
}

void Pin(int fd, const std::string& path) {
  bpf_attr attr{};
  attr.pathname = Pointer(path.c_str());
  attr.bpf_fd = static_cast<uint32_t>(fd);
  if (Call(BPF_OBJ_PIN, attr) < 0) throw SystemError(errno, "bpf(BPF_OBJ_PIN)", path);
}

std::vector<std::string> Pins(const std::string& directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> opened(::opendir(directory.c_str()), ::closedir);
  if (!opened && errno != ENOENT) throw SystemError(errno, "opendir", directory);
  while (const dirent* entry = opened ? ::readdir(opened.get()) : nullptr) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  return names;
}

UniqueFd OpenPin(const std::string& path) {
  bpf_attr attr{};
  attr.pathname = Pointer(path.c_str());
  UniqueFd fd(Call(BPF_OBJ_GET, attr));
  if (!fd.valid() && errno != ENOENT) throw SystemError(errno, "bpf(BPF_OBJ_GET)", path);
  return fd;
}

bool KnowsTcx() {
  constexpr uint32_t kLoopback = 1;
  bpf_attr attr{};
  attr.query.target_fd = kLoopback;  // an interface index here
  attr.query.attach_type = kTcxIngress;
  return Call(BPF_PROG_QUERY, attr) == 0;
}

bool KnowsBindErrors() {
  constexpr int32_t kSetRetval = 187;
  const auto instruction = [](uint8_t code, uint8_t registers, int32_t value) {
    return uint64_t{code} | uint64_t{registers} << 8 | uint64_t{static_cast<uint32_t>(value)} << 32;
  };
  const uint64_t program[] = {
      instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, -EADDRINUSE),
      instruction(BPF_JMP | BPF_CALL, 0, kSetRetval),
      instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0),
      instruction(BPF_JMP | BPF_EXIT, 0, 0),
  };
  bpf_attr attr{};
  attr.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
  attr.expected_attach_type = BPF_CGROUP_INET4_BIND;
  attr.insns = Pointer(program);
  attr.insn_cnt = std::size(program);
  attr.license = Pointer("GPL");
  return UniqueFd(Call(BPF_PROG_LOAD, attr)).valid();
}

UniqueFd CreateTcxLink(int program_fd, int ifindex) {
  bpf_attr attr{};
  attr.link_create.prog_fd = static_cast<uint32_t>(program_fd);
  attr.link_create.target_ifindex = static_cast<uint32_t>(ifindex);
  attr.link_create.attach_type = kTcxIngress;
  UniqueFd fd(Call(BPF_LINK_CREATE, attr));
  if (!fd.valid()) throw SystemError(errno, "bpf(BPF_LINK_CREATE tcx)");
  return fd;
}

UniqueFd CreateCgroupLink(int program_fd, int cgroup_fd, uint32_t attach_type) {
  bpf_attr attr{};
  attr.link_create.prog_fd = static_cast<uint32_t>(program_fd);
  attr.link_create.target_fd = static_cast<uint32_t>(cgroup_fd);
  attr.link_create.attach_type = attach_type;
  UniqueFd fd(Call(BPF_LINK_CREATE, attr));
  if (!fd.valid()) throw SystemError(errno, "bpf(BPF_LINK_CREATE cgroup)");
  return fd;
}

void UpdateLink(int link_fd, int program_fd) {
  bpf_attr attr{};
  attr.link_update.link_fd = static_cast<uint32_t>(link_fd);
  attr.link_update.new_prog_fd = static_cast<uint32_t>(program_fd);
  if (Call(BPF_LINK_UPDATE, attr) < 0) throw SystemError(errno, "bpf(BPF_LINK_UPDATE)");
}

void DetachLink(int link_fd) {
  bpf_attr attr{};
  attr.link_detach.link_fd = static_cast<uint32_t>(link_fd);
  if (Call(BPF_LINK_DETACH, attr) < 0) throw SystemError(errno, "bpf(BPF_LINK_DETACH)");
}

bpf_link_info LinkInfo(int link_fd) {
  bpf_link_info info{};
  bpf_attr attr{};
  attr.info.bpf_fd = static_cast<uint32_t>(link_fd);
  attr.info.info_len = sizeof info;
  attr.info.info = Pointer(&info);
  if (Call(BPF_OBJ_GET_INFO_BY_FD, attr) < 0) {
    throw SystemError(errno, "bpf(BPF_OBJ_GET_INFO_BY_FD)");
  }
  return info;
}

int LinkInterface(int link_fd) {
  return static_cast<int>(LinkInfo(link_fd).xdp.ifindex);  // tcx has its ifindex at the same place
}

bool LinkAttached(int link_fd) {
  const bpf_link_info info = LinkInfo(link_fd);
  return info.type == BPF_LINK_TYPE_CGROUP ? info.cgroup.cgroup_id != 0 : info.xdp.ifindex != 0;
}

TestResult TestRun(int program_fd, const std::vector<uint8_t>& packet, uint32_t ifindex,
                   uint32_t repeat) {
  TestResult result;
  result.packet.resize(std::min(packet.size() + 256, kPacketBytesMax));
  __sk_buff context{};
  context.ifindex = ifindex;
  bpf_attr attr{};
  attr.test.prog_fd = static_cast<uint32_t>(program_fd);
  attr.test.data_in = Pointer(packet.data());
  attr.test.data_size_in = static_cast<uint32_t>(packet.size());
  attr.test.data_out = Pointer(result.packet.data());
  attr.test.data_size_out = static_cast<uint32_t>(result.packet.size());
  attr.test.ctx_in = Pointer(&context);
  attr.test.ctx_size_in = sizeof context;
  attr.test.repeat = repeat;
  if (Call(BPF_PROG_TEST_RUN, attr) < 0) throw SystemError(errno, "bpf(BPF_PROG_TEST_RUN)");
  result.verdict = static_cast<int32_t>(attr.test.retval);
  result.packet.resize(attr.test.data_size_out);
  result.duration_ns = attr.test.duration;
  return result;
}

}  // namespace skep::datapath::bpf
