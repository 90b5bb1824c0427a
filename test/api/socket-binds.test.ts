/** Binds of the engine's socket in the bodies of plain containers and in tasks. */
import t from 'tap';
import { parseJsonStream } from '../../src/api/http/go-json.js';
import { writeJson } from '../../src/api/http/json-text.js';
import { bindSkepSocket } from '../../src/api/routes/socket-binds.js';
import { SocketBinds } from '../../src/model/engine-socket.js';

const SOCKETS = new SocketBinds('/run/skep.sock', '/srv/docker/engine.sock');

/** The body after the change, or undefined when nothing is to be changed. */
function swapped(text: string): string | undefined {
  const body = parseJsonStream(text);
  if (!(body instanceof Map)) throw new Error('the test needs an object');
  return bindSkepSocket(body, SOCKETS) ? writeJson(body) : undefined;
}

void t.test('binds of the engine socket become binds of ours', async (t) => {
  t.equal(
    swapped(
      '{"Image":"i","HostConfig":{"Binds":["/var/run/docker.sock:/var/run/docker.sock:ro","v:/v","/a:/b"]}}',
    ),
    '{"Image":"i","HostConfig":{"Binds":["/run/skep.sock:/var/run/docker.sock:ro","v:/v","/a:/b"]}}',
  );
  t.equal(
    swapped(
      '{"hostconfig":{"mounts":[{"type":"bind","source":"/run/docker.sock","target":"/s"}]}}',
    ),
    '{"hostconfig":{"mounts":[{"type":"bind","source":"/run/skep.sock","target":"/s"}]}}',
  );
  t.equal(
    swapped('{"HostConfig":{"Binds":["/srv//docker/./engine.sock:/s"]}}'),
    '{"HostConfig":{"Binds":["/run/skep.sock:/s"]}}',
  );
});

void t.test('everything else stays as it came', async (t) => {
  for (const text of [
    '{}',
    '{"HostConfig":null}',
    '{"HostConfig":{"Binds":null,"Mounts":null}}',
    '{"HostConfig":{"Binds":[1,"docker.sock:/s","/var/run:/s"],"Mounts":[1,{"Type":"bind"}]}}',
    '{"HostConfig":{"Mounts":[{"Type":"volume","Source":"/var/run/docker.sock","Target":"/s"}]}}',
    '{"Labels":{"skep.container.engine_socket":"true"},"HostConfig":{"Binds":["/run/docker.sock:/s"]}}',
  ])
    t.equal(swapped(text), undefined, text);
});
