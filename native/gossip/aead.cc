// AES-GCM through OpenSSL's EVP functions, found in the running process; see aead.h.
#include "gossip/aead.h"

#include <dlfcn.h>

#include <memory>

namespace skep::gossip {
namespace {

// OpenSSL's types stay opaque here; these numbers are part of its stable interface.
struct CipherContext;
struct Cipher;
constexpr int kControlNonceLength = 0x9;
constexpr int kControlGetTag = 0x10;
constexpr int kControlSetTag = 0x11;

struct Library {
  CipherContext* (*context_new)();
  void (*context_free)(CipherContext*);
  const Cipher* (*aes_128_gcm)();
  const Cipher* (*aes_192_gcm)();
  const Cipher* (*aes_256_gcm)();
  int (*init)(CipherContext*, const Cipher*, void*, const uint8_t*, const uint8_t*, int);
  int (*control)(CipherContext*, int, int, void*);
  int (*update)(CipherContext*, uint8_t*, int*, const uint8_t*, int);
  int (*final)(CipherContext*, uint8_t*, int*);
  bool complete = false;
};

template <typename Function>
bool Find(void* handle, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(handle, name));
  return *function != nullptr;
}

Library Load() {
  Library lib{};
  void* handle = RTLD_DEFAULT;
  if (dlsym(handle, "EVP_aes_128_gcm") == nullptr) {
    // Outside Node.js (unit tests) and with a Node.js that links OpenSSL privately.
    for (const char* name : {"libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so"}) {
      if ((handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)) != nullptr) break;
    }
    if (handle == nullptr) return lib;
  }
  lib.complete = Find(handle, "EVP_CIPHER_CTX_new", &lib.context_new) &&
                 Find(handle, "EVP_CIPHER_CTX_free", &lib.context_free) &&
                 Find(handle, "EVP_aes_128_gcm", &lib.aes_128_gcm) &&
                 Find(handle, "EVP_aes_192_gcm", &lib.aes_192_gcm) &&
                 Find(handle, "EVP_aes_256_gcm", &lib.aes_256_gcm) &&
                 Find(handle, "EVP_CipherInit_ex", &lib.init) &&
                 Find(handle, "EVP_CIPHER_CTX_ctrl", &lib.control) &&
                 Find(handle, "EVP_CipherUpdate", &lib.update) &&
                 Find(handle, "EVP_CipherFinal_ex", &lib.final);
  return lib;
}

const Library& Lib() {
  static const Library lib = Load();
  return lib;
}

using Context = std::unique_ptr<CipherContext, void (*)(CipherContext*)>;

/// A context ready for `update`; null when anything is off.
Context Start(ByteView key, ByteView nonce, ByteView associated, bool seal) {
  const Library& lib = Lib();
  if (!lib.complete || nonce.size() != kNonceBytes) return {nullptr, nullptr};
  const Cipher* cipher = key.size() == 16   ? lib.aes_128_gcm()
                         : key.size() == 24 ? lib.aes_192_gcm()
                         : key.size() == 32 ? lib.aes_256_gcm()
                                            : nullptr;
  if (cipher == nullptr) return {nullptr, nullptr};
  Context context(lib.context_new(), lib.context_free);
  const int direction = seal ? 1 : 0;
  int written = 0;
  if (!context || lib.init(context.get(), cipher, nullptr, nullptr, nullptr, direction) != 1 ||
      lib.control(context.get(), kControlNonceLength, kNonceBytes, nullptr) != 1 ||
      lib.init(context.get(), nullptr, nullptr, key.data(), nonce.data(), direction) != 1 ||
      (!associated.empty() &&
       lib.update(context.get(), nullptr, &written, associated.data(),
                  static_cast<int>(associated.size())) != 1)) {
    return {nullptr, nullptr};
  }
  return context;
}

}  // namespace

bool AeadAvailable() { return Lib().complete; }

bool AeadSeal(ByteView key, ByteView nonce, ByteView associated, ByteView plain, Bytes* out) {
  const Library& lib = Lib();
  Context context = Start(key, nonce, associated, true);
  if (!context) return false;
  const size_t start = out->size();
  out->resize(start + plain.size() + kTagBytes);
  int written = 0, finished = 0;
  if (!plain.empty() && lib.update(context.get(), out->data() + start, &written, plain.data(),
                                   static_cast<int>(plain.size())) != 1) {
    return false;
  }
  return lib.final(context.get(), out->data() + start + written, &finished) == 1 &&
         lib.control(context.get(), kControlGetTag, kTagBytes,
                     out->data() + start + plain.size()) == 1;
}

std::optional<Bytes> AeadOpen(ByteView key, ByteView nonce, ByteView associated, ByteView sealed) {
  const Library& lib = Lib();
  if (sealed.size() < kTagBytes) return std::nullopt;
  Context context = Start(key, nonce, associated, false);
  if (!context) return std::nullopt;
  const ByteView text = sealed.first(sealed.size() - kTagBytes);
  Bytes tag(sealed.end() - kTagBytes, sealed.end());
  Bytes plain(text.size() + kTagBytes);
  int written = 0, finished = 0;
  if (!text.empty() && lib.update(context.get(), plain.data(), &written, text.data(),
                                  static_cast<int>(text.size())) != 1) {
    return std::nullopt;
  }
  if (lib.control(context.get(), kControlSetTag, kTagBytes, tag.data()) != 1 ||
      lib.final(context.get(), plain.data() + written, &finished) != 1) {
    return std::nullopt;
  }
  plain.resize(text.size());
  return plain;
}

std::optional<Bytes> KeyRing::Open(ByteView nonce, ByteView associated, ByteView sealed) const {
  if (keys_.empty()) return std::nullopt;
  if (auto plain = AeadOpen(primary(), nonce, associated, sealed)) return plain;
  for (const Bytes& key : keys_) {
    if (&key == &primary()) continue;
    if (auto plain = AeadOpen(key, nonce, associated, sealed)) return plain;
  }
  return std::nullopt;
}

}  // namespace skep::gossip
