// Puts the netlink classes on the addon's exports.
#include "netlink/register.h"

#include "netlink/netlink.h"

namespace skep::netlink {

void Register(Napi::Env env, Napi::Object exports) { Netlink::Register(env, exports); }

}  // namespace skep::netlink
