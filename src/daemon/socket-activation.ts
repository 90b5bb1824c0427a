/**
 * The API's socket from a service manager, which keeps it while skepd is restarted: sd_listen_fds(3).
 * Clients that come meanwhile wait, and what is bound into containers stays the same file.
 */
import { statSync } from 'node:fs';
import path from 'node:path';
import { SkepError } from '../model/errors.js';
import { takePassedSocket } from '../native/passed-socket.js';

/** Passed descriptors begin here (SD_LISTEN_FDS_START). */
const FIRST_FD = 3;
const VARIABLES = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES'] as const;

/**
 * The descriptor of the listening socket, or undefined when none was passed to this process. Takes the
 * variables away, so that no child takes itself for the one that is meant.
 * @throws SkepError failed_precondition, in one sentence, when what was passed cannot be served
 */
export function activationSocket(
  environment: NodeJS.ProcessEnv,
  apiSocket: string,
): number | undefined {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = environment;
  for (const name of VARIABLES) Reflect.deleteProperty(environment, name);
  if (pid !== String(process.pid) || count === undefined) return undefined;
  if (count !== '1')
    throw refusal(`LISTEN_FDS is "${count}": skepd takes one socket, that of its API`);
  const { isListeningStream, path: at } = look();
  if (!isListeningStream)
    throw refusal(
      'the socket passed to skepd is not a listening unix stream socket: ' +
        'its unit needs one ListenStream= with a path, and Accept=no',
    );
  if (!isSame(at, path.resolve(apiSocket)))
    throw refusal(
      `the socket passed to skepd is bound to "${at}" and not to ${path.resolve(apiSocket)}: ` +
        'give ListenStream= and --api-socket the same path',
    );
  return FIRST_FD;
}

function look(): ReturnType<typeof takePassedSocket> {
  try {
    return takePassedSocket(FIRST_FD);
  } catch (thrown) {
    const { message } = SkepError.from(thrown);
    throw refusal(`descriptor ${FIRST_FD}, named by LISTEN_FDS, is not a socket (${message})`);
  }
}

/** Also by another name: /var/run is /run. */
function isSame(one: string, other: string): boolean {
  if (one === other) return true;
  const [first, second] = [one, other].map((at) => statSync(at, { throwIfNoEntry: false }));
  return first !== undefined && first.dev === second?.dev && first.ino === second.ino;
}

function refusal(text: string): SkepError {
  return new SkepError('failed_precondition', text);
}
