/**
 * Seals private keys for the disk with a key made from the node's own: whoever cannot read that one,
 * as on a locked manager, cannot read these. AES-256-GCM (NIST SP 800-38D), key by HKDF (RFC 5869).
 */
import { createCipheriv, createDecipheriv, createPrivateKey, hkdfSync } from 'node:crypto';

const CIPHER = 'aes-256-gcm';
const SEAL_KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const PURPOSE = 'skep: keys of encrypted networks';

/** Seals and opens under one node key. */
export class KeySeal {
  private readonly key: Uint8Array;

  /** `nodeKeyPem`: PKCS#8. `randomBytes`: of cryptographic quality. */
  constructor(
    nodeKeyPem: string,
    private readonly randomBytes: (count: number) => Uint8Array,
  ) {
    const der = createPrivateKey(nodeKeyPem).export({ type: 'pkcs8', format: 'der' });
    this.key = new Uint8Array(hkdfSync('sha256', der, '', PURPOSE, SEAL_KEY_BYTES));
  }

  /** Nonce, sealed bytes, tag. */
  seal(secret: Uint8Array): Uint8Array {
    const nonce = this.randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.key, nonce);
    return Buffer.concat([nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()]);
  }

  /** The secret; undefined when it was sealed under another key, or changed. */
  open(sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < NONCE_BYTES + TAG_BYTES) return undefined;
    const decipher = createDecipheriv(CIPHER, this.key, sealed.subarray(0, NONCE_BYTES));
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    try {
      const text = decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES));
      return new Uint8Array(Buffer.concat([text, decipher.final()]));
    } catch {
      return undefined; // Authentication failed: that is the answer.
    }
  }
}
