// Puts the netlink classes on the addon's exports.
#include "netlink/register.h"

namespace skep::netlink {

void Register(Napi::Env env, Napi::Object exports) {
  (void)env;
  (void)exports;
}

}  // namespace skep::netlink
