// Puts the netlink classes on the addon's exports.
#pragma once

#include <napi.h>

namespace skep::netlink {

void Register(Napi::Env env, Napi::Object exports);

}  // namespace skep::netlink
