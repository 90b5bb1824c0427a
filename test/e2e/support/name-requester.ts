/**
 * A program, run in a container's network namespace: asks 127.0.0.11 for a name so many times a second,
 * one question each time with a limit of time and no second try, and, if told so, asks the address it gets
 * by HTTP. Prints what failed. It ends after so many seconds, or once its input ends.
 *   node name-requester.js NAME RATE SECONDS [PORT]
 */
import { Resolver } from 'node:dns/promises';
import { get } from 'node:http';

const [, , name = '', rate = '', seconds = '', port = ''] = process.argv;
const RESOLVER = '127.0.0.11';
/** Well below what skepd is blocked for in tests, and far above what a busy machine takes. */
const ANSWER_LIMIT_MS = 4000;
const REQUEST_LIMIT_MS = 10_000;

let asked = 0;
let failed = 0;
const errors = new Map<string, number>();
const answers = new Set<string>();
const underWay = new Set<Promise<void>>();

async function request(address: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const options = { host: address, port: Number(port), timeout: REQUEST_LIMIT_MS, agent: false };
    const call = get(options, (response) => {
      response.resume();
      response.on('end', resolve);
    });
    call.on('timeout', () => call.destroy(new Error('HTTP timeout')));
    call.on('error', reject);
  });
}

async function ask(): Promise<void> {
  asked += 1;
  const beganMs = performance.now();
  try {
    const resolver = new Resolver({ timeout: ANSWER_LIMIT_MS, tries: 1 });
    resolver.setServers([RESOLVER]);
    const addresses = await resolver.resolve4(name);
    answers.add(addresses.toSorted().join(' '));
    if (port !== '') await request(addresses[0] ?? '');
  } catch (error) {
    failed += 1;
    const { code, message } = error as NodeJS.ErrnoException;
    const at = `${code ?? message} after ${Math.round((performance.now() - beganMs) / 100) / 10} s`;
    errors.set(at, (errors.get(at) ?? 0) + 1);
  }
}

const timer = setInterval(() => {
  const one = ask().finally(() => underWay.delete(one));
  underWay.add(one);
}, 1000 / Number(rate));

let ended = false;
async function end(): Promise<void> {
  if (ended) return;
  ended = true;
  clearInterval(timer);
  await Promise.all(underWay);
  const result = { asked, failed, errors: Object.fromEntries(errors), answers: [...answers] };
  console.log(JSON.stringify(result));
  process.exit(0);
}
setTimeout(() => void end(), Number(seconds) * 1000);
process.stdin.on('end', () => void end());
process.stdin.resume();
console.log('asking');
