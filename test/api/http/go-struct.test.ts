/** Typed reading with Go's errors, as the engine shows them. */
import t from 'tap';
import { parseJsonStream } from '../../../src/api/http/go-json.js';
import { GoStruct } from '../../../src/api/http/go-struct.js';

function read(text: string, use: (json: GoStruct) => unknown): unknown {
  try {
    return use(GoStruct.root(parseJsonStream(text), 'swarm.InitRequest'));
  } catch (error) {
    return (error as Error).message;
  }
}

void t.test('wrong types name struct, path and type', async (t) => {
  const into = 'into Go struct field';
  t.equal(
    read('{"ListenAddr":1}', (json) => json.string('ListenAddr')),
    `json: cannot unmarshal number ${into} InitRequest.ListenAddr of type string`,
  );
  t.equal(
    read('{"Spec":{"CAConfig":{"NodeCertExpiry":"1"}}}', (json) =>
      json
        .nested('Spec', 'swarm.Spec')
        .nested('CAConfig', 'swarm.CAConfig')
        .int64('NodeCertExpiry', 'time.Duration'),
    ),
    `json: cannot unmarshal string ${into} CAConfig.Spec.CAConfig.NodeCertExpiry of type time.Duration`,
  );
  t.equal(
    read('[]', (json) => json),
    'json: cannot unmarshal array into Go value of type swarm.InitRequest',
  );
  t.equal(
    read('{"DataPathPort":-1}', (json) => json.uint32('DataPathPort')),
    `json: cannot unmarshal number -1 ${into} InitRequest.DataPathPort of type uint32`,
  );
  t.equal(
    read('{"A":[1]}', (json) => json.strings('A')),
    `json: cannot unmarshal number ${into} InitRequest.A of type string`,
  );
  t.equal(
    read('{"A":"!"}', (json) => json.bytes('A')),
    'illegal base64 data at input byte 0',
  );
  t.same(
    read('{"A":[97,null,255]}', (json) => [...json.bytes('A')]),
    [97, 0, 255],
  );
  t.equal(
    read('{"A":[256]}', (json) => json.bytes('A')),
    `json: cannot unmarshal number 256 ${into} InitRequest.A of type uint8`,
  );
});

void t.test('zero values, case of keys, hostile keys', async (t) => {
  t.equal(
    read('null', (json) => json.string('A')),
    '',
  );
  t.equal(
    read('{"a":null}', (json) => json.bool('A')),
    false,
  );
  t.equal(
    read('{"listenADDR":"x"}', (json) => json.string('ListenAddr')),
    'x',
  );
  t.equal(
    read('{"A":18446744073709551615}', (json) => json.uint64('A')),
    2n ** 64n - 1n,
  );
  t.match(
    read('{"A":18446744073709551616}', (json) => json.uint64('A')),
    /cannot unmarshal/,
  );
  t.match(
    read('{"A":1.5}', (json) => json.uint64('A')),
    /number 1.5/,
  );
  const labels = read('{"L":{"__proto__":"x","b":null}}', (json) => json.stringMap('L'));
  t.same(Object.entries(labels as object), [
    ['__proto__', 'x'],
    ['b', ''],
  ]);
});
