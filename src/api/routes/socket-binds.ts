/**
 * In the body of `POST /containers/create`, binds of the engine's socket become binds of skepd's.
 */
import type { SocketBinds } from '../../model/engine-socket.js';
import type { JsonObject } from '../http/go-json.js';
import { entryOf, objectAt } from './engine-body.js';

/** Changes `HostConfig.Binds` and `HostConfig.Mounts` in place; true when something changed. */
export function bindSkepSocket(body: JsonObject, sockets: SocketBinds): boolean {
  const host = objectAt(body, 'HostConfig');
  if (host === undefined) return false;
  const labels = stringsOf(objectAt(body, 'Labels'));
  const swap = (source: string): string => sockets.source(source, labels);
  const binds = changeBinds(host, swap);
  return changeMounts(host, swap) || binds;
}

function stringsOf(object: JsonObject | undefined): Readonly<Record<string, string>> {
  const entries = [...(object ?? [])].filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return Object.fromEntries(entries);
}

/** `SOURCE:TARGET[:OPTIONS]`, as `docker run -v` sends them. */
function changeBinds(host: JsonObject, swap: (source: string) => string): boolean {
  const entry = entryOf(host, 'Binds');
  if (entry === undefined || !Array.isArray(entry.value)) return false;
  let changed = false;
  const binds = entry.value.map((bind) => {
    if (typeof bind !== 'string' || !bind.startsWith('/')) return bind;
    const [source = '', ...rest] = bind.split(':');
    const swapped = swap(source);
    changed ||= swapped !== source;
    return [swapped, ...rest].join(':');
  });
  if (changed) host.set(entry.key, binds);
  return changed;
}

function changeMounts(host: JsonObject, swap: (source: string) => string): boolean {
  const mounts = entryOf(host, 'Mounts')?.value;
  let changed = false;
  for (const mount of Array.isArray(mounts) ? mounts : []) {
    if (!(mount instanceof Map) || entryOf(mount, 'Type')?.value !== 'bind') continue;
    const source = entryOf(mount, 'Source');
    if (typeof source?.value !== 'string') continue;
    const swapped = swap(source.value);
    if (swapped === source.value) continue;
    mount.set(source.key, swapped);
    changed = true;
  }
  return changed;
}
