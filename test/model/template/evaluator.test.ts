/**
 * What the docker CLI cannot be asked (its data has no maps, its Go is older), limits, and that no
 * input does anything but yield a text or an error of its own kind.
 */
import * as fc from 'fast-check';
import t from 'tap';
import { execute } from '../../../src/model/template/evaluator.js';
import { BUILTINS, JOIN } from '../../../src/model/template/functions.js';
import { TemplateError } from '../../../src/model/template/template-error.js';
import { Struct, type Value } from '../../../src/model/template/values.js';

const LABELS: Value = new Map([
  ['b', '2'],
  ['a', '1'],
]);
const DATA = new Struct(
  '*T',
  new Map<string, Value>([
    ['Labels', LABELS],
    ['Empty', new Map()],
    ['Name', 'n'],
  ]),
);
const FUNCTIONS = new Map([...BUILTINS, ['join', JOIN] as const]);

function run(template: string): string {
  try {
    return execute('x', template, DATA, FUNCTIONS);
  } catch (error) {
    if (error instanceof TemplateError) return `ERROR ${error.message}`;
    throw error;
  }
}

void t.test('range, as in the documentation of text/template', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['{{range .Labels}}{{.}},{{end}}', '1,2,'],
    ['{{range $v := .Labels}}{{$v}}{{.}},{{end}}', '11,22,'],
    ['{{range $k, $v := .Labels}}{{$k}}{{$v}},{{end}}', 'a1,b2,'],
    [
      '{{range .Empty}}x{{else}}none{{end}}{{range $k, $v := .Empty}}x{{else}}{{.Name}}{{end}}',
      'nonen',
    ],
    ['{{range $k, $v := .Labels}}{{if eq $k "a"}}{{continue}}{{end}}{{$v}}{{end}}', '2'],
    ['{{range $k, $v := .Labels}}{{if eq $k "b"}}{{break}}{{end}}{{$v}}{{else}}e{{end}}!', '1!'],
    [
      '{{range 3}}{{.}}{{end}} {{range $i := 2}}{{$i}}{{end}}{{range 0}}x{{else}}zero{{end}}',
      '012 01zero',
    ],
    ['{{$s := ""}}{{range $k, $v := .Labels}}{{$s = print $s $k}}{{end}}{{$s}}', 'ab'],
    ['{{$k := ""}}{{$v := ""}}{{range $k, $v = .Labels}}{{end}}{{$k}}{{$v}}', 'b2'],
    ['{{range .Labels}}{{range $.Labels}}{{.}}{{end}};{{end}}', '12;12;'],
    ['{{with ""}}a{{else with .Name}}{{.}}{{end}}', 'n'],
    [
      '{{range nil}}x{{end}}',
      'ERROR template: x:1:8: executing "x" at <nil>: nil is not a command',
    ],
    [
      '{{range $i, $v := 3}}{{end}}',
      `ERROR template: x:1:18: executing "x" at <3>: can't use 3 to iterate over more than one variable`,
    ],
    ['{{index .Labels "a"}}{{index .Labels "nope"}}{{.Labels.b}}', '12'],
    [
      '{{.Labels}} {{printf "%v %q %#v %d" .Labels .Labels .Labels .Labels}}',
      'map[a:1 b:2] map[a:1 b:2] map["a":"1" "b":"2"] map[string]string{"a":"1", "b":"2"} map[%!d(string=a):%!d(string=1) %!d(string=b):%!d(string=2)]',
    ],
    ['{{if .Labels}}y{{end}}{{if .Empty}}n{{end}}{{len .Labels}}', 'y2'],
    ['{{join "," "a" "b"}} {{"c" | join "," "a"}}', 'a,b a,c'],
    [
      '{{index .Labels 1}}',
      'ERROR template: x:1:2: executing "x" at <index .Labels 1>: error calling index: value has type int; should be string',
    ],
    [
      '{{.Labels 1}}',
      'ERROR template: x:1:2: executing "x" at <.Labels>: Labels has arguments but cannot be invoked as function',
    ],
    [
      '{{.Labels.a 1}}',
      'ERROR template: x:1:9: executing "x" at <.Labels.a>: a is not a method but has arguments',
    ],
    [
      '{{template "t"}}{{define "t"}}{{.X}}{{end}}',
      'ERROR template: x:1:32: executing "t" at <.X>: nil data; no entry for key "X"',
    ],
  ];
  for (const [template, expected] of cases) t.equal(run(template), expected, template);
});

void t.test('hostile templates end soon, with an error', async (t) => {
  const deep = 3_000;
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      'endless recursion',
      '{{define "r"}}{{template "r" .}}{{end}}{{template "r" .}}',
      /maximum template depth/,
    ],
    ['nested loops', '{{range 100000}}'.repeat(9) + '{{end}}'.repeat(9), /more than \d+ steps/],
    ['deep parentheses', `{{${'('.repeat(deep)}1${')'.repeat(deep)}}}`, /max expression depth/],
    ['deep control', '{{if 1}}'.repeat(deep), /max expression depth/],
    ['deep else if', `{{if 0}}${'{{else if 0}}'.repeat(deep)}{{end}}`, /max expression depth/],
    ['long pipeline', `{{1${'|print'.repeat(deep)}}}`, /pipeline too long/],
    ['many arguments', `{{print ${'1 '.repeat(deep)}}}`, /too many arguments/],
    ['many fields', `{{.${'A.'.repeat(deep)}A}}`, /too many fields/],
    ['many variables', '{{$x := 1}}'.repeat(deep), /too many variables/],
    ['large output', `{{range 1000}}${'x'.repeat(10_000)}{{end}}`, /more than \d+ bytes/],
    ['large strings', '{{range 1000}}{{$x := printf "%1000000d" 1}}{{end}}', /bytes of strings/],
    ['many blanks', `${' '.repeat(1_000_000)}x{{- nope}}`, /function "nope" not defined/],
  ];
  for (const [what, template, expected] of cases) {
    const startMs = performance.now();
    t.match(run(template), expected, what);
    t.ok(performance.now() - startMs < 3_000, `${what}: ${performance.now() - startMs} ms`);
  }
});

void t.test('any text yields a text or an error of a template', async (t) => {
  const words = fc.constantFrom(
    ...[
      '{{',
      '}}',
      '{{-',
      '-}}',
      ' ',
      '\n',
      '.',
      '$',
      '$x',
      ':=',
      '=',
      ',',
      '|',
      '(',
      ')',
      '"',
      '`',
    ],
    ...[
      "'",
      'a',
      '1',
      '-1',
      '1.5',
      'if',
      'else',
      'end',
      'range',
      'with',
      'define',
      'template',
      'block',
    ],
    ...[
      'break',
      'continue',
      'nil',
      'true',
      'printf',
      '"%d"',
      'index',
      '.Labels',
      '.Name',
      '/*',
      '*/',
    ],
    ...['eq', 'and', 'len', 'slice', '"\\x"', '\\', '\xff'],
  );
  const template = fc.array(words, { maxLength: 30 }).map((parts) => parts.join(''));
  const inAction = fc.array(words, { maxLength: 8 }).map((parts) => `{{${parts.join(' ')}}}`);
  t.doesNotThrow(
    () =>
      fc.assert(
        fc.property(
          fc.oneof(template, inAction, fc.string({ unit: 'binary', maxLength: 40 })),
          (text) => typeof run(Buffer.from(text, 'utf8').toString('latin1')) === 'string',
        ),
        { numRuns: 3_000 },
      ),
    '3000 templates',
  );
});
