/** Denials from outside are remembered, briefly and boundedly; the server outside is a function here. */
import { type Answer, decode, encode } from 'dns-packet';
import t from 'tap';
import type { Forwarding } from '../../../src/network/dns/forwarder.js';
import { RememberedDenials } from '../../../src/network/dns/remembered-denials.js';
import { DNS_DENIALS_MAX } from '../../../src/network/limits.js';

const NAME_ERROR = 3;

function soa(ttl: number, minimum: number): Answer {
  const data = { mname: 'ns.x', rname: 'a.x', serial: 1, refresh: 1, retry: 1, expire: 1, minimum };
  return { type: 'SOA', name: 'x', ttl, data };
}

interface Reply {
  readonly code?: number;
  readonly authorities?: readonly Answer[];
  readonly answers?: readonly Answer[];
}

/** Somebody outside who always says the same, and what has been asked. */
function setUp(reply: Reply) {
  let nowMs = 1000;
  const asked: string[] = [];
  const outside: Forwarding = {
    forward: (message) => {
      const { id = 0, questions = [] } = decode(message);
      asked.push(`${questions[0]?.name} ${questions[0]?.type}`);
      const answer = encode({
        ...{ type: 'response', id, flags: reply.code ?? 0, questions },
        ...{ answers: [...(reply.answers ?? [])], authorities: [...(reply.authorities ?? [])] },
      });
      return Promise.resolve({ kind: 'answer', message: answer });
    },
  };
  const denials = new RememberedDenials(outside, () => nowMs);
  const ask = async (name: string, id = 7, type: 'A' | 'AAAA' = 'A') => {
    const message = encode({ type: 'query', id, flags: 0x100, questions: [{ name, type }] });
    const result = await denials.forward(message, 'udp');
    return result.kind === 'answer' ? decode(result.message) : undefined;
  };
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { ask, asked, pass };
}

void t.test(
  'a denial is told again, to each in their own words, for as long as it may',
  async (t) => {
    const { ask, asked, pass } = setUp({ code: NAME_ERROR, authorities: [soa(60, 2)] });
    await ask('No.x', 1);
    const again = await ask('nO.X', 2);
    t.match(again, { id: 2, rcode: 'NXDOMAIN', questions: [{ name: 'nO.X' }] });
    t.strictSame(asked, ['No.x A']);
    await ask('No.x', 3, 'AAAA');
    t.equal(asked.length, 2, 'another type is another question');
    pass(1999);
    await ask('no.x');
    t.equal(asked.length, 2);
    pass(1);
    await ask('no.x');
    t.equal(asked.length, 3, 'its time is over');
  },
);

void t.test('no longer than our own answers live', async (t) => {
  const { ask, asked, pass } = setUp({ authorities: [soa(3600, 3600)] });
  await ask('no.x');
  pass(4999);
  await ask('no.x');
  t.equal(asked.length, 1, 'a type that is not there is denied, too');
  pass(1);
  await ask('no.x');
  t.equal(asked.length, 2);
});

void t.test('what is no denial is asked anew', async (t) => {
  const answers: readonly Answer[] = [{ type: 'A', name: 'a.x', ttl: 60, data: '192.0.2.1' }];
  for (const reply of [
    { answers, authorities: [soa(60, 60)] },
    { code: NAME_ERROR },
    { code: NAME_ERROR, authorities: [soa(60, 0)] },
    { code: 2, authorities: [soa(60, 60)] },
  ]) {
    const { ask, asked } = setUp(reply);
    await ask('a.x');
    await ask('a.x');
    t.equal(asked.length, 2, JSON.stringify(reply));
  }
});

void t.test('the oldest makes room', async (t) => {
  const { ask, asked } = setUp({ code: NAME_ERROR, authorities: [soa(60, 60)] });
  for (let index = 0; index <= DNS_DENIALS_MAX; index++) await ask(`n${index}.x`);
  const before = asked.length;
  await ask('n1.x');
  t.equal(asked.length, before);
  await ask('n0.x');
  t.equal(asked.length, before + 1);
});
