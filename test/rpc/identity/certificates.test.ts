/** Root, leaves, tokens and key files, held against OpenSSL (through Node) and SwarmKit's rules. */
import { createHash, X509Certificate } from 'node:crypto';
import * as fc from 'fast-check';
import t from 'tap';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { newJoinToken, parseJoinToken } from '../../../src/rpc/identity/join-token.js';
import { keyMatchesCertificate, newCertificateRequest } from '../../../src/rpc/identity/keys.js';
import { splitPemHeaders, withPemHeaders } from '../../../src/rpc/identity/pem-headers.js';
import {
  createRootCa,
  isSignedBy,
  issueNodeCertificate,
  parseBundle,
  readNodeCertificate,
} from '../../../src/rpc/identity/root-ca.js';
import { simulatedEnvironment } from '../../support/simulated-environment.js';

const DAY_MS = 24 * 3_600_000;

void t.test('a root is as SwarmKit makes it', async (t) => {
  const env = simulatedEnvironment(1);
  const root = new X509Certificate((await createRootCa(env)).certificatePem);
  t.equal(root.subject, 'CN=swarm-ca');
  t.equal(root.issuer, 'CN=swarm-ca');
  t.ok(root.ca);
  t.ok(root.verify(root.publicKey));
  t.equal(root.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  const nowMs = env.clock.nowMs();
  t.equal(Date.parse(root.validFrom), nowMs - 3_600_000);
  t.equal(Date.parse(root.validTo), nowMs + 630_720_000_000);
});

void t.test('node certificates carry id, role, cluster, names and usages', async (t) => {
  const env = simulatedEnvironment(2);
  const root = await createRootCa(env);
  const { csrPem, privateKeyPem } = await newCertificateRequest();
  for (const role of ['worker', 'manager'] as const) {
    const template = { csrPem, nodeId: 'n1', clusterId: 'c1', role, lifetimeMs: 90 * DAY_MS };
    const pem = await issueNodeCertificate(root, template, env);
    const leaf = new X509Certificate(pem);
    t.equal(leaf.subject, `O=c1\nOU=swarm-${role}\nCN=n1`);
    t.notOk(leaf.ca);
    t.ok(keyMatchesCertificate(privateKeyPem, pem));
    t.ok(isSignedBy(pem, root.certificatePem));
    const names = `DNS:swarm-${role}, DNS:n1${role === 'manager' ? ', DNS:swarm-ca' : ''}`;
    t.equal(leaf.subjectAltName, names);
    t.same(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    const nowMs = env.clock.nowMs();
    t.same(readNodeCertificate(pem), {
      nodeId: 'n1',
      clusterId: 'c1',
      role,
      notBeforeMs: nowMs - 3_600_000,
      notAfterMs: nowMs + 90 * DAY_MS,
    });
  }
  const short = { csrPem, nodeId: 'n', clusterId: 'c', role: 'worker' as const, lifetimeMs: 1 };
  const leaf = readNodeCertificate(await issueNodeCertificate(root, short, env));
  t.equal(leaf.notAfterMs - env.clock.nowMs(), 3_600_000, 'an hour at least');
});

void t.test('a request must be signed by its own key', async (t) => {
  const env = simulatedEnvironment(3);
  const root = await createRootCa(env);
  const { csrPem } = await newCertificateRequest();
  const der = Buffer.from(csrPem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
  der[der.length - 5] = (der[der.length - 5] ?? 0) ^ 1;
  const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  const issue = (csr: string): Promise<string> =>
    issueNodeCertificate(
      root,
      { csrPem: csr, nodeId: 'n', clusterId: 'c', role: 'worker', lifetimeMs: DAY_MS },
      env,
    );
  for (const csr of [
    forged,
    '',
    'x',
    csrPem.slice(0, 100),
    'x'.repeat(20_000),
    root.certificatePem,
  ]) {
    await t.rejects(issue(csr), { code: 'invalid_argument' });
  }
  t.ok(await issue(csrPem));
});

void t.test('join tokens carry the digest of the bundle as served', async (t) => {
  const { random } = simulatedEnvironment(4);
  fc.assert(
    fc.property(fc.string({ maxLength: 100 }), (bundle) => {
      const token = newJoinToken(bundle, random);
      const { rootDigest, fips } = parseJoinToken(token);
      const wanted = createHash('sha256').update(bundle).digest();
      return (
        /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/.test(token) && rootDigest.equals(wanted) && !fips
      );
    }),
  );
  const digest = '0'.repeat(49) + '1';
  t.equal(parseJoinToken(`SWMTKN-2-1-${digest}-${'a'.repeat(25)}`).fips, true);
  t.throws(() => parseJoinToken(''), {
    code: 'invalid_argument',
    message: /A valid join token is/,
  });
  for (const bad of [
    'SWMTKN',
    `SWMTKN-1-${digest}`,
    `SWMTKN-3-${digest}-${'a'.repeat(25)}`,
    `SWMTKN-1-${digest}-${'a'.repeat(24)}`,
    `SWMTKN-1-${'z'.repeat(50)}-${'a'.repeat(25)}`,
    `SWMTKN-1-${digest.toUpperCase()}A-${'a'.repeat(25)}`,
    ` SWMTKN-1-${digest}-${'a'.repeat(25)}`,
  ]) {
    t.throws(() => parseJoinToken(bad), { code: 'unknown', message: 'invalid join token' }, bad);
  }
});

void t.test('key files keep their headers through a round trip', async (t) => {
  const { privateKeyPem } = await newCertificateRequest();
  const headers = { 'raft-dek': Buffer.alloc(32, 7).toString('base64'), 'kek-version': '12' };
  const text = withPemHeaders(privateKeyPem, headers);
  t.match(text, /^-----BEGIN PRIVATE KEY-----\nkek-version: 12\nraft-dek: [A-Za-z0-9+/=]+\n\n/);
  t.same(splitPemHeaders(text), { pem: privateKeyPem, headers });
  t.same(splitPemHeaders(privateKeyPem), { pem: privateKeyPem, headers: {} });
  t.same(splitPemHeaders(text.replaceAll('\n', '\r\n')), { pem: privateKeyPem, headers });
  t.throws(() => withPemHeaders(privateKeyPem, { a: 'x\n-----END PRIVATE KEY-----' }));
  t.throws(() => splitPemHeaders('rubbish'), { code: 'data_loss' });
});

void t.test('bundles hold several roots', async (t) => {
  const [a, b] = [await createRootCa(systemEnvironment), await createRootCa(systemEnvironment)];
  t.equal(parseBundle(a.certificatePem + b.certificatePem).length, 2);
  t.equal(parseBundle('').length, 0);
  t.throws(() => parseBundle('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'));
});
