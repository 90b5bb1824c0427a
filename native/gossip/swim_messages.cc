// Encoders and decoders of memberlist's messages.
#include "gossip/swim_messages.h"

#include <algorithm>

#include "gossip/limits.h"

namespace skep::gossip {
namespace {

using limits::kMetaBytesMax;
using limits::kNameBytesMax;

Bytes Start(MessageType type) { return {static_cast<uint8_t>(type)}; }

/// SourceAddr, SourceNode, SourcePort: the optional tail of both pings, written when known.
uint32_t SourceFields(const Endpoint& source, const std::string& node) {
  return (source.ip_length ? 2 : 0) + (node.empty() ? 0 : 1);
}

void WriteSource(MsgpackWriter* writer, const Endpoint& source, const std::string& node) {
  if (source.ip_length) {
    writer->Text("SourceAddr");
    writer->Raw(source.IpBytes());
  }
  if (!node.empty()) {
    writer->Text("SourceNode");
    writer->Text(node);
  }
  if (source.ip_length) {
    writer->Text("SourcePort");
    writer->Uint(source.port);
  }
}

/// An address that arrives as two fields, in either order.
struct AddressFields {
  ByteView ip;
  uint16_t port = 0;
  std::optional<Endpoint> Get() const { return EndpointFromBytes(ip, port); }
};

bool ReadVersions(MsgpackReader* reader, Versions* versions) {
  ByteView raw;
  if (!reader->Raw(&raw)) return false;
  std::copy_n(raw.begin(), std::min(raw.size(), versions->size()), versions->begin());
  return true;
}

bool GoodName(const std::string& name) { return !name.empty(); }

}  // namespace

Bytes Ping::Encode() const {
  Bytes out = Start(MessageType::kPing);
  MsgpackWriter writer(&out);
  writer.Map(2 + SourceFields(source, source_node));
  writer.Text("Node");
  writer.Text(node);
  writer.Text("SeqNo");
  writer.Uint(sequence);
  WriteSource(&writer, source, source_node);
  return out;
}

std::optional<Ping> Ping::Decode(ByteView body) {
  Ping ping;
  AddressFields source;
  MsgpackReader reader(body);
  const bool ok = reader.Struct([&](std::string_view key) {
    if (key == "SeqNo") return reader.UintInto(&ping.sequence);
    if (key == "Node") return reader.TextInto(&ping.node, kNameBytesMax);
    if (key == "SourceNode") return reader.TextInto(&ping.source_node, kNameBytesMax);
    if (key == "SourceAddr") return reader.Raw(&source.ip);
    if (key == "SourcePort") return reader.UintInto(&source.port);
    return false;
  });
  if (!ok) return std::nullopt;
  ping.source = source.Get().value_or(Endpoint{});
  return ping;
}

Bytes IndirectPing::Encode() const {
  Bytes out = Start(MessageType::kIndirectPing);
  MsgpackWriter writer(&out);
  writer.Map(5 + SourceFields(source, source_node));
  writer.Text("Nack");
  writer.Bool(nack);
  writer.Text("Node");
  writer.Text(node);
  writer.Text("Port");
  writer.Uint(target.port);
  writer.Text("SeqNo");
  writer.Uint(sequence);
  WriteSource(&writer, source, source_node);
  writer.Text("Target");
  writer.Raw(target.IpBytes());
  return out;
}

std::optional<IndirectPing> IndirectPing::Decode(ByteView body) {
  IndirectPing ping;
  AddressFields source, target;
  MsgpackReader reader(body);
  const bool ok = reader.Struct([&](std::string_view key) {
    if (key == "SeqNo") return reader.UintInto(&ping.sequence);
    if (key == "Node") return reader.TextInto(&ping.node, kNameBytesMax);
    if (key == "Nack") return reader.Bool(&ping.nack);
    if (key == "Target") return reader.Raw(&target.ip);
    if (key == "Port") return reader.UintInto(&target.port);
    if (key == "SourceNode") return reader.TextInto(&ping.source_node, kNameBytesMax);
    if (key == "SourceAddr") return reader.Raw(&source.ip);
    if (key == "SourcePort") return reader.UintInto(&source.port);
    return false;
  });
  const auto address = target.Get();
  if (!ok || !address) return std::nullopt;
  ping.target = *address;
  ping.source = source.Get().value_or(Endpoint{});
  return ping;
}

Bytes Ack::Encode() const {
  Bytes out = Start(MessageType::kAck);
  MsgpackWriter writer(&out);
  writer.Map(2);
  writer.Text("Payload");
  payload.empty() ? writer.Nil() : writer.Raw(payload);
  writer.Text("SeqNo");
  writer.Uint(sequence);
  return out;
}

std::optional<Ack> Ack::Decode(ByteView body) {
  Ack ack;
  MsgpackReader reader(body);
  const bool ok = reader.Struct([&](std::string_view key) {
    if (key == "SeqNo") return reader.UintInto(&ack.sequence);
    if (key == "Payload") return reader.BytesInto(&ack.payload, limits::kDatagramBytesMax);
    return false;
  });
  return ok ? std::optional(ack) : std::nullopt;
}

Bytes Nack::Encode() const {
  Bytes out = Start(MessageType::kNack);
  MsgpackWriter writer(&out);
  writer.Map(1);
  writer.Text("SeqNo");
  writer.Uint(sequence);
  return out;
}

std::optional<Nack> Nack::Decode(ByteView body) {
  Nack nack;
  MsgpackReader reader(body);
  const bool ok = reader.Struct([&](std::string_view key) {
    return key == "SeqNo" && reader.UintInto(&nack.sequence);
  });
  return ok ? std::optional(nack) : std::nullopt;
}

Bytes Accusation::Encode(MessageType type) const {
  Bytes out = Start(type);
  MsgpackWriter writer(&out);
  writer.Map(3);
  writer.Text("From");
  writer.Text(from);
  writer.Text("Incarnation");
  writer.Uint(incarnation);
  writer.Text("Node");
  writer.Text(node);
  return out;
}

std::optional<Accusation> Accusation::Decode(ByteView body) {
  Accusation accusation;
  MsgpackReader reader(body);
  const bool ok = reader.Struct([&](std::string_view key) {
    if (key == "Incarnation") return reader.UintInto(&accusation.incarnation);
    if (key == "Node") return reader.TextInto(&accusation.node, kNameBytesMax);
    if (key == "From") return reader.TextInto(&accusation.from, kNameBytesMax);
    return false;
  });
  if (!ok || !GoodName(accusation.node)) return std::nullopt;
  return accusation;
}

Bytes Alive::Encode() const {
  Bytes out = Start(MessageType::kAlive);
  MsgpackWriter writer(&out);
  writer.Map(6);
  writer.Text("Addr");
  writer.Raw(address.IpBytes());
  writer.Text("Incarnation");
  writer.Uint(incarnation);
  writer.Text("Meta");
  writer.Raw(meta);
  writer.Text("Node");
  writer.Text(node);
  writer.Text("Port");
  writer.Uint(address.port);
  writer.Text("Vsn");
  writer.Raw(versions);
  return out;
}

std::optional<Alive> Alive::Decode(ByteView body) {
  Alive alive;
  AddressFields address;
  MsgpackReader reader(body);
  const bool ok = reader.Struct([&](std::string_view key) {
    if (key == "Incarnation") return reader.UintInto(&alive.incarnation);
    if (key == "Node") return reader.TextInto(&alive.node, kNameBytesMax);
    if (key == "Addr") return reader.Raw(&address.ip);
    if (key == "Port") return reader.UintInto(&address.port);
    if (key == "Meta") return reader.BytesInto(&alive.meta, kMetaBytesMax);
    if (key == "Vsn") return ReadVersions(&reader, &alive.versions);
    return false;
  });
  const auto endpoint = address.Get();
  if (!ok || !endpoint || !GoodName(alive.node)) return std::nullopt;
  alive.address = *endpoint;
  return alive;
}

namespace {

void WritePushNode(MsgpackWriter* writer, const PushNode& node) {
  writer->Map(7);
  writer->Text("Addr");
  writer->Raw(node.address.IpBytes());
  writer->Text("Incarnation");
  writer->Uint(node.incarnation);
  writer->Text("Meta");
  writer->Raw(node.meta);
  writer->Text("Name");
  writer->Text(node.name);
  writer->Text("Port");
  writer->Uint(node.address.port);
  writer->Text("State");
  writer->Uint(static_cast<uint8_t>(node.state));
  writer->Text("Vsn");
  writer->Raw(node.versions);
}

bool ReadPushNode(MsgpackReader* reader, PushNode* node) {
  AddressFields address;
  uint8_t state = 0;
  const bool ok = reader->Struct([&](std::string_view key) {
    if (key == "Name") return reader->TextInto(&node->name, kNameBytesMax);
    if (key == "Addr") return reader->Raw(&address.ip);
    if (key == "Port") return reader->UintInto(&address.port);
    if (key == "Meta") return reader->BytesInto(&node->meta, kMetaBytesMax);
    if (key == "Incarnation") return reader->UintInto(&node->incarnation);
    if (key == "State") return reader->UintInto(&state);
    if (key == "Vsn") return ReadVersions(reader, &node->versions);
    return false;
  });
  const auto endpoint = address.Get();
  if (!ok || !endpoint || !GoodName(node->name) || state > 3) return false;
  node->address = *endpoint;
  node->state = static_cast<MemberState>(state);
  return true;
}

struct PushPullHeader {
  uint64_t nodes = 0;
  uint64_t user_state_bytes = 0;
  bool join = false;
};

bool ReadPushPullHeader(MsgpackReader* reader, PushPullHeader* header) {
  return reader->Struct([&](std::string_view key) {
    if (key == "Nodes") return reader->Uint(&header->nodes);
    if (key == "UserStateLen") return reader->Uint(&header->user_state_bytes);
    if (key == "Join") return reader->Bool(&header->join);
    return false;
  });
}

bool ReadUserHeader(MsgpackReader* reader, uint64_t* bytes) {
  return reader->Struct([&](std::string_view key) {
    return key == "UserMsgLen" && reader->Uint(bytes);
  });
}

}  // namespace

Bytes PushPull::Encode() const {
  Bytes out = Start(MessageType::kPushPull);
  MsgpackWriter writer(&out);
  writer.Map(3);
  writer.Text("Join");
  writer.Bool(join);
  writer.Text("Nodes");
  writer.Uint(nodes.size());
  writer.Text("UserStateLen");
  writer.Uint(user_state.size());
  for (const PushNode& node : nodes) WritePushNode(&writer, node);
  Append(&out, user_state);
  return out;
}

std::optional<PushPull> PushPull::Decode(ByteView body) {
  MsgpackReader reader(body);
  PushPullHeader header;
  if (!ReadPushPullHeader(&reader, &header)) return std::nullopt;
  if (header.nodes > 4 * limits::kMembersMax) return std::nullopt;
  PushPull message;
  message.join = header.join;
  for (uint64_t i = 0; i < header.nodes; i++) {
    PushNode node;
    if (!ReadPushNode(&reader, &node)) return std::nullopt;
    message.nodes.push_back(std::move(node));
  }
  const ByteView rest = reader.rest();
  if (header.user_state_bytes > rest.size()) return std::nullopt;
  message.user_state.assign(rest.begin(),
                            rest.begin() + static_cast<ptrdiff_t>(header.user_state_bytes));
  return message;
}

Bytes EncodeUserStream(ByteView message) {
  Bytes out = Start(MessageType::kUser);
  MsgpackWriter writer(&out);
  writer.Map(1);
  writer.Text("UserMsgLen");
  writer.Uint(message.size());
  Append(&out, message);
  return out;
}

std::optional<ByteView> DecodeUserStream(ByteView body) {
  MsgpackReader reader(body);
  uint64_t bytes = 0;
  if (!ReadUserHeader(&reader, &bytes) || bytes > reader.rest().size()) return std::nullopt;
  return reader.rest().first(bytes);
}

Bytes EncodeError(std::string_view text) {
  Bytes out = Start(MessageType::kError);
  MsgpackWriter writer(&out);
  writer.Map(1);
  writer.Text("Error");
  writer.Text(text);
  return out;
}

StreamExtent StreamScanner::ScanHeader(ByteView bytes) {
  MsgpackReader reader(bytes.subspan(1));
  const auto type = static_cast<MessageType>(bytes[0]);
  if (type == MessageType::kPushPull) {
    PushPullHeader header;
    if (!ReadPushPullHeader(&reader, &header)) return {reader.status(), 0};
    if (header.nodes > 4 * limits::kMembersMax) return {ParseStatus::kInvalid, 0};
    nodes_left_ = header.nodes;
    tail_bytes_ = header.user_state_bytes;
  } else if (type == MessageType::kUser) {
    if (!ReadUserHeader(&reader, &tail_bytes_)) return {reader.status(), 0};
  } else {
    // Everything else on a stream is one msgpack value.
    if (!reader.Skip()) return {reader.status(), 0};
  }
  if (tail_bytes_ > limits::kStreamBytesMax) return {ParseStatus::kInvalid, 0};
  have_header_ = true;
  passed_ = 1 + reader.position();
  return {ParseStatus::kOk, 0};
}

StreamExtent StreamScanner::Scan(ByteView bytes) {
  if (bytes.empty()) return {};
  if (!have_header_) {
    const StreamExtent header = ScanHeader(bytes);
    if (header.status != ParseStatus::kOk) return header;
  }
  for (; nodes_left_ > 0; nodes_left_--) {
    MsgpackReader reader(bytes.subspan(passed_));
    if (!reader.Skip()) return {reader.status(), 0};
    passed_ += reader.position();
  }
  if (bytes.size() - passed_ < tail_bytes_) return {};
  return {ParseStatus::kOk, passed_ + static_cast<size_t>(tail_bytes_)};
}

}  // namespace skep::gossip
