/** External authorities: a real cfssl server holds the root's key, over mutual TLS. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { desiredRoot } from '../../../src/manager/ca/desired-root.js';
import { CfsslAuthority, externalUrls } from '../../../src/manager/ca/external-ca.js';
import { ClusterSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type CAConfig,
  CAConfigSchema,
  ExternalCA_CAProtocol,
  type RootCA,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { newCertificateRequest } from '../../../src/rpc/identity/keys.js';
import {
  createRootCa,
  isSignedBy,
  issueNodeCertificate,
  parseBundle,
  type RootCa,
} from '../../../src/rpc/identity/root-ca.js';
import type { TlsIdentity } from '../../../src/rpc/types.js';
import { until } from '../../rpc/until.js';

const CONFIG = {
  signing: {
    default: {
      usages: ['signing', 'key encipherment', 'server auth', 'client auth'],
      expiry: '2160h',
    },
    profiles: {
      CA: {
        usages: ['cert sign', 'crl sign'],
        expiry: '43800h',
        ca_constraint: { is_ca: true },
        allowed_extensions: ['2.5.29.19'],
      },
    },
  },
};

interface Outside {
  readonly root: RootCa;
  readonly url: string;
  /** Of a manager whose certificate the server takes. */
  readonly identity: TlsIdentity;
  readonly authority: CfsslAuthority;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

async function manager(root: RootCa): Promise<TlsIdentity> {
  const { csrPem, privateKeyPem } = await newCertificateRequest();
  const certificatePem = await issueNodeCertificate(
    root,
    { csrPem, nodeId: 'manager1', clusterId: 'c1', role: 'manager', lifetimeMs: 3_600_000 },
    systemEnvironment,
  );
  return { rootCaPem: root.certificatePem, certificatePem, privateKeyPem };
}

/** A cfssl server that holds the key of a new root. */
async function outside(t: Pick<Test, 'teardown'>): Promise<Outside> {
  const directory = mkdtempSync(path.join(tmpdir(), 'skep-cfssl-'));
  const file = (name: string, text?: string): string => {
    const full = path.join(directory, name);
    if (text !== undefined) writeFileSync(full, text, { mode: 0o600 });
    return full;
  };
  const root = await createRootCa(systemEnvironment);
  const ca = file('ca.pem', root.certificatePem);
  // The library knows SEC 1 keys only.
  file('ca.pk8', root.privateKeyPem);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
  openssl('ec', '-in', file('ca.pk8'), '-out', file('ca.key'));
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', ...key, '-keyout', file('tls.key'), '-out', file('tls.csr'), '-subj', '/CN=cfssl');
  const san = file('san', 'subjectAltName=IP:127.0.0.1');
  const sign = ['x509', '-req', '-in', file('tls.csr'), '-CA', ca, '-CAkey', file('ca.pk8')];
  openssl(...sign, '-set_serial', '5', '-days', '9', '-extfile', san, '-out', file('tls.pem'));
  const port = await freePort();
  const log = file('log', '');
  const child: ChildProcess = spawn(
    'cfssl',
    [
      ...['serve', '-address', '127.0.0.1', '-port', String(port), '-ca', ca],
      ...['-ca-key', file('ca.key'), '-config', file('config.json', JSON.stringify(CONFIG))],
      ...['-tls-cert', file('tls.pem'), '-tls-key', file('tls.key'), '-mutual-tls-ca', ca],
    ],
    { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  child.stderr?.on('data', (chunk: Buffer) => writeFileSync(log, chunk, { flag: 'a' }));
  t.teardown(async () => {
    child.kill();
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    rmSync(directory, { recursive: true, force: true });
  });
  const identity = await manager(root);
  const authority = new CfsslAuthority(() => identity);
  const url = `https://127.0.0.1:${port}/api/v1/cfssl/sign`;
  await until(`cfssl: ${readFileSync(log, 'utf8')}`, async () =>
    authority.isReachable([url], root.certificatePem),
  );
  return { root, url, identity, authority };
}

function config(init: Partial<CAConfig>): CAConfig {
  return create(CAConfigSchema, init as CAConfig);
}

void t.test('node certificates from outside', async (t) => {
  const { root, url, authority, identity } = await outside(t);
  const { csrPem } = await newCertificateRequest();
  const template = { csrPem, nodeId: 'n1', clusterId: 'c1' };
  for (const role of ['worker', 'manager'] as const) {
    // The first server does not answer; the next is asked.
    const urls = ['https://127.0.0.1:1/sign', url];
    const pem = await authority.sign(urls, root.certificatePem, { ...template, role });
    t.ok(isSignedBy(pem, root.certificatePem));
    const [leaf] = parseBundle(pem);
    const names = `DNS:swarm-${role}, DNS:n1${role === 'manager' ? ', DNS:swarm-ca' : ''}`;
    t.equal(leaf?.subjectAltName, names);
    t.match(leaf?.subject, new RegExp(`OU=swarm-${role}`));
  }
  const worker = { ...template, role: 'worker' } as const;
  const stranger = await createRootCa(systemEnvironment);
  const strange = new CfsslAuthority(() => identity);
  t.notOk(await strange.isReachable([url], stranger.certificatePem), 'another root');
  t.notOk(await strange.isReachable(['http://127.0.0.1:1/', 'nonsense'], root.certificatePem));
  await t.rejects(authority.sign([url], stranger.certificatePem, worker), { code: 'unavailable' });
  await t.rejects(authority.sign([], root.certificatePem, worker), {
    message: 'unable to have a certificate signed by an external CA: none is configured',
  });
  await t.rejects(
    authority.sign([url.replace('sign', 'info')], root.certificatePem, worker),
    { code: 'unavailable' },
    'another answer than a certificate',
  );
  const foreign = await manager(stranger);
  const outsider = new CfsslAuthority(() => foreign);
  await t.rejects(outsider.sign([url], root.certificatePem, worker), { code: 'unavailable' });
});

void t.test('rotations to, from and between external authorities', async (t) => {
  const first = await outside(t);
  const inside = await createRootCa(systemEnvironment);
  const certificate = (root: RootCa) => new Uint8Array(Buffer.from(root.certificatePem));
  const server = (at: Outside) => ({
    $typeName: 'docker.swarmkit.v1.ExternalCA' as const,
    protocol: ExternalCA_CAProtocol.CFSSL,
    url: at.url,
    options: {},
    caCert: certificate(at.root),
  });
  const judge = async (rootCa: Partial<RootCA>, wanted: Partial<CAConfig>) =>
    desiredRoot(create(ClusterSchema, { id: 'c1', rootCa: rootCa as RootCA }), config(wanted), {
      env: systemEnvironment,
      external: first.authority,
    });
  const own = {
    caCert: certificate(inside),
    caKey: new Uint8Array(Buffer.from(inside.privateKeyPem)),
  };

  // To: the key of the next root is nowhere here.
  const next = { signingCaCert: certificate(first.root) };
  await t.rejects(judge(own, next), {
    code: 'invalid_argument',
    message:
      /at least one valid, reachable external CA corresponding to the desired CA certificate/,
  });
  const towards = await judge(own, { ...next, externalCas: [server(first)] });
  t.equal(towards?.rootRotation?.caKey.length, 0);
  const cross = Buffer.from(towards?.rootRotation?.crossSignedCaCert ?? []).toString();
  t.ok(isSignedBy(cross, inside.certificatePem));
  t.same(externalUrls([server(first)], first.root.certificatePem, inside.certificatePem), [
    first.url,
  ]);
  t.same(externalUrls([server(first)], inside.certificatePem, inside.certificatePem), []);

  // From: the present root's server signs the next root's certificate.
  const external = { caCert: certificate(first.root) };
  const text = /corresponding to the current CA certificate/;
  await t.rejects(judge(external, { forceRotate: 1n }), { message: text });
  const from = await judge(external, { forceRotate: 1n, externalCas: [server(first)] });
  const back = Buffer.from(from?.rootRotation?.crossSignedCaCert ?? []).toString();
  t.ok(isSignedBy(back, first.root.certificatePem));
  const issuer = Buffer.from(from?.rootRotation?.caCert ?? []).toString();
  const { csrPem } = await newCertificateRequest();
  const leaf = await issueNodeCertificate(
    {
      certificatePem: back,
      privateKeyPem: Buffer.from(from?.rootRotation?.caKey ?? []).toString(),
      intermediatePem: back,
    },
    { csrPem, nodeId: 'n', clusterId: 'c1', role: 'worker', lifetimeMs: 3_600_000 },
    systemEnvironment,
  );
  t.ok(isSignedBy(leaf, first.root.certificatePem));
  t.ok(isSignedBy(leaf, issuer));

  // Between: nobody could sign the next root's certificate with a key that is here.
  const second = await outside(t);
  const both = {
    externalCas: [server(first), server(second)],
    signingCaCert: certificate(second.root),
  };
  await t.rejects(judge(external, both), {
    message: /rotating from one external CA to a different external CA is not supported/,
  });
  t.equal((await judge(external, { externalCas: [server(first)] }))?.rootRotation, undefined);
});
