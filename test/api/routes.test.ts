/** Answers that need no engine: logs in their framing, workers' refusals, lookups, credentials. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import {
  LogMessageSchema,
  LogStream,
} from '../../src/model/gen/docker/swarmkit/v1/logbroker_pb.js';
import type { ServiceSpec } from '../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { SkepError } from '../../src/model/errors.js';
import type { ConnectionRow, TraceRow } from '../../src/native/datapath-types.js';
import type { LogSource } from '../../src/manager/control/types.js';
import { type ApiFixture, initSwarm, startApi } from './support/api-fixture.js';
import { exchange, jsonRequest, openSocket, parseAnswer, readUntil } from './support/raw-http.js';

const SPEC = '{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i:1"}}}';

const CONNECTION: ConnectionRow = {
  ...{ kind: 'service', protocol: 6, vni: 0, state: 'established', idleSeconds: 3 },
  ...{ source: '192.0.2.1', sourcePort: 4000, destination: '192.0.2.2', destinationPort: 80 },
  ...{ other: '10.0.0.5', otherPort: 8080 },
};
const TRACED: TraceRow = {
  ...{ timeNs: 5n, program: 'from_uplink', interfaceName: 'eth0', protocol: 6, tcpFlags: 2 },
  ...{ source: '', sourcePort: 4000, destination: '192.0.2.2', destinationPort: 0, bytes: 60 },
  ...{ steps: ['mesh-sent'], verdict: 'forwarded' },
};

async function call(api: ApiFixture, method: string, target: string, body?: string) {
  return parseAnswer(await exchange(api.socketPath, jsonRequest(method, target, body)));
}

void t.test('log lines', async (t) => {
  const api = await startApi(t);
  await initSwarm(api);
  const { body } = await call(api, 'POST', '/services/create', SPEC);
  const { ID } = JSON.parse(body) as { ID: string };
  let asked: Parameters<LogSource['subscribe']> | undefined;
  api.membership.logs = {
    async *subscribe(...parameters) {
      asked = parameters;
      const context = { serviceId: ID, nodeId: 'n1', taskId: 't1' };
      yield create(LogMessageSchema, {
        context,
        stream: LogStream.STDOUT,
        data: Buffer.from('out\n'),
        timestamp: { seconds: 1n, nanos: 5 },
        attrs: [
          { key: 'com.docker.swarm.node.id', value: 'forged' },
          { key: 'a b', value: 'c&d' },
        ],
      });
      yield create(LogMessageSchema, {
        context,
        stream: LogStream.STDERR,
        data: Buffer.from('err'),
      });
      throw new SkepError('unknown', 'warning: incomplete log stream');
    },
  };
  const target = '/services/web/logs?stdout=1&stderr=1&details=1&timestamps=1&tail=5&since=3.25';
  const raw = await exchange(api.socketPath, jsonRequest('GET', target));
  const details = `a+b=c%26d,com.docker.swarm.node.id=n1,com.docker.swarm.service.id=${ID},com.docker.swarm.task.id=t1`;
  const out = `1970-01-01T00:00:01.000000005Z ${details} out\n`;
  const length = String.fromCharCode(out.length);
  t.match(raw, `\u0001\0\0\0\0\0\0${length}${out}`);
  t.match(raw, '\u0002\0\0\0');
  t.match(raw, 'Error grabbing logs: rpc error: code = Unknown desc = warning: incomplete');
  t.match(asked?.[0], { serviceIds: [ID] });
  t.match(asked?.[1], {
    follow: false,
    tail: -6n,
    streams: [LogStream.STDOUT, LogStream.STDERR],
    since: { seconds: 3n, nanos: 250_000_000 },
  });
});

void t.test('a client that stops following ends the subscription', async (t) => {
  const api = await startApi(t);
  await initSwarm(api);
  await call(api, 'POST', '/services/create', SPEC);
  const ended = new Promise<void>((resolve) => {
    api.membership.logs = {
      async *subscribe(_selector, _options, signal) {
        yield create(LogMessageSchema, { stream: LogStream.STDOUT, data: Buffer.from('one') });
        await new Promise<void>((aborted) => signal.addEventListener('abort', () => aborted()));
        resolve();
      },
    };
  });
  const client = await openSocket(api.socketPath);
  client.write('GET /services/web/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n');
  await readUntil(client, 'one');
  client.destroy();
  await ended;
  t.pass('aborted');
});

void t.test('on a worker', async (t) => {
  const api = await startApi(t);
  await api.membership.becomeWorker();
  const refused = {
    status: 503,
    body: `{"message":"This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager."}`,
  };
  for (const target of ['/swarm', '/nodes', '/services', '/tasks', '/secrets', '/configs']) {
    t.same(await call(api, 'GET', target), refused, target);
  }
  t.same(await call(api, 'POST', '/services/create', SPEC), refused);
  t.match(await call(api, 'POST', '/networks/create', '{"Name":"x","Driver":"overlay"}'), {
    status: 403,
    body: /Cannot create a multi-host network from a worker node/,
  });
  t.match(await call(api, 'POST', '/swarm/init', '{"ListenAddr":"0.0.0.0:2377"}'), {
    status: 503,
    body: /already part of a swarm/,
  });
});

void t.test('join passes on what the user wrote', async (t) => {
  const api = await startApi(t);
  const body =
    '{"ListenAddr":"0.0.0.0:2377","RemoteAddrs":["m:1"],"JoinToken":"T","Availability":"drain"}';
  t.same(await call(api, 'POST', '/swarm/join', body), { status: 200, body: '' });
  t.match(api.membership.joins, [
    { remoteAddrs: ['m:1'], joinToken: 'T', availability: 'drain', advertiseAddr: '' },
  ]);
  t.match(await call(api, 'POST', '/swarm/join', '{"ListenAddr":"x"}'), { status: 503 });
});

void t.test('names, ids and prefixes', async (t) => {
  const api = await startApi(t);
  await initSwarm(api);
  const created = await Promise.all(
    [...Array(40).keys()].map((index) =>
      call(api, 'POST', '/secrets/create', `{"Name":"s${index}","Data":"eA=="}`),
    ),
  );
  const ids = created.map(({ body }) => (JSON.parse(body) as { ID: string }).ID);
  const [first = ''] = ids;
  t.equal((await call(api, 'GET', `/secrets/${first}`)).status, 200);
  t.match((await call(api, 'GET', '/secrets/s7')).body, `"ID":"${ids[7]}"`);
  t.equal((await call(api, 'GET', `/secrets/${first.slice(0, 12)}`)).status, 200);
  t.same(await call(api, 'GET', '/secrets/none!'), {
    status: 404,
    body: '{"message":"secret none! not found"}',
  });
  const shared = ids.map((id) => id.charAt(0)).find((letter, at, all) => all.indexOf(letter) < at);
  t.match(await call(api, 'GET', `/secrets/${shared}`), {
    status: 400,
    body: /secret . is ambiguous \(\d+ matches found\)/,
  });
  t.equal((await call(api, 'DELETE', `/secrets/${first}`)).status, 204);
});

void t.test('registry credentials are kept and never shown', async (t) => {
  const api = await startApi(t);
  await initSwarm(api);
  const withAuth = (target: string, auth: string) =>
    jsonRequest('POST', target, SPEC).replace('\r\n', `\r\nX-Registry-Auth: ${auth}\r\n`);
  await exchange(api.socketPath, withAuth('/services/create', 'first'));
  const stored = () => {
    const [service] = api.membership.manager().control.listServices();
    const auth = (spec: ServiceSpec | undefined) => {
      const runtime = spec?.task?.runtime;
      return runtime?.case === 'container' ? runtime.value.pullOptions?.registryAuth : undefined;
    };
    if (service === undefined) throw new Error('no service');
    return {
      now: auth(service.spec),
      version: service.meta?.version?.index,
      before: auth(service.previousSpec),
    };
  };
  const update = (auth: string, query = '') => {
    const target = `/services/web/update?version=${stored().version}${query}`;
    const request = auth === '' ? jsonRequest('POST', target, SPEC) : withAuth(target, auth);
    return exchange(api.socketPath, request).then(parseAnswer);
  };
  t.match(await update(''), { status: 200, body: '{"Warnings":null}' });
  t.match(stored(), { now: 'first' });
  await update('second');
  t.match(stored(), { now: 'second', before: 'first' });
  await update('', '&registryAuthFrom=previous-spec');
  t.match(stored(), { now: 'first', before: 'second' });
  t.match(await update('', '&registryAuthFrom=x'), { status: 500 });
  t.notMatch((await call(api, 'GET', '/services/web')).body, /first|second/);
  t.match(await call(api, 'POST', '/services/web/update?version=1', SPEC), {
    status: 500,
    body: '{"message":"rpc error: code = Unknown desc = update out of sequence"}',
  });
});

const NO_ROWS = { nodes: [], networks: [], links: [], remoteEndpoints: [] };
const BACKENDS = [2, 3].map((last) => ({
  ...{ vni: 4096, address: `10.0.0.${last}`, state: 'active' as const },
  tunnelAddress: `192.0.2.${last}`,
}));
const SERVICES = [80, 81].map((port) => ({
  key: { kind: 'published', protocol: 'tcp', port } as const,
  ...{ targetPort: 80, backends: BACKENDS, ...(port === 80 ? { direct: true } : {}) },
}));

void t.test('what the data path does', async (t) => {
  const api = await startApi(t);
  const refused = await call(api, 'GET', '/skep/net/counters');
  t.equal(refused.status, 503, refused.body);
  api.membership.networkSight = {
    counters: () => [{ reason: 'forward-tunnel', packets: 2n ** 60n, bytes: 7n }],
    gossip: () => ({ droppedCrc: 3 }),
    repairs: () => ({ rows: 1, links: 0, parts: 2, rules: 0 }),
    paths: () => ({
      softwareChecksums: true,
      paths: [
        {
          owner: 'two',
          nodeId: '10.0.0.3',
          tunnelAddress: '192.0.2.2',
          answers: true,
          encrypted: false,
          state: { kind: 'good', packetBytes: 1450 },
          text: 'packets pass',
          roundTripMs: 0.5,
        },
      ],
    }),
    rows: () => ({
      ...NO_ROWS,
      nodes: [{ nodeId: '10.0.0.3', tunnelAddress: '192.0.2.2' }],
      networks: [
        {
          ...{ vni: 4096, subnet: '10.0.0.0/24', gateway: '10.0.0.1', internal: false },
          nodeAddress: '10.0.0.2',
        },
      ],
      remoteEndpoints: [
        { vni: 4097, address: '10.0.1.5', mac: '02:42:0a:00:01:05', tunnelAddress: '192.0.2.2' },
      ],
      services: SERVICES,
      backends: BACKENDS,
    }),
    unready: () => [
      {
        ...{ taskId: 't1', taskName: 'web.1.t1', serviceName: 'web' },
        ...{ addresses: ['10.0.1.5'], reason: 'HTTP port 80 answers with 503' },
      },
    ],
    direct: () => ({
      nodes: [
        {
          ...{ owner: 'two', tunnelAddress: '192.0.2.2', asBackend: false },
          ...{ state: { kind: 'lost' }, text: 'two is not heard' },
        },
        {
          ...{ owner: 'three', tunnelAddress: '192.0.2.3', asBackend: false },
          ...{ state: { kind: 'proven' }, text: 'three may' },
        },
        {
          ...{ owner: 'four', tunnelAddress: '192.0.2.4', asBackend: false },
          ...{ state: { kind: 'proven' }, text: 'runs nothing of it' },
        },
      ],
      probes: { asked: 2, arrived: 1, sent: 0 },
    }),
    connections: (max) => Array.from({ length: max }, () => CONNECTION),
    async *trace(filter) {
      yield [{ ...TRACED, source: filter.address, destinationPort: filter.port }];
    },
  };
  const counters = await call(api, 'GET', '/skep/net/counters');
  t.match(counters.body, '"Reason":"forward-tunnel","Packets":1152921504606846976,"Bytes":7');
  t.match(counters.body, '"Gossip":{"droppedCrc":3}');
  t.match(counters.body, '"Repairs":{"Rows":1,"Links":0,"Parts":2,"Rules":0}');
  t.same(JSON.parse((await call(api, 'GET', '/skep/net/paths')).body), {
    SoftwareChecksums: true,
    Paths: [
      {
        Node: 'two',
        IngressAddress: '10.0.0.3',
        TunnelAddress: '192.0.2.2',
        State: 'good',
        RoundTripMs: 0.5,
        Text: 'packets pass',
      },
    ],
  });
  const services = await call(api, 'GET', '/skep/net/services');
  t.match(JSON.parse(services.body), [
    {
      Port: 80,
      Return: {
        Wanted: 'direct',
        Nodes: [
          { Node: 'two', TunnelAddress: '192.0.2.2', Return: 'tunnel', Text: 'two is not heard' },
          { Node: 'three', TunnelAddress: '192.0.2.3', Return: 'direct' },
        ],
      },
    },
    { Port: 81, Return: { Wanted: 'tunnel' } },
  ]);
  t.same(JSON.parse((await call(api, 'GET', '/skep/net/unready')).body), [
    {
      ...{ ID: 't1', Name: 'web.1.t1', Service: 'web', Addresses: ['10.0.1.5'] },
      Reason: 'HTTP port 80 answers with 503',
    },
  ]);
  const tables = JSON.parse((await call(api, 'GET', '/skep/net/tables')).body);
  t.match(tables, {
    Nodes: [{ IngressAddress: '10.0.0.3', Tunnel: '192.0.2.2' }],
    Endpoints: [
      { Network: 4096, Address: '10.0.0.2' },
      { Network: 4097, Address: '10.0.1.5', Tunnel: '192.0.2.2' },
    ],
    Backends: [{ Network: BACKENDS[0]?.vni, Address: BACKENDS[0]?.address, State: 'active' }],
  });
  const connections = await call(api, 'GET', '/skep/net/connections?limit=2');
  t.equal((JSON.parse(connections.body) as unknown[]).length, 2);
  const trace = await call(api, 'GET', '/skep/net/trace?client=fd00::1&port=80&protocol=tcp');
  t.match(trace.body, '"Source":"fd00::1"');
  t.match(trace.body, '"DestinationPort":80');
  for (const query of [
    'connections?limit=-1',
    'connections?limit=99999999',
    'trace?client=web',
    'trace?client=10.0.0.1&port=65536',
    'trace?client=10.0.0.1&protocol=carrier-pigeon',
    'trace?client=10.0.0.1&seconds=0',
  ]) {
    const { status, body } = await call(api, 'GET', `/skep/net/${query}`);
    t.equal(status, 400, query);
    t.match(body, /invalid (limit|client|port|protocol|seconds)/);
  }
});

void t.test('cluster volumes are refused, whatever the engine would make of them', async (t) => {
  const api = await startApi(t);
  const volume = '{"Name":"v","clustervolumespec":{"Group":"g"}}';
  const { status, body } = await call(api, 'POST', '/volumes/create', volume);
  t.equal(status, 501);
  t.equal(body, '{"message":"cluster volumes (CSI) are not supported"}');
  await initSwarm(api);
  const mount = '{"Type":"cluster","Source":"v","Target":"/v"}';
  const service = `{"Name":"w","TaskTemplate":{"ContainerSpec":{"Image":"i:1","Mounts":[${mount}]}}}`;
  const answer = await call(api, 'POST', '/services/create', service);
  t.equal(answer.status, 501);
  t.match(answer.body, 'cluster volumes (CSI) are not supported');
});
