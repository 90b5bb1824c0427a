// AES-GCM by the OpenSSL that Node.js carries, and the ring of keys. The functions are looked up
// when first needed, in the process itself: the addon links no crypto library and ships none.
#pragma once

#include <optional>

#include "gossip/bytes.h"

namespace skep::gossip {

inline constexpr size_t kNonceBytes = 12;
inline constexpr size_t kTagBytes = 16;

/// Whether AES-GCM is there at all (a Node.js built without its crypto has none).
bool AeadAvailable();

/// Appends ciphertext and tag to `out`. False if the key has no AES length or the library fails.
bool AeadSeal(ByteView key, ByteView nonce, ByteView associated, ByteView plain, Bytes* out);

/// Decrypts ciphertext with its tag at the end. Empty if it was not sealed with this key.
std::optional<Bytes> AeadOpen(ByteView key, ByteView nonce, ByteView associated, ByteView sealed);

/// The keys of a ring, oldest first. NetworkDB's rule: the second oldest encrypts, so that a key
/// is known everywhere before anyone uses it; every key decrypts.
class KeyRing {
 public:
  void Set(std::vector<Bytes> keys) { keys_ = std::move(keys); }
  bool empty() const { return keys_.empty(); }
  const Bytes& primary() const { return keys_.size() > 1 ? keys_[1] : keys_[0]; }
  /// Tries every key, the primary first.
  std::optional<Bytes> Open(ByteView nonce, ByteView associated, ByteView sealed) const;

 private:
  std::vector<Bytes> keys_;
};

}  // namespace skep::gossip
