/** Key records while the root of the cluster rotates: no peer is lost in between. */
import t from 'tap';
import { KEY_TABLE, writeKeyRecord } from '../../../src/network/encryption/key-record.js';
import { KnownKeys } from '../../../src/network/encryption/known-keys.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { newCertificateRequest } from '../../../src/rpc/identity/keys.js';
import {
  createRootCa,
  crossSign,
  issueNodeCertificate,
  type SigningCa,
} from '../../../src/rpc/identity/root-ca.js';
import type { TlsIdentity } from '../../../src/rpc/types.js';

async function identityOf(nodeId: string, ca: SigningCa, rootCaPem: string): Promise<TlsIdentity> {
  const { csrPem, privateKeyPem } = await newCertificateRequest();
  const template = { csrPem, nodeId, clusterId: 'c1', role: 'worker', lifetimeMs: 9e7 } as const;
  const certificatePem = await issueNodeCertificate(ca, template, systemEnvironment);
  return { rootCaPem, certificatePem, privateKeyPem };
}

void t.test('a record of the next root is believed once this node has it, too', async (t) => {
  const oldRoot = await createRootCa(systemEnvironment);
  const newRoot = await createRootCa(systemEnvironment);
  const intermediatePem = await crossSign(newRoot.certificatePem, oldRoot, systemEnvironment);
  const rotating = {
    certificatePem: intermediatePem,
    privateKeyPem: newRoot.privateKeyPem,
    intermediatePem,
  };
  const record = (identity: TlsIdentity, sequence: bigint): Uint8Array =>
    writeKeyRecord(
      {
        nodeId: 'peer',
        sequence,
        expiresMs: Date.now() + 1e6,
        underlayAddress: '10.0.0.1',
        tunnel: 5,
        generations: [{ number: 1n, publicKey: '11'.repeat(32), port: 7947 }],
      },
      identity,
    );
  let own = await identityOf('self', oldRoot, oldRoot.certificatePem);
  const known = new KnownKeys(
    () => own,
    () => Date.now(),
  );
  const hear = (value: Uint8Array) =>
    known.apply({
      type: 'entry',
      networkId: 'net',
      table: KEY_TABLE,
      key: 'peer',
      owner: 'peer',
      value,
    });
  const sequences = () => known.peers().map(({ sequence }) => sequence);
  const before = await identityOf('peer', oldRoot, oldRoot.certificatePem);
  const after = await identityOf('peer', rotating, oldRoot.certificatePem);
  t.equal(hear(record(before, 1n)), 'changed');
  t.equal(hear(record(after, 2n)), 'certificate');
  t.same(sequences(), [1n], 'what was believed stays');
  t.equal(known.judgeAgain(), 'unchanged');

  own = await identityOf('self', rotating, oldRoot.certificatePem);
  t.equal(known.judgeAgain(), 'changed');
  t.same(sequences(), [2n]);
  // In the end there is the new root alone.
  own = { ...own, rootCaPem: newRoot.certificatePem };
  t.equal(hear(record(after, 3n)), 'changed');
  t.equal(hear(record(before, 4n)), 'certificate');
  t.same(sequences(), [3n]);
});
