/**
 * A Docker plugin as a process of its own: `node test-plugin.js SOCKET`. As a secret provider it
 * answers with what it was asked; as a volume driver it keeps each volume as a directory beside its
 * socket, as a driver of network volumes would mount a share.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';

type Json = Readonly<Record<string, unknown>>;

const [socket = ''] = process.argv.slice(2);
const shares = path.join(path.dirname(socket), 'shares');
const volumes = new Map<string, Json>();

/** What the secret of a name is to be. */
function secret(request: Json): Json {
  const name = String(request['SecretName']);
  if (name.includes('fail')) return { Err: 'the vault is sealed' };
  if (name.includes('empty')) return { Value: '' };
  if (name.includes('huge')) return { Value: Buffer.alloc(512_000).toString('base64') };
  const value = name.includes('echo') ? JSON.stringify(request) : `SKEP-DRIVER-7c3e ${name}`;
  const isOwn = name.includes('own');
  const text = isOwn ? `${value} ${String(request['TaskID'])}` : value;
  return { Value: Buffer.from(text).toString('base64'), DoNotReuse: isOwn };
}

const CALLS: Readonly<Record<string, (request: Json) => Json>> = {
  'Plugin.Activate': () => ({ Implements: ['secretprovider', 'VolumeDriver'] }),
  'SecretProvider.GetSecret': secret,
  'VolumeDriver.Create': ({ Name, Opts }) => {
    const options = (Opts ?? {}) as Json;
    if (options['share'] === undefined) return { Err: 'option share is required' };
    const folder = path.join(shares, String(Name));
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'options'), JSON.stringify(options));
    volumes.set(String(Name), { Name, Mountpoint: folder, Status: options });
    return { Err: '' };
  },
  'VolumeDriver.Remove': ({ Name }) => {
    volumes.delete(String(Name));
    rmSync(path.join(shares, String(Name)), { recursive: true, force: true });
    return { Err: '' };
  },
  'VolumeDriver.Mount': ({ Name }) => ({ Mountpoint: path.join(shares, String(Name)), Err: '' }),
  'VolumeDriver.Path': ({ Name }) => ({ Mountpoint: path.join(shares, String(Name)), Err: '' }),
  'VolumeDriver.Unmount': () => ({ Err: '' }),
  'VolumeDriver.Get': ({ Name }) => {
    const volume = volumes.get(String(Name));
    return volume === undefined ? { Err: 'no such volume' } : { Volume: volume, Err: '' };
  },
  'VolumeDriver.List': () => ({ Volumes: [...volumes.values()], Err: '' }),
  'VolumeDriver.Capabilities': () => ({ Capabilities: { Scope: 'local' } }),
};

const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => {
    body += chunk.toString();
  });
  request.on('end', () => {
    const call = CALLS[(request.url ?? '').slice(1)];
    response.writeHead(call === undefined ? 404 : 200, {
      'content-type': 'application/vnd.docker.plugins.v1.2+json',
    });
    const parsed = body.trim() === '' ? {} : (JSON.parse(body) as Json);
    response.end(call === undefined ? '' : JSON.stringify(call(parsed)));
  });
});

rmSync(socket, { force: true });
server.listen(socket, () => console.log('listening'));
