/**
 * `skep stack deploy` and `config`: stacks from files of the compose specification. Everything else
 * about stacks (`ls`, `ps`, `services`, `rm`) is the stock docker CLI's.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { stringify } from 'yaml';
import { DAEMON_DEFAULTS } from '../../daemon/options.js';
import { Place } from '../../stack/place.js';
import { duration } from '../../stack/units.js';
import { Deployment, type ResolveImage } from './deployment.js';
import { describePlan, leftoverLines } from './describe-plan.js';
import { composeText } from './compose-text.js';
import { makePlan } from './plan.js';
import { type InputOptions, readInput, stackName } from './project-input.js';
import { SwarmApi } from './swarm-api.js';

interface DeployFlags extends InputOptions {
  readonly host: string;
  readonly prune: boolean;
  readonly detach: boolean;
  readonly diff: boolean;
  readonly quiet: boolean;
  readonly strict: boolean;
  readonly withRegistryAuth: boolean;
  readonly resolveImage: ResolveImage;
  readonly timeout: number;
}

/** The command with its subcommands. */
export function stackCommand(): Command {
  return new Command('stack')
    .description('stacks from files of the compose specification')
    .addCommand(deployCommand())
    .addCommand(configCommand());
}

function withInput(command: Command): Command {
  return command
    .option(
      '-c, --compose-file <file>',
      'compose file, or - for standard input; may repeat',
      append,
    )
    .option('--env-file <file>', 'variables, instead of .env; may repeat', append)
    .option('--profile <name>', 'services of this profile too; may repeat', append)
    .option('--project-directory <path>', 'what relative paths are relative to');
}

function deployCommand(): Command {
  return withInput(new Command('deploy'))
    .description('deploy a new stack or update an existing one')
    .argument('[stack]', 'its name; else COMPOSE_PROJECT_NAME or the name in the file')
    .addOption(
      new Option('-H, --host <host>', 'Docker API to talk to')
        .env('DOCKER_HOST')
        .default(`unix://${DAEMON_DEFAULTS.apiSocket}`),
    )
    .option('--prune', 'remove what is of the stack and not in the files any more', false)
    .option('--diff', 'only show what would change', false)
    .option('-d, --detach', 'do not wait for the services', false)
    .option('-q, --quiet', 'no progress', false)
    .option('--strict', 'refuse files with warnings', false)
    .option('--with-registry-auth', 'send registry credentials to the nodes', false)
    .addOption(
      new Option('--resolve-image <when>', 'ask the registry for the digests of images')
        .choices(['always', 'changed', 'never'])
        .default('always'),
    )
    .option('--timeout <duration>', 'how long to wait for services', parseDuration, 600_000)
    .action(async (name: string | undefined, flags: DeployFlags) => deploy(name, flags));
}

async function deploy(name: string | undefined, flags: DeployFlags): Promise<void> {
  const warn = (line: string) => console.error(line);
  const input = await readInput(flags, name);
  const namespace = stackName(name, input.file);
  if (!isFine(input.warnings, flags.strict)) return;
  const project = await input.makeProject();
  const api = new SwarmApi(flags.host);
  await api.checkManager();
  const plan = await makePlan(project, namespace, api);
  if (!isFine(plan.warnings, flags.strict)) return;
  if (flags.diff) {
    for (const line of describePlan(plan, flags.prune)) console.log(line);
    return;
  }
  const tell = flags.quiet ? () => undefined : (line: string) => console.log(line);
  const options = { ...flags, timeoutMs: flags.timeout };
  await new Deployment(plan, api, options, { tell, warn }).run();
  if (!flags.prune) for (const line of leftoverLines(plan, false)) warn(line.trim());
}

/** Prints warnings; with `--strict` any of them ends the command. */
function isFine(warnings: readonly string[], strict: boolean): boolean {
  for (const warning of warnings) console.error(warning);
  if (!strict || warnings.length === 0) return true;
  process.exitCode = 1;
  return false;
}

function configCommand(): Command {
  return withInput(new Command('config'))
    .description('print the files as one, in the long form')
    .option('--no-interpolate', 'leave variables as they are')
    .action(async (flags: InputOptions & { readonly interpolate: boolean }) => {
      const keepVariables = !flags.interpolate;
      const input = await readInput({ ...flags, keepVariables }, undefined);
      for (const warning of input.warnings) console.error(warning);
      if (!keepVariables) await input.makeProject();
      process.stdout.write(stringify(composeText(input.file, keepVariables), { lineWidth: 0 }));
    });
}

function append(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
}

/** Milliseconds of `90s`. */
function parseDuration(value: string): number {
  try {
    return duration(value, new Place('--timeout', '', [])) / 1e6;
  } catch {
    throw new InvalidArgumentError('write it such as 5m');
  }
}
