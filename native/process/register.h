// Puts the classes about other processes on the addon's exports.
#pragma once

#include <napi.h>

namespace skep::process {

void Register(Napi::Env env, Napi::Object exports);

}  // namespace skep::process
