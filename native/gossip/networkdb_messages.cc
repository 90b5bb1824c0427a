// Encoders and bounded decoders of NetworkDB's messages.
#include "gossip/networkdb_messages.h"

#include <algorithm>

#include "gossip/limits.h"

namespace skep::gossip {
namespace {

/// Events a single push/pull or bulk sync may carry.
constexpr size_t kElementsMax = limits::kAttachmentsMax;

uint64_t Kind(bool join) { return join ? 1 : 2; }

bool GoodText(ByteView text) { return text.size() <= limits::kNameBytesMax; }

bool GoodLamport(uint64_t ltime) { return ltime <= limits::kLamportMax; }

}  // namespace

Bytes GossipMessage::Encode(GossipType type, ByteView data) {
  Bytes out;
  out.reserve(data.size() + kGossipCompoundOverhead);
  ProtobufWriter writer(&out);
  writer.Varint(1, static_cast<uint32_t>(type));
  writer.Block(2, data);
  return out;
}

std::optional<GossipMessage> GossipMessage::Decode(ByteView bytes) {
  GossipMessage message;
  ProtobufReader reader(bytes);
  while (reader.Next()) {
    if (reader.field() == 1) {
      message.type = static_cast<GossipType>(std::min<uint64_t>(reader.varint(), 255));
    }
    if (reader.field() == 2) message.data = reader.block();
  }
  return reader.valid() ? std::optional(message) : std::nullopt;
}

Bytes NodeEvent::Encode() const {
  Bytes out;
  ProtobufWriter writer(&out);
  writer.Varint(1, Kind(join));
  writer.Varint(2, ltime);
  writer.Text(3, node);
  return GossipMessage::Encode(GossipType::kNodeEvent, out);
}

std::optional<NodeEvent> NodeEvent::Decode(ByteView data) {
  NodeEvent event;
  uint64_t kind = 0;
  ProtobufReader reader(data);
  while (reader.Next()) {
    if (reader.field() == 1) kind = reader.varint();
    if (reader.field() == 2) event.ltime = reader.varint();
    if (reader.field() == 3 && GoodText(reader.block())) event.node = AsText(reader.block());
  }
  const bool good = reader.valid() && (kind == 1 || kind == 2) && !event.node.empty();
  if (!good || !GoodLamport(event.ltime)) return std::nullopt;
  event.join = kind == 1;
  return event;
}

Bytes NetworkEvent::Encode() const {
  Bytes out;
  ProtobufWriter writer(&out);
  writer.Varint(1, Kind(join));
  writer.Varint(2, ltime);
  writer.Text(3, node);
  writer.Text(4, network);
  return GossipMessage::Encode(GossipType::kNetworkEvent, out);
}

std::optional<NetworkEvent> NetworkEvent::Decode(ByteView data) {
  NetworkEvent event;
  uint64_t kind = 0;
  ProtobufReader reader(data);
  while (reader.Next()) {
    if (reader.field() == 1) kind = reader.varint();
    if (reader.field() == 2) event.ltime = reader.varint();
    if (reader.field() == 3 && GoodText(reader.block())) event.node = AsText(reader.block());
    if (reader.field() == 4 && GoodText(reader.block())) event.network = AsText(reader.block());
  }
  const bool good = reader.valid() && (kind == 1 || kind == 2) && !event.node.empty() &&
                    !event.network.empty();
  if (!good || !GoodLamport(event.ltime)) return std::nullopt;
  event.join = kind == 1;
  return event;
}

Bytes TableEvent::Encode() const {
  Bytes out;
  out.reserve(value.size() + node.size() + network.size() + table.size() + key.size() + 48);
  ProtobufWriter writer(&out);
  writer.Varint(1, static_cast<uint32_t>(kind));
  writer.Varint(2, ltime);
  writer.Text(3, node);
  writer.Text(4, network);
  writer.Text(5, table);
  writer.Text(6, key);
  writer.Block(7, value);
  writer.Varint(8, residual_reap_seconds);
  return GossipMessage::Encode(GossipType::kTableEvent, out);
}

std::optional<TableEvent> TableEvent::Decode(ByteView data) {
  TableEvent event;
  uint64_t kind = 0;
  bool good = true;
  ProtobufReader reader(data);
  while (reader.Next()) {
    const ByteView block = reader.block();
    switch (reader.field()) {
      case 1: kind = reader.varint(); break;
      case 2: event.ltime = reader.varint(); break;
      case 3: good = good && GoodText(block), event.node = AsText(block); break;
      case 4: good = good && GoodText(block), event.network = AsText(block); break;
      case 5: good = good && GoodText(block), event.table = AsText(block); break;
      case 6: good = good && block.size() <= limits::kKeyBytesMax, event.key = AsText(block); break;
      case 7:
        good = good && block.size() <= limits::kValueBytesMax;
        if (good) event.value.assign(block.begin(), block.end());
        break;
      case 8:
        event.residual_reap_seconds =
            static_cast<uint32_t>(std::min<uint64_t>(reader.varint(), 86'400));
        break;
      default: break;
    }
    if (!good) return std::nullopt;
  }
  if (!reader.valid() || kind < 1 || kind > 3 || !GoodLamport(event.ltime)) return std::nullopt;
  if (event.node.empty() || event.network.empty() || event.table.empty() || event.key.empty()) {
    return std::nullopt;
  }
  event.kind = static_cast<TableEventKind>(kind);
  return event;
}

Bytes NetworkPushPull::Encode() const {
  Bytes out;
  ProtobufWriter writer(&out);
  writer.Varint(1, ltime);
  for (const NetworkEvent& network : networks) {
    Bytes entry;
    ProtobufWriter fields(&entry);
    fields.Text(1, network.network);
    fields.Varint(2, network.ltime);
    fields.Text(3, network.node);
    fields.Varint(4, network.join ? 0 : 1);
    writer.Element(2, entry);
  }
  writer.Text(3, node);
  return GossipMessage::Encode(GossipType::kPushPull, out);
}

std::optional<NetworkPushPull> NetworkPushPull::Decode(ByteView data) {
  NetworkPushPull message;
  ProtobufReader reader(data);
  while (reader.Next()) {
    if (reader.field() == 1) message.ltime = reader.varint();
    if (reader.field() == 3 && GoodText(reader.block())) message.node = AsText(reader.block());
    if (reader.field() != 2) continue;
    if (message.networks.size() >= kElementsMax) return std::nullopt;
    NetworkEvent event;
    event.join = true;
    ProtobufReader fields(reader.block());
    while (fields.Next()) {
      if (fields.field() == 1 && GoodText(fields.block())) event.network = AsText(fields.block());
      if (fields.field() == 2) event.ltime = fields.varint();
      if (fields.field() == 3 && GoodText(fields.block())) event.node = AsText(fields.block());
      if (fields.field() == 4) event.join = fields.varint() == 0;
    }
    if (!fields.valid() || !GoodLamport(event.ltime)) return std::nullopt;
    if (event.network.empty() || event.node.empty()) continue;
    message.networks.push_back(std::move(event));
  }
  if (!reader.valid() || !GoodLamport(message.ltime) || message.node.empty()) return std::nullopt;
  return message;
}

Bytes BulkSync::Encode() const {
  Bytes out;
  out.reserve(payload.size() + 64 * networks.size() + 64);
  ProtobufWriter writer(&out);
  writer.Varint(1, ltime);
  writer.Varint(2, unsolicited ? 1 : 0);
  writer.Text(3, node);
  for (const std::string& network : networks) writer.Element(4, AsBytes(network));
  writer.Block(5, payload);
  return GossipMessage::Encode(GossipType::kBulkSync, out);
}

std::optional<BulkSync> BulkSync::Decode(ByteView data) {
  BulkSync message;
  ProtobufReader reader(data);
  while (reader.Next()) {
    const ByteView block = reader.block();
    if (reader.field() == 1) message.ltime = reader.varint();
    if (reader.field() == 2) message.unsolicited = reader.varint() != 0;
    if (reader.field() == 3 && GoodText(block)) message.node = AsText(block);
    if (reader.field() == 4) {
      if (!GoodText(block) || message.networks.size() >= kElementsMax) return std::nullopt;
      message.networks.emplace_back(AsText(block));
    }
    if (reader.field() == 5) message.payload.assign(block.begin(), block.end());
  }
  if (!reader.valid() || !GoodLamport(message.ltime) || message.node.empty()) return std::nullopt;
  return message;
}

Bytes EncodeGossipCompound(const std::vector<Bytes>& parts) {
  Bytes out;
  ProtobufWriter writer(&out);
  for (const Bytes& part : parts) {
    Bytes simple;
    ProtobufWriter fields(&simple);
    fields.Block(1, part);
    writer.Element(1, simple);
  }
  return GossipMessage::Encode(GossipType::kCompound, out);
}

std::optional<std::vector<ByteView>> DecodeGossipCompound(ByteView data) {
  std::vector<ByteView> parts;
  ProtobufReader reader(data);
  while (reader.Next()) {
    if (reader.field() != 1) continue;
    if (parts.size() >= 2 * limits::kEntriesMax) return std::nullopt;
    ProtobufReader fields(reader.block());
    while (fields.Next()) {
      if (fields.field() == 1) parts.push_back(fields.block());
    }
    if (!fields.valid()) return std::nullopt;
  }
  return reader.valid() ? std::optional(std::move(parts)) : std::nullopt;
}

}  // namespace skep::gossip
