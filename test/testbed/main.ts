/**
 * The testbed as a command: `up N`, `down`, `status`.
 */
import { Command, InvalidArgumentError } from 'commander';
import { dockerRequest } from './http.js';
import { HOSTS_MAX, hostLayout } from './layout.js';
import { skepdPid } from './skepd.js';
import { readState } from './state.js';
import { down, up } from './testbed.js';

function parseCount(value: string): number {
  const count = Number(value);
  if (!Number.isInteger(count) || count < 1 || count > HOSTS_MAX)
    throw new InvalidArgumentError(`must be 1 to ${HOSTS_MAX}`);
  return count;
}

/** `--no-skep` means every host, `--no-skep=h1,h3` those. */
function parseNoSkep(argv: readonly string[]): {
  readonly rest: readonly string[];
  readonly noSkep: 'all' | readonly string[] | undefined;
} {
  let noSkep: 'all' | readonly string[] | undefined;
  const rest = argv.filter((argument) => {
    if (argument === '--no-skep') noSkep = 'all';
    else if (argument.startsWith('--no-skep='))
      noSkep = argument.slice('--no-skep='.length).split(',').filter(Boolean);
    else return true;
    return false;
  });
  return { rest, noSkep };
}

async function status(): Promise<void> {
  const state = readState();
  if (state === undefined) {
    console.log('testbed: down');
    return;
  }
  for (const host of state.hosts) {
    const layout = hostLayout(host.number);
    const engine = await answers(layout.dockerSocket);
    const skep = host.skep ? ((await answers(layout.skepSocket)) ? 'answers' : 'silent') : 'none';
    const pid = skepdPid(layout);
    console.log(
      `${layout.name}  ${layout.address}  engine ${engine ? 'answers' : 'silent'}  skepd ${skep}` +
        `${pid === undefined ? '' : ` (pid ${pid})`}  ${layout.skepSocket}`,
    );
  }
}

async function answers(socket: string): Promise<boolean> {
  try {
    return (await dockerRequest(socket, 'GET', '/_ping')).status === 200;
  } catch {
    return false; // Nobody listens there.
  }
}

const { rest, noSkep } = parseNoSkep(process.argv);
const program = new Command('testbed').description('Docker hosts out of network namespaces');
program
  .command('up')
  .argument('<hosts>', 'how many', parseCount)
  .option('--live-restore', 'start the engines with --live-restore', false)
  .description('make the hosts, wait until all answer (--no-skep[=h3,...] leaves skepd out)')
  .action(async (count: number, options: { liveRestore: boolean }) => {
    const hosts = await up(count, {
      ...(noSkep === undefined ? {} : { noSkep }),
      liveRestore: options.liveRestore,
      stays: true,
      report: (line) => console.log(line),
    });
    for (const host of hosts)
      console.log(`${host.name}  ${host.address}  docker -H unix://${host.skepSocket} ...`);
  });
program.command('down').description('remove everything').action(down);
program.command('status').description('say what runs').action(status);
try {
  await program.parseAsync(rest);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
