/**
 * Numbers of host-mode ports that were published without one.
 */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { HostPortNumbers } from '../../src/agent/host-port-numbers.js';
import {
  type PortConfig,
  PortConfigSchema,
  PortConfig_Protocol as Protocol,
  PortConfig_PublishMode as PublishMode,
} from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';

const HOST = PublishMode.HOST;

function port(targetPort: number, publishedPort = 0, rest: Partial<PortConfig> = {}): PortConfig {
  const protocol = Protocol.TCP;
  return create(PortConfigSchema, {
    ...{ targetPort, publishedPort, publishMode: HOST, protocol, name: rest.name ?? '' },
    ...(rest.protocol === undefined ? {} : { protocol: rest.protocol }),
    ...(rest.publishMode === undefined ? {} : { publishMode: rest.publishMode }),
  });
}

function numbersOf(ports: readonly PortConfig[]): readonly number[] {
  return ports.map(({ publishedPort }) => publishedPort);
}

/** Gives these, one after the other. */
function giving(...free: readonly number[]): HostPortNumbers {
  const rest = [...free];
  return new HostPortNumbers(async () => rest.shift() ?? 1);
}

void t.test('only host-mode ports without a number get one', async (t) => {
  const numbers = giving(40_001, 40_002);
  const wanted = [
    port(80),
    port(81, 8081),
    port(82, 0, { publishMode: PublishMode.INGRESS }),
    port(53, 0, { protocol: Protocol.UDP }),
  ];
  t.same(numbersOf(await numbers.number('one', wanted, [])), [40_001, 8081, 0, 40_002]);
  t.same(numbersOf(wanted), [0, 8081, 0, 0], 'what the manager said stays');
});

void t.test('a number is kept, and given to one task', async (t) => {
  const numbers = giving(40_001, 40_001, 40_002, 40_003, 40_001);
  const first = await numbers.number('one', [port(80)], []);
  t.same(numbersOf(await numbers.number('two', [port(80)], [])), [40_002]);
  const again = await numbers.number('one', [port(81), port(80)], first);
  t.same(numbersOf(again), [40_003, 40_001], 'the new port has another');
  numbers.release('one');
  t.same(numbersOf(await numbers.number('three', [port(80)], [])), [40_001]);
});

void t.test('two ports of one target each keep theirs', async (t) => {
  const numbers = giving(40_001, 40_002);
  const twice = [port(80), port(80)];
  const first = await numbers.number('one', twice, []);
  t.same(numbersOf(await numbers.number('one', twice, first)), [40_001, 40_002]);
});

void t.test('numbers of tasks of before are not given out', async (t) => {
  const numbers = giving(40_001, 40_002);
  numbers.adopt('old', [port(80, 40_001)]);
  t.same(numbersOf(await numbers.number('new', [port(80)], [])), [40_002]);
  t.ok(numbers.isGivenToOther('new', port(81, 40_001)), 'nor may a spec ask for one');
  t.notOk(numbers.isGivenToOther('old', port(81, 40_001)));
  t.notOk(numbers.isGivenToOther('new', port(81, 40_003)));
});

void t.test('when none is free', async (t) => {
  const numbers = new HostPortNumbers(async () => 40_001);
  await numbers.number('one', [port(80)], []);
  await t.rejects(numbers.number('two', [port(80)], []), {
    code: 'resource_exhausted',
    message: 'no free port of this node for 80/tcp in host mode',
  });
});

void t.test("the kernel's choice", async (t) => {
  const numbers = new HostPortNumbers();
  const ports = [port(80), port(53, 0, { protocol: Protocol.UDP })];
  for (const number of numbersOf(await numbers.number('one', ports, []))) t.ok(number >= 1024);
});
