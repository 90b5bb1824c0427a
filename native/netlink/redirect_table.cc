// See redirect_table.h. The messages are those of linux/netfilter/nf_tables.h; numbers in them are
// big-endian.
#include "netlink/redirect_table.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "netlink/message_builder.h"
#include "netlink/system_error.h"

namespace skep::netlink {
namespace {

/// Unique in its namespace: no two sockets of 127.0.0.11 have one port.
std::string TableName(uint16_t udp_port) { return "skep-" + std::to_string(udp_port); }

constexpr char kChain[] = "resolver";
constexpr char kWhat[] = "netlink(nf_tables)";
constexpr size_t kReceiveBytes = 32 * 1024;
// Offsets in the IPv4 header and in the headers of UDP and TCP.
constexpr uint32_t kSourceAddressAt = 12;
constexpr uint32_t kDestinationAddressAt = 16;
constexpr uint32_t kSourcePortAt = 0;
constexpr uint32_t kDestinationPortAt = 2;
constexpr uint32_t kUdpChecksumAt = 6;
constexpr uint32_t kTcpChecksumAt = 16;

/// Messages of one transaction: all of them take effect or none.
class Batch {
 public:
  Batch() { Bracket(NFNL_MSG_BATCH_BEGIN); }

  /// Begins a message about the IPv4 tables.
  static MessageBuilder Message(uint16_t type, uint16_t flags) {
    const nfgenmsg body{NFPROTO_IPV4, NFNETLINK_V0, 0};
    const auto full = static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type);
    return MessageBuilder(full, static_cast<uint16_t>(NLM_F_ACK | NLM_F_CREATE | flags), body);
  }
  void Add(MessageBuilder& message) {
    Append(message.Finish());
    ++messages_;
  }
  /// Sends everything. @throws SystemError with the kernel's first complaint
  void Commit(int socket) {
    Bracket(NFNL_MSG_BATCH_END);
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    if (::sendto(socket, bytes_.data(), bytes_.size(), 0, reinterpret_cast<sockaddr*>(&kernel),
                 sizeof kernel) < 0) {
      throw SystemError(errno, kWhat);
    }
    ReadAnswers(socket);
  }

 private:
  void Bracket(uint16_t type) {
    const nfgenmsg body{AF_UNSPEC, NFNETLINK_V0, htons(NFNL_SUBSYS_NFTABLES)};
    Append(MessageBuilder(type, 0, body).Finish());
  }
  void Append(std::vector<uint8_t>& message) {
    reinterpret_cast<nlmsghdr*>(message.data())->nlmsg_seq = ++sequence_;
    bytes_.insert(bytes_.end(), message.begin(), message.end());
  }
  /// The kernel has worked the batch off before `sendto` returns, so nothing is waited for.
  void ReadAnswers(int socket) const {
    std::vector<uint8_t> buffer(kReceiveBytes);
    int acknowledged = 0;
    while (acknowledged < messages_) {
      const ssize_t received = ::recv(socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (received < 0 && errno == EINTR) continue;
      if (received < 0) throw SystemError(errno, kWhat, "a message was not acknowledged");
      auto left = static_cast<uint32_t>(received);
      for (auto* answer = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(answer, left);
           answer = NLMSG_NEXT(answer, left)) {
        if (answer->nlmsg_type != NLMSG_ERROR) continue;
        const auto* failure = static_cast<const nlmsgerr*>(NLMSG_DATA(answer));
        if (failure->error != 0) throw SystemError(-failure->error, kWhat);
        ++acknowledged;
      }
    }
  }

  std::vector<uint8_t> bytes_;
  uint32_t sequence_ = 0;
  int messages_ = 0;
};

/// One rule: expressions in the order they are evaluated in.
class Rule {
 public:
  explicit Rule(const std::string& table)
      : message_(Batch::Message(NFT_MSG_NEWRULE, NLM_F_APPEND)) {
    message_.Text(NFTA_RULE_TABLE, table).Text(NFTA_RULE_CHAIN, kChain);
    expressions_ = message_.Open(NFTA_RULE_EXPRESSIONS | NLA_F_NESTED);
  }
  /// The rule ends here unless this is so.
  template <typename Plain>
  Rule& MetaIs(uint32_t key, const Plain& value) {
    const Nest meta = Open("meta");
    Number(NFTA_META_DREG, NFT_REG_1).Number(NFTA_META_KEY, key).Close(meta);
    return Compare(value);
  }
  template <typename Plain>
  Rule& PayloadIs(uint32_t base, uint32_t offset, const Plain& value) {
    const Nest payload = Open("payload");
    Number(NFTA_PAYLOAD_DREG, NFT_REG_1).Where(base, offset, sizeof value).Close(payload);
    return Compare(value);
  }
  Rule& Accept() {
    const Nest immediate = Open("immediate");
    Number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    const size_t data = message_.Open(NFTA_IMMEDIATE_DATA | NLA_F_NESTED);
    const size_t verdict = message_.Open(NFTA_DATA_VERDICT | NLA_F_NESTED);
    Number(NFTA_VERDICT_CODE, NF_ACCEPT);
    message_.Close(verdict);
    message_.Close(data);
    return Close(immediate);
  }
  Rule& Untracked() { return Close(Open("notrack")); }
  /// Writes a port and keeps the checksum right.
  Rule& SetPort(uint32_t offset, uint16_t port, uint32_t checksum_at) {
    const Nest immediate = Open("immediate");
    Number(NFTA_IMMEDIATE_DREG, NFT_REG_1);
    Data(NFTA_IMMEDIATE_DATA, htons(port)).Close(immediate);
    const Nest payload = Open("payload");
    Number(NFTA_PAYLOAD_SREG, NFT_REG_1).Where(NFT_PAYLOAD_TRANSPORT_HEADER, offset, sizeof port);
    Number(NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_INET);
    return Number(NFTA_PAYLOAD_CSUM_OFFSET, checksum_at).Close(payload);
  }
  void AddTo(Batch& batch) {
    message_.Close(expressions_);
    batch.Add(message_);
  }

 private:
  struct Nest {
    size_t element;
    size_t data;
  };
  Nest Open(const char* expression) {
    const size_t element = message_.Open(NFTA_LIST_ELEM | NLA_F_NESTED);
    message_.Text(NFTA_EXPR_NAME, expression);
    return {element, message_.Open(NFTA_EXPR_DATA | NLA_F_NESTED)};
  }
  Rule& Close(const Nest& nest) {
    message_.Close(nest.data);
    message_.Close(nest.element);
    return *this;
  }
  Rule& Number(uint16_t type, uint32_t value) {
    message_.Value(type, htonl(value));
    return *this;
  }
  Rule& Where(uint32_t base, uint32_t offset, uint32_t size) {
    return Number(NFTA_PAYLOAD_BASE, base)
        .Number(NFTA_PAYLOAD_OFFSET, offset)
        .Number(NFTA_PAYLOAD_LEN, size);
  }
  template <typename Plain>
  Rule& Data(uint16_t type, const Plain& value) {
    const size_t data = message_.Open(type | NLA_F_NESTED);
    message_.Value(NFTA_DATA_VALUE, value);
    message_.Close(data);
    return *this;
  }
  template <typename Plain>
  Rule& Compare(const Plain& value) {
    const Nest compare = Open("cmp");
    Number(NFTA_CMP_SREG, NFT_REG_1).Number(NFTA_CMP_OP, NFT_CMP_EQ);
    return Data(NFTA_CMP_DATA, value).Close(compare);
  }

  MessageBuilder message_;
  size_t expressions_ = 0;
};

void AddTable(Batch& batch, const std::string& name) {
  // Exclusive: a table of this name that is there already is the last one of a process that ends.
  MessageBuilder table = Batch::Message(NFT_MSG_NEWTABLE, NLM_F_EXCL);
  table.Text(NFTA_TABLE_NAME, name).Value(NFTA_TABLE_FLAGS, htonl(NFT_TABLE_F_OWNER));
  batch.Add(table);
  MessageBuilder chain = Batch::Message(NFT_MSG_NEWCHAIN, 0);
  chain.Text(NFTA_CHAIN_TABLE, name).Text(NFTA_CHAIN_NAME, kChain);
  const size_t hook = chain.Open(NFTA_CHAIN_HOOK | NLA_F_NESTED);
  chain.Value(NFTA_HOOK_HOOKNUM, htonl(NF_INET_LOCAL_OUT));
  chain.Value(NFTA_HOOK_PRIORITY, htonl(static_cast<uint32_t>(NF_IP_PRI_RAW)));
  chain.Close(hook);
  chain.Value(NFTA_CHAIN_POLICY, htonl(NF_ACCEPT)).Text(NFTA_CHAIN_TYPE, "filter");
  batch.Add(chain);
}

/// One transport: where its port is in the packet, and which of our ports stands for port 53.
struct Redirect {
  uint8_t protocol;
  uint16_t port;
  uint32_t checksum_at;
};

/// The packet is for the resolver's port 53; the rule may ask for more before it is added.
Rule Question(const std::string& table, const Redirect& redirect) {
  Rule rule(table);
  rule.MetaIs(NFT_META_L4PROTO, redirect.protocol)
      .PayloadIs(NFT_PAYLOAD_NETWORK_HEADER, kDestinationAddressAt, kResolverAddress)
      .PayloadIs(NFT_PAYLOAD_TRANSPORT_HEADER, kDestinationPortAt, htons(kResolverPort));
  return rule;
}

/// Such a packet goes to our port.
void AddQuestions(Batch& batch, Rule rule, const Redirect& redirect) {
  rule.Untracked()
      .SetPort(kDestinationPortAt, redirect.port, redirect.checksum_at)
      .AddTo(batch);
}

/// What comes from our port comes from port 53.
void AddAnswers(Batch& batch, const std::string& table, const Redirect& redirect) {
  Rule(table)
      .MetaIs(NFT_META_L4PROTO, redirect.protocol)
      .PayloadIs(NFT_PAYLOAD_NETWORK_HEADER, kSourceAddressAt, kResolverAddress)
      .PayloadIs(NFT_PAYLOAD_TRANSPORT_HEADER, kSourcePortAt, htons(redirect.port))
      .Untracked()
      .SetPort(kSourcePortAt, kResolverPort, redirect.checksum_at)
      .AddTo(batch);
}

void RemoveRules(Batch& batch, const std::string& table) {
  MessageBuilder message = Batch::Message(NFT_MSG_DELRULE, 0);
  message.Text(NFTA_RULE_TABLE, table).Text(NFTA_RULE_CHAIN, kChain);
  batch.Add(message);
}

Redirect Udp(uint16_t port) { return {IPPROTO_UDP, port, kUdpChecksumAt}; }
Redirect Tcp(uint16_t port) { return {IPPROTO_TCP, port, kTcpChecksumAt}; }

}  // namespace

RedirectTable::RedirectTable(uint16_t udp_port, uint16_t tcp_port)
    : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)),
      udp_port_(udp_port),
      tcp_port_(tcp_port) {
  if (!socket_.valid()) throw SystemError(errno, "socket(AF_NETLINK)");
  const std::string table = TableName(udp_port);
  Batch batch;
  AddTable(batch, table);
  Rule(table).MetaIs(NFT_META_MARK, kEngineMark).Accept().AddTo(batch);
  for (const Redirect& redirect : {Udp(udp_port), Tcp(tcp_port)}) {
    AddQuestions(batch, Question(table, redirect), redirect);
    AddAnswers(batch, table, redirect);
  }
  batch.Commit(socket_.get());
}

void RedirectTable::Release(const std::vector<uint16_t>& clients) {
  if (!socket_.valid()) return;
  const std::string table = TableName(udp_port_);
  const Redirect tcp = Tcp(tcp_port_);
  Batch batch;
  RemoveRules(batch, table);
  Rule(table).MetaIs(NFT_META_MARK, kEngineMark).Accept().AddTo(batch);
  for (const uint16_t client : clients) {
    Rule rule = Question(table, tcp);
    rule.PayloadIs(NFT_PAYLOAD_TRANSPORT_HEADER, kSourcePortAt, htons(client));
    AddQuestions(batch, std::move(rule), tcp);
  }
  AddAnswers(batch, table, Udp(udp_port_));
  AddAnswers(batch, table, tcp);
  batch.Commit(socket_.get());
}

}  // namespace skep::netlink
