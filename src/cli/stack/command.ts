/**
 * `skep stack deploy` and `config`: stacks from files of the compose specification. Everything else
 * about stacks (`ls`, `ps`, `services`, `rm`) is the stock docker CLI's.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { DAEMON_DEFAULTS } from '../../daemon/options.js';
import { Place } from '../../stack/place.js';
import { duration } from '../../stack/units.js';
import type { ConfigFlags, DeployFlags } from './actions.js';

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
    .action(async (name: string | undefined, flags: DeployFlags) => {
      await (await import('./actions.js')).deploy(name, flags);
    });
}

function configCommand(): Command {
  return withInput(new Command('config'))
    .description('print the files as one, in the long form')
    .option('--no-interpolate', 'leave variables as they are')
    .action(async (flags: ConfigFlags) => {
      await (await import('./actions.js')).printConfig(flags);
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
