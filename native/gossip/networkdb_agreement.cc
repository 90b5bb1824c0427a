// What goes beyond Docker's NetworkDB: the owner of entries is the truth about them. Each node
// announces a digest of its entries on each network (table skep_digest); who holds something else
// fetches all from the owner, and what the owner does not know is removed. Who has put in force what
// a digest stands for says so (table skep_ack), so that a task is stopped only when nobody sends to
// it any more. Stock engines carry both tables and do not read them.
#include <algorithm>

#include "gossip/networkdb.h"

namespace skep::gossip {
namespace {

constexpr char kDigestTable[] = "skep_digest";
constexpr char kAckTable[] = "skep_ack";
constexpr uint8_t kFormat = 1;
constexpr uint8_t kWanted = 1;
constexpr uint8_t kSettling = 2;
constexpr size_t kTellNodes = 3;

/// FNV-1a over length and bytes: a part cannot be taken for another's end.
uint64_t Mix(uint64_t hash, ByteView bytes) {
  constexpr uint64_t kPrime = 0x100000001b3;
  for (uint64_t length = bytes.size(), i = 0; i < 8; i++, length >>= 8) {
    hash = (hash ^ (length & 0xff)) * kPrime;
  }
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * kPrime;
  return hash;
}

/// Spreads a hash over all bits, so that XOR of many stays distinct (splitmix64's finalizer).
uint64_t Finish(uint64_t hash) {
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

void AppendU64(Bytes* out, uint64_t value) {
  AppendU32(out, static_cast<uint32_t>(value >> 32));
  AppendU32(out, static_cast<uint32_t>(value));
}

uint64_t ReadU64(ByteView from, size_t at) {
  return static_cast<uint64_t>(ReadU32(from, at)) << 32 | ReadU32(from, at + 4);
}

/// [format] then, for each owner confirmed, [version u64][length u8][name].
Bytes EncodeAcks(const std::map<std::string, uint64_t>& acks) {
  Bytes value = {kFormat};
  for (const auto& [owner, version] : acks) {
    AppendU64(&value, version);
    value.push_back(static_cast<uint8_t>(owner.size()));
    Append(&value, AsBytes(owner));
  }
  return value;
}

/// The version of `owner` among them, 0 if there is none or the bytes are no acks.
uint64_t AckOf(ByteView value, const std::string& owner) {
  constexpr size_t kHead = 9;
  if (value.empty() || value[0] != kFormat) return 0;
  for (size_t at = 1; at + kHead <= value.size();) {
    const uint64_t version = ReadU64(value, at);
    const size_t length = value[at + 8];
    if (at + kHead + length > value.size()) return 0;
    if (AsText(value.subspan(at + kHead, length)) == owner) return version;
    at += kHead + length;
  }
  return 0;
}

}  // namespace

bool NetworkDb::IsOrdinary(const std::string& table) {
  return table != kDigestTable && table != kAckTable;
}

NetworkDb::Digest NetworkDb::HashOf(const EntryKey& key, const Bytes& value) {
  Digest digest;
  for (size_t lane = 0; lane < digest.bits.size(); lane++) {
    uint64_t hash = 0xcbf29ce484222325 + lane * 0x9e3779b97f4a7c15;
    hash = Mix(hash, AsBytes(key.table));
    hash = Mix(hash, AsBytes(key.key));
    digest.bits[lane] = Finish(Mix(hash, value));
  }
  return digest;
}

Bytes NetworkDb::Encode(const OwnerState& state) {
  const auto flags = static_cast<uint8_t>((state.wanted ? kWanted : 0) |
                                          (state.settling ? kSettling : 0));
  Bytes value = {kFormat, flags};
  for (const uint64_t lane : state.digest.bits) AppendU64(&value, lane);
  return value;
}

std::optional<NetworkDb::OwnerState> NetworkDb::DecodeOwnerState(ByteView value) {
  if (value.size() < 18 || value[0] != kFormat) return std::nullopt;
  OwnerState state;
  state.wanted = (value[1] & kWanted) != 0;
  state.settling = (value[1] & kSettling) != 0;
  state.digest.bits = {ReadU64(value, 2), ReadU64(value, 10)};
  return state;
}

/// Takes a live entry into its owner's digest, or out of it.
void NetworkDb::Count(OwnNetwork* network, const EntryKey& key, const Entry& entry) {
  if (entry.deleted || !IsOrdinary(key.table)) return;
  const Digest hash = HashOf(key, entry.value);
  Digest& digest = network->digests[entry.owner];
  for (size_t lane = 0; lane < hash.bits.size(); lane++) digest.bits[lane] ^= hash.bits[lane];
  const bool none = digest == Digest{};
  if (none) network->digests.erase(entry.owner);
  if (entry.owner == swim_->name()) {
    network->digest_due = true;
  } else if (network->entries.contains({kDigestTable, entry.owner})) {
    network->checks.try_emplace(entry.owner, Check{swim_->now(), 0});
  }
}

/// News about an owner's digest, or somebody's confirmations.
void NetworkDb::OnAgreementEntry(OwnNetwork* network, const EntryKey& key, const Entry& entry) {
  if (entry.deleted || key.key != entry.owner) return;
  if (key.table == kDigestTable) {
    network->checks[entry.owner] = {swim_->now(), 0};
    return;
  }
  const uint64_t version = AckOf(entry.value, swim_->name());
  if (version == 0) return;
  uint64_t& acked = network->acked[entry.owner];
  acked = std::max(acked, version);
  EndSpreadings();
}

// The owner's side.

bool NetworkDb::Settling(const OwnNetwork& network) const {
  return swim_->now() - started_ < config_.digest_settle || !network.former.empty();
}

uint64_t NetworkDb::PublishDigest(const std::string& id, OwnNetwork* network) {
  network->digest_due = false;
  network->settling_told = Settling(*network);
  OwnerState state;
  const auto own = network->digests.find(swim_->name());
  if (own != network->digests.end()) state.digest = own->second;
  state.settling = network->settling_told;
  state.wanted = std::any_of(spreadings_.begin(), spreadings_.end(), [&id](const auto& spreading) {
    return spreading.versions.contains(id);
  });
  const EntryKey key{kDigestTable, swim_->name()};
  if (!Store(network, key, {swim_->name(), 0, Encode(state), false, kNever})) return 0;
  AnnounceOwn(id, network, key, TableEventKind::kUpdate);
  return network->entries[key].ltime;
}

void NetworkDb::PublishDigests() {
  if (started_ == kNotStarted) started_ = swim_->now();
  for (auto& [id, network] : networks_) {
    if (network.leaving) continue;
    const bool settled = network.settling_told && !Settling(network);
    if (network.digest_due || settled) PublishDigest(id, &network);
  }
}

/// Once more to a few, as it is: whoever has missed it, or what it stands for, finds out.
void NetworkDb::TellDigests() {
  for (auto& [id, network] : networks_) {
    const EntryKey key{kDigestTable, swim_->name()};
    const auto own = network.entries.find(key);
    if (network.leaving || own == network.entries.end()) continue;
    std::vector<const Member*> peers;
    for (const std::string& node : NodesOf(id)) {
      const Member* member = swim_->FindMember(node);
      if (member != nullptr && member->reachable()) peers.push_back(member);
    }
    const Bytes message = EventOf(id, key, own->second).Encode();
    for (size_t i = 0; i < std::min(kTellNodes, peers.size()); i++) {
      std::swap(peers[i], peers[i + swim_->host()->Random(peers.size() - i)]);
      swim_->SendUserPacket(*peers[i], message);
    }
  }
}

void NetworkDb::SpreadOwn(uint64_t id, const std::vector<std::string>& networks) {
  counters_->Add(Counter::spreadings);
  if (spreadings_.size() >= limits::kSpreadingsMax) return sink_->OnSpread(id, 0);
  Spreading& spreading = spreadings_.emplace_back();
  spreading.id = id;
  spreading.deadline = swim_->now() + config_.spread_timeout;
  // All first: the digests say that they are waited for.
  for (const std::string& network : networks) {
    if (Joined(network) != nullptr) spreading.versions[network] = 0;
  }
  for (auto& [network, version] : spreading.versions) {
    version = PublishDigest(network, Joined(network));
  }
  // Not with the next round but now: somebody waits.
  next_gossip_ = swim_->now();
  EndSpreadings();
}

/// Whether all that must have confirmed; `missing` counts those that have not.
bool NetworkDb::IsSpread(const Spreading& spreading, size_t* missing) const {
  *missing = 0;
  for (const auto& [id, version] : spreading.versions) {
    const auto found = networks_.find(id);
    if (found == networks_.end() || found->second.leaving) continue;
    const OwnNetwork& network = found->second;
    for (const std::string& node : NodesOf(id)) {
      const Member* member = swim_->FindMember(node);
      if (member == nullptr || !member->reachable()) continue;
      // Those that announce no digest are stock engines, which cannot confirm.
      if (!network.entries.contains({kDigestTable, node})) continue;
      const auto acked = network.acked.find(node);
      if (acked == network.acked.end() || acked->second < version) ++*missing;
    }
  }
  return *missing == 0;
}

void NetworkDb::EndSpreadings() {
  for (size_t i = 0; i < spreadings_.size();) {
    size_t missing = 0;
    if (!IsSpread(spreadings_[i], &missing) && swim_->now() < spreadings_[i].deadline) {
      i++;
      continue;
    }
    if (missing > 0) counters_->Add(Counter::spreadingsLate);
    sink_->OnSpread(spreadings_[i].id, missing);
    spreadings_.erase(spreadings_.begin() + static_cast<ptrdiff_t>(i));
  }
}

// The side of the others.

void NetworkDb::CompareWithOwners() {
  for (auto& [id, network] : networks_) {
    for (auto at = network.checks.begin(); at != network.checks.end();) {
      const auto next = std::next(at);
      const std::string owner = at->first;
      CompareWithOwner(id, &network, owner, &at->second);
      at = next;
    }
  }
}

void NetworkDb::CompareWithOwner(const std::string& id, OwnNetwork* network,
                                 const std::string& owner, Check* check) {
  const auto said = network->entries.find({kDigestTable, owner});
  const auto state = said == network->entries.end() || said->second.deleted
                         ? std::nullopt
                         : DecodeOwnerState(said->second.value);
  if (!state) {
    network->checks.erase(owner);
    return;
  }
  const auto held = network->digests.find(owner);
  const bool same = state->digest == (held == network->digests.end() ? Digest{} : held->second);
  if (same || state->settling) {
    Event event;
    event.type = Event::Type::kInSync;
    event.generation = network->generation;
    event.network = id;
    event.node = owner;
    event.version = said->second.ltime;
    if (state->wanted) sink_->OnEvent(std::move(event), true);
    network->checks.erase(owner);
    return;
  }
  const Millis now = swim_->now();
  const Millis last = std::max(check->since, check->asked);
  if (now - last < config_.digest_patience) return;
  check->asked = now;
  counters_->Add(Counter::digestMismatches);
  ScheduleSync(owner, 1);
}

/// A bulk sync that holds all of its sender's entries, by the digest that comes with them: what else
/// we hold in its name is nobody's. It stays as a tombstone, or it would come back with the next
/// bulk sync of somebody who still has it.
void NetworkDb::RemoveGhosts(const BulkSync& message) {
  const auto compound = GossipMessage::Decode(message.payload);
  if (!compound || compound->type != GossipType::kCompound) return;
  const bool doubted = std::any_of(networks_.begin(), networks_.end(), [&](const auto& item) {
    return item.second.checks.contains(message.node);
  });
  const auto parts = doubted ? DecodeGossipCompound(compound->data) : std::nullopt;
  if (!parts) return;
  std::map<std::string, std::set<EntryKey>> told;
  std::map<std::string, Digest> digests;
  std::map<std::string, OwnerState> states;
  for (const ByteView part : *parts) {
    const auto inner = GossipMessage::Decode(part);
    if (!inner || inner->type != GossipType::kTableEvent) continue;
    const auto event = TableEvent::Decode(inner->data);
    if (!event || event->node != message.node || event->kind == TableEventKind::kDelete) continue;
    const EntryKey key{event->table, event->key};
    if (event->table == kDigestTable) {
      if (const auto state = DecodeOwnerState(event->value)) states[event->network] = *state;
    } else if (IsOrdinary(event->table) && told[event->network].insert(key).second) {
      const Digest hash = HashOf(key, event->value);
      Digest& digest = digests[event->network];
      for (size_t lane = 0; lane < hash.bits.size(); lane++) digest.bits[lane] ^= hash.bits[lane];
    }
  }
  for (const auto& [id, state] : states) {
    OwnNetwork* network = Joined(id);
    if (network == nullptr || state.settling || state.digest != digests[id]) continue;
    for (auto& [key, entry] : network->entries) {
      const bool ghost = entry.owner == message.node && !entry.deleted && IsOrdinary(key.table) &&
                         entry.ltime <= message.ltime && !told[id].contains(key);
      if (!ghost) continue;
      counters_->Add(Counter::ghostsRemoved);
      EmitRemoved(id, network->generation, key, entry.owner, RemovalReason::kDeleted);
      Entry tombstone{entry.owner, entry.ltime, entry.value, true,
                      swim_->now() + config_.reap_entry};
      // Room there is: the entry's own.
      Store(network, key, std::move(tombstone));
    }
  }
}

// Confirming.

void NetworkDb::Acknowledge(const std::string& id, const std::string& owner, uint64_t version) {
  OwnNetwork* network = Joined(id);
  if (network == nullptr || owner.size() > 255) return;
  uint64_t& acked = network->acks[owner];
  if (acked >= version) return;
  acked = version;
  while (network->acks.size() > limits::kAcksMax) {
    // The oldest: versions are times of one clock.
    const auto oldest = std::min_element(
        network->acks.begin(), network->acks.end(),
        [](const auto& a, const auto& b) { return a.second < b.second; });
    network->acks.erase(oldest);
  }
  const EntryKey key{kAckTable, swim_->name()};
  if (!Store(network, key, {swim_->name(), 0, EncodeAcks(network->acks), false, kNever})) return;
  AnnounceOwn(id, network, key, TableEventKind::kUpdate);
  next_gossip_ = swim_->now();
}

}  // namespace skep::gossip
