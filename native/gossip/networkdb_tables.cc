// Entries of NetworkDB: storing, superseding, deleting, and taking back those of a former life.
#include <algorithm>

#include "gossip/networkdb.h"

namespace skep::gossip {
namespace {

std::string Subject(const std::string& table, const std::string& key) { return table + '\0' + key; }

}  // namespace

const Bytes* NetworkDb::Find(const std::string& network, const std::string& table,
                             const std::string& key) const {
  const auto found = networks_.find(network);
  if (found == networks_.end()) return nullptr;
  const auto entry = found->second.entries.find({table, key});
  const bool live = entry != found->second.entries.end() && !entry->second.deleted;
  return live ? &entry->second.value : nullptr;
}

// Events for JavaScript.

void NetworkDb::EmitEntry(const std::string& network, uint32_t generation, const EntryKey& key,
                          const Entry& entry, bool known) {
  if (!IsOrdinary(key.table)) return;
  Event event;
  event.type = Event::Type::kEntry;
  event.generation = generation;
  event.network = network;
  event.table = key.table;
  event.key = key.key;
  event.node = entry.owner;
  event.value = entry.value;
  sink_->OnEvent(std::move(event), known);
}

void NetworkDb::EmitRemoved(const std::string& network, uint32_t generation, const EntryKey& key,
                            const std::string& owner, RemovalReason reason) {
  if (owner == swim_->name() || !IsOrdinary(key.table)) return;
  Event event;
  event.type = Event::Type::kEntryRemoved;
  event.generation = generation;
  event.network = network;
  event.table = key.table;
  event.key = key.key;
  event.node = owner;
  event.reason = reason;
  sink_->OnEvent(std::move(event), true);
}

// Storage, with its bounds.

bool NetworkDb::Store(OwnNetwork* network, const EntryKey& key, Entry entry) {
  const auto found = network->entries.find(key);
  const size_t before = found == network->entries.end() ? 0 : found->second.value.size();
  const bool fresh = found == network->entries.end();
  if ((fresh && entry_count_ >= limits::kEntriesMax) ||
      entry_bytes_ - before + entry.value.size() > limits::kEntryBytesMax) {
    counters_->Add(Counter::droppedEntriesFull);
    return false;
  }
  entry_bytes_ = entry_bytes_ - before + entry.value.size();
  if (fresh) entry_count_++;
  if (!fresh) Count(network, key, found->second);
  Count(network, key, entry);
  network->entries[key] = std::move(entry);
  return true;
}

void NetworkDb::Erase(OwnNetwork* network, std::map<EntryKey, Entry>::iterator at) {
  entry_count_--;
  entry_bytes_ -= at->second.value.size();
  Count(network, at->first, at->second);
  network->entries.erase(at);
}

void NetworkDb::ClearEntries(OwnNetwork* network) {
  while (!network->entries.empty()) Erase(network, network->entries.begin());
}

void NetworkDb::DropEntriesOf(const std::string& id, const std::string& owner,
                              RemovalReason reason) {
  OwnNetwork* network = Joined(id);
  if (network == nullptr) return;
  for (auto at = network->entries.begin(); at != network->entries.end();) {
    const auto next = std::next(at);
    if (at->second.owner == owner) {
      if (!at->second.deleted) EmitRemoved(id, network->generation, at->first, owner, reason);
      network->relayed.Remove(Subject(at->first.table, at->first.key));
      Erase(network, at);
    }
    at = next;
  }
}

// Our own entries.

TableEvent NetworkDb::EventOf(const std::string& network, const EntryKey& key,
                              const Entry& entry) const {
  TableEvent event;
  event.kind = entry.deleted ? TableEventKind::kDelete : TableEventKind::kCreate;
  event.ltime = entry.ltime;
  event.node = entry.owner;
  event.network = network;
  event.table = key.table;
  event.key = key.key;
  event.value = entry.value;
  if (entry.deleted) {
    const Millis left = std::max<Millis>(entry.reap_at - swim_->now(), 1000);
    event.residual_reap_seconds = static_cast<uint32_t>(left / 1000);
  }
  return event;
}

void NetworkDb::AnnounceOwn(const std::string& id, OwnNetwork* network, const EntryKey& key,
                            TableEventKind kind) {
  Entry& entry = network->entries[key];
  entry.ltime = table_clock_.Next();
  TableEvent event = EventOf(id, key, entry);
  event.kind = kind;
  network->relayed.Remove(Subject(key.table, key.key));
  PushBroadcast(&network->own, Subject(key.table, key.key), event.Encode());
}

void NetworkDb::PutEntry(const std::string& id, const std::string& table, const std::string& key,
                         Bytes value) {
  OwnNetwork* network = Joined(id);
  if (network == nullptr) return counters_->Add(Counter::droppedNetworkUnknown);
  const EntryKey at{table, key};
  network->former.erase(at);
  const auto found = network->entries.find(at);
  const bool ours = found != network->entries.end() && found->second.owner == swim_->name();
  const bool live = found != network->entries.end() && !found->second.deleted;
  if (ours && live && found->second.value == value) return;
  const std::string former_owner = live && !ours ? found->second.owner : std::string();
  if (!Store(network, at, {swim_->name(), 0, std::move(value), false, kNever})) return;
  if (!former_owner.empty()) {
    EmitRemoved(id, network->generation, at, former_owner, RemovalReason::kDeleted);
  }
  AnnounceOwn(id, network, at, live ? TableEventKind::kUpdate : TableEventKind::kCreate);
}

void NetworkDb::DeleteEntry(const std::string& id, const std::string& table,
                            const std::string& key) {
  OwnNetwork* network = Joined(id);
  if (network == nullptr) return counters_->Add(Counter::droppedNetworkUnknown);
  const EntryKey at{table, key};
  const auto found = network->entries.find(at);
  const bool ours = found != network->entries.end() && found->second.owner == swim_->name() &&
                    !found->second.deleted;
  // Only the owner may delete; an entry of our former life counts as ours.
  if (ours) return Disown(id, network, at, found->second.value);
  const auto former = network->former.find(at);
  if (former != network->former.end()) Disown(id, network, at, former->second.value);
}

void NetworkDb::Disown(const std::string& id, OwnNetwork* network, const EntryKey& key,
                       Bytes value) {
  network->former.erase(key);
  Entry tombstone;
  tombstone.owner = swim_->name();
  // What it was goes with its end: stock engines look there for what to take down.
  tombstone.value = std::move(value);
  tombstone.deleted = true;
  tombstone.reap_at = swim_->now() + config_.reap_entry;
  if (!Store(network, key, std::move(tombstone))) return;
  AnnounceOwn(id, network, key, TableEventKind::kDelete);
}

// Events of others.

void NetworkDb::OnTableEvent(const TableEvent& event, ByteView raw, bool bulk) {
  counters_->Add(Counter::tableEventsIn);
  table_clock_.Witness(event.ltime);
  OwnNetwork* network = Joined(event.network);
  if (network == nullptr) return counters_->Add(Counter::droppedNetworkUnknown);
  if (event.node == swim_->name()) return OnOwnTableRumour(event, network);
  if (!NodesOf(event.network).contains(event.node)) {
    return counters_->Add(Counter::droppedNetworkUnknown);
  }
  if (!ApplyTableEvent(event, network, bulk)) return;
  if (bulk && network->relayed.size() > limits::kBulkSyncRelaysMax) return;
  counters_->Add(Counter::tableEventsRelayed);
  network->own.Remove(Subject(event.table, event.key));
  PushBroadcast(&network->relayed, Subject(event.table, event.key),
                Bytes(raw.begin(), raw.end()));
}

bool NetworkDb::ApplyTableEvent(const TableEvent& event, OwnNetwork* network, bool bulk) {
  const EntryKey key{event.table, event.key};
  const auto found = network->entries.find(key);
  const bool present = found != network->entries.end();
  if (present && found->second.ltime >= event.ltime) {
    counters_->Add(Counter::droppedTableStale);
    return false;
  }
  Entry entry{event.node, event.ltime, event.value, event.kind == TableEventKind::kDelete, kNever};
  Millis residual = Millis{event.residual_reap_seconds} * 1000;
  if (residual == 0 || residual > config_.reap_entry) residual = config_.reap_entry;
  if (entry.deleted) {
    entry.reap_at = swim_->now() + residual;
    // Never more bytes than before, so that there is always room for a deletion.
    entry.value = present ? found->second.value : Bytes();
  }
  const bool was_live = present && !found->second.deleted;
  const std::string owner = present ? found->second.owner : std::string();
  const bool unchanged = was_live && !entry.deleted && owner == entry.owner &&
                         found->second.value == entry.value;
  if (!Store(network, key, entry)) return false;
  if (!IsOrdinary(key.table)) OnAgreementEntry(network, key, entry);
  if (was_live && (entry.deleted || owner != entry.owner)) {
    EmitRemoved(event.network, network->generation, key, owner, RemovalReason::kDeleted);
  }
  if (!entry.deleted && !unchanged) {
    EmitEntry(event.network, network->generation, key, entry,
              was_live && owner == entry.owner);
  }
  if (!present && entry.deleted) {
    // A deletion of something unknown goes on only when it is fresh and came by bulk sync:
    // otherwise old deletions would circle for ever.
    return bulk && InSync(*network) && residual > config_.reap_entry / 6;
  }
  return InSync(*network);
}

void NetworkDb::OnOwnTableRumour(const TableEvent& event, OwnNetwork* network) {
  const EntryKey key{event.table, event.key};
  const auto found = network->entries.find(key);
  if (found != network->entries.end() && found->second.owner == swim_->name()) {
    const Entry& entry = found->second;
    const bool deleted = event.kind == TableEventKind::kDelete;
    const bool same = entry.deleted == deleted && (deleted || entry.value == event.value);
    if (event.ltime < entry.ltime || (event.ltime == entry.ltime && same)) return;
    // Our former life spoke later than this one: outbid it with what holds now.
    counters_->Add(Counter::entriesAdopted);
    return AnnounceOwn(event.network, network, key,
                       entry.deleted ? TableEventKind::kDelete : TableEventKind::kUpdate);
  }
  if (found != network->entries.end() && found->second.ltime >= event.ltime) return;
  if (event.kind == TableEventKind::kDelete) return;
  // Long after the start it is no former life's, but an error on its way: denied at once.
  const Millis grace_ends =
      std::max(started_, network->joined_at) + config_.former_life_grace;
  if (swim_->now() >= grace_ends) return Disown(event.network, network, key, event.value);
  if (network->former.size() >= limits::kEntriesMax) return;
  network->former.emplace(key, Former{swim_->now() + config_.former_life_grace, event.value});
}

}  // namespace skep::gossip
