/**
 * `skep import`: takes over what another swarm is made of, read from its manager's socket or from a
 * file saved there before, through skepd's API (docs/moving.md).
 */
import { createReadStream } from 'node:fs';
import { open, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { base64 } from '../api/convert/common.js';
import { secretSpecFields } from '../api/convert/secret.js';
import { type JsonOut, writeJson } from '../api/http/json-text.js';
import { carryOut } from '../import/carry-out.js';
import { describePlan, printable } from '../import/describe.js';
import { ANSWER_BYTES_MAX, SAVED_BYTES_MAX } from '../import/limits.js';
import { type Choices, isBlocked, makePlan } from '../import/plan.js';
import {
  type Ask,
  parse,
  parseSaved,
  readSwarm,
  savedText,
  type SwarmCopy,
} from '../import/swarm-copy.js';
import { type SwarmView, viewSwarm } from '../import/swarm-view.js';
import { SECRET_BYTES_LIMIT } from '../manager/control/limits.js';
import { SkepError } from '../model/errors.js';
import { systemEnvironment } from '../observe/system-environment.js';
import { callForText } from './docker-api.js';

/** What a person gave on the command line. */
export interface ImportFlags {
  readonly from: string;
  readonly apiSocket: string;
  readonly dryRun: boolean;
  readonly save?: string;
  readonly secret: readonly string[];
  readonly secrets?: string;
  readonly skip: readonly string[];
}

const KINDS: readonly string[] = ['service', 'secret', 'config', 'network', 'node'];
type SkippableKind = 'service' | 'secret' | 'config' | 'network' | 'node';

/**
 * Plans, tells the plan, and carries it out unless only that was asked for.
 * @returns the exit code: 1 where something has to be decided first @throws SkepError
 */
export async function runImport(flags: ImportFlags, tell: (line: string) => void): Promise<number> {
  const { copy, there } = await readSource(flags.from);
  if (flags.save !== undefined) {
    await save(flags.save, copy);
    tell(`saved in ${flags.save}: ${there.services.length} services, ${there.nodes.length} nodes`);
    return 0;
  }
  const choices = await readChoices(flags, there);
  const here = viewSwarm(await readSwarm(asking(flags.apiSocket)));
  if (there.id === here.id)
    throw new SkepError('failed_precondition', `${flags.from} is the swarm of this skepd`);
  const steps = await makePlan(there, here, choices, systemEnvironment);
  for (const line of describePlan(steps)) tell(line);
  if (isBlocked(steps)) {
    tell('nothing is changed. Give values of secrets with --secret NAME=FILE or --secrets');
    tell('DIRECTORY; leave out what cannot be here with --skip KIND/NAME');
    return 1;
  }
  if (flags.dryRun) return 0;
  const post = async (to: string, body: JsonOut) => {
    const text = await callForText(flags.apiSocket, 'POST', to, writeJson(body));
    return text.trim() === '' ? null : parse(text);
  };
  await carryOut(steps, here, post, tell);
  return 0;
}

function asking(socket: string): Ask {
  return async (to) => parse(await callForText(socket, 'GET', to, undefined, ANSWER_BYTES_MAX));
}

async function readSource(
  from: string,
): Promise<{ readonly copy: SwarmCopy; readonly there: SwarmView }> {
  const place = from.replace(/^unix:\/\//, '');
  try {
    const copy = (await stat(place)).isSocket()
      ? await readSwarm(asking(place))
      : parseSaved((await readBounded(place, SAVED_BYTES_MAX)).toString('utf8'));
    return { copy, there: viewSwarm(copy) };
  } catch (error) {
    const { code, message } = SkepError.from(error);
    throw new SkepError(code, `${from}: ${printable(message)}`, { cause: error });
  }
}

/** A new file, whole and durable or not there. @throws SkepError already_exists */
async function save(file: string, copy: SwarmCopy): Promise<void> {
  const handle = await open(file, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    const isThere = error.code === 'EEXIST';
    throw new SkepError(
      isThere ? 'already_exists' : 'unknown',
      isThere ? `${file} exists: nothing is replaced` : error.message,
    );
  });
  try {
    await handle.writeFile(savedText(copy));
    await handle.sync();
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
}

async function readChoices(flags: ImportFlags, there: SwarmView): Promise<Choices> {
  for (const skipped of flags.skip) {
    const [kind = '', name = ''] = skipped.split('/', 2);
    if (!KINDS.includes(kind) || name === '')
      throw new SkepError('invalid_argument', `--skip ${skipped}: give KIND/NAME, as service/web`);
    if (!there[`${kind as SkippableKind}s`].some((object) => object.name === name))
      throw new SkepError('not_found', `--skip ${skipped}: the other swarm has no such ${kind}`);
  }
  return {
    values: await readValues(flags, new Set(there.secrets.map(({ name }) => name))),
    skip: new Set(flags.skip),
    hasValue: ({ id, spec }, value) => {
      const body = { ...secretSpecFields(spec), Data: base64(value) };
      return hasValue(flags.apiSocket, id, writeJson(body));
    },
  };
}

/** Values of secrets by name; those given one by one before those of the directory. */
async function readValues(
  { secret, secrets }: ImportFlags,
  known: ReadonlySet<string>,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const values = new Map<string, Uint8Array>();
  if (secrets !== undefined) {
    // By the directory's own names: one that comes from the other swarm must lead nowhere.
    for (const name of await readdir(secrets)) {
      const file = path.join(secrets, name);
      if (!known.has(name) || !(await stat(file)).isFile()) continue;
      values.set(name, await readBounded(file, SECRET_BYTES_LIMIT));
    }
  }
  for (const given of secret) {
    const cut = given.indexOf('=');
    const name = given.slice(0, Math.max(cut, 0));
    if (cut < 1 || cut === given.length - 1)
      throw new SkepError('invalid_argument', '--secret takes NAME=FILE');
    if (!known.has(name))
      throw new SkepError('not_found', `--secret ${name}: the other swarm has no such secret`);
    values.set(name, await readBounded(given.slice(cut + 1), SECRET_BYTES_LIMIT));
  }
  return values;
}

/** A file, pipe or such, to its end. @throws SkepError out_of_range if that is not within `bytesMax` */
async function readBounded(file: string, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of createReadStream(file)) {
    const bytes = chunk as Buffer;
    size += bytes.length;
    if (size > bytesMax)
      throw new SkepError('out_of_range', `${file}: larger than ${bytesMax} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

/**
 * Whether a secret here has this value, which no API tells: an update that is bound to fail is tried,
 * since a swarm compares content before the version, which no object has.
 */
async function hasValue(socket: string, id: string, body: string): Promise<boolean> {
  try {
    await callForText(socket, 'POST', `/secrets/${id}/update?version=0`, body);
  } catch (error) {
    const { message } = SkepError.from(error);
    if (message.includes('only updates to Labels are allowed')) return false;
    if (!message.includes('update out of sequence')) throw error;
  }
  return true;
}
