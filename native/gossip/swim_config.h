// Numbers of the failure detector. `Lan` is memberlist's default LAN configuration; `Fast` finds a
// dead member in about a second and costs five times the (small) packets.
#pragma once

#include "gossip/swim_messages.h"

namespace skep::gossip {

struct SwimConfig {
  std::string name;
  Endpoint advertise;
  Versions versions{};

  Millis probe_interval = 1000;
  Millis probe_timeout = 500;
  int indirect_checks = 3;
  int suspicion_mult = 4;
  int suspicion_max_mult = 6;
  Millis gossip_interval = 200;
  int gossip_nodes = 3;
  int retransmit_mult = 4;
  int awareness_max = 8;
  Millis push_pull_interval = 30'000;
  /// How long the dead still get gossip, and how long before a name is forgotten.
  Millis gossip_to_dead = 30'000;
  Millis stream_timeout = 10'000;
  /// A random failed member is contacted this often (NetworkDB: 1 s, serf: 30 s).
  Millis reconnect_interval = 1000;
  Millis reconnect_timeout = 3000;
  /// Seeds are contacted this often while none of them is among the living (NetworkDB: 60 s).
  Millis rejoin_interval = 60'000;
  /// Failed members are tried this long (NetworkDB: 24 h).
  Millis failed_retention = 24 * 3'600'000;
  /// Content of a datagram, envelope included: memberlist's 1400.
  size_t packet_bytes = 1400;

  static SwimConfig Lan() { return {}; }

  /// Three members: a killed one is suspected after one probe round (0.2 to 0.4 s) and dead 0.8 s
  /// later. From four on: 1.6 s falling to 0.8 s with two confirmations. A member must be silent
  /// on UDP, through three others and on TCP for all of that time.
  static SwimConfig Fast() {
    SwimConfig config;
    config.probe_interval = 200;
    config.probe_timeout = 100;
    config.suspicion_max_mult = 2;
    config.gossip_interval = 50;
    config.push_pull_interval = 10'000;
    config.stream_timeout = 5000;
    config.rejoin_interval = 10'000;
    return config;
  }
};

}  // namespace skep::gossip
