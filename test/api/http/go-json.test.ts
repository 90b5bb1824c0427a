/** The JSON reader: Go's texts, lossless numbers, and agreement with the platform's parser. */
import * as fc from 'fast-check';
import t from 'tap';
import {
  JsonNumber,
  JsonSyntaxError,
  type JsonValue,
  parseJsonStream,
  parseJsonString,
} from '../../../src/api/http/go-json.js';
import { float32Number, sortedMap, writeJson } from '../../../src/api/http/json-text.js';

function complaint(text: string, parse: (text: string) => JsonValue): string {
  try {
    parse(text);
    return 'none';
  } catch (error) {
    if (error instanceof JsonSyntaxError) return error.message;
    throw error;
  }
}

void t.test('texts of Go for what is not JSON', async (t) => {
  // Each text was seen from Go 1.19.
  const cases: readonly (readonly [string, string])[] = [
    ['', 'EOF'],
    ['  ', 'EOF'],
    ['{', 'unexpected EOF'],
    ['{"a', 'unexpected EOF'],
    ['xyz', "invalid character 'x' looking for beginning of value"],
    ['{x', "invalid character 'x' looking for beginning of object key string"],
    ['{"a" 1', "invalid character '1' after object key"],
    ['{"a":1 2', "invalid character '2' after object key:value pair"],
    ['[1 2', "invalid character '2' after array element"],
    ['nul!', "invalid character '!' in literal null (expecting 'l')"],
    ['"\n"', "invalid character '\\n' in string literal"],
    ['"\\x"', "invalid character 'x' in string escape code"],
    ['"\\u00g0"', "invalid character 'g' in \\u hexadecimal character escape"],
    ['-a', "invalid character 'a' in numeric literal"],
    ['1.a', "invalid character 'a' after decimal point in numeric literal"],
    ['1ea', "invalid character 'a' in exponent of numeric literal"],
    ["'", "invalid character '\\'' looking for beginning of value"],
    ['['.repeat(100_000), 'exceeded max depth'],
  ];
  for (const [text, expected] of cases) {
    t.equal(complaint(text, parseJsonStream), expected, text.slice(0, 20));
  }
  t.equal(complaint('', parseJsonString), 'unexpected end of JSON input');
  t.equal(complaint('{}x', parseJsonString), "invalid character 'x' after top-level value");
  t.same(parseJsonStream('{}x'), new Map(), 'a stream may go on');
});

void t.test('64-bit numbers keep their digits', async (t) => {
  const value = parseJsonString('[18446744073709551615, -1.50e3]');
  t.same(value, [new JsonNumber('18446744073709551615'), new JsonNumber('-1.50e3')]);
  t.equal(writeJson(value), '[18446744073709551615,-1.50e3]');
  t.equal(
    writeJson({ a: 2n ** 63n, b: undefined, c: [null, true] }),
    '{"a":9223372036854775808,"c":[null,true]}',
  );
});

void t.test('agrees with the platform on any JSON and any text', async (t) => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 5 }), (text) => {
      const again = writeJson(parseJsonString(text));
      return JSON.stringify(JSON.parse(again)) === JSON.stringify(JSON.parse(text));
    }),
  );
  const accepts = (text: string) => {
    try {
      JSON.parse(text);
      return true;
    } catch {
      return false;
    }
  };
  const alphabet = fc.constantFrom(...Array.from('{}[]",:\\u0019eE+-. tfn\nrues\u2028'));
  fc.assert(
    fc.property(fc.string({ unit: alphabet }), (text) => {
      return (complaint(text, parseJsonString) === 'none') === accepts(text);
    }),
    { numRuns: 2000 },
  );
  t.pass('holds');
});

void t.test('maps are sorted, float32 values short', async (t) => {
  t.equal(writeJson(sortedMap({ b: '1', a: '2' })), '{"a":"2","b":"1"}');
  fc.assert(
    fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
      return Math.fround(float32Number(value)) === value;
    }),
  );
  t.equal(float32Number(Math.fround(0.3)), 0.3);
});
