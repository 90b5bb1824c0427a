/**
 * Rotation of the cluster's root, with the real services over TLS and certificates held against
 * OpenSSL's own command line.
 */
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { clone, create } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import t, { type Test } from 'tap';
import { StoreControl } from '../../../src/manager/control/store-control.js';
import { NodeCA } from '../../../src/model/gen/docker/swarmkit/v1/ca_pb.js';
import { type Cluster, NodeSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ClusterSpec,
  ClusterSpecSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  CAConfigSchema,
  IssuanceStatus_State,
  NodeDescriptionSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { ClientSession } from '../../../src/rpc/client-session.js';
import { joinCluster } from '../../../src/rpc/identity/join.js';
import { requestCertificate } from '../../../src/rpc/identity/request-certificate.js';
import {
  createRootCa,
  isSignedBy,
  issueNodeCertificate,
  readNodeCertificate,
  withIntermediates,
} from '../../../src/rpc/identity/root-ca.js';
import { newCertificateRequest } from '../../../src/rpc/identity/keys.js';
import { tlsInfoOf } from '../../../src/rpc/identity/tls-info.js';
import { grpcTransport } from '../../../src/rpc/manager-connection.js';
import type { TlsIdentity } from '../../../src/rpc/types.js';
import { startTestCluster, type TestCluster } from '../../rpc/test-cluster.js';
import { until } from '../../rpc/until.js';

const NO_TOKENS = { workerJoinToken: false, managerJoinToken: false, managerUnlockKey: false };

function folder(t: Pick<Test, 'teardown'>): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'skep-rotation-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** `openssl verify` of a leaf with the rest of its chain untrusted; its whole output. */
function opensslVerify(directory: string, chainPem: string, rootPem: string): string {
  const [leaf = '', ...rest] = chainPem.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? [];
  const file = (name: string, text: string): string => {
    writeFileSync(path.join(directory, name), `${text}\n`);
    return path.join(directory, name);
  };
  const untrusted = rest.length === 0 ? [] : ['-untrusted', file('untrusted.pem', rest.join('\n'))];
  const args = ['-x509_strict', '-CAfile', file('root.pem', rootPem), ...untrusted];
  try {
    return execFileSync('openssl', ['verify', ...args, file('leaf.pem', leaf)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    }).trim();
  } catch (error) {
    return (error as { stderr: string }).stderr.trim();
  }
}

interface Fixture {
  readonly cluster: TestCluster;
  readonly update: (change: (spec: ClusterSpec) => void) => Promise<Cluster>;
  readonly rotate: () => Promise<Cluster>;
}

async function setUp(t: Test): Promise<Fixture> {
  const cluster = await startTestCluster();
  t.teardown(() => cluster.stop());
  const managers = { isMember: () => true, canRemove: () => false };
  const { store } = cluster;
  const control = new StoreControl({ store, environment: systemEnvironment, managers });
  const update = async (change: (spec: ClusterSpec) => void): Promise<Cluster> => {
    const current = control.getCluster();
    const spec = clone(ClusterSpecSchema, current.spec ?? create(ClusterSpecSchema));
    spec.caConfig ??= create(CAConfigSchema);
    change(spec);
    return control.updateCluster(current.meta?.version?.index ?? 0n, spec, NO_TOKENS);
  };
  const rotate = () =>
    update((spec) => {
      if (spec.caConfig !== undefined) spec.caConfig.forceRotate += 1n;
    });
  return { cluster, update, rotate };
}

async function renew(cluster: TestCluster, identity: TlsIdentity): Promise<TlsIdentity> {
  const session = new ClientSession({
    addr: cluster.addr,
    tls: {
      ca: identity.rootCaPem,
      cert: identity.certificatePem,
      key: identity.privateKeyPem,
      servername: 'swarm-manager',
    },
    clock: systemEnvironment.clock,
  });
  try {
    return await requestCertificate(
      createClient(NodeCA, grpcTransport(session)),
      { rootCaPem: identity.rootCaPem },
      systemEnvironment,
      new AbortController().signal,
    );
  } finally {
    session.destroy(new ConnectError('done', Code.Canceled));
  }
}

/** What the node's agent would report in its next session. */
async function report(cluster: TestCluster, identity: TlsIdentity): Promise<void> {
  const { nodeId } = readNodeCertificate(identity.certificatePem);
  const { trustRoot, issuer } = tlsInfoOf(identity);
  await cluster.store.update((write) => {
    const copy = clone(NodeSchema, write.get('node', nodeId) ?? create(NodeSchema));
    copy.description = create(NodeDescriptionSchema, {
      tlsInfo: {
        trustRoot: Buffer.from(trustRoot),
        certIssuerSubject: issuer.subject,
        certIssuerPublicKey: issuer.publicKey,
      },
    });
    write.update('node', copy);
  });
}

function state(cluster: TestCluster, nodeId: string): IssuanceStatus_State | undefined {
  const node = cluster.store.view((read) => read.get('node', nodeId));
  return node?.certificate?.status?.state;
}

void t.test('certificates of a rotation lead to both roots', async (t) => {
  const directory = folder(t);
  const { cluster, rotate } = await setUp(t);
  const token = cluster.workerToken();
  const join = async (joinToken: string): Promise<TlsIdentity> =>
    joinCluster({
      token: joinToken,
      remoteAddrs: [cluster.addr],
      availability: 'active',
      env: systemEnvironment,
      logger: silentLogger,
      signal: new AbortController().signal,
      retryIntervalMs: 10,
    });
  const worker = await join(token);
  const { nodeId } = readNodeCertificate(worker.certificatePem);
  t.match(opensslVerify(directory, worker.certificatePem, worker.rootCaPem), /: OK$/);
  await report(cluster, worker);
  await report(cluster, cluster.founding.identity);

  const rotating = (await rotate()).rootCa;
  const oldRoot = Buffer.from(rotating?.caCert ?? []).toString();
  const newRoot = Buffer.from(rotating?.rootRotation?.caCert ?? []).toString();
  t.equal(rotating?.rootRotation?.caKey.length, 0, 'the new key is shown to nobody');
  t.equal(oldRoot, worker.rootCaPem);
  const stored = cluster.cluster().rootCa;
  t.not(stored?.rootRotation?.caKey.length, 0);
  await until('the node to be told', () => state(cluster, nodeId) === IssuanceStatus_State.ROTATE);
  await until(
    'the node to be told',
    () => state(cluster, cluster.founding.node.id) === IssuanceStatus_State.ROTATE,
  );

  const renewed = await renew(cluster, worker);
  t.equal(readNodeCertificate(renewed.certificatePem).nodeId, nodeId);
  t.match(opensslVerify(directory, renewed.certificatePem, oldRoot), /: OK$/);
  t.match(opensslVerify(directory, renewed.certificatePem, newRoot), /: OK$/);
  const [bare = ''] = renewed.certificatePem.split('-----END CERTIFICATE-----');
  const leafOnly = `${bare}-----END CERTIFICATE-----\n`;
  t.match(opensslVerify(directory, leafOnly, oldRoot), /unable to get local issuer/);
  t.match(opensslVerify(directory, leafOnly, newRoot), /: OK$/);
  t.notOk(isSignedBy(leafOnly, oldRoot));
  t.ok(isSignedBy(leafOnly, withIntermediates(oldRoot, renewed.certificatePem)));
  t.same(
    Buffer.from(tlsInfoOf(renewed).issuer.publicKey),
    new X509Certificate(newRoot).publicKey.export({ type: 'spki', format: 'der' }),
  );
  // A stranger's authority behind the leaf opens nothing.
  const stranger = await createRootCa(systemEnvironment);
  t.notOk(
    isSignedBy(leafOnly, withIntermediates(oldRoot, `${leafOnly}${stranger.certificatePem}`)),
  );

  // Joining goes on meanwhile, with the old token.
  const late = await join(token);
  t.equal(late.rootCaPem, oldRoot);
  t.match(opensslVerify(directory, late.certificatePem, newRoot), /: OK$/);

  await report(cluster, renewed);
  await report(cluster, late);
  t.not(cluster.cluster().rootCa?.rootRotation, undefined, 'one node is behind');
  const manager = await renew(cluster, cluster.founding.identity);
  cluster.serverIdentity.change(manager);
  await report(cluster, manager);
  await until(
    'the end of the rotation',
    () => cluster.cluster().rootCa?.rootRotation === undefined,
  );
  const finished = cluster.cluster().rootCa;
  t.equal(Buffer.from(finished?.caCert ?? []).toString(), newRoot);
  t.equal(finished?.lastForcedRotation, 1n);
  t.not(finished?.joinTokens?.worker, token);
  await t.rejects(join(token), { message: /remote CA does not match fingerprint/ });
  // The server of before still has its old root and a chain: a node with the new root gets in.
  const after = await join(cluster.workerToken());
  t.equal(after.rootCaPem, newRoot);
  t.match(opensslVerify(directory, after.certificatePem, newRoot), /: OK$/);
  // A node that has not heard of the new root yet gets in, and waits for the root with renewing.
  cluster.serverIdentity.change({ ...manager, rootCaPem: newRoot });
  const early = renew(cluster, renewed);
  await t.rejects(early, { message: 'issued certificate is not signed by our root CA' });
  const informed = await renew(cluster, { ...renewed, rootCaPem: newRoot });
  t.equal(readNodeCertificate(informed.certificatePem).nodeId, nodeId);
});

void t.test(
  'a node that is gone is waited for until it is removed; rotations may begin anew',
  async (t) => {
    const { cluster, rotate } = await setUp(t);
    await cluster.store.update((write) => write.create('node', create(NodeSchema, { id: 'gone' })));
    await rotate();
    const { id } = cluster.founding.node;
    await until('the node to be told', () => state(cluster, id) === IssuanceStatus_State.ROTATE);
    const nextRoot = () => Buffer.from(cluster.cluster().rootCa?.rootRotation?.caCert ?? []);
    const first = nextRoot();
    await rotate();
    t.not(Buffer.compare(first, nextRoot()), 0, 'another root is on its way');
    const manager = await renew(cluster, cluster.founding.identity);
    await report(cluster, manager);
    t.not(nextRoot().length, 0);
    await cluster.store.update((write) => write.delete('node', 'gone'));
    await until('the end of the rotation', () => nextRoot().length === 0);
  },
);

void t.test('roots that users give', async (t) => {
  const directory = folder(t);
  const { cluster, update } = await setUp(t);
  const give = async (certificate: string, key: string): Promise<string> => {
    try {
      await update(({ caConfig }) => {
        if (caConfig === undefined) return;
        caConfig.signingCaCert = Buffer.from(certificate);
        caConfig.signingCaKey = Buffer.from(key);
      });
      return 'taken';
    } catch (error) {
      return (error as Error).message;
    }
  };
  const openssl = (...args: string[]): string =>
    execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const file = path.join(directory, 'key.pem');
  const made = (algorithm: string[], days: number): [string, string] => {
    const key = openssl('genpkey', ...algorithm);
    writeFileSync(file, key);
    // Without it OpenSSL's strict mode would not have the root itself.
    const usage = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign'];
    const subject = ['-subj', '/C=DE/O=Some Company/CN=Some Authority', ...usage];
    const args = ['req', '-x509', '-new', '-key', file, '-days', String(days), ...subject];
    return [openssl(...args), key];
  };
  const p256 = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  const p384 = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'];
  const rsa = ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'];
  const [certificate, key] = made(p256, 3650);
  const [otherCertificate, otherKey] = made(p384, 3650);
  const [soon, soonKey] = made(p256, 300);
  t.match(await give('', key), /the signing CA cert must also be provided/);
  t.equal(await give(soon, soonKey), 'CA certificate expires too soon');
  t.equal(await give(certificate, otherKey), 'certificate key mismatch');
  // What a stock engine says.
  t.equal(
    await give(certificate, 'nonsense'),
    'malformed private key: {"code":2003,"message":"Failed to parse private key"}',
  );
  t.equal(
    await give('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', key),
    'invalid root certificates: {"code":1003,"message":"Failed to parse certificate"}',
  );
  const short = made(['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024'], 3650);
  t.equal(await give(...short), 'unsupported RSA key parameters');
  t.match(await give(certificate, ''), /at least one valid, reachable external CA/);
  t.match(await give(certificate + otherCertificate, key), /cannot contain multiple certificates/);
  t.match(await give('nonsense', key), /the signing CA cert must also be provided/);
  t.equal(cluster.cluster().rootCa?.rootRotation, undefined);

  const original = cluster.cluster().rootCa;
  for (const [caPem, caKey] of [
    [certificate, key],
    [otherCertificate, otherKey],
    made(rsa, 3650),
  ]) {
    t.equal(await give(caPem ?? '', caKey ?? ''), 'taken');
    const rotation = cluster.cluster().rootCa?.rootRotation;
    t.equal(
      Buffer.from(rotation?.caCert ?? [])
        .toString()
        .trim(),
      caPem?.trim(),
    );
    const intermediatePem = Buffer.from(rotation?.crossSignedCaCert ?? []).toString();
    const { csrPem } = await newCertificateRequest();
    const leaf = await issueNodeCertificate(
      { certificatePem: intermediatePem, privateKeyPem: caKey ?? '', intermediatePem },
      { csrPem, nodeId: 'n', clusterId: 'c', role: 'worker', lifetimeMs: 3_600_000 },
      systemEnvironment,
    );
    t.match(opensslVerify(directory, leaf, caPem ?? ''), /: OK$/);
    t.match(
      opensslVerify(directory, leaf, Buffer.from(original?.caCert ?? []).toString()),
      /: OK$/,
    );
  }
  // The present root given again calls the rotation off.
  const back = [original?.caCert, original?.caKey].map((b) => Buffer.from(b ?? []).toString());
  t.equal(await give(back[0] ?? '', back[1] ?? ''), 'taken');
  t.equal(cluster.cluster().rootCa?.rootRotation, undefined);
  t.same(cluster.cluster().rootCa?.joinTokens, original?.joinTokens);
});
