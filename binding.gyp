{
  "variables": {
    "bpf_clang%": "clang",
    "multiarch": "<!(gcc -print-multiarch)"
  },
  "targets": [
    {
      "target_name": "bpf_skeletons",
      "type": "none",
      "actions": []
    },
    {
      "target_name": "skep",
      "dependencies": [ "bpf_skeletons" ],
      "sources": [
        "native/addon.cc",
        "native/datapath/register.cc",
        "native/netlink/register.cc",
        "native/netlink/netlink.cc",
        "native/netlink/rtnetlink.cc",
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
