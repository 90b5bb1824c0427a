{
  "variables": {
    "bpf_clang%": "clang",
    "multiarch": "<!(gcc -print-multiarch)"
  },
  "targets": [
    {
      "target_name": "bpf_programs",
      "type": "none",
      "actions": [
        {
          "action_name": "bpf_object",
          "inputs": [
            "native/bpf/skep.bpf.c",
            "native/bpf/lib/address.h",
            "native/bpf/lib/arp.h",
            "native/bpf/lib/common.h",
            "native/bpf/lib/connection.h",
            "native/bpf/lib/consts.h",
            "native/bpf/lib/drop_reasons.h",
            "native/bpf/lib/choice.h",
            "native/bpf/lib/flows.h",
            "native/bpf/lib/forward.h",
            "native/bpf/lib/map_list.h",
            "native/bpf/lib/maps.h",
            "native/bpf/lib/mesh.h",
            "native/bpf/lib/open_published.h",
            "native/bpf/lib/open_virtual.h",
            "native/bpf/lib/packet.h",
            "native/bpf/lib/pending.h",
            "native/bpf/lib/published.h",
            "native/bpf/lib/reply.h",
            "native/bpf/lib/rewrite.h",
            "native/bpf/lib/service.h",
            "native/bpf/lib/structs.h",
            "native/bpf/lib/virtual_address.h",
            "native/bpf/lib/decapsulate.h",
            "native/bpf/lib/vxlan.h",
            "native/bpf/lib/encrypted.h",
            "native/bpf/lib/refuse.h",
            "native/bpf/lib/refused.h",
            "native/bpf/lib/host_socket.h",
            "native/bpf/lib/icmp_error.h",
            "native/bpf/lib/trace.h",
            "native/bpf/bind.bpf.c",
            "native/bpf/container.bpf.c",
            "native/bpf/host.bpf.c",
            "native/bpf/open.bpf.c",
            "native/bpf/overlay.bpf.c",
            "native/bpf/socket.bpf.c",
            "native/bpf/uplink.bpf.c",
            "native/bpf/wireguard.bpf.c"
          ],
          "outputs": [ "<(SHARED_INTERMEDIATE_DIR)/skep.bpf.o" ],
          "action": [
            "<(bpf_clang)", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3",
            "-I/usr/include/<(multiarch)", "-c", "native/bpf/skep.bpf.c", "-o", "<@(_outputs)"
          ]
        },
        {
          "action_name": "bpf_header",
          "inputs": [ "<(SHARED_INTERMEDIATE_DIR)/skep.bpf.o", "native/bpf/embed.mjs" ],
          "outputs": [ "<(SHARED_INTERMEDIATE_DIR)/skep_bpf.h" ],
          "action": [
            "node", "native/bpf/embed.mjs", "<(SHARED_INTERMEDIATE_DIR)/skep.bpf.o", "<@(_outputs)"
          ]
        }
      ]
    },
    {
      "target_name": "skep",
      "dependencies": [ "bpf_programs" ],
      "sources": [
        "native/addon.cc",
        "native/datapath/register.cc",
        "native/datapath/attachments.cc",
        "native/datapath/bpf_syscalls.cc",
        "native/datapath/datapath_object.cc",
        "native/datapath/devices.cc",
        "native/datapath/direct.cc",
        "native/datapath/echo.cc",
        "native/datapath/self_test.cc",
        "native/datapath/encryption.cc",
        "native/datapath/engine.cc",
        "native/datapath/loads.cc",
        "native/datapath/maglev.cc",
        "native/datapath/map_set.cc",
        "native/datapath/programs.cc",
        "native/datapath/datapath_sight.cc",
        "native/datapath/repair.cc",
        "native/datapath/reserved_ports.cc",
        "native/datapath/slots.cc",
        "native/datapath/tables.cc",
        "native/datapath/trace.cc",
        "native/netlink/register.cc",
        "native/netlink/kernel_probe.cc",
        "native/netlink/namespace.cc",
        "native/netlink/namespace_resolver.cc",
        "native/netlink/redirect_table.cc",
        "native/netlink/netlink.cc",
        "native/netlink/rtnetlink.cc",
        "native/gossip/bytes.cc",
        "native/gossip/msgpack.cc",
        "native/gossip/protobuf.cc",
        "native/gossip/lzw.cc",
        "native/gossip/crc32.cc",
        "native/gossip/aead.cc",
        "native/gossip/swim_messages.cc",
        "native/gossip/envelope.cc",
        "native/gossip/broadcast_queue.cc",
        "native/gossip/swim.cc",
        "native/gossip/swim_probe.cc",
        "native/gossip/swim_state.cc",
        "native/gossip/networkdb_messages.cc",
        "native/gossip/networkdb.cc",
        "native/gossip/networkdb_tables.cc",
        "native/gossip/networkdb_sync.cc",
        "native/gossip/serf_delegate.cc",
        "native/gossip/outbox.cc",
        "native/gossip/sockets.cc",
        "native/gossip/runtime.cc",
        "native/gossip/runtime_streams.cc",
        "native/gossip/native_gossip.cc",
        "native/gossip/register.cc"
      ],
      "include_dirs": [
        "<!(node -p \"require('node-addon-api').include_dir\")",
        "<(SHARED_INTERMEDIATE_DIR)",
        "native"
      ],
      "defines": [ "NAPI_VERSION=8", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED" ],
      "cflags!": [ "-fno-exceptions" ],
      "cflags_cc!": [ "-fno-exceptions", "-fno-rtti", "-std=gnu++17" ],
      "cflags_c": [ "-std=gnu11", "-Wno-sign-compare" ],
      "cflags_cc": [ "-std=c++20", "-fexceptions", "-Wall", "-Wextra", "-fvisibility=hidden" ],
      "ldflags": [ "-static-libstdc++", "-static-libgcc", "-Wl,--gc-sections", "-Wl,-z,now" ]
    }
  ]
}
