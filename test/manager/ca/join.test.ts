/** Joining, renewal and removal against the real server. */
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { createClient } from '@connectrpc/connect';
import { blacklistNode, rotateJoinTokens } from '../../../src/manager/ca/cluster-root.js';
import { NodeCA } from '../../../src/model/gen/docker/swarmkit/v1/ca_pb.js';
import { NodeSpec_Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  IssuanceStatus_State,
  NodeRole,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { ClientSession } from '../../../src/rpc/client-session.js';
import { joinCluster, type JoinOptions } from '../../../src/rpc/identity/join.js';
import { NodeIdentity } from '../../../src/rpc/identity/node-identity.js';
import { CertificateRenewer } from '../../../src/rpc/identity/renewal.js';
import { readNodeCertificate } from '../../../src/rpc/identity/root-ca.js';
import { connectManager, grpcTransport } from '../../../src/rpc/manager-connection.js';
import type { TlsIdentity } from '../../../src/rpc/types.js';
import { startTestCluster, type TestCluster } from '../../rpc/test-cluster.js';

const UNKNOWN_AVAILABILITY = JSON.parse('99') as NodeSpec_Availability;

async function start(t: { teardown(end: () => unknown): unknown }): Promise<TestCluster> {
  const cluster = await startTestCluster();
  t.teardown(() => cluster.stop());
  return cluster;
}

function join(addr: string, token: string, more: Partial<JoinOptions> = {}): Promise<TlsIdentity> {
  return joinCluster({
    token,
    remoteAddrs: [addr],
    availability: 'active',
    env: systemEnvironment,
    logger: silentLogger,
    signal: AbortSignal.timeout(10_000),
    retryIntervalMs: 1,
    ...more,
  });
}

void t.test('the token decides the role; the node object appears', async (t) => {
  const cluster = await start(t);
  const tokens = cluster.cluster().rootCa?.joinTokens;
  for (const role of ['worker', 'manager'] as const) {
    const identity = await join(cluster.addr, tokens?.[role] ?? '', { availability: 'drain' });
    const facts = readNodeCertificate(identity.certificatePem);
    t.match(facts, { role, clusterId: cluster.founding.clusterId });
    const node = cluster.store.view((read) => read.get('node', facts.nodeId));
    t.match(node, {
      role: role === 'manager' ? NodeRole.MANAGER : NodeRole.WORKER,
      spec: { membership: 1, availability: NodeSpec_Availability.DRAIN },
      certificate: { status: { state: IssuanceStatus_State.ISSUED }, cn: facts.nodeId },
    });
    t.equal(Buffer.from(node?.certificate?.certificate ?? []).toString(), identity.certificatePem);
  }
});

void t.test("wrong tokens and wrong addresses fail with Docker's words", async (t) => {
  const cluster = await start(t);
  const other = await start(t);
  const token = cluster.workerToken();
  await t.rejects(join(cluster.addr, 'SWMTKN-1-x-y'), { message: 'invalid join token' });
  const forged = `${token.slice(0, -3)}${token.endsWith('aaa') ? 'bbb' : 'aaa'}`;
  await t.rejects(join(cluster.addr, forged), {
    code: 'invalid_argument',
    message:
      'rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster',
  });
  await t.rejects(join(other.addr, token), {
    code: 'unknown',
    message: /^remote CA does not match fingerprint\. Expected: [0-9a-f]{64}$/,
  });
  const port = await freePort();
  await t.rejects(join(`127.0.0.1:${port}`, token), {
    code: 'unavailable',
    message: `rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing dial tcp 127.0.0.1:${port}: connect: connection refused"`,
  });
  const rotated = rotateJoinTokens(
    cluster.cluster(),
    { worker: true, manager: false },
    systemEnvironment.random,
  );
  t.equal(rotated.rootCa?.joinTokens?.manager, cluster.cluster().rootCa?.joinTokens?.manager);
  await cluster.store.update((write) => write.update('cluster', rotated));
  await t.rejects(join(cluster.addr, token), { code: 'invalid_argument' }, 'rotated away');
  t.ok(await join(cluster.addr, cluster.workerToken()));
});

void t.test('a server that is no manager, or says nothing, ends the attempts', async (t) => {
  const cluster = await start(t);
  const sockets = new Set<net.Socket>();
  const plain = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
  t.teardown(() => plain.close());
  const { port } = plain.address() as net.AddressInfo;
  await t.rejects(join(`127.0.0.1:${port}`, cluster.workerToken()), { code: 'unavailable' });
  t.equal(sockets.size, 5, 'five attempts');

  const mute = net.createServer((socket) => {
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  t.teardown(() => mute.close());
  const muteAddr = `127.0.0.1:${(mute.address() as net.AddressInfo).port}`;
  const abort = new AbortController();
  const attempt = join(muteAddr, cluster.workerToken(), { signal: abort.signal });
  abort.abort();
  await t.rejects(attempt, { code: 'canceled' });
});

void t.test('renewal keeps the node id and takes the role of the moment', async (t) => {
  const cluster = await start(t);
  const state = mkdtempSync(path.join(tmpdir(), 'skep-renew-'));
  t.teardown(() => rmSync(state, { recursive: true, force: true }));
  const joined = await join(cluster.addr, cluster.workerToken());
  const identity = await NodeIdentity.create(state, joined);
  const { nodeId } = identity.facts();
  await cluster.store.update((write) => {
    const node = write.get('node', nodeId);
    if (node !== undefined) write.update('node', { ...node, role: NodeRole.MANAGER });
  });
  const renewer = new CertificateRenewer({
    identity,
    connect: () => connectManager({ peer: cluster.peer, identity, env: systemEnvironment }),
    env: systemEnvironment,
    logger: silentLogger,
  });
  renewer.start();
  t.teardown(() => renewer.stop());
  await Promise.all([renewer.renewNow(), renewer.renewNow()]);
  t.match(identity.facts(), { nodeId, role: 'manager' });
  t.not(identity.current().privateKeyPem, joined.privateKeyPem);
  const reloaded = await NodeIdentity.load(state);
  t.same(reloaded?.current(), identity.current());
});

void t.test('requests that were stored are answered by whoever leads next', async (t) => {
  const cluster = await start(t);
  const { authority } = cluster.services;
  await authority.stop();
  await t.rejects(join(cluster.addr, cluster.workerToken()), { code: 'unavailable' });
  authority.start();
  const founder = cluster.founding.node;
  const csr = founder.certificate?.csr ?? new Uint8Array();
  await cluster.store.update((write) => {
    write.create('node', {
      ...founder,
      id: 'leftover',
      certificate: {
        $typeName: 'docker.swarmkit.v1.Certificate',
        role: NodeRole.WORKER,
        csr,
        cn: 'leftover',
        certificate: new Uint8Array(),
        status: {
          $typeName: 'docker.swarmkit.v1.IssuanceStatus',
          state: IssuanceStatus_State.PENDING,
          err: '',
        },
      },
    });
  });
  const { status } = await authority.status('leftover', AbortSignal.timeout(5000));
  t.equal(status?.state, IssuanceStatus_State.ISSUED);
  await t.rejects(authority.status('nobody', AbortSignal.timeout(5000)), { message: 'NotFound' });
});

void t.test('waits for certificates are bounded and end', async (t) => {
  const cluster = await start(t);
  const { authority } = cluster.services;
  await authority.stop();
  const { certificate, ...founder } = cluster.founding.node;
  if (certificate === undefined) throw new Error('the founder has a certificate');
  const status = {
    $typeName: 'docker.swarmkit.v1.IssuanceStatus' as const,
    state: IssuanceStatus_State.PENDING,
    err: '',
  };
  await cluster.store.update((write) => {
    write.create('node', { ...founder, id: 'waiting', certificate: { ...certificate, status } });
  });
  const abort = new AbortController();
  const waits = Array.from({ length: 1024 }, () => authority.status('waiting', abort.signal));
  const ends = Promise.allSettled(waits);
  await t.rejects(authority.status('waiting', abort.signal), { code: 'resource_exhausted' });
  abort.abort();
  t.ok((await ends).every((end) => end.status === 'rejected'));
  await t.rejects(authority.status('nobody', AbortSignal.timeout(5000)), { code: 'not_found' });
});

void t.test('a bad request is marked failed, not retried for ever', async (t) => {
  const cluster = await start(t);
  const session = new ClientSession({
    addr: cluster.addr,
    tls: { ca: cluster.founding.identity.rootCaPem, servername: 'swarm-ca' },
    clock: systemEnvironment.clock,
  });
  t.teardown(() => session.drain());
  const client = createClient(NodeCA, grpcTransport(session));
  const csr = Buffer.from('not a request');
  const token = cluster.workerToken();
  const { nodeId } = await client.issueNodeCertificate({ csr, token });
  const { status } = await client.nodeCertificateStatus({ nodeId });
  t.match(status, {
    state: IssuanceStatus_State.FAILED,
    err: 'certificate request does not parse',
  });
  await t.rejects(client.issueNodeCertificate({ token }), {
    message: '[invalid_argument] InvalidArgument',
  });
  await t.rejects(client.issueNodeCertificate({ csr, token, availability: UNKNOWN_AVAILABILITY }));
  await t.rejects(client.issueNodeCertificate({ csr: Buffer.alloc(17_000), token }));
});

void t.test('a removed node is cut off and refused from then on', async (t) => {
  const cluster = await start(t);
  const joined = await join(cluster.addr, cluster.workerToken());
  const { nodeId } = readNodeCertificate(joined.certificatePem);
  const identity = { current: () => joined, subscribe: () => () => undefined };
  const connection = await connectManager({ peer: cluster.peer, identity, env: systemEnvironment });
  t.teardown(() => connection.close());
  await t.rejects(connection.dispatcher.heartbeat({ sessionId: 'x' }), {
    message: '[not_found] node not registered',
  });
  await cluster.store.update((write) => {
    const node = write.get('node', nodeId);
    if (node === undefined) throw new Error('no node');
    const nowMs = systemEnvironment.clock.nowMs();
    write.update('cluster', blacklistNode(cluster.cluster(), node, nowMs));
    write.delete('node', nodeId);
  });
  if (!connection.closed.aborted) {
    await new Promise((resolve) => connection.closed.addEventListener('abort', resolve));
  }
  const again = await connectManager({ peer: cluster.peer, identity, env: systemEnvironment });
  t.teardown(() => again.close());
  await t.rejects(again.dispatcher.heartbeat({ sessionId: 'x' }), {
    message: `[permission_denied] Permission denied: unauthorized peer role: rpc error: code = PermissionDenied desc = Permission denied: node ${nodeId} was removed from swarm`,
  });
  // With a token it may come back, as another node.
  const rejoined = await join(cluster.addr, cluster.workerToken());
  t.not(readNodeCertificate(rejoined.certificatePem).nodeId, nodeId);
});

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
