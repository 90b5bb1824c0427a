/**
 * When this node must be able to encrypt: before it joins an encrypted network, and, with an encrypted
 * ingress network, from the start, whether it runs tasks or not.
 */
import { SkepError } from '../../model/errors.js';
import type { Logger } from '../../observe/logger.js';
import type { NetworkInfo } from '../network-info.js';
import type { NetworkView } from '../view.js';
import type { Encryption } from './encryption.js';

/** An encrypted network is joined only where its packets can be encrypted. @throws SkepError */
export async function requireEncryption(
  encryption: Pick<Encryption, 'require'>,
  info: Pick<NetworkInfo, 'name' | 'encrypted'>,
): Promise<void> {
  if (!info.encrypted) return;
  try {
    await encryption.require();
  } catch (error) {
    const { code, message } = SkepError.from(error);
    throw new SkepError(code, `network ${info.name} is encrypted, but ${message}`);
  }
}

/** Keeps a key for an encrypted ingress network. */
export class IngressKeys {
  private readonly encryption: Pick<Encryption, 'require' | 'isInUse'>;
  private readonly logger: Logger;
  /** Why there is none, as it was said last. */
  private said: string | undefined;

  constructor(encryption: Pick<Encryption, 'require' | 'isInUse'>, logger: Logger) {
    this.encryption = encryption;
    this.logger = logger;
  }

  /** Called now and then with the networks in use; failures are logged when they change. */
  keep(networks: readonly NetworkView[]): void {
    const ingress = networks.find(({ info }) => info.ingress)?.info;
    if (ingress === undefined || !ingress.encrypted || this.encryption.isInUse) return;
    requireEncryption(this.encryption, ingress).catch((error: unknown) => {
      const err = SkepError.from(error).message;
      if (this.said !== err) this.logger.error({ err }, 'published ports lead to this node only');
      this.said = err;
    });
  }
}
