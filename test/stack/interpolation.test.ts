/** Variables in compose files and files of variables, by the compose specification. */
import t from 'tap';
import { parseDotenv, parseRaw } from '../../src/stack/dotenv.js';
import { interpolate } from '../../src/stack/interpolation.js';
import { lookupOf, somewhere } from './support.js';

const VARIABLES = lookupOf({ SET: 'value', EMPTY: '', OTHER: 'other' });

void t.test('all forms of variables', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['plain', 'plain'],
    ['$SET', 'value'],
    ['a$SET-b', 'avalue-b'],
    ['${SET}x', 'valuex'],
    ['$UNSET|${UNSET}', '|'],
    ['$$SET $${SET}', '$SET ${SET}'],
    ['${SET:-d}${EMPTY:-d}${UNSET:-d}', 'valuedd'],
    ['${SET-d}${EMPTY-d}${UNSET-d}', 'valued'],
    ['${SET:+r}${EMPTY:+r}${UNSET:+r}', 'r'],
    ['${SET+r}${EMPTY+r}${UNSET+r}', 'rr'],
    ['${SET:?e}${SET?e}${EMPTY?e}', 'valuevalue'],
    ['${UNSET:-${OTHER}}', 'other'],
    ['${UNSET:-${UNSET:-$OTHER}}}', 'other}'],
    ['${UNSET:-a b:c/d?e}', 'a b:c/d?e'],
    ['${UNSET:-}', ''],
  ];
  for (const [text, expected] of cases)
    t.equal(interpolate(text, VARIABLES, somewhere()), expected, text);
});

void t.test('what is refused, with its place', async (t) => {
  for (const text of ['${', '${SET', '$', '$1', '${}', '${SET!x}', '${1A}'])
    t.throws(() => interpolate(text, VARIABLES, somewhere()), /f: x: invalid interpolation format/);
  for (const [text, message] of [
    ['${UNSET?}', 'required variable UNSET is missing a value'],
    ['${EMPTY:?no $OTHER}', 'required variable EMPTY is missing a value: no other'],
  ] as const)
    t.throws(() => interpolate(text, VARIABLES, somewhere()), { message: `f: x: ${message}` });
  const deep = '${U:-'.repeat(40) + '}'.repeat(40);
  t.throws(() => interpolate(deep, VARIABLES, somewhere()), /nested too deeply/);
});

void t.test('an unset variable is warned about', async (t) => {
  const place = somewhere();
  interpolate('$UNSET', VARIABLES, place);
  t.match(place.warnings[0], /The "UNSET" variable is not set/);
});

void t.test('files of variables', async (t) => {
  const text = [
    '\uFEFF# comment',
    'A=plain',
    'export B = spaced # comment',
    'C=with#hash',
    "D='$SET literal # all'",
    'E="$SET\\n\\"quoted\\" \\$SET" # comment',
    'F=${A}-${UNSET:-d}',
    'G=',
    'H',
    'I: colon',
    'J="two',
    'lines"',
  ].join('\r\n');
  t.strictSame(parseDotenv(text, VARIABLES, somewhere()), {
    ...{ A: 'plain', B: 'spaced', C: 'with#hash', D: '$SET literal # all' },
    ...{ E: 'value\n"quoted" $SET', F: 'plain-d', G: '', H: null, I: 'colon', J: 'two\nlines' },
  });
  t.strictSame(parseRaw('A="x" # y\nB\n#C=1\n'), { A: '"x" # y', B: null });
  for (const bad of ['=x', "A='x", 'A="x', 'A="x" y', 'A B', '-'])
    t.throws(() => parseDotenv(`OK=1\n${bad}`, VARIABLES, somewhere()), /x\[2\]/, bad);
});
