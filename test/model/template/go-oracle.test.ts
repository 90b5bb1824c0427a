/**
 * Templates compared with Go's own engine: the installed docker CLI executes `--format` with
 * text/template, needs no daemon for `context inspect`, and has the same built-in functions. What
 * it prints, or why it refuses, must be ours to the letter.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { execute } from '../../../src/model/template/evaluator.js';
import { BUILTINS } from '../../../src/model/template/functions.js';
import { TemplateError } from '../../../src/model/template/template-error.js';
import { fromBytes, Struct, toBytes } from '../../../src/model/template/values.js';
import { run } from '../../testbed/commands.js';

/** The part of the CLI's data that the templates here use. */
const DATA = new Struct('context.contextWithTLSListing', new Map([['Name', 'default']]));

/** Templates of which both must say the same. `\n` in them is a line feed. */
const TEMPLATES: readonly string[] = [
  // Text, trimming, comments.
  'plain text, not {single}',
  'a {{- "b" -}} c',
  'a {{/* nothing */}} b {{- /* trims */ -}} c',
  '{{"a"}}{{`raw\\n`}}{{\'x\'}}{{true}}{{.Name}}',
  '{{ "multi" |\n printf "%s" }}',
  // Numbers.
  "{{1}} {{-2}} {{+3}} {{0x1F}} {{0b101}} {{0o17}} {{017}} {{1_000}} {{'\\n'}} {{'é'}}",
  '{{1.5}} {{1e3}} {{1000000.0}} {{123456789.0}} {{1e21}} {{1e-7}} {{0.0001}} {{100000.0}} {{-0.5}}',
  '{{9223372036854775807}}',
  // Actions.
  '{{if true}}yes{{else}}no{{end}} {{if ""}}yes{{else}}no{{end}} {{if 0}}y{{else if 1}}z{{end}}',
  '{{if 0.0}}y{{end}}{{if .Name}}n{{end}}{{if not .Name}}n{{end}}',
  '{{with .Name}}[{{.}}]{{end}} {{with ""}}a{{else}}b{{end}} {{with $x := "v"}}{{$x}}{{.}}{{end}}',
  '{{$x := 1}}{{if true}}{{$x = 2}}{{$x := 3}}{{$x}}{{end}}{{$x}}',
  '{{define "t"}}<{{.}}>{{end}}{{template "t" "a"}}{{template "t" .Name}}{{template "t"}}',
  '{{block "b" "x"}}[{{.}}{{$}}]{{end}}',
  '{{$.Name}} {{(print "a" "b")}} {{print (print 1 2) (len "abc")}}',
  '{{with $a := 1}}{{with $b := 2}}{{$a}}{{$b}}{{end}}{{end}}',
  // Pipelines.
  '{{"a" | printf "%s-%s" "b" | printf "%q"}}',
  '{{1 | print 2 "x"}} {{"x" | len}} {{.Name | len | printf "%03d"}}',
  // Comparison and logic.
  '{{eq 1 1}} {{eq 1 2 1}} {{ne "a" "b"}} {{lt 1 2}} {{le 2 2}} {{gt "b" "a"}} {{ge 1.5 2.5}}',
  '{{and 1 0 2}} {{and 1 2}} {{or 0 "" "x"}} {{or 0 ""}}. {{not 1}} {{not ""}}',
  '{{or true (index "a" 9)}} {{and false (index "a" 9)}}',
  '{{eq true true}} {{eq 1.5 1.5}} {{lt "a" "B"}}',
  '{{if and (eq .Name "default") (gt (len .Name) 3)}}both{{end}}',
  // Strings.
  '{{len "é"}} {{index "abc" 1}} {{slice "abcdef" 1 3}} {{slice "abc" 1}} {{slice "abc"}}',
  '{{html "<a href=\\"x\\">&\'</a>"}} {{urlquery "a b&c/d~é"}} {{js "it\'s <b> \\"q\\" = & \\\\ é \\u2028"}}',
  '{{html 1 2}} {{urlquery "a" 1 2}} {{js true}}',
  '{{print "a" 1 2 "b" true false nil}} {{println 1 "a"}}',
  // printf.
  '{{printf "%d|%5d|%-5d|%05d|%+d|% d|%x|%X|%#x|%o|%#o|%O|%b|%c|%q|%U|%#U" 1 2 3 4 5 6 255 255 255 8 8 8 5 65 65 65 65}}',
  '{{printf "%s|%10s|%-10s|%.2s|%q|%x|%X|% x|%#x|%#q|%+q" "a" "b" "c" "defg" "h\\n" "hi" "hi" "hi" "hi" "ab" "é"}}',
  '{{printf "%f|%.2f|%8.3f|%-8.1f|%08.2f|%+.1f|%e|%.1e|%g|%.3g|%G|%v" 1.5 2.345 3.14159 2.5 -2.5 1.0 12345.678 0.00012 1e100 1234.5678 1e-10 0.1}}',
  '{{printf "%.10g|%.3g|%.1g|%.0f|%.0e|%g|%g" 123456.0 100.0 0.05 2.5 1.5 1e20 123456.7}}',
  '{{printf "%t|%5t|%v|%T %T %T %T|%%" true false true 1 "a" 1.5 true}}',
  '{{printf "%d" "a"}} {{printf "%s" 1}} {{printf "%d"}} {{printf "%d" 1 2}} {{printf "%!" 1}} {{printf "%"}} {{printf "%z" 1}}',
  '{{printf "%s" true}} {{printf "%t" 1}} {{printf "%x" 1.5 | len | lt 0}} {{printf "%d" 1.5}}',
  '{{printf "%*d|%-*d|%.*f" 5 1 5 2 2 1.0}} {{printf "%[2]d %[1]d" 1 2}} {{printf "%[3]d" 1}} {{printf "%*d" "a" 1}}',
  '{{printf "%v %+v %#v %#v %#v" "a" "b" "c" 1 true}} {{printf "%v" nil}} {{printf "%s" nil}} {{printf "%d" nil}}',
  '{{printf "%6.2f%%" 12.3456}} {{printf "%5s|%-5s|%05s" "é" "é" "é"}} {{printf "%q" "\\x00\\xff\\u00e9\\U0001F600"}}',
  '{{printf "%08b" 5}} {{printf "%-08d|" 5}} {{printf "%+05d" 5}} {{printf "%.3d" 5}} {{printf "%x" -255}}',
  '{{printf "%s %s" .Name}} {{printf "no verbs" 1}} {{printf "%v" 1e6}} {{printf "%5v|%-5v|" 1 2}}',
  '{{printf "%.0f %.0f %.0f %.1f %.1f %.0e %.2e %.1f" 0.5 1.5 2.5 0.25 0.35 2.5 1.125 99.95}}',
  '{{printf "%.30f %.3f %f %e %g %.0f" 0.1 1e22 1e-300 0.0 0.0 123456789012345680000000.0}}',
  '{{printf "%.20g %g %v %.3e" 0.1 5e-324 1.7976931348623157e308 9.9996}}',
  '{{printf "%99999999d" 1}} {{printf "a%.99999999dx" 1}}',
  // Refused by the parser.
  '{{',
  '{{if}}',
  '{{end}}',
  '{{else}}',
  '{{if true}}',
  '{{if true}}{{else}}{{else}}{{end}}',
  '{{range}}{{end}}',
  '{{with}}{{end}}',
  '{{nofunction}}',
  '{{$x}}',
  '{{"a}}',
  "{{'a}}",
  '{{`a}}',
  '{{(1}}',
  '{{1)}}',
  '{{1 | 2}}',
  '{{print | }}',
  '{{| print}}',
  '{{3a}}',
  '{{1.2.3}}',
  '{{99999999999999999999}}',
  "{{''}}",
  "{{'ab'}}",
  '{{"\\q"}}',
  '{{.Name.}}',
  '{{"a".Name}}',
  '{{nil.Name}}',
  '{{$x, $y := 1}}',
  '{{range $x, $y, $z := 1}}{{end}}',
  '{{template}}',
  '{{template 1}}',
  '{{define}}{{end}}',
  '{{define "a"}}',
  '{{if true}}{{define "a"}}{{end}}{{end}}',
  '{{define "a"}}1{{end}}{{define "a"}}2{{end}}',
  '{{break}}',
  '{{/* open',
  '{{/* a */ b}}',
  '{{a#b}}',
  '{{.a#b}}',
  '{{:a}}',
  'line\n\n{{bad}}',
  '{{print 1\n "a}}',
  '{{ block "a" }}{{end}}',
  '{{ & }}',
  '{{ print "averylongstring" = }}',
  // Refused in execution.
  '{{.Nope}}',
  'text {{.Name.Nope}}',
  '{{.Name.A.B}}',
  'one\ntwo {{ .Nope }}',
  '{{nil}}',
  '{{1 2}}',
  '{{.Name 1}}',
  '{{1 | .Name}}',
  '{{"a" "b"}}',
  '{{len}}',
  '{{len 1}}',
  '{{len "a" "b"}}',
  '{{printf}}',
  '{{printf 1}}',
  '{{printf nil}}',
  '{{printf true "a"}}',
  '{{printf (len "a")}}',
  '{{1 | printf}}',
  '{{index "a" 5}}',
  '{{index "a" "b"}}',
  '{{index 1 2}}',
  '{{slice "abc" 2 1}}',
  '{{slice "abc" 9}}',
  '{{slice "abc" 0 1 2}}',
  '{{slice 1}}',
  '{{eq 1}}',
  '{{eq 1 "a"}}',
  '{{lt 1 1.5}}',
  '{{lt true false}}',
  '{{eq}}',
  '{{ne 1}}',
  '{{template "nope"}}',
  '{{define "t"}}{{.X}}{{end}}{{template "t" 1}}',
  '{{range 1.5}}{{end}}{{print (len 1)}}',
  '{{$x := 1}}{{$x.Y}}',
  '{{(print "a").B}}',
  '{{call "a"}}',
  '{{not}}',
  '{{9223372036854775808}}',
];

/** Processes of the CLI running at a time. */
const AT_ONCE = 4;

/** Said by both in other words. */
const OWN_WORDS: ReadonlyMap<string, RegExp> = new Map([
  // Go prints the value, which may be a secret.
  ['{{range 1.5}}{{end}}{{print (len 1)}}', /range can't iterate over /],
  // Newer ones than the CLI's Go, as ours.
  ['{{1)}}', /unexpected ("\)" in command|right paren)/],
  ['{{call "a"}}', /error calling call: non-function /],
]);

/** The CLI's: the text, or the message of the error. */
async function theirs(config: string, template: string): Promise<string> {
  const args = ['--config', config, 'context', 'inspect', '--format', template, 'default'];
  const { code, stdout, stderr } = await run('/usr/bin/docker', args);
  if (code === 0) return stdout.slice(0, -1);
  return `ERROR ${/template: [\s\S]*/.exec(stderr)?.[0].trimEnd() ?? stderr}`;
}

/** Ours: the text, or the message of the error. */
function ours(template: string): string {
  try {
    return fromBytes(execute('', toBytes(template), DATA, BUILTINS));
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    return `ERROR ${fromBytes(error.message)}`;
  }
}

void t.test('templates mean what they mean to Go', async (t) => {
  const config = mkdtempSync(path.join(os.tmpdir(), 'skep-oracle-'));
  try {
    for (let first = 0; first < TEMPLATES.length; first += AT_ONCE) {
      const some = TEMPLATES.slice(first, first + AT_ONCE);
      const answers = await Promise.all(some.map((template) => theirs(config, template)));
      for (const [index, template] of some.entries()) {
        const answer = answers[index] ?? '';
        const mine = ours(template);
        const words = OWN_WORDS.get(template);
        if (words === undefined) t.equal(mine, answer, template);
        else t.ok(words.test(mine) && words.test(answer), `${template}: ${mine} / ${answer}`);
      }
    }
  } finally {
    rmSync(config, { recursive: true, force: true });
  }
});
