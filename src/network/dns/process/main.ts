/**
 * The process of the name server, one a node: `main.js DIRECTORY`. It belongs to nobody: it outlives a
 * skepd that is halted, blocked, killed or replaced, and the next one takes it over through its socket
 * in the directory. It ends when it is told to, when its socket is gone (the node left its swarm, or the
 * state directory was removed), and when its program is gone and no skepd is there.
 *
 * It is small on purpose, and imports little.
 */
import { existsSync, openSync, constants } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openNamespaceResolver } from '../../../native/namespace-resolver.js';
import type { Logger } from '../../../observe/logger.js';
import { systemEnvironment } from '../../../observe/system-environment.js';
import { NAME_LOOK_PERIOD_MS, NAME_ORPHAN_MS } from '../../limits.js';
import { nameServerBuild } from '../build.js';
import type { LogMessage } from '../protocol.js';
import { ControlSocket } from './control-socket.js';
import { NameService, reasonOf } from './name-service.js';

const PROGRAM = fileURLToPath(import.meta.url);

/** A logger whose lines go to skepd. */
function forwardingLogger(write: (line: LogMessage) => void): Logger {
  const at =
    (level: LogMessage['level']) =>
    (fields: object, message: string): void =>
      write({ kind: 'log', level, fields: fields as LogMessage['fields'], message });
  const nothing = (): void => undefined;
  const logger: Logger = {
    fatal: at('error'),
    error: at('error'),
    warn: at('warn'),
    info: at('info'),
    debug: at('debug'),
    trace: nothing,
    child: () => logger,
  };
  return logger;
}

async function run(directory: string): Promise<void> {
  // Paths of sockets are short; a descriptor of the directory makes any path short.
  const opened = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  const logger = forwardingLogger((line) => control.log(line));
  const { clock, random } = systemEnvironment;
  const service = new NameService({ open: openNamespaceResolver, clock, random, logger });
  let ending = false;
  const retire = (): void => {
    if (ending) return;
    ending = true;
    control.stop();
    service.retire().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  const control = new ControlSocket({
    path: `/proc/self/fd/${opened}/${process.pid}.sock`,
    build: nameServerBuild(PROGRAM),
    service,
    onRetire: retire,
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, retire);
  await control.start();
  let orphanSinceMs: number | undefined;
  setInterval(() => {
    service.tick();
    if (ending) return;
    const orphan = !control.isHeard && !existsSync(PROGRAM);
    const nowMs = clock.monotonicMs();
    orphanSinceMs = orphan ? (orphanSinceMs ?? nowMs) : undefined;
    const isLost = orphanSinceMs !== undefined && nowMs - orphanSinceMs >= NAME_ORPHAN_MS;
    if (isLost || !control.isThere) retire();
  }, NAME_LOOK_PERIOD_MS);
}

const [, , directory = ''] = process.argv;
run(directory).catch((error: unknown) => {
  // Whoever started it sees that it ended, and tries again.
  console.error(reasonOf(error));
  process.exit(1);
});
