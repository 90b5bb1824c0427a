// TCP of the gossip thread: one request a connection, in both directions, with a deadline, a limit
// on how many, and a limit on what they may buffer together.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

#include "gossip/runtime.h"

namespace skep::gossip {
namespace {

constexpr size_t kReadBytes = 64 << 10;
constexpr int kReadsPerRound = 16;
constexpr int kAcceptsPerRound = 64;

Endpoint WithoutPort(Endpoint endpoint) {
  endpoint.port = 0;
  return endpoint;
}

}  // namespace

Millis Runtime::NextStreamDeadline() const {
  Millis next = kNever;
  for (const auto& [key, connection] : connections_) next = std::min(next, connection.deadline);
  if (!failed_at_once_.empty()) next = 0;
  return next;
}

void Runtime::Watch(uint64_t key, const Connection& connection, bool add) {
  epoll_event event{};
  const bool writing = connection.connecting || connection.written < connection.output.size();
  event.events = writing ? EPOLLOUT : EPOLLIN;
  event.data.u64 = key;
  epoll_ctl(epoll_.get(), add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, connection.fd.get(), &event);
}

// Outgoing.

void Runtime::OpenStream(StreamId id, const Endpoint& to, Bytes request, bool reply,
                         Millis timeout) {
  Waiting waiting{id, to, std::move(request), reply, swim_->now() + timeout};
  if (waiting_.size() >= limits::kStreamBacklogMax || waiting.request.empty()) {
    counters_.Add(Counter::droppedStreamBacklog);
    // The core is in the middle of a call: it hears of this afterwards.
    failed_at_once_.push_back(id);
    return;
  }
  waiting_.push_back(std::move(waiting));
}

void Runtime::StartWaiting() {
  std::vector<StreamId> failed;
  failed.swap(failed_at_once_);
  for (const StreamId id : failed) swim_->OnStreamFailed(MonotonicMillis(), id);
  while (!waiting_.empty() && outgoing_ < limits::kOutgoingStreamsMax) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    StartConnection(std::move(next));
  }
}

void Runtime::StartConnection(Waiting waiting) {
  Connection connection;
  connection.fd = StartConnect(waiting.to);
  if (!connection.fd) {
    counters_.Add(Counter::droppedStreamBroken);
    return swim_->OnStreamFailed(MonotonicMillis(), waiting.id);
  }
  connection.id = waiting.id;
  connection.peer = waiting.to;
  connection.deadline = waiting.deadline;
  connection.connecting = true;
  connection.wants_reply = waiting.reply;
  connection.output = std::move(waiting.request);
  connection.input = std::make_unique<StreamAssembler>(&envelope_);
  const uint64_t key = next_key_++;
  outgoing_++;
  Watch(key, connection, true);
  connections_.emplace(key, std::move(connection));
}

// Incoming.

void Runtime::Accept() {
  for (int i = 0; i < kAcceptsPerRound; i++) {
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    Fd fd(accept4(tcp_.get(), reinterpret_cast<sockaddr*>(&from), &length,
                  SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd && (errno == EMFILE || errno == ENFILE)) {
      // Left in the backlog it would wake us for ever.
      spare_ = Fd();
      Fd refused(accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      refused = Fd();
      spare_ = Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
      return counters_.Add(Counter::droppedStreamsBusy);
    }
    if (!fd) return;
    const Endpoint peer = FromSocketAddress(from);
    size_t& same_address = incoming_by_address_[WithoutPort(peer)];
    if (incoming_ >= limits::kStreamsMax || same_address >= limits::kStreamsPerAddressMax) {
      counters_.Add(Counter::droppedStreamsBusy);
      if (same_address == 0) incoming_by_address_.erase(WithoutPort(peer));
      continue;
    }
    same_address++;
    incoming_++;
    Connection connection;
    connection.fd = std::move(fd);
    connection.peer = peer;
    connection.deadline = MonotonicMillis() + options_.swim.stream_timeout;
    connection.input = std::make_unique<StreamAssembler>(&envelope_);
    const uint64_t key = next_key_++;
    Watch(key, connection, true);
    connections_.emplace(key, std::move(connection));
  }
}

// Both.

void Runtime::OnConnectionEvent(uint64_t key, uint32_t events) {
  const auto found = connections_.find(key);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  if (connection.connecting) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(connection.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) return Fail(key);
    connection.connecting = false;
  }
  if (connection.written < connection.output.size()) return Write(key, &connection);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) Read(key, &connection);
}

void Runtime::Write(uint64_t key, Connection* connection) {
  while (connection->written < connection->output.size()) {
    const ssize_t sent =
        send(connection->fd.get(), connection->output.data() + connection->written,
             connection->output.size() - connection->written, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return Watch(key, *connection, false);
    }
    if (sent < 0) return Fail(key);
    connection->written += static_cast<size_t>(sent);
  }
  if (connection->wants_reply) return Watch(key, *connection, false);
  const StreamId id = connection->id;
  Close(key);
  if (id != 0) swim_->OnStreamReply(MonotonicMillis(), id, {});
}

void Runtime::Read(uint64_t key, Connection* connection) {
  std::array<uint8_t, kReadBytes> buffer;
  for (int i = 0; i < kReadsPerRound; i++) {
    const ssize_t got = recv(connection->fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) return Fail(key);
    if (input_bytes_ + static_cast<size_t>(got) > limits::kStreamBufferBytesMax) {
      counters_.Add(Counter::droppedStreamsBusy);
      return Fail(key);
    }
    const size_t before = connection->input->buffered();
    const auto result = connection->input->Feed({buffer.data(), static_cast<size_t>(got)});
    input_bytes_ += connection->input->buffered() - before;
    if (result == StreamAssembler::Result::kBroken) return Fail(key);
    if (result == StreamAssembler::Result::kMessage) return OnWhole(key, connection);
  }
}

void Runtime::OnWhole(uint64_t key, Connection* connection) {
  const Bytes message = connection->input->message();
  if (connection->id != 0) {
    const StreamId id = connection->id;
    Close(key);
    return swim_->OnStreamReply(MonotonicMillis(), id, message);
  }
  Bytes answer = swim_->OnStream(MonotonicMillis(), message);
  if (answer.empty()) return Close(key);
  connection->output = std::move(answer);
  connection->written = 0;
  Write(key, connection);
}

void Runtime::Close(uint64_t key) {
  const auto found = connections_.find(key);
  if (found == connections_.end()) return;
  input_bytes_ -= found->second.input->buffered();
  if (found->second.id != 0) {
    outgoing_--;
  } else {
    incoming_--;
    const auto address = incoming_by_address_.find(WithoutPort(found->second.peer));
    if (address != incoming_by_address_.end() && --address->second == 0) {
      incoming_by_address_.erase(address);
    }
  }
  connections_.erase(found);
}

void Runtime::Fail(uint64_t key) {
  const auto found = connections_.find(key);
  if (found == connections_.end()) return;
  const StreamId id = found->second.id;
  counters_.Add(Counter::droppedStreamBroken);
  Close(key);
  if (id != 0) swim_->OnStreamFailed(MonotonicMillis(), id);
}

void Runtime::ExpireStreams(Millis now) {
  std::vector<uint64_t> expired;
  for (const auto& [key, connection] : connections_) {
    if (now >= connection.deadline) expired.push_back(key);
  }
  for (const uint64_t key : expired) {
    counters_.Add(Counter::droppedStreamTimeout);
    Fail(key);
  }
  // Those still in line are not worth starting either.
  while (!waiting_.empty() && now >= waiting_.front().deadline) {
    const StreamId id = waiting_.front().id;
    waiting_.pop_front();
    counters_.Add(Counter::droppedStreamTimeout);
    swim_->OnStreamFailed(now, id);
  }
}

}  // namespace skep::gossip
