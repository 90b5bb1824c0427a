// The gossip thread's loop, mailbox and datagrams; streams are in runtime_streams.cc.
#include "gossip/runtime.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace skep::gossip {
namespace {

constexpr uint64_t kUdpKey = 0;
constexpr uint64_t kTcpKey = 1;
constexpr uint64_t kWakeupKey = 2;
constexpr uint64_t kFirstConnectionKey = 16;
/// Datagrams taken in one go, so that timers run also under a flood.
constexpr int kDatagramsPerRound = 256;
constexpr Millis kWaitMax = 1000;
/// The thread does little and must not be late; without the right to it, it runs as the others.
constexpr int kThreadNice = -10;

void FillRandom(uint8_t* bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    const ssize_t got = getrandom(bytes + done, count - done, 0);
    if (got > 0) done += static_cast<size_t>(got);
  }
}

uint64_t RandomSeed() {
  uint64_t seed = 0;
  FillRandom(reinterpret_cast<uint8_t*>(&seed), sizeof seed);
  return seed;
}

void AddToEpoll(int epoll, int fd, uint64_t key) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = key;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) throw SystemFailure{errno, "epoll_ctl"};
}

}  // namespace

Millis MonotonicMillis() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return Millis{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

Runtime::Runtime(RuntimeOptions options, std::function<void()> wake)
    : options_(std::move(options)),
      wake_(std::move(wake)),
      outbox_(&counters_),
      envelope_("", FillRandom, &counters_),
      random_(RandomSeed()),
      next_key_(kFirstConnectionKey) {
  envelope_.SetKeys(options_.keys);
  Delegate* delegate = nullptr;
  if (options_.serf) {
    delegate = (serf_ = std::make_unique<SerfDelegate>(&outbox_, &counters_)).get();
  } else {
    networkdb_ = std::make_unique<NetworkDb>(options_.networkdb, &outbox_, &counters_);
    delegate = networkdb_.get();
  }
  swim_ = std::make_unique<Swim>(options_.swim, &envelope_, this, delegate, &counters_);
  if (serf_) serf_->Attach(swim_.get());
  if (networkdb_) networkdb_->Attach(swim_.get());
  tcp_ = BindTcp(options_.bind);
  udp_ = BindUdp(options_.bind);
  epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
  wakeup_ = Fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  spare_ = Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!epoll_) throw SystemFailure{errno, "epoll_create1"};
  if (!wakeup_) throw SystemFailure{errno, "eventfd"};
  AddToEpoll(epoll_.get(), udp_.get(), kUdpKey);
  AddToEpoll(epoll_.get(), tcp_.get(), kTcpKey);
  AddToEpoll(epoll_.get(), wakeup_.get(), kWakeupKey);
}

Runtime::~Runtime() { Stop(); }

void Runtime::Start() {
  sigset_t all, before;
  sigfillset(&all);
  // Signals are the event loop's business.
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Runtime::Stop() {
  stopping_ = true;
  const uint64_t one = 1;
  if (wakeup_) (void)!write(wakeup_.get(), &one, sizeof one);
  if (thread_.joinable()) thread_.join();
  connections_.clear();
  udp_ = Fd();
  tcp_ = Fd();
}

bool Runtime::Post(std::function<void()> command) {
  {
    const std::lock_guard lock(mailbox_mutex_);
    if (mailbox_.size() >= limits::kMailboxMax) {
      counters_.Add(Counter::droppedMailbox);
      return false;
    }
    mailbox_.push_back(std::move(command));
    if (mailbox_.size() > 1) return true;
  }
  const uint64_t one = 1;
  (void)!write(wakeup_.get(), &one, sizeof one);
  return true;
}

bool Runtime::Join(uint64_t id, std::vector<Endpoint> addresses) {
  return Post([this, id, addresses = std::move(addresses)] {
    swim_->Join(MonotonicMillis(), id, addresses);
  });
}

bool Runtime::Leave(uint64_t id, Millis timeout) {
  return Post([this, id, timeout] {
    leave_id_ = id;
    leave_deadline_ = MonotonicMillis() + timeout;
    swim_->Leave(MonotonicMillis());
  });
}

bool Runtime::JoinNetwork(std::string network, uint32_t generation) {
  return Post([this, network = std::move(network), generation] {
    if (networkdb_) networkdb_->JoinNetwork(network, generation);
  });
}

bool Runtime::LeaveNetwork(std::string network) {
  return Post([this, network = std::move(network)] {
    if (networkdb_) networkdb_->LeaveNetwork(network);
  });
}

bool Runtime::PutEntry(std::string network, std::string table, std::string key, Bytes value) {
  return Post([this, network = std::move(network), table = std::move(table), key = std::move(key),
               value = std::move(value)]() mutable {
    if (networkdb_) networkdb_->PutEntry(network, table, key, std::move(value));
  });
}

bool Runtime::DeleteEntry(std::string network, std::string table, std::string key) {
  return Post([this, network = std::move(network), table = std::move(table),
               key = std::move(key)] {
    if (networkdb_) networkdb_->DeleteEntry(network, table, key);
  });
}

bool Runtime::Spread(uint64_t id, std::vector<std::string> networks) {
  return Post([this, id, networks = std::move(networks)] {
    networkdb_ ? networkdb_->SpreadOwn(id, networks) : outbox_.Complete({id, 0});
  });
}

bool Runtime::Acknowledge(std::string network, std::string owner, uint64_t version) {
  return Post([this, network = std::move(network), owner = std::move(owner), version] {
    if (networkdb_) networkdb_->Acknowledge(network, owner, version);
  });
}

bool Runtime::Reconnect(std::string name) {
  return Post([this, name = std::move(name)] { swim_->Reconnect(MonotonicMillis(), name); });
}

bool Runtime::SetKeys(std::vector<Bytes> keys) {
  return Post([this, keys = std::move(keys)]() mutable { envelope_.SetKeys(std::move(keys)); });
}

void Runtime::RunMailbox() {
  std::deque<std::function<void()>> commands;
  {
    const std::lock_guard lock(mailbox_mutex_);
    commands.swap(mailbox_);
  }
  swim_->SetNow(MonotonicMillis());
  for (const auto& command : commands) command();
}

void Runtime::Run() {
  pthread_setname_np(pthread_self(), "skep-gossip");
  setpriority(PRIO_PROCESS, 0, kThreadNice);
  swim_->Start(MonotonicMillis());
  std::array<epoll_event, 64> events;
  while (!stopping_) {
    const Millis now = MonotonicMillis();
    const Millis due = std::min(swim_->NextDeadline(), NextStreamDeadline());
    const auto wait = static_cast<int>(std::clamp<Millis>(due - now, 0, kWaitMax));
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), wait);
    // What arrived comes before what is due: an ack in the buffer is an ack.
    for (int i = 0; i < count; i++) {
      const uint64_t key = events[static_cast<size_t>(i)].data.u64;
      if (key == kUdpKey) ReceiveDatagrams();
      if (key == kTcpKey) Accept();
      if (key == kWakeupKey) {
        uint64_t ignored = 0;
        (void)!read(wakeup_.get(), &ignored, sizeof ignored);
        RunMailbox();
      }
      if (key >= kFirstConnectionKey) {
        OnConnectionEvent(key, events[static_cast<size_t>(i)].events);
      }
    }
    swim_->Tick(MonotonicMillis());
    ExpireStreams(MonotonicMillis());
    StartWaiting();
    CheckLeave(MonotonicMillis());
    if (outbox_.TakeWakeup()) wake_();
  }
}

void Runtime::CheckLeave(Millis now) {
  if (leave_id_ == 0 || (!swim_->LeaveDone() && now < leave_deadline_)) return;
  outbox_.Complete({leave_id_, 0});
  leave_id_ = 0;
}

void Runtime::ReceiveDatagrams() {
  std::array<uint8_t, limits::kDatagramBytesMax> buffer;
  for (int i = 0; i < kDatagramsPerRound; i++) {
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    const ssize_t got = recvfrom(udp_.get(), buffer.data(), buffer.size(), 0,
                                 reinterpret_cast<sockaddr*>(&from), &length);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    // Other errors report an earlier datagram of ours that could not be delivered.
    if (got <= 0) continue;
    swim_->OnPacket(MonotonicMillis(), FromSocketAddress(from),
                    {buffer.data(), static_cast<size_t>(got)});
  }
}

void Runtime::SendPacket(const Endpoint& to, Bytes datagram) {
  const int family = options_.bind.ip_length == 4 ? AF_INET : AF_INET6;
  if (family == AF_INET && to.ip_length == 16) return counters_.Add(Counter::droppedSendFailed);
  const SocketAddress address = ToSocketAddress(to, family);
  const ssize_t sent = sendto(udp_.get(), datagram.data(), datagram.size(), MSG_DONTWAIT,
                              address.get(), address.length);
  if (sent < 0) counters_.Add(Counter::droppedSendFailed);
}

void Runtime::JoinDone(uint64_t join_id, size_t reached) { outbox_.Complete({join_id, reached}); }

uint64_t Runtime::Random(uint64_t below) { return random_() % below; }

}  // namespace skep::gossip
