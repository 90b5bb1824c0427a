// NetworkDB: tables of entries, one set a network, spread to the nodes of that network only. Each
// entry has an owner and a Lamport time; the newest wins; deletions stay as tombstones until
// everyone has heard. Pure like the SWIM core it rides on. What goes beyond Docker's: a node that
// restarts under its old name takes its entries back, and those of its former life vanish.
#pragma once

#include <map>
#include <set>

#include "gossip/broadcast_queue.h"
#include "gossip/counters.h"
#include "gossip/events.h"
#include "gossip/limits.h"
#include "gossip/networkdb_messages.h"
#include "gossip/swim.h"

namespace skep::gossip {

struct NetworkDbConfig {
  /// A tombstone is kept this long (NetworkDB: 30 min); the record of a left network 25 s longer.
  Millis reap_entry = 30 * 60'000;
  Millis reap_network = 30 * 60'000 + 25'000;
  Millis reap_interval = 5000;
  Millis bulk_sync_interval = 30'000;
  Millis bulk_sync_timeout = 30'000;
  /// How long a node that came back under its old name may take to announce an entry again before
  /// the ring is told that the entry is gone. Long: a daemon that starts beside many containers
  /// must not make them unreachable for the others.
  Millis former_life_grace = 30'000;

  /// Own digests are told again this often, to a few nodes of each network.
  Millis digest_interval = 1000;
  /// What differs from its owner's digest for this long is fetched from the owner.
  Millis digest_patience = 1000;
  /// A started node's digest counts only this much later: until then it may lack own entries.
  Millis digest_settle = 3000;
  /// Confirmations are awaited this long.
  Millis spread_timeout = 2000;

  static NetworkDbConfig Lan() { return {}; }
  static NetworkDbConfig Fast() {
    NetworkDbConfig config;
    config.digest_patience = 300;
    config.bulk_sync_interval = 10'000;
    config.bulk_sync_timeout = 10'000;
    return config;
  }
};

/// A logical clock that never runs backwards and never past what it has witnessed by more than one.
class LamportClock {
 public:
  uint64_t time() const { return time_; }
  uint64_t Next() { return ++time_; }
  void Witness(uint64_t seen) {
    if (seen > time_) time_ = seen;
  }

 private:
  uint64_t time_ = 0;
};

class NetworkDb final : public Delegate {
 public:
  NetworkDb(NetworkDbConfig config, EventSink* sink, Counters* counters);
  /// Must be called once, before Swim::Start.
  void Attach(Swim* swim) { swim_ = swim; }

  // Commands; the caller sets the time with Swim::SetNow.
  void JoinNetwork(const std::string& network, uint32_t generation);
  void LeaveNetwork(const std::string& network);
  void PutEntry(const std::string& network, const std::string& table, const std::string& key,
                Bytes value);
  void DeleteEntry(const std::string& network, const std::string& table, const std::string& key);

  /// Resolves through EventSink::OnSpread once every live node of these networks that runs skepd has
  /// confirmed to hold what this node has announced on them until now, or after spread_timeout.
  void SpreadOwn(uint64_t id, const std::vector<std::string>& networks);
  /// JavaScript has put in force what kInSync told: `owner` may know.
  void Acknowledge(const std::string& network, const std::string& owner, uint64_t version);

  // Delegate.
  Bytes Meta() const override { return {}; }
  Bytes AckPayload() const override { return {}; }
  void OnUserMessage(ByteView message) override { OnGossip(message, false, 0); }
  void TakeBroadcasts(size_t overhead, size_t bytes_max, std::vector<Bytes>* out) override;
  bool HasBroadcasts() const override { return broadcasts_.size() > 0; }
  Bytes LocalState(bool join) override;
  void MergeState(ByteView state, bool join) override;
  void OnMember(const Member& member, MemberChange change) override;
  void OnRefuted(bool dead) override;
  void OnJoined(const Endpoint& address) override;
  void OnLeaving() override;
  void OnUserStreamDone(StreamId id, bool ok) override;
  void Tick() override;
  Millis NextDeadline() const override;

  /// For tests: the live entry, null if there is none.
  const Bytes* Find(const std::string& network, const std::string& table,
                    const std::string& key) const;
  size_t entries() const { return entry_count_; }

 private:
  struct EntryKey {
    std::string table;
    std::string key;
    auto operator<=>(const EntryKey&) const = default;
  };
  /// Of a set of entries, whatever their order: XOR of their hashes, so that one can be taken out.
  struct Digest {
    std::array<uint64_t, 2> bits{};
    bool operator==(const Digest&) const = default;
  };
  /// What an owner says of its entries on a network (table skep_digest).
  struct OwnerState {
    Digest digest;
    /// A draining task waits for confirmations.
    bool wanted = false;
    /// The owner started a moment ago and may still lack some of its entries.
    bool settling = false;
  };
  struct Check {
    Millis since = 0;
    Millis asked = 0;
  };
  /// Own news on their way, until all have confirmed (networkdb_agreement.cc).
  struct Spreading {
    uint64_t id = 0;
    std::map<std::string, uint64_t> versions;
    Millis deadline = 0;
  };
  struct Entry {
    std::string owner;
    uint64_t ltime = 0;
    Bytes value;
    bool deleted = false;
    Millis reap_at = kNever;
  };
  /// An entry of a former life, as others hold it, and until when it may stay.
  struct Former {
    Millis until = 0;
    Bytes value;
  };
  /// A network that this node is on, or left not long ago.
  struct OwnNetwork {
    uint64_t ltime = 0;
    uint32_t generation = 0;
    bool leaving = false;
    Millis reap_at = kNever;
    Millis joined_at = 0;
    /// Nodes whose answer to our first bulk sync is still to come.
    std::set<std::string> first_syncs;
    std::map<EntryKey, Entry> entries;
    /// Entries that others hold under our name and we do not know, and until when they may stay.
    std::map<EntryKey, Former> former;
    /// Of the live entries of each owner as held here.
    std::map<std::string, Digest> digests;
    /// Owners whose entries have yet to be compared with what the owner says.
    std::map<std::string, Check> checks;
    bool digest_due = false;
    bool settling_told = false;
    /// Versions of others that were confirmed from here, and of ours that others confirmed.
    std::map<std::string, uint64_t> acks;
    std::map<std::string, uint64_t> acked;
    BroadcastQueue own{limits::kTableBroadcastsMax};
    BroadcastQueue relayed{limits::kTableBroadcastsMax};
  };
  struct Attachment {
    uint64_t ltime = 0;
    bool leaving = false;
    Millis reap_at = kNever;
  };
  enum class NodeState { kActive, kFailed, kLeft };
  struct Node {
    NodeState state = NodeState::kActive;
    uint64_t ltime = 0;
  };

  // networkdb.cc: nodes and networks.
  void OnGossip(ByteView message, bool bulk, int depth);
  void OnNodeEvent(const NodeEvent& event, ByteView raw);
  bool ApplyNodeEvent(const NodeEvent& event);
  bool ApplyNetworkEvent(const NetworkEvent& event);
  bool SetAttachment(const NetworkEvent& event);
  void OnOwnNetworkRumour(const NetworkEvent& event);
  void OnOwnNodeRumour(const NodeEvent& event);
  void AddNetworkNode(const std::string& network, const std::string& node);
  void RemoveNetworkNode(const std::string& network, const std::string& node);
  void DropNode(const std::string& node, NodeState state);
  void SendNodeEvent(bool join);
  void SendNetworkEvent(const std::string& network, bool join, uint64_t ltime);
  void PushBroadcast(BroadcastQueue* queue, std::string subject, Bytes message);
  OwnNetwork* Joined(const std::string& network);
  bool Active(const std::string& node) const;
  const std::set<std::string>& NodesOf(const std::string& network) const;

  // networkdb_tables.cc: entries.
  void OnTableEvent(const TableEvent& event, ByteView raw, bool bulk);
  bool ApplyTableEvent(const TableEvent& event, OwnNetwork* network, bool bulk);
  void OnOwnTableRumour(const TableEvent& event, OwnNetwork* network);
  bool Store(OwnNetwork* network, const EntryKey& key, Entry entry);
  void Erase(OwnNetwork* network, std::map<EntryKey, Entry>::iterator at);
  void DropEntriesOf(const std::string& network, const std::string& owner, RemovalReason reason);
  void ClearEntries(OwnNetwork* network);
  void AnnounceOwn(const std::string& id, OwnNetwork* network, const EntryKey& key,
                   TableEventKind kind);
  void Disown(const std::string& id, OwnNetwork* network, const EntryKey& key, Bytes value);
  TableEvent EventOf(const std::string& network, const EntryKey& key, const Entry& entry) const;
  void EmitEntry(const std::string& network, uint32_t generation, const EntryKey& key,
                 const Entry& entry, bool known);
  void EmitRemoved(const std::string& network, uint32_t generation, const EntryKey& key,
                   const std::string& owner, RemovalReason reason);

  // networkdb_agreement.cc: owners' digests and confirmations.
  static constexpr Millis kNotStarted = -1;
  static bool IsOrdinary(const std::string& table);
  static Digest HashOf(const EntryKey& key, const Bytes& value);
  static Bytes Encode(const OwnerState& state);
  static std::optional<OwnerState> DecodeOwnerState(ByteView value);
  void Count(OwnNetwork* network, const EntryKey& key, const Entry& entry);
  void OnAgreementEntry(OwnNetwork* network, const EntryKey& key, const Entry& entry);
  bool Settling(const OwnNetwork& network) const;
  uint64_t PublishDigest(const std::string& id, OwnNetwork* network);
  void PublishDigests();
  void TellDigests();
  void CompareWithOwners();
  void CompareWithOwner(const std::string& id, OwnNetwork* network, const std::string& owner,
                        Check* check);
  void RemoveGhosts(const BulkSync& message);
  bool IsSpread(const Spreading& spreading, size_t* missing) const;
  void EndSpreadings();

  // networkdb_sync.cc: gossip inside networks, bulk sync, reaping.
  void GossipTables();
  void GossipNetwork(const std::string& id, OwnNetwork* network);
  void ScheduleSync(const std::string& node, Millis within);
  void StartDueSyncs();
  void PeriodicSync();
  bool SendBulkSync(const std::string& node, const std::vector<std::string>& networks,
                    bool unsolicited);
  void OnBulkSync(const BulkSync& message);
  void SyncEnded(const std::string& node, bool ok);
  std::vector<std::string> CommonNetworks(const std::string& node) const;
  bool InSync(const OwnNetwork& network) const;
  void Reap();
  void DisownFormerLife();
  void Reannounce();
  void RefillReturned();

  NetworkDbConfig config_;
  EventSink* sink_;
  Counters* counters_;
  Swim* swim_ = nullptr;

  LamportClock network_clock_;
  LamportClock table_clock_;
  std::map<std::string, OwnNetwork> networks_;
  std::map<std::string, Node> nodes_;
  std::map<std::string, std::map<std::string, Attachment>> attachments_;
  size_t attachment_count_ = 0;
  std::map<std::string, std::set<std::string>> network_nodes_;
  /// Networks that others believe us on, from a former life, and until when we may join them again.
  std::map<std::string, Millis> former_networks_;
  BroadcastQueue broadcasts_;
  size_t entry_count_ = 0;
  size_t entry_bytes_ = 0;

  /// Nodes to bulk sync with, and when.
  std::map<std::string, Millis> pending_syncs_;
  /// Streams under way, and nodes whose answer is awaited with its deadline.
  std::map<StreamId, std::string> sync_streams_;
  std::map<std::string, Millis> awaited_syncs_;
  /// Members that came back from the dead: asked for their networks if gossip has not told by then.
  std::map<std::string, Millis> returned_;
  Millis reannounce_at_ = kNever;
  std::vector<Spreading> spreadings_;
  Millis started_ = kNotStarted;
  Millis next_digest_ = 0;
  Millis next_gossip_ = 0;
  Millis next_sync_ = 0;
  Millis next_reap_ = 0;
};

}  // namespace skep::gossip
